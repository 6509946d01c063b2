"""Docstrings for mkdocstrings: a paragraph of ``name: text`` lines becomes a list, one item a name."""

from __future__ import annotations

import re
from typing import Any

import griffe

_ITEM = re.compile(r"^(?P<names>\w+(?:, \w+)*|``[^`]+``): (?P<text>.*)$")
_ROLE = re.compile(r":(?:class|meth|func|mod|attr):`~?(?:\w+\.)*(\w+)`")


def as_markdown(text: str) -> str:
    """A docstring's text with its lists of arguments as Markdown lists; other paragraphs stay as they are."""
    paragraphs = re.split(r"\n[ \t]*\n", _ROLE.sub(r"`\1`", text))
    return "\n\n".join(_as_list(paragraph) for paragraph in paragraphs)


def _as_list(paragraph: str) -> str:
    lines = paragraph.splitlines()
    if not lines or not _ITEM.match(lines[0]) or lines[0].startswith((" ", ">>>")):
        return paragraph
    found = []
    for line in lines:
        item = _ITEM.match(line)
        # "Raises: ..." and the like are sentences; a section's head has nothing behind its colon.
        if item is None:
            found.append(f"  {line.strip()}")
        else:
            names = ", ".join(f"`{name}`" for name in item["names"].strip("`").split(", "))
            found.append(f"- {names}: {item['text']}")
    return "\n".join(found)


class Lists(griffe.Extension):
    """Rewrites every docstring of the package before it is parsed."""

    def on_instance(self, *, obj: Any, **_: Any) -> None:
        """Called for each module, class, function and attribute."""
        if obj.docstring is not None:
            obj.docstring.value = as_markdown(obj.docstring.value)
