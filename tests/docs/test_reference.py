"""The reference's lists against the code that they are about."""

from __future__ import annotations

import importlib
import inspect
import re
import shlex
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import keras
import numpy as np
import pytest
from docs_helpers import DOCS

import lrp_monitor as lrp
from lrp_monitor.cli.main import parser
from lrp_monitor.plugin import app, parameters
from lrp_monitor.plugin.app import LRPPlugin
from lrp_monitor.regression import errors


@pytest.fixture
def generators(monkeypatch: pytest.MonkeyPatch) -> dict[str, ModuleType]:
    """The modules that write parts of the pages."""
    monkeypatch.syspath_prepend(str(DOCS))
    names = ("_command_line", "_errors")
    for name in names:
        monkeypatch.delitem(sys.modules, name, raising=False)
    return {name: importlib.import_module(name) for name in names}


def page(name: str) -> str:
    return (DOCS / "reference" / name).read_text("utf-8")


def listed(text: str, mark: str) -> list[re.Pattern[str]]:
    """The names in the first column of the table behind a mark, ``<...>`` and ``...`` standing for anything."""
    rows = text.split(f"<!-- tags: {mark} -->")[1].split("\n## ")[0]
    names = [name for row in re.findall(r"^\| (.+?) \|", rows, re.M) for name in re.findall(r"`([^`]+)`", row)]
    return [re.compile(re.escape(re.sub(r"<\w+>|\.\.\.", "*", name)).replace(r"\*", ".+")) for name in names]


def test_options_are_those_of_the_callback() -> None:
    options = re.findall(r"^\| `(\w+)` \|", page("monitor.md").split("## What is promised")[0], re.M)
    parameters = inspect.signature(lrp.LRPMonitor).parameters.values()
    assert sorted(options) == sorted(one.name for one in parameters if one.kind is not one.VAR_KEYWORD)


def test_arguments_of_probe_sets_are_complete() -> None:
    arguments = re.findall(r"^\| `(\w+)` \|", page("monitor.md").split("## Probe sets")[1], re.M)
    assert sorted(arguments) == sorted(inspect.signature(lrp.ProbeSet).parameters)


class NaNWeight(keras.layers.Layer):
    """A weight that is not finite and that nothing reads."""

    def build(self, shape: Any) -> None:
        self.unused = self.add_weight(shape=(2,), initializer=keras.initializers.Constant(np.nan), name="unused")

    def call(self, x: Any) -> Any:
        return x


@pytest.mark.parametrize("gradients", ["train", "probe"])
def test_tags_and_statistics_are_listed(gradients: str, tmp_path: Path) -> None:
    x = np.random.default_rng(0).uniform(size=(4, 6, 6, 1)).astype("float32")
    keras.utils.set_random_seed(0)  # of some initial weights no map has positive relevance, so that no share is logged
    model = keras.Sequential(
        [keras.layers.Input((6, 6, 1)), NaNWeight(), keras.layers.Flatten(), keras.layers.Dense(2)]
    )
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    probes = lrp.ProbeSet(x, labels=[0, 1, 0, 1], masks={"top": (0, 0, 2, 6)})
    lrp.Snapshot.of(model, probes).save(tmp_path / "first")
    monitor = lrp.LRPMonitor(
        probes, tmp_path / "run", gradients=gradients, relevance_layers="all", clusters=True,
        baseline=tmp_path / "first", features="flatten", verbose=0,
    )  # fmt: skip
    with pytest.warns(RuntimeWarning, match="not finite"):
        model.fit(x, probes.labels, epochs=2, callbacks=[monitor], verbose=0)
    run, text = lrp.open_run(tmp_path / "run"), page("tags.md")
    for found, mark in ((run.scalars, "scalars"), (run.statistics, "statistics")):
        patterns = listed(text, mark)
        assert [name for name in found if not any(p.fullmatch(name) for p in patterns)] == []
        other = "gradients/" if gradients == "probe" else "probe_gradients/"
        # A gradient that is not finite would train the weights away.
        rare = (other, "gradients/nonfinite/", *(["weights/update_ratio"] if gradients == "probe" else []))
        missing = [p.pattern for p in patterns if not any(map(p.fullmatch, found))]
        assert [name for name in missing if not name.startswith(rare)] == []


