"""What targets make of an output's shape and the number of samples, by hand: no model is called."""

import numpy as np
import pytest

from lrp_monitor.engine.targets import (
    Difference,
    Outputs,
    Position,
    Region,
    Rows,
    as_region,
    at_place,
    classes,
    predicted_region,
    start_of,
    sums_by_class,
    weighted_sum,
)

MAP = (2, 3, 4)  # two rows and three columns of places, four classes


def marked(*at, size=MAP, n=2):
    """(n, *size), 1 where ``at`` says."""
    made = np.zeros((n, *size), np.float32)
    for one in at:
        made[one] = 1
    return made


def test_differences():
    np.testing.assert_array_equal(Difference([0, 2], 1).weights((3,), 2), [[1, -1, 0], [0, -1, 1]])
    with pytest.raises(ValueError, match="the two classes are the same for sample 1"):  # and not for the first
        Difference([0, 1], 1).weights((3,), 2)


def test_outputs():
    rows = np.array([[1.0, 0, 2], [0, -1, 0]])
    np.testing.assert_array_equal(Outputs(rows).weights((3,), 2), rows)
    np.testing.assert_array_equal(Outputs([0, 3, 0]).weights((3,), 2), [[0, 3, 0]] * 2)
    with pytest.raises(ValueError, match="the mask is empty"):  # of the second sample alone
        Outputs([[1, 0, 0], [0, 0, 0]]).weights((3,), 2)
    with pytest.raises(ValueError, match=r"has shape \(2, 3\), the outputs \(3,\)"):
        Outputs(rows).weights((3,), 3)


def test_regions():
    every = slice(None)
    np.testing.assert_array_equal(Region((1, 2), 3).weights(MAP, 2), marked((every, 1, 2, 3)))
    np.testing.assert_array_equal(
        Region((0, slice(1, 3)), [0, 2]).weights(MAP, 2), marked((0, 0, [1, 2], 0), (1, 0, [1, 2], 2))
    )
    one_each = marked((0, 1, 1), (1, 0, 2), size=MAP[:-1]).astype(bool)
    np.testing.assert_array_equal(Region(one_each, 1).weights(MAP, 2), marked((0, 1, 1, 1), (1, 0, 2, 1)))
    np.testing.assert_array_equal(Region(one_each[0], 1).weights(MAP, 2), marked((every, 1, 1, 1)))
    np.testing.assert_array_equal(Region(2, 0).weights((3, 4), 2), marked((every, 2, 0), size=(3, 4)))
    for where in [(2, 0), (0, 3), (-1, 0)]:
        with pytest.raises(ValueError, match="lies outside the map"):
            Region(where, 0).weights(MAP, 2)
    one_each[1] = False
    with pytest.raises(ValueError, match="holds no pixel"):  # of the second sample alone
        Region(one_each, 0).weights(MAP, 2)


PLACES = {
    "the last": (Position(), (4, 3), [3, 3]),
    "from the end": (Position(-4), (4, 3), [0, 0]),
    "one a sample": (Position([1, -1]), (4, 3), [1, 3]),
    "a tuple": (Position((1, -3)), MAP, [3, 3]),  # 3 x 1 + 0
    "a row a sample": (Position([[0, 2], [1, 1]]), MAP, [2, 4]),
    "one row": (Position(np.array([[1, 2]])), MAP, [5, 5]),
    "marked": (Position(marked((0, 1, 1), (1, 0, 2), size=MAP[:-1]).astype(bool)), MAP, [4, 2]),
}


@pytest.mark.parametrize("name", PLACES)
def test_places(name):
    target, shape, wanted = PLACES[name]
    np.testing.assert_array_equal(target.numbers(shape, 2), wanted)


NO_PLACES = {
    "after the end": (Position(4), "lies outside"),
    "before the start": (Position(-5), "lies outside"),
    "of the second sample": (Position([0, 4]), r"\[4\] of sample 1 lies outside"),
    "three rows": (Position([0, 1, 2]), "an array of 2 rows"),
    "two axes": (Position((0, 1)), "at has 2 axes"),
    "marked twice": (Position(np.eye(4, dtype=bool)[:2] | np.eye(4, dtype=bool)[3]), "True at 2 places of sample 0"),
    "marked nowhere": (Position(np.eye(4, dtype=bool)[:2] & [True, False, True, True]), "True at 0 places of sample 1"),
    "marked for others": (Position(np.eye(4, dtype=bool)), r"expected \(2, \*places\)"),
}


@pytest.mark.parametrize("name", NO_PLACES)
def test_what_is_no_place(name):
    target, words = NO_PLACES[name]
    with pytest.raises(ValueError, match=words):
        target.numbers((4, 3), 2)


def test_values_at_a_place():
    values = np.arange(48, dtype=np.float32).reshape(2, *MAP)
    np.testing.assert_array_equal(at_place(values, np.array([4, 2])), [values[0, 1, 1], values[1, 0, 2]])


def test_rows_of_a_target():
    inner = Region(marked((0, 1, 1), (1, 0, 2), (2, 0, 0), size=MAP[:-1], n=3).astype(bool), [3, 1, 2])
    some = Rows(inner, np.array([2, 0]), 3)
    wanted = marked((0, 0, 0, 2), (1, 1, 1, 3))
    np.testing.assert_array_equal(some.weights(MAP, 2), wanted)
    np.testing.assert_array_equal(as_region(some, MAP, 2).weights(MAP, 2), wanted)
    outputs = Rows(Outputs(np.ones(3)), np.array([0]), 2)
    assert as_region(outputs, (3,), 1) is outputs
    for n in (1, 3):
        with pytest.raises(ValueError, match=f"of 2 samples, not {n}"):
            some.weights(MAP, n)


def test_a_predicted_region():
    """The class that most places are predicted as; of one channel where it is above 0, or everywhere."""
    logits = np.zeros((2, *MAP[:-1], 3))
    logits[0, 0, :, 2] = logits[0, 1, 0, 2] = logits[0, 1, 1:, 1] = 1
    logits[1, ..., 1] = 1
    found = predicted_region(logits)
    np.testing.assert_array_equal(found.of, [2, 1])
    np.testing.assert_array_equal(found.where, [[[1, 1, 1], [1, 0, 0]], np.ones((2, 3))])
    one = np.array([[[0.5], [-1.0]], [[-2.0], [0.0]]])
    np.testing.assert_array_equal(predicted_region(one).where, [[True, False], [True, True]])
    logits[1, 0, 0, 0] = np.nan
    with pytest.raises(ValueError, match="sample 1 is not finite"):
        predicted_region(logits)


def test_sums_leave_out_what_lies_outside():
    """Also what is not finite: 0 times NaN would be NaN."""
    logits = np.array([[[1.0, 2], [3, np.inf], [5, 6]]])
    np.testing.assert_array_equal(sums_by_class(logits, np.array([[True, False, True]])), [[6, 8]])
    np.testing.assert_array_equal(weighted_sum(np.array([[2.0, np.nan]]), np.array([[3.0, 0.0]])), [6])


def test_classes():
    np.testing.assert_array_equal(classes(2, 3, 3, "target"), [2, 2, 2])
    for wrong in (-1, 3, [0, 1, 3], [0, -1, 2]):
        with pytest.raises(ValueError, match="lies outside the outputs: 0 to 2"):
            classes(wrong, 3, 3, "target")
    assert start_of(Rows(Outputs([1]), np.array([0]), 1)) == "weights"
    assert start_of(Position()) == "position"
    with pytest.raises(TypeError, match="Position is a class"):
        start_of(Position)
