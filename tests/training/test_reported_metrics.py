"""The metrics of a trainer: asked for in any form, exact over all rows, in history, validation and evaluation."""

import numpy as np
import pytest
import sklearn.metrics

from minidl import (
    SGD,
    Adam,
    Callback,
    Checkpoint,
    Dense,
    FunctionCallback,
    MeanSquaredError,
    Sequential,
    SigmoidCrossEntropy,
    SoftmaxCrossEntropy,
    Tanh,
    Trainer,
)
from minidl.errors import ArgumentError, ArgumentTypeError, NotReadyError, ShapeError
from minidl.metrics import F1, Metric, Precision, TopKAccuracy
from minidl.settings import setting


def problem(rows=50, classes=4, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(rows, 5)), rng.integers(0, classes, rows)


def trainer(metrics=None, rate=0.0, loss=None, outputs=4, **settings):
    """A trainer whose parameters stay, unless a rate is given: so each epoch's metrics are those of one model."""
    layers = [Dense(6), Tanh(), Dense(outputs), loss or SoftmaxCrossEntropy()]
    model = Sequential(layers, input_shape=5, seed=0, dtype="float64")
    return Trainer(model, SGD(rate), batch_size=7, seed=0, metrics=metrics, **settings)


def margin(scores, targets):
    """A function of scores: how far that of the true class is above the mean."""
    return scores[np.arange(len(scores)), targets] - scores.mean(axis=1)


def distance(predictions, targets):
    return np.abs(predictions - targets)


def is_first(predictions, targets):
    return predictions == 0


class Correlation(Metric):
    """Pearson's, of prediction and truth: a function of five sums."""

    shrink: float = setting(default=1.0, above=0, most=1)

    def per_row(self, rows):
        p, t = rows.predictions.astype(float), rows.truth.astype(float)
        return np.column_stack([p, t, p * p, t * t, p * t])

    def value(self, sums, weight):
        p, t, pp, tt, pt = sums / weight
        return float(self.shrink * (pt - p * t) / np.sqrt((pp - p * p) * (tt - t * t)))


EVERY_FORM = ["accuracy", "top_2_accuracy", TopKAccuracy(3), "F1", Precision(average="micro"), margin, distance]
EVERY_FORM += [is_first, Correlation()]
NAMES = ["loss", "accuracy", "top_2_accuracy", "top_3_accuracy", "f1", "precision", "margin", "distance", "is_first"]
NAMES += ["correlation"]


def oracle(model, x, y, weights=None):
    """The same metrics of all rows at once, by scikit-learn and plain NumPy."""
    scores = model.forward(x)
    predictions = scores.argmax(axis=1)
    losses = np.log(np.exp(scores).sum(axis=1)) - scores[np.arange(len(y)), y]
    options = {"sample_weight": weights}
    covariance = np.cov(predictions, y, aweights=weights)
    return {
        "loss": np.average(losses, weights=weights),
        "accuracy": sklearn.metrics.accuracy_score(y, predictions, **options),
        "top_2_accuracy": sklearn.metrics.top_k_accuracy_score(y, scores, k=2, **options),
        "top_3_accuracy": sklearn.metrics.top_k_accuracy_score(y, scores, k=3, **options),
        "f1": sklearn.metrics.f1_score(y, predictions, average="macro", zero_division=0, **options),
        "precision": sklearn.metrics.precision_score(y, predictions, average="micro", **options),
        "margin": np.average(scores[np.arange(len(y)), y] - scores.mean(axis=1), weights=weights),
        "distance": np.average(np.abs(predictions - y), weights=weights),
        "is_first": np.average(predictions == 0, weights=weights),
        "correlation": covariance[0, 1] / np.sqrt(covariance[0, 0] * covariance[1, 1]),
    }


