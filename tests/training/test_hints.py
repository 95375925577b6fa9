"""Mistakes that raise no error are warned of, once and with the fix; sound runs warn of nothing."""

import pickle
import warnings

import numpy as np
import pytest
from scipy.sparse import csr_matrix

from minidl import (
    SGD,
    Adam,
    BatchNorm,
    Dense,
    Dropout,
    Embedding,
    FocalCrossEntropy,
    GlobalAveragePool1D,
    Hinge,
    Huber,
    KLDivergence,
    Loss,
    MeanAbsoluteError,
    MeanSquaredError,
    Poisson,
    ReLU,
    Rescale,
    Sequential,
    SigmoidCrossEntropy,
    SoftmaxCrossEntropy,
    Trainer,
    cross_validate,
)
from minidl.errors import DataWarning
from minidl.training.gradients import Tally
from minidl.training.hints import _warn_of_loss, warn_of_scales
from minidl.training.rows import prepare_rows

pytestmark = pytest.mark.filterwarnings("always:check the data")
ROWS = 1500


def warned(x, y, *layers, optimizer=None, epochs=1, fits=1, batch_size=32, **data):
    """Return the texts of the warnings of a run, each of which is one line of the file of the caller of fit."""
    trainer = Trainer(Sequential(list(layers), seed=0), optimizer or Adam(0.01), batch_size=batch_size, seed=0)
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        for _ in range(fits):
            trainer.fit(x, y, epochs=epochs, progress=False, **data)
    assert all(each.category is DataWarning and each.filename == __file__ for each in found)
    return [str(each.message) for each in found]


def inputs(rows=ROWS, seed=0):
    return np.random.default_rng(seed).random((rows, 5))


class TestScales:
    def test_inputs_in_the_unit_interval_that_are_rescaled_again(self):
        x = inputs()
        (text,) = warned(x, x[:, 0], Rescale(1 / 255), Dense(4), Dense(1), MeanSquaredError(), fits=3, epochs=10)
        assert "x is already in [0, 1], and Rescale(" in text
        assert "leave out one of the two" in text

    @pytest.mark.parametrize("dtype", ["uint8", "float32"])
    def test_pixels_as_they_are_stored_are_well(self, dtype):
        x = (inputs() * 255).astype(dtype)
        assert not warned(x, inputs()[:, 0], Rescale(1 / 255), Dense(4), Dense(1), MeanSquaredError(), epochs=10)

    def test_other_scales_and_images_without_light_are_well(self):
        x = inputs()
        assert not warned(x, x[:, 0], Rescale(2, offset=-1), Dense(1), MeanSquaredError(), epochs=10)
        assert not warned(np.zeros((9, 5)), np.zeros(9), Rescale(1 / 255), Dense(1), MeanSquaredError())

    @pytest.mark.parametrize("loss", [MeanSquaredError(), MeanAbsoluteError(), Huber()])
    @pytest.mark.parametrize("far", [lambda y: 2e5 + 5e4 * y, lambda y: 2020 + y])
    def test_targets_a_thousand_times_as_large_as_what_the_network_gives(self, loss, far):
        x = inputs()
        text = warned(x, far(x[:, 0]), Dense(1), loss, fits=2)[0]
        assert "but the network begins at" in text
        assert "standardize y" in text

    def test_targets_of_some_hundreds_and_counts_by_their_logarithm_are_well(self):
        x = inputs()
        assert not warned(x, 300 * x[:, 0], Dense(1), MeanSquaredError(), optimizer=SGD(0.05), epochs=20)
        y = np.random.default_rng(0).poisson(5000 * np.exp(x[:, 0]))
        assert not warned(x, y, Dense(1), Poisson(), optimizer=Adam(0.05), epochs=30)


def labels(rows=ROWS):
    return np.random.default_rng(1).choice(3, rows, p=[0.7, 0.2, 0.1])


NOISE = {
    "the mean": [(np.random.default_rng(1).normal(3, 2, ROWS), 1, loss) for loss in (MeanSquaredError(), Huber())]
    + [(np.random.default_rng(1).poisson(4, ROWS), 1, Poisson())],
    "the class frequencies": [
        (labels(), 3, SoftmaxCrossEntropy()),
        (labels(), 3, FocalCrossEntropy()),
        (np.eye(3)[labels()], 3, KLDivergence()),
        (labels() > 0, 1, SigmoidCrossEntropy()),
        (np.random.default_rng(1).random((ROWS, 4)) > 0.8, 4, SigmoidCrossEntropy()),
        (labels() > 0, 1, Hinge()),
    ],
}


