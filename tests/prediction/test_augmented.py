import numpy as np
import pytest

from minidl import AugmentedPrediction, Dense, MeanSquaredError, Rescale, Sequential, SoftmaxCrossEntropy
from minidl.errors import ArgumentError, ArgumentTypeError, DataError, ShapeError


def model():
    return Sequential([Rescale(1 / 255), Dense(3), SoftmaxCrossEntropy()], input_shape=6, seed=0)


def linear():
    """A model that returns the sum of a row."""
    layer = Dense(1)
    net = Sequential([layer, MeanSquaredError()], input_shape=4, dtype="float64")
    layer.weight.value[:] = 1
    return net


def pixels(rows, seed=1):
    return np.random.default_rng(seed).integers(0, 256, (rows, 6), dtype=np.uint8)


def noise(x, rng):
    return x + rng.normal(size=x.shape)


def test_the_prediction_is_the_mean_over_the_copies_and_the_original():
    x = np.arange(12.0).reshape(3, 4)

    class Counting:
        calls = 0

        def __call__(self, samples, rng):
            self.calls += 1
            return samples * self.calls

    # Sums of 1, 2 and 3 times a row, whose mean is twice the sum; with the row itself, 7/4 of it.
    only = AugmentedPrediction(linear(), Counting(), repeats=3, include_original=False)
    np.testing.assert_allclose(only.predict(x), 2 * x.sum(axis=1))
    both = AugmentedPrediction(linear(), Counting(), repeats=3)
    np.testing.assert_allclose(both.predict(x), 7 / 4 * x.sum(axis=1))


def test_probabilities_are_averaged_not_scores():
    predictor, x = AugmentedPrediction(model(), lambda x, rng: 255 - x, repeats=1), pixels(20)
    expected = (model().predict_proba(x).astype(np.float64) + model().predict_proba(255 - x)) / 2
    np.testing.assert_allclose(predictor.predict_proba(x), expected, rtol=1e-6)


def test_the_same_rows_give_the_same_bits_each_time_and_another_seed_others():
    x = pixels(50)
    first, again = (AugmentedPrediction(model(), noise, seed=3) for _ in range(2))
    result = first.predict_proba(x)
    np.testing.assert_array_equal(first.predict_proba(x), result)
    np.testing.assert_array_equal(again.predict_proba(x), result)
    assert (AugmentedPrediction(model(), noise, seed=4).predict_proba(x) != result).any()


def test_the_copies_of_a_sample_differ_from_each_other_and_so_do_those_of_distant_rows():
    seen = []

    def remember(x, rng):
        seen.append(rng.normal(size=x.shape))
        return x

    AugmentedPrediction(linear(), remember, repeats=3).predict(np.ones((2100, 4)))
    assert [draws.shape for draws in seen] == [(1024, 4)] * 6 + [(52, 4)] * 3
    numbers = np.concatenate([draws.ravel() for draws in seen])
    assert len(np.unique(numbers)) == len(numbers)


@pytest.mark.parametrize("batch_size", [1, 100, 1024, 4000])
def test_the_distortions_do_not_depend_on_the_batch_size(batch_size):
    x = np.random.default_rng(0).normal(size=(2500, 4))
    predictor = AugmentedPrediction(linear(), noise, repeats=2)
    np.testing.assert_allclose(predictor.predict(x, batch_size), predictor.predict(x), rtol=1e-12, atol=1e-12)


def test_rows_after_a_whole_block_do_not_change_those_before():
    x = np.random.default_rng(0).normal(size=(1500, 4))
    predictor = AugmentedPrediction(linear(), noise, repeats=2)
    np.testing.assert_array_equal(predictor.predict(x[:1024]), predictor.predict(x)[:1024])


def test_an_augment_that_works_in_place_is_stopped_before_it_changes_the_data():
    x = np.ones((3, 4))

    def in_place(samples, rng):
        samples += 1
        return samples

    with pytest.raises(ValueError, match="read-only"):
        AugmentedPrediction(linear(), in_place).predict(x)
    assert (x == 1).all()
    assert x.flags.writeable


def test_noise_that_is_averaged_out_leaves_the_prediction():
    x = np.random.default_rng(0).normal(size=(100, 4))
    predictor = AugmentedPrediction(linear(), noise, repeats=400, include_original=False)
    # The sum of four deviations of 1, over 400 copies, deviates by 0.1; of 100 rows none by 5 times as much.
    np.testing.assert_allclose(predictor.predict(x), x.sum(axis=1), atol=0.5)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"augment": "flip"}, ArgumentTypeError, r"augment must be a function of \(inputs, generator\)"),
        ({"repeats": 0}, ArgumentError, "repeats is 0; it must be a whole number, 1 or more"),
        ({"repeats": 2.5}, ArgumentTypeError, "repeats is 2.5; it must be a whole number"),
        ({"repeats": True}, ArgumentTypeError, "repeats is True"),
        ({"seed": -1}, ArgumentError, "seed is -1; it must be a whole number, 0 or more"),
        ({"seed": None}, ArgumentTypeError, "seed is None"),
        ({"include_original": 1}, ArgumentTypeError, "include_original is 1; it must be True or False"),
    ],
)
def test_settings_out_of_range_are_refused(options, error, message):
    with pytest.raises(error, match=f"AugmentedPrediction: {message}"):
        AugmentedPrediction(**{"model": model(), "augment": noise} | options)


@pytest.mark.parametrize(
    ("augment", "error", "message"),
    [
        (lambda x, rng: x[:, :5], ShapeError, r"the shape that it gets, \(3, 6\), not \(3, 5\)"),
        (lambda x, rng: x[:2], ShapeError, r"not \(2, 6\)"),
        (lambda x, rng: None, DataError, "what augment returned is missing: it is None"),
        (lambda x, rng: x * np.nan, DataError, "what augment returned holds NaN at row 0"),
        (lambda x, rng: x.astype(str), DataError, "give numbers only"),
    ],
)
def test_what_is_no_distortion_of_the_samples_is_refused(augment, error, message):
    with pytest.raises(error, match=message):
        AugmentedPrediction(model(), augment).predict(pixels(3))


def test_a_wrong_row_is_named_by_its_place_in_the_whole():
    x = np.ones((1100, 4))
    x[1050, 2] = np.inf
    with pytest.raises(DataError, match="x holds inf at row 1050, entry 2"):
        AugmentedPrediction(linear(), noise).predict(x)
