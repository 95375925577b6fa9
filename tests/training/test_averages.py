"""Averaged weights in training: validated and left by fit, while the steps go on from the weights themselves."""

import numpy as np
import pytest

from minidl import (
    SGD,
    Adam,
    BatchNorm,
    Callback,
    Checkpoint,
    Dense,
    Dropout,
    EarlyStopping,
    ExponentialMovingAverage,
    FunctionCallback,
    Lookahead,
    MaxNorm,
    ReLU,
    Sequential,
    SoftmaxCrossEntropy,
    StochasticWeightAveraging,
    Trainer,
)
from minidl.errors import ArgumentError, DataError, ShapeError


def problem(rows=200):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(rows, 6)).astype(np.float32)
    return x, (x[:, 0] + rng.normal(size=rows) > 0).astype(int)


def trainer(optimizer):
    model = Sequential([Dense(12), ReLU(), Dense(2), SoftmaxCrossEntropy()], input_shape=6, seed=0)
    return Trainer(model, optimizer, batch_size=20, seed=0)


class Record(Callback):
    """Keeps the parameters after every step."""

    def __init__(self):
        self.parameters = []

    def on_batch_end(self, t):
        self.parameters.append(t.model.parameters.copy())


def test_the_steps_are_those_of_the_optimizer_inside_and_the_model_left_is_the_average():
    (x, y), plain, averaged = problem(), Record(), Record()
    trainer(SGD(0.1)).fit(x, y, epochs=2, callbacks=[plain], progress=False)
    t = trainer(StochasticWeightAveraging(SGD(0.1), start=5))
    t.fit(x, y, epochs=2, callbacks=[averaged], progress=False)
    np.testing.assert_array_equal(averaged.parameters, plain.parameters)
    # Steps 5, 6, ... 20: the parameters after these.
    np.testing.assert_allclose(t.model.parameters, np.mean(plain.parameters[4:], axis=0), rtol=1e-4, atol=1e-6)


def test_validation_is_that_of_the_average():
    (x, y), (x_validation, y_validation) = problem(), problem(60)
    t = trainer(ExponentialMovingAverage(SGD(0.5), decay=0.9))
    t.fit(x, y, epochs=3, validation_data=(x_validation, y_validation), progress=False)
    assert t.history["val_loss"][-1] == t.evaluate(x_validation, y_validation)["loss"]


def test_a_second_fit_goes_on_from_the_weights_themselves():
    (x, y), parts, whole = problem(), Record(), Record()
    t = trainer(ExponentialMovingAverage(Adam(0.05), decay=0.9))
    for _ in range(3):
        t.fit(x, y, callbacks=[parts], progress=False)
    u = trainer(ExponentialMovingAverage(Adam(0.05), decay=0.9))
    u.fit(x, y, epochs=3, callbacks=[whole], progress=False)
    np.testing.assert_array_equal(parts.parameters, whole.parameters)
    np.testing.assert_array_equal(t.model.parameters, u.model.parameters)


def test_within_averaged_weights_the_model_has_them_and_afterwards_its_own():
    (x, y), seen = problem(), []

    def look(t):
        own = t.model.parameters.copy()
        with t.averaged_weights():
            seen.append(t.model.parameters.copy())
            with t.averaged_weights():
                np.testing.assert_array_equal(t.model.parameters, seen[-1])
        np.testing.assert_array_equal(t.model.parameters, own)
        assert not np.array_equal(seen[-1], own)

    t = trainer(ExponentialMovingAverage(SGD(0.5), decay=0.9))
    t.fit(x, y, epochs=2, callbacks=[FunctionCallback(look, "on_batch_end")], progress=False)
    np.testing.assert_array_equal(t.model.parameters, seen[-1])


@pytest.mark.parametrize("validated", [True, False])
def test_callbacks_at_the_end_of_an_epoch_see_the_average_that_its_figures_are_of(validated):
    (x, y), seen = problem(), []

    def look(t):
        seen.append((t.evaluate(x, y)["loss"], t.model.parameters.copy()))

    t = trainer(ExponentialMovingAverage(SGD(0.5), decay=0.9))
    history = t.fit(x, y, epochs=3, validation_data=(x, y) if validated else None, callbacks=[look], progress=False)
    if validated:
        assert [loss for loss, _ in seen] == history["val_loss"]
    np.testing.assert_array_equal(seen[-1][1], t.model.parameters)
    unwatched = trainer(ExponentialMovingAverage(SGD(0.5), decay=0.9))
    unwatched.fit(x, y, epochs=3, progress=False)
    np.testing.assert_array_equal(unwatched.model.parameters, t.model.parameters)


