"""What a request asks for: its parameters, checked, each error naming the parameter."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from tensorboard import errors
from werkzeug import wrappers

from lrp_monitor.store.reader import Run
from lrp_monitor.store.steps import StepHeader

_STEP = re.compile(r"[0-9]{1,18}")
_HEX = re.compile(r"[0-9a-f]{8,128}")
_LONGEST_TEXT = 4096
# Of a list the names count, not the text: a deep network has hundreds of layer columns.
_LONGEST_LIST = 65536
_MOST_NUMBERS = 512


def since(request: wrappers.Request, run: Run) -> tuple[list[StepHeader], bool]:
    """The steps after ``since``, or all of them and True where steps up to it have changed.

    They have where step ``since`` no longer counts, or (``session`` given: the one that wrote it, as the page
    knows it) now counts as written by another session: a later session replaces all from its first step on.
    """
    if "since" not in request.args:
        return run.records(), False
    step = whole(request, "since")
    session = hexadecimal(request, "session") if "session" in request.args else None
    if not run.is_current(step, session):
        return run.records(), True
    return run.records(after=step), False


def column_names(request: wrappers.Request, known: list[str]) -> list[str]:
    """The columns among ``known`` (sorted) that ``columns`` names, comma separated, or ``column``, one each time.

    A name that ends in "/*" stands for all below it. Without either parameter all are meant; an unknown name
    stands for nothing, as a run may get the column later on.
    """
    if "columns" not in request.args and "column" not in request.args:
        return known
    fits = _fitting(request, "columns", request.args.getlist("column"))
    return [name for name in known if fits(name)]


def names(request: wrappers.Request, name: str) -> Callable[[str], bool] | None:
    """Whether a text is one of the names of a parameter, read as `column_names` does; None without it."""
    return _fitting(request, name) if name in request.args else None


def _fitting(request: wrappers.Request, name: str, more: Sequence[str] = ()) -> Callable[[str], bool]:
    listed = ",".join(request.args.getlist(name))
    if len(listed) > _LONGEST_LIST:
        raise errors.InvalidArgumentError(f"the parameter {name!r} is longer than {_LONGEST_LIST} characters")
    wanted = {*listed.split(","), *more}
    below = tuple(text[:-1] for text in wanted if text.endswith("/*"))
    return lambda text: text in wanted or (bool(below) and text.startswith(below))


def text(request: wrappers.Request, name: str) -> str:
    """A text that must be there, of at most 4096 characters."""
    value = request.args.get(name)
    if not value:
        raise errors.InvalidArgumentError(f"the parameter {name!r} is missing")
    if len(value) > _LONGEST_TEXT:
        raise errors.InvalidArgumentError(f"the parameter {name!r} is longer than {_LONGEST_TEXT} characters")
    return str(value)


def whole(request: wrappers.Request, name: str) -> int:
    """A whole number >= 0."""
    value = text(request, name)
    if not _STEP.fullmatch(value):
        raise errors.InvalidArgumentError(f"{name} must be a whole number >= 0, got {value[:40]!r}")
    return int(value)


def wholes(request: wrappers.Request, name: str) -> list[int]:
    """Whole numbers >= 0, comma separated: at least one, at most 512."""
    value = text(request, name)
    parts = value.split(",")
    if len(parts) > _MOST_NUMBERS or not all(_STEP.fullmatch(part) for part in parts):
        raise errors.InvalidArgumentError(
            f"{name} must be at most {_MOST_NUMBERS} whole numbers >= 0 with commas between, got {value[:40]!r}"
        )
    return [int(part) for part in parts]


def positions(request: wrappers.Request, name: str, length: int) -> list[int] | None:
    """Places in a list of ``length``, comma separated, none twice: at most 512; None where it is not asked for."""
    value = request.args.get(name)
    if value is None:
        return None
    found = wholes(request, name) if value else []
    if len(set(found)) < len(found):
        raise errors.InvalidArgumentError(f"{name} names a place twice, got {value[:40]!r}")
    for at in found:
        _check_place(name, at, length)
    return found


def flag(request: wrappers.Request, name: str) -> bool:
    """Whether a parameter is 1; 0 and its absence say no."""
    value = request.args.get(name, "0")
    if value not in ("0", "1"):
        raise errors.InvalidArgumentError(f"{name} must be 0 or 1, got {value[:40]!r}")
    return bool(value == "1")


def hexadecimal(request: wrappers.Request, name: str) -> str:
    """Hexadecimal digits: a hash, or a session's id."""
    value = text(request, name)
    if not _HEX.fullmatch(value):
        raise errors.InvalidArgumentError(f"{name} must be hexadecimal digits, got {value[:40]!r}")
    return value


def position(request: wrappers.Request, name: str, length: int) -> int | None:
    """A place in a list of ``length``, None where it is not asked for."""
    if name not in request.args:
        return None
    value = whole(request, name)
    _check_place(name, value, length)
    return value


def _check_place(name: str, value: int, length: int) -> None:
    if value >= length:
        raise errors.NotFoundError(f"there is no {name} {value}: there are {length}, counted from 0")
