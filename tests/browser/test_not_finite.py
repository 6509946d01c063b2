"""The LRP tab over a fit that turns NaN, and over one whose maps have too little positive relevance for shares."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import pytest
from browser_helpers import Open, Serve, Visit

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
        monitor = lrp.LRPMonitor(probes, log_dir=folder / name, verbose=0, alert={"stamp": 0.99})
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)
            callbacks = [Explode(), monitor] if name == "diverged" else [monitor]
            model.fit(shapes.images, shapes.labels, batch_size=32, epochs=3, verbose=0, callbacks=callbacks)
    return folder


@pytest.fixture
def open_run(logdir: Path, serve: Serve, visit: Open) -> Any:
    def go(run: str, step: int = 3, more: str = "", **options: Any) -> Visit:
        fragment = f"lrp_monitor&p.lrp_monitor.runs={run}%252Flrp&p.lrp_monitor.step={step}{more}"
        return visit(serve(logdir), fragment=fragment, **options)

    return go


def test_a_diverged_run_says_so_at_run_map_caption_curve_and_step(open_run: Any) -> None:
    tab = open_run("diverged")
    tab.wait_for_step(3)
    frame = tab.frame
    assert tab.text("not-finite") == "logits, heatmaps, weights, gradients, loss not finite since step 2"
    assert f"logits of {N} probes not finite since step 2" in frame.get_attribute("[data-testid=not-finite]", "title")
    assert frame.locator("[data-testid=broken]").count() == N
    captions = [tab.text(f"caption-{i}") for i in range(N)]
    assert all("predicts\nnone" in caption for caption in captions)
    assert all("in stamp\nnot finite" in caption for caption in captions)
    assert not any("✓" in caption or "✗" in caption or "no mask" in caption for caption in captions)
    assert "not finite: logits of 8 probes" in tab.text("remarks")
    span = frame.locator("[data-testid=not-finite-span]").first
    assert "not finite since step 2" in (span.locator("title").text_content() or "")
    frame.select_option("[data-testid=quantity] >> nth=0", "lrp/accuracy")
    frame.wait_for_selector("[data-testid=timeline][data-tag='lrp/accuracy']")
    readout = tab.text("timeline-readout")
    assert "not finite" in readout
    assert f"{N} probes without a prediction" in readout
    assert frame.locator("[data-testid=alert-open]").count() == 1
    assert "cannot be judged at this step" in frame.get_attribute("[data-testid=alert-open]", "aria-label")
    # No answer is neither right nor wrong.
    for answers in ("Right", "Wrong"):
        frame.click(f"label:has-text('{answers}')")
        frame.wait_for_selector("[data-testid=none-left]")
    frame.click("[data-testid=none-left] button")
    frame.press("[data-testid=slider]", "Home")
    tab.wait_for_step(0)
    frame.wait_for_selector("[data-testid=broken]", state="detached")
    assert not any("none" in tab.text(f"caption-{i}") for i in range(N))
    # The run's line goes on saying it.
    assert tab.text("not-finite") == "logits, heatmaps, weights, gradients, loss not finite since step 2"


def test_the_opened_probe_of_a_diverged_run(open_run: Any) -> None:
    tab = open_run("diverged")
    tab.wait_for_step(3)
    frame = tab.frame
    frame.click("[data-testid=open-0]")
    frame.wait_for_selector("[data-testid=over-probability] .band.none")
    title = frame.locator("[data-testid=over-probability] .band.none title").text_content()
    assert title is not None
    assert title.endswith("diverged/lrp has no prediction (logits not finite) from step 2 to 3") or title.endswith(
        "diverged has no prediction (logits not finite) from step 2 to 3"
    )
    frame.wait_for_selector("[data-testid=thumb-broken]")
    assert frame.locator("[data-testid=thumb-broken]").count() == 2
    assert "predicts none" in frame.get_attribute("[data-testid=film-3]", "aria-label")
    assert "predicts none" not in frame.get_attribute("[data-testid=film-1]", "aria-label")
    assert frame.locator("[data-testid=film-3] .thumb.right, [data-testid=film-3] .thumb.wrong").count() == 0


def test_a_run_that_is_not_chosen_is_marked_too(open_run: Any) -> None:
    tab = open_run("negative")
    tab.wait_for_step(3)
    assert tab.text("not-finite") == "not finite at step 3"


def test_film_mode_marks_the_steps(open_run: Any) -> None:
    tab = open_run("diverged", more="&p.lrp_monitor.show=film")
    tab.frame.wait_for_selector("[data-film-step='3'] [data-testid=broken]")
    tab.frame.wait_for_selector("[data-testid=film-0] canvas[data-testid='film-0-1']")
    assert tab.frame.locator("[data-testid=probe-0] [data-testid=broken]").count() == 2


def test_undefined_shares_say_why_and_how_many_probes_stand_behind_the_mean(open_run: Any) -> None:
    tab = open_run("negative")
    tab.wait_for_step(3)
    frame = tab.frame
    captions = [tab.text(f"caption-{i}") for i in range(N)]
    shares = [caption.split("in stamp\n")[1].split("\n")[0] for caption in captions]
    assert shares[4:] == ["undefined", "undefined", "undefined", "no mask"]
    assert all(share.endswith("%") for share in shares[:4])
    title = frame.get_attribute("[data-testid=caption-4] dd[title*='mask stamp']", "title")
    assert "No relevance is positive: nothing speaks for the class. Of all |relevance|, " in title
    assert frame.get_attribute("[data-testid=timeline]", "data-tag") == "lrp/mask_mass/stamp"
    assert "mean over 4 of 7 probes" in tab.text("timeline-readout")
    point = frame.locator("[data-testid=timeline] circle.point title").text_content()
    assert point is not None
    assert point.endswith("%, mean over 4 of 7 probes")
    frame.select_option("[data-testid=quantity] >> nth=0", "lrp/mask_absolute/stamp")
    frame.wait_for_selector("[data-testid=timeline][data-tag='lrp/mask_absolute/stamp']")
    assert (
        frame.locator("[data-testid=quantity] >> nth=0").locator("option[value='lrp/mask_probes/stamp']").count() == 1
    )
    frame.click("[data-testid=open-4]")
    frame.wait_for_selector("[data-testid=over-mass]")
    frame.wait_for_function(
        """() => document.querySelector('section[aria-label="Relevance inside the masks"] .readout')
             ?.innerText.includes('undefined')"""
    )
