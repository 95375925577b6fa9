"""Masking finds the padding of features, which then has no part in what a model gives and learns."""

import numpy as np
import pytest

from minidl import (
    GRU,
    SGD,
    Dense,
    GlobalAveragePool1D,
    Masking,
    MeanSquaredError,
    Sequential,
    SoftmaxCrossEntropy,
    Trainer,
)
from minidl.errors import DataError, ShapeError
from minidl.testing import check_layer


def padded(value=0.0):
    rng = np.random.default_rng(0)
    x, lengths = rng.normal(size=(6, 5, 3)), np.array([5, 3, 1, 4, 2, 5])
    x[0, 0, 1] = value  # one feature alone is no padding
    return np.where((np.arange(5) < lengths[:, np.newaxis])[..., np.newaxis], x, value), lengths


def test_it_passes_the_kit_alone_and_at_the_start_of_a_block():
    check_layer(Masking(), (4, 3))
    check_layer(Masking(-1.0), (4, 3))
    check_layer(Sequential([Masking(), GRU(2), Dense(2)]), (4, 3))


@pytest.mark.parametrize("value", [0.0, -1.0])
def test_positions_of_nothing_but_the_value_do_not_count(value):
    x, lengths = padded(value)
    mask = Masking(value).mask_after(x, None)
    np.testing.assert_array_equal(mask, np.arange(5) < lengths[:, np.newaxis])
    both = Masking(value).mask_after(x, mask & (np.arange(5) > 0))
    np.testing.assert_array_equal(both, mask & (np.arange(5) > 0))


@pytest.mark.parametrize("layer", [GRU(4), GlobalAveragePool1D()], ids=str)
def test_a_padded_row_gives_what_it_gives_alone(layer):
    x, lengths = padded()
    model = Sequential([Masking(), layer, Dense(2), SoftmaxCrossEntropy()], input_shape=(5, 3), seed=0, dtype="float64")
    scores = model.forward(x)
    for row, length in enumerate(lengths):
        alone = type(layer)(**layer.configuration())
        layers = [Masking(), alone, Dense(2), SoftmaxCrossEntropy()]
        short = Sequential(layers, input_shape=(int(length), 3), dtype="float64")
        short.parameters = model.parameters
        np.testing.assert_allclose(short.forward(x[row : row + 1, :length])[0], scores[row], rtol=1e-12)


def test_positions_that_do_not_count_have_no_part_in_the_loss():
    x, lengths = padded()
    y = np.random.default_rng(1).normal(size=(6, 5, 2))
    model = Sequential([Masking(), Dense(2), MeanSquaredError(position_wise=True)], seed=0, dtype="float64")
    counts = np.arange(5) < lengths[:, np.newaxis]
    loss = Trainer(model, SGD(0.1)).evaluate(x, y)["loss"]
    assert loss == pytest.approx(((model.forward(x) - y)[counts] ** 2).mean(), rel=1e-12)


def test_a_padding_value_is_found_before_and_after_it_takes_the_type_of_the_model():
    x = np.where(padded(0.1)[0] == 0.1, 0.1, padded(0.1)[0]).astype(np.float32)
    for kind in (np.float32, np.float64):
        mask = Masking(0.1).mask_after(x.astype(kind), None)
        np.testing.assert_array_equal(mask, Masking(0.1).mask_after(padded(0.1)[0], None))


def test_samples_without_an_axis_of_features_are_refused():
    with pytest.raises(ShapeError, match=r"Masking expects samples \(positions, features\) but got \(4,\)"):
        Sequential([Masking()], input_shape=4)


def test_it_must_be_the_first_layer():
    x, _ = padded()
    model = Sequential([Dense(3), Masking(), GRU(2), Dense(2), SoftmaxCrossEntropy()])
    with pytest.raises(DataError, match="padding is found in the input of a model: put the Masking first"):
        Trainer(model).fit(x, np.zeros((6, 2)).argmax(1), progress=False)