class TestValues:
    @pytest.mark.parametrize("weighted", [False, True])
    def test_every_form_is_exact_over_all_rows_in_history_validation_and_evaluation(self, weighted):
        (x, y), (x_validation, y_validation) = problem(), problem(30, seed=1)
        rng = np.random.default_rng(2)
        weights, validation_weights = (rng.random(50), rng.random(30)) if weighted else (None, None)
        t = trainer(EVERY_FORM)
        validation = (x_validation, y_validation, validation_weights)[: 3 if weighted else 2]
        history = t.fit(x, y, epochs=2, sample_weight=weights, validation_data=validation, progress=False)
        assert list(history) == [*NAMES, *(f"val_{name}" for name in NAMES)]
        of_training = oracle(t.model, x, y, weights)
        of_validation = oracle(t.model, x_validation, y_validation, validation_weights)
        for epoch in range(2):
            # Sums of 50 numbers in batches of 7: rounding alone.
            assert {name: history[name][epoch] for name in NAMES} == pytest.approx(of_training, rel=1e-11)
            assert {name: history[f"val_{name}"][epoch] for name in NAMES} == pytest.approx(of_validation, rel=1e-11)
        t.model.rows_at_once = 3
        assert t.evaluate(x, y, sample_weight=weights) == pytest.approx(of_training, rel=1e-11)

    def test_a_ratio_is_not_the_mean_of_the_batches_ratios(self):
        (x, y), t, seen = problem(classes=2), trainer(["precision", "recall"], outputs=2), []
        history = t.fit(x, y, callbacks=[FunctionCallback(lambda t: seen.append(t.step))], progress=False)
        predictions = t.model.predict(x)
        assert history["precision"][0] == pytest.approx(sklearn.metrics.precision_score(y, predictions), rel=1e-12)
        assert history["recall"][0] == pytest.approx(sklearn.metrics.recall_score(y, predictions), rel=1e-12)

    def test_those_of_a_regression_are_too(self):
        (x, _), y = problem(), np.random.default_rng(3).normal(size=50)
        t = trainer(["r2", "mae", "RMSE", "mse"], loss=MeanSquaredError(), outputs=1)
        history = t.fit(x, y, progress=False)
        predictions = t.model.predict(x)
        expected = {
            "loss": sklearn.metrics.mean_squared_error(y, predictions),
            "r2_score": sklearn.metrics.r2_score(y, predictions),
            "mean_absolute_error": sklearn.metrics.mean_absolute_error(y, predictions),
            "root_mean_squared_error": sklearn.metrics.mean_squared_error(y, predictions) ** 0.5,
            "mean_squared_error": sklearn.metrics.mean_squared_error(y, predictions),
        }
        assert {name: column[0] for name, column in history.items()} == pytest.approx(expected, rel=1e-10)
        assert t.evaluate(x, y) == pytest.approx(expected, rel=1e-10)

    def test_those_of_several_labels_per_row_are_too(self):
        (x, _), y = problem(), np.random.default_rng(3).integers(0, 2, (50, 3))
        t = trainer([F1(average="macro"), "accuracy"], loss=SigmoidCrossEntropy(), outputs=3)
        history = t.fit(x, y, progress=False)
        predictions = t.model.predict(x)
        expected = sklearn.metrics.f1_score(y, predictions, average="macro", zero_division=0)
        assert history["f1"][0] == pytest.approx(expected, rel=1e-12)
        assert history["accuracy"][0] == pytest.approx((predictions == y).mean(), rel=1e-12)

    def test_positions_are_rows_of_their_own_and_a_mask_says_which_count(self):
        rng = np.random.default_rng(0)
        x, y, mask = rng.normal(size=(20, 6, 5)), rng.integers(0, 4, (20, 6)), rng.integers(0, 2, (20, 6))
        layers = [Dense(6), Tanh(), Dense(4), SoftmaxCrossEntropy()]
        model = Sequential(layers, input_shape=(6, 5), seed=0, dtype="float64")
        flat = Sequential([Dense(6), Tanh(), Dense(4), SoftmaxCrossEntropy()], input_shape=5, dtype="float64")
        flat.parameters = model.parameters
        t = Trainer(model, SGD(0.0), batch_size=7, seed=0, metrics=EVERY_FORM)
        history = t.fit(x, y, sample_weight=mask, validation_data=(x, y, mask), progress=False)
        counted = mask == 1
        expected = oracle(flat, x[counted], y[counted])
        assert {name: history[name][0] for name in NAMES} == pytest.approx(expected, rel=1e-11)
        assert {name: history[f"val_{name}"][0] for name in NAMES} == pytest.approx(expected, rel=1e-11)
        assert t.evaluate(x, y, sample_weight=mask) == pytest.approx(expected, rel=1e-11)

    def test_asking_for_more_metrics_does_not_change_the_run(self):
        (x, y), runs = problem(), []
        for metrics in (None, [], EVERY_FORM):
            t = trainer(metrics, rate=0.1)
            t.fit(x, y, epochs=3, validation_data=(x, y), progress=False)
            runs.append(t)
        for t in runs[1:]:
            np.testing.assert_array_equal(t.model.parameters, runs[0].model.parameters)
            assert t.history["loss"] == runs[0].history["loss"]
            assert t.history["val_loss"] == runs[0].history["val_loss"]