def test_early_stopping_restores_the_average_that_was_best():
    (x, y), averages = problem(), []

    def look(t):
        t.history["val_loss"][-1] = [3, 1, 2, 2.5][t.epoch - 1]
        with t.averaged_weights():
            averages.append(t.model.parameters.copy())

    t = trainer(ExponentialMovingAverage(SGD(0.5), decay=0.9))
    t.fit(x, y, epochs=4, validation_data=(x, y), callbacks=[look, EarlyStopping()], progress=False)
    np.testing.assert_array_equal(t.model.parameters, averages[1])


@pytest.mark.parametrize(
    "make",
    [
        lambda: ExponentialMovingAverage(Adam(0.05), decay=0.9),
        lambda: StochasticWeightAveraging(SGD(0.1), start=7),
        lambda: Lookahead(ExponentialMovingAverage(SGD(0.1))),
    ],
)
def test_a_resumed_run_gives_the_same_bits(tmp_path, make):
    (x, y), whole = problem(), trainer(make())
    whole.fit(x, y, epochs=4, validation_data=(x, y), progress=False)

    class Stop(Callback):
        runs_last = True

        def on_batch_end(self, t):
            if t.step == 26:
                raise InterruptedError

    part = trainer(make())
    with pytest.raises(InterruptedError):
        checkpoint = Checkpoint(tmp_path, every_steps=1)
        part.fit(x, y, epochs=4, validation_data=(x, y), callbacks=[checkpoint, Stop()], progress=False)
    part.save(tmp_path / "with_average_shown.npz")  # as fit leaves it
    for path in (tmp_path, tmp_path / "with_average_shown.npz"):
        resumed = Trainer.load(path)
        resumed.fit(x, y, epochs=4 - resumed.epoch, validation_data=(x, y), progress=False)
        np.testing.assert_array_equal(resumed.model.parameters, whole.model.parameters)
        assert dict(resumed.history) == dict(whole.history)
        for name, vector in whole.optimizer.state.items():
            np.testing.assert_array_equal(resumed.optimizer.state[name], vector)


def test_a_run_that_ends_before_its_first_step_shows_no_average():
    (x, y), t = problem(), trainer(ExponentialMovingAverage("sgd"))
    before = t.model.parameters.copy()

    class Stop(Callback):
        def on_epoch_begin(self, t):
            t.stop()

    t.fit(x, y, callbacks=[Stop()], progress=False)
    np.testing.assert_array_equal(t.model.parameters, before)
    assert not t.optimizer.exchanged


@pytest.mark.parametrize(
    "make", [lambda: StochasticWeightAveraging(Adam(0.1)), lambda: ExponentialMovingAverage(SGD(1.0), decay=0.9)]
)
def test_the_average_keeps_a_constraint(make):
    x, y = problem()
    layers = [Dense(16, constraint=MaxNorm(0.3)), ReLU(), Dense(2), SoftmaxCrossEntropy()]
    model = Sequential(layers, input_shape=6, seed=0)
    model.constrain()  # the average begins with the first parameters
    Trainer(model, make(), batch_size=20, seed=0).fit(x, y, epochs=5, progress=False)
    assert np.linalg.norm(model.layers[0].weight.value, axis=0).max() <= 0.3 * (1 + 1e-6)


