"""Callbacks that watch a metric: when they act, what they restore, and what they refuse."""

import numpy as np
import pytest
from scripted_runs import Script, problem, scripted, trainer

from minidl import (
    LBFGS,
    SGD,
    Adam,
    Callback,
    Checkpoint,
    EarlyStopping,
    FunctionCallback,
    Monitor,
    ReduceLROnPlateau,
    Trainer,
)
from minidl.errors import ArgumentError, ArgumentTypeError, DivergenceError, NotReadyError
from minidl.metrics import Metric


def interrupt_after(epoch):
    """A callback that is Ctrl-C at the end of an epoch."""

    def interrupt(t):
        if t.epoch == epoch:
            raise KeyboardInterrupt

    return interrupt


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

    @pytest.mark.parametrize("saved", [False, True])
    def test_after_ctrl_c_the_best_epochs_model_can_be_put_back(self, saved, tmp_path):
        (x, y), t, script = problem(), trainer(), Script("loss", [5, 2, 3, 4, 6])
        callbacks = [script, EarlyStopping("loss", patience=9), interrupt_after(4)]
        how = r"^trainer.restore_best\(\) restores the model of the best epoch$"
        with pytest.raises(KeyboardInterrupt, match=how):
            t.fit(x, y, epochs=5, callbacks=callbacks, progress=False)
        if saved:
            t.save(tmp_path / "run.npz")
            t = Trainer.load(tmp_path / "run.npz")
        assert t.restore_best() == t.restore_best() == 2
        np.testing.assert_array_equal(t.model.parameters, script.parameters[1])

    def test_after_divergence_the_best_epochs_model_can_be_put_back(self):
        (x, y), t, kept = problem(), trainer(), []

        def blow_up(t):
            kept.append(t.model.parameters.copy())
            if t.epoch == 2:
                t.model.parameters[:] = np.nan

        with pytest.raises(DivergenceError, match=r"run diverges.*\. trainer.restore_best\(\) restores") as found:
            t.fit(x, y, epochs=9, callbacks=[EarlyStopping("loss"), blow_up], progress=False)
        assert len(str(found.value)) <= 300
        np.testing.assert_array_equal(t.model.parameters, np.nan)
        best = 1 + int(np.argmin(t.history["loss"]))
        assert t.restore_best() == best
        np.testing.assert_array_equal(t.model.parameters, kept[best - 1])
        assert np.isfinite(t.evaluate(x, y)["loss"])

    def test_where_no_best_model_is_kept_there_is_none_to_put_back(self):
        for callbacks in ([], [EarlyStopping("loss", restore_best=False)], [ReduceLROnPlateau("loss")]):
            (x, y), t = problem(), trainer()
            with pytest.raises(NotReadyError, match="no best model is kept: EarlyStopping"):
                t.restore_best()
            with pytest.raises(KeyboardInterrupt, match="^$"):
                t.fit(x, y, epochs=3, callbacks=[*callbacks, interrupt_after(2)], progress=False)
            with pytest.raises(NotReadyError, match="no best model is kept: EarlyStopping"):
                t.restore_best()

    def test_the_best_of_a_checkpoint_is_named_too(self, tmp_path):
        (x, y), t = problem(), trainer()
        with pytest.raises(
            KeyboardInterrupt, match=r"^The model of the best epoch is Trainer.load\('.*best.npz'\).model$"
        ):
            t.fit(x, y, epochs=3, callbacks=[Checkpoint(tmp_path, monitor="loss"), interrupt_after(2)], progress=False)
        both = [EarlyStopping("loss"), Checkpoint(tmp_path / "another", monitor="loss"), interrupt_after(2)]
        with pytest.raises(KeyboardInterrupt, match=r"^trainer.restore_best\(\) restores the model of the best epoch$"):
            trainer().fit(x, y, epochs=3, callbacks=both, progress=False)

    def test_other_errors_stay_as_they_are(self):
        (x, y), t = problem(), trainer()

        def fail(t):
            raise RuntimeError("a callback's own")

        with pytest.raises(RuntimeError, match="^a callback's own$"):
            t.fit(x, y, epochs=3, callbacks=[EarlyStopping("loss"), fail], progress=False)
        assert t.restore_best() == 1

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

    def test_a_metric_that_is_not_a_number_is_never_better(self):
        t, script = scripted([5, np.nan, 4, np.nan, np.nan], EarlyStopping(patience=2))
        np.testing.assert_array_equal(t.model.parameters, script.parameters[2])

    def test_a_second_fit_begins_to_count_anew(self):
        (x, y), t, stopping = problem(), trainer(), EarlyStopping("loss", patience=1, min_delta=100)
        for expected in (2, 4):
            t.fit(x, y, epochs=9, callbacks=[stopping], progress=False)
            assert t.epoch == expected


