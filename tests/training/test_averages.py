"""Averaged weights in training: validated and left by fit, while the steps go on from the weights themselves."""

import os
import signal

import numpy as np
import pytest

from minidl import (
    SGD,
    Adam,
    Average,
    Callback,
    Checkpoint,
    Dense,
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
from minidl.errors import ArgumentError, ArgumentTypeError


def problem(rows=200):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(rows, 6)).astype(np.float32)
    return x, (x[:, 0] + rng.normal(size=rows) > 0).astype(int)


def trainer(optimizer, average=None):
    model = Sequential([Dense(12), ReLU(), Dense(2), SoftmaxCrossEntropy()], input_shape=6, seed=0)
    return Trainer(model, optimizer, batch_size=20, seed=0, average=average)


class Record(Callback):
    """Keeps the parameters after every step."""

    def __init__(self):
        self.parameters = []

    def on_batch_end(self, t):
        self.parameters.append(t.model.parameters.copy())


def test_the_steps_are_those_of_the_optimizer_inside_and_the_model_left_is_the_average():
    (x, y), plain, averaged = problem(), Record(), Record()
    trainer(SGD(0.1)).fit(x, y, epochs=2, callbacks=[plain], progress=False)
    t = trainer(SGD(0.1), StochasticWeightAveraging(start=5))
    t.fit(x, y, epochs=2, callbacks=[averaged], progress=False)
    np.testing.assert_array_equal(averaged.parameters, plain.parameters)
    # Steps 5, 6, ... 20: the parameters after these.
    np.testing.assert_allclose(t.model.parameters, np.mean(plain.parameters[4:], axis=0), rtol=1e-4, atol=1e-6)


def test_validation_is_that_of_the_average():
    (x, y), (x_validation, y_validation) = problem(), problem(60)
    t = trainer(SGD(0.5), ExponentialMovingAverage(0.9))
    t.fit(x, y, epochs=3, validation_data=(x_validation, y_validation), progress=False)
    assert t.history["val_loss"][-1] == t.evaluate(x_validation, y_validation)["loss"]


def test_a_second_fit_goes_on_from_the_weights_themselves():
    (x, y), parts, whole = problem(), Record(), Record()
    t = trainer(Adam(0.05), ExponentialMovingAverage(0.9))
    for _ in range(3):
        t.fit(x, y, callbacks=[parts], progress=False)
    u = trainer(Adam(0.05), ExponentialMovingAverage(0.9))
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

    t = trainer(SGD(0.5), ExponentialMovingAverage(0.9))
    t.fit(x, y, epochs=2, callbacks=[FunctionCallback(look, moment="on_batch_end")], progress=False)
    np.testing.assert_array_equal(t.model.parameters, seen[-1])


@pytest.mark.parametrize("validated", [True, False])
def test_callbacks_at_the_end_of_an_epoch_see_the_average_that_its_metrics_are_of(validated):
    (x, y), seen = problem(), []

    def look(t):
        seen.append((t.evaluate(x, y)["loss"], t.model.parameters.copy()))

    t = trainer(SGD(0.5), ExponentialMovingAverage(0.9))
    history = t.fit(x, y, epochs=3, validation_data=(x, y) if validated else None, callbacks=[look], progress=False)
    if validated:
        assert [loss for loss, _ in seen] == history["val_loss"]
    np.testing.assert_array_equal(seen[-1][1], t.model.parameters)
    unwatched = trainer(SGD(0.5), ExponentialMovingAverage(0.9))
    unwatched.fit(x, y, epochs=3, progress=False)
    np.testing.assert_array_equal(unwatched.model.parameters, t.model.parameters)


def test_early_stopping_restores_the_average_that_was_best():
    (x, y), averages = problem(), []

    def look(t):
        t.history["val_loss"][-1] = [3, 1, 2, 2.5][t.epoch - 1]
        with t.averaged_weights():
            averages.append(t.model.parameters.copy())

    t = trainer(SGD(0.5), ExponentialMovingAverage(0.9))
    t.fit(x, y, epochs=4, validation_data=(x, y), callbacks=[look, EarlyStopping()], progress=False)
    np.testing.assert_array_equal(t.model.parameters, averages[1])