class TestChoice:
    def test_by_default_it_is_the_losss_own_and_an_empty_list_means_none(self):
        x, y = problem()
        assert list(trainer().fit(x, y, progress=False)) == ["loss", "accuracy"]
        assert list(trainer([]).fit(x, y, progress=False)) == ["loss"]
        assert trainer([]).evaluate(x, y).keys() == {"loss"}

    def test_names_are_known_before_the_training_and_values_while_it_goes_on(self):
        (x, y), t, seen = problem(), trainer(["accuracy", margin], rate=0.1), []
        t.check(x, y, validation_data=(x, y))
        assert t.metric_names == ("loss", "accuracy", "margin", "val_loss", "val_accuracy", "val_margin")
        look = FunctionCallback(lambda t: seen.append(dict(t.metric_values)), moment="on_batch_end")
        history = t.fit(x, y, callbacks=[look], progress=False)
        assert t.metric_names == ("loss", "accuracy", "margin")
        assert [list(each) for each in seen] == [["loss", "accuracy", "margin"]] * 8
        assert seen[-1] == {name: column[0] for name, column in history.items()} == t.metric_values

    def test_the_first_steps_values_are_those_of_its_batch(self):
        (x, y), t, seen = problem(), trainer(EVERY_FORM, shuffle=False), []
        look = FunctionCallback(lambda t: seen.append(t.metric_values), moment="on_batch_end")
        t.fit(x, y, callbacks=[look], progress=False)
        assert seen[1]["loss"] == pytest.approx(oracle(t.model, x[:14], y[:14])["loss"], rel=1e-11)
        assert seen[1]["margin"] == pytest.approx(oracle(t.model, x[:14], y[:14])["margin"], rel=1e-11)

    def test_it_may_change_between_two_fits(self):
        (x, y), t = problem(), trainer(["accuracy"], rate=0.1)
        t.fit(x, y, progress=False)
        t.metrics = [margin, "f1"]
        history = t.fit(x, y, progress=False)
        assert list(history) == ["loss", "accuracy", "margin", "f1"]
        assert np.isnan([history["margin"][0], history["accuracy"][1]]).all()
        assert np.isfinite([history["loss"], [history["accuracy"][0], history["f1"][1]]]).all()

    def test_settings_of_a_metric_count_when_they_are_changed(self):
        (x, y), t = problem(), trainer([TopKAccuracy(4)])
        assert t.evaluate(x, y) == {"loss": pytest.approx(oracle(t.model, x, y)["loss"]), "top_4_accuracy": 1.0}
        t.metrics[0].k = 2
        assert t.evaluate(x, y)["top_2_accuracy"] == pytest.approx(oracle(t.model, x, y)["top_2_accuracy"])

    def test_an_evaluation_in_the_middle_of_an_epoch_does_not_disturb_it(self):
        (x, y), one, other = problem(), trainer(EVERY_FORM, rate=0.1), trainer(EVERY_FORM, rate=0.1)
        look = FunctionCallback(lambda t: t.evaluate(x[:9], y[:9]), moment="on_batch_end")
        one.fit(x, y, epochs=2, progress=False)
        other.fit(x, y, epochs=2, callbacks=[look], progress=False)
        assert dict(one.history) == dict(other.history)
        np.testing.assert_array_equal(one.model.parameters, other.model.parameters)


