"""Callbacks that watch a figure: when they act, what they restore, and what they refuse."""

import contextlib

import numpy as np
import pytest

from minidl import (
    LBFGS,
    SGD,
    Adam,
    Callback,
    Checkpoint,
    Dense,
    EarlyStopping,
    ExponentialMovingAverage,
    FunctionCallback,
    Monitor,
    ReduceLROnPlateau,
    ReLU,
    Sequential,
    SoftmaxCrossEntropy,
    Trainer,
)
from minidl.errors import ArgumentError, ArgumentTypeError, DivergenceError


def problem(rows=40):
    rng = np.random.default_rng(0)
    return rng.normal(size=(rows, 5)).astype(np.float32), rng.integers(0, 3, rows)


def trainer(optimizer=None):
    model = Sequential([Dense(12), ReLU(), Dense(3), SoftmaxCrossEntropy()], input_shape=5, seed=0)
    return Trainer(model, optimizer or SGD(0.1), batch_size=10, seed=0)


class Script(Callback):
    """Puts figures of its own into the history, before those who watch look at it."""

    def __init__(self, name, figures):
        self.name, self.figures = name, list(figures)
        self.parameters = []

    def on_epoch_end(self, t):
        t.history[self.name][-1] = self.figures[t.epoch - 1]
        self.parameters.append(t.model.parameters.copy())


def scripted(figures, callback, name="val_loss", epochs=None, t=None):
    """Run with these figures as the epochs' own; return trainer and script."""
    (x, y), t, script = problem(), t or trainer(), Script(name, figures)
    t.fit(x, y, epochs=epochs or len(figures), validation_data=(x, y), callbacks=[script, callback], progress=False)
    return t, script


class TestEarlyStopping:
    def test_it_ends_after_so_many_epochs_without_a_better_one(self):
        t, _ = scripted([5, 4, 3, 3.5, 3.1, 3.0, 2, 1], EarlyStopping(patience=3))
        assert t.epoch == 6

    def test_equal_is_not_better(self):
        t, _ = scripted([2, 2, 2, 2, 2], EarlyStopping(patience=2))
        assert t.epoch == 3

    def test_a_better_epoch_starts_the_count_anew(self):
        t, _ = scripted([5, 6, 4, 5, 3, 4, 2, 3], EarlyStopping(patience=2))
        assert t.epoch == 8

    def test_the_best_epochs_model_comes_back_also_when_all_epochs_were_run(self):
        for epochs in (6, 4):
            stopping = EarlyStopping(patience=4)
            t, script = scripted([5, 2, 3, 4, 5, 6], stopping, epochs=epochs)
            assert t.epoch == epochs
            np.testing.assert_array_equal(t.model.parameters, script.parameters[1])
            assert (stopping.best, stopping.best_epoch) == (2, 2)

    def test_without_restoring_the_last_model_stays(self):
        t, script = scripted([5, 2, 3, 4], EarlyStopping(patience=2, restore_best=False))
        np.testing.assert_array_equal(t.model.parameters, script.parameters[-1])

    def test_after_ctrl_c_the_last_steps_model_stays(self):
        (x, y), t, last = problem(), trainer(), []

        class Interrupt(Callback):
            def on_batch_end(self, t):
                last[:] = t.model.parameters
                if t.epoch == 3:
                    raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            t.fit(x, y, epochs=9, validation_data=(x, y), callbacks=[EarlyStopping(), Interrupt()], progress=False)
        assert t.interrupted
        np.testing.assert_array_equal(t.model.parameters, last)

    def test_a_large_accuracy_is_good_without_being_told(self):
        t, script = scripted([0.1, 0.5, 0.4, 0.3], EarlyStopping("val_accuracy", patience=2), "val_accuracy")
        assert t.epoch == 4
        np.testing.assert_array_equal(t.model.parameters, script.parameters[1])

    def test_the_mode_can_be_told(self):
        t, _ = scripted([1, 2, 3, 2, 1], EarlyStopping("loss", mode="max", patience=2), "loss")
        assert t.epoch == 5
        t, _ = scripted([3, 2, 3, 3], EarlyStopping("accuracy", mode="min", patience=2), "accuracy")
        assert t.epoch == 4

    def test_a_gain_of_less_than_min_delta_does_not_count(self):
        stopping = EarlyStopping(patience=2)
        stopping.min_delta = 0.1
        t, _ = scripted([5, 4.95, 4.92, 4], stopping)
        assert t.epoch == 3

    def test_a_figure_that_is_not_a_number_is_never_better(self):
        t, script = scripted([5, np.nan, 4, np.nan, np.nan], EarlyStopping(patience=2))
        np.testing.assert_array_equal(t.model.parameters, script.parameters[2])

    def test_a_second_fit_begins_to_count_anew(self):
        (x, y), t, stopping = problem(), trainer(), EarlyStopping("loss", patience=1, min_delta=100)
        for expected in (2, 4):
            t.fit(x, y, epochs=9, callbacks=[stopping], progress=False)
            assert t.epoch == expected


