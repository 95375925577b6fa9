"""Steps in one call leave a run as the trainer leaves it step by step: every number, and how far it is."""

import contextlib
import copy
import signal
import time

import numpy as np
import pytest
from bits import assert_same_bits, compiled_functions
from hypothesis import given, settings
from hypothesis import strategies as st
from networks import between_dense

from minidl import (
    L1,
    L2,
    SGD,
    Accuracy,
    Adam,
    AdamW,
    BatchNorm,
    Dense,
    ExponentialMovingAverage,
    Flatten,
    FunctionCallback,
    MaxNorm,
    MeanSquaredError,
    Momentum,
    ReLU,
    Rescale,
    RMSprop,
    Sequential,
    SigmoidCrossEntropy,
    SoftmaxCrossEntropy,
    Tanh,
    Trainer,
)
from minidl.compiled import switch
from minidl.data import Shards
from minidl.data.augment import Compose, PixelNoise, Translation
from minidl.errors import DivergenceError
from minidl.estimators import MLPClassifier, MLPRegressor
from minidl.estimators.losses import HalfSquaredError, SummedSigmoidCrossEntropy
from minidl.lazy_rows import LazyRows
from minidl.schedules import CosineDecay, Warmup
from minidl.training.progress import ProgressBar

pytest.importorskip("numba")

from minidl.compiled import steps
from minidl.compiled.blas import routines

if routines(np.dtype(np.float32)) is None:
    pytest.skip("NumPy has another BLAS here", allow_module_level=True)


pytestmark = pytest.mark.usefixtures("compiled_code")


@pytest.fixture
def calls(monkeypatch):
    """How many rows each call of compiled steps has taken."""
    found, take = [], steps._take

    def count_and_take(trainer, fit, chain, x, targets, rows):
        found.append(len(rows))
        take(trainer, fit, chain, x, targets, rows)

    monkeypatch.setattr(steps, "_take", count_and_take)
    return found


def problem(rows, columns=6, outputs=3, *, classes=True, dtype=np.float32):
    rng = np.random.default_rng(rows)
    x = rng.normal(size=(rows, columns)).astype(dtype)
    y = rng.integers(0, outputs, rows) if classes else rng.normal(size=(rows, outputs)).astype(np.float32)
    return x, y


def trainer(optimizer="adam", *, layers=None, loss=None, columns=6, outputs=3, dtype="float32", **options):
    layers = layers or [Dense(8), ReLU(), Dense(5, use_bias=False), ReLU()]
    layers = [*layers, Dense(outputs), loss or SoftmaxCrossEntropy()]
    model = Sequential(layers, input_shape=columns, seed=0, dtype=dtype)
    return Trainer(model, optimizer, **{"batch_size": 8, "seed": 0} | options)


def everything(run):
    """All numbers that a run leaves behind, by name."""
    numbers = {"parameters": run.model.parameters, "gradients": run.model.gradients, **run.optimizer.state}
    numbers |= {name: np.array(column) for name, column in run.history.items()}
    place = [run.epoch, run.step, run.position.row, run.position.rows, run.batch_loss, *run.position.totals]
    numbers |= {name: state.value for name, state in run.model.named_states().items()}
    numbers |= {name: each.random(3) for name, each in copy.deepcopy(run.model).named_generators().items()}
    return numbers | {"place": np.array(place)}


def assert_same_run(build, *, fit):
    runs = {}
    for compiled in (False, True):
        switch(compiled)
        runs[compiled] = build()
        fit(runs[compiled])
    found, wanted = everything(runs[True]), everything(runs[False])
    assert found.keys() == wanted.keys()
    for name in wanted:
        assert_same_bits(found[name], wanted[name])


optimizers = st.sampled_from(
    [
        SGD(0.1),
        SGD(CosineDecay(0.1, steps=500), weight_decay=0.01),
        Momentum(0.05),
        Momentum(0.05, momentum=0.8, nesterov=True, weight_decay=0.1),
        Adam(),
        AdamW(0.01),
        AdamW(CosineDecay(0.01, steps=500), beta1=0.7),
    ]
)


