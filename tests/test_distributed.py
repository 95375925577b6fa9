"""Several processes train as one: its history and parameters to rounding, and each other's to the bit.

Threads stand for the processes; tests/mpi starts real ones.
"""

import signal
import threading
import time

import numpy as np
import pytest
import scipy.sparse
from processes import Ended, together

from minidl import (
    L2,
    LBFGS,
    SGD,
    Adam,
    BatchNorm,
    Callback,
    Checkpoint,
    Dense,
    Dropout,
    Dropout2D,
    EarlyStopping,
    ExponentialMovingAverage,
    Flatten,
    FunctionCallback,
    GaussianNoise,
    MaxNorm,
    MeanSquaredError,
    Momentum,
    MultiHeadAttention,
    Reshape,
    Sequential,
    SoftmaxCrossEntropy,
    Tanh,
    Trainer,
)
from minidl.compiled import is_on
from minidl.compiled.switching import switch
from minidl.distributed import Processes
from minidl.errors import ArgumentError, ArgumentTypeError, DataError, DataWarning, DivergenceError
from minidl.metrics import TopKAccuracy
from minidl.training import trainer as trainer_module
from minidl.training.interruption import Step
from minidl.training.replica import may_share
from minidl.training.rows import prepare_rows

SIZES = [2, 3, 4]


def problem(rows=50):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(rows, 5))
    return x, (x[:, 0] > 0).astype(int) + (x[:, 1] > 0), rng.random(rows) + 0.1


def model(*between, dtype="float64", **options):
    layers = [Dense(6, **options), *between, Tanh(), Dense(3), SoftmaxCrossEntropy()]
    return Sequential(layers, input_shape=5, seed=0, dtype=dtype)


def trainer(communicator=None, *between, model_options=None, **options):
    net = model(*between, **model_options or {})
    return Trainer(net, **{"optimizer": SGD(0.5), "batch_size": 16, "seed": 0} | options, communicator=communicator)


def states_of_generators(run):
    return {name: generator.bit_generator.state for name, generator in run.model.named_generators().items()}


def assert_as_one(build, fit, size=2, rtol=1e-9):
    """Fit in one process and in several; return the trainers of these."""
    whole = build(None)
    fit(whole)

    def work(communicator):
        run = build(communicator)
        fit(run)
        return run

    runs = together(work, size)
    for run in runs:
        assert isinstance(run, Trainer), run
        assert dict(run.history) == dict(runs[0].history)
        assert (run.epoch, run.step, run.position.row) == (whole.epoch, whole.step, whole.position.row)
        np.testing.assert_array_equal(run.model.parameters, runs[0].model.parameters)
        for name, state in run.model.named_states().items():
            np.testing.assert_allclose(state.value, whole.model.named_states()[name].value, rtol=rtol, err_msg=name)
        for name in run.optimizer.slots:
            np.testing.assert_array_equal(run.optimizer.state[name], runs[0].optimizer.state[name])
        assert states_of_generators(run) == states_of_generators(whole)
    assert list(runs[0].history) == list(whole.history)
    for name, column in whole.history.items():
        np.testing.assert_allclose(runs[0].history[name], column, rtol=rtol, err_msg=name)
    # Adam divides by small numbers, which makes more of the rounding.
    np.testing.assert_allclose(runs[0].model.parameters, whole.model.parameters, rtol=1e3 * rtol, atol=rtol)
    return runs


SETTINGS = {
    "sgd": lambda: {"optimizer": SGD(0.5)},
    "momentum": lambda: {"optimizer": Momentum(0.1), "clip_norm": 0.05},
    "adam": lambda: {"optimizer": Adam(0.05), "clip_value": 0.01, "average": ExponentialMovingAverage(0.8)},
    "metrics": lambda: {"optimizer": SGD(0.5), "metrics": ["f1", TopKAccuracy(2), "recall"]},
    "accumulated": lambda: {"optimizer": SGD(0.5), "batch_size": 7, "accumulate": 3},
    "full batch": lambda: {"optimizer": SGD(0.5), "batch_size": None},
    "L-BFGS": lambda: {"optimizer": LBFGS(), "batch_size": None},
}


