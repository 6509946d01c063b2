"""What a ProbeSet's labels are, and which class of each probe they have explained.

Labels take one of four forms: a class of each probe, a set of classes, numbers of a regression, or a class of each
place of an output of maps (pixels, tokens, time steps).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lrp_monitor.arguments import argument_error, one_of
from lrp_monitor.probes.checks import read_only
from lrp_monitor.probes.regions import is_position, is_region


@dataclass(frozen=True)
class Labels:
    """Labels in the form that they were found to have, and what is explained by them.

    Attributes:
        classes: (n,) int64, a class of each probe.
        sets: boolean (n, classes), a set of classes of each probe.
        numbers: float64 (n, units), what a regression is to predict.
        maps: int64 (n, *places), a class of each place; negative ones are of none.
        target: "label", "predicted" or "given".
        targets: (n,) int64, the classes explained; None where the first log decides, or a region is explained.
        position: int64 (n, axes), the place of the output that is explained, or None.
    """

    classes: NDArray[np.int64] | None
    sets: NDArray[np.bool_] | None
    numbers: NDArray[np.float64] | None
    maps: NDArray[np.int64] | None
    target: str
    targets: NDArray[np.int64] | None
    position: NDArray[np.int64] | None

    @property
    def given(self) -> NDArray[Any] | None:
        """The labels in a form that gives the same again."""
        found = (self.sets, self.numbers, self.maps, self.classes)
        return next((one for one in found if one is not None), None)


def read_labels(
    labels: ArrayLike | None, n: int, class_names: tuple[str, ...] | None, target: Any, multi_label: bool | None
) -> Labels:
    """The labels and the target of n probes, as `ProbeSet` takes them. TypeError or ValueError that names which."""
    if multi_label is not None:
        one_of("multi_label", multi_label, (True, False))
    position = target.places(n) if is_position(target) else None
    numbers = sets = classes = None
    maps = _maps(labels, n, position is not None or hasattr(getattr(target, "inner", target), "where"))
    if maps is None:
        numbers = checked_numbers(labels, n, class_names)
        sets = None if numbers is not None else _sets(labels, n, class_names, multi_label)
        classes = None if numbers is not None or sets is not None else checked_labels(labels, n, class_names)
    elif position is not None:
        needed = target.of is None or (isinstance(target.of, str) and target.of != "predicted")
        classes = _at(maps, position, class_names, needed)
    if multi_label and (sets is None or position is not None):
        raise ValueError(
            f"multi_label=True needs labels ({n}, classes) of 0 and 1, a set of classes of each probe, and no position"
        )
    asked = target.of if position is not None else target
    own = _first_of(sets) if sets is not None and (isinstance(asked, str | None) and asked != "predicted") else classes
    kind, targets = checked_target(asked, own, n, numbers)
    if sets is not None and targets is not None and targets.max() >= sets.shape[1]:
        raise ValueError(f"target: class {targets.max()} of labels of {sets.shape[1]} classes")
    return Labels(classes, sets, numbers, maps, kind, targets, position)


def _first_of(sets: NDArray[np.bool_]) -> NDArray[np.int64]:
    """The first class of each set, (n,)."""
    empty = np.flatnonzero(~sets.any(axis=1))
    if len(empty):
        raise ValueError(
            f"labels: probe {empty[0]} has none, so that no label of it can be explained: name the class, target=, one "
            f'or {len(sets)} of them, or "predicted"'
        )
    return np.asarray(sets.argmax(axis=1), np.int64)


def _sets(
    labels: ArrayLike | None, n: int, class_names: tuple[str, ...] | None, multi_label: bool | None
) -> NDArray[np.bool_] | None:
    """Labels that are sets of classes, boolean (n, classes): rows of 0 and 1, not all of them one-hot."""
    values = _array(labels)
    if (
        values is None
        or values.dtype.kind not in "biuf"
        or values.ndim != 2
        or len(values) != n
        or multi_label is False
    ):
        return None
    hot = values == 1
    if values.shape[1] < 2 or not (hot | (values == 0)).all() or (not multi_label and (hot.sum(axis=1) == 1).all()):
        return None
    if class_names is not None and values.shape[1] != len(class_names):
        raise ValueError(f"labels: {values.shape[1]} classes; class_names lists {len(class_names)}")
    return read_only(hot)


def _maps(labels: ArrayLike | None, n: int, has_places: bool) -> NDArray[np.int64] | None:
    """Labels of places, int64 (n, *places): of three axes or more, or of two where a place is explained."""
    values = _array(labels)
    if values is None or values.dtype.kind not in "biuf" or len(values) != n or values.size == 0:
        return None
    if values.ndim < (2 if has_places else 3) or (values.ndim == 2 and values.dtype.kind == "f"):
        return None
    if values.ndim == 2 and values.shape[1] == 1:
        return None
    if values.dtype.kind == "f" and not (values == np.rint(values)).all():
        raise ValueError(
            f"labels: shape {values.shape} of numbers that are not whole; classes of pixels, tokens or steps are whole "
            "numbers, and numbers to predict are one row a probe: leave labels out, or give those of one place"
        )
    if values.ndim > 2 and values.shape[-1] == 1:
        values = values[..., 0]
    return read_only(values.astype(np.int64))


def _at(
    maps: NDArray[np.int64], position: NDArray[np.int64], class_names: tuple[str, ...] | None, needed: bool
) -> NDArray[np.int64] | None:
    """The class of each probe's place, (n,); None where one has none, unless all are needed, to be explained."""
    places = maps.shape[1:]
    if position.shape[1] != len(places):
        raise ValueError(
            f"labels: shape {maps.shape}, a class of each of {places} places, but the target's position has "
            f"{position.shape[1]} axes"
        )
    outside = ((position < -np.array(places)) | (position >= np.array(places))).any(axis=1)
    if outside.any():
        at = int(np.flatnonzero(outside)[0])
        raise ValueError(f"target: position {position[at].tolist()} of probe {at} lies outside its labels, {places}")
    found = maps[(np.arange(len(maps)), *position.T)]
    if (found < 0).any() and not needed:
        return None
    if (found < 0).any():
        at = int(np.flatnonzero(found < 0)[0])
        raise ValueError(
            f"labels: probe {at} has {found[at]} at position {position[at].tolist()}, which is no class; choose a "
            'position that has one, or target=Position(at, of="predicted")'
        )
    return checked_labels(found, len(maps), class_names)


