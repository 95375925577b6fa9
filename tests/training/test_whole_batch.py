"""The trainer with an optimizer that asks for the loss of all rows at any place, as LBFGS does."""

import numpy as np
import pytest
from sklearn.linear_model import Ridge

from minidl import (
    L2,
    LBFGS,
    Adam,
    Callback,
    Dense,
    Dropout,
    FunctionCallback,
    GaussianNoise,
    MaxNorm,
    MeanSquaredError,
    Optimizer,
    Residual,
    Sequential,
    SoftmaxCrossEntropy,
    Tanh,
    Trainer,
)
from minidl.errors import ArgumentError, DivergenceError


def problem(rows=1500):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(rows, 5))
    return x, x @ rng.normal(size=(5, 2)) + 0.1 * rng.normal(size=(rows, 2))


def trainer(*layers, batch_size=None, **options):
    layers = layers or (Dense(2, regularizer=L2(0.01)),)
    model = Sequential([*layers, MeanSquaredError()], input_shape=5, seed=0, dtype="float64")
    return Trainer(model, LBFGS(**options), batch_size=batch_size, seed=0)


def test_it_finds_the_solution_of_ridge_regression():
    (x, y), t = problem(), trainer()
    t.fit(x, y, epochs=100, progress=False)
    # Ours is the mean over rows and outputs of squares, plus 0.01 sum(w^2); Ridge's is their sum plus alpha sum(w^2).
    ridge = Ridge(alpha=0.01 * len(x) * 2).fit(x, y)
    np.testing.assert_allclose(t.model.layers[0].weight.value, ridge.coef_.T, atol=1e-6)
    np.testing.assert_allclose(t.model.layers[0].bias.value, ridge.intercept_, atol=1e-6)
    assert 1 < t.epoch == t.step < 100  # it stops where the loss falls no further


def test_each_iteration_is_an_epoch_with_its_figures():
    (x, y), t, seen = problem(), trainer(Dense(6), Tanh(), Dense(2)), []

    class Look(Callback):
        def on_epoch_begin(self, t):
            seen.append(("begin", t.epoch))

        def on_batch_end(self, t):
            seen.append(("step", t.step, t.evaluate(x, y)["loss"], t.batch_loss, t.figures["loss"]))

        def on_epoch_end(self, t):
            seen.append(("end", t.epoch))

    history = t.fit(x, y, epochs=4, validation_data=(x[:50], y[:50]), callbacks=[Look()], progress=False)
    assert [moment[0] for moment in seen] == ["begin", "step", "end"] * 4
    assert [moment[1] for moment in seen if moment[0] == "step"] == [1, 2, 3, 4]
    for epoch, (_, _, evaluated, of_batch, of_epoch) in enumerate(moment for moment in seen if moment[0] == "step"):
        assert of_batch == of_epoch == history["loss"][epoch] == pytest.approx(evaluated, rel=1e-12)
    assert history["loss"] == sorted(history["loss"], reverse=True)
    assert history["val_loss"][-1] == pytest.approx(t.evaluate(x[:50], y[:50])["loss"])
    assert t.epoch == 4


def test_fit_goes_on_where_it_stood():
    (x, y), t = problem(), trainer(Dense(6), Tanh(), Dense(2))
    t.fit(x, y, epochs=3, progress=False)
    before = t.history["loss"][-1]
    t.fit(x, y, epochs=3, progress=False)
    assert (t.epoch, t.step) == (6, 6)
    assert t.history["loss"][-1] < before


def test_a_callback_can_stop_it():
    (x, y), t = problem(), trainer(Dense(6), Tanh(), Dense(2))
    t.fit(x, y, epochs=50, callbacks=[lambda t: t.stop() if t.epoch == 2 else None], progress=False)
    assert t.epoch == 2

    class StopAtOnce(Callback):
        def on_epoch_begin(self, t):
            t.stop()

    t.fit(x, y, epochs=50, callbacks=[StopAtOnce()], progress=False)
    assert t.epoch == 2

    class StopLater(Callback):
        def on_epoch_begin(self, t):
            if t.epoch == 4:
                t.stop()

    before = t.model.parameters.copy()
    t.fit(x, y, epochs=50, callbacks=[StopLater()], progress=False)
    assert (t.epoch, t.interrupted) == (4, False)
    assert t.evaluate(x, y)["loss"] == pytest.approx(t.history["loss"][-1])
    assert (t.model.parameters != before).any()