@pytest.mark.parametrize(
    "options", [pytest.param({}, id="plain"), pytest.param({"regularizer": L2(0.01)}, id="penalty")]
)
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
def test_two_processes_are_one(settings, weighted, options):
    x, y, weights = problem()

    def fit(run):
        validation = problem(21)[:2]
        given = weights if weighted else None
        run.fit(x, y, epochs=3, sample_weight=given, validation_data=validation, progress=False)

    assert_as_one(lambda communicator: trainer(communicator, model_options=options, **settings()), fit)


BETWEEN = {
    "batch normalization": lambda: [BatchNorm()],
    "dropout": lambda: [Dropout(0.3)],
    "noise": lambda: [GaussianNoise(0.1)],
    "all": lambda: [BatchNorm(), GaussianNoise(0.1), Dropout(0.2)],
}


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("accumulate", [1, 2])
@pytest.mark.parametrize("between", BETWEEN.values(), ids=BETWEEN)
def test_layers_that_mix_rows_or_draw_for_them_do_so_for_the_whole_batch(between, accumulate, size):
    x, y, _ = problem()  # of the last batch, of two rows, some processes have none

    def fit(run):
        run.fit(x, y, epochs=3, validation_data=problem(20)[:2], progress=False)

    assert_as_one(lambda each: trainer(each, *between(), accumulate=accumulate), fit, size)


RANDOM = {
    "dropout": lambda: [Dropout(0.3)],
    "dropout of channels": lambda: [Reshape((3, 2)), Dropout2D(0.3), Flatten()],
    "noise": lambda: [GaussianNoise(0.1)],
    "attention": lambda: [Reshape((3, 2)), MultiHeadAttention(2, dropout=0.3), Flatten()],
    "all": lambda: [BatchNorm(), GaussianNoise(0.1), Dropout(0.2)],
}
DIVISIONS = {
    "halves": {"batch_size": 8, "rows_at_once": 4},  # the last batch, of two rows, is not divided
    "uneven halves": {"batch_size": 15, "rows_at_once": 4},
    "blocks": {"batch_size": 20, "rows_at_once": 2},
    "rows": {"batch_size": 7, "rows_at_once": 1},  # a row draws six numbers, and not four or eight
    "several batches": {"batch_size": 9, "rows_at_once": 2, "accumulate": 4},  # the last step has two, of nine and five
    "full batch": {"batch_size": None, "rows_at_once": 8},
}


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("division", DIVISIONS)
@pytest.mark.parametrize("between", RANDOM.values(), ids=RANDOM)
def test_random_layers_draw_what_a_single_process_draws_for_the_halves_and_blocks_of_a_batch(between, division, size):
    x, y, _ = problem()
    options = dict(DIVISIONS[division])
    rows_at_once = options.pop("rows_at_once")

    def build(communicator):
        run = trainer(communicator, *between(), **options)
        run.model.rows_at_once = rows_at_once
        return run

    assert_as_one(build, lambda run: run.fit(x, y, epochs=3, progress=False), size)


@pytest.mark.parametrize("kind", [np.random.SFC64, np.random.MT19937])
def test_random_layers_draw_alike_from_any_generator(kind):
    x, y, _ = problem()

    def build(communicator):
        run = trainer(communicator, Dropout(0.3), GaussianNoise(0.1), batch_size=20)
        run.model.rows_at_once = 3
        run.model.layers[1].generator, run.model.layers[2].generator = (np.random.Generator(kind(i)) for i in (1, 2))
        assert may_share(run.model) is (kind is np.random.MT19937)  # else all is computed in blocks, and not in halves
        return run

    one, _ = together(lambda each: fitted(build(each), x, y))
    np.testing.assert_allclose(one.history["loss"], fitted(build(None), x, y).history["loss"], rtol=1e-9)


