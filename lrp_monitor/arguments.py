"""Arguments of public functions: the names that options take, as types, and checks whose errors name the argument.

TypeError is raised for a value of the wrong type, ValueError for one of the right type that is not allowed.
"""

from __future__ import annotations

import difflib
import inspect
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal

Preset = Literal[
    "auto",
    "lrp_zero",
    "epsilon",
    "epsilon_plus",
    "epsilon_plus_flat",
    "epsilon_alpha2_beta1",
    "epsilon_alpha2_beta1_flat",
    "epsilon_gamma",
    "epsilon_gamma_box",
    "deep_taylor",
    "attn_lrp",
    "cp_lrp",
]
"""Composites by name: see `engine.rules.composites`."""
Colormap = Literal["seismic", "safe", "dark"]
"""Colours of relevance by name: see `pictures.render`."""
Tier = Literal["same_weights", "mixed_precision", "fine_tuned", "retrained"]
"""Limits of a comparison by name: see `regression.tiers`."""
OnUnknown = Literal["raise", "gradient"]
"""What becomes of layers without a treatment: an error, or the plain gradient with a warning."""


def argument_error(of_type: bool, message: str) -> TypeError | ValueError:
    """The error for an argument: a ValueError where its value is ``of_type``, else a TypeError."""
    return ValueError(message) if of_type else TypeError(message)


def one_of(argument: str, value: Any, allowed: Sequence[Any]) -> None:
    """Raises TypeError or ValueError that names the argument, unless ``value`` is one of ``allowed``."""
    # An array is equal to many things.
    plain = isinstance(value, str | int) or type(value).__name__ == "bool"  # NumPy's bool, too, without NumPy
    if plain and value in allowed:
        return
    of_type = any(type(value) is type(one) for one in allowed)
    hint = suggestion(value, allowed) if isinstance(value, str) else ""
    raise argument_error(of_type, f"{argument}={value!r}: expected {' or '.join(map(repr, allowed))}{hint}")


def check_keywords(caller: Callable[..., Any], given: Iterable[str], taker: Callable[..., Any]) -> None:
    """TypeError for a keyword ``given`` to ``caller`` that it hands on, and that ``taker`` does not have.

    The error is ``caller``'s, whose keyword it is to the user, and names the nearest one that either has.
    """
    taken = [name for name, of in inspect.signature(taker).parameters.items() if of.kind is of.KEYWORD_ONLY]
    own = [name for name, of in inspect.signature(caller).parameters.items() if of.kind is not of.VAR_KEYWORD]
    for name in given:
        if name not in taken:
            raise unexpected(caller, name, [*own, *taken])


def unexpected(caller: Callable[..., Any], name: str, known: Sequence[str]) -> TypeError:
    """The error for a keyword that ``caller`` does not have; it names the nearest of ``known``."""
    owner = getattr(caller, "__self__", None)  # of a class method, which a base class may define
    called = f"{owner.__name__}.{caller.__name__}" if isinstance(owner, type) else caller.__qualname__
    return TypeError(f"{called}() got an unexpected keyword argument {name!r}{suggestion(name, known)}")


def renamed(
    caller: Callable[..., Any], given: Mapping[str, Any], names: Mapping[str, str], present: Mapping[str, Any]
) -> dict[str, Any]:
    """What ``given`` says under the former ``names`` (former -> present) of keywords, under the present ones.

    Warns (DeprecationWarning), naming the present name. Raises TypeError for other keywords, and where both names are
    used.

    Args:
        present: the values of the present ones, None where not given.
    """
    found = {}
    for name, value in given.items():
        if name not in names:
            own = [key for key, of in inspect.signature(caller).parameters.items() if of.kind is not of.VAR_KEYWORD]
            raise unexpected(caller, name, own)
        now = names[name]
        if present[now] is not None:
            raise TypeError(f"{caller.__qualname__}() got both {name!r} and {now!r}, which are one: use {now}=")
        warnings.warn(f"{caller.__qualname__}: {name}= is now {now}=", DeprecationWarning, stacklevel=3)
        found[now] = value
    return found


def suggestion(name: object, known: Iterable[object]) -> str:
    """The end of an error about a name: the nearest of those that are known, where one is near."""
    near = difflib.get_close_matches(str(name), [str(one) for one in known], n=1)
    return f"; did you mean {near[0]!r}?" if near else ""


def shape_fits(shape: Sequence[int], expected: Sequence[int | None]) -> bool:
    """Whether a shape is one that is expected, where None stands for any size."""
    return len(shape) == len(expected) and all(e in (None, s) for s, e in zip(shape, expected, strict=True))


def shape_text(expected: Sequence[int | None]) -> str:
    """A shape that is expected, such as "(any, 32, 3)"."""
    sizes = ", ".join("any" if size is None else str(size) for size in expected)
    return f"({sizes},)" if len(expected) == 1 else f"({sizes})"


def output_key(names: Sequence[Any], chosen: str | int | None, model: str, option: str = "output=") -> Any:
    """Which of a model's outputs, by their names, is explained: the one named, or at a position; the only one for None.

    Raises:
        ValueError: that names ``option`` where there is no such output, or several and none is chosen.
    """
    listed = ", ".join(map(str, names))
    if chosen is None and len(names) > 1:
        raise ValueError(f"model {model!r} has {len(names)} outputs: choose one with {option.rstrip()}: {listed}")
    if chosen is None or chosen in names:
        return names[0] if chosen is None else chosen
    if isinstance(chosen, int) and 0 <= chosen < len(names):
        return names[chosen]
    given = f"{option}{chosen!r}" if option.endswith("=") else f"{option}{chosen}"
    if len(names) == 1:
        raise ValueError(f"{given}: model {model!r} has one output; leave {option.rstrip(' =')} out")
    raise ValueError(f"{given}: the outputs of model {model!r} are {listed}")
