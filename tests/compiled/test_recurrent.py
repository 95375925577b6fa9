"""Compiled steps of recurrent layers give the bits of the NumPy code, at any numbers and shapes."""

import numpy as np
import pytest
from bits import assert_same_bits, both, numbers

from minidl import GRU, LSTM, Adam, Bidirectional, Dense, Sequential, SoftmaxCrossEntropy, Trainer
from minidl.compiled import switch

pytest.importorskip("numba")

HOME = "minidl.sequences.recurrent"
SIZES = [(5, 4, 3), (3, 2, 2), (1, 3, 5), (4, 1, 3), (4, 3, 1), (2, 32, 64), (3, 7, 33), (2, 0, 3)]
"""Steps, rows and units; of one row or one unit NumPy makes other calls."""
everywhere = pytest.mark.parametrize("dtype", [np.float32, np.float64])
shaped = pytest.mark.parametrize("size", SIZES, ids=str)
special = pytest.mark.parametrize("special", [False, True])
masked = pytest.mark.parametrize("masked", [False, True])


class Arrays:
    """Random arrays of one type; `special` ones have infinities, NaN, zeros of both signs, subnormal numbers."""

    def __init__(self, size, dtype, special):
        self.rng, self.dtype, self.special = np.random.default_rng(0), dtype, special
        self.time, self.rows, self.units = size

    def draw(self, *shape):
        values = self.rng.normal(size=shape)
        return numbers(self.rng, shape, self.dtype) if self.special else values.astype(self.dtype)

    def by_steps(self, gates=1, more=0):
        return self.draw(self.time + more, self.rows, gates * self.units)

    def weight(self, gates):
        return self.draw(self.units, gates * self.units)

    def skipped(self, masked):
        return self.rng.random((self.time, self.rows, 1)) < 0.4 if masked else None


def assert_same(name, *arguments):
    """Compare what is returned, and all arrays that were given, which may have been written."""
    results = []
    for function in both(HOME, name):
        given = [each.copy() if isinstance(each, np.ndarray) else each for each in arguments]
        with np.errstate(all="ignore"):
            returned = function(*given)
        arrays = [each for each in given if isinstance(each, np.ndarray)]
        results.append(arrays + list(returned if isinstance(returned, tuple) else [returned]))
    for found, wanted in zip(results[1], results[0], strict=True):
        assert_same_bits(found, wanted)


@everywhere
@shaped
@special
@masked
def test_steps_of_an_lstm(size, dtype, special, masked):
    arrays = Arrays(size, dtype, special)
    bias, states = arrays.draw(4 * arrays.units), (arrays.by_steps(more=1), arrays.by_steps(more=1))
    assert_same("_run_lstm", arrays.by_steps(4), arrays.weight(4), bias, *states, arrays.skipped(masked))


@everywhere
@shaped
@special
@masked
def test_steps_back_of_an_lstm(size, dtype, special, masked):
    arrays = Arrays(size, dtype, special)
    saved = arrays.by_steps(4), arrays.by_steps(more=1), arrays.by_steps()
    assert_same("_run_lstm_back", arrays.by_steps(), *saved, arrays.weight(4), arrays.skipped(masked))


@everywhere
@shaped
@special
@masked
def test_steps_of_a_gru(size, dtype, special, masked):
    arrays = Arrays(size, dtype, special)
    biases, hidden = (arrays.draw(3 * arrays.units), arrays.draw(arrays.units)), arrays.by_steps(more=1)
    assert_same("_run_gru", arrays.by_steps(3), arrays.weight(3), *biases, hidden, arrays.skipped(masked))


@everywhere
@shaped
@special
@masked
def test_steps_back_of_a_gru(size, dtype, special, masked):
    arrays = Arrays(size, dtype, special)
    saved = arrays.by_steps(3), arrays.by_steps()
    hidden = arrays.by_steps(more=1)
    assert_same("_run_gru_back", arrays.by_steps(), *saved, arrays.weight(3), hidden, arrays.skipped(masked))


@pytest.mark.parametrize("batch_size", [7, 64])
def test_a_run_with_recurrent_layers_has_the_same_bits_with_and_without(batch_size, compiled_code):
    """Also of batches of which two threads compute a half each, those of 64 here."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(64, 30, 3)).astype(np.float32), rng.integers(0, 3, (64, 30))
    runs = []
    for on in (False, True):
        switch(on)
        layers = [GRU(48, return_sequences=True), Bidirectional(LSTM(48, return_sequences=True)), Dense(3)]
        model = Sequential([*layers, SoftmaxCrossEntropy()], input_shape=(30, 3), seed=0)
        assert model.rows_at_once < 64
        history = Trainer(model, Adam(0.01), batch_size=batch_size, seed=0).fit(x, y, epochs=2, progress=False)
        runs.append((model.parameters.copy(), history["loss"], model.forward(x)))
    assert_same_bits(runs[1][0], runs[0][0])
    assert runs[1][1] == runs[0][1]
    assert_same_bits(runs[1][2], runs[0][2])


def test_arrays_of_two_types_or_another_order_are_computed_by_numpy():
    arrays = Arrays((3, 4, 5), np.float32, special=False)
    biases, hidden = (arrays.draw(15), arrays.draw(5)), arrays.by_steps(more=1)
    for weight in (arrays.weight(3).astype(np.float64), np.asfortranarray(arrays.weight(3))):
        results = []
        for run in both(HOME, "_run_gru"):
            gates, states = arrays.by_steps(3) * 0 + 0.3, hidden.copy()
            try:
                results.append([run(gates, weight, *biases, states, None), gates, states])
            except (TypeError, ValueError) as error:  # numpy.dot writes into an array of its own type alone
                results.append(str(error))
        if isinstance(results[0], str):
            assert results[0] == results[1]
        else:
            for found, wanted in zip(results[1], results[0], strict=True):
                assert_same_bits(found, wanted)
