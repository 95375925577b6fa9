"""Several trainers as one: each on rows of its own, with gradients and totals added up by the hook `reduce`."""

import threading

import numpy as np
import pytest

from minidl import (
    L2,
    LBFGS,
    SGD,
    Adam,
    Callback,
    Dense,
    EarlyStopping,
    ExponentialMovingAverage,
    MaxNorm,
    MeanSquaredError,
    Momentum,
    Sequential,
    SoftmaxCrossEntropy,
    Tanh,
    Trainer,
)
from minidl.errors import DivergenceError
from minidl.metrics import TopKAccuracy

PARTS = 2


class Sum:
    """Adds up the arrays that so many threads come with, in place; the order of the sum is the same for all."""

    def __init__(self, parts=PARTS):
        self.barrier = threading.Barrier(parts, timeout=60)
        self.arrays = [None] * parts
        self.calls = [0] * parts

    def of(self, part):
        def add_up(array):
            self.calls[part] += 1
            self.arrays[part] = array.copy()
            self.barrier.wait()
            array[:] = sum(self.arrays[1:], start=self.arrays[0])
            self.barrier.wait()

        return add_up


def together(work, parts=PARTS):
    """Run ``work(part, reduce)`` in a thread for each part; return what each returned or raised."""
    total, results = Sum(parts), [None] * parts

    def run(part):
        try:
            results[part] = work(part, total.of(part))
        except BaseException as error:
            total.barrier.abort()
            results[part] = error

    threads = [threading.Thread(target=run, args=(part,)) for part in range(parts)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


def problem(rows=48):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(rows, 5))
    return x, (x[:, 0] > 0).astype(int) + (x[:, 1] > 0), rng.random(rows) + 0.1


def model(**options):
    layers = [Dense(6, **options), Tanh(), Dense(3), SoftmaxCrossEntropy()]
    return Sequential(layers, input_shape=5, seed=0, dtype="float64")


SETTINGS = {
    "sgd": lambda: {"optimizer": SGD(0.5)},
    "momentum": lambda: {"optimizer": Momentum(0.1), "clip_norm": 0.05},
    "adam": lambda: {"optimizer": Adam(0.05), "clip_value": 0.01, "average": ExponentialMovingAverage(0.8)},
    "metrics": lambda: {"optimizer": SGD(0.5), "metrics": ["f1", TopKAccuracy(2), "recall"]},
}


def rows_of(part, array, batch):
    """The rows of a part: of each batch of the whole, in its order, the part's share."""
    size = batch // PARTS
    starts = range(part * size, len(array), batch)
    return np.concatenate([array[start : start + size] for start in starts])


PENALTY = pytest.param({"regularizer": L2(0.01)}, id="penalty")


