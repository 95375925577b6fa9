import functools

import numpy as np
import pandas as pd
import pytest

from minidl.arrays import apply_augment, as_augment
from minidl.data.augment import Rotation
from minidl.errors import ArgumentTypeError, DataError, ShapeError

X = np.arange(12, dtype=np.uint8).reshape(3, 4)


def add_noise(x, rng):
    return x + rng.normal(size=x.shape)


class Flip:
    def __call__(self, x, rng):
        return x[:, ::-1]


@pytest.mark.parametrize(
    "augment",
    [
        add_noise,
        Flip(),
        Flip().__call__,
        Rotation(20),
        lambda *arguments: arguments[0],
        lambda x, rng, scale=2: x,
        functools.partial(lambda scale, x, rng: x, 2),
        np.add,  # which does not tell what it takes
    ],
)
def test_what_can_be_called_with_inputs_and_a_generator_is_taken_as_it_is(augment):
    assert as_augment(augment, "Trainer: augment") is augment


@pytest.mark.parametrize(
    ("augment", "message"),
    [
        (Rotation, r"^Trainer: augment must be .* like Rotation\(20\), not <class .*Rotation'>$"),
        ([Flip(), Flip()], r"function of \(inputs, generator\) .*, not \[.*"),
        ("flip", r"must be a function of \(inputs, generator\) like .*, not 'flip'$"),
        (3, "not 3$"),
    ],
)
def test_what_cannot_be_called_so_is_refused_with_its_place_and_the_cure(augment, message):
    with pytest.raises(ArgumentTypeError, match=message) as refusal:
        as_augment(augment, "Trainer: augment")
    assert str(refusal.value).startswith("Trainer: augment ")


def test_the_distorted_inputs_are_what_the_function_makes_of_inputs_and_generator():
    found = apply_augment(add_noise, X, np.random.default_rng(3))
    np.testing.assert_array_equal(found, X + np.random.default_rng(3).normal(size=X.shape))


def test_the_result_may_be_a_view_another_type_or_a_frame_and_comes_with_contiguous_rows():
    flipped = apply_augment(Flip(), X, np.random.default_rng(0))
    np.testing.assert_array_equal(flipped, X[:, ::-1])
    assert flipped.flags.c_contiguous
    assert apply_augment(lambda x, rng: x / 255, X, np.random.default_rng(0)).dtype == np.float64
    framed = apply_augment(lambda x, rng: pd.DataFrame(x), X, np.random.default_rng(0))
    np.testing.assert_array_equal(framed, X)


def test_the_users_data_are_there_to_read_only_and_can_be_written_by_their_owner():
    x = X.copy()

    def careless(x, rng):
        x += 1
        return x

    with pytest.raises(ValueError, match="read-only"):
        apply_augment(careless, x, np.random.default_rng(0))
    np.testing.assert_array_equal(x, X)
    assert x.flags.writeable


@pytest.mark.parametrize(
    ("augment", "error", "message"),
    [
        (lambda x, rng: x[:2], ShapeError, r"augment must return .* of the shape that it gets, \(3, 4\), not \(2, 4\)"),
        (lambda x, rng: x.ravel(), ShapeError, r"not \(12,\)"),
        (lambda x, rng: 0.5, ShapeError, r"not \(\)"),
        (lambda x, rng: None, DataError, "what augment returned is missing: it is None"),
        (lambda x, rng: x.astype(str), DataError, r"^what augment returned holds '.*' \(str\) in column 0, row 0"),
        (lambda x, rng: np.where(x == 6, np.nan, x), DataError, "what augment returned holds NaN at row 1, entry 2"),
    ],
)
def test_a_result_that_cannot_be_trained_on_is_refused(augment, error, message):
    with pytest.raises(error, match=message):
        apply_augment(augment, X, np.random.default_rng(0))
