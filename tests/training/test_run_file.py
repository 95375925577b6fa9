"""The file of a run: a resumed run gives the bits of one that was never stopped, and damaged files are refused."""

import json

import numpy as np
import pytest

from minidl import (
    L2,
    SGD,
    Adam,
    AdamW,
    BatchNorm,
    Callback,
    Checkpoint,
    Concatenate,
    CSVLogger,
    Dense,
    Dropout,
    EarlyStopping,
    ExponentialDecay,
    ExponentialMovingAverage,
    FunctionCallback,
    GaussianNoise,
    Lion,
    Lookahead,
    MaxNorm,
    Momentum,
    NAdam,
    OneCycle,
    ReduceLROnPlateau,
    ReLU,
    Residual,
    RMSprop,
    Sequential,
    SoftmaxCrossEntropy,
    Trainer,
)
from minidl.errors import ArgumentError, ArgumentTypeError, FileFormatError, MissingFileError, NotReadyError
from minidl.files import read_arrays, write_arrays
from minidl.metrics import TopKAccuracy

EPOCHS = 12
SLOT = "optimizer/m"


def data(rows=150):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(rows, 6)).astype(np.float32)
    return x, (x[:, 0] + 0.5 * rng.normal(size=rows) > 0).astype(int)


def new_trainer(optimizer=None, **settings):
    model = Sequential(
        [Dense(12, regularizer=L2(1e-3), constraint=MaxNorm(2)), ReLU(), Dense(2), SoftmaxCrossEntropy()], seed=1
    )
    return Trainer(model, optimizer or Adam(0.02), **{"batch_size": 16, "seed": 2} | settings)


def callbacks(folder):
    return [
        Checkpoint(folder, every_steps=1, keep=3, monitor="val_accuracy"),
        EarlyStopping(patience=5),
        CSVLogger(folder / "log.csv"),
    ]


def finish(trainer, folder):
    (x, y), (x_validation, y_validation) = data(), data(60)
    trainer.fit(
        x,
        y,
        epochs=EPOCHS - trainer.epoch,
        validation_data=(x_validation, y_validation),
        class_weight="balanced",
        callbacks=[*callbacks(folder), *stops],
        progress=False,
    )
    return trainer


stops = []
"""Callbacks that end a run early, after all others."""


class StopAt(Callback):
    """Ends the run with an error after a step, or at the end of an epoch."""

    runs_last = True

    def __init__(self, moment, count):
        setattr(self, moment, self.look)
        self.count = count

    def look(self, trainer):
        self.count -= 1
        if not self.count:
            raise InterruptedError


def everything(trainer):
    """All that a run leaves, as bytes and texts."""
    return {
        "parameters": trainer.model.parameters.tobytes(),
        "states": {name: state.value.tobytes() for name, state in trainer.model.named_states().items()},
        "slots": {name: vector.tobytes() for name, vector in trainer.optimizer.state.items()},
        "history": repr(dict(trainer.history)),
        "position": repr(trainer.position),
        "optimizer": (repr(trainer.optimizer), trainer.optimizer.step),
        "average": None if trainer.average is None else trainer.average.vector.tobytes(),
        "frozen": [layer.own_trainable for layer in trainer.model.walk()],
        "predictions": trainer.model.predict_proba(data()[0]).tobytes(),
    }


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("undisturbed")
    return everything(finish(new_trainer(), folder)), (folder / "log.csv").read_text()


@pytest.mark.parametrize(
    ("moment", "count"), [("on_batch_end", 2), ("on_batch_end", 15), ("on_batch_end", 37), ("on_epoch_end", 1)]
)
def test_a_resumed_run_gives_the_same_bits_as_an_undisturbed_one(tmp_path, undisturbed, moment, count):
    stops[:] = [StopAt(moment, count)]
    with pytest.raises(InterruptedError):
        finish(new_trainer(), tmp_path)
    stops.clear()
    trainer = Trainer.load(tmp_path)
    assert 0 < trainer.step < 120
    finish(trainer, tmp_path)
    assert everything(trainer) == undisturbed[0]
    assert (tmp_path / "log.csv").read_text() == undisturbed[1]
    # Killed after the last checkpoint, before the end of `fit`: nothing is left to do but what callbacks do at the end.
    again = finish(Trainer.load(tmp_path), tmp_path)
    assert everything(again) == undisturbed[0]


