"""The trainer: what a step does, order, continuation, metrics, and what it refuses."""

import copy
import itertools
import os
import signal

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minidl import (
    L1L2,
    L2,
    SGD,
    Adam,
    BatchNorm,
    Callback,
    CosineDecay,
    CSVLogger,
    Dense,
    EarlyStopping,
    FunctionCallback,
    Layer,
    Loss,
    MaxNorm,
    MeanSquaredError,
    Momentum,
    Optimizer,
    ReLU,
    Rescale,
    Schedule,
    Sequential,
    Sigmoid,
    SigmoidCrossEntropy,
    SoftmaxCrossEntropy,
    Trainer,
)
from minidl.errors import ArgumentError, ArgumentTypeError, DataError, DivergenceError, ShapeError


def model(**options):
    layers = [Rescale(1 / 255), Dense(8), ReLU(), Dense(3), SoftmaxCrossEntropy()]
    return Sequential(layers, **{"input_shape": 6, "seed": 0} | options)


def data(rows=50, seed=0):
    """Three classes that a small network can tell apart: each lights another pair of pixels."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 3, rows)
    x = rng.integers(0, 60, (rows, 6), dtype=np.uint8)
    x[np.arange(rows), 2 * y] += 150
    x[np.arange(rows), 2 * y + 1] += 150
    return x, y


def fit(trainer, x, y, **options):
    return trainer.fit(x, y, progress=False, **options)


def stop_at(step):
    return lambda trainer: trainer.stop() if trainer.step == step else None


class Recorder(Callback):
    """Notes each moment with the epoch and step it saw."""

    def __init__(self):
        self.moments = []

    def note(self, name, trainer):
        self.moments.append((name, trainer.epoch, trainer.step))

    def on_train_begin(self, trainer):
        self.note("train begin", trainer)

    def on_epoch_begin(self, trainer):
        self.note("epoch begin", trainer)

    def on_gradients(self, trainer):
        self.note("gradients", trainer)

    def on_batch_end(self, trainer):
        self.note("batch end", trainer)

    def on_epoch_end(self, trainer):
        self.note("epoch end", trainer)

    def on_train_end(self, trainer):
        self.note("train end", trainer)


class RowsSeen(Layer):
    """Passes its input on and remembers the rows of each training batch."""

    def forward(self, x, training=False):
        if training:
            self.batches = [*getattr(self, "batches", []), x[:, 0].astype(int).tolist()]
        return x

    def backward(self, dy):
        return dy


def watched(rows):
    seen = RowsSeen()
    return Sequential([seen, Dense(1), MeanSquaredError()], input_shape=1, seed=0), seen, np.arange(rows)[:, np.newaxis]


class TestLearning:
    @pytest.mark.parametrize("optimizer", [SGD(0.1), Momentum(0.05), Momentum(0.05, nesterov=True), Adam(0.01), "adam"])
    def test_the_network_learns(self, optimizer):
        x, y = data(300)
        trainer = Trainer(model(), copy.deepcopy(optimizer), batch_size=16, seed=0)
        history = fit(trainer, x, y, epochs=25, validation_data=data(100, seed=1))
        assert history["loss"][-1] < 0.3 * history["loss"][0]
        assert history["val_accuracy"][-1] > 0.97
        assert trainer.evaluate(*data(100, seed=2))["accuracy"] > 0.97

    def test_a_step_of_the_whole_loop_is_gradient_descent_written_out(self):
        x, y = data(10)
        net = model(dtype="float64")
        w1, b1, w2, b2 = (parameter.value.copy() for parameter in net.named_parameters().values())
        fit(Trainer(net, SGD(0.5), batch_size=None), x, y, epochs=3)
        z = x / 255
        for _ in range(3):
            hidden = z @ w1 + b1
            active = np.maximum(hidden, 0)
            exponential = np.exp(active @ w2 + b2)
            dscores = (exponential / exponential.sum(axis=1, keepdims=True) - np.eye(3)[y]) / 10
            dhidden = (dscores @ w2.T) * (hidden > 0)
            w2 -= 0.5 * active.T @ dscores
            b2 -= 0.5 * dscores.sum(axis=0)
            w1 -= 0.5 * z.T @ dhidden
            b1 -= 0.5 * dhidden.sum(axis=0)
        for parameter, expected in zip(net.named_parameters().values(), (w1, b1, w2, b2), strict=True):
            np.testing.assert_allclose(parameter.value, expected, rtol=1e-10, atol=1e-12)

    def test_a_regression_learns_a_line(self):
        x = np.linspace(-1, 1, 40)[:, np.newaxis]
        net = Sequential([Dense(1), MeanSquaredError()], seed=0)
        history = fit(Trainer(net, SGD(0.3), batch_size=None), x, 3 * x[:, 0] - 1, epochs=200)
        np.testing.assert_allclose(net.predict([[0.0], [2.0]]), [-1, 5], atol=1e-3)
        assert list(history) == ["loss", "mean_absolute_error"]

    def test_two_classes_from_one_score_learn(self):
        x, y = data(200)
        net = Sequential([Rescale(1 / 255), Dense(1), SigmoidCrossEntropy()], seed=0)
        history = fit(Trainer(net, Adam(0.05), seed=0), x, (y == 1), epochs=30)
        assert history["accuracy"][-1] > 0.97
        assert (net.predict(x) == (y == 1)).mean() > 0.97

    def test_one_hot_targets_train_as_labels_do(self):
        x, y = data(40)
        one, other = model(), model()
        fit(Trainer(one, SGD(0.1), batch_size=8, seed=0), x, y, epochs=3)
        fit(Trainer(other, SGD(0.1), batch_size=8, seed=0), x, np.eye(3)[y], epochs=3)
        np.testing.assert_allclose(one.parameters, other.parameters, rtol=1e-5, atol=1e-6)


class TestBatches:
    def test_every_row_is_seen_once_an_epoch_in_a_new_order(self):
        net, seen, x = watched(10)
        fit(Trainer(net, SGD(0.0), batch_size=4, seed=0), x, x, epochs=2)
        assert [len(batch) for batch in seen.batches] == [4, 4, 2, 4, 4, 2]
        first, second = (list(itertools.chain(*seen.batches[part])) for part in (slice(3), slice(3, 6)))
        assert sorted(first) == sorted(second) == list(range(10))
        assert first != second
        assert first != list(range(10))

    def test_the_order_depends_on_seed_and_epoch_alone(self):
        orders = []
        for optimizer, first_epochs in ((SGD(0.0), 1), (SGD(0.01), 2)):
            net, seen, x = watched(12)
            trainer = Trainer(net, optimizer, batch_size=5, seed=3)
            fit(trainer, x, x, epochs=first_epochs)
            fit(trainer, x, x, epochs=3 - first_epochs)
            orders.append(seen.batches)
        assert orders[0] == orders[1]
        net, seen, x = watched(12)
        fit(Trainer(net, SGD(0.0), batch_size=5, seed=4), x, x, epochs=3)
        assert seen.batches != orders[0]

    def test_without_shuffling_rows_come_as_they_are(self):
        net, seen, x = watched(5)
        fit(Trainer(net, SGD(0.0), batch_size=2, shuffle=False), x, x, epochs=2)
        assert seen.batches == [[0, 1], [2, 3], [4]] * 2

    @pytest.mark.parametrize("batch_size", [None, 5, 99])
    def test_a_full_batch_is_one_step_an_epoch(self, batch_size):
        net, seen, x = watched(5)
        trainer = Trainer(net, SGD(0.0), batch_size=batch_size)
        fit(trainer, x, x, epochs=2)
        assert seen.batches == [[0, 1, 2, 3, 4]] * 2
        assert trainer.step == 2

    @pytest.mark.parametrize("weighted", [False, True])
    def test_a_large_batch_is_the_sum_of_its_blocks(self, weighted):
        x, y = data(103)
        weights = np.random.default_rng(0).random(103) if weighted else None
        whole, blocks = model(dtype="float64"), model(dtype="float64")
        expected = fit(Trainer(whole, Adam(), batch_size=None), x, y, epochs=3, sample_weight=weights)
        blocks.rows_at_once = 10
        history = fit(Trainer(blocks, Adam(), batch_size=None), x, y, epochs=3, sample_weight=weights)
        np.testing.assert_allclose(blocks.parameters, whole.parameters, rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(history["loss"], expected["loss"], rtol=1e-12)
        np.testing.assert_allclose(history["accuracy"], expected["accuracy"], rtol=1e-12)

    @pytest.mark.parametrize("nested", [False, True])
    def test_a_layer_that_mixes_the_batch_gets_it_whole(self, nested):
        net, seen, x = watched(7)
        if nested:
            seen = RowsSeen()
            layers = [Sequential([Sequential([seen])]), Dense(1), MeanSquaredError()]
            net = Sequential(layers, input_shape=1, seed=0)
        net.rows_at_once = 3
        seen.mixes_batch = True
        fit(Trainer(net, SGD(0.0), batch_size=None), x, x)
        assert seen.batches == [[0, 1, 2, 3, 4, 5, 6]]

    @pytest.mark.parametrize(
        ("rows", "batch_size", "mixed", "alone"),
        [(7, 3, [3, 4], [3, 3, 1]), (4, 3, [4], [3, 1]), (8, 3, [3, 3, 2], [3, 3, 2]), (3, 2, [3], [2, 1])],
    )
    def test_where_rows_are_mixed_a_last_row_alone_joins_the_batch_before_it(self, rows, batch_size, mixed, alone):
        for mixes, expected in ((True, mixed), (False, alone)):
            net, seen, x = watched(rows)
            seen.mixes_batch = mixes
            fit(Trainer(net, SGD(0.0), batch_size=batch_size, seed=0), x, x, epochs=2)
            assert [len(batch) for batch in seen.batches] == 2 * expected
            assert sorted(row for batch in seen.batches[: len(expected)] for row in batch) == list(range(rows))

    def test_a_run_stopped_before_the_batch_that_a_row_has_joined_goes_on_with_it(self):
        net, seen, x = watched(7)
        seen.mixes_batch = True
        trainer = Trainer(net, SGD(0.0), batch_size=3, seed=0)
        fit(trainer, x, x, callbacks=[FunctionCallback(Trainer.stop, moment="on_batch_end")])
        fit(trainer, x, x)
        assert [len(batch) for batch in seen.batches] == [3, 4]

    def test_batch_norm_trains_as_well_with_one_row_more_than_whole_batches(self):
        rng = np.random.default_rng(0)
        x = np.stack([rng.uniform(1950, 2020, 65), rng.uniform(270, 300, 65)], axis=1)
        y = (x[:, 0] - 1985) / 20 + (x[:, 1] - 285) / 9
        losses = []
        for rows in (64, 65):
            layers = [BatchNorm(), Dense(16), ReLU(), Dense(1), MeanSquaredError()]
            trainer = Trainer(Sequential(layers, seed=0), SGD(0.02), batch_size=32, seed=0)
            losses.append(fit(trainer, x[:rows], y[:rows], epochs=150)["loss"][-1])
        assert losses[1] == pytest.approx(losses[0], rel=0.5)
        assert losses[1] < 0.1 * y.var()

    def test_batch_norm_takes_no_batches_of_one_row(self):
        x, y = data(5)
        net = Sequential([Dense(3), BatchNorm(), Dense(3), SoftmaxCrossEntropy()], input_shape=6, seed=0)
        before = net.parameters.copy()
        with pytest.raises(ShapeError, match=r"layer 2 'batch_norm_1': .*use a batch_size of 2 or more"):
            fit(Trainer(net, SGD(0.1), batch_size=1), x, y)
        np.testing.assert_array_equal(net.parameters, before)


class TestContinuation:
    def test_the_same_seeds_give_the_same_bits(self):
        x, y = data()
        runs = []
        for _ in range(2):
            net = model()
            runs.append((fit(Trainer(net, Adam(), batch_size=8, seed=5), x, y, epochs=3), net.parameters))
        assert dict(runs[0][0]) == dict(runs[1][0])
        np.testing.assert_array_equal(runs[0][1], runs[1][1])

    def test_without_a_seed_runs_differ(self):
        x, y = data()
        runs = [model(), model()]
        for net in runs:
            fit(Trainer(net, SGD(0.1), batch_size=8), x, y, epochs=2)
        assert (runs[0].parameters != runs[1].parameters).any()

    def test_fit_called_again_goes_on(self):
        x, y = data()
        whole, parts = model(), model()
        once, again = (Trainer(net, Momentum(0.1), batch_size=8, seed=1) for net in (whole, parts))
        fit(once, x, y, epochs=5)
        fit(again, x, y, epochs=2)
        fit(again, x, y, epochs=3)
        np.testing.assert_array_equal(parts.parameters, whole.parameters)
        assert dict(again.history) == dict(once.history)
        assert (again.epoch, again.step) == (once.epoch, once.step) == (5, 35)

    @settings(max_examples=20)
    @given(stop_at=st.integers(1, 20))
    def test_a_run_stopped_after_any_step_goes_on_to_the_same_bits(self, stop_at):
        class StopAt(Callback):
            def on_batch_end(self, trainer):
                if trainer.step == stop_at:
                    trainer.stop()

        x, y = data()
        whole, parts = model(), model()
        once, again = (Trainer(net, Adam(), batch_size=8, seed=1) for net in (whole, parts))
        fit(once, x, y, epochs=3, validation_data=(x, y))
        fit(again, x, y, epochs=3, validation_data=(x, y), callbacks=[StopAt()])
        assert again.step == stop_at
        fit(again, x, y, epochs=3 - again.epoch, validation_data=(x, y))
        np.testing.assert_array_equal(parts.parameters, whole.parameters)
        assert dict(again.history) == dict(once.history)

    def test_an_interrupted_epoch_starts_anew_with_other_data(self):
        class StopAtOnce(Callback):
            def on_batch_end(self, trainer):
                trainer.stop()

        trainer = Trainer(model(), SGD(0.1), batch_size=8, seed=1)
        fit(trainer, *data(50), epochs=1, callbacks=[StopAtOnce()])
        assert (trainer.epoch, trainer.position.row) == (0, 8)
        fit(trainer, *data(16))
        assert (trainer.epoch, trainer.step, trainer.position.row) == (1, 3, 0)

    def test_an_epoch_ends_with_the_batches_that_it_began_with(self, tmp_path):
        x, y = data(50)

        class Halve(Callback):
            def on_batch_end(self, trainer):
                if trainer.step == 3:
                    trainer.batch_size, trainer.shuffle = 5, False

        class Save(Callback):
            def on_batch_end(self, trainer):
                if trainer.step == 4:
                    trainer.save(tmp_path / "run.npz")

        trainer = Trainer(model(), Adam(0.01), batch_size=10, seed=0)
        fit(trainer, x, y, epochs=2, callbacks=[Halve(), Save()])
        assert trainer.step == 5 + 10
        resumed = Trainer.load(tmp_path / "run.npz")
        fit(resumed, x, y, epochs=2)
        assert resumed.step == trainer.step
        np.testing.assert_array_equal(resumed.model.parameters, trainer.model.parameters)

    def test_no_more_epochs_is_for_a_run_that_has_begun(self):
        trainer = Trainer(model(), SGD(0.1), batch_size=10)
        with pytest.raises(ArgumentError, match="epochs is 0; it must be a whole number, 1 or more"):
            fit(trainer, *data(), epochs=0)
        fit(trainer, *data(), callbacks=[FunctionCallback(Trainer.stop, moment="on_batch_end")])
        assert (trainer.epoch, trainer.position.row) == (0, 10)
        fit(trainer, *data(), epochs=0)
        assert (trainer.epoch, trainer.position.row) == (0, 10)

    def test_stopping_between_epochs_ends_the_fit_there(self):
        class StopAfterTwo(Callback):
            def on_epoch_end(self, trainer):
                if trainer.epoch == 2:
                    trainer.stop()

        trainer = Trainer(model(), SGD(0.1), batch_size=8, seed=1)
        fit(trainer, *data(), epochs=9, callbacks=[StopAfterTwo()])
        assert (trainer.epoch, trainer.history.epochs) == (2, 2)


class TestInterruption:
    @pytest.mark.parametrize("moment", ["forward", "gradients", "update", "batch end"])
    def test_ctrl_c_leaves_model_optimizer_and_history_at_the_last_whole_step(self, moment):
        def interrupt():
            os.kill(os.getpid(), signal.SIGINT)

        class InterruptedAdam(Adam):
            def update(self, p, g, learning_rate, m, v):
                super().update(p, g, learning_rate, m, v)
                if moment == "update" and self.step == 10:
                    interrupt()

        class Interrupter(Callback):
            def on_gradients(self, trainer):
                if moment == "gradients" and trainer.step == 9:
                    interrupt()

            def on_batch_end(self, trainer):
                if moment == "batch end" and trainer.step == 10:
                    interrupt()

        class InterruptedRescale(Rescale):
            calls = 0

            def forward(self, x, training=False):
                self.calls += training
                if training and moment == "forward" and self.calls == 10:
                    interrupt()
                return super().forward(x, training)

        x, y = data()
        nets = [
            Sequential([InterruptedRescale(1 / 255), Dense(8), ReLU(), Dense(3), SoftmaxCrossEntropy()], seed=0),
            model(),
        ]
        trainers = [Trainer(nets[0], InterruptedAdam(), batch_size=8, seed=1), Trainer(nets[1], batch_size=8, seed=1)]
        with pytest.raises(KeyboardInterrupt):
            fit(trainers[0], x, y, epochs=3, callbacks=[Interrupter()])
        assert (trainers[0].epoch, trainers[0].step, trainers[0].position.row) == (1, 10, 24)
        assert trainers[0].history.epochs == 1
        fit(trainers[0], x, y, epochs=2)
        fit(trainers[1], x, y, epochs=3)
        np.testing.assert_array_equal(nets[0].parameters, nets[1].parameters)
        assert dict(trainers[0].history) == dict(trainers[1].history)

    def test_an_error_in_a_callback_leaves_the_last_whole_step(self):
        class Broken(Callback):
            def on_gradients(self, trainer):
                if trainer.step == 4:
                    trainer.model.gradients[:] = np.nan
                    raise RuntimeError("broken callback")

        x, y = data()
        nets = [model(), model()]
        trainers = [Trainer(net, Momentum(0.1), batch_size=8, seed=1) for net in nets]
        with pytest.raises(RuntimeError, match="broken callback"):
            fit(trainers[0], x, y, callbacks=[Broken()])
        assert (trainers[0].step, trainers[0].position.row) == (4, 32)
        for trainer in trainers:
            fit(trainer, x, y)
        np.testing.assert_array_equal(nets[0].parameters, nets[1].parameters)


class TestMetrics:
    def test_an_epochs_metrics_are_the_means_over_its_rows(self):
        x, y = data(10)
        net = model()
        scores = net.forward(x).astype(np.float64)
        losses = np.log(np.exp(scores).sum(axis=1)) - scores[np.arange(10), y]
        history = fit(Trainer(net, SGD(0.0), batch_size=4), x, y, epochs=1)
        assert history["loss"][0] == pytest.approx(losses.mean(), rel=1e-6)
        assert history["accuracy"][0] == pytest.approx((scores.argmax(axis=1) == y).mean(), rel=1e-12)

    def test_sample_weights_count_in_loss_gradient_and_metrics(self):
        x, y = data(20)
        weights = np.random.default_rng(0).integers(0, 4, 20)
        weighted, repeated = model(dtype="float64"), model(dtype="float64")
        trainers = [Trainer(net, SGD(0.1), batch_size=None) for net in (weighted, repeated)]
        one = fit(trainers[0], x, y, epochs=3, sample_weight=weights)
        other = fit(trainers[1], x.repeat(weights, axis=0), y.repeat(weights), epochs=3)
        np.testing.assert_allclose(weighted.parameters, repeated.parameters, rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(one["loss"], other["loss"], rtol=1e-12)
        np.testing.assert_allclose(one["accuracy"], other["accuracy"], rtol=1e-12)
        evaluated = trainers[0].evaluate(x, y, sample_weight=weights)
        assert evaluated == pytest.approx(trainers[1].evaluate(x.repeat(weights, axis=0), y.repeat(weights)))

    @pytest.mark.parametrize("kind", [np.uint8, np.int8, np.float16, bool, np.float32])
    def test_weights_of_any_type_count_alike(self, kind):
        x, y = data(300)
        trainer = Trainer(model(), SGD(0.1))
        expected = trainer.evaluate(x, y)
        assert trainer.evaluate(x, y, sample_weight=np.full(300, 3, kind)) == pytest.approx(expected)

    @pytest.mark.parametrize("size", [1e-50, 1e39])
    def test_only_the_ratios_of_weights_count(self, size):
        x, y = data(30)
        weights = np.random.default_rng(0).random(30)
        trainer = Trainer(model(), SGD(0.1))
        expected = trainer.evaluate(x, y, sample_weight=weights)
        assert trainer.evaluate(x, y, sample_weight=size * weights) == pytest.approx(expected)

    def test_a_row_counts_by_its_weight_in_whatever_batch_it_comes(self):
        x, y = data(40)
        weights = np.random.default_rng(0).random(40)
        summed = np.zeros(model().parameters.size)

        class Add(Callback):
            def on_gradients(self, trainer):
                summed[:] += trainer.model.gradients

        for batch_size in (1, 7, None):
            net = model(dtype="float64")
            summed[:] = 0
            trainer = Trainer(net, SGD(0.0), batch_size=batch_size, seed=0)
            fit(trainer, x[:35], y[:35], sample_weight=weights[:35], callbacks=[Add()])
            summed /= trainer.step
            if batch_size == 1:
                expected = summed.copy()
            np.testing.assert_allclose(summed, expected, rtol=1e-9, atol=1e-12)

    def test_a_batch_in_which_no_row_counts_teaches_nothing(self):
        x, y = data(6)
        net = model()
        before = net.parameters.copy()
        trainer = Trainer(net, SGD(0.1), batch_size=3, shuffle=False)
        after = []

        class Watch(Callback):
            def on_batch_end(self, trainer):
                after.append(trainer.model.parameters.copy())

        fit(trainer, x, y, epochs=2, sample_weight=[0, 0, 0, 1, 1, 1], callbacks=[Watch()])
        np.testing.assert_array_equal(after[0], before)
        assert (after[1] != before).any()

    def test_a_batch_in_which_no_row_counts_has_no_loss_nor_has_the_epoch_so_far(self):
        seen = []

        class Watch(Callback):
            def on_batch_end(self, trainer):
                seen.append([trainer.batch_loss, *trainer.metric_values.values()])

        x, y = data(6)
        trainer = Trainer(model(), SGD(0.1), batch_size=3, shuffle=False)
        history = fit(trainer, x, y, epochs=2, sample_weight=[0, 0, 0, 1, 1, 1], callbacks=[Watch()])
        assert np.isnan(seen[0]).all()
        assert np.isnan(seen[2]).all()
        assert seen[1] == [history["loss"][0], history["loss"][0], history["accuracy"][0]]

    def test_validation_metrics_are_those_of_evaluate(self):
        (x, y), validation = data(), data(30, seed=1)
        trainer = Trainer(model(), SGD(0.1), batch_size=8)
        history = fit(trainer, x, y, epochs=2, validation_data=validation)
        assert list(history) == ["loss", "accuracy", "val_loss", "val_accuracy"]
        evaluated = trainer.evaluate(*validation)
        assert (history["val_loss"][-1], history["val_accuracy"][-1]) == (evaluated["loss"], evaluated["accuracy"])

    def test_evaluate_is_the_same_in_blocks(self):
        x, y = data(64)
        trainer = Trainer(model(), SGD(0.1))
        whole = trainer.evaluate(x, y)
        trainer.model.rows_at_once = 7
        assert trainer.evaluate(x, y) == pytest.approx(whole, rel=1e-6)

    def test_a_loss_of_the_users_own_without_a_metric_reports_the_loss_alone(self):
        class AbsoluteError(Loss):
            def per_sample(self, scores, targets):
                errors = scores - targets
                return np.abs(errors).sum(axis=1), np.sign(errors)

        x = np.linspace(-1, 1, 30)
        net = Sequential([Dense(1), AbsoluteError()], seed=0)
        trainer = Trainer(net, SGD(0.05), batch_size=None)
        history = fit(trainer, x[:, np.newaxis], 2 * x, epochs=150)
        assert list(history) == ["loss"]
        assert history["loss"][-1] < 0.1
        assert trainer.evaluate(x[:, np.newaxis], 2 * x).keys() == {"loss"}

    def test_metrics_say_how_things_stand_at_any_moment(self):
        seen = {}

        class Watch(Callback):
            def on_train_begin(self, trainer):
                seen["begin"] = trainer.metric_values

            def on_batch_end(self, trainer):
                seen[trainer.position.row] = trainer.metric_values

            def on_epoch_end(self, trainer):
                seen["end"] = trainer.metric_values

        x, y = data(20)
        history = fit(Trainer(model(), SGD(0.1), batch_size=10), x, y, validation_data=(x, y), callbacks=[Watch()])
        assert seen["begin"] == {}
        assert seen[20] == {"loss": history["loss"][0], "accuracy": history["accuracy"][0]}
        assert seen[10] != seen[20]
        assert seen["end"] == {name: column[0] for name, column in history.items()}

    def test_metrics_of_a_continued_fit_are_those_that_it_reports(self, tmp_path):
        (x, y), trainer, seen = data(20), Trainer(model(), SGD(0.1)), []
        fit(trainer, x, y, validation_data=(x, y))
        fit(trainer, x, y, callbacks=[lambda trainer: seen.append(trainer.metric_values)])
        last = {name: trainer.history[name][-1] for name in ("loss", "accuracy")}
        assert seen == [last]
        assert trainer.metric_values == last
        trainer.save(tmp_path / "run.npz")
        assert Trainer.load(tmp_path / "run.npz").metric_values.items() >= last.items()


class TestCallbacks:
    def test_each_moment_comes_in_its_place(self):
        recorder = Recorder()
        fit(Trainer(model(), SGD(0.1), batch_size=25), *data(50), epochs=2, callbacks=[recorder])
        assert recorder.moments == [
            ("train begin", 0, 0),
            ("epoch begin", 0, 0),
            ("gradients", 0, 0),
            ("batch end", 0, 1),
            ("gradients", 0, 1),
            ("batch end", 0, 2),
            ("epoch end", 1, 2),
            ("epoch begin", 1, 2),
            ("gradients", 1, 2),
            ("batch end", 1, 3),
            ("gradients", 1, 3),
            ("batch end", 1, 4),
            ("epoch end", 2, 4),
            ("train end", 2, 4),
        ]

    def test_gradients_can_be_changed_before_the_optimizer_sees_them(self):
        class Freeze(Callback):
            def on_gradients(self, trainer):
                assert trainer.model.gradients.any()
                trainer.model.gradients *= 0

        net = model()
        before = net.parameters.copy()
        fit(Trainer(net, SGD(0.1)), *data(), callbacks=[Freeze()])
        np.testing.assert_array_equal(net.parameters, before)

    def test_the_end_is_told_also_when_an_error_ends_the_run(self):
        class Broken(Callback):
            def on_batch_end(self, trainer):
                raise RuntimeError("broken callback")

        recorder = Recorder()
        with pytest.raises(RuntimeError, match="broken callback"):
            fit(Trainer(model(), SGD(0.1)), *data(), callbacks=[recorder, Broken()])
        assert recorder.moments[-1][0] == "train end"

    def test_ctrl_c_comes_after_the_moments_of_the_step_it_fell_in(self):
        class Interrupt(Callback):
            def on_gradients(self, trainer):
                if trainer.step == 3:
                    os.kill(os.getpid(), signal.SIGINT)

        recorder = Recorder()
        with pytest.raises(KeyboardInterrupt):
            fit(Trainer(model(), SGD(0.1), batch_size=10), *data(50), callbacks=[Interrupt(), recorder])
        assert [name for name, *_ in recorder.moments[-3:]] == ["gradients", "batch end", "train end"]

    def test_callbacks_end_in_the_order_in_which_they_act_and_each_does_whatever_another_raises(self):
        ended = []

        class Ends(Callback):
            def __init__(self, name):
                self.name = name

            def on_train_end(self, trainer):
                ended.append(self.name)
                if self.name == "broken":
                    raise RuntimeError("broken end")

        last = Ends("last")
        last.runs_last = True
        with pytest.raises(RuntimeError, match="broken end"):
            fit(Trainer(model(), SGD(0.1)), *data(), callbacks=[last, Ends("a"), Ends("broken"), Ends("b")])
        assert ended == ["a", "broken", "b", "last"]

    def test_one_that_runs_last_sees_the_model_that_early_stopping_put_back(self):
        seen = []

        class Look(Callback):
            runs_last = True

            def on_train_end(self, trainer):
                seen.append(trainer.model.parameters.copy())

        def pretend(trainer):
            trainer.history["val_loss"][-1] = [3, 1, 2][trainer.epoch - 1]
            epochs.append(trainer.model.parameters.copy())

        epochs = []
        trainer, (x, y) = Trainer(model(), SGD(0.1), batch_size=10), data()
        callbacks = [Look(), pretend, EarlyStopping(patience=1)]
        fit(trainer, x, y, epochs=9, validation_data=(x, y), callbacks=callbacks)
        np.testing.assert_array_equal(seen[0], epochs[1])
        np.testing.assert_array_equal(seen[0], trainer.model.parameters)

    def test_what_ended_a_fit_is_known(self):
        def interrupt(trainer):
            raise KeyboardInterrupt

        trainer = Trainer(model(), SGD(0.1), batch_size=10)
        with pytest.raises(KeyboardInterrupt):
            fit(trainer, *data(), callbacks=[FunctionCallback(interrupt, moment="on_batch_end")])
        assert (trainer.ended_by, trainer.interrupted) == (KeyboardInterrupt, True)
        fit(trainer, *data(), callbacks=[FunctionCallback(Trainer.stop, moment="on_batch_end")])
        assert (trainer.ended_by, trainer.interrupted) == (None, True)
        fit(trainer, *data())
        assert (trainer.ended_by, trainer.interrupted) == (None, False)
        with pytest.raises(KeyboardInterrupt):
            fit(trainer, *data(), callbacks=[FunctionCallback(interrupt, moment="on_batch_end")])
        with pytest.raises(ZeroDivisionError):
            fit(trainer, *data(), callbacks=[FunctionCallback(lambda trainer: 1 / 0, moment="on_train_begin")])
        assert (trainer.ended_by, trainer.interrupted) == (ZeroDivisionError, True)

    def test_of_two_that_cannot_end_both_are_told(self):
        def fail(kind):
            def end(trainer):
                raise kind

            return FunctionCallback(end, moment="on_train_end")

        with pytest.raises(OSError) as last:  # noqa: PT011 - it has no text
            fit(Trainer(model(), SGD(0.1)), *data(), callbacks=[fail(ValueError), fail(OSError)])
        assert type(last.value.__context__) is ValueError

    def test_what_a_callback_knows_after_an_error_is_kept_apart_from_the_callback(self):
        class Steps(Callback):
            def on_train_begin(self, trainer):
                self.counts = getattr(self, "counts", np.zeros(1))
                self.counts[:] = 0

            def on_batch_end(self, trainer):
                self.counts += 1
                if trainer.step == 3 and not trainer.epoch:
                    trainer.stop()

            def state(self):
                return {"counts": self.counts}

            def restore(self, state):
                self.counts = state["counts"].copy()

        trainer, steps = Trainer(model(), SGD(0.1), batch_size=10), Steps()
        fit(trainer, *data(50), callbacks=[steps])
        fit(trainer, *data(50), epochs=2, callbacks=[steps])
        assert steps.counts == trainer.step == 10

    def test_none_means_no_callbacks(self):
        trainers = [Trainer(model(), SGD(0.1), seed=0) for _ in range(2)]
        none, empty = (
            fit(trainer, *data(), epochs=2, callbacks=callbacks)
            for trainer, callbacks in zip(trainers, (None, []), strict=True)
        )
        assert dict(none) == dict(empty)
        assert none.epochs == 2
        np.testing.assert_array_equal(trainers[0].model.parameters, trainers[1].model.parameters)

    def test_something_else_than_a_callback_is_refused(self):
        with pytest.raises(ArgumentTypeError, match="give a list of callbacks"):
            fit(Trainer(model()), *data(), callbacks=Callback())
        with pytest.raises(ArgumentTypeError, match="a callback is 3; give a function"):
            fit(Trainer(model()), *data(), callbacks=[3])


class TestInputs:
    @pytest.mark.parametrize(
        "form",
        [
            lambda x, y: (x.tolist(), y.tolist()),
            lambda x, y: (pd.DataFrame(x), pd.Series(y, index=range(100, 100 + len(y)))),
            lambda x, y: (np.asfortranarray(x), y.astype(np.uint8)),
            lambda x, y: (x, y[:, np.newaxis]),
            lambda x, y: (x, y.astype(np.float64)),
            lambda x, y: (x.astype(np.float32), pd.DataFrame({"label": y})),
        ],
    )
    def test_data_of_every_form_train_to_the_same_bits(self, form):
        x, y = data()
        plain, other = model(), model()
        fit(Trainer(plain, SGD(0.1), batch_size=8, seed=0), x, y, epochs=2)
        given_x, given_y = form(x, y)
        fit(Trainer(other, SGD(0.1), batch_size=8, seed=0), given_x, given_y, epochs=2)
        np.testing.assert_array_equal(other.parameters, plain.parameters)

    def test_memory_maps_train_to_the_same_bits(self, tmp_path):
        x, y = data()
        mapped = np.memmap(tmp_path / "x", np.uint8, "w+", shape=x.shape)
        mapped[:] = x
        plain, other = model(), model()
        fit(Trainer(plain, SGD(0.1), batch_size=8, seed=0), x, y, epochs=2)
        fit(Trainer(other, SGD(0.1), batch_size=8, seed=0), mapped, y, epochs=2)
        np.testing.assert_array_equal(other.parameters, plain.parameters)

    def test_no_training_data_stay_on_the_model(self):
        net = model()
        net.forward(data()[0], training=True)
        assert any("saved" in vars(layer) for layer in net.layers)  # it is where layers keep them
        fit(Trainer(net, SGD(0.1)), *data())
        assert all("saved" not in vars(layer) for layer in net.layers)

    def test_data_are_not_changed(self):
        arrays = (*data(), np.linspace(0.5, 2, 50))
        before = [array.copy() for array in arrays]
        for array in arrays:
            array.flags.writeable = False  # an attempt would be an error
        fit(Trainer(model(), SGD(0.1)), *arrays[:2], validation_data=arrays, sample_weight=arrays[2])
        for array, copied in zip(arrays, before, strict=True):
            np.testing.assert_array_equal(array, copied)

    def test_the_input_shape_comes_from_the_data(self):
        net = model(input_shape=None)
        fit(Trainer(net, SGD(0.1)), *data())
        assert net.input_shape == (6,)


x_good, y_good = data(12)
nan_x = x_good.astype(np.float32)
nan_x[5, 2] = np.nan
infinite_x = x_good.astype(np.float32)
infinite_x[3, 1] = np.inf

REFUSED = {
    "lengths": ((x_good, y_good[:-1]), {}, DataError, "the lengths differ: x has 12 rows, y has 11 rows"),
    "empty": ((x_good[:0], y_good[:0]), {}, DataError, "x is empty"),
    "nan": ((nan_x, y_good), {}, DataError, "x holds NaN at row 5, entry 2"),
    "infinity": ((infinite_x, y_good), {}, DataError, "x holds inf at row 3, entry 1"),
    "text": ((x_good.astype(str), y_good), {}, DataError, r"x holds '.*' \(str\) in column 0, row 0; give numbers"),
    "text labels": ((x_good, y_good.astype(str)), {}, DataError, r"y holds '.*' \(str\) in row 0; give numbers"),
    "label": ((x_good, np.where(y_good == 2, 3, y_good)), {}, DataError, "y is 3 at row .*; the model has 3 classes"),
    "negative label": ((x_good, y_good - 1), {}, DataError, "y is -1 at row"),
    "fraction": ((x_good, y_good + 0.5), {}, DataError, r"y is \d.5 at row 0"),
    "nan label": ((x_good, np.where(y_good == 2, np.nan, y_good)), {}, DataError, "y holds NaN at row"),
    "one-hot": ((x_good, 2 * np.eye(3)[y_good]), {}, DataError, r"y is \[.* at row 0; one-hot"),
    "one-hot width": ((x_good, np.eye(4)[y_good]), {}, ShapeError, r"y has shape \(12, 4\)"),
    "shape": (
        (x_good[:, :5], y_good),
        {},
        ShapeError,
        r"layer 1 'rescale_1' expects input \(6,\) per sample but got \(5,\)",
    ),
    "number": ((3, 4), {}, DataError, "x is a single number"),
    "no epochs": ((x_good, y_good), {"epochs": 0}, ArgumentError, "epochs is 0; it must be a whole number, 1 or more"),
    "half an epoch": ((x_good, y_good), {"epochs": 0.5}, ArgumentTypeError, "epochs is 0.5; it must be a whole number"),
    "validation form": ((x_good, y_good), {"validation_data": x_good}, ArgumentTypeError, r"must be \(x, y\)"),
    "no validation, as 0": (
        (x_good, y_good),
        {"validation_data": 0},
        ArgumentTypeError,
        "None, to train without valid",
    ),
    "no validation, as 0.0": (
        (x_good, y_good),
        {"validation_data": 0.0},
        ArgumentTypeError,
        "or None, to train without",
    ),
    "validation lengths": (
        (x_good, y_good),
        {"validation_data": (x_good, y_good[:3])},
        DataError,
        "validation_data: the lengths differ",
    ),
    "validation shape": (
        (x_good, y_good),
        {"validation_data": (x_good[:, :3], y_good)},
        ShapeError,
        r"validation_data, layer 1 'rescale_1' expects input \(6,\) per sample but got \(3,\)",
    ),
    "weights": ((x_good, y_good), {"sample_weight": np.ones(3)}, DataError, "sample_weight has 3 rows"),
    "negative weight": ((x_good, y_good), {"sample_weight": -np.ones(12)}, DataError, "-1.0 in row 0; .*0 or more"),
    "no weight": ((x_good, y_good), {"sample_weight": np.zeros(12)}, DataError, "sample_weight is 0 for every row"),
    "nan weight": ((x_good, y_good), {"sample_weight": np.full(12, np.nan)}, DataError, "sample_weight holds NaN"),
    "weight table": ((x_good, y_good), {"sample_weight": np.ones((12, 2))}, ShapeError, r"it must be \(N,\)"),
}


class TestRefusals:
    @pytest.mark.parametrize("built", [True, False])
    @pytest.mark.parametrize("case", REFUSED)
    def test_bad_data_are_refused_before_anything_changes(self, case, built):
        (x, y), options, error, message = REFUSED[case]
        if case in {"shape"} and not built:
            pytest.skip("a model without a shape takes that of the data")
        net = model(input_shape=6 if built else None)
        before = net.parameters.copy() if built else None
        trainer = Trainer(net, SGD(0.1), batch_size=4, seed=0)
        recorder = Recorder()
        with pytest.raises(error, match=message):
            fit(trainer, x, y, callbacks=[recorder], **options)
        assert recorder.moments == []
        assert (trainer.epoch, trainer.step, trainer.position.row, dict(trainer.history)) == (0, 0, 0, {})
        assert net.input_shape == ((6,) if built else None)
        if built:
            np.testing.assert_array_equal(net.parameters, before)

    @pytest.mark.parametrize(
        ("name", "value", "error", "message"),
        [
            ("batch_size", 0, ArgumentError, "batch_size is 0; it must be a whole number, 1 or more"),
            ("batch_size", 2.5, ArgumentTypeError, "batch_size is 2.5; it must be a whole number"),
            ("batch_size", True, ArgumentTypeError, "batch_size is True; it must be a whole number"),
            ("seed", -1, ArgumentError, "seed is -1; it must be a whole number, 0 or more"),
            ("shuffle", "no", ArgumentTypeError, "shuffle is 'no'; it must be True or False"),
            ("shuffle", 1, ArgumentTypeError, "shuffle is 1; it must be True or False"),
            ("clip_norm", 0, ArgumentError, "clip_norm is 0; it must be a finite number, above 0"),
            ("clip_norm", np.inf, ArgumentError, "clip_norm is inf"),
            ("clip_value", -1.0, ArgumentError, "clip_value is -1.0"),
            ("clip_value", "1", ArgumentTypeError, "clip_value is '1'; it must be a number"),
            ("metrics", "accuracy", ArgumentTypeError, "metrics must be a list, also for a single metric, not 'acc"),
            ("metrics", ["acuracy"], ArgumentError, "no metric is named 'acuracy'; did you mean 'accuracy'"),
            ("optimizer", "adm", ArgumentError, "did you mean 'adam'"),
            ("model", 3, ArgumentTypeError, "model is 3; it must be a Sequential model"),
        ],
    )
    def test_settings_that_cannot_work_are_refused_where_they_are_set(self, name, value, error, message):
        trainer = Trainer(model(), SGD(0.1))
        before = repr(trainer)
        with pytest.raises(error, match=message):
            setattr(trainer, name, value)
        assert repr(trainer) == before
        with pytest.raises(error, match=message):
            Trainer(**{"model": model(), name: value})

    @pytest.mark.parametrize(
        ("optimizer", "name", "value", "error", "message"),
        [
            (SGD(), "learning_rate", -0.1, ArgumentError, "SGD: learning_rate is -0.1; it must be a finite number"),
            (SGD(), "learning_rate", float("nan"), ArgumentError, "SGD: learning_rate is nan"),
            (SGD(), "learning_rate", "0.1", ArgumentTypeError, "SGD: learning_rate is '0.1'; it must be a number"),
            (Momentum(), "momentum", 1.0, ArgumentError, r"Momentum: momentum is 1.0; it must be .*, in \[0, 1\)"),
            (Adam(), "beta2", 1.5, ArgumentError, "Adam: beta2 is 1.5"),
            (Adam(), "epsilon", 0, ArgumentError, "Adam: epsilon is 0"),
        ],
    )
    def test_those_of_an_optimizer_are_refused_where_they_are_set_also_in_a_run(
        self, optimizer, name, value, error, message
    ):
        optimizer = copy.deepcopy(optimizer)

        def change(trainer):
            if trainer.step == 1:
                setattr(trainer.optimizer, name, value)

        trainer, before = Trainer(model(), optimizer, batch_size=10), getattr(optimizer, name)
        with pytest.raises(error, match=message):
            fit(trainer, *data(), callbacks=[FunctionCallback(change, moment="on_batch_end")])
        assert trainer.step == 1
        assert getattr(optimizer, name) == before

    def test_a_rate_that_a_function_gives_is_checked_before_anything_changes(self):
        net = model()
        before, trainer = net.parameters.copy(), Trainer(net, SGD(lambda step: -1.0))
        with pytest.raises(ArgumentError, match="SGD: learning_rate at step 0 is -1.0"):
            fit(trainer, *data())
        assert trainer.step == 0
        np.testing.assert_array_equal(net.parameters, before)

    @pytest.mark.parametrize(
        ("name", "where"),
        [("learning_rate", "optimizer"), ("lr", "optimizer"), ("trainable", "layer or model")],
    )
    def test_settings_of_other_parts_are_not_taken(self, name, where):
        trainer = Trainer(model(), SGD(0.1))
        with pytest.raises(ArgumentError, match=f"Trainer has no '{name}': set .*{where}"):
            setattr(trainer, name, 0.5)
        with pytest.raises(ArgumentTypeError, match=f"Trainer has no setting '{name}'"):
            Trainer(model(), SGD(0.1), **{name: 0.5})

    def test_only_model_and_optimizer_are_given_by_position(self):
        with pytest.raises(ArgumentTypeError, match="Trainer: too many positional arguments; it is .*batch_size="):
            Trainer(model(), SGD(0.1), 32)

    def test_a_model_without_a_loss_is_refused_with_the_cure(self):
        trainer = Trainer(Sequential([Dense(3)]), SGD(0.1))
        for call in (trainer.fit, trainer.evaluate):
            with pytest.raises(ArgumentError, match="no loss: end its list of layers with one"):
                call(*data())

    def test_something_else_than_a_model_or_an_optimizer_is_refused(self):
        with pytest.raises(ArgumentTypeError, match="Trainer: model is 3; it must be a Sequential model"):
            Trainer(3)
        with pytest.raises(ArgumentTypeError, match="give an Optimizer or a name, such as"):
            Trainer(model(), 3)

    @pytest.mark.parametrize("make", [lambda: Momentum(0.1), lambda: Adam(0.01)])
    def test_an_optimizer_of_another_model_is_refused(self, make):
        optimizer, other = make(), model(seed=1)
        waiting = Trainer(other, optimizer)
        fit(Trainer(model(), optimizer), *data())
        before = other.parameters.copy()
        for trainer in (waiting, Trainer(other, optimizer)):
            with pytest.raises(ArgumentError, match="has taken 2 steps with another model: make a new one"):
                fit(trainer, *data())
        np.testing.assert_array_equal(other.parameters, before)

    def test_a_new_optimizer_may_go_on_with_a_trained_model(self):
        trainer = Trainer(model(), SGD(0.1))
        fit(trainer, *data())
        trainer.optimizer = Adam()
        fit(trainer, *data())
        assert trainer.epoch == 2

    def test_a_model_that_could_not_be_trained_may_be_trained_on_data_of_another_shape(self):
        net = model(input_shape=None)
        trainer = Trainer(net, SGD(0.1))
        with pytest.raises(ArgumentError, match="no metric 'val_los'"):
            fit(trainer, *data(), callbacks=[EarlyStopping("val_los")])
        assert net.input_shape is None
        x, y = data()
        fit(trainer, x[:, :4], y)
        assert net.input_shape == (4,)

    def test_check_refuses_what_fit_would_and_trains_nothing(self):
        trainer, (x, y), recorder = Trainer(model(), SGD(0.1), batch_size=10), data(), Recorder()
        before = trainer.model.parameters.copy()
        with pytest.raises(ArgumentError, match="no metric 'val_los'"):
            trainer.check(x, y, validation_data=(x, y), callbacks=[EarlyStopping("val_los")])
        with pytest.raises(ArgumentError, match="epochs is 0"):
            trainer.check(x, y, epochs=0)
        with pytest.raises(DataError, match="the lengths differ"):
            trainer.check(x, y[:-1])
        trainer.check(x, y, validation_data=(x, y), callbacks=[EarlyStopping(), recorder])
        assert recorder.moments == []
        assert (trainer.epoch, trainer.step, dict(trainer.history)) == (0, 0, {})
        np.testing.assert_array_equal(trainer.model.parameters, before)

    def test_a_schedule_that_is_over_before_the_run_is_told(self):
        trainer = Trainer(model(), SGD(CosineDecay(0.1, steps=10)), batch_size=10)
        fit(trainer, *data(50), epochs=2)
        with pytest.warns(UserWarning, match=r"CosineDecay\(.*\) is 0 long before step 20: make it"):
            fit(trainer, *data(50), epochs=2)
        with pytest.warns(UserWarning, match="make it as long as the run"):
            fit(Trainer(model(), SGD(CosineDecay(0.1, steps=10)), batch_size=10), *data(50), epochs=3)

    def test_a_warning_that_is_an_error_leaves_all_as_it_was(self):
        trainer = Trainer(model(), SGD(CosineDecay(0.1, steps=5)), batch_size=10)
        fit(trainer, *data(50), callbacks=[FunctionCallback(stop_at(3), moment="on_batch_end")])
        with pytest.raises(UserWarning, match="make it as long"):  # the tests make errors of warnings
            fit(trainer, *data(40), epochs=9)
        assert (trainer.epoch, trainer.position.row, trainer.position.rows) == (0, 30, 50)

    def test_a_schedule_that_ends_with_the_run_is_right_also_for_the_rest_of_an_epoch(self):
        class Table(Schedule):
            def __call__(self, step):
                return [0.1, 0.1, 0.1, 0.1, 0.0, 0.1, 0.1, 0.1, 0.1, 0.1][step]

        for schedule in (CosineDecay(0.1, steps=10), Table()):
            trainer = Trainer(model(), SGD(schedule), batch_size=10)
            fit(trainer, *data(50), epochs=2, callbacks=[FunctionCallback(stop_at(9), moment="on_batch_end")])
            fit(trainer, *data(50))
            assert (trainer.epoch, trainer.step) == (2, 10)

    def test_no_callback_has_begun_where_one_cannot(self, tmp_path):
        (tmp_path / "log.csv").write_text("older metrics")
        trainer = Trainer(model(), SGD(0.1))
        with pytest.raises(ArgumentError, match="no metric 'val_los'"):
            fit(trainer, *data(), callbacks=[CSVLogger(tmp_path / "log.csv"), EarlyStopping("val_los")])
        assert (tmp_path / "log.csv").read_text() == "older metrics"

    def test_a_run_that_diverges_stops_with_epoch_and_step_before_the_update(self):
        x = np.linspace(-1, 1, 20)[:, np.newaxis]
        net = Sequential([Dense(1), MeanSquaredError()], seed=0)
        trainer = Trainer(net, SGD(1e12), batch_size=10, seed=0)
        with pytest.raises(
            DivergenceError, match=r"the loss is (inf|nan) at epoch 2, step 3: .*Lower the learning rate"
        ):
            fit(trainer, x, x, epochs=9)
        assert (trainer.epoch, trainer.step) == (1, 2)
        assert np.isfinite(net.parameters).all()
        assert np.isfinite(trainer.history["loss"]).all()

    def test_a_last_step_that_leads_too_far_is_noticed(self):
        net = model()
        with pytest.raises(DivergenceError, match="the largest parameter is (inf|nan) at epoch 1, step 1"):
            fit(Trainer(net, SGD(1e60), batch_size=None), *data())

    def test_a_validation_loss_that_is_not_finite_is_noticed(self):
        x = np.ones((4, 1))
        net = Sequential([Dense(1), MeanSquaredError()], seed=0)
        with pytest.raises(DivergenceError, match="the validation loss is inf at epoch 1, step 1"):
            fit(Trainer(net, SGD(0.1), batch_size=None), x, x, validation_data=(1e30 * x, x))

    def test_evaluate_refuses_what_fit_does_and_builds_a_model(self):
        net = model(input_shape=None)
        trainer = Trainer(net)
        with pytest.raises(DataError, match="the lengths differ"):
            trainer.evaluate(x_good, y_good[:-1])
        assert net.input_shape is None
        assert trainer.evaluate(x_good, y_good).keys() == {"loss", "accuracy"}
        assert net.input_shape == (6,)


class TestRegularizersAndConstraints:
    @pytest.mark.parametrize("rows_at_once", [3, 100])
    def test_the_gradient_is_that_of_the_mean_loss_and_the_penalty(self, rows_at_once):
        x, y = np.random.default_rng(0).normal(size=(10, 4)), np.arange(10) % 3
        dense = Dense(3, regularizer=L1L2(l1=0.03, l2=0.02))
        net = Sequential([dense, SoftmaxCrossEntropy()], input_shape=4, seed=0, dtype="float64")
        net.rows_at_once, weight = rows_at_once, dense.weight.value.copy()
        exponential = np.exp(x @ weight)
        probabilities = exponential / exponential.sum(axis=1, keepdims=True)
        expected = x.T @ (probabilities - np.eye(3)[y]) / 10 + 0.03 * np.sign(weight) + 0.04 * weight
        seen = []
        keep = FunctionCallback(lambda trainer: seen.append(dense.weight.gradient.copy()), moment="on_gradients")
        history = fit(Trainer(net, SGD(0.0), batch_size=None), x, y, callbacks=[keep])
        np.testing.assert_allclose(seen[0], expected, rtol=1e-12)
        penalty = 0.03 * np.abs(weight).sum() + 0.02 * (weight**2).sum()
        loss = -np.log(probabilities[np.arange(10), y]).mean() + penalty
        assert history["loss"][0] == pytest.approx(loss, rel=1e-12)

    def test_those_that_are_set_in_a_run_work_from_then_on_and_are_saved(self, tmp_path):
        net, (x, y), norms = model(), data(), []
        dense = net.layers[1]

        def change(trainer):
            if trainer.step == 3:
                dense.constraint = MaxNorm(0.25)
            if trainer.step == 6:
                dense.constraint, dense.regularizer = None, L2(100.0)
            norms.append(np.linalg.norm(dense.weight.value, axis=0).max())

        trainer = Trainer(net, SGD(0.01), batch_size=10, seed=0)
        fit(trainer, x, y, epochs=2, callbacks=[FunctionCallback(change, moment="on_batch_end")])
        assert min(norms[:3]) > 0.25
        assert max(norms[3:6]) <= 0.25 * (1 + 1e-6)
        assert trainer.history["loss"][1] > 1  # the penalty is in it
        trainer.save(tmp_path / "run.npz")
        again = Trainer.load(tmp_path / "run.npz")
        assert (again.model.layers[1].constraint, again.model.layers[1].regularizer.strength) == (None, 100)
        for each in (trainer, again):
            fit(each, x, y)
        np.testing.assert_array_equal(again.model.parameters, trainer.model.parameters)

    def test_a_row_that_weighs_nothing_changes_neither_loss_nor_penalty(self):
        (x, y), runs = data(20), []
        for rows, weights in ((slice(None), np.repeat([1.0, 0], 10)), (slice(10), None)):
            net = model(dtype="float64")
            net.layers[1].regularizer = L2(0.1)
            trainer = Trainer(net, SGD(0.1), batch_size=None)
            fit(trainer, x[rows], y[rows], epochs=3, sample_weight=weights)
            runs.append(trainer)
        np.testing.assert_allclose(runs[0].model.parameters, runs[1].model.parameters, rtol=1e-10, atol=1e-13)
        np.testing.assert_allclose(runs[0].history["loss"], runs[1].history["loss"], rtol=1e-12)


class TestClipping:
    def test_it_comes_after_what_callbacks_do_to_the_gradients(self):
        def enlarge(trainer):
            trainer.model.gradients *= 1e6

        net = model(dtype="float64")
        before = net.parameters.copy()
        enlarging = FunctionCallback(enlarge, moment="on_gradients")
        fit(Trainer(net, SGD(1.0), batch_size=None, clip_norm=1e-3), *data(), callbacks=[enlarging])
        assert np.linalg.norm(net.parameters - before) == pytest.approx(1e-3, rel=1e-9)

    def test_bounds_may_be_set_and_taken_away_in_a_run(self):
        steps, net = [], model(dtype="float64")

        def change(trainer):
            steps.append(np.abs(net.parameters - last[0]).max())
            last[0] = net.parameters.copy()
            trainer.clip_value = {1: 1e-4, 3: None}.get(trainer.step, trainer.clip_value)

        last = [net.parameters.copy()]
        callback = FunctionCallback(change, moment="on_batch_end")
        fit(Trainer(net, SGD(1.0), batch_size=10, seed=0), *data(), callbacks=[callback])
        assert steps[1] == pytest.approx(1e-4, rel=1e-9)
        assert steps[2] == pytest.approx(1e-4, rel=1e-9)
        assert min(steps[0], steps[3], steps[4]) > 1e-3


class TestPositions:
    """Scores (N, time, classes) with labels (N, time), and a mask given as weights."""

    def problem(self):
        rng = np.random.default_rng(0)
        x, y = rng.normal(size=(20, 7, 4)), rng.integers(0, 3, (20, 7))
        return x, y, rng.integers(0, 2, (20, 7))

    def trainer(self, optimizer, input_shape, **options):
        layers = [Dense(8), ReLU(), Dense(3), SoftmaxCrossEntropy()]
        net = Sequential(layers, input_shape=input_shape, seed=0, dtype="float64")
        return Trainer(net, optimizer, seed=0, **{"batch_size": None} | options)

    @pytest.mark.parametrize("make", [lambda: SGD(0.5), lambda: Adam(0.01)], ids=["sgd", "adam"])
    @pytest.mark.parametrize("class_weight", [None, "balanced", {1: 3.0}])
    @pytest.mark.parametrize("rows_at_once", [1, 8, 100])
    def test_training_with_a_mask_is_training_on_the_positions_that_count(self, make, class_weight, rows_at_once):
        x, y, mask = self.problem()
        if class_weight == "balanced":  # counts labels, also those of positions that are masked
            mask[:] = 1
        masked, alone = self.trainer(make(), (7, 4)), self.trainer(make(), 4)
        masked.model.rows_at_once = rows_at_once
        counted = mask == 1
        options = {"epochs": 4, "class_weight": class_weight}
        one = fit(masked, x, y, sample_weight=mask, validation_data=(x, y, mask), **options)
        validation = (x[counted], y[counted])
        other = fit(alone, x[counted], y[counted], validation_data=validation, **options)
        np.testing.assert_allclose(masked.model.parameters, alone.model.parameters, rtol=1e-7, atol=1e-10)
        assert list(one) == list(other)
        for name, column in other.items():
            np.testing.assert_allclose(one[name], column, rtol=1e-9, err_msg=name)

    def test_in_mini_batches_a_position_counts_alike_in_whatever_batch_it_comes(self):
        x, y, mask = self.problem()
        summed = []
        for batch_size in (1, 6, None):
            trainer = self.trainer(SGD(0.0), (7, 4), batch_size=batch_size)
            gradients = []
            keep = FunctionCallback(
                lambda t, kept=gradients: kept.append(t.model.gradients.copy()), moment="on_gradients"
            )
            rows = slice(18)  # three batches of six
            fit(trainer, x[rows], y[rows], sample_weight=mask[rows], callbacks=[keep])
            summed.append(np.mean(gradients, axis=0))
        for each in summed[1:]:
            np.testing.assert_allclose(each, summed[0], rtol=1e-9, atol=1e-12)

    def test_one_hot_rows_of_positions_train_as_labels_do(self):
        x, y, mask = self.problem()
        one, other = self.trainer(SGD(0.5), (7, 4), batch_size=6), self.trainer(SGD(0.5), (7, 4), batch_size=6)
        fit(one, x, y, sample_weight=mask, epochs=2)
        fit(other, x, np.eye(3)[y], sample_weight=mask, epochs=2)
        np.testing.assert_allclose(one.model.parameters, other.model.parameters, rtol=1e-9, atol=1e-12)

    def test_a_weight_of_a_row_is_that_of_each_of_its_positions(self):
        x, y, _ = self.problem()
        weights = np.random.default_rng(1).random(20)
        one, other = self.trainer(SGD(0.5), (7, 4), batch_size=6), self.trainer(SGD(0.5), (7, 4), batch_size=6)
        fit(one, x, y, sample_weight=weights, epochs=2)
        fit(other, x, y, sample_weight=np.repeat(weights[:, np.newaxis], 7, axis=1), epochs=2)
        np.testing.assert_array_equal(one.model.parameters, other.model.parameters)
        assert dict(one.history) == dict(other.history)


class TestOptimizerOfTheUser:
    def test_one_written_as_plain_vector_arithmetic_trains(self):

        class SignMomentum(Optimizer):
            momentum: float = 0.9
            slots = ("velocity",)

            def update(self, parameters, gradients, learning_rate, velocity):
                velocity *= self.momentum
                velocity += gradients
                parameters -= learning_rate * np.sign(velocity)

        trainer = Trainer(model(), SignMomentum(0.005), batch_size=10, seed=0)
        history = fit(trainer, *data(200), epochs=10)
        assert history["accuracy"][-1] > 0.97
        assert trainer.optimizer.state.keys() == {"velocity"}

    def test_the_rate_may_be_a_function_of_the_step(self):
        rates = []

        class Record(Optimizer):
            def update(self, parameters, gradients, learning_rate):
                rates.append(learning_rate)

        fit(Trainer(model(), Record(lambda step: 1 / (1 + step)), batch_size=20), *data(40), epochs=2)
        assert rates == [1, 1 / 2, 1 / 3, 1 / 4]

    def test_a_trained_model_and_trainer_can_be_copied_and_go_on_alike(self):
        x, y = data()
        trainer = Trainer(model(), Adam(), batch_size=8, seed=0)
        fit(trainer, x, y, epochs=2)
        other = copy.deepcopy(trainer)
        for each in (trainer, other):
            fit(each, x, y, epochs=2)
        np.testing.assert_array_equal(trainer.model.parameters, other.model.parameters)


def test_repr_shows_the_settings():
    trainer = Trainer(Sequential([Dense(3)]), SGD(0.1), batch_size=8, seed=2)
    assert repr(trainer) == (
        "Trainer(model=Sequential([Dense(units=3, initializer='he_normal', use_bias=True)]), "
        "optimizer=SGD(learning_rate=0.1), batch_size=8, shuffle=True, seed=2)"
    )


def test_a_classical_network_of_sigmoids_and_squared_errors_trains():
    x, y = data(200)
    net = Sequential([Rescale(1 / 255), Dense(8), Sigmoid(), Dense(3), Sigmoid(), MeanSquaredError()], seed=0)
    fit(Trainer(net, Adam(0.02), seed=0), x, np.eye(3)[y], epochs=60)
    assert (net.predict(x).argmax(axis=1) == y).mean() > 0.97
