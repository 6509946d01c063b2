"""Docstrings for mkdocstrings: a paragraph of ``name: text`` becomes a list, one item a name."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from typing import Any

import griffe

_NAMES = r"\w+(?:, \w+)*"
_ITEM = re.compile(rf"^(?P<names>{_NAMES}|``[^`]+``): (?P<text>.*)$", re.S)
_INSIDE = re.compile(rf"(?<=[.;)]) (?=(?:{_NAMES}|``{_NAMES}``): )")
_TAG = re.compile(r"(`+)[^`]+\1|<(?=\w)")  # <mask> in a text is no tag
_ROLE = re.compile(r":(?:class|meth|func|mod|attr):`~?(?:\w+\.)*(\w+)`")


def as_markdown(text: str, known: Collection[str]) -> str:
    """A docstring's text with its lists of names as Markdown lists; other paragraphs stay as they are.

    known: the names of arguments and attributes, at which an item may begin in the middle of a line.
    """
    plain = _TAG.sub(lambda match: match[0] if match[0].startswith("`") else "&lt;", _ROLE.sub(r"`\1`", text))
    paragraphs = re.split(r"\n[ \t]*\n", plain)
    return "\n\n".join(_as_list(paragraph, known) for paragraph in paragraphs)


def _as_list(paragraph: str, known: Collection[str]) -> str:
    lines = paragraph.splitlines()
    if not lines or not _ITEM.match(lines[0]):
        return paragraph
    items: list[str] = []
    for line in lines:
        if _ITEM.match(line) and not (items and items[-1].endswith(",")):
            items.append(line)
        else:
            items[-1] += f" {line.strip()}"
    return "\n".join(f"- {_marked(part)}" for item in items for part in _parts(item, known))


def _parts(item: str, known: Collection[str]) -> Iterator[str]:
    """An item, split where another name begins inside it."""
    start = 0
    for match in _INSIDE.finditer(item):
        names = item[match.end() :].partition(":")[0].strip("`").split(", ")
        if all(name in known for name in names):
            yield item[start : match.start()]
            start = match.end()
    yield item[start:]


def _marked(item: str) -> str:
    match = _ITEM.match(item)
    if match is None:
        return item
    names = ", ".join(f"`{name}`" for name in match["names"].strip("`").split(", "))
    return f"{names}: {match['text'].removesuffix(';')}"


def _known(obj: Any) -> set[str]:
    if obj.is_function:
        return {parameter.name.lstrip("*") for parameter in obj.parameters}
    init = obj.members.get("__init__") if obj.is_class else None
    return set(obj.members) | (_known(init) if init is not None and init.is_function else set())


class Lists(griffe.Extension):
    """Rewrites every docstring of the package before it is parsed."""

    def on_package(self, *, pkg: Any, **_: Any) -> None:
        """Called when a package is loaded."""
        self._rewrite(pkg)

    def _rewrite(self, obj: Any) -> None:
        if obj.is_alias:
            return
        if obj.docstring is not None:
            obj.docstring.value = as_markdown(obj.docstring.value, _known(obj))
        if obj.is_module or obj.is_class:
            for member in obj.members.values():
                self._rewrite(member)