def fitted(run, x, y):
    run.fit(x, y, epochs=2, progress=False)
    return run


@pytest.mark.parametrize("moment", ["on_gradients", "on_epoch_end"])
def test_what_a_callback_computes_is_no_part_of_a_batch(moment):
    x, y, _ = problem()

    def work(communicator):
        def look(run):
            assert run.model.forward(x, training=True).shape == (50, 3)

        callbacks = [FunctionCallback(look, moment=moment)]
        trainer(communicator, Dropout(0.3)).fit(x, y, epochs=2, callbacks=callbacks, progress=False)

    assert together(work) == [None, None]


def test_each_process_may_normalize_its_own_rows():
    x, y, _ = problem(34)  # of the last batch, of two rows, one process has none

    def work(communicator):
        run = trainer(Processes(communicator, share_batch=False), BatchNorm())
        run.fit(x, y, epochs=3, progress=False)
        return run, communicator.calls

    (one, calls), (other, _) = together(work)
    np.testing.assert_array_equal(one.model.parameters, other.model.parameters)
    for name, state in one.model.named_states().items():
        np.testing.assert_array_equal(state.value, other.model.named_states()[name].value)
    assert calls.count((6,)) == 2  # the running means and variances, at the end
    assert one.history["loss"][-1] < one.history["loss"][0]


class Ranks(Tanh):
    """What depends on all rows of a batch at once, and not by sums."""

    mixes_batch = True


def test_a_layer_that_needs_the_whole_batch_is_refused_unless_it_may_have_a_part():
    x, y, _ = problem()

    def work(communicator):
        with pytest.raises(ArgumentError, match="Ranks, ranks_1, needs the whole batch, but a process has only a part"):
            trainer(communicator, Ranks()).fit(x, y, progress=False)
        return trainer(Processes(communicator, share_batch=False), Ranks()).fit(x, y, progress=False)

    one, other = together(work)
    assert dict(one) == dict(other)


@pytest.mark.parametrize("size", SIZES)
def test_float32_agrees_to_five_digits(size):
    x, y, _ = problem(200)

    def fit(run):
        run.fit(x.astype(np.float32), y, epochs=3, progress=False)

    build = lambda each: trainer(each, BatchNorm(), Dropout(0.2), model_options={"dtype": "float32"})  # noqa: E731
    assert_as_one(build, fit, size, rtol=1e-5)


def test_each_process_computes_its_rows_alone():
    seen = {}

    class Watch(Tanh):
        def forward(self, x, training=False):
            if training:
                seen.setdefault(len(seen), []).append(len(x))
            return super().forward(x, training)

    x, y, _ = problem(48)

    def work(communicator):
        run = trainer(communicator, Watch())
        run.fit(x, y, progress=False)

    assert together(work, 4) == [None] * 4
    assert [count for counts in seen.values() for count in counts] == [4] * 12


def test_a_step_adds_up_one_vector_of_gradients_and_one_of_sums():
    x, y, _ = problem(48)

    def work(communicator):
        run = trainer(communicator)
        run.fit(x, y, progress=False)
        return communicator.calls

    for calls in together(work):
        gradients = (57,)
        assert calls.count(gradients) == 3
        assert calls.count((5,)) == 3  # weight, loss, accuracy, stop, Ctrl-C
        # Also whether callbacks watch steps, and whether to stop before the epoch, at its first step, and at the end.
        assert len(calls) == 3 + 3 + 4


def of_largest(predictions, targets):
    return np.abs(predictions - targets) * np.max(targets) ** 0  # np.max raises for no rows


def augmented(x, rng):
    return x / np.max(np.abs(x)) ** 0


def test_metrics_and_distortions_never_get_a_part_without_rows():
    x, y, _ = problem(50)  # the last batch has two rows, so two of three processes have none

    def fit(run):
        run.fit(x, y, epochs=2, validation_data=(x[:2], y[:2]), progress=False)

    build = lambda each: trainer(each, metrics=[of_largest, "f1"], augment=augmented, shuffle=False)  # noqa: E731
    assert_as_one(build, fit, size=3)


