"""The committed bundle is what its sources build to, is small, and knows no other server."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from browser_helpers import absent

ASSETS = Path(__file__).parents[2] / "plugin_assets"


def npm(*arguments: str, cwd: Path) -> str:
    """Runs npm; fails with its own words."""
    done = subprocess.run(["npm", *arguments], cwd=cwd, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, f"npm {' '.join(arguments)}:\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fresh copy of the sources with their packages installed from the lock file."""
    if shutil.which("npm") is None:
        absent("no npm on the PATH: the comparison of the committed bundle with its sources needs Node 20 or newer")
    folder = tmp_path_factory.mktemp("bundle") / "plugin_assets"
    shutil.copytree(ASSETS, folder, ignore=shutil.ignore_patterns("node_modules", "dist", "__pycache__"))
    npm("ci", "--no-audit", "--no-fund", cwd=folder)
    return folder


def test_the_committed_bundle_is_a_fresh_build(copy: Path) -> None:
    npm("run", "build", cwd=copy)
    names, committed_names = (sorted(path.name for path in (folder / "dist").iterdir()) for folder in (copy, ASSETS))
    assert names == committed_names
    assert {"LICENSES.txt", "ProbeView.js", "chunk.js", "index.js"} < set(names)
    for name in names:
        fresh, committed = (folder / "dist" / name for folder in (copy, ASSETS))
        assert fresh.read_bytes() == committed.read_bytes(), f"dist/{name} is stale: run `npm run build` and commit it"


def test_types_and_unit_tests_of_the_page(copy: Path) -> None:
    npm("run", "check", cwd=copy)
    assert re.search(r"^# pass [1-9]\d+$", npm("test", cwd=copy), re.M)


def test_the_bundle_is_small_and_self_contained() -> None:
    files = {path.name: path.read_text("ascii") for path in (ASSETS / "dist").glob("*.js")}
    assert len(files["index.js"]) + len(files["chunk.js"]) < 135_000
    assert all(len(text) < 60_000 for name, text in files.items() if name != "chunk.js")
    code = "".join(files.values())
    assert set(re.findall(r"\w+://[^\s\"'`)]*", code)) <= {
        "http://www.w3.org/2000/svg",
        "http://www.w3.org/1999/xhtml",
        "http://www.w3.org/1998/Math/MathML",
    }
    assert not re.search(r"\beval\(|new Function\(|new Worker\(", code)
    licences = (ASSETS / "dist" / "LICENSES.txt").read_text()
    assert "preact" in licences
    assert "MIT" in licences


def test_the_lock_file_names_no_server() -> None:
    lock = (ASSETS / "package-lock.json").read_text()
    assert '"resolved"' not in lock
    assert lock.count('"integrity"') >= 4