@pytest.mark.parametrize("options", [pytest.param({}, id="plain"), PENALTY])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
@pytest.mark.parametrize("batch", [16, 48])
def test_two_trainers_on_half_of_each_batch_are_one_to_rounding_and_each_other_to_the_bit(
    settings, weighted, batch, options
):
    x, y, weights = problem()
    validation = problem(20)
    given = weights if weighted else None
    whole = Trainer(model(**options), **settings(), batch_size=batch, shuffle=False, seed=0)
    whole.fit(x, y, epochs=4, sample_weight=given, validation_data=validation[:2], progress=False)

    def work(part, reduce):
        t = Trainer(model(**options), **settings(), batch_size=batch // PARTS, shuffle=False, seed=0, reduce=reduce)
        t.fit(
            rows_of(part, x, batch),
            rows_of(part, y, batch),
            epochs=4,
            sample_weight=rows_of(part, weights, batch) if weighted else None,
            validation_data=tuple(rows_of(part, each, 20) for each in validation[:2]),
            progress=False,
        )
        return t

    one, other = together(work)
    np.testing.assert_array_equal(one.model.parameters, other.model.parameters)
    assert dict(one.history) == dict(other.history)
    for name in one.optimizer.slots:
        np.testing.assert_array_equal(one.optimizer.state[name], other.optimizer.state[name])
    assert list(one.history) == list(whole.history)
    for name, column in whole.history.items():
        np.testing.assert_allclose(one.history[name], column, rtol=1e-9, err_msg=name)
    # Adam divides by small numbers, which makes more of the rounding.
    np.testing.assert_allclose(one.model.parameters, whole.model.parameters, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("counts", [(30, 18), (1, 47)])
def test_parts_may_have_different_numbers_of_rows(counts):
    x, y, weights = problem()
    whole = Trainer(model(), SGD(0.5), batch_size=None, seed=0)
    whole.fit(x, y, epochs=4, sample_weight=weights, progress=False)
    cut = counts[0]

    def work(part, reduce):
        rows = slice(0, cut) if part == 0 else slice(cut, None)
        t = Trainer(model(), SGD(0.5), batch_size=None, seed=0, reduce=reduce)
        t.fit(x[rows], y[rows], epochs=4, sample_weight=weights[rows], progress=False)
        return t

    one, other = together(work)
    np.testing.assert_array_equal(one.model.parameters, other.model.parameters)
    np.testing.assert_allclose(one.model.parameters, whole.model.parameters, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(one.history["loss"], whole.history["loss"], rtol=1e-12)


def test_lbfgs_finds_the_same_minimum_by_the_same_steps():
    x, y, _ = problem()
    whole = Trainer(model(), LBFGS(), batch_size=None, seed=0)
    whole.fit(x, y, epochs=6, progress=False)

    def work(part, reduce):
        t = Trainer(model(), LBFGS(), batch_size=None, seed=0, reduce=reduce)
        t.fit(x[part::2], y[part::2], epochs=6, progress=False)
        return t

    one, other = together(work)
    np.testing.assert_array_equal(one.model.parameters, other.model.parameters)
    assert one.optimizer.ended == other.optimizer.ended
    assert one.step == other.step == whole.step
    np.testing.assert_allclose(one.history["loss"], whole.history["loss"], rtol=1e-9)


def test_frozen_layers_and_constraints_work_alike():
    x, y, _ = problem()

    def train(rows_x, rows_y, batch_size, reduce=None):
        net = model(constraint=MaxNorm(0.5))
        t = Trainer(net, SGD(0.5), batch_size=batch_size, shuffle=False, seed=0, reduce=reduce)

        def freeze(t):
            net.layers[2].trainable = t.epoch != 2

        t.fit(rows_x, rows_y, epochs=4, callbacks=[freeze], progress=False)
        return t

    whole = train(x, y, 16)
    one, other = together(lambda part, reduce: train(rows_of(part, x, 16), rows_of(part, y, 16), 8, reduce))
    np.testing.assert_array_equal(one.model.parameters, other.model.parameters)
    np.testing.assert_allclose(one.model.parameters, whole.model.parameters, rtol=1e-9, atol=1e-12)


def test_evaluation_is_that_of_all_rows():
    x, y, weights = problem()
    expected = Trainer(model(), metrics=["f1", "accuracy"]).evaluate(x, y, sample_weight=weights)

    def work(part, reduce):
        t = Trainer(model(), metrics=["f1", "accuracy"], reduce=reduce)
        return t.evaluate(x[part::2], y[part::2], sample_weight=weights[part::2])

    one, other = together(work)
    assert one == other == pytest.approx(expected, rel=1e-12)


def test_metrics_in_the_middle_of_an_epoch_and_early_stopping_agree():
    x, y, _ = problem()

    class Watch(Callback):
        def __init__(self):
            self.seen = []

        def on_batch_end(self, t):
            self.seen.append((t.batch_loss, *t.metric_values.values()))

    def train(rows_x, rows_y, batch_size, reduce=None):
        watch = Watch()
        t = Trainer(model(), SGD(2.0), batch_size=batch_size, shuffle=False, seed=0, reduce=reduce)
        stopping = EarlyStopping("accuracy", patience=2)
        t.fit(rows_x, rows_y, epochs=30, callbacks=[watch, stopping], progress=False)
        return t, watch.seen, stopping.best_epoch

    whole = train(x, y, 16)
    one, other = together(lambda part, reduce: train(rows_of(part, x, 16), rows_of(part, y, 16), 8, reduce))
    assert one[1:] == other[1:]
    np.testing.assert_array_equal(one[0].model.parameters, other[0].model.parameters)
    assert one[0].epoch == whole[0].epoch < 30
    np.testing.assert_allclose(one[1], whole[1], rtol=1e-7)


def test_divergence_is_judged_of_the_sum_so_that_all_stop_at_the_same_step():
    x = np.linspace(-1, 1, 24)[:, np.newaxis]
    y = np.zeros(24)
    y[5] = 1e160  # its square overflows, in the second batch of the first part alone

    def work(part, reduce):
        net = Sequential([Dense(1), MeanSquaredError()], input_shape=1, seed=0, dtype="float64")
        t = Trainer(net, SGD(1e-3), batch_size=4, shuffle=False, seed=0, reduce=reduce)
        with pytest.raises(DivergenceError, match="the loss is inf at epoch 1, step 2"):
            t.fit(x[12 * part : 12 * part + 12], y[12 * part : 12 * part + 12], epochs=3, progress=False)
        return t

    one, other = together(work)
    assert one.step == other.step == 1
    np.testing.assert_array_equal(one.model.parameters, other.model.parameters)
    assert np.isfinite(one.model.parameters).all()


def test_a_validation_that_diverges_in_one_part_ends_all():
    x, y = np.linspace(-1, 1, 8)[:, np.newaxis], np.linspace(-1, 1, 8)

    def work(part, reduce):
        net = Sequential([Dense(1), MeanSquaredError()], input_shape=1, seed=0)
        t = Trainer(net, SGD(1e-3), batch_size=4, shuffle=False, seed=0, reduce=reduce)
        validation = (1e30 * x, y) if part else (x, y)
        with pytest.raises(DivergenceError, match="the validation loss is inf at epoch 1, step 2"):
            t.fit(x, y, validation_data=validation, progress=False)
        return t

    one, other = together(work)
    assert one.step == other.step == 2


def test_a_sum_of_one_changes_nothing():
    x, y, weights = problem()
    runs = []
    for reduce in (None, lambda array: None):
        t = Trainer(model(), Adam(0.05), batch_size=16, seed=0, reduce=reduce)
        t.fit(x, y, epochs=3, sample_weight=weights, validation_data=(x, y), progress=False)
        runs.append(t)
    # The mean weight of a row is another quotient of the same numbers.
    np.testing.assert_allclose(runs[0].model.parameters, runs[1].model.parameters, rtol=1e-9)
    assert runs[0].history["val_loss"] == pytest.approx(runs[1].history["val_loss"], rel=1e-9)


def test_the_hook_is_no_part_of_the_file_of_a_run(tmp_path):
    x, y, _ = problem()
    t = Trainer(model(), Adam(0.05), batch_size=16, seed=0, reduce=lambda array: None)
    t.fit(x, y, progress=False)
    t.save(tmp_path / "run.npz")
    loaded = Trainer.load(tmp_path / "run.npz")
    assert loaded.reduce is None
    np.testing.assert_array_equal(loaded.model.parameters, t.model.parameters)