def test_an_iteration_that_was_interrupted_is_finished_by_an_optimizer_of_steps():
    (x, y), t = problem(), trainer(Dense(6), Tanh(), Dense(2))
    t.fit(x, y, epochs=5, callbacks=[FunctionCallback(Trainer.stop, "on_batch_end")], progress=False)
    with pytest.raises(ZeroDivisionError):
        t.fit(x, y, epochs=5, callbacks=[FunctionCallback(lambda t: 1 / 0, "on_batch_end")], progress=False)
    row = t.row
    t.optimizer, t.batch_size = Adam(), 100
    t.fit(x, y, epochs=2, progress=False)
    assert row == len(x)
    assert t.row == 0


def test_every_epoch_that_begins_ends_also_where_the_loss_falls_no_further():
    (x, y), t, seen = problem(), trainer(), []

    class Look(Callback):
        def on_epoch_begin(self, t):
            seen.append(("begin", t.epoch))

        def on_epoch_end(self, t):
            seen.append(("end", t.epoch - 1))

    t.fit(x, y, epochs=100, callbacks=[Look()], progress=False)
    assert 1 < t.epoch < 100
    assert seen == [(moment, epoch) for epoch in range(t.epoch) for moment in ("begin", "end")]


def test_a_callback_that_changes_gradients_is_refused_before_anything_changes():
    (x, y), t = problem(), trainer()
    halve = FunctionCallback(lambda t: t.model.gradients.__imul__(0.5), "on_gradients")
    with pytest.raises(ArgumentError, match="LBFGS compares losses .*FunctionCallback would change them: leave it out"):
        t.fit(x, y, callbacks=[halve], progress=False)
    assert t.step == 0


def test_ctrl_c_leaves_the_last_whole_iteration():
    (x, y), t, last = problem(), trainer(Dense(6), Tanh(), Dense(2)), []

    class Interrupt(Callback):
        def on_epoch_begin(self, t):
            if t.epoch == 3:
                last[:] = t.model.parameters
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        t.fit(x, y, epochs=9, callbacks=[Interrupt()], progress=False)
    np.testing.assert_array_equal(t.model.parameters, last)
    assert (t.epoch, t.step) == (3, 3)


def test_mini_batches_and_constraints_are_refused_before_anything_changes():
    x, y = problem()
    t = trainer(batch_size=32)
    with pytest.raises(ArgumentError, match="takes all rows at once: make the Trainer with batch_size=None, not 32"):
        t.fit(x, y, progress=False)
    trainer(batch_size=len(x)).fit(x, y, progress=False)
    t = trainer(Dense(2, constraint=MaxNorm(1)))
    with pytest.raises(ArgumentError, match="LBFGS moves parameters freely, and the model has some with a constraint"):
        t.fit(x, y, progress=False)
    assert t.step == 0


def test_a_loss_that_is_not_finite_stops_the_run():
    rng = np.random.default_rng(0)
    x, y = 1e200 * rng.normal(size=(20, 5)), rng.normal(size=(20, 2))
    t = trainer()
    before = t.model.parameters.copy()
    with pytest.raises(DivergenceError, match="loss is inf at epoch 1, step 1"):
        t.fit(x, y, progress=False)
    np.testing.assert_array_equal(t.model.parameters, before)


def test_it_trains_a_classifier_by_name():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(300, 4))
    y = (x[:, 0] * x[:, 1] > 0).astype(int)
    model = Sequential([Dense(16), Tanh(), Dense(2), SoftmaxCrossEntropy()], seed=0)
    t = Trainer(model, "lbfgs", batch_size=None)
    t.fit(x, y, epochs=200, progress=False)
    assert t.evaluate(x, y)["accuracy"] > 0.98


def test_an_optimizer_of_steps_minimizes_nothing():
    with pytest.raises(NotImplementedError, match="Optimizer takes steps: call apply"):
        Optimizer().minimize(lambda p: (0.0, p), np.zeros(2), 1)


@pytest.mark.parametrize("layer", [Dropout(0.3), GaussianNoise(0.1), Residual([Dense(5), Dropout(0.1)])])
def test_a_model_that_draws_random_numbers_is_refused(layer):
    t = trainer(layer, Dense(2))
    with pytest.raises(ArgumentError, match="those of a model that draws random numbers differ each time: leave out"):
        t.fit(*problem(), progress=False)


def test_an_epoch_that_was_interrupted_while_it_was_finished_is_finished_first():
    (x, y), whole, t = problem(), trainer(Dense(6), Tanh(), Dense(2)), trainer(Dense(6), Tanh(), Dense(2))

    class Interrupt(Callback):
        def on_batch_end(self, t):
            if t.step == 3:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        t.fit(x, y, epochs=4, callbacks=[Interrupt()], progress=False)
    assert (t.epoch, t.step) == (2, 3)
    t.fit(x, y, epochs=1, progress=False)
    assert (t.epoch, t.step) == (3, 3)
    whole.fit(x, y, epochs=3, progress=False)
    assert dict(t.history) == dict(whole.history)
