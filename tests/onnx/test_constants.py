import numpy as np
import pytest

from minidl.errors import FileFormatError
from minidl.onnx.constants import compute
from minidl.onnx.pieces import Node

A = np.arange(6).reshape(2, 3)


def node(operator, **attributes):
    return Node(0, operator, ["x"], ["y"], attributes)


@pytest.mark.parametrize(
    ("made", "inputs", "wanted"),
    [
        (node("Add"), [A, A], 2 * A),
        (node("Cast", to=7), [A.astype(np.float32)], A),
        (node("Cast", to=1), [A], A),
        (node("Concat", axis=0), [A[0], A[1]], [0, 1, 2, 3, 4, 5]),
        (node("Div"), [np.array([-7, 7]), np.array(2)], [-3, 3]),
        (node("Div"), [np.float32([-7, 7]), np.float32(2)], [-3.5, 3.5]),
        (node("Equal"), [A[0], np.array(1)], [False, True, False]),
        (node("Gather"), [A, np.array(1)], [3, 4, 5]),
        (node("Gather", axis=1), [A, np.array([0, -1])], [[0, 2], [3, 5]]),
        (node("Identity"), [A], A),
        (node("Mod"), [np.array([-7, 7]), np.array(4)], [1, 3]),
        (node("Mul"), [A, A], A * A),
        (node("Neg"), [A], -A),
        (node("ReduceProd", axes=[0], keepdims=0), [A[1]], 60),
        (node("ReduceProd"), [A[1]], [60]),
        (node("ReduceProd"), [A, np.array([0])], [[0, 4, 10]]),
        (node("Reshape"), [A, np.array([3, -1])], [[0, 1], [2, 3], [4, 5]]),
        (node("Slice"), [A, np.array([1]), np.array([2])], [[3, 4, 5]]),
        (node("Slice"), [A, np.array([-1]), np.array([-(2**63) + 1]), np.array([0]), np.array([-1])], A[::-1]),
        (node("Squeeze"), [A[:1, :1]], 0),
        (node("Sub"), [A, A], 0 * A),
        (node("Transpose"), [A], A.T),
        (node("Transpose", perm=[0, 1]), [A], A),
        (node("Unsqueeze"), [A[0], np.array([0])], [[0, 1, 2]]),
        (node("Unsqueeze", axes=[1]), [A[0]], [[0], [1], [2]]),
        (node("Where"), [A > 2, A, -A], [[0, -1, -2], [3, 4, 5]]),
    ],
)
def test_small_constants_are_computed_as_the_standard_says(made, inputs, wanted):
    np.testing.assert_array_equal(compute(made, inputs), wanted)


def test_a_filled_constant_has_its_attributes_value():
    np.testing.assert_array_equal(compute(node("ConstantOfShape"), [np.array([2])]), [0, 0])
    np.testing.assert_array_equal(compute(node("ConstantOfShape"), [np.array([2])], np.array([7])), [7, 7])


@pytest.mark.parametrize(
    ("made", "inputs"),
    [
        (node("ConstantOfShape"), [np.array([2**40])]),
        (node("Concat"), [np.zeros(10_000)]),
        (node("Cast", to=8), [A]),
        (node("Cast", to=1), [np.zeros(10_000, int)]),
    ],
)
def test_large_constants_and_unknown_ones_are_refused(made, inputs):
    with pytest.raises(FileFormatError, match="node 0"):
        compute(made, inputs)


def test_large_arrays_of_weights_may_be_reshaped_and_cast_as_that_copies_nothing():
    weights = np.zeros(10_000, np.float32)
    for made, inputs in ((node("Cast", to=1), [weights]), (node("Reshape"), [weights, np.array([100, 100])])):
        assert np.shares_memory(compute(made, inputs), weights)
