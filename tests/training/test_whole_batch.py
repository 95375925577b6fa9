"""The trainer with an optimizer that asks for the loss of all rows at any place, as LBFGS does."""

import os
import re
import signal

import numpy as np
import pytest
from sklearn.linear_model import Ridge

from minidl import (
    L2,
    LBFGS,
    Adam,
    BatchNorm,
    Callback,
    Checkpoint,
    Dense,
    Dropout,
    ExponentialMovingAverage,
    FunctionCallback,
    GaussianNoise,
    MaxNorm,
    MeanSquaredError,
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


def test_each_iteration_is_an_epoch_with_its_metrics():
    (x, y), t, seen = problem(), trainer(Dense(6), Tanh(), Dense(2)), []

    class Look(Callback):
        def on_epoch_begin(self, t):
            seen.append(("begin", t.epoch))

        def on_batch_end(self, t):
            seen.append(("step", t.step, t.evaluate(x, y)["loss"], t.batch_loss, t.metric_values["loss"]))

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
    t.fit(x, y, epochs=5, callbacks=[FunctionCallback(Trainer.stop, moment="on_batch_end")], progress=False)
    with pytest.raises(ZeroDivisionError):
        t.fit(x, y, epochs=5, callbacks=[FunctionCallback(lambda t: 1 / 0, moment="on_batch_end")], progress=False)
    row = t.position.row
    t.optimizer, t.batch_size = Adam(), 100
    t.fit(x, y, epochs=2, progress=False)
    assert row == len(x)
    assert t.position.row == 0


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
    halve = FunctionCallback(lambda t: t.model.gradients.__imul__(0.5), moment="on_gradients")
    with pytest.raises(
        ArgumentError, match="LBFGS compares losses .*but FunctionCallback would change them: leave it out"
    ):
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
    with pytest.raises(ArgumentError, match="takes all rows at once: give batch_size=None, not 32"):
        t.fit(x, y, progress=False)
    trainer(batch_size=len(x)).fit(x, y, progress=False)
    t = trainer(Dense(2, constraint=MaxNorm(1)))
    with pytest.raises(
        ArgumentError, match="LBFGS compares losses .*but the constraint of a layer would change them: leave it out"
    ):
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


@pytest.mark.parametrize(
    ("layer", "name"),
    [
        (Dropout(0.3), "dropout_1"),
        (GaussianNoise(0.1), "gaussian_noise_1"),
        (Residual([Dense(5), Dropout(0.1)]), "residual_1/layers/dropout_1"),
    ],
)
def test_a_model_that_draws_random_numbers_is_refused(layer, name):
    t = trainer(layer, Dense(2))
    with pytest.raises(ArgumentError, match=f"compares losses .*, but {name} would change"):
        t.fit(*problem(), progress=False)


@pytest.mark.parametrize(
    ("name", "value"), [("clip_norm", 1.0), ("clip_value", 0.1), ("average", ExponentialMovingAverage(0.9))]
)
def test_settings_that_change_gradients_or_parameters_between_evaluations_are_refused(name, value):
    t = trainer()
    setattr(t, name, value)
    with pytest.raises(ArgumentError, match=f"LBFGS compares losses .*, but {name} would change them: leave it out"):
        t.fit(*problem(), progress=False)
    assert t.step == 0


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


@pytest.mark.parametrize("epoch", [1, 3, 6])
@pytest.mark.parametrize("when", ["on_batch_end", "on_epoch_end"])
def test_a_run_resumed_from_a_file_in_its_middle_ends_in_the_same_bits(tmp_path, epoch, when):
    class Stop(Callback):
        runs_last = True

    def stop(t):
        if t.step == epoch:
            t.save(tmp_path / "run.npz")
            raise InterruptedError

    def run(t, *callbacks):
        t.fit(x, y, epochs=9 - t.epoch, validation_data=(x[:50], y[:50]), callbacks=callbacks, progress=False)
        state = {name: pairs.tobytes() for name, pairs in t.optimizer.state.items()}
        return t.model.parameters.tobytes(), state, dict(t.history), t.step

    (x, y), callback = problem(), Stop()
    setattr(callback, when, stop)
    expected = run(trainer(Dense(6), Tanh(), Dense(2), memory=4))
    part = trainer(Dense(6), Tanh(), Dense(2), memory=4)
    with pytest.raises(InterruptedError):
        run(part, callback)
    resumed = Trainer.load(tmp_path / "run.npz")
    assert resumed.optimizer.state.keys() == {"s", "y", "steepest"}
    assert run(resumed) == expected
    assert run(part) == expected  # the same trainer goes on, too


def test_where_it_ends_by_itself_the_optimizer_says_why():
    (x, y), t = problem(), trainer()
    t.fit(x, y, epochs=2, progress=False)
    assert t.optimizer.ended == ""
    t.fit(x, y, epochs=100, progress=False)
    assert t.epoch < 100
    assert re.search("gradient_tolerance|tolerance = 1e-09 of it|no lower loss", t.optimizer.ended)
    assert not t.interrupted
    tight = trainer(tolerance=1e-3)
    tight.fit(x, y, epochs=100, progress=False)
    assert tight.epoch < t.epoch
    assert tight.optimizer.ended == "the loss fell by no more than tolerance = 0.001 of it"


def test_a_fit_that_starts_at_the_minimum_leaves_a_history_with_the_loss():
    x = np.random.default_rng(0).normal(size=(30, 5))
    t = trainer(Dense(2))
    y = t.model.predict(x)  # which the model meets at once
    before = t.model.parameters.copy()
    history = t.fit(x, y, epochs=10, validation_data=(x, y), progress=False)
    np.testing.assert_array_equal(t.model.parameters, before)
    assert t.epoch == 1
    assert history["loss"] == history["val_loss"] == [0.0]
    assert t.optimizer.ended == "the gradient is zero"


def test_a_second_fit_at_the_minimum_takes_one_more_iteration_and_tells_the_loss_there():
    (x, y), t = problem(), trainer()
    t.fit(x, y, epochs=100, progress=False)
    best, epochs = t.history["loss"][-1], t.epoch
    t.fit(x, y, epochs=100, progress=False)
    assert epochs < t.epoch <= epochs + 2
    assert best * (1 - 1e-9) <= t.history["loss"][-1] <= best


def test_many_blocks_give_the_same_way_to_rounding():
    (x, y), whole, blocks = problem(), trainer(Dense(6), Tanh(), Dense(2)), trainer(Dense(6), Tanh(), Dense(2))
    whole.model.rows_at_once, blocks.model.rows_at_once = 2048, 64
    for t in (whole, blocks):
        t.fit(x, y, epochs=5, progress=False)
    # Rounding grows along the way, by about the condition of the problem.
    np.testing.assert_allclose(blocks.history["loss"], whole.history["loss"], rtol=1e-9)
    np.testing.assert_allclose(blocks.model.parameters, whole.model.parameters, rtol=1e-6, atol=1e-9)


def test_metrics_of_an_iteration_are_those_of_the_place_that_it_found():
    (x, y), seen = problem(), []
    t = trainer(Dense(6), Tanh(), Dense(2))
    t.metrics = ["r2", "mae"]
    look = FunctionCallback(lambda t: seen.append(t.evaluate(x, y)))
    history = t.fit(x, y, epochs=6, callbacks=[look], progress=False)
    for epoch, expected in enumerate(seen):
        assert {name: history[name][epoch] for name in expected} == pytest.approx(expected, rel=1e-10)


def test_weights_and_positions_count_as_in_mini_batches():
    rng = np.random.default_rng(0)
    x, y, mask = rng.normal(size=(40, 6, 5)), rng.integers(0, 3, (40, 6)), rng.integers(0, 2, (40, 6))
    runs = []
    for inputs, labels, weights in ((x, y, mask), (x[mask == 1], y[mask == 1], None)):
        model = Sequential(
            [Dense(3, regularizer=L2(0.01)), SoftmaxCrossEntropy()], input_shape=inputs.shape[1:], seed=0
        )
        t = Trainer(model, LBFGS(), batch_size=None)
        t.fit(inputs, labels, sample_weight=weights, epochs=100, progress=False)
        runs.append(t)
    # Both end at the minimum, which float32 finds to some 1e-4.
    np.testing.assert_allclose(runs[0].model.parameters, runs[1].model.parameters, atol=1e-3)
    assert runs[0].history["loss"][-1] == pytest.approx(runs[1].history["loss"][-1], rel=1e-6)


def test_running_statistics_are_resumed_to_the_same_bits_too():
    (x, y), whole, parts = problem(), trainer(Dense(6), BatchNorm(), Dense(2)), trainer(Dense(6), BatchNorm(), Dense(2))
    whole.fit(x, y, epochs=4, progress=False)
    for _ in range(4):
        parts.fit(x, y, progress=False)
    np.testing.assert_array_equal(whole.model.parameters, parts.model.parameters)
    np.testing.assert_array_equal(whole.model.layers[1].running_mean.value, parts.model.layers[1].running_mean.value)


def test_a_run_that_has_ended_by_itself_is_over_when_it_is_resumed(tmp_path):
    (x, y), t = problem(), trainer()
    t.fit(x, y, epochs=100, callbacks=[Checkpoint(tmp_path)], progress=False)
    resumed = Trainer.load(tmp_path)
    resumed.fit(x, y, epochs=100 - resumed.epoch, progress=False)
    assert dict(resumed.history) == dict(t.history)


def test_what_a_callback_changes_between_iterations_counts_in_the_next():
    def change(t):
        if t.epoch == 2:
            t.model.parameters *= 2

    (x, y), t = problem(), trainer(Dense(2))
    t.fit(x, y, epochs=2, progress=False)
    t.model.parameters *= 2
    t.fit(x, y, epochs=3, progress=False)
    other = trainer(Dense(2))
    other.fit(x, y, epochs=5, callbacks=[change], progress=False)
    np.testing.assert_array_equal(other.model.parameters, t.model.parameters)


@pytest.mark.parametrize("how", ["error", "ctrl-c"])
def test_what_happens_in_the_midst_of_a_search_leaves_a_whole_iteration_from_which_the_run_goes_on(how):
    class Troubled(Tanh):
        passes, at = 0, 7

        def forward(self, x, training=False):
            self.passes += training
            if training and self.passes == self.at:
                if how == "error":
                    raise InterruptedError
                os.kill(os.getpid(), signal.SIGINT)
            return super().forward(x, training)

    (x, y), whole, after = problem(), trainer(Dense(6), Tanh(), Dense(2)), []
    keep = FunctionCallback(lambda t: after.append(t.model.parameters.copy()), moment="on_batch_end")
    whole.fit(x, y, epochs=8, callbacks=[keep], progress=False)
    t = trainer(Dense(6), Troubled(), Dense(2))
    with pytest.raises(InterruptedError if how == "error" else KeyboardInterrupt):
        t.fit(x, y, epochs=8, progress=False)
    assert 0 < t.step < 8
    np.testing.assert_array_equal(t.model.parameters, after[t.step - 1])
    t.fit(x, y, epochs=8 - t.epoch, progress=False)
    np.testing.assert_array_equal(t.model.parameters, whole.model.parameters)
    assert dict(t.history) == dict(whole.history)