def _array(labels: ArrayLike | None) -> NDArray[Any] | None:
    """Labels as an array; None without labels, and where they form none, which `checked_labels` refuses."""
    try:
        return None if labels is None or np.ndim(labels) == 0 else np.asarray(labels)
    except ValueError:
        return None


def checked_labels(
    labels: ArrayLike | None, n: int, class_names: tuple[str, ...] | None, argument: str = "labels"
) -> NDArray[np.int64] | None:
    """(n,) int64 from integers (n,) or (n, 1), or from one-hot (n, k)."""
    if labels is None:
        return None
    try:
        values = np.asarray(labels)
    except ValueError as error:
        raise ValueError(f"{argument}: not one array ({error}); {_instead(argument, n)}") from error
    given = values.shape
    if values.dtype.kind in "OSU":
        raise TypeError(f"{argument}: {_not_numbers(argument, values, n, class_names)}")
    if values.ndim == 2 and values.shape[1] > 1 and len(values) == n:
        values = _from_rows(argument, values)
    elif values.ndim == 2 and values.shape[1] == 1:
        values = values[:, 0]
    if values.ndim != 1 or len(values) != n:
        raise ValueError(
            f"{argument}: shape {given} for {n} samples; expected one label per sample: "
            f"({n},) integers or one-hot ({n}, classes); {_instead(argument, n)}"
        )
    if values.dtype.kind not in "iu":
        whole = values.dtype.kind == "b" or bool((values == np.rint(values)).all())
        way_out = f"use {argument}.astype(int)" if whole else f"they are no class indices: {_instead(argument, n)}"
        raise TypeError(f"{argument}: dtype {values.dtype} is not an integer type; {way_out}")
    if values.min() < 0:
        raise ValueError(f"{argument}: {values.min()} is negative; labels are class indices from 0")
    if class_names is not None and values.max() >= len(class_names):
        raise ValueError(f"{argument}: label {values.max()} has no name; class_names lists {len(class_names)} classes")
    result: NDArray[np.int64] = values.astype(np.int64)
    return read_only(result)