class TestUnknownFigures:
    @pytest.mark.parametrize("make", [EarlyStopping, ReduceLROnPlateau, lambda m: Checkpoint("unused", monitor=m)])
    def test_a_name_that_does_not_exist_raises_and_lists_those_that_do(self, make, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        (x, y), t = problem(), trainer()
        with pytest.raises(
            ArgumentError, match="no figure 'val_acuracy'; did you mean 'val_accuracy'.*loss, accuracy, "
        ):
            t.fit(x, y, validation_data=(x, y), callbacks=[make("val_acuracy")], progress=False)
        assert t.step == 0

    def test_a_figure_of_the_validation_needs_validation_data(self):
        (x, y), t = problem(), trainer()
        with pytest.raises(ArgumentError, match="no figure 'val_loss'.*give fit validation_data"):
            t.fit(x, y, callbacks=[EarlyStopping()], progress=False)

    def test_a_figure_whose_name_does_not_tell_needs_a_mode(self):
        class Share(SoftmaxCrossEntropy):
            metric_name = "share"

        (x, y) = problem()
        model = Sequential([Dense(3), Share()], input_shape=5, seed=0)
        with pytest.raises(ArgumentError, match='say by mode="min" or mode="max" which \'val_share\' is good'):
            Trainer(model).fit(x, y, validation_data=(x, y), callbacks=[EarlyStopping("val_share")], progress=False)
        told = EarlyStopping("val_share", mode="max")
        Trainer(model).fit(x, y, validation_data=(x, y), callbacks=[told], progress=False)
        assert told.best_epoch == 1


class TestReduceLROnPlateau:
    def rates(self, figures, optimizer=None, **options):
        seen = []

        class Look(Callback):
            def on_epoch_begin(self, t):
                seen.append(t.optimizer.rate())

        (x, y), t = problem(), trainer(optimizer or SGD(0.8))
        callbacks = [Look(), Script("val_loss", figures), ReduceLROnPlateau(**options)]
        t.fit(x, y, epochs=len(figures), validation_data=(x, y), callbacks=callbacks, progress=False)
        return seen

    def test_the_rate_falls_after_so_many_epochs_without_a_better_one(self):
        assert self.rates([5, 4, 4, 4, 4, 4, 4], factor=0.5, patience=2) == [0.8, 0.8, 0.8, 0.8, 0.4, 0.4, 0.2]

    def test_it_does_not_fall_while_the_figure_does(self):
        assert self.rates([6, 5, 4, 3, 2], factor=0.5, patience=1) == [0.8] * 5

    def test_after_a_fall_it_rests(self):
        rates = self.rates([4, 4, 4, 4, 4, 4, 4], factor=0.5, patience=1, cooldown=2)
        assert rates == [0.8, 0.8, 0.4, 0.4, 0.4, 0.2, 0.2]

    def test_there_is_a_least_rate(self):
        assert self.rates([4, 4, 4, 4], factor=0.1, patience=1, min_rate=0.3) == [0.8, 0.8, 0.3, 0.3]
        assert self.rates([4, 4, 4], optimizer=SGD(0.1), factor=0.1, patience=1, min_rate=0.3) == [0.1, 0.1, 0.1]

    def test_an_optimizer_without_a_rate_is_refused(self):
        (x, y), t = problem(), trainer(LBFGS())
        t.batch_size = None
        with pytest.raises(ArgumentError, match="LBFGS has no learning rate to lower"):
            t.fit(x, y, callbacks=[ReduceLROnPlateau("loss")], progress=False)

    def test_a_schedule_beside_it_is_refused(self):
        with pytest.raises(ArgumentError, match="a learning rate that is a number, but the optimizer's is"):
            self.rates([1], optimizer=Adam(lambda step: 0.1))


class TestSettings:
    @pytest.mark.parametrize(
        ("make", "error", "message"),
        [
            (lambda: EarlyStopping(patience=0), ArgumentError, "EarlyStopping: patience is 0; it must be 1 or more"),
            (lambda: EarlyStopping(patience=1.5), ArgumentTypeError, "patience is 1.5; it must be a whole number"),
            (lambda: EarlyStopping(10), ArgumentTypeError, "EarlyStopping: monitor is 10; give the name of a figure"),
            (lambda: EarlyStopping(min_delta=-1), ArgumentError, "EarlyStopping: min_delta is -1"),
            (lambda: EarlyStopping(mode="up"), ArgumentError, 'mode is \'up\'; it must be "auto", "min" or "max"'),
            (
                lambda: ReduceLROnPlateau(factor=1),
                ArgumentError,
                r"factor is 1; .* in \(0, 1\)",
            ),
            (lambda: ReduceLROnPlateau(factor=0), ArgumentError, r"factor is 0; .* in \(0, 1\)"),
            (lambda: ReduceLROnPlateau(patience=0), ArgumentError, "patience is 0"),
            (lambda: ReduceLROnPlateau(cooldown=-1), ArgumentError, "cooldown is -1"),
            (lambda: ReduceLROnPlateau(min_rate=-1), ArgumentError, "min_rate is -1"),
            (lambda: Checkpoint("a", every_epochs=0), ArgumentError, "every_epochs is 0"),
            (lambda: Checkpoint("a", every_steps=0), ArgumentError, "every_steps is 0"),
            (lambda: Checkpoint("a", keep=0), ArgumentError, "keep is 0"),
            (lambda: Checkpoint("a", every_epochs=None), ArgumentError, "would save nothing"),
            (lambda: Checkpoint("a", monitor="loss", mode="high"), ArgumentError, "Checkpoint: mode is 'high'"),
        ],
    )
    def test_those_that_cannot_work_are_refused(self, make, error, message):
        with pytest.raises(error, match=message):
            make()

    def test_a_monitor_of_ones_own_knows_the_best_epoch(self):
        class Praise(Monitor):
            def on_epoch_end(self, t):
                if self.improves(t.history["val_loss"][-1], t.epoch):
                    praised.append(self.best_epoch)

        praised = []
        scripted([3, 2, 4, 1], Praise("val_loss"))
        assert praised == [1, 2, 4]


class TestCheckpoint:
    def files(self, folder):
        return sorted(path.name for path in folder.iterdir())

    def fit(self, folder, epochs=3, **options):
        (x, y), t = problem(), trainer()
        t.fit(x, y, epochs=epochs, validation_data=(x, y), callbacks=[Checkpoint(folder, **options)], progress=False)
        return t

    def test_the_newest_epochs_stay(self, tmp_path):
        self.fit(tmp_path / "new" / "run", epochs=5, keep=2)
        assert self.files(tmp_path / "new" / "run") == ["step_0000000016.npz", "step_0000000020.npz"]

    def test_all_can_be_kept(self, tmp_path):
        self.fit(tmp_path, keep=None)
        assert self.files(tmp_path) == [f"step_{step:010d}.npz" for step in (4, 8, 12)]

    def test_every_so_many_epochs(self, tmp_path):
        self.fit(tmp_path, epochs=5, every_epochs=2, keep=None)
        assert self.files(tmp_path) == [f"step_{step:010d}.npz" for step in (8, 16)]

    def test_every_so_many_steps_in_the_middle_of_epochs_too(self, tmp_path):
        self.fit(tmp_path, epochs=2, every_epochs=None, every_steps=3, keep=None)
        assert self.files(tmp_path) == [f"step_{step:010d}.npz" for step in (3, 6)]

    def test_a_step_that_ends_an_epoch_is_saved_with_the_epochs_figures(self, tmp_path):
        self.fit(tmp_path, epochs=1, every_epochs=None, every_steps=2, keep=None)
        assert self.files(tmp_path) == [f"step_{step:010d}.npz" for step in (2, 4)]
        assert Trainer.load(tmp_path).history.epochs == 1

    def test_the_best_by_a_figure_is_kept_beside_the_newest(self, tmp_path):
        t, script = scripted([3, 1, 2], Checkpoint(tmp_path, monitor="val_loss"))
        best = Trainer.load(tmp_path / "best.npz")
        assert best.epoch == 2
        np.testing.assert_array_equal(best.model.parameters, script.parameters[1])
        newest = Trainer.load(tmp_path)
        assert newest.epoch == 3
        np.testing.assert_array_equal(newest.model.parameters, t.model.parameters)

    def test_the_best_alone(self, tmp_path):
        scripted([3, 1, 2], Checkpoint(tmp_path, monitor="val_loss", every_epochs=None))
        assert self.files(tmp_path) == ["best.npz"]

    def test_a_resumed_run_still_knows_the_best(self, tmp_path):
        scripted([3, 1], Checkpoint(tmp_path, monitor="val_loss"))
        again = Trainer.load(tmp_path)
        scripted([3, 1, 2], Checkpoint(tmp_path, monitor="val_loss"), epochs=1, t=again)
        assert Trainer.load(tmp_path / "best.npz").epoch == 2

    def test_a_folder_with_another_runs_checkpoints_is_refused_before_anything_changes(self, tmp_path):
        self.fit(tmp_path)
        before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
        with pytest.raises(ArgumentError, match="holds step_0000000012.npz, of a later step than this run's, 0: go on"):
            self.fit(tmp_path)
        assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before

    def test_a_second_fit_does_not_replace_the_best_by_a_worse_one(self, tmp_path):
        (x, y), t, callback = problem(), trainer(), Checkpoint(tmp_path, monitor="val_loss")
        script = Script("val_loss", [3, 1, 2, 2.5, 0.5])
        for epochs, best, given in (
            (2, 2, callback),
            (1, 2, callback),
            (1, 2, Checkpoint(tmp_path, monitor="val_loss")),
        ):
            t.fit(x, y, epochs=epochs, validation_data=(x, y), callbacks=[script, given], progress=False)
            assert Trainer.load(tmp_path / "best.npz").epoch == best
        t.fit(x, y, validation_data=(x, y), callbacks=[script, callback], progress=False)
        assert Trainer.load(tmp_path / "best.npz").epoch == 5

    def test_killed_between_its_two_files_the_best_is_found_once_more(self, tmp_path, monkeypatch):
        class Killed(BaseException):
            pass

        save, (x, y) = Trainer.save, problem()

        def killed(self, path):
            if self.epoch == 2 and "step" in str(path):
                raise Killed
            save(self, path)

        monkeypatch.setattr(Trainer, "save", killed)
        t, options = trainer(), {"validation_data": (x, y), "progress": False}
        with pytest.raises(Killed):
            t.fit(
                x,
                y,
                epochs=3,
                callbacks=[Script("val_loss", [3, 1, 2]), Checkpoint(tmp_path, monitor="val_loss")],
                **options,
            )
        monkeypatch.undo()
        assert [Trainer.load(tmp_path).epoch, Trainer.load(tmp_path / "best.npz").epoch] == [1, 2]
        t = Trainer.load(tmp_path)
        t.fit(
            x,
            y,
            epochs=2,
            callbacks=[Script("val_loss", [3, 1, 2]), Checkpoint(tmp_path, monitor="val_loss")],
            **options,
        )
        assert Trainer.load(tmp_path / "best.npz").epoch == 2

    def test_two_of_them_do_not_disturb_each_other(self, tmp_path):
        def both():
            return [Checkpoint(tmp_path / "a"), Checkpoint(tmp_path / "b", monitor="val_loss")]

        (x, y), t, script = problem(), trainer(), Script("val_loss", [3, 1, 2])
        options = {"validation_data": (x, y), "progress": False}
        t.fit(x, y, epochs=2, callbacks=[script, *both()], **options)
        for folder in ("a", "b"):
            resumed = Trainer.load(tmp_path / folder)
            resumed.fit(x, y, callbacks=[script, *both()], **options)
            assert Trainer.load(tmp_path / "b" / "best.npz").epoch == 2
            for name in ("a", "b"):
                (tmp_path / name / "step_0000000012.npz").unlink()
                t.save(tmp_path / name / "step_0000000008.npz")

    def test_a_folder_with_the_best_alone_is_loaded_by_it(self, tmp_path):
        scripted([3, 1, 2], Checkpoint(tmp_path, monitor="val_loss", every_epochs=None))
        assert Trainer.load(tmp_path).epoch == 2
        with pytest.raises(ArgumentError, match=r"holds best\.npz, of a later step than this run's, 0"):
            scripted([3], Checkpoint(tmp_path, monitor="val_loss", every_epochs=None))

    def test_a_file_in_the_place_of_its_folder_is_refused(self, tmp_path):
        (tmp_path / "run").write_text("")
        with pytest.raises(ArgumentError, match="Checkpoint: .*run is a file; give a folder"):
            self.fit(tmp_path / "run")

    def test_what_killed_saves_left_is_removed(self, tmp_path):
        half = tmp_path / ".step_0000000004.npz.0a1b2c3d.tmp"
        half.write_bytes(b"PK")
        self.fit(tmp_path)
        assert not half.exists()

    def test_a_run_that_goes_back_to_an_earlier_step_needs_another_folder(self, tmp_path):
        self.fit(tmp_path / "run", keep=None)
        x, y = problem()
        earlier = Trainer.load(tmp_path / "run" / "step_0000000008.npz")
        with pytest.raises(ArgumentError, match="of a later step than this run's, 8"):
            earlier.fit(x, y, callbacks=[Checkpoint(tmp_path / "run")], progress=False)
        earlier.fit(x, y, callbacks=[Checkpoint(tmp_path / "other")], progress=False)
        assert self.files(tmp_path / "other") == ["step_0000000012.npz"]

    def test_parameters_that_are_no_longer_finite_do_not_replace_the_last_good_checkpoint(self, tmp_path):
        class Spoil(Callback):
            def on_batch_end(self, t):
                if t.step == 3:
                    t.model.parameters[0] = np.nan

        (x, y), t = problem(), trainer()
        with pytest.raises(DivergenceError):
            t.fit(x, y, callbacks=[Spoil(), Checkpoint(tmp_path, every_steps=1)], progress=False)
        assert self.files(tmp_path) == ["step_0000000002.npz"]
        assert np.isfinite(Trainer.load(tmp_path).model.parameters).all()

    @pytest.mark.parametrize("how", ["ctrl-c", "stop"])
    def test_what_ctrl_c_or_stop_would_lose_is_saved_and_goes_on_to_the_same_bits(self, tmp_path, how):
        def end(t):
            if t.step == 6:
                t.stop()
                if how == "ctrl-c":
                    raise KeyboardInterrupt

        (x, y), t, whole = problem(), trainer(Adam(0.01)), trainer(Adam(0.01))
        with contextlib.suppress(KeyboardInterrupt):
            callbacks = [FunctionCallback(end, "on_batch_end"), EarlyStopping("loss"), Checkpoint(tmp_path)]
            t.fit(x, y, epochs=3, callbacks=callbacks, progress=False)
        assert self.files(tmp_path) == ["step_0000000006.npz"]
        resumed = Trainer.load(tmp_path)
        resumed.fit(x, y, epochs=2, callbacks=[EarlyStopping("loss"), Checkpoint(tmp_path)], progress=False)
        whole.fit(x, y, epochs=3, callbacks=[EarlyStopping("loss")], progress=False)
        np.testing.assert_array_equal(resumed.model.parameters, whole.model.parameters)

    def test_after_an_error_the_last_checkpoint_stays(self, tmp_path):
        def fail(t):
            if t.step == 6:
                raise RuntimeError("broken")

        (x, y), t = problem(), trainer()
        with pytest.raises(RuntimeError, match="broken"):
            t.fit(x, y, epochs=3, callbacks=[FunctionCallback(fail, "on_batch_end"), Checkpoint(tmp_path)])
        assert self.files(tmp_path) == ["step_0000000004.npz"]

    def test_one_that_keeps_the_best_alone_saves_nothing_else_when_it_is_stopped(self, tmp_path):
        (x, y), t = problem(), trainer()
        best = Checkpoint(tmp_path, monitor="loss", every_epochs=None)
        t.fit(x, y, callbacks=[FunctionCallback(Trainer.stop, "on_batch_end"), best], progress=False)
        assert self.files(tmp_path) == []

    def test_the_model_in_a_file_has_the_averaged_weights_that_were_validated(self, tmp_path):
        (x, y), t = problem(), trainer(ExponentialMovingAverage(SGD(0.5), decay=0.8))
        t.fit(
            x,
            y,
            epochs=3,
            validation_data=(x, y),
            callbacks=[Checkpoint(tmp_path, monitor="val_loss", mode="max")],
            progress=False,
        )
        newest, best = Trainer.load(tmp_path), Trainer.load(tmp_path / "best.npz")
        np.testing.assert_array_equal(newest.model.parameters, t.model.parameters)
        assert best.epoch == 1 + int(np.argmax(t.history["val_loss"]))
        assert best.evaluate(x, y)["loss"] == max(t.history["val_loss"])