@pytest.mark.parametrize(
    "make",
    [
        lambda: (Adam(0.05), ExponentialMovingAverage(0.9)),
        lambda: (SGD(0.1), StochasticWeightAveraging(start=7)),
        lambda: (SGD(0.1), StochasticWeightAveraging(start=3, every=4)),
        lambda: (Adam(0.05), Lookahead(steps=4, slow_rate=0.3)),
    ],
)
def test_a_resumed_run_gives_the_same_bits(tmp_path, make):
    (x, y), whole = problem(), trainer(*make())
    whole.fit(x, y, epochs=4, validation_data=(x, y), progress=False)

    class Stop(Callback):
        runs_last = True

        def on_batch_end(self, t):
            if t.step == 26:
                raise InterruptedError

    part = trainer(*make())
    with pytest.raises(InterruptedError):
        checkpoint = Checkpoint(tmp_path, every_steps=1)
        part.fit(x, y, epochs=4, validation_data=(x, y), callbacks=[checkpoint, Stop()], progress=False)
    part.save(tmp_path / "with_average_shown.npz")  # as fit leaves it
    for path in (tmp_path, tmp_path / "with_average_shown.npz"):
        resumed = Trainer.load(path)
        resumed.fit(x, y, epochs=4 - resumed.epoch, validation_data=(x, y), progress=False)
        np.testing.assert_array_equal(resumed.model.parameters, whole.model.parameters)
        assert dict(resumed.history) == dict(whole.history)
        np.testing.assert_array_equal(resumed.average.vector, whole.average.vector)
        for name, vector in whole.optimizer.state.items():
            np.testing.assert_array_equal(resumed.optimizer.state[name], vector)


def test_a_run_that_ends_before_its_first_step_shows_no_average():
    (x, y), t = problem(), trainer("sgd", ExponentialMovingAverage())
    before = t.model.parameters.copy()

    class Stop(Callback):
        def on_epoch_begin(self, t):
            t.stop()

    t.fit(x, y, callbacks=[Stop()], progress=False)
    np.testing.assert_array_equal(t.model.parameters, before)
    assert t.average.shown_as is None
    assert t.average.vector is None


@pytest.mark.parametrize(
    "make", [lambda: (Adam(0.1), StochasticWeightAveraging()), lambda: (SGD(1.0), ExponentialMovingAverage(0.9))]
)
def test_the_average_keeps_a_constraint(make):
    x, y = problem()
    layers = [Dense(16, constraint=MaxNorm(0.3)), ReLU(), Dense(2), SoftmaxCrossEntropy()]
    model = Sequential(layers, input_shape=6, seed=0)
    model.constrain()  # the average begins with the first parameters
    optimizer, average = make()
    Trainer(model, optimizer, average=average, batch_size=20, seed=0).fit(x, y, epochs=5, progress=False)
    assert np.linalg.norm(model.layers[0].weight.value, axis=0).max() <= 0.3 * (1 + 1e-6)