def test_frozen_layers_and_constraints_work_alike():
    x, y, _ = problem()

    def fit(run):
        def freeze(run):
            run.model.layers[2].trainable = run.epoch != 2

        run.fit(x, y, epochs=4, callbacks=[freeze], progress=False)

    assert_as_one(lambda each: trainer(each, model_options={"constraint": MaxNorm(0.5)}), fit)


def test_evaluation_is_that_of_all_rows():
    x, y, weights = problem()
    expected = trainer(metrics=["f1", "accuracy"]).evaluate(x, y, sample_weight=weights)
    one, other = together(lambda each: trainer(each, metrics=["f1", "accuracy"]).evaluate(x, y, sample_weight=weights))
    assert one == other == pytest.approx(expected, rel=1e-12)


def test_early_stopping_and_metrics_within_an_epoch_agree():
    x, y, _ = problem()
    seen = {}

    class Watch(Callback):
        def on_batch_end(self, run):
            seen.setdefault(id(run), []).append((run.batch_loss, *run.metric_values.values()))

    def fit(run):
        stopping = EarlyStopping("accuracy", patience=2)
        run.fit(x, y, epochs=30, callbacks=[Watch(), stopping], progress=False)

    runs = assert_as_one(lambda each: trainer(each, optimizer=SGD(2.0)), fit, rtol=1e-7)
    assert runs[0].epoch < 30
    whole, *others = seen.values()
    np.testing.assert_allclose(others[0], whole, rtol=1e-7)
    assert others[0] == others[1]


def test_divergence_is_decided_by_the_sum_so_that_all_stop_at_the_same_step():
    x = np.linspace(-1, 1, 24)[:, np.newaxis]
    y = np.zeros(24)
    y[9] = 1e160  # its square overflows, in one process's part of the second batch alone

    def work(communicator):
        net = Sequential([Dense(1), MeanSquaredError()], input_shape=1, seed=0, dtype="float64")
        run = Trainer(net, SGD(1e-3), batch_size=8, shuffle=False, seed=0, communicator=communicator)
        with pytest.raises(DivergenceError, match="the loss is inf at epoch 1, step 2"):
            run.fit(x, y, epochs=3, progress=False)
        assert not communicator.aborted
        return run

    one, other = together(work)
    assert one.step == other.step == 1
    np.testing.assert_array_equal(one.model.parameters, other.model.parameters)


@pytest.fixture(params=[False, True], ids=["NumPy", "compiled"])
def _code(request):
    """Run the test with NumPy's code and with compiled code."""
    before = is_on()
    if request.param:
        pytest.importorskip("numba")
    switch(request.param)
    yield
    switch(before)


STEPS = {"on_batch_end": 6, "on_epoch_end": 8, "on_epoch_begin": 8}


@pytest.mark.parametrize("moment", STEPS)
@pytest.mark.parametrize("rank", [None, 1])
@pytest.mark.usefixtures("_code")
def test_stop_in_any_process_stops_all_after_the_same_step(moment, rank):
    x, y, _ = problem(64)

    def work(communicator):
        def stop(run):
            if run.step >= 6:
                run.stop()

        run = trainer(communicator)
        callbacks = [FunctionCallback(stop, moment=moment)] * (rank in {None, communicator.Get_rank()})
        run.fit(x, y, epochs=9, callbacks=callbacks, progress=False)
        return run

    one, other = together(work)
    assert one.step == other.step == STEPS[moment]
    np.testing.assert_array_equal(one.model.parameters, other.model.parameters)