LOSSES = [SoftmaxCrossEntropy, SigmoidCrossEntropy, MeanSquaredError, HalfSquaredError, SummedSigmoidCrossEntropy]
penalties = st.sampled_from([None, None, L2(0.001), L2(0.3)])


@st.composite
def set_ups(draw):
    columns, loss = draw(st.integers(2, 20)), draw(st.sampled_from(LOSSES))
    layers = copy.deepcopy(draw(st.sampled_from([[], [Flatten()], [Rescale(0.5)], [Rescale(0.01, offset=-1)]])))
    for _ in range(draw(st.integers(0, 3))):
        dense = Dense(draw(st.integers(2, 30)), use_bias=draw(st.booleans()), regularizer=draw(penalties))
        layers += [dense, *draw(between_dense)]
    layers = [copy.deepcopy(layer) for layer in layers]
    outputs = draw(st.integers(2 if loss is SoftmaxCrossEntropy else 1, 12))
    options = {
        "layers": layers or [Flatten()],
        "loss": loss(),
        "columns": columns,
        "outputs": outputs,
        "dtype": draw(st.sampled_from(["float32", "float64"])),
        "batch_size": draw(st.integers(2, 40)),
        "shuffle": draw(st.booleans()),
        "metrics": draw(st.sampled_from([None, []])),
    }
    return copy.deepcopy(draw(optimizers)), options, draw(st.integers(2, 90))


@given(set_up=set_ups(), kind=st.sampled_from([np.float32, np.float64, np.uint8]))
@settings(max_examples=120, derandomize=True, deadline=None)
def test_runs_end_in_the_same_bits(set_up, kind):
    optimizer, options, rows = set_up
    classes = isinstance(options["loss"], SoftmaxCrossEntropy)
    x, y = problem(rows, options["columns"], options["outputs"], classes=classes)
    x, y = np.abs(x).astype(kind), y > 0 if isinstance(options["loss"], SigmoidCrossEntropy) else y

    def fit(run):
        with contextlib.suppress(DivergenceError):
            run.fit(x, y, epochs=3, progress=False)

    assert_same_run(lambda: trainer(copy.deepcopy(optimizer), **copy.deepcopy(options)), fit=fit)