def test_statistics_are_computed_anew_for_the_average():
    x, y = problem(500)
    layers = [
        Dense(12),
        BatchNorm(),
        ReLU(),
        Dropout(0.2),
        Dense(12),
        BatchNorm(),
        ReLU(),
        Dense(2),
        SoftmaxCrossEntropy(),
    ]
    model = Sequential(layers, input_shape=6, seed=0)
    trainer = Trainer(model, StochasticWeightAveraging(Adam(0.05)), batch_size=20, seed=0)
    trainer.fit(x, y, epochs=5, progress=False)
    momentum, drawn = model.layers[1].momentum, model.layers[3].generator.bit_generator.state
    x[480:] += 3  # the last batch has 20 rows, unlike all others
    model.recompute_statistics(x, batch_size=120)
    first = model.layers[0].forward(x)
    np.testing.assert_allclose(model.layers[1].running_mean.value, first.mean(axis=0), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(model.layers[1].running_variance.value, first.var(axis=0, ddof=1), rtol=1e-4)
    assert model.layers[1].momentum == momentum
    assert model.layers[3].generator.bit_generator.state == drawn


@pytest.mark.parametrize("shape", [(1026, 3), (1025, 3), (2, 3), (7, 4, 5, 3)])
@pytest.mark.parametrize("batch_size", [2, 3, 1024])
def test_the_batches_do_not_show_in_the_statistics_of_the_first_layer(shape, batch_size):
    x = np.random.default_rng(0).normal(5, 2, shape)
    x[-2:] += 50
    model = Sequential([BatchNorm()], seed=0)
    model.recompute_statistics(x, batch_size)
    layer, values = model.layers[0], x.reshape(-1, 3)
    np.testing.assert_allclose(layer.running_mean.value, values.mean(axis=0), rtol=1e-5)
    np.testing.assert_allclose(layer.running_variance.value, values.var(axis=0, ddof=1), rtol=1e-5)


def test_statistics_of_later_layers_are_those_of_what_training_batches_give_them():
    x = np.random.default_rng(0).normal(size=(7, 3)) ** 3
    model = Sequential([BatchNorm(epsilon=1e-12), ReLU(), BatchNorm()], seed=0, dtype="float64")
    model.recompute_statistics(x, batch_size=3)  # three rows, and four: the single one that is left joins them
    batches = [np.maximum((rows - rows.mean(axis=0)) / rows.std(axis=0), 0) for rows in (x[:3], x[3:])]
    values = np.concatenate(batches)
    np.testing.assert_allclose(model.layers[2].running_mean.value, values.mean(axis=0), rtol=1e-9)
    np.testing.assert_allclose(model.layers[2].running_variance.value, values.var(axis=0, ddof=1), rtol=1e-9)


def test_statistics_that_cannot_be_had_are_refused_and_the_old_ones_stay():
    model = Sequential([Dense(3), BatchNorm()], input_shape=6, seed=0)
    before = {name: values.copy() for name, values in model.named_arrays().items()}
    with pytest.raises(ArgumentError, match="batch_size is 1; it must be 2 or more"):
        model.recompute_statistics(np.ones((4, 6)), batch_size=1)
    with pytest.raises(DataError, match="x holds nan"):
        model.recompute_statistics(np.full((4, 6), np.nan))
    with pytest.raises(DataError, match="x is empty: there are no rows"):
        model.recompute_statistics(np.ones((0, 6)))
    with pytest.raises(DataError, match="x has one row, and a variance takes two or more"):
        model.recompute_statistics(np.ones((1, 6)))
    with pytest.raises(ShapeError, match="expects input"):
        model.recompute_statistics(np.ones((4, 5)))
    for name, values in model.named_arrays().items():
        np.testing.assert_array_equal(values, before[name])


def test_a_pass_that_fails_leaves_the_statistics_momenta_and_generators_as_they_were():
    class Fails(ReLU):
        def forward(self, x, training=False):
            if (x > 100).any():
                raise RuntimeError("too large")
            return super().forward(x, training)

    model = Sequential([BatchNorm(), Dropout(0.5), Fails()], input_shape=1, seed=0)
    before = model.layers[1].generator.bit_generator.state
    x = np.r_[np.random.default_rng(0).normal(size=30), 1e6][:, np.newaxis]
    with pytest.raises(RuntimeError, match="too large"):
        model.layers[0].scale.value = 1e3
        model.recompute_statistics(x, batch_size=10)
    layer = model.layers[0]
    assert (layer.momentum, layer.running_mean.value, layer.running_variance.value) == (0.9, 0, 1)
    assert model.layers[1].generator.bit_generator.state == before