def test_after_ctrl_c_the_same_trainer_goes_on_with_what_its_callbacks_knew(tmp_path, undisturbed):
    stops[:] = [StopAt("on_batch_end", 51)]
    trainer = new_trainer()
    with pytest.raises(InterruptedError):
        finish(trainer, tmp_path)
    stops.clear()
    trainer.save(tmp_path / "by_hand.npz")
    assert everything(finish(Trainer.load(tmp_path / "by_hand.npz"), tmp_path)) == undisturbed[0]
    assert everything(finish(trainer, tmp_path / "again")) == undisturbed[0]


def test_saving_does_not_change_the_run(tmp_path):
    (x, y), one, other = data(), new_trainer(), new_trainer()
    for _ in range(3):
        one.fit(x, y, progress=False)
        other.fit(x, y, progress=False)
        other.save(tmp_path / "run.npz")
    assert everything(one) == everything(other)


@pytest.mark.parametrize("optimizer", [SGD(0.1), Momentum(0.1, nesterov=True), Adam(0.01)], ids=repr)
def test_a_loaded_trainer_is_the_saved_one(tmp_path, optimizer):
    (x, y), trainer = data(), new_trainer(optimizer)
    trainer.fit(x, y, epochs=2, progress=False)
    trainer.save(tmp_path / "run.npz")
    again = Trainer.load(tmp_path / "run.npz")
    assert everything(again) == everything(trainer)
    assert repr(again) == repr(trainer)
    for each in (trainer, again):
        each.fit(x, y, validation_data=(x, y), progress=False)
    assert everything(again) == everything(trainer)
    assert np.isnan(again.history["val_loss"][:2]).all()


def test_a_lowered_rate_and_the_count_of_epochs_are_kept(tmp_path):
    (x, y), rates = data(), []

    def plateau():
        return [ReduceLROnPlateau("loss", factor=0.5, patience=2, cooldown=1, min_delta=100), rates_of]

    def rates_of(trainer):
        rates.append(trainer.optimizer.learning_rate)

    new_trainer().fit(x, y, epochs=9, callbacks=plateau(), progress=False)
    expected, rates[:] = list(rates), []
    trainer = new_trainer()
    with pytest.raises(InterruptedError):
        trainer.fit(x, y, epochs=9, callbacks=[*plateau(), StopAt("on_epoch_end", 5)], progress=False)
    trainer.save(tmp_path / "run.npz")
    Trainer.load(tmp_path / "run.npz").fit(x, y, epochs=4, callbacks=plateau(), progress=False)
    assert rates == expected
    assert len(set(rates)) > 2


def test_a_run_without_a_seed_is_resumed_to_the_same_bits_too(tmp_path):
    x, y = data()
    trainer = Trainer(Sequential([Dense(2), SoftmaxCrossEntropy()]), "adam", batch_size=16)
    trainer.fit(x, y, progress=False)
    trainer.save(tmp_path / "run.npz")
    again = Trainer.load(tmp_path / "run.npz")
    for each in (trainer, again):
        each.fit(x, y, progress=False)
    assert everything(again) == everything(trainer)


def test_a_resumed_run_that_lacks_a_callback_says_so(tmp_path):
    (x, y), trainer = data(), new_trainer()
    with pytest.raises(InterruptedError):
        trainer.fit(x, y, callbacks=[EarlyStopping("loss"), StopAt("on_batch_end", 3)], progress=False)
    trainer.save(tmp_path / "run.npz")
    with pytest.warns(UserWarning, match="the run continues without its EarlyStopping.*: fit was given none"):
        Trainer.load(tmp_path / "run.npz").fit(x, y, progress=False)


def test_several_callbacks_of_a_class_get_their_own_states_back_in_their_order(tmp_path):
    (x, y), trainer = data(), new_trainer()
    watchers = [EarlyStopping("loss", mode="max", patience=50), EarlyStopping("loss", patience=60)]
    with pytest.raises(InterruptedError):
        trainer.fit(x, y, epochs=9, callbacks=[*watchers, StopAt("on_epoch_end", 4)], progress=False)
    trainer.save(tmp_path / "run.npz")
    fresh = [EarlyStopping("loss", mode="max", patience=50), EarlyStopping("loss", patience=60)]
    resumed = Trainer.load(tmp_path / "run.npz")
    resumed.fit(x, y, epochs=0, callbacks=fresh, progress=False)
    assert [each.best for each in fresh] == [each.best for each in watchers]
    assert fresh[0].best != fresh[1].best