class Flat(Metric):
    def per_row(self, rows):
        return np.mean(rows.predictions == rows.truth)


def all_together(predictions, targets):
    return np.mean(predictions == targets)


def table(scores, targets):
    return scores


def broken(predictions, targets):
    raise KeyError("no such column")


def loss(predictions, targets):
    return predictions


def val_of(predictions, targets):
    return predictions


class TestRefusals:
    @pytest.mark.parametrize(
        ("metrics", "error", "message"),
        [
            ("accuracy", ArgumentTypeError, "metrics must be a list, also for a single metric, not 'accuracy'"),
            (["acuracy"], ArgumentError, "no metric is named 'acuracy'; did you mean 'accuracy'"),
            ([TopKAccuracy], ArgumentTypeError, "is <class .*; give a name, a Metric"),
            ([3], ArgumentTypeError, "is 3; give a name, a Metric"),
            ([SoftmaxCrossEntropy()], ArgumentTypeError, "is SoftmaxCrossEntropy.*; give a name, a Metric"),
            ([lambda predictions, targets: predictions], ArgumentError, "without a name for the history"),
            (["accuracy", "Accuracy"], ArgumentError, "two metrics are named 'accuracy'"),
            ([loss], ArgumentError, "cannot have a metric named 'loss'"),
            ([val_of], ArgumentError, "cannot have a metric named 'val_of'"),
        ],
    )
    def test_what_is_no_metric_is_refused_when_it_is_set(self, metrics, error, message):
        with pytest.raises(error, match=message):
            trainer(metrics)
        t = trainer(["f1"])
        with pytest.raises(error, match=message):
            t.metrics = metrics
        assert [metric.name for metric in t.metrics] == ["f1"]

    @pytest.mark.parametrize(
        ("metrics", "options", "error", "message"),
        [
            (
                ["accuracy"],
                {"loss": MeanSquaredError(), "outputs": 1},
                ArgumentError,
                "accuracy: MeanSquaredError predicts",
            ),
            ([TopKAccuracy(5)], {}, ArgumentError, "top_5_accuracy: k is 5, but there are 4 classes"),
            ([Precision(average="binary")], {}, ArgumentError, "binary.* is for one of two classes"),
            (
                [all_together],
                {},
                ShapeError,
                r"all_together must return a number for each row, not \(\), and not their",
            ),
            ([table], {}, ShapeError, r"table must return a number for each row, not \(1, 4\)"),
            ([Flat()], {}, ShapeError, "flat must give a number for each of"),
            ([broken], {}, KeyError, "no such column"),
        ],
    )
    def test_what_does_not_fit_loss_or_model_is_refused_before_anything_changes(self, metrics, options, error, message):
        t, begun = trainer(metrics, **options), []
        x, y = problem()
        before = t.model.parameters.copy()
        hooks = [FunctionCallback(begun.append, moment="on_train_begin")]
        with pytest.raises(error, match=message):
            t.fit(x, y, callbacks=hooks, progress=False)
        with pytest.raises(error, match=message):
            t.check(x, y)
        with pytest.raises(error, match=message):
            t.evaluate(x, y)
        assert (begun, t.step, t.epoch, dict(t.history)) == ([], 0, 0, {})
        np.testing.assert_array_equal(t.model.parameters, before)

    def test_a_model_that_had_no_shape_has_none_afterwards(self):
        model = Sequential([Dense(4), SoftmaxCrossEntropy()], seed=0)
        t = Trainer(model, metrics=[TopKAccuracy(7)])
        for call in (t.fit, t.evaluate, t.check):
            with pytest.raises(ArgumentError, match="there are 4 classes"):
                call(*problem())
            assert model.input_shape is None


