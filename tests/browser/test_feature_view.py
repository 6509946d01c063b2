"""The view of features: rows of channels, their order, one channel large, and an address for all of it."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from browser_helpers import Open, View
from numpy.typing import NDArray

from lrp_monitor.demo.shapes import CLASSES, make_shapes, stamp_mask
from lrp_monitor.store.channels import leading, shares
from lrp_monitor.store.format import LayerFeatures, ProbeInfo, StepRecord
from lrp_monitor.store.reader import open_run
from lrp_monitor.store.writer import RunWriter
from lrp_monitor.training.output.event_file import EventWriter

STEPS = (0, 1, 2, 4, 8, 16, 32, 64, 128, 256)
LAYERS = {"conv_3": 32, "mixed": 512, "wide": 2048}


def write(folder: Path, seed: int, planted: bool) -> None:
    """A run whose channels emerge one after the other, each with maps of its own; planted: some lie on the stamp."""
    drawn = make_shapes(12, seed=3, stamped_class="triangle", stamped_share=1.0)
    order = np.argsort(drawn.labels, kind="stable")
    images, labels = drawn.images[order], drawn.labels[order]
    stamp = drawn.stamped[order][:, None, None] & stamp_mask()
    pictures = np.clip(255 * images, 0, 255).astype(np.uint8)
    info = ProbeInfo(
        names=[f"{CLASSES[label]} {i}" for i, label in enumerate(labels)], labels=labels, class_names=list(CLASSES),
        images=pictures, masks={"stamp": stamp}, map_shape=(32, 32),
        hash=hashlib.sha256(pictures.tobytes()).hexdigest(), input_shape=(32, 32, 1),
    )  # fmt: skip
    rng = np.random.default_rng(seed)
    grid = np.mgrid[:32, :32]
    with RunWriter(folder / "lrp", info, meta={"composite": "epsilon_plus_flat", "axis": "batch"}) as writer:
        events = EventWriter(folder / "lrp")
        events.start(0, 1.0, {"session": writer.session})
        events.close()
        styles = {name: (rng.gamma(0.3, size=(4, size)), rng.integers(0, 8, size)) for name, size in LAYERS.items()}
        for at, step in enumerate(STEPS):
            features = []
            for name, (strength, start) in styles.items():
                grown = np.clip((at - start + 1) / 4, 0, 1) * strength[labels] * (1 + 0.1 * np.sin(at))
                relevance = (grown * rng.uniform(0.8, 1.2, grown.shape) - 0.02).astype(np.float32)
                relevance[:, 5], relevance[:, 6] = 0, 0
                fired = np.ones(grown.shape[1], bool)
                fired[5] = False
                share = shares(relevance, labels, [0, 1, 2, 3])
                pairs = [(p, c) for p in range(12) for c in sorted(leading(share[labels[p]], 12).tolist())]
                probe, channel = np.array(pairs).T
                centres = np.stack([8 + 16 * np.modf(channel * 0.618)[0], 8 + 16 * np.modf(channel * 0.382)[0]])
                centres[:, (channel % 3 == 0) & planted & stamp.any(axis=(1, 2))[probe]] = 3
                distance = ((grid[:, None] - centres[:, :, None, None]) ** 2).sum(axis=0)
                maps = np.exp(-distance / 14) * np.maximum(relevance[probe, channel], 0)[:, None, None]
                maps = (maps + rng.normal(0, 0.03, maps.shape) * maps.max(axis=(1, 2), keepdims=True)).astype(
                    np.float32
                )
                inside = np.maximum(maps, 0) * stamp[probe]
                total = np.maximum(maps, 0).sum(axis=(1, 2))
                carried = np.where(
                    stamp.any(axis=(1, 2))[probe], inside.sum(axis=(1, 2)) / np.maximum(total, 1e-9), np.nan
                )
                top = np.argsort(rng.random((grown.shape[1], 8)), axis=1) if at == 0 else None
                features.append(
                    LayerFeatures(
                        name,
                        relevance,
                        fired,
                        probe,
                        channel,
                        maps,
                        {"stamp": carried},
                        top,
                        None if top is None else np.sort(rng.random(top.shape))[:, ::-1].astype(np.float32),
                    )
                )
            heatmaps = rng.normal(size=(12, 32, 32)).astype(np.float32)
            targets = labels.astype(np.float64)
            columns = {
                "target": targets,
                "prediction": targets,
                "absmax": np.abs(heatmaps).max(axis=(1, 2)).astype(float),
            }
            writer.append(
                StepRecord(
                    step=step,
                    epoch=at,
                    batch=step,
                    wall_time=1.7e9 + at,
                    heatmaps=heatmaps,
                    probes=columns,
                    features=features,
                    references=None if at else replace(info.of(range(7)), names=[str(i) for i in range(7)], masks={}),
                )
            )


@pytest.fixture(scope="module")
def logdir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("features")
    write(folder / "planted", 1, True)
    write(folder / "control", 2, False)
    return folder


RUN, BOTH = "lrp_monitor&p.lrp_monitor.page=features&p.lrp_monitor.runs=", "control%252Flrp,planted%252Flrp"
PLANTED = f"{RUN}planted%252Flrp"


def colours(values: NDArray[np.float32]) -> NDArray[np.float64]:
    """Blue - white - red, red darkening from 0.5 to 1, at the largest value, which is stored exactly; NaN elsewhere."""
    out = np.full((*values.shape, 3), np.nan)
    out[values == values.max()] = [255 - 254 * (values.max() - 0.5), 0, 0]
    return out


def test_rows_orders_and_maps(logdir: Path, view: View, visit: Open) -> None:
    tab = visit(view(logdir), fragment=PLANTED, viewport={"width": 1500, "height": 1000})
    run = open_run(logdir / "planted")
    history = run.channel_history("conv_3")
    rows = "[data-testid=channel]"
    by_share = np.argsort(-np.nan_to_num(history.shares[-1, 0]), kind="stable")
    tab.expect(lambda: tab.all(rows, "Number(e.dataset.channel)")[:5], by_share[:5].tolist())
    # The first row's first map is that of the probe with the most relevance there; a row's maps share their scale.
    channel = int(by_share[0])
    probe = max(np.flatnonzero(history.classes == 0), key=lambda p: history.relevance[-1, p, channel])
    first = f"{rows}[data-channel='{channel}'] [data-testid=channel-maps]"
    tab.expect(lambda: tab.all(first, "e.dataset.step")[0], "256")
    features = run.features("conv_3", 256)
    limit = max(np.abs(features.map(p, channel)).max() for p in np.flatnonzero(history.classes == 0).tolist())
    # Four maps of 32 x 32 beside two references, each twice as large with an edge of 1 pixel, 4 pixels between them.
    shown = np.full((66, 4 * 66 + 3 * 4, 3), np.nan)
    shown[1:65, 1:65] = colours(features.map(int(probe), channel) / limit).repeat(2, axis=0).repeat(2, axis=1)
    tab.expect_colours(first, shown)
    # Its reference samples, as pictures; the eighth was not kept.
    top, references = run.features("conv_3", 0).top[channel], first.replace("maps", "references")
    grey = run.probes.images[top[0]].astype(np.float64).repeat(3, axis=2)
    if top[0] < 7:
        shown = np.full((66, 2 * 66 + 4, 3), np.nan)
        shown[1:65, 1:65] = grey.repeat(2, axis=0).repeat(2, axis=1)
        tab.expect(lambda: len(tab.all(references, "1")), 1)
        tab.expect_colours(references, shown)
    # At an earlier step another order.
    earlier = np.argsort(-np.nan_to_num(history.shares[2, 0]), kind="stable")
    tab.frame.fill("[data-testid=step-number]", "2")
    tab.frame.press("[data-testid=step-number]", "Enter")
    tab.expect(lambda: tab.all(rows, "Number(e.dataset.channel)")[:3], earlier[:3].tolist())
    # By emergence, of another class.
    tab.frame.select_option("[data-testid=feature-class]", "2")
    tab.frame.click(".features .segments label:nth-child(2)")
    emerged = np.where(history.emerged[2] < 0, 1 << 30, history.emerged[2])
    tab.expect(lambda: emerged[tab.all(rows, "Number(e.dataset.channel)")[:8]].tolist(), np.sort(emerged)[:8].tolist())
    tab.frame.click(".features .segments label:nth-child(3)")
    masses = np.nan_to_num(run.channel_masses("conv_3", 2, "stamp")[2], nan=-1)
    tab.expect(
        lambda: masses[tab.all(rows, "Number(e.dataset.channel)")[:4]].tolist(), np.sort(masses)[::-1][:4].tolist()
    )
    expected = ("class=2", "order=mass%3Astamp")
    tab.expect(lambda: [part in tab.hash_parameters()["channels"] for part in expected], [True, True])


def test_two_thousand_channels_side_by_side(logdir: Path, view: View, visit: Open) -> None:
    tab = visit(view(logdir), fragment=f"{RUN}{BOTH}", viewport={"width": 1500, "height": 1000})
    tab.frame.select_option("[data-testid=feature-layer]", "wide")
    lanes = "[data-testid=lane]"
    tab.expect(lambda: sorted(tab.all(lanes, "e.dataset.run")), ["control/lrp", "planted/lrp"])
    made = "[data-run='planted/lrp'] [data-testid=channel]"
    tab.expect(lambda: len(tab.all(made, "1")), lambda count: 5 < count < 60)
    tab.frame.eval_on_selector("[data-testid=channels]", "e => { e.scrollTop = e.scrollHeight; }")  # settled: scrolls
    history = open_run(logdir / "planted").channel_history("wide")
    last = np.argsort(-np.nan_to_num(history.shares[-1, 0]), kind="stable")[-1]
    tab.expect(lambda: tab.all(made, "Number(e.dataset.channel)")[-1], int(last))
    expected = f"{np.count_nonzero(history.unused[-1])} unused, 1 dead"
    tab.expect(lambda: expected in tab.frame.inner_text("[data-testid=features] .summary"), True)


def test_a_channel_large_and_its_address(logdir: Path, view: View, visit: Open) -> None:
    tab = visit(view(logdir), fragment=PLANTED, viewport={"width": 1500, "height": 1000})
    history = open_run(logdir / "planted").channel_history("conv_3")
    channel = int(np.nan_to_num(history.shares[-1, 0]).argmax())
    tab.frame.click(f"[data-testid=channel-{channel}]")
    opened = "[data-testid=opened-channel]"
    tab.expect(lambda: tab.all(opened, "Number(e.dataset.channel)"), [channel])
    tab.expect(lambda: len(tab.all("[data-testid=channel-probes] figure", "1")), int((history.classes == 0).sum()))
    # Of the eight reference samples one was not kept.
    samples = "[data-testid=channel-references]"
    tab.expect(lambda: len(tab.all(f"{samples} canvas", "1")), lambda count: count >= 7)
    tab.expect(lambda: len(tab.all(f"{samples} figure", "1")), 8)
    tab.expect(lambda: len(tab.all("[data-testid=channel-film] figure", "1")), len(STEPS))
    # Keys close it and open it again: the focus goes there and back.
    focused = "e === document.activeElement"
    tab.expect(lambda: tab.all("[data-testid=close-channel]", focused), [True])
    tab.page.keyboard.press("Escape")
    tab.expect(lambda: tab.all(f"[data-testid=channel-{channel}]", focused), [True])
    tab.page.keyboard.press("Enter")
    tab.expect(lambda: tab.all("[data-testid=close-channel]", focused), [True])
    tab.frame.click("[data-testid=pin]")
    # A click on the curve moves the slider.
    box = tab.box(f"{opened} [data-testid=spark]")
    tab.page.mouse.click(box["x"] + 1, box["y"] + 20)
    tab.expect(lambda: tab.frame.input_value("[data-testid=step-number]"), "0")
    again = visit(view(logdir), fragment=tab.link())  # settled: the step, its last part, was waited for
    again.expect(lambda: again.all(opened, "Number(e.dataset.channel)"), [channel])
    again.expect_text("pin", "Unpin step 256")
    again.frame.click("[data-testid=close-channel]")
    again.expect(lambda: len(again.all("[data-testid=channel]", "1")) > 3, True)
