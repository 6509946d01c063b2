"""Fixtures: one Chromium a module, runs of a real fit, TensorBoard on them, tabs that must stay clean."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from browser_helpers import Open, Serve, TensorBoard, View, Viewer, Visit, launched, open_tab, serving
from playwright.sync_api import Browser, sync_playwright


@pytest.fixture(scope="module")  # while it is open an event loop runs in this thread, which other tests may not have
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        chromium = launched(playwright)
        yield chromium
        chromium.close()


@pytest.fixture(scope="session")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two runs of a real fit, `planted` (a stamp on the triangles) and `control`, with the same probes."""
    import keras
    import numpy as np

    import lrp_monitor as lrp
    from lrp_monitor.demo.shapes import CLASSES, STAMP_BOX, make_shapes

    logdir = tmp_path_factory.mktemp("fitted")
    probe_shapes = make_shapes(8, seed=3, stamped_class="triangle", stamped_share=1.0)
    picked = np.argsort(probe_shapes.labels, kind="stable")
    for name, stamped in (("planted", "triangle"), ("control", None)):
        keras.utils.set_random_seed(1)
        shapes = make_shapes(320, seed=1, stamped_class=stamped)
        model = keras.Sequential(
            [
                keras.layers.Input((32, 32, 1)),
                keras.layers.Conv2D(8, 3, activation="relu"),
                keras.layers.MaxPooling2D(4),
                keras.layers.Flatten(),
                keras.layers.Dense(len(CLASSES), activation="softmax"),
            ]
        )
        model.compile(keras.optimizers.Adam(0.003), "sparse_categorical_crossentropy")
        probes = lrp.ProbeSet(
            probe_shapes.images[picked],
            labels=probe_shapes.labels[picked],
            class_names=list(CLASSES),
            masks={"stamp": STAMP_BOX},
        )
        monitor = lrp.LRPMonitor(
            probes, log_dir=logdir / name, first_epoch="log", composite="epsilon_plus_flat", verbose=0
        )
        model.fit(shapes.images, shapes.labels, batch_size=32, epochs=3, verbose=0, callbacks=[monitor])
    return logdir


@pytest.fixture(scope="session")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serve]:
    """Starts TensorBoard on a log directory, once for the same directory and flags; stops all at the end.

    One without flags runs beside TensorFlow, as most people's does.
    """
    running: dict[tuple[Any, ...], TensorBoard] = {}

    def start(logdir: Path, *flags: str) -> TensorBoard:
        key = (logdir, *flags)
        if key not in running:
            log = tmp_path_factory.mktemp("tensorboard") / "log.txt"
            running[key] = TensorBoard(logdir, *flags, log=log, tensorflow=not flags)
        return running[key]

    yield start
    for tensorboard in running.values():
        tensorboard.terminate()
    for tensorboard in running.values():
        tensorboard.stop()


@pytest.fixture
def serve(servers: Serve, tmp_path: Path) -> Iterator[Serve]:
    """The same; a server of the test's own folder ends with the test, and does without TensorFlow."""
    own: dict[tuple[Any, ...], TensorBoard] = {}

    def start(logdir: Path, *flags: str) -> TensorBoard:
        if not logdir.is_relative_to(tmp_path):
            return servers(logdir, *flags)
        key = (logdir, *flags)
        if key not in own:
            own[key] = TensorBoard(logdir, *flags, log=tmp_path / f"tensorboard{len(own)}.txt", tensorflow=False)
        return own[key]

    yield start
    for tensorboard in own.values():
        tensorboard.stop()


@pytest.fixture(scope="module")
def view() -> Iterator[View]:
    """Serves a log directory by `lrp-monitor view`, once for the same: for what TensorBoard takes no part in."""
    running: dict[Path, Viewer] = {}
    with contextlib.ExitStack() as until:

        def start(logdir: Path) -> Viewer:
            if logdir not in running:
                running[logdir] = Viewer(until.enter_context(serving(logdir)))
            return running[logdir]

        yield start


@pytest.fixture
def visit(browser: Browser) -> Iterator[Open]:
    """Opens LRP tabs, or pages alone; afterwards no console error and no request to elsewhere may be in any."""
    visits: list[Visit] = []

    def go(server: TensorBoard | Viewer, **options: Any) -> Visit:
        visits.append(open_tab(browser, server, **options))
        return visits[-1]

    yield go
    for opened in visits:
        opened.page.context.close()
    assert [opened.errors for opened in visits] == [[] for _ in visits]
    assert [opened.outside for opened in visits] == [[] for _ in visits]
