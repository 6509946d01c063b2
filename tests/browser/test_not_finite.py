"""The LRP tab over a fit that turns NaN, and over one whose maps have too little positive relevance for shares."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import pytest
from browser_helpers import Open, View, Visit

pytestmark = pytest.mark.browser

N = 8


@pytest.fixture(scope="module")
def logdir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`diverged`: finite at steps 0 and 1, not at 2 and 3. `negative`: two of four classes begin with negative logits.

    The last probe has no stamp, in its picture or as a mask.
    """
    import keras
    import numpy as np

    import lrp_monitor as lrp
    from lrp_monitor.demo.shapes import CLASSES, STAMP_BOX, make_shapes

    class Explode(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
            if epoch == 1:
                self.model.optimizer.learning_rate = 1e36

    folder = tmp_path_factory.mktemp("not_finite")
    found = make_shapes(N, seed=3, stamped_class="triangle", stamped_share=1.0)
    picked = np.argsort(found.labels, kind="stable")
    mask = np.zeros((N, 32, 32), bool)
    top, left, below, right = STAMP_BOX
    mask[: N - 1, top:below, left:right] = True
    probes = lrp.ProbeSet(
        found.images[picked], labels=found.labels[picked], class_names=list(CLASSES), masks={"stamp": mask}
    )
    shapes = make_shapes(160, seed=1, stamped_class="triangle")
    for name in ("diverged", "negative"):
        keras.utils.set_random_seed(1)
        model = keras.Sequential(
            [
                keras.layers.Input((32, 32, 1)),
                keras.layers.Conv2D(8, 3, activation="relu"),
                keras.layers.MaxPooling2D(4),
                keras.layers.Flatten(),
                keras.layers.Dense(len(CLASSES), activation="softmax"),
            ]
        )
        if name == "negative":
            kernel = np.abs(model.layers[-1].kernel.numpy()) * np.array([1.0, 1.0, -1.0, -1.0], np.float32)
            model.layers[-1].kernel.assign(kernel)
        rate = 0.01 if name == "diverged" else 0.0
        model.compile(keras.optimizers.SGD(rate), "sparse_categorical_crossentropy")
        monitor = lrp.LRPMonitor(
            probes, log_dir=folder / name, composite="epsilon_plus_flat", verbose=0, alert={"stamp": 0.99}
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)
            callbacks = [Explode(), monitor] if name == "diverged" else [monitor]
            model.fit(shapes.images, shapes.labels, batch_size=32, epochs=3, verbose=0, callbacks=callbacks)
    return folder


@pytest.fixture
def open_page(logdir: Path, view: View, visit: Open) -> Any:
    def go(run: str, step: int = 3, more: str = "", **options: Any) -> Visit:
        fragment = f"lrp_monitor&p.lrp_monitor.runs={run}%252Flrp&p.lrp_monitor.step={step}{more}"
        return visit(view(logdir), fragment=fragment, **options)

    return go


def test_a_diverged_run_says_so_at_run_map_caption_curve_and_step(open_page: Any) -> None:
    tab = open_page("diverged")
    tab.wait_for_step(3)
    frame = tab.frame
    mark = "[data-testid=not-finite]"
    since = "logits, heatmaps, weights, gradients, loss not finite since step 2"
    tab.expect(lambda: tab.text("not-finite"), since)
    words = f"logits of {N} probes not finite since step 2"
    tab.expect(lambda: [words in title for title in tab.all(mark, "e.title")], [True])
    tab.expect(lambda: len(tab.all("[data-testid=broken]", "1")), N)
    for i in range(N):
        tab.expect_text(f"caption-{i}", "predicts\nnone", "in stamp\nnot finite")
        tab.expect(lambda i=i: [word for word in ("✓", "✗", "no mask") if word in tab.text(f"caption-{i}")], [])
    tab.expect_text("remarks", "not finite: logits of 8 probes")
    span = "[data-testid=not-finite-span] title"
    tab.expect(lambda: "not finite since step 2" in tab.all(span, "e.textContent")[0], True)
    frame.select_option("[data-testid=quantity] >> nth=0", "lrp/accuracy")
    frame.wait_for_selector("[data-testid=timeline][data-tag='lrp/accuracy']")
    tab.expect_text("timeline-readout", "not finite", f"{N} probes without a prediction")
    unjudged = "cannot be judged at this step"
    tab.expect(lambda: [unjudged in label for label in tab.all("[data-testid=alert-open]", "e.ariaLabel")], [True])
    # No answer is neither right nor wrong.
    for answers in ("Right", "Wrong"):
        frame.click(f"label:has-text('{answers}')")
        frame.wait_for_selector("[data-testid=none-left]")
    frame.click("[data-testid=none-left] button")
    frame.press("[data-testid=slider]", "Home")
    tab.wait_for_step(0)
    frame.wait_for_selector("[data-testid=broken]", state="detached")
    tab.expect(lambda: [i for i in range(N) if "none" in tab.text(f"caption-{i}")], [])
    # The run's line goes on saying it.
    tab.expect(lambda: tab.text("not-finite"), since)


def test_the_opened_probe_of_a_diverged_run(open_page: Any) -> None:
    tab = open_page("diverged")
    tab.wait_for_step(3)
    frame = tab.frame
    frame.click("[data-testid=open-0]")
    frame.wait_for_selector("[data-testid=over-probability] .band.none")
    words = " has no prediction (logits not finite) from step 2 to 3"
    titles = "[data-testid=over-probability] .band.none title"
    tab.expect(lambda: [title.endswith(words) for title in tab.all(titles, "e.textContent")], [True])
    tab.expect(lambda: len(tab.all("[data-testid=thumb-broken]", "1")), 2)
    for step, none in ((3, True), (1, False)):
        cell = f"[data-testid=film-{step}]"
        tab.expect(lambda cell=cell: ["predicts none" in label for label in tab.all(cell, "e.ariaLabel")], [none])
    answered = "[data-testid=film-3] .thumb.right, [data-testid=film-3] .thumb.wrong"
    tab.expect(lambda: tab.all(answered, "e.className"), [])


def test_a_run_that_is_not_chosen_is_marked_too(open_page: Any) -> None:
    tab = open_page("negative")
    tab.wait_for_step(3)
    tab.expect(lambda: tab.text("not-finite"), "not finite at step 3")


def test_film_mode_marks_the_steps(open_page: Any) -> None:
    tab = open_page("diverged", more="&p.lrp_monitor.show=film")
    tab.frame.wait_for_selector("[data-film-step='3'] [data-testid=broken]")
    tab.frame.wait_for_selector("[data-testid=film-0] canvas[data-testid='film-0-1']")
    tab.expect(lambda: len(tab.all("[data-testid=probe-0] [data-testid=broken]", "1")), 2)


def test_undefined_shares_say_why_and_how_many_probes_stand_behind_the_mean(open_page: Any) -> None:
    tab = open_page("negative")
    tab.wait_for_step(3)
    frame = tab.frame

    def shares() -> list[str]:
        captions = [tab.text(f"caption-{i}") for i in range(N)]
        return [caption.split("in stamp\n")[1].split("\n")[0] for caption in captions]

    tab.expect(lambda: shares()[4:], ["undefined", "undefined", "undefined", "no mask"])
    tab.expect(lambda: [share.endswith("%") for share in shares()[:4]], [True] * 4)
    words = "No relevance is positive: nothing speaks for the class. Of all |relevance|, "
    titled = "[data-testid=caption-4] dd[title*='mask stamp']"
    tab.expect(lambda: [words in title for title in tab.all(titled, "e.title")], [True])
    frame.wait_for_selector("[data-testid=timeline][data-tag='lrp/mask_mass/stamp']")
    tab.expect_text("timeline-readout", "mean over 4 of 7 probes")
    points = "[data-testid=timeline] circle.point title"
    tab.expect(lambda: [t.endswith("%, mean over 4 of 7 probes") for t in tab.all(points, "e.textContent")], [True])
    frame.select_option("[data-testid=quantity] >> nth=0", "lrp/mask_absolute/stamp")
    frame.wait_for_selector("[data-testid=timeline][data-tag='lrp/mask_absolute/stamp']")
    count = "[...e.options].filter(option => option.value === 'lrp/mask_probes/stamp').length"
    tab.expect(lambda: tab.all("[data-testid=quantity]", count)[0], 1)
    frame.click("[data-testid=open-4]")
    frame.wait_for_selector("[data-testid=over-mass]")
    frame.wait_for_function(
        """() => document.querySelector('section[aria-label="Relevance inside the masks"] .readout')
             ?.innerText.includes('undefined')"""
    )