@pytest.mark.parametrize("batch_size", [16, None], ids=["mini-batches", "full batch"])
@pytest.mark.parametrize("step", [1, 5, 10])
def test_random_layers_running_means_schedules_and_averages_are_resumed_to_the_same_bits(tmp_path, step, batch_size):
    def make():
        layers = [
            Dense(12),
            BatchNorm(),
            ReLU(),
            Dropout(0.3),
            Residual([GaussianNoise(0.1), Dense(12), Dropout(0.2)]),
            Concatenate([Dense(4), [Dense(3), BatchNorm()]]),
            Dense(2),
            SoftmaxCrossEntropy(label_smoothing=0.1),
        ]
        return Trainer(
            Sequential(layers, seed=3),
            NAdam(OneCycle(0.01, steps=30)),
            clip_norm=1.0,
            average=ExponentialMovingAverage(0.9),
            batch_size=batch_size,
            seed=4,
        )

    def fit(trainer, *more):
        (x, y), callbacks = data(), [EarlyStopping("val_loss", patience=50), *more]
        trainer.fit(x, y, epochs=12 - trainer.epoch, validation_data=data(50), callbacks=callbacks, progress=False)
        return everything(trainer)

    expected = fit(make())
    with pytest.raises(InterruptedError):
        fit(make(), Checkpoint(tmp_path, every_steps=1), StopAt("on_batch_end", step + 1))
    assert fit(Trainer.load(tmp_path)) == expected


def test_a_state_goes_to_the_callback_that_watches_the_same_metric(tmp_path):
    (x, y), trainer = data(), new_trainer()
    one, other = EarlyStopping("loss", patience=50), EarlyStopping("accuracy", patience=50)
    with pytest.raises(InterruptedError):
        trainer.fit(x, y, epochs=9, callbacks=[one, other, StopAt("on_epoch_end", 4)], progress=False)
    trainer.save(tmp_path / "run.npz")
    fresh = [EarlyStopping("accuracy", patience=50), EarlyStopping("loss", patience=50)]
    Trainer.load(tmp_path / "run.npz").fit(x, y, epochs=0, callbacks=fresh, progress=False)
    assert [each.best for each in fresh] == [other.best, one.best]


def test_stopped_in_the_midst_of_an_epoch_a_run_goes_on_with_what_its_callbacks_knew(tmp_path, undisturbed):
    stops[:] = [FunctionCallback(lambda trainer: trainer.stop() if trainer.step == 51 else None, moment="on_batch_end")]
    trainer = finish(new_trainer(), tmp_path / "first")
    stops.clear()
    assert trainer.interrupted
    assert trainer.step == 51
    trainer.save(tmp_path / "stopped.npz")
    for resumed in (Trainer.load(tmp_path / "stopped.npz"), trainer):
        assert everything(finish(resumed, tmp_path / f"{id(resumed)}")) == undisturbed[0]


@pytest.mark.parametrize(
    "make",
    [
        lambda: {"optimizer": Adam(0.01, beta1=np.float64(0.9), beta2=np.float64(0.99))},
        lambda: {"optimizer": Momentum(np.float64(0.05), momentum=np.float64(0.9), nesterov=True)},
        lambda: {"optimizer": Adam(0.01), "clip_norm": np.float64(0.1), "clip_value": np.float32(0.05)},
        lambda: {"optimizer": AdamW(0.01, weight_decay=np.float64(0.013))},
        lambda: {"optimizer": Lion(0.001, beta1=np.float64(0.9))},
        lambda: {"optimizer": Adam(OneCycle(np.float32(0.013), steps=60, rise=np.float32(0.3)))},
        lambda: {"optimizer": Adam(ExponentialDecay(np.float64(0.013), steps=np.int64(60), factor=np.float32(0.1)))},
        lambda: {
            "optimizer": RMSprop(0.01, decay=np.float64(0.93)),
            "average": ExponentialMovingAverage(np.float64(0.97)),
        },
        lambda: {"optimizer": SGD(0.1), "average": Lookahead(steps=np.int64(3), slow_rate=np.float32(0.3))},
        lambda: {"optimizer": SGD(0.1), "metrics": [TopKAccuracy(np.int64(1))], "seed": np.uint8(7)},
    ],
)
def test_settings_that_are_numpys_numbers_are_resumed_to_the_same_bits(tmp_path, make):
    (x, y), whole, part = data(), new_trainer(**make()), new_trainer(**make())
    part.batch_size = whole.batch_size = np.int64(16)
    whole.fit(x, y, epochs=4, progress=False)
    part.fit(x, y, epochs=2, progress=False)
    part.save(tmp_path / "run.npz")
    resumed = Trainer.load(tmp_path / "run.npz")
    resumed.fit(x, y, epochs=2, progress=False)
    np.testing.assert_array_equal(resumed.model.parameters, whole.model.parameters)
    assert resumed.model.parameters.dtype == np.float32


