"""What setup.cfg says of the package, against the folders, and as a package index shows it."""

from __future__ import annotations

import configparser
import re
from pathlib import Path

ROOT = Path(__file__).parents[1]


def setup() -> configparser.ConfigParser:
    parser = configparser.ConfigParser(interpolation=None)
    parser.read(ROOT / "setup.cfg", "utf-8")
    return parser


def test_every_package_is_listed() -> None:
    listed = setup()["options"]["packages"].split()
    folders = {file.parent.relative_to(ROOT) for file in (ROOT / "lrp_monitor").rglob("__init__.py")}
    expected = {".".join(folder.parts) for folder in folders} | {"lrp_monitor.plugin_assets"}
    assert sorted(listed) == sorted(expected)


def test_every_folder_of_modules_is_a_package() -> None:
    folders = {file.parent for file in (ROOT / "lrp_monitor").rglob("*.py")}
    assert [str(folder) for folder in folders if not (folder / "__init__.py").is_file()] == []


def test_the_text_for_a_package_index_stands_alone() -> None:
    metadata = setup()["metadata"]
    text = metadata["long_description"]
    assert not text.startswith("file:")
    assert "](" not in text, "a relative link or picture, which an index cannot show"
    assert "<img" not in text
    assert not re.search(r"^#", text, re.M), "setup.cfg takes a line that begins with # for a comment"
    assert len(text.splitlines()) < 30
    assert len(metadata["description"]) <= 120


def test_it_says_that_it_is_typed() -> None:
    assert (ROOT / "lrp_monitor" / "py.typed").is_file()
    assert "Typing :: Typed" in setup()["metadata"]["classifiers"].splitlines()


def test_the_workflow_runs_every_python_version_that_is_claimed() -> None:
    text = (ROOT / ".github" / "workflows" / "ci.yml").read_text("utf-8")
    (listed,) = re.findall(r"python-version: \[(.+)\]", text)
    claimed = re.findall(r"Python :: (3\.\d+)", setup()["metadata"]["classifiers"])
    assert re.findall(r'"([\d.]+)"', listed) == claimed