@pytest.mark.usefixtures("_code")
def test_a_run_that_early_stopping_has_ended_takes_no_step_when_it_is_resumed():
    x, y, _ = problem()

    def work(communicator):
        run = trainer(communicator, optimizer=SGD(2.0))
        run.fit(x, y, epochs=40, callbacks=[EarlyStopping("loss", patience=1)], progress=False)
        ended = run.epoch, run.step
        # The state at the end, as a checkpoint has it.
        run._left_states = [("EarlyStopping('loss', mode='auto')", {"best": 0.0, "best_epoch": 1, "waited": 1})]
        run.fit(x, y, epochs=2, callbacks=[EarlyStopping("loss", patience=1)], progress=False)
        assert (run.epoch, run.step, run.position.row) == (*ended, 0)

    assert together(work) == [None, None]


def test_ctrl_c_in_one_process_interrupts_all_after_the_same_step(tmp_path):
    x, y, _ = problem(64)

    def work(communicator):
        def press(run):
            if run.step == 6 and communicator.Get_rank() == 1:
                run._whole.handle(signal.SIGINT, None)

        run = trainer(communicator)
        callbacks = [FunctionCallback(press, moment="on_batch_end"), Checkpoint(tmp_path)]
        with pytest.raises(KeyboardInterrupt):
            run.fit(x, y, epochs=9, callbacks=callbacks, progress=False)
        assert not communicator.aborted
        assert run.ended_by is KeyboardInterrupt
        return run

    one, other = together(work)
    assert one.step == other.step == 6
    np.testing.assert_array_equal(one.model.parameters, other.model.parameters)
    loaded = Trainer.load(tmp_path)
    assert loaded.step == 6


def test_sigterm_is_like_ctrl_c_in_the_training_of_several_processes_alone():
    def own(*_):
        raise AssertionError

    processes, whole, net = Processes(together(lambda each: each)[0]), Step(), model()
    processes.from_first = processes.add_up = lambda value: value
    try:
        for before in (signal.SIG_DFL, own):
            signal.signal(signal.SIGTERM, before)
            with pytest.raises(KeyboardInterrupt), processes.training(net, whole):
                if before is own:
                    assert signal.getsignal(signal.SIGTERM) is own
                    raise processes.in_all(KeyboardInterrupt())
                signal.raise_signal(signal.SIGTERM)
                assert whole.interrupted
                signal.raise_signal(signal.SIGTERM)  # it may follow a SIGINT, and is no second Ctrl-C
                processes.stop(False, whole, within_epoch=True)
            assert signal.getsignal(signal.SIGTERM) is before
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
    with Processes().training(net, whole):
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_no_process_ends_before_the_first_has_written_its_checkpoint(tmp_path):
    x, y, _ = problem(64)

    class Slow(Callback):
        writes_files = True  # so the first process alone has it

        def on_batch_end(self, run):
            if run.step == 3:
                run._whole.handle(signal.SIGINT, None)

        def on_train_end(self, run):
            time.sleep(0.2)
            run.save(tmp_path / "run.npz")

    def work(communicator):
        with pytest.raises(KeyboardInterrupt):
            trainer(communicator).fit(x, y, callbacks=[Slow()], progress=False)
        assert (tmp_path / "run.npz").exists()

    assert together(work) == [None, None]


def test_an_error_in_one_process_ends_all(capfd):
    x, y, _ = problem(64)

    def work(communicator):
        def fail(run):
            if run.step == 3 and communicator.Get_rank() == 1:
                raise OSError("the disk is full")

        trainer(communicator).fit(x, y, callbacks=[FunctionCallback(fail, moment="on_batch_end")], progress=False)

    first, second = together(work)
    assert isinstance(second, Ended)
    assert first is not None
    error = capfd.readouterr().err
    assert "OSError: the disk is full" in error
    assert "process 1 ends all 2" in error


def diverge_at_second_epoch(run):
    if run.epoch == 2:
        raise DivergenceError("a rule of this process alone")