def test_subnormal_numbers_are_cleared_after_the_same_steps(calls):
    x, y = problem(400)

    def fit(run):
        run.fit(x[:80], y[:80], progress=False)
        run.fit(x * [0, 1, 1, 1, 1, 1], y, epochs=5, progress=False)  # the means of the first input's gradients shrink
        assert not run.optimizer.state["m"][:8].any()

    assert_same_run(lambda: trainer(Adam(beta1=0.6)), fit=fit)
    assert [rows // 8 for rows in calls] == [10, 50, 40, 10, 50, 40, 10, 50]


@pytest.mark.parametrize("classes", [True, False])
@pytest.mark.parametrize("rows", [1000, 8192])
def test_losses_of_large_batches_are_added_in_the_same_order(classes, rows):
    x, y = problem(2 * rows + 100, 4, 3, classes=classes)
    layers, loss = [Dense(5), ReLU()], SoftmaxCrossEntropy() if classes else MeanSquaredError()
    assert_same_run(
        lambda: trainer(layers=copy.deepcopy(layers), loss=copy.deepcopy(loss), columns=4, batch_size=rows),
        fit=lambda run: run.fit(x, y, epochs=2, progress=False),
    )


def test_a_few_calls_take_all_steps_of_an_epoch(calls):
    run = trainer()
    run.fit(*problem(100), epochs=2, progress=False)
    assert calls == [100, 100]
    assert run.step == 26


@pytest.mark.parametrize("shuffle", [True, False])
@pytest.mark.parametrize("order", ["C", "F"])
def test_rows_of_files_are_taken_several_steps_at_a_time(calls, monkeypatch, tmp_path, shuffle, order):
    x, y = problem(100)
    for file in range(5):
        part = slice(20 * file, 20 * file + 20)
        np.save(tmp_path / f"x_{file}.npy", np.asarray(x[part], order=order))
        np.save(tmp_path / f"y_{file}.npy", y[part])
    monkeypatch.setattr(steps, "_BYTES", 3 * 8 * 6 * 4)
    data = Shards(tmp_path, buffer=2)
    assert_same_run(
        lambda: trainer(shuffle=shuffle),
        fit=lambda run: run.fit(data.x, data.y, epochs=2, progress=False),
    )
    assert calls == [24, 24, 24, 24, 4] * 2


@pytest.mark.parametrize("kind", [np.uint8, np.float32, np.float64])
def test_distorted_rows_are_taken_several_steps_at_a_time(calls, kind):
    x, y = problem(204)
    assert_same_run(
        lambda: trainer(augment=Compose([Translation(0.4), PixelNoise(0.1)], image_shape=(2, 3))),
        fit=lambda run: run.fit(np.abs(100 * x).astype(kind), y, epochs=2, progress=False),
    )
    assert calls == [*[24] * 8, 12] * 2  # an eighth of an epoch, so that the next ones are distorted meanwhile


def test_distorted_rows_are_made_as_far_ahead_in_each_epoch(monkeypatch):
    found, batches = [], Trainer._batches

    def note(run, fit, ahead=1):
        found.append(ahead)
        return batches(run, fit, ahead)

    monkeypatch.setattr(Trainer, "_batches", note)
    switch(True)
    run = trainer(augment=Translation(0.4, image_shape=(2, 3)))
    run.fit(*problem(8 * 33), epochs=4, progress=False)  # the last epoch begins a step before a call must end
    assert found == [4, 4, 4, 4]


@pytest.mark.parametrize("shuffle", [True, False])
def test_distorted_rows_of_files(calls, tmp_path, shuffle):
    x, y = problem(204)
    for file, part in enumerate((slice(0, 100), slice(100, 204))):
        np.save(tmp_path / f"x_{file}.npy", x[part])
        np.save(tmp_path / f"y_{file}.npy", y[part])
    data = Shards(tmp_path, buffer=2)
    assert_same_run(
        lambda: trainer(augment=Translation(0.4, image_shape=(2, 3)), shuffle=shuffle),
        fit=lambda run: run.fit(data.x, data.y, epochs=2, progress=False),
    )
    assert calls == [*[24] * 8, 12] * 2


def test_distortions_that_begin_within_an_epoch():
    def begin(run):
        run.augment = Translation(0.4, image_shape=(2, 3)) if run.step >= 3 else None

    def fit(run):
        run.fit(*problem(50), epochs=2, callbacks=[FunctionCallback(begin, moment="on_batch_end")], progress=False)

    assert_same_run(trainer, fit=fit)


def test_ctrl_c_waits_for_no_distortion_of_later_steps():
    made = []

    class Slow(Translation):
        def matrices(self, *arguments):
            made.append(len(made))
            if len(made) == 5:
                signal.raise_signal(signal.SIGINT)
            if len(made) >= 5:
                time.sleep(0.05)
            return super().matrices(*arguments)

    run = trainer(augment=Slow(0.4, image_shape=(2, 3)))
    with pytest.raises(KeyboardInterrupt):
        run.fit(*problem(800), progress=False)  # a call takes 12 steps
    assert len(made) < 10


def test_distorted_rows_with_a_row_alone_at_the_end(calls):
    layers = [Dense(8), BatchNorm(), ReLU()]  # the row joins the batch before
    for rest, expected in (([Dense(4)], [8, 8]), (layers, [8])):
        assert_same_run(
            lambda rest=rest: trainer(layers=copy.deepcopy(rest), augment=Translation(0.4, image_shape=(2, 3))),
            fit=lambda run: run.fit(*problem(17), epochs=2, progress=False),
        )
        assert calls == expected * 2
        calls.clear()


def test_a_run_with_distortions_stops_between_calls():
    def fit(run):
        stop = FunctionCallback(lambda run: run.stop() if run.step == 2 else None, moment="on_batch_end")
        run.fit(*problem(50), epochs=2, callbacks=[stop], progress=False)
        run.fit(*problem(50), epochs=2, progress=False)

    assert_same_run(lambda: trainer(augment=Translation(0.4, image_shape=(2, 3))), fit=fit)


def test_the_bar_leaves_steps_together(calls):
    trainer().fit(*problem(100), progress=True)
    assert calls == [100]


def test_callbacks_see_each_batch(calls):
    seen = []

    def note(run):
        seen.append((run.step, run.position.row, run.batch_loss, run.metric_values["loss"]))

    def fit(run):
        run.fit(*problem(20), callbacks=[FunctionCallback(note, moment="on_batch_end")], progress=False)

    assert_same_run(trainer, fit=fit)
    assert calls == [8, 8, 4]
    assert seen[:3] == seen[3:]


def test_a_rate_of_ones_own_is_asked_before_each_step(calls):
    runs = []

    def rate(step):
        return 0.1 * float(runs[-1].batch_loss if step else 1)

    def build():
        runs.append(trainer(SGD(rate)))
        return runs[-1]

    assert_same_run(build, fit=lambda run: run.fit(*problem(20), progress=False))
    assert calls == [8, 8, 4]


def test_a_row_alone_at_the_end_is_computed_by_numpy(calls):
    assert_same_run(trainer, fit=lambda run: run.fit(*problem(17), epochs=2, progress=False))
    assert calls == [16, 16]


def test_stop_is_heard_and_a_run_goes_on_in_its_midst():
    def fit(run):
        stop = FunctionCallback(lambda run: run.stop() if run.step == 2 else None, moment="on_batch_end")
        run.fit(*problem(50), epochs=2, callbacks=[stop], progress=False)
        assert run.position.row == 16
        run.fit(*problem(50), epochs=2, progress=False)

    assert_same_run(trainer, fit=fit)


@pytest.mark.parametrize("rate", [1e3, 1e12, 1e37])
@pytest.mark.parametrize("loss", [SoftmaxCrossEntropy, MeanSquaredError])
def test_a_loss_that_is_not_finite_ends_a_run_before_its_step(rate, loss):
    def fit(run):
        x, y = problem(50, classes=loss is SoftmaxCrossEntropy)
        with pytest.raises(DivergenceError, match="is .* at epoch "):
            run.fit(x, y, epochs=200, progress=False)

    assert_same_run(lambda: trainer(SGD(rate), layers=[Dense(8), Dense(8)], loss=loss()), fit=fit)


def test_frozen_layers_thaw_between_epochs(calls):
    def thaw(run):
        run.model.layers[0].trainable = True

    def fit(run):
        run.model.layers[0].trainable = False
        run.fit(*problem(30), epochs=3, callbacks=[thaw], progress=False)

    assert_same_run(trainer, fit=fit)
    assert calls == [30, 30]


@pytest.mark.parametrize("kind", [np.uint8, np.float32, np.float64])
@pytest.mark.parametrize("shuffle", [False, True])
def test_rows_of_an_index_into_an_array_are_not_copied(kind, shuffle, calls):
    x, y = problem(60)
    index = np.random.default_rng(1).integers(0, 60, 45)
    rows = LazyRows(np.abs(x).astype(kind), index)
    assert_same_run(lambda: trainer(shuffle=shuffle), fit=lambda run: run.fit(rows, y[index], epochs=2, progress=False))
    assert calls == [45, 45]


def test_a_penalty_may_change_between_calls(calls):
    def change(run):
        run.model.layers[2].regularizer = L2(0.01 * run.epoch)

    layers = [Dense(100, regularizer=L2(0.1)), ReLU(), Dense(150, use_bias=False), ReLU()]
    x, y = problem(60, 100)
    assert_same_run(
        lambda: trainer(layers=copy.deepcopy(layers), columns=100),
        fit=lambda run: run.fit(x, y, epochs=4, callbacks=[change], progress=False),
    )
    assert calls == [60, 60, 60, 60]


@pytest.mark.parametrize("loss", [SigmoidCrossEntropy, SummedSigmoidCrossEntropy])
@pytest.mark.parametrize("size", [1e-3, 1.0, 1e2, 1e20])
def test_scores_of_two_classes_of_any_size(loss, size, calls):
    x, y = problem(40)

    def fit(run):
        with contextlib.suppress(DivergenceError):
            run.fit(x * np.float32(size), y > 0, epochs=3, progress=False)

    assert_same_run(lambda: trainer(SGD(1e-3), loss=loss(), outputs=1), fit=fit)
    assert calls


def test_several_labels_with_a_metric_are_taken_step_by_step(calls):
    x, y = problem(30, classes=False)
    assert_same_run(lambda: trainer(loss=SigmoidCrossEntropy()), fit=lambda run: run.fit(x, y > 0, progress=False))
    assert not calls


@pytest.mark.filterwarnings("ignore:.*hasn't converged yet")
@pytest.mark.parametrize(
    ("estimator", "targets"),
    [
        (MLPClassifier, lambda y: y),
        (MLPClassifier, lambda y: y > 0),
        (MLPClassifier, lambda y: np.stack([y > 0, y > 1], axis=1).astype(int)),
        (MLPRegressor, lambda y: y / 2),
        (MLPRegressor, lambda y: np.stack([y, -y / 3], axis=1)),
    ],
    ids=["three classes", "two classes", "two labels", "numbers", "pairs of numbers"],
)
def test_estimators_train_in_compiled_steps(estimator, targets, calls):
    x, y = problem(300)
    fitted = []
    for compiled in (False, True):
        switch(compiled)
        fitted.append(
            estimator(hidden_layer_sizes=12, max_iter=4, n_iter_no_change=10, random_state=0).fit(x, targets(y))
        )
    assert sum(calls) == 4 * 300
    assert fitted[0].loss_curve_ == fitted[1].loss_curve_
    for one, other in zip(*(each.coefs_ + each.intercepts_ for each in fitted), strict=True):
        assert_same_bits(one, other)


def unknown_parts():
    own = type("OwnAdam", (Adam,), {})
    return {
        "an optimizer of one's own": (lambda: trainer(own()), {}),
        "another optimizer": (lambda: trainer(RMSprop()), {}),
        "an average": (lambda: trainer(average=ExponentialMovingAverage(0.9)), {}),
        "bounds": (lambda: trainer(clip_norm=1.0), {}),
        "a trainer of one's own": (lambda: type("Own", (Trainer,), {})(trainer().model, batch_size=8, seed=0), {}),
        "another regularizer": (lambda: trainer(layers=[Dense(4, regularizer=L1(0.1)), ReLU()]), {}),
        "a constraint": (lambda: trainer(layers=[Dense(4, constraint=MaxNorm(1)), ReLU()]), {}),
        "a layer between": (lambda: trainer(layers=[Dense(4), Tanh()]), {}),
        "a smoothed loss": (lambda: trainer(loss=SoftmaxCrossEntropy(label_smoothing=0.1)), {}),
        "two metrics": (lambda: trainer(metrics=[Accuracy(), "f1"]), {}),
        "inputs that a function distorts": (lambda: trainer(augment=lambda x, _: x + 1), {}),
        "weights": (trainer, {"sample_weight": np.arange(1, 31)}),
        "a change of gradients": (trainer, {"callbacks": [FunctionCallback(lambda _: None, moment="on_gradients")]}),
    }


@pytest.mark.parametrize("name", unknown_parts())
def test_what_is_not_written_here_is_done_step_by_step(name, calls):
    build, options = unknown_parts()[name]
    assert_same_run(build, fit=lambda run: run.fit(*problem(30), epochs=2, progress=False, **options))
    assert not calls


def test_other_inputs_are_taken_step_by_step(calls):
    x, y = problem(30)
    for inputs, targets in [(x[::2], y[::2]), (x, np.eye(3, dtype=np.float32)[y])]:
        trainer().fit(inputs, targets, progress=False)
    assert not calls


def test_the_numpy_function_is_that_of_the_trainer():
    (found,) = compiled_functions("_take_steps")
    assert found.numpy.__module__ == Trainer.__module__


def test_a_schedule_that_asks_a_function_of_ones_own_is_asked_before_each_step(calls):
    trainer(SGD(Warmup(lambda step: 0.1, steps=2))).fit(*problem(20), progress=False)
    assert calls == [8, 8, 4]


def test_a_bar_of_ones_own_sees_each_step(calls):
    class Bar(ProgressBar):
        def on_batch_end(self, trainer):
            super().on_batch_end(trainer)

    trainer().fit(*problem(20), callbacks=[Bar()], progress=False)
    assert calls == [8, 8, 4]