class TestGain:
    @pytest.mark.parametrize(
        ("y", "outputs", "loss", "what"),
        [(*case, what) for what, cases in NOISE.items() for case in cases],
        ids=lambda value: repr(value) if isinstance(value, Loss) else None,
    )
    def test_a_run_that_has_learned_nothing(self, y, outputs, loss, what):
        (text,) = warned(inputs(), y, Dense(outputs), loss, optimizer=SGD(1e-6), fits=2)
        assert "no better than with a constant prediction of " + what in text
        assert "learning rates" in text

    @pytest.mark.parametrize("loss", [SoftmaxCrossEntropy(), FocalCrossEntropy(), Hinge()])
    def test_a_run_that_has_learned(self, loss):
        x = inputs()
        assert not warned(x, (3 * x[:, 0]).astype(int), Dense(8), ReLU(), Dense(3), loss, epochs=10)

    def test_the_loss_of_the_constant_is_that_of_the_frequencies_with_rows_counted_by_their_weights(self):
        x, y = inputs(), labels()
        weights = np.where(y == 0, 0.5, 2.0)
        (text,) = warned(
            np.zeros_like(x), y, Dense(3), SoftmaxCrossEntropy(), optimizer=SGD(1e-6), sample_weight=weights
        )
        shares = np.bincount(y, weights) / weights.sum()
        assert f"{-(shares * np.log(shares)).sum():.4g}; " in text

    def test_dropout_that_makes_the_training_loss_worse_than_the_model_is_well(self):
        x = inputs()
        layers = [Dense(32), Dropout(0.95), Dense(1), MeanSquaredError()]
        assert not warned(x, 2 * x[:, 0] - 1, *layers, optimizer=Adam(0.003), epochs=30)

    def test_one_target_for_all_rows_leaves_nothing_to_gain(self):
        assert not warned(inputs(), np.zeros(ROWS), Dense(1), MeanSquaredError())
        assert not warned(inputs(), np.zeros(ROWS, int), Dense(3), SoftmaxCrossEntropy(), epochs=3)

    def test_a_run_of_few_steps_says_nothing_yet(self):
        x, y = inputs(), labels()
        assert not warned(x, y, Dense(3), SoftmaxCrossEntropy(), optimizer=SGD(1e-6), batch_size=None, epochs=19)
        assert warned(x, y, Dense(3), SoftmaxCrossEntropy(), optimizer=SGD(1e-6), batch_size=None, epochs=20)

    def test_sparse_rows_and_positions_are_looked_at_too(self):
        x = csr_matrix(inputs())
        assert len(warned(x, labels(), Dense(3), SoftmaxCrossEntropy(), optimizer=SGD(1e-6))) == 1
        steps, y = np.zeros((ROWS, 2, 5)), np.stack([labels(), labels()], axis=1)
        assert len(warned(steps, y, Dense(3), SoftmaxCrossEntropy(), optimizer=SGD(1e-6))) == 1

    def test_ids_have_no_scale(self):
        ids = np.random.default_rng(0).integers(0, 5, (ROWS, 4))
        layers = [Embedding(5, 3), GlobalAveragePool1D(), Dense(3), SoftmaxCrossEntropy()]
        (text,) = warned(ids, labels(), *layers, optimizer=SGD(1e-6))
        assert "; try other learning rates and more epochs, and check" in text
        (text,) = warned(inputs(), labels(), Dense(3), SoftmaxCrossEntropy(), optimizer=SGD(1e-6))
        assert "; scale x, try other learning rates" in text

    def test_of_an_own_loss_nothing_is_known(self):
        class Cubed(Loss):
            def per_sample(self, scores, targets):
                error = scores[:, 0] - targets[:, 0]
                return abs(error) ** 3, (3 * error * abs(error))[:, np.newaxis]

        y = np.random.default_rng(0).normal(size=(ROWS, 1))
        assert not warned(inputs(), y, Dense(1), Cubed(), optimizer=SGD(1e-6))

    def test_looking_changes_nothing_of_the_model(self):
        layers = [Dense(8), BatchNorm(), Dropout(0.5), Dense(1), MeanSquaredError()]
        model = Sequential(layers, input_shape=5, seed=0)
        rows = prepare_rows(model, inputs(), 1e6 * inputs()[:, 0])
        before = pickle.dumps(model)
        with pytest.warns(DataWarning, match="it would take very long"):
            warn_of_scales(model, rows)
        with pytest.warns(DataWarning, match="no better than with a constant prediction of the mean"):
            _warn_of_loss(model, rows, Tally(model, [], rows), loss=1e15)
        assert pickle.dumps(model) == before


def test_of_many_runs_that_are_compared_none_warns():
    def build(seed):
        return Sequential([Dense(3), SoftmaxCrossEntropy()], seed=seed)

    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        cross_validate(build, inputs(200), labels(200), optimizer=SGD(1e-6), epochs=10, folds=2, progress=False)
    assert not found