@pytest.mark.parametrize("when", ["before", "between", "after"])
def test_an_error_of_one_process_alone_ends_all_whenever_it_happens(when, monkeypatch):
    x, y, _ = problem(64)
    ranks = threading.local()

    def fail(*_):
        if ranks.own:
            raise DataWarning("an error, as with warnings.simplefilter")

    if when != "between":
        monkeypatch.setattr(trainer_module, {"before": "warn_of_scales", "after": "warn_of_no_gain"}[when], fail)

    def work(communicator):
        ranks.own = communicator.Get_rank()
        callbacks = [diverge_at_second_epoch] * (ranks.own and when == "between")
        trainer(communicator).fit(x, y, epochs=3, callbacks=callbacks, progress=False)

    first, second = together(work)
    assert isinstance(second, Ended)
    assert first is not None


def test_the_first_process_alone_writes_and_shows(tmp_path, capfd):
    x, y, _ = problem(64)

    def work(communicator):
        run = trainer(communicator)
        run.fit(x, y, epochs=2, callbacks=[Checkpoint(tmp_path / f"of_{communicator.Get_rank()}")])
        run.save(tmp_path / f"run_{communicator.Get_rank()}.npz")

    assert together(work) == [None, None]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["of_0", "run_0.npz"]
    assert capfd.readouterr().err.count("epoch 2/2") == 1


@pytest.mark.parametrize("rows_at_once", [4, 100])
@pytest.mark.parametrize("size", [1, 2, 3])
def test_a_run_goes_on_with_another_number_of_processes(tmp_path, size, rows_at_once):
    x, y, _ = problem()

    def build(communicator=None):
        run = trainer(communicator, BatchNorm(), Dropout(0.2), optimizer=Adam(0.01))
        run.model.rows_at_once = rows_at_once
        return run

    whole = build()
    whole.fit(x, y, epochs=4, progress=False)

    def begin(communicator):
        run = build(communicator)
        stop = FunctionCallback(lambda run: run.stop() if run.step == 6 else None, moment="on_batch_end")
        run.fit(x, y, epochs=2, callbacks=[stop], progress=False)
        run.save(tmp_path / "run.npz")

    def go_on(communicator):
        run = Trainer.load(tmp_path / "run.npz")
        run.communicator, run.model.rows_at_once = communicator, rows_at_once
        run.fit(x, y, epochs=3, progress=False)
        return run

    assert together(begin) == [None, None]
    for run in together(go_on, size):
        assert (run.epoch, run.step) == (whole.epoch, whole.step)
        np.testing.assert_allclose(run.history["loss"], whole.history["loss"], rtol=1e-9)


def test_the_first_processs_random_weights_and_seed_are_those_of_all():
    x, y, _ = problem()

    def work(communicator):
        net = Sequential([Dense(6), Dropout(0.1), Dense(3), SoftmaxCrossEntropy()])
        run = Trainer(net, batch_size=16, communicator=communicator)
        run.fit(x, y, progress=False)
        return run

    one, other = together(work)
    assert one.seed == other.seed
    np.testing.assert_array_equal(one.model.parameters, other.model.parameters)


DIFFERENCES = {
    "the seed": (lambda rank: {"seed": rank}, {}, "process 1 differs from process 0 in seed: 1, and not 0"),
    "the batch size": (lambda rank: {"batch_size": 8 + rank}, {}, "in batch_size: 9, and not 8"),
    "the optimizer": (lambda rank: {"optimizer": SGD(0.1 + rank)}, {}, r"in optimizer: .*1\.1"),
    "the model": (lambda rank: {"model_options": {"use_bias": rank == 0}}, {}, "in the model: .*use_bias=False"),
    "the rows": (lambda _: {}, {"rows": 1}, "in the number of rows: 49, and not 50"),
}


@pytest.mark.parametrize("name", DIFFERENCES)
def test_processes_that_differ_are_told_where_before_anything_changes(name):
    options, data, message = DIFFERENCES[name]

    def work(communicator):
        rank = communicator.Get_rank()
        x, y, _ = problem()
        rows = len(x) - data.get("rows", 0) * rank
        run = trainer(communicator, **options(rank))
        before = run.model.parameters.copy()
        with pytest.raises(ArgumentError, match=message):
            run.fit(x[:rows], y[:rows], progress=False)
        np.testing.assert_array_equal(run.model.parameters, before)

    assert together(work) == [None, None]


