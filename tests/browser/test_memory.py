"""The page's memory: moving the slider to and fro between the same steps must not make it grow."""

from __future__ import annotations

from pathlib import Path

import pytest
from browser_helpers import Open, View, WrittenRun

pytestmark = pytest.mark.browser

STEPS = 6
MOVES = 30
BYTES_A_MOVE = 20_000
"""Two and a half thousand are used. Where elements of earlier steps were kept, a hundred thousand were."""

# Moves through all steps to and fro; each move ends a frame after the curves below the heatmaps, which are drawn behind
# them, have its step too.
MOVE = """async ([moves, steps]) => {
  const slider = document.querySelector('[data-testid=slider]');
  const set = Object.getOwnPropertyDescriptor(HTMLInputElement.prototype, 'value').set;
  const frame = () => new Promise(done => requestAnimationFrame(done));
  for (let i = 0; i < moves; i++) {
    const place = String(Math.abs(steps - 1 - i % (2 * steps - 2)));
    set.call(slider, place);
    slider.dispatchEvent(new Event('input', { bubbles: true }));
    const there = () => document.querySelector('[data-testid=timeline]').dataset.step === place
      && [...document.querySelectorAll('canvas[data-run]')].every(c => c.dataset.step === place);
    for (let n = 0; !there(); n++) {
      if (n > 1000) throw new Error(`step ${place} is not shown`);
      await frame();
    }
    await frame();
  }
}"""


def test_moving_the_slider_keeps_nothing_of_what_was_shown(tmp_path: Path, view: View, visit: Open) -> None:
    run = WrittenRun(tmp_path / "a")
    for step in range(STEPS):
        run.log(step)
    run.close()
    tab = visit(view(tmp_path))
    tab.wait_for_step(STEPS - 1)
    session = tab.page.context.new_cdp_session(tab.page)

    def heap_after_moves() -> float:
        tab.frame.evaluate(MOVE, [MOVES, STEPS])
        tab.frame.wait_for_timeout(300)
        session.send("HeapProfiler.collectGarbage")
        return float(session.send("Runtime.getHeapUsage")["usedSize"])

    before = heap_after_moves()  # all steps are in the page's cache now
    assert heap_after_moves() - before < BYTES_A_MOVE * MOVES