class TestResume:
    @pytest.mark.parametrize("step", [1, 5, 7, 9, 15])
    def test_a_run_with_several_metrics_is_resumed_in_the_middle_of_an_epoch_to_the_same_bits(self, tmp_path, step):
        def run(t, *more):
            options = {"validation_data": (x, y), "sample_weight": weights, "callbacks": more, "progress": False}
            t.fit(x, y, epochs=3 - t.epoch, **options)
            return {name: np.array(column).tobytes() for name, column in t.history.items()}

        class Stop(Callback):
            runs_last = True

            def on_batch_end(self, t):
                if t.step == step:
                    raise InterruptedError

        (x, y), weights = problem(), np.random.default_rng(1).random(50)
        settings = {"metrics": ["f1", TopKAccuracy(2), Correlation(shrink=0.5), Precision(average="weighted")]}
        whole = trainer(rate=0.1, **settings)
        expected = run(whole)
        assert list(expected)[:5] == ["loss", "f1", "top_2_accuracy", "correlation", "precision"]
        part = trainer(rate=0.1, **settings)
        with pytest.raises(InterruptedError):
            run(part, Checkpoint(tmp_path, every_steps=1), Stop())
        resumed = Trainer.load(tmp_path)
        assert resumed.step == step
        assert repr(resumed.metrics) == repr(list(whole.metrics))
        assert run(resumed) == expected
        np.testing.assert_array_equal(resumed.model.parameters, whole.model.parameters)
        assert run(part) == expected  # the same trainer goes on, too

    def test_of_a_function_a_file_holds_the_name_and_with_it_given_again_the_run_goes_on(self, tmp_path):
        (x, y), whole, t = problem(), trainer([margin, "f1"], rate=0.1), trainer([margin, "f1"], rate=0.1)
        whole.fit(x, y, epochs=3, progress=False)
        stop = FunctionCallback(lambda t: t.stop() if t.step == 11 else None, moment="on_batch_end")
        t.fit(x, y, epochs=3, callbacks=[stop, Checkpoint(tmp_path)], progress=False)
        resumed = Trainer.load(tmp_path)
        assert [metric.name for metric in resumed.metrics] == ["margin", "f1"]
        with pytest.raises(NotReadyError, match="the file holds only the name of the metric margin: set metrics"):
            resumed.fit(x, y, epochs=2, progress=False)
        assert resumed.step == 11
        resumed.metrics = [margin, "f1"]
        resumed.fit(x, y, epochs=2, callbacks=[Checkpoint(tmp_path)], progress=False)
        assert dict(resumed.history) == dict(whole.history)
        np.testing.assert_array_equal(resumed.model.parameters, whole.model.parameters)

    def test_ctrl_c_keeps_the_metrics_of_the_epoch_so_far(self):
        class Interrupt(Callback):
            def on_batch_end(self, t):
                if t.step == 4:
                    raise KeyboardInterrupt

        (x, y), whole, t = problem(), trainer(EVERY_FORM, rate=0.1), trainer(EVERY_FORM, rate=0.1)
        whole.fit(x, y, epochs=2, progress=False)
        with pytest.raises(KeyboardInterrupt):
            t.fit(x, y, epochs=2, callbacks=[Interrupt()], progress=False)
        t.fit(x, y, epochs=2, progress=False)
        assert dict(t.history) == dict(whole.history)

    def test_an_adam_run_of_single_precision_reports_metrics_in_double(self):
        x, y = problem(400)
        model = Sequential([Dense(4), SoftmaxCrossEntropy()], seed=0)
        t = Trainer(model, Adam(0.0), batch_size=16, seed=0, metrics=["accuracy", margin])
        history = t.fit(x, y, progress=False)
        assert history["accuracy"][0] == (model.predict(x) == y).mean()
        assert all(type(value) is float for column in history.values() for value in column)