def test_what_one_process_cannot_train_on_is_an_error_in_all():
    x, y, _ = problem()

    def work(communicator):
        broken = x.copy()
        broken[30, 1] = np.nan
        error, message = (DataError, "row 30") if communicator.Get_rank() else (ArgumentError, "process 1 .*row 30")
        with pytest.raises(error, match=message):
            trainer(communicator).fit(broken, y, progress=False)

    assert together(work) == [None, None]


def test_processes_with_another_last_epoch_are_refused():
    x, y, _ = problem()

    def work(communicator):
        with pytest.raises(ArgumentError, match="process 1 differs from process 0 in the last epoch: 3, and not 2"):
            trainer(communicator).fit(x, y, epochs=2 + communicator.Get_rank(), progress=False)

    assert together(work) == [None, None]


def test_an_unbuilt_model_with_inputs_of_another_shape_is_refused():
    x, y, _ = problem()

    def work(communicator):
        net = Sequential([Dense(3), SoftmaxCrossEntropy()], seed=0)
        with pytest.raises(ArgumentError, match=r"in the inputs per row: \(4,\), and not \(5,\)"):
            Trainer(net, seed=0, communicator=communicator).fit(x[:, communicator.Get_rank() :], y, progress=False)

    assert together(work) == [None, None]


def frozen(run):
    run.model.layers[2].trainable = False


def divided(run):
    run.model.rows_at_once = 2


@pytest.mark.parametrize(
    ("change", "message"), [(frozen, "the frozen layers: .*dense_2"), (divided, "rows_at_once: 2")]
)
def test_a_model_that_differs_by_what_its_layers_settings_do_not_show_is_refused(change, message):
    x, y, _ = problem()

    def work(communicator):
        run = trainer(communicator)
        if communicator.Get_rank() == 1:
            change(run)
        with pytest.raises(ArgumentError, match=f"process 1 differs from process 0 in {message}"):
            run.fit(x, y, progress=False)

    assert together(work) == [None, None]


def test_processes_with_another_share_batch_are_refused():
    x, y, _ = problem()

    def work(communicator):
        processes = Processes(communicator, share_batch=communicator.Get_rank() == 0)
        with pytest.raises(ArgumentError, match="in share_batch: False, and not True"):
            trainer(processes, BatchNorm()).fit(x, y, progress=False)

    assert together(work) == [None, None]


MORE = {
    "other targets": (lambda x, y, weights: {"y": 2 - y}, "the checksum of the targets: "),
    "other weights": (lambda x, y, weights: {"sample_weight": weights[::-1]}, "the checksum of the weights: "),
    "no weights": (lambda x, y, weights: {"sample_weight": None}, "the checksum of the weights: False"),
    "other validation": (
        lambda x, y, weights: {"validation_data": (x, y, weights[::-1])},
        "the checksum of the weights to validate: ",
    ),
    "no validation": (lambda x, y, weights: {"validation_data": None}, "the number of rows to validate: 0"),
    "other callbacks": (lambda x, y, weights: {"callbacks": []}, "the monitoring callbacks: "),
    "another patience": (
        lambda x, y, weights: {"callbacks": [EarlyStopping("loss", patience=4)]},
        "the monitoring callbacks: .*patience=4",
    ),
}


@pytest.mark.parametrize("name", MORE)
def test_data_and_callbacks_that_differ_are_refused(name):
    x, y, weights = problem()
    change, message = MORE[name]

    def work(communicator):
        given = {"y": y, "sample_weight": weights, "validation_data": (x, y, weights)}
        given["callbacks"] = [EarlyStopping("loss", patience=3)]
        if communicator.Get_rank() == 1:
            given |= change(x, y, weights)
        with pytest.raises(ArgumentError, match=f"process 1 differs from process 0 in {message}"):
            trainer(communicator).fit(x, **given, progress=False)

    assert together(work) == [None, None]


class Interrupted(Callback):
    def check(self, run):
        raise KeyboardInterrupt