def _from_rows(argument: str, values: NDArray[Any]) -> NDArray[np.int64]:
    """One-hot rows (n, k) -> (n,) classes. ValueError for rows that name several classes, none, or shares of them."""
    n, hot = len(values), values == 1
    if not (hot | (values == 0)).all():
        raise ValueError(
            f"{argument}: shape {values.shape} holds numbers other than 0 and 1, so it is not one-hot; where they are "
            f"probabilities of classes (smoothed labels), give {argument}.argmax(axis=1); where they are classes of "
            "tokens or time steps, say which is explained, target=lrp.targets.Position(at) or Region(where, of); else "
            f"{_instead(argument, n)}"
        )
    many = hot.sum(axis=1)
    if (many != 1).any():
        at = int(np.flatnonzero(many != 1)[0])
        raise ValueError(
            f"{argument}: shape {values.shape} is not one-hot (a single 1 in each row): row {at} names {many[at]} "
            f"classes. {_many(argument)}: {_instead(argument, n)}"
        )
    return np.asarray(hot.argmax(axis=1))


def _many(argument: str) -> str:
    """What rows that name several classes, or none, need."""
    if argument != "labels":
        return "Samples of several labels are picked by their number, count="
    return "Sets of classes need multi_label=True or None, a single label a row of 0 and 1"


def _instead(argument: str, n: int) -> str:
    """What to give in place of labels that are not one class per probe."""
    if argument != "labels":  # of a whole data set, from which probes are picked by class
        return "pick the rows yourself and name the class to explain: ProbeSet(x[rows], target=...)"
    return f'leave labels out and name the class to explain: target=, one class or {n} of them, or "predicted"'


def _not_numbers(argument: str, values: NDArray[Any], n: int, class_names: tuple[str, ...] | None) -> str:
    if all(isinstance(value, str | bytes) for value in values.flat):
        return f"strings are not class indices; {_from_names(argument, values, class_names)}"
    types = sorted({type(value).__name__ for value in values.flat if not isinstance(value, int | np.integer)})
    if not types:
        return f"dtype object is not an integer type; use {argument}.astype(int)"
    return f"{', '.join(types)} objects are not class indices; {_instead(argument, n)}"


def _from_names(argument: str, values: NDArray[Any], class_names: tuple[str, ...] | None) -> str:
    if class_names is None:
        return (
            f"class_names, {argument} = np.unique({argument}, return_inverse=True) makes indices and names of names "
            "(in alphabetical order: the model's outputs must be in that order, too)"
        )
    return f"give indices into class_names: [class_names.index(name) for name in {argument}]"


def checked_numbers(
    labels: ArrayLike | None, n: int, class_names: tuple[str, ...] | None
) -> NDArray[np.float64] | None:
    """Labels that are numbers to predict, float64 (n, units); None for labels of classes.

    Floats (n,), (n, 1) or (n, units) are numbers, unless they are one-hot, or probabilities of classes.
    """
    if labels is None or class_names is not None:
        return None
    try:
        values = np.asarray(labels)
    except ValueError:
        return None  # applies to labels of classes alone
    if values.dtype.kind != "f" or values.ndim not in (1, 2) or len(values) != n:
        return None
    if not np.isfinite(values).all():
        broken = int(np.flatnonzero(~np.isfinite(values.reshape(n, -1)).all(axis=1))[0])
        raise ValueError(f"labels: NaN or infinity for probe {broken}; leave such samples out")
    if values.ndim == 2 and values.shape[1] > 1:
        shares = bool((values >= 0).all() and np.allclose(values.sum(axis=1), 1, atol=1e-3))
        if shares or np.isin(values, (0, 1)).all():
            return None
    return read_only(values.reshape(n, -1).astype(np.float64))