def test_a_callbacks_state_may_hold_numpys_numbers_and_arrays(tmp_path):
    class Keeper(Callback):
        kept = None

        def state(self):
            return {"count": np.int64(3), "share": np.float32(0.5), "names": ["a"], "values": np.arange(3)}

        def restore(self, state):
            self.kept = state

    (x, y), trainer, keeper = data(), new_trainer(), Keeper()
    trainer.fit(x, y, callbacks=[Checkpoint(tmp_path), Keeper()], progress=False)
    Trainer.load(tmp_path).fit(x, y, epochs=0, callbacks=[keeper], progress=False)
    values = keeper.kept.pop("values")
    assert keeper.kept == {"count": 3, "share": 0.5, "names": ["a"]}
    assert values.tolist() == [0, 1, 2]


class TestRefusals:
    def saved(self, folder):
        (x, y), trainer = data(), new_trainer()
        with pytest.raises(InterruptedError):
            trainer.fit(x, y, callbacks=[EarlyStopping("loss"), StopAt("on_batch_end", 3)], progress=False)
        trainer.save(folder / "run.npz")
        return folder / "run.npz"

    def test_a_model_without_a_shape_cannot_be_saved(self, tmp_path):
        with pytest.raises(NotReadyError):
            new_trainer().save(tmp_path / "run.npz")
        assert not list(tmp_path.iterdir())

    def test_a_rate_that_is_a_plain_function_is_named(self, tmp_path):
        (x, y), trainer = data(), new_trainer(Adam(lambda step: 0.01))
        trainer.fit(x, y, progress=False)
        with pytest.raises(ArgumentTypeError, match=r"Adam.learning_rate = <function .* cannot be saved"):
            trainer.save(tmp_path / "run.npz")
        assert not list(tmp_path.iterdir())

    @pytest.mark.parametrize(
        ("make", "message"),
        [
            (lambda: new_trainer(Adam(lambda step: 0.01)), "Adam.learning_rate"),
            (new_trainer, "the state of the callback Odd cannot be saved: .*date"),
        ],
    )
    def test_what_cannot_be_saved_is_an_error_before_the_first_step(self, tmp_path, make, message):
        class Odd(Callback):
            def state(self):
                return {"values": np.array(["2026-01-01"], dtype="datetime64[D]")}

        (x, y), trainer = data(), make()
        with pytest.raises(TypeError, match=message):
            trainer.fit(x, y, callbacks=[Odd(), Checkpoint(tmp_path / "run")], progress=False)
        if "Odd" not in message:  # a callback's state is asked for once there is one
            assert trainer.step == 0
            assert not (tmp_path / "run").exists()

    def test_a_setting_that_cannot_work_is_refused_where_it_is_set_while_it_trains(self, tmp_path):
        def decay(trainer):
            trainer.optimizer.weight_decay = -0.1

        (x, y), trainer = data(), new_trainer(SGD())
        with pytest.raises(ArgumentError, match=r"SGD: weight_decay is -0\.1"):
            trainer.fit(x, y, callbacks=[decay, Checkpoint(tmp_path / "run")], progress=False)
        assert trainer.optimizer.weight_decay == 0
        assert not list((tmp_path / "run").glob("step_*"))

    def test_a_callbacks_state_that_no_file_can_hold_is_an_error(self, tmp_path):
        class Odd(Callback):
            def state(self):
                return {"what": object()}

            def on_epoch_end(self, trainer):
                trainer.save(tmp_path / "run.npz")

        (x, y), trainer = data(), new_trainer()
        with pytest.raises(TypeError, match="the state of the callback Odd cannot be saved: .*object"):
            trainer.fit(x, y, callbacks=[Odd()], progress=False)

    def test_there_is_no_such_file_or_no_checkpoint(self, tmp_path):
        with pytest.raises(MissingFileError, match="there is no file"):
            Trainer.load(tmp_path / "run.npz")
        with pytest.raises(MissingFileError, match=r"there is no checkpoint, step_.*npz or best.npz, in the folder"):
            Trainer.load(tmp_path)

    def test_models_and_runs_are_told_apart(self, tmp_path):
        path = self.saved(tmp_path)
        with pytest.raises(FileFormatError, match="it is not a model that minidl saved, but 'minidl training run'"):
            Sequential.load(path)
        Trainer.load(path).model.save(tmp_path / "model.npz")
        with pytest.raises(FileFormatError, match="it is not a training run that minidl saved, but 'minidl model'"):
            Trainer.load(tmp_path / "model.npz")

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            (lambda d, a: d.update(version=99), "version is 99"),
            (lambda d, a: d.update(version=1), "version is 1"),
            (lambda d, a: d.pop("trainer"), "it has no 'trainer'"),
            (lambda d, a: d["trainer"]["optimizer"].update({"class": "Nadir"}), "class 'Nadir' is not known"),
            (lambda d, a: d["trainer"].update(optimizer=d["model"]), "give an Optimizer or a name, such as"),
            (lambda d, a: d["trainer"].update(average=d["model"]), "Trainer: average is Sequential"),
            (lambda d, a: d["trainer"].update(batch_size=0), "Trainer: batch_size is 0"),
            (lambda d, a: d["trainer"].update(learning=1), "Trainer has no setting 'learning'"),
            (lambda d, a: d["trainer"].update(metrics=["acuracy"]), "did you mean 'accuracy'"),
            (lambda d, a: d.update(step=-1), "its step is -1"),
            (lambda d, a: d.update(step="7"), "its step is '7'"),
            (lambda d, a: d.update(step=True), "its step is True"),
            (lambda d, a: a.pop(SLOT), r"its optimizer has the slots \{'v'.*, not those of Adam"),
            (
                lambda d, a: a.update({SLOT: np.zeros(3, np.float32)}),
                r"the slots .*'m': \(\(3,\), 'float32'\)",
            ),
            (
                lambda d, a: a.update({SLOT: a[SLOT].astype(float)}),
                r"the slots .*'m': \(\(110,\), 'float64'\)",
            ),
            (lambda d, a: a.update({"optimizer/third": np.zeros(3, np.float32)}), "the slots .*'third'"),
            (lambda d, a: a.update(average=np.zeros(110, np.float32)), r"its average is float32 \(110,\), of None"),
            (lambda d, a: d["position"].update(epoch=1.5), "epoch is 1.5"),
            (lambda d, a: d["position"].update(row=-2), "row is -2"),
            (lambda d, a: d["position"].update(batch_rows=0), "batch_rows is 0; it must be a whole number, 1 or more"),
            (lambda d, a: d["position"].update(place=1), "cannot be loaded: .*'place'"),
            (lambda d, a: d["position"].update(totals="a"), "cannot be loaded"),
            (lambda d, a: d["position"].update(totals={}), "cannot be loaded"),
            (lambda d, a: d.pop("position"), "it has no 'position'"),
            (lambda d, a: d["history"].update(epochs=1, columns=3), "cannot be loaded"),
            (lambda d, a: d["history"].update(epochs=2), "cannot be loaded"),
            (lambda d, a: d.update(frozen=["dense_7"]), "cannot be loaded: it has no 'dense_7'"),
            (lambda d, a: d.update(frozen=3), "cannot be loaded: .*not iterable"),
            (lambda d, a: d.update(callbacks=[[]]), "cannot be loaded"),
            (lambda d, a: d.update(input_shape=[7]), "cannot be loaded: .*'weight' is float32"),
            (lambda d, a: a.pop("parameters/dense_1/weight"), "there is no array 'weight' in the file"),
        ],
    )
    def test_a_changed_file_is_refused(self, tmp_path, change, message):
        path = self.saved(tmp_path)
        arrays = read_arrays(path)
        description = json.loads(arrays.pop("header").item())
        change(description, arrays)
        if description["history"].get("epochs") == 2:
            description["history"]["columns"] = {"loss": [1.0]}
        write_arrays(path, {"header": np.array(json.dumps(description)), **arrays})
        with pytest.raises(FileFormatError, match=message):
            Trainer.load(path)

    def test_a_truncated_file_is_refused(self, tmp_path):
        path = self.saved(tmp_path)
        content = path.read_bytes()
        for size in (0, 10, len(content) // 2, len(content) - 1):
            path.write_bytes(content[:size])
            with pytest.raises(FileFormatError):
                Trainer.load(path)
