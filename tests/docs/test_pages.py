"""Every code block of the documentation and of the README runs, page by page."""

from __future__ import annotations

import inspect
import re
import shutil
import sys
import textwrap
import warnings
from pathlib import Path

import keras
import pytest
from docs_helpers import DOCS, ROOT, Reader, blocks, is_run, pages

import lrp_monitor as lrp
from lrp_monitor.cli import main
from lrp_monitor.demo import train
from lrp_monitor.demo.shapes import CLASSES, make_shapes

PAGES = [page for page in pages() if any(map(is_run, blocks(page)))]


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo's folder, by the command of docs/tutorial/shortcut.md made short."""
    folder = tmp_path_factory.mktemp("pages") / "demo"
    assert main(["demo", "--log-dir", str(folder), "--epochs", "2", "--images", "64"]) == 0
    return folder


def training() -> dict[str, object]:
    """A small model and data, by the names that a reader has for his own."""
    data = make_shapes(64, seed=0)
    model = train.build_model()
    model.compile("sgd", "sparse_categorical_crossentropy", metrics=["accuracy"])
    x, y = data.images, data.labels
    return {
        "model": model,
        "x": x,
        "y": y,
        "x_val": x,
        "y_val": y,
        "x_probe": x[:8],
        "y_probe": y[:8],
        "names": CLASSES,
    }


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_the_blocks_of_a_page_run(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    if "<!-- test: with demo -->" in page.read_text("utf-8"):
        shutil.copytree(request.getfixturevalue("demo"), tmp_path / "runs" / "demo")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delenv("CI", raising=False)  # pages say what happens at a desk
    keras.utils.set_random_seed(0)
    reader = Reader(training() if "<!-- test: with training -->" in page.read_text("utf-8") else {})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # of alerts that pages show
        for block in blocks(page):
            reader.do(block)
    for name, module in list(sys.modules.items()):  # files of the page are modules of their own only there
        if str(getattr(module, "__file__", None) or "").startswith(str(tmp_path)):
            del sys.modules[name]
    keras.backend.clear_session()


def test_the_example_of_the_callback_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It stands in the API page, out of the docstring; its training is that of the README, which is run there."""
    monkeypatch.chdir(tmp_path)
    example = inspect.getdoc(lrp.LRPMonitor).split("Example:\n")[1].split("\n\n")[0]  # type: ignore[union-attr]
    *lines, fit = textwrap.dedent(example).splitlines()
    assert f"\n{fit} " in (ROOT / "README.md").read_text("utf-8")
    data = make_shapes(8, seed=0)
    names: dict[str, object] = {"lrp": lrp, "x_val": data.images, "y_val": data.labels}
    exec("\n".join(lines), names)
    assert isinstance(names["monitor"], lrp.LRPMonitor)


def test_a_block_that_is_not_run_has_its_reason() -> None:
    skipped = [block for page in pages() for block in blocks(page) if block.mark == "skip"]
    assert all(len(block.argument.split()) >= 4 for block in skipped), [block.where for block in skipped]


def test_links_of_the_readme_lead_somewhere() -> None:
    text = (ROOT / "README.md").read_text("utf-8")
    links = re.findall(r"\]\((?!https?:)([^)#]+)", text) + re.findall(r'(?:src|srcset)="([^"]+)"', text)
    assert len(links) > 3
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_marks_are_known() -> None:
    marks = {block.mark for page in pages() for block in blocks(page)}
    assert marks <= {"", "skip", "exit", "raises", "with"}


def test_every_page_is_in_the_navigation() -> None:
    listed = (ROOT / "mkdocs.yml").read_text("utf-8")
    names = [page.relative_to(DOCS).as_posix() for page in pages() if page.is_relative_to(DOCS)]
    assert names
    assert [name for name in names if f" {name}\n" not in listed] == []