def test_ctrl_c_in_one_process_before_training_interrupts_all():
    x, y, _ = problem()

    def work(communicator):
        with pytest.raises(KeyboardInterrupt):
            trainer(communicator).fit(x, y, callbacks=[Interrupted()] * communicator.Get_rank(), progress=False)

    assert together(work) == [None, None]


def test_ctrl_c_in_one_process_after_the_last_step_interrupts_all():
    x, y, _ = problem()

    class Late(Callback):
        def on_train_end(self, run):
            run._whole.handle(signal.SIGINT, None)

    def work(communicator):
        with pytest.raises(KeyboardInterrupt):
            trainer(communicator).fit(x, y, callbacks=[Late()] * communicator.Get_rank(), progress=False)

    assert together(work) == [None, None]


def worst(predictions, targets):
    if len(targets) > 1 and targets[0] == 9:
        raise OSError("no table of costs")
    return np.abs(predictions - targets)


EVALUATIONS = {
    "inputs of another shape": (lambda x, y: (x[:, 1:], y), "expects input"),
    "an error in a metric": (lambda x, y: (x, np.full_like(y, 9)), "no table of costs"),
    "other rows": (lambda x, y: (x[1:], y[1:]), "in the rows to score: 49, and not 50"),
}


@pytest.mark.parametrize("name", EVALUATIONS)
def test_what_one_process_cannot_evaluate_is_an_error_in_all(name):
    x, y, _ = problem()
    change, message = EVALUATIONS[name]

    def work(communicator):
        net = Sequential([Dense(1), MeanSquaredError()], input_shape=5, seed=0)
        run = Trainer(net, metrics=[worst], communicator=communicator)
        data = change(x, y) if communicator.Get_rank() else (x, y)
        with pytest.raises(Exception, match=message) as caught:
            run.evaluate(*data)
        assert not communicator.aborted
        return caught.value

    first, second = together(work)
    assert isinstance(first, ArgumentError)
    assert name == "other rows" or not isinstance(second, ArgumentError)  # it raises its own error


@pytest.mark.parametrize("kind", [np.asarray, scipy.sparse.csr_array])
def test_each_process_reads_its_own_rows_alone_before_training(kind):
    x, y, _ = problem()

    def work(communicator):
        own = Processes(communicator).rows(slice(0, len(x)))
        others = np.full_like(x, np.nan)
        others[own] = x[own]
        prepared = prepare_rows(model(), kind(others), y, among=Processes(communicator))
        np.testing.assert_array_equal(prepared[own].x, x[own])
        others[own.stop - 1, 2] = np.inf
        with pytest.raises(DataError, match=f"x holds inf at row {own.stop - 1}, entry 2"):
            prepare_rows(model(), kind(others), y, among=Processes(communicator))
        return own

    assert together(work) == [slice(0, 25), slice(25, 50)]


@pytest.mark.parametrize("rows", [0, 1, 2, 7, 64])
@pytest.mark.parametrize("size", [1, 2, 3, 5])
def test_parts_are_all_rows_in_order(rows, size):
    parts = together(lambda each: Processes(each).rows(slice(10, 10 + rows)), size)
    assert [row for part in parts for row in range(part.start, part.stop)] == list(range(10, 10 + rows))
    counts = [part.stop - part.start for part in parts]
    assert max(counts) - min(counts) <= 1 or 0 in counts
    assert rows == 1 or 1 not in counts


def test_what_is_no_communicator_is_refused():
    with pytest.raises(ArgumentTypeError, match="communicator is 4, without Get_rank: give one of mpi4py"):
        Trainer(model(), communicator=4)


def test_the_communicator_is_no_part_of_the_file_of_a_run(tmp_path):
    x, y, _ = problem()

    def work(communicator):
        run = trainer(communicator)
        run.fit(x, y, progress=False)
        run.save(tmp_path / "run.npz")

    together(work, 1)
    assert Trainer.load(tmp_path / "run.npz").communicator is None