def test_routes_and_their_parameters_are_listed() -> None:
    class Context:
        data_provider = logdir = None
        flags = None

    text = page("http_routes.md")
    scripts = {path for path in LRPPlugin(Context()).get_plugin_apps() if path.endswith(".js") and path != "/index.js"}
    routes = set(LRPPlugin(Context()).get_plugin_apps()) - scripts
    assert sorted(re.findall(r"^## (/\S+)", text, re.M)) == sorted(routes)
    source = inspect.getsource(app) + inspect.getsource(parameters)
    named = set(re.findall(r'\w+\(request, "(\w+)"', source)) | set(
        re.findall(r'request\.args\S*?\(?\[?"(\w+)"', source)
    )
    assert {"run", "step", "steps", "since", "columns", "channels"} <= named
    assert [name for name in sorted(named) if f"`{name}`" not in text and f"`{name}=1`" not in text] == []
    for route, section in re.findall(r"^## /(\w+)$(.*?)(?=^## )", text, re.M | re.S):
        read = set(re.findall(r'\w+\(request, "(\w+)"', inspect.getsource(getattr(LRPPlugin, f"_{route}"))))
        assert [name for name in sorted(read) if f"`{name}`" not in section and f"`{name}=1`" not in section] == [], (
            route
        )


def test_kinds_of_baseline_errors_are_listed() -> None:
    sentence = page("errors.md").split("Kinds of `BaselineError`:")[1].split("\n\n")[0]
    assert sorted(re.findall(r"`(\w+)`", sentence)) == sorted(errors._MENDS)


def test_all_errors_are_found(generators: dict[str, ModuleType]) -> None:
    parts = dict(generators["_errors"].parts())
    assert "Elsewhere" not in parts, "a module without a part of the page: add it to PARTS"
    assert list(parts) == list(generators["_errors"].PARTS)
    raised = {(one.kind, one.message) for errors in parts.values() for one in errors}
    assert len(raised) > 300
    reasons = {one.message for one in parts["Explaining a model"] if one.kind == "UnsupportedModelError"}
    assert {"divides by an activation", "pads with a constant that is not zero"} <= reasons
    # Of each kind one that is raised here.
    with pytest.raises(ValueError) as caught:
        lrp.ProbeSet(np.zeros((2, 3)), labels=[0, 1, 2])
    assert any(kind == "ValueError" and is_form_of(message, str(caught.value)) for kind, message in raised)
    with pytest.raises(lrp.StoreError) as missing:
        lrp.open_run("nowhere")
    assert any(kind == "StoreError" and is_form_of(message, str(missing.value)) for kind, message in raised)


def is_form_of(message: str, text: str) -> bool:
    """Whether a text is what becomes of a listed message."""
    return re.fullmatch(re.sub("‹.*?›", ".*", re.escape(message)), text, re.S) is not None


def test_every_command_is_described(generators: dict[str, ModuleType]) -> None:
    text = generators["_command_line"].page()
    commands = list(generators["_command_line"].commands())
    assert len(commands) > 9
    for command in commands:
        assert f"## {command.prog}\n" in text
        for action in command._actions:
            assert action.dest == "help" or all(f"`{option}" in text for option in action.option_strings)


def test_examples_of_the_help_are_right_usage(generators: dict[str, ModuleType]) -> None:
    lines = [
        line
        for command in generators["_command_line"].commands()
        for line in generators["_command_line"].examples(command)
    ]
    assert len(lines) > 15
    for line in lines:
        program, *words = shlex.split(line.partition(" && ")[0])
        assert program == "lrp-monitor"
        parser().parse_args(words)  # ends the process where it is wrong


def test_every_public_name_is_in_the_api() -> None:
    text = "".join(file.read_text("utf-8") for file in (DOCS / "reference" / "api").glob("*.md"))
    for name, (module, attribute) in lrp._PUBLIC.items():
        wanted = module if attribute is None or attribute == name else f"{module}.{attribute}"
        if name not in ("rules", "targets", "composites", "treatments"):
            wanted = f"{getattr(lrp, name).__module__}.{name}"
        assert f"::: {wanted}" in text, name