@pytest.mark.parametrize(("decay", "start", "every"), [(0.9, 0, 1), (0.2, 3, 4), (0.0, 30, 1)])
def test_each_average_is_its_formula_on_the_parameters_after_each_step(decay, start, every):
    (x, y), seen = problem(), Record()
    first = trainer(Adam(0.05)).model.parameters.copy()
    trainer(Adam(0.05)).fit(x, y, epochs=2, callbacks=[seen], progress=False)
    path = [first, *seen.parameters]
    fading = first.astype(np.float64)
    for step, parameters in enumerate(seen.parameters, start=1):
        share = min(decay, (1 + step) / (10 + step))
        fading = share * fading + (1 - share) * parameters
    t = trainer(Adam(0.05), ExponentialMovingAverage(decay))
    t.fit(x, y, epochs=2, progress=False)
    # float32 vectors: 20 roundings of 6e-8 each.
    np.testing.assert_allclose(t.model.parameters, fading, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(t.average.vector, path[-1])  # while the average is shown, it keeps the parameters
    plain = np.mean(path[start::every] or path[-1:], axis=0, dtype=np.float64)
    t = trainer(Adam(0.05), StochasticWeightAveraging(start=start, every=every))
    t.fit(x, y, epochs=2, progress=False)
    np.testing.assert_allclose(t.model.parameters, plain, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("steps", "slow_rate"), [(5, 0.5), (1, 0.3), (3, 1.0), (50, 0.5)])
def test_lookahead_goes_a_part_of_the_way_of_plain_gradient_descent(steps, slow_rate):
    (x, y), seen, gradients = problem(), Record(), []
    t = trainer(SGD(0.1), Lookahead(steps=steps, slow_rate=slow_rate))
    fast = slow = t.model.parameters.copy()
    note = FunctionCallback(lambda t: gradients.append(t.model.gradients.copy()), moment="on_gradients")
    t.fit(x, y, epochs=2, callbacks=[seen, note], progress=False)
    for step, gradient in enumerate(gradients, start=1):
        fast = fast - np.float32(0.1) * gradient
        if step % steps == 0:
            fast = slow = slow + np.float32(slow_rate) * (fast - slow)
        np.testing.assert_allclose(seen.parameters[step - 1], fast, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(t.model.parameters, seen.parameters[-1])  # what it predicts with
    assert t.average.shown_as is None


def test_clipping_comes_before_and_constraints_before_the_average():
    (x, y), seen = problem(), Record()
    model = Sequential([Dense(4, constraint=MaxNorm(0.4)), Dense(2), SoftmaxCrossEntropy()], input_shape=6, seed=0)
    t = Trainer(model, SGD(1.0), clip_norm=0.5, average=StochasticWeightAveraging(start=1), batch_size=20, seed=0)
    before = model.parameters.copy()
    t.fit(x, y, epochs=3, callbacks=[seen], progress=False)
    np.testing.assert_allclose(model.parameters, np.mean(seen.parameters, axis=0), rtol=1e-5, atol=1e-6)
    assert np.linalg.norm(seen.parameters[0][28:] - before[28:]) <= 0.5 * (1 + 1e-6)  # the layer without a constraint


def test_an_average_of_the_users_own_writes_one_method():
    class EveryTenth(Average):
        def follow(self, parameters, vector, step):
            if step % 10 == 0:
                vector[:] = parameters

    (x, y), seen = problem(), Record()
    t = trainer(Adam(0.05), EveryTenth())
    t.fit(x, y, epochs=3, callbacks=[seen, lambda t: t.stop() if t.epoch == 2 else None], progress=False)
    np.testing.assert_array_equal(t.model.parameters, seen.parameters[19])
    t.fit(x, y, callbacks=[FunctionCallback(lambda t: t.stop(), moment="on_batch_end")], progress=False)
    np.testing.assert_array_equal(t.model.parameters, seen.parameters[19])
    assert t.step == 21


def test_an_average_of_another_model_is_refused_when_it_is_set():
    (x, y), used = problem(), ExponentialMovingAverage(0.9)
    trainer(SGD(0.1), used).fit(x, y, progress=False)
    other = Sequential([Dense(2), SoftmaxCrossEntropy()], input_shape=6, seed=0)
    with pytest.raises(
        ArgumentError, match="Trainer: average is Expon.*, which has followed another model: make a new"
    ):
        Trainer(other, SGD(0.1), average=used)
    t = Trainer(other, SGD(0.1))
    with pytest.raises(ArgumentError, match="which has followed another model: make a new one"):
        t.average = used
    assert t.average is None


def test_what_is_no_average_is_refused_when_it_is_set():
    for wrong in ("ema", 0.999, ExponentialMovingAverage, SGD(0.1)):
        with pytest.raises(
            ArgumentTypeError,
            match=r"Trainer: average is .*; it must be an Average, such as Exponential",
        ):
            trainer(SGD(0.1), wrong)
    t = trainer(SGD(0.1))
    with pytest.raises(ArgumentTypeError, match="Trainer: average is 1"):
        t.average = 1
    assert t.average is None


def test_settings_of_an_average_may_change_in_a_run_and_are_checked():
    (x, y), t = problem(), trainer(Adam(0.05), ExponentialMovingAverage(0.9))
    t.fit(x, y, progress=False)
    t.average.decay = 0.0
    t.fit(x, y, progress=False)
    # With decay 0 it is the parameters themselves, but for the rounding of a + (p - a).
    np.testing.assert_allclose(t.model.parameters, t.average.vector, rtol=1e-5, atol=1e-6)
    with pytest.raises(ArgumentError, match="ExponentialMovingAverage: decay is 1"):
        t.average.decay = 1


def test_ctrl_c_leaves_the_average_in_the_model_and_the_run_goes_on_to_the_same_bits():
    class Interrupt(Callback):
        def on_batch_end(self, t):
            if t.step == 13:
                raise KeyboardInterrupt

    (x, y), whole = problem(), trainer(Adam(0.05), ExponentialMovingAverage(0.9))
    whole.fit(x, y, epochs=3, validation_data=(x, y), progress=False)
    t, seen = trainer(Adam(0.05), ExponentialMovingAverage(0.9)), Record()
    with pytest.raises(KeyboardInterrupt):
        t.fit(x, y, epochs=3, validation_data=(x, y), callbacks=[seen, Interrupt()], progress=False)
    assert t.average.shown_as is not None
    np.testing.assert_array_equal(t.average.vector, seen.parameters[-1])
    assert not np.array_equal(t.model.parameters, seen.parameters[-1])
    t.fit(x, y, epochs=2, validation_data=(x, y), progress=False)
    np.testing.assert_array_equal(t.model.parameters, whole.model.parameters)
    assert dict(t.history) == dict(whole.history)


def test_a_new_average_after_a_fit_follows_from_there_and_is_shown():
    (x, y), t, seen = problem(), trainer(SGD(0.1), ExponentialMovingAverage(0.9)), Record()
    t.fit(x, y, progress=False)
    first = t.model.parameters.copy()
    t.average = StochasticWeightAveraging(start=10)
    t.fit(x, y, callbacks=[seen], progress=False)
    np.testing.assert_allclose(t.model.parameters, np.mean([first, *seen.parameters], axis=0), rtol=1e-5, atol=1e-6)
    assert t.average.shown_as is not None


def test_without_its_average_a_run_goes_on_from_the_weights_that_the_model_has():
    (x, y), t, u = problem(), trainer(SGD(0.1), ExponentialMovingAverage(0.9)), trainer(SGD(0.1))
    t.fit(x, y, progress=False)
    u.model.parameters = t.model.parameters
    t.average = None
    t.fit(x, y, progress=False)
    u.position.epoch = 1  # whose order of rows it is
    u.fit(x, y, progress=False)
    np.testing.assert_array_equal(t.model.parameters, u.model.parameters)


def test_ctrl_c_amid_the_exchange_of_average_and_parameters_loses_neither():
    class Interrupted(ExponentialMovingAverage):
        exchanges = 0

        def __setattr__(self, name, value):
            if name == "vector" and value is not None and self.vector is not None:
                self.exchanges += 1
                os.kill(os.getpid(), signal.SIGINT)
            super().__setattr__(name, value)

    (x, y), seen = problem(), Record()
    t, whole = trainer(Adam(0.05), Interrupted(0.9)), trainer(Adam(0.05), ExponentialMovingAverage(0.9))
    with pytest.raises(KeyboardInterrupt):
        t.fit(x, y, callbacks=[seen], progress=False)
    whole.fit(x, y, progress=False)
    assert t.average.exchanges > 0
    assert t.average.shown_as is not None
    np.testing.assert_array_equal(t.average.vector, seen.parameters[-1])
    np.testing.assert_array_equal(t.model.parameters, whole.model.parameters)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_parameters_that_are_set_between_fits_are_kept_and_averaged_from_there():
    (x, y), t, u = problem(), trainer(SGD(0.1), ExponentialMovingAverage(0.9)), trainer(SGD(0.1))
    t.fit(x, y, progress=False)
    t.model.parameters = np.ones(t.model.parameters.size)
    seen = Record()
    t.fit(x, y, callbacks=[seen], progress=False)
    u.model.parameters = np.ones(t.model.parameters.size)
    u.position.epoch = 1  # whose order of rows it is
    u.fit(x, y, progress=False)
    np.testing.assert_array_equal(seen.parameters[-1], u.model.parameters)
    assert t.average.shown_as is not None


@pytest.mark.parametrize("saves", [False, True])
def test_a_run_saved_after_a_callback_has_written_on_the_shown_average_goes_on_from_that(tmp_path, saves):
    class Write(Callback):
        def on_epoch_end(self, t):
            if t.epoch == 1:
                t.model.parameters = np.linspace(-1, 1, t.model.parameters.size)
                if saves:
                    t.save(tmp_path / "run.npz")

    (x, y), whole = problem(), trainer(Adam(0.05), ExponentialMovingAverage(0.9))
    whole.fit(x, y, epochs=3, callbacks=[Write()], progress=False)
    resumed = trainer(Adam(0.05), ExponentialMovingAverage(0.9))
    if saves:
        resumed = Trainer.load(tmp_path / "run.npz")
    resumed.fit(x, y, epochs=3 - resumed.epoch, callbacks=[Write()], progress=False)
    np.testing.assert_array_equal(resumed.model.parameters, whole.model.parameters)
    np.testing.assert_array_equal(resumed.average.vector, whole.average.vector)
