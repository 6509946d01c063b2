"""The examples of texts, series, tables, segmentation and two inputs, made short."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"


def example(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.trains
@pytest.mark.parametrize(
    ("name", "kinds", "says"),
    [
        ("watch_texts", ["tokens"], "most for its class: "),
        ("watch_next_words", ["tokens"], "of the relevance is on who"),
        ("watch_series", ["series"], "lstm: "),
        ("watch_a_table", ["table"], "asking price: "),
        ("watch_a_segmentation", ["image"], "lies in the objects"),
        ("watch_two_inputs", ["image", "table"], "about: "),
    ],
)
def test_an_example(name: str, kinds: list[str], says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    script = example(name)
    if name == "watch_series":
        script.TIMES = 8  # a loop over time is compiled step by step
    found = script.main(tmp_path, epochs=1)
    runs = list(found.values()) if isinstance(found, dict) else [found]
    for run in runs:
        assert [one.kind for one in run.probes.inputs] == kinds
        assert run.steps == [0, 1]
    assert says in capsys.readouterr().out
