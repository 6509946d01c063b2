"""The code blocks of the documentation's pages, and how each is run.

Fences and what becomes of them, page by page in a folder of its own:

- ``python``: run, all of a page in one namespace;
- any with ``title="FILE"``: written to that file (and run by what the page does with it);
- ``sh``: ``lrp-monitor`` and ``pytest`` are called in process, ``python FILE`` is run as a script in process;
- a comment ``# -> TEXT`` behind a line of Python that prints: the text is printed, in the order of the lines;
- ``text`` is output or a table and not run.

A comment in the line before a fence changes that:

- ``<!-- test: skip REASON -->``: not run; the reason says why it cannot be, and who tries it instead;
- ``<!-- test: exit CODE -->``: of the command (else 0);
- ``<!-- test: raises NAME -->``: the error that the block ends in.

Anywhere on a page:

- ``<!-- test: with demo -->``: the demo's two runs lie in ``runs/demo``;
- ``<!-- test: with training -->``: the page is about a training of the reader's own. ``model``, ``x``, ``y``,
  ``x_val``, ``y_val``, ``x_probe``, ``y_probe`` and ``names`` are there.
"""

from __future__ import annotations

import contextlib
import io
import re
import runpy
import shlex
import sys
import traceback
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from lrp_monitor.cli import main

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"

_FENCE = re.compile(r"^(?P<indent> *)```(?P<head>[^\n`]*)\n(?P<code>.*?)^(?P=indent)```[ ]*$", re.M | re.S)
_MARK = re.compile(r"<!-- test: (\w+) ?(.*?) -->\s*\Z")
_TITLE = re.compile(r'title="([^"]+)"')
_PRINTED = re.compile(r"# -> (.*)$", re.M)
_NOT_RUN = ("text", "")


@dataclass(frozen=True)
class Block:
    """One fence: where it stands, its language, and what its comment says."""

    page: Path
    line: int
    language: str
    title: str | None
    code: str
    mark: str
    argument: str

    @property
    def where(self) -> str:
        """Page and line."""
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def pages() -> list[Path]:
    """All pages that readers see."""
    return [ROOT / "README.md", *sorted(path for path in DOCS.rglob("*.md") if not path.name.startswith("_"))]


def blocks(page: Path) -> list[Block]:
    """The fences of a page, in order. ValueError for one that is left open."""
    text = page.read_text("utf-8")
    found = []
    for match in _FENCE.finditer(text):
        head = match["head"]
        language, title = head.split()[0] if head.split() else "", _TITLE.search(head)
        mark = _MARK.search(text[: match.start()])
        indent = len(match["indent"])
        code = "".join(line[indent:] if line.strip() else "\n" for line in match["code"].splitlines(keepends=True))
        line = text.count("\n", 0, match.start()) + 1
        found.append(Block(page, line, language, title and title[1], code, *((mark[1], mark[2]) if mark else ("", ""))))
    if text.count("```") != 2 * len(found):
        raise ValueError(f"{page}: {text.count('```')} marks of fences, but {len(found)} fences")
    return found


def is_run(block: Block) -> bool:
    """Whether a block is run, or written to a file that is."""
    return block.mark != "skip" and block.language not in _NOT_RUN


class Reader:
    """Does what a page says, in the working directory. names: what its code finds."""

    def __init__(self, names: Mapping[str, object]) -> None:
        self._names: dict[str, object] = {"__name__": "__main__", **names}

    def do(self, block: Block) -> None:
        """Runs one block. Fails naming its page and line."""
        if not is_run(block):
            return
        if block.title is not None:
            file = Path(block.title)
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(block.code, "utf-8")
        elif block.language == "python":
            self._python(block)
        elif block.language == "sh":
            for command in _commands(block.code):
                self._shell(block, command)
        else:
            pytest.fail(f"{block.where}: what runs {block.language!r}? Mark it, or write it to a file (title=)")

    def _python(self, block: Block) -> None:
        padded = "\n" * block.line + block.code  # lines of a traceback are those of the page
        wanted = block.argument if block.mark == "raises" else ""
        output = io.StringIO()
        try:
            with contextlib.redirect_stdout(output):
                exec(compile(padded, str(block.page), "exec"), self._names)
        except Exception as error:
            if type(error).__name__ == wanted:
                return
            pytest.fail(f"{block.where}: {''.join(traceback.format_exception(error))}", pytrace=False)
        if wanted:
            pytest.fail(f"{block.where}: raises no {wanted}")
        lines = iter(output.getvalue().splitlines())
        for text in _PRINTED.findall(block.code):
            if text.strip() not in lines:  # which goes on behind the line that it finds
                pytest.fail(f"{block.where}: does not print {text!r} in this order:\n{output.getvalue()}")

    def _shell(self, block: Block, command: str) -> None:
        words = shlex.split(command, comments=True)
        expected = int(block.argument) if block.mark == "exit" else 0
        output = io.StringIO()
        with contextlib.redirect_stdout(output), contextlib.redirect_stderr(output):
            code = _called(words)
        if code is None:
            pytest.fail(f"{block.where}: {words[0]!r} is not called here; mark the block with a reason")
        if code != expected:
            pytest.fail(f"{block.where}: {command} ends in {code}, not {expected}:\n{output.getvalue()}", pytrace=False)


def _commands(code: str) -> list[str]:
    joined = code.replace("\\\n", " ")
    return [line.strip() for line in joined.splitlines() if line.strip() and not line.strip().startswith("#")]


def _called(words: list[str]) -> int | None:
    """The exit code of a command, run in this process; None for one that is not known here."""
    if words[0] == "lrp-monitor":
        try:
            return main(words[1:])
        except SystemExit as stop:  # --help, --version, or wrong usage
            return int(stop.code or 0)
    if words[0] == "pytest":
        # The modules of a small project are its own; what this process has loaded otherwise stays.
        known = set(sys.modules)
        code = int(pytest.main(["-p", "no:xdist", "-p", "no:cacheprovider", "--rootdir=.", *words[1:]]))
        for name in set(sys.modules) - known:
            file = getattr(sys.modules[name], "__file__", None) or ""
            if file.startswith(str(Path.cwd())):
                del sys.modules[name]
        return code
    if words[0] == "python" and words[1].endswith(".py"):
        before = sys.argv
        sys.argv = words[1:]
        try:
            runpy.run_path(words[1], run_name="__main__")
        except SystemExit as stop:
            return int(stop.code or 0)
        finally:
            sys.argv = before
        return 0
    return None
