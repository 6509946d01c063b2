"""Kills a logging fit again and again and looks at what is left: python tests/benchmarks/kills.py [N=200] [folder].

After each SIGKILL the reader must return every step whose log call had returned, and a TensorBoard that runs beside
must open the run and say the same; after the last kill one resumed fit completes the series, with no gap and no
duplicate in the store or in the event files. Exits with 1 where any of that fails. About 3 seconds a kill.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parents[1] / "training"))
from kill_helpers import Killer
from tensorboard.backend.event_processing import plugin_event_accumulator
from tensorboard_process import TensorBoard

from lrp_monitor.store.reader import open_run

SPREAD = 0.5


class Board:
    """A TensorBoard on loopback over a log directory."""

    def __init__(self, folder: Path) -> None:
        self._board = TensorBoard(folder, log=Path(tempfile.mkdtemp()) / "log.txt")
        self._base = f"{self._board.url}/data/plugin/lrp_monitor"

    def steps(self, run: str) -> set[int] | None:
        """The steps that the LRP tab receives; None while TensorBoard has not come across the run."""
        try:
            with urllib.request.urlopen(f"{self._base}/run?run={run}", timeout=60) as answer:
                return {row["step"] for row in json.load(answer)["steps"]}
        except urllib.error.HTTPError as error:
            if error.code != 404:
                raise
            return None

    def close(self) -> None:
        """Ends the server."""
        self._board.stop()


def main(count: int, folder: Path) -> int:
    """`count` kills of one run in `folder`; 0 where nothing was lost."""
    run_folder, failures, shown = folder / "run", 0, 0
    killer, board = Killer(seed=1), Board(folder)
    began = time.monotonic()
    try:
        kills = []
        for number in range(1, count + 1):
            kill = killer.kill_one(run_folder, SPREAD)
            kills.append(kill)
            board_steps, deadline = None, time.monotonic() + 30
            while kill.read and board_steps is None and time.monotonic() < deadline:
                board_steps = board.steps("run/lrp")  # found at TensorBoard's next reload, where it is new
                time.sleep(0 if board_steps else 0.2)
            missing = kill.logged - board_steps if board_steps else set()
            shown += bool(board_steps) and not missing
            cut = [problem for problem in kill.problems if "not complete" in problem]
            other = [problem for problem in kill.problems if "not complete" not in problem]
            if kill.lost or missing or other or (kill.read and not board_steps):
                failures += 1
                print(f"kill {number}: lost {kill.lost}, not shown {missing}, problems {other}")
            if number % 20 == 0:
                print(
                    f"{number} kills, {max(kill.read, default=0)} epochs, {len(cut)} records cut off so far", flush=True
                )
        last = max(max(kill.read, default=0) for kill in kills) + 5
        killer.finish(run_folder, last)
        after = board.steps("run/lrp")
    finally:
        board.close()
        killer.__exit__()
    run = open_run(run_folder)
    whole = [(h.step, h.epoch, h.batch) for h in run.records()] == [(s, s, 2 * s) for s in range(last + 1)]
    guidance = {plugin_event_accumulator.TENSORS: 0}
    events = plugin_event_accumulator.EventAccumulator(str(run_folder / "lrp"), guidance).Reload()
    drawn = [event.step for event in events.Tensors("lrp/probability")] == list(range(last + 1))
    started = [kill for kill in kills if kill.started]
    verdicts = ["complete" if fine else "NOT complete" for fine in (whole, drawn, after == set(run.steps))]
    print(
        f"{count} kills ({len(started)} in training, {count - len(started)} before it) in "
        f"{time.monotonic() - began:.0f} s, {len(run.sessions)} sessions, {failures} with a loss or an error\n"
        f"TensorBoard showed every logged step after {shown} of {sum(bool(kill.read) for kill in kills)} kills\n"
        f"resumed to epoch {last}: store {verdicts[0]}, event files {verdicts[1]}, dashboard {verdicts[2]}"
    )
    return int(bool(failures) or not (whole and drawn and after == set(run.steps)))


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as scratch:
        where = Path(sys.argv[2]) if len(sys.argv) > 2 else Path(scratch)
        where.mkdir(parents=True, exist_ok=True)
        sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 200, where))