def checked_target(
    target: Any, labels: NDArray[np.int64] | None, n: int, numbers: NDArray[np.float64] | None = None
) -> tuple[str, NDArray[np.int64] | None]:
    """("label" | "predicted" | "given", the classes explained, or None where the first log decides, or a region is).

    Of labels that are numbers the target is the unit of the output that is explained, "given".
    """
    if is_region(target):
        return "given", None
    if numbers is not None:
        target = _checked_unit(target, numbers.shape[1])
    if target is None:
        target = "predicted" if labels is None else "label"
    if isinstance(target, str):
        if target == "predicted":
            return target, None
        if target != "label":
            raise ValueError(
                f'target={target!r}: expected "label", "predicted", an integer or one integer per probe (the index of '
                "a class by name is class_names.index(name))"
            )
        if labels is None:
            raise ValueError('target="label" needs labels; give labels, or target="predicted"')
        return target, labels
    values = np.asarray(target)
    whole = values.dtype.kind in "iu"
    if not whole or values.shape not in ((), (n,)):
        raise argument_error(
            whole, f"target: {values.dtype} of shape {values.shape}; expected one integer or {n}, one per probe"
        )
    if values.min() < 0:
        raise ValueError(f"target: {values.min()} is negative; targets are class indices from 0")
    return "given", read_only(np.array(np.broadcast_to(values, (n,)), dtype=np.int64))


def explained_units(probes: Any, explainer: Any) -> NDArray[np.int64] | None:
    """The classes that a probe set explains, or the units of the output where its labels are numbers, (n,).

    None where the predicted class is explained, or no class. Raises ValueError for numbers that the model's output
    cannot be.

    Args:
        explainer: the model's, whose output is known: it has run.
    """
    if probes.numbers is None:
        return probes.targets  # type: ignore[no-any-return]  # a ProbeSet's, whose module imports this one
    check_numbers(probes.numbers, 1 if explainer.is_binary else explainer.classes, explainer.activation)
    # Of one unit with a sigmoid class 1 is its logit, class 0 the negative.
    found: NDArray[np.int64] = np.ones(len(probes), np.int64) if explainer.is_binary else probes.targets
    return found


def check_numbers(numbers: NDArray[np.float64] | None, units: int, activation: str | None) -> None:
    """ValueError where labels that are numbers cannot be what a model's output of so many units predicts.

    Args:
        activation: what the model ends in, "softmax", "sigmoid" or None.
    """
    if numbers is None:
        return
    way_out = "for labels that are indices of classes use labels.astype(int)"
    if activation == "softmax":
        raise ValueError(f"labels: floats, which are numbers to predict, but the model ends in a softmax: {way_out}")
    if activation == "sigmoid" and np.isin(numbers, (0, 1)).all():
        raise ValueError(f"labels: floats, all of them 0 or 1, and the model ends in a sigmoid: {way_out}")
    if numbers.shape[1] != units:
        raise ValueError(
            f"labels: {numbers.shape[1]} number(s) for each probe, but the model's output has {units} unit(s): give "
            f"one for each; {way_out}"
        )


def _checked_unit(target: Any, units: int) -> Any:
    """The unit of a regression's output that is explained: the only one, or the one that is named."""
    if isinstance(target, str):
        raise ValueError(
            f"target={target!r}: the labels are numbers, no classes: give the unit of the output to explain, target=0 "
            "(for labels that are classes use labels.astype(int))"
        )
    if target is None and units > 1:
        raise ValueError(f"target: the labels are {units} numbers each; name the unit to explain, such as target=0")
    if target is not None and np.max(target) >= units:
        raise ValueError(f"target: unit {np.max(target)} of labels that are {units} numbers each, 0 to {units - 1}")
    return 0 if target is None else target
