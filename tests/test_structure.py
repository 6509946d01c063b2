"""The structure of the package: imports between its rooms point down, and no modules import each other in a circle."""

from __future__ import annotations

import ast
import posixpath
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import lrp_monitor

PACKAGE = Path(lrp_monitor.__file__).parent

# From the top down: a room may import the rooms below its own floor, and none beside it.
FLOORS = (
    ("cli",),
    ("demo",),
    ("notebook", "training"),
    ("sanity", "plugin"),
    ("regression",),
    ("pictures", "spectral"),
    ("probes",),
    ("engine",),
    ("encodings", "passes"),
    ("archives", "console", "keras_internals", "metrics", "store", "text"),
    ("arguments", "files", "mapped", "plain"),
)
# The same inside of rooms that have rooms of their own; "" are the modules that stand in none of them.
INNER_FLOORS = {
    "engine": (
        ("",),
        ("surrogates",),
        ("steps",),
        ("trace", "rules"),
        ("inputs", "targets"),
        ("gradients",),
        ("backend", "errors"),
    ),
}
# The same of the page's TypeScript; rooms of one floor may import each other, and any may load a view when it is asked
# for.
PAGE = PACKAGE.parent / "plugin_assets" / "src"
PAGE_FLOORS = (
    ("index.tsx",),
    ("events", "features", "help", "overview", "probe", "runs", "share"),
    ("kinds", "ui"),
    ("state",),
    ("paint",),
    ("data",),
)
# What a room must not import, whatever the floors allow: TensorBoard starts without either framework.
APART = {"plugin": {"engine", "regression", "probes", "pictures", "spectral"}}
FRAMEWORKS = {"keras", "tensorflow"}
WITHOUT_FRAMEWORKS = ("notebook", "store", "plugin", "metrics", "text", "archives", "probes", "pictures")


def modules() -> dict[str, Path]:
    """{dotted name: file} of every module; a package is the module of its ``__init__``."""
    named = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
        named[".".join(parts).removesuffix(".__init__")] = path
    return named


MODULES = modules()


def imported(path: Path, *, deferred: bool = True) -> Iterator[str]:
    """The modules that a file imports when it runs, with those inside of functions where ``deferred``."""

    def nodes(body: list[ast.stmt]) -> Iterator[ast.stmt]:
        for node in body:
            if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
                continue
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and not deferred:
                continue
            yield node
            for field in ("body", "orelse", "finalbody", "handlers"):
                yield from nodes(getattr(node, field, None) or [])

    for node in nodes(ast.parse(path.read_text(encoding="utf-8")).body):
        if isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                yield inner if inner in MODULES else node.module
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def room_of(module: str) -> str:
    return [*module.split("."), ""][1]


FLOOR = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}


def test_every_room_has_a_floor() -> None:
    assert {room_of(module) for module in MODULES} - {""} == set(FLOOR)


def test_the_map_names_every_room() -> None:
    text = (PACKAGE.parent / "CONTRIBUTING.md").read_text("utf-8")
    text = text.split("## The map of the house")[1].split("\n### ")[0]
    named = {name for row in text.splitlines() if row.startswith("| `") for name in re.findall(r"`([\w/.]+)`", row)}
    shown = {name.removeprefix("lrp_monitor/").removesuffix(".py") for name in named}
    assert set(FLOOR) <= shown, set(FLOOR) - shown


def test_imports_point_down() -> None:
    upward = [
        f"{module} imports {target}"
        for module, path in MODULES.items()
        if (room := room_of(module))
        for target in imported(path)
        if target in MODULES and (to := room_of(target)) not in ("", room)
        if FLOOR[to] <= FLOOR[room] or to in APART.get(room, ())
    ]
    assert not upward


@pytest.mark.parametrize("room", INNER_FLOORS)
def test_imports_point_down_inside_of_a_room(room: str) -> None:
    floors = {name: floor for floor, names in enumerate(INNER_FLOORS[room]) for name in names}

    def inner(module: str) -> str | None:
        """The inner room of a module of ``room``; None for a module outside of it."""
        _, outer, name, *_ = [*module.split("."), "", ""]
        if outer != room:
            return None
        return name if name in floors else ""

    packages = {path.parent.name for path in (PACKAGE / room).glob("*/__init__.py")}
    assert packages <= set(floors), packages - set(floors)
    upward = [
        f"{module} imports {target}"
        for module, path in MODULES.items()
        if (here := inner(module)) is not None
        for target in imported(path)
        if target in MODULES and (there := inner(target)) is not None and there != here
        if floors[there] <= floors[here]
    ]
    assert not upward


def test_what_reads_logs_imports_no_framework() -> None:
    found = [
        f"{module} imports {target}"
        for module, path in MODULES.items()
        if room_of(module) in WITHOUT_FRAMEWORKS
        for target in imported(path, deferred=False)
        if target.split(".")[0] in FRAMEWORKS
    ]
    assert not found


def on_circles(ahead: dict[str, set[str]]) -> set[str]:
    """The modules that import each other in a circle, with those that import these, of {module: what it imports}."""
    left = dict(ahead)
    while free := [module for module, targets in left.items() if not targets & left.keys()]:
        for module in free:
            del left[module]
    return set(left)


def test_no_circle_of_imports() -> None:
    ahead = {
        module: {target for target in imported(path, deferred=False) if target in MODULES and target != module}
        for module, path in MODULES.items()
    }
    assert not on_circles(ahead)


def page_imports() -> dict[str, set[str]]:
    """{file below the page's sources: the files that it imports when it is loaded, types among them}."""
    files = {path.relative_to(PAGE).as_posix(): path for path in PAGE.rglob("*.ts*") if ".d." not in path.name}
    found = {}
    for name, path in files.items():
        given = re.findall(r'^(?:import|export)\s(?:[^;"]*\sfrom\s)?"(\.[^"]+)"', path.read_text("utf-8"), re.M)
        stems = {posixpath.normpath(posixpath.join(posixpath.dirname(name), one)) for one in given}
        assert all(f"{stem}.ts" in files or f"{stem}.tsx" in files or stem.endswith(".css") for stem in stems), stems
        found[name] = {other for other in files if other.rsplit(".", 1)[0] in stems}
    return found


def test_imports_of_the_page_point_down() -> None:
    floors = {room: floor for floor, rooms in enumerate(PAGE_FLOORS) for room in rooms}
    ahead = page_imports()
    assert sum(map(len, ahead.values())) > 300
    room = {name: name.split("/")[0] for name in ahead}
    assert set(room.values()) == set(floors)
    upward = [
        f"{name} imports {target}"
        for name, targets in ahead.items()
        for target in targets
        if floors[room[target]] < floors[room[name]]
    ]
    assert not upward
    assert not on_circles(ahead)


def test_no_two_files_of_tests_have_one_name() -> None:
    """pytest imports them as modules without a package: the second one of a name would end the whole run."""
    names = [path.name for path in Path(__file__).parent.rglob("*.py") if path.name != "conftest.py"]
    assert sorted(name for name in set(names) if names.count(name) > 1) == []
