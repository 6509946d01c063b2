"""Errors and numbers in the words that a line, a log and a warning have room for."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import SupportsFloat

_BOLD = re.compile(r"\x1b\[1m(.*)\x1b\[0m", re.DOTALL)
"""Keras sets what a layer raised in bold, between a headline and the arguments of the call."""
_HEADLINE = re.compile(r"Exception encountered when calling (.+?)\.?$", re.MULTILINE)
# Of TensorFlow's messages: where an operation was made and run, around what is wrong with it.
_PLACES = (re.compile(r"\{\{function_node [^}]*\}\}\s*"), re.compile(r"\s*\[Op:\w+\](\s+name:\s*)?\s*$"))
_FRAMES = re.compile(
    r"\s*$|\s*File \"|\s*Graph execution error|\s*Detected at node|\s*<stack traces|\s*Traceback|\s*in user code:"
    r"|\s*\[\[\{\{|\s*\[\[[\w/]+\]\]|\s*[~^]+\s*$"
)


def number(given: SupportsFloat, digits: int = 3) -> str:
    """A number with that many significant digits: "0.000412", "0.950", "12.3", "1234", "1.23e6"; "-" for NaN.

    From 100,000 on, and below a ten-thousandth, as a power of ten. `plugin_assets/src/data/format.ts` does the same.
    """
    value = float(given)
    if math.isnan(value):
        return "-"
    if value == 0 or math.isinf(value):
        return "0" if value == 0 else str(value)
    size = abs(value)
    if not 1e-4 <= size < 1e5:
        mantissa, exponent = f"{value:.{digits - 1}e}".split("e")
        return f"{mantissa}e{int(exponent)}"
    return f"{value:.{max(0, digits - 1 - math.floor(math.log10(size)))}f}"


def percent(share: SupportsFloat) -> str:
    """A share in per cent, "12.3 %"; below a tenth with two significant digits, "0.041 %"; "-" for NaN."""
    value = 100 * float(share)
    if math.isnan(value):
        return "-"
    return f"{value:.1f} %" if value == 0 or abs(value) >= 0.0995 else f"{number(value, 2)} %"


def in_one_line(error: BaseException, most: int | None = None) -> str:
    """An error's message alone, in one line, of at most so many characters."""
    text = str(error)
    return " ".join((text if most is None else text[: 4 * most]).split())[:most]


def printable(text: str) -> str:
    """A text without what moves a terminal's cursor or colours it: a question mark for each such character."""
    return "".join(one if one.isprintable() else "?" for one in text)


def aligned(rows: Sequence[Sequence[str]], left: int = 1) -> list[str]:
    """Rows of cells as lines, columns two spaces apart; the first ``left`` columns are flush left, the others right."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return [
        "  ".join(
            cell.ljust(width) if column < left else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def describe(error: BaseException) -> str:
    """An error with its type, the layer that raised it where Keras tells, and its cause in one line."""
    return _with_type(error, " ".join(dict.fromkeys(_cause(error))))


def first_line(error: BaseException) -> str:
    """As `describe`, of the cause its first line alone: TensorFlow's messages go on for pages."""
    return _with_type(error, _cause(error)[0])


def _with_type(error: BaseException, cause: str) -> str:
    found = _HEADLINE.search(_text(error))
    return f"{type(error).__name__}{f' in {found[1]}' if found else ''}: {cause}"


def _text(error: BaseException) -> str:
    # A KeyError's text is the representation of its key.
    only = error.args[0] if isinstance(error, KeyError) and len(error.args) == 1 else None
    return only if isinstance(only, str) else str(error)


def _cause(error: BaseException) -> list[str]:
    """The lines of an error's message that say what is wrong; at least one."""
    text = _text(error)
    bold = _BOLD.search(text)
    text = bold[1] if bold else text
    lines, code = [], False
    for line in text.splitlines():
        # The line of code that a frame shows stands below it, further to the right.
        shown, code = code and line.startswith("  "), bool(re.match(r"\s*File \"", line))
        if shown or _FRAMES.match(line) or _HEADLINE.match(line.strip()):
            continue
        for place in _PLACES:
            line = place.sub("", line)
        lines.append(" ".join(line.split()))
    return [line for line in lines if line] or ["no message"]
