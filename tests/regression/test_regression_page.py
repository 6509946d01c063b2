"""The HTML page of a comparison: its source, and as Chromium shows it from a file."""

from __future__ import annotations

import os
import re
import shutil
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
from regression_helpers import make_snapshot

from lrp_monitor import compare

HOSTILE = '</script><img src=x onerror="document.title=1">&lt;\'"'


def changed(**options):
    before = make_snapshot(meta={"class_names": ["disk", HOSTILE, "triangle", "cross"]})
    rng = np.random.default_rng(1)
    maps = before.heatmaps.copy()
    maps[2] = rng.normal(size=maps[2].shape)
    maps[5] += 0.3 * rng.normal(size=maps[5].shape)
    predictions = before.predictions.copy()
    predictions[2] = 1
    now = replace(before, heatmaps=maps, predictions=predictions, names=("one", HOSTILE, *"cdefgh"))
    return compare(before, now, masks={"stamp": (1, 1, 4, 4), HOSTILE: (5, 5, 8, 8)}, **options)


class Source(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.tags, self.sources = [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.sources += [value for name, value in attributes if name in ("src", "href", "action", "srcset")]


def source(comparison, tmp_path, **options):
    comparison.write_html(tmp_path / "page.html", **options)
    return (tmp_path / "page.html").read_text(encoding="utf-8")


def test_nothing_lies_outside_of_the_page(tmp_path):
    text = source(changed(), tmp_path, title=HOSTILE)
    found = Source(text)
    assert len(found.sources) == 4 * 8
    assert all(value.startswith("data:image/png;base64,") for value in found.sources)
    assert found.tags.count("script") == 1
    assert not re.search(r"https?://|@import|url\(", text)
    assert "default-src 'none'" in text
    assert text.count(HOSTILE) == 0


def test_a_hundred_of_many_probes_are_shown_and_counted(tmp_path):
    before = make_snapshot(n=130)
    maps = before.heatmaps.copy()
    maps[125] *= -1
    text = source(compare(before, replace(before, heatmaps=maps)), tmp_path)
    assert "The 100 worst of 130 probes are shown." in text
    assert Source(text).tags.count("tr") == 101
    assert text.index("probe 125<") < text.index("probe 0<")


@pytest.mark.parametrize("shape", [(6,), (5, 7), (3, 4, 5), (400, 300)])
def test_maps_of_every_kind_are_drawn(tmp_path, shape):
    rng = np.random.default_rng(0)
    height, width = (1, shape[0]) if len(shape) == 1 else shape[-2:]
    snapshot = make_snapshot(
        n=2,
        heatmaps=rng.normal(size=(2, *shape)).astype(np.float32),
        images=rng.integers(0, 255, size=(2, height, width, 3), dtype=np.uint8),
        masks={"part": np.arange(2 * np.prod(shape)).reshape(2, *shape) % 5 == 0},
    )
    text = source(compare(snapshot, snapshot), tmp_path)
    assert len(Source(text).sources) == 8
    assert len(text) < 600_000


def test_maps_that_are_not_finite_are_drawn_too(tmp_path):
    maps = make_snapshot().heatmaps.copy()
    maps[1, 3, 3], maps[2] = np.nan, 0
    text = source(compare(make_snapshot(), replace(make_snapshot(), heatmaps=maps)), tmp_path)
    assert "nan*" in text


@pytest.fixture(scope="module")
def chromium():
    playwright = pytest.importorskip("playwright.sync_api")
    names = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")
    path = next(filter(None, map(shutil.which, names)), None)
    if path is None:
        (pytest.fail if os.environ.get("CI") else pytest.skip)(f"no Chromium on the PATH (Debian: {names[0]})")
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()


@pytest.mark.browser
def test_chromium_opens_it_from_a_file_and_sorts_by_keyboard(chromium, tmp_path):
    changed().write_html(tmp_path / "page.html", title=HOSTILE)
    page = chromium.new_page(viewport={"width": 1500, "height": 900})
    requests, problems = [], []
    page.on("request", lambda request: requests.append(request.url))
    page.on("console", lambda message: problems.append(message.text))
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.goto((tmp_path / "page.html").as_uri())

    assert page.title() == f"{HOSTILE}: changed"
    names = lambda: page.locator("tbody th").all_inner_texts()  # noqa: E731
    assert names()[:2] == ["c", "f"]
    assert HOSTILE in names()
    assert page.locator("tbody tr").first.locator(".bad").all_inner_texts()[0].endswith("*")
    sizes = page.eval_on_selector_all("img", "all => all.map(i => [i.naturalWidth, i.naturalHeight])")
    assert sizes == [[120, 120]] * 32  # ten pixels a side, enlarged twelvefold

    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "probe"
    page.keyboard.press("Enter")
    assert names() == ["one", HOSTILE, *"cdefgh"]
    page.keyboard.press("Enter")
    assert names() == [*"hgfedc", HOSTILE, "one"]
    assert page.locator("thead th").first.get_attribute("aria-sort") == "descending"
    page.keyboard.press("Tab")
    page.keyboard.press("Space")  # by cosine: the worst first
    assert names()[:2] == ["c", "f"]
    assert page.locator("[aria-sort]").all_inner_texts() == ["cosine"]
    values = page.eval_on_selector_all("tbody td:nth-child(6)", "all => all.map(c => parseFloat(c.textContent))")
    assert values == sorted(values)
    page.get_by_role("button", name="class").focus()
    page.keyboard.press("Enter")
    assert names()[0] == "c"

    assert requests == [(tmp_path / "page.html").as_uri()] + [url for url in requests if url.startswith("data:")]
    assert problems == []
    page.close()