class TestUnknownMetrics:
    @pytest.mark.parametrize("make", [EarlyStopping, ReduceLROnPlateau, lambda m: Checkpoint("unused", monitor=m)])
    def test_a_name_that_does_not_exist_raises_and_lists_those_that_do(self, make, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        (x, y), t = problem(), trainer()
        with pytest.raises(
            ArgumentError, match="no metric 'val_acuracy'; did you mean 'val_accuracy'.*loss, accuracy, "
        ):
            t.fit(x, y, validation_data=(x, y), callbacks=[make("val_acuracy")], progress=False)
        assert t.step == 0

    def test_a_metric_of_the_validation_needs_validation_data(self):
        (x, y), t = problem(), trainer()
        with pytest.raises(ArgumentError, match="no metric 'val_loss'.*give fit validation_data"):
            t.fit(x, y, callbacks=[EarlyStopping()], progress=False)

    def test_a_metric_whose_name_does_not_tell_needs_a_mode(self):
        class Share(Metric):
            def per_row(self, rows):
                return rows.predictions == 0

        (x, y), t = problem(), trainer(metrics=[Share()])
        with pytest.raises(ArgumentError, match='say by mode="min" or mode="max" whether .* \'val_share\' is good'):
            t.fit(x, y, validation_data=(x, y), callbacks=[EarlyStopping("val_share")], progress=False)
        told = EarlyStopping("val_share", mode="max")
        t.fit(x, y, validation_data=(x, y), callbacks=[told], progress=False)
        assert told.best_epoch == 1


class TestMetricsOfTheUsersChoice:
    def test_any_metric_of_the_run_can_be_watched_and_the_best_epoch_is_that_of_its_values(self, tmp_path):
        def margin(scores, targets):
            return scores[np.arange(len(scores)), targets] - scores.mean(axis=1)

        (x, y), t, parameters = problem(), trainer(metrics=["f1", margin]), []
        keep = FunctionCallback(lambda t: parameters.append(t.model.parameters.copy()))
        stopping = EarlyStopping("val_f1", patience=50)
        best = Checkpoint(tmp_path, monitor="val_margin", mode="max", every_epochs=None)
        history = t.fit(x, y, epochs=8, validation_data=(x, y), callbacks=[keep, stopping, best], progress=False)
        assert list(history) == ["loss", "f1", "margin", "val_loss", "val_f1", "val_margin"]
        assert stopping.best == max(history["val_f1"])
        np.testing.assert_array_equal(t.model.parameters, parameters[int(np.argmax(history["val_f1"]))])
        saved = Trainer.load(tmp_path)
        assert saved.epoch == 1 + int(np.argmax(history["val_margin"]))
        saved.metrics = ["f1"]
        assert saved.evaluate(x, y)["f1"] == history["val_f1"][saved.epoch - 1]

    def test_a_plateau_of_a_metric_lowers_the_rate(self):
        (x, y), t = problem(), trainer(metrics=["recall"])
        t.fit(x, y, epochs=4, callbacks=[ReduceLROnPlateau("recall", patience=1, min_delta=1.0)], progress=False)
        # The first epoch is better than none; none of the others can be by more than 1.
        assert t.optimizer.learning_rate == pytest.approx(0.1 * 0.1**3)


class TestReduceLROnPlateau:
    def rates(self, metrics, optimizer=None, **options):
        seen = []

        class Look(Callback):
            def on_epoch_begin(self, t):
                seen.append(t.optimizer.rate())

        (x, y), t = problem(), trainer(optimizer or SGD(0.8))
        callbacks = [Look(), Script("val_loss", metrics), ReduceLROnPlateau(**options)]
        t.fit(x, y, epochs=len(metrics), validation_data=(x, y), callbacks=callbacks, progress=False)
        return seen

    def test_the_rate_falls_after_so_many_epochs_without_a_better_one(self):
        assert self.rates([5, 4, 4, 4, 4, 4, 4], factor=0.5, patience=2) == [0.8, 0.8, 0.8, 0.8, 0.4, 0.4, 0.2]

    def test_it_does_not_fall_while_the_metric_does(self):
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
            (
                lambda: EarlyStopping(patience=0),
                ArgumentError,
                "EarlyStopping: patience is 0; it must be a whole number, 1 or more",
            ),
            (lambda: EarlyStopping(patience=1.5), ArgumentTypeError, "patience is 1.5; it must be a whole number"),
            (lambda: EarlyStopping(10), ArgumentTypeError, "EarlyStopping: monitor is 10; it must be text"),
            (lambda: EarlyStopping(min_delta=-1), ArgumentError, "EarlyStopping: min_delta is -1"),
            (lambda: EarlyStopping(mode="up"), ArgumentError, "mode is 'up'; it must be one of 'auto', 'min', 'max'"),
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
