"""The callback that saves a run as it goes: which files there are, when, and which runs they go on with."""

import contextlib

import numpy as np
import pytest
from scripted_runs import Script, problem, scripted, trainer

from minidl import (
    SGD,
    Adam,
    Callback,
    Checkpoint,
    EarlyStopping,
    ExponentialMovingAverage,
    FunctionCallback,
    Trainer,
)
from minidl.errors import ArgumentError, DivergenceError


def files(folder):
    return sorted(path.name for path in folder.iterdir())


def fit(folder, epochs=3, **options):
    (x, y), t = problem(), trainer()
    t.fit(x, y, epochs=epochs, validation_data=(x, y), callbacks=[Checkpoint(folder, **options)], progress=False)
    return t


def test_the_newest_epochs_stay(tmp_path):
    fit(tmp_path / "new" / "run", epochs=5, keep=2)
    assert files(tmp_path / "new" / "run") == ["step_0000000016.npz", "step_0000000020.npz"]


def test_all_can_be_kept(tmp_path):
    fit(tmp_path, keep=None)
    assert files(tmp_path) == [f"step_{step:010d}.npz" for step in (4, 8, 12)]


def test_every_so_many_epochs(tmp_path):
    fit(tmp_path, epochs=5, every_epochs=2, keep=None)
    assert files(tmp_path) == [f"step_{step:010d}.npz" for step in (8, 16)]


def test_every_so_many_steps_in_the_middle_of_epochs_too(tmp_path):
    fit(tmp_path, epochs=2, every_epochs=None, every_steps=3, keep=None)
    assert files(tmp_path) == [f"step_{step:010d}.npz" for step in (3, 6)]


def test_a_step_that_ends_an_epoch_is_saved_with_the_epochs_metrics(tmp_path):
    fit(tmp_path, epochs=1, every_epochs=None, every_steps=2, keep=None)
    assert files(tmp_path) == [f"step_{step:010d}.npz" for step in (2, 4)]
    assert Trainer.load(tmp_path).history.epochs == 1


def test_the_best_by_a_metric_is_kept_beside_the_newest(tmp_path):
    t, script = scripted([3, 1, 2], Checkpoint(tmp_path, monitor="val_loss"))
    best = Trainer.load(tmp_path / "best.npz")
    assert best.epoch == 2
    np.testing.assert_array_equal(best.model.parameters, script.parameters[1])
    newest = Trainer.load(tmp_path)
    assert newest.epoch == 3
    np.testing.assert_array_equal(newest.model.parameters, t.model.parameters)


def test_the_best_alone(tmp_path):
    scripted([3, 1, 2], Checkpoint(tmp_path, monitor="val_loss", every_epochs=None))
    assert files(tmp_path) == ["best.npz"]


def test_a_resumed_run_still_knows_the_best(tmp_path):
    scripted([3, 1], Checkpoint(tmp_path, monitor="val_loss"))
    again = Trainer.load(tmp_path)
    scripted([3, 1, 2], Checkpoint(tmp_path, monitor="val_loss"), epochs=1, t=again)
    assert Trainer.load(tmp_path / "best.npz").epoch == 2


def test_a_folder_with_another_runs_checkpoints_is_refused_before_anything_changes(tmp_path):
    fit(tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(ArgumentError, match="holds step_0000000012.npz, of a later step than this run's, 0: continue"):
        fit(tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_second_fit_does_not_replace_the_best_by_a_worse_one(tmp_path):
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


def test_killed_between_its_two_files_the_best_is_found_once_more(tmp_path, monkeypatch):
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


def test_two_of_them_do_not_disturb_each_other(tmp_path):
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


def test_a_folder_with_the_best_alone_is_loaded_by_it(tmp_path):
    scripted([3, 1, 2], Checkpoint(tmp_path, monitor="val_loss", every_epochs=None))
    assert Trainer.load(tmp_path).epoch == 2
    with pytest.raises(ArgumentError, match=r"holds best\.npz, of a later step than this run's, 0"):
        scripted([3], Checkpoint(tmp_path, monitor="val_loss", every_epochs=None))


def test_a_file_in_the_place_of_its_folder_is_refused(tmp_path):
    (tmp_path / "run").write_text("")
    with pytest.raises(ArgumentError, match="Checkpoint: .*run is a file; give a folder"):
        fit(tmp_path / "run")


@pytest.mark.parametrize("name", ["best.npz", "runs/model.keras", "BEST.H5", "weights.pt"])
def test_the_name_of_a_file_is_refused_with_a_folders(name, tmp_path):
    with pytest.raises(
        ArgumentError, match=r"Checkpoint: folder is .*, the name of a file; give a folder, such as '\w+'"
    ):
        Checkpoint(tmp_path / name)
    (tmp_path / name).mkdir(parents=True)
    assert Checkpoint(tmp_path / name).folder.is_dir()  # whoever has such a folder may use it
    assert Checkpoint(tmp_path / "run_0.1").folder.name == "run_0.1"


def test_what_killed_saves_left_is_removed(tmp_path):
    half = tmp_path / ".step_0000000004.npz.0a1b2c3d.tmp"
    half.write_bytes(b"PK")
    fit(tmp_path)
    assert not half.exists()


def test_a_run_that_goes_back_to_an_earlier_step_needs_another_folder(tmp_path):
    fit(tmp_path / "run", keep=None)
    x, y = problem()
    earlier = Trainer.load(tmp_path / "run" / "step_0000000008.npz")
    with pytest.raises(ArgumentError, match="of a later step than this run's, 8"):
        earlier.fit(x, y, callbacks=[Checkpoint(tmp_path / "run")], progress=False)
    earlier.fit(x, y, callbacks=[Checkpoint(tmp_path / "other")], progress=False)
    assert files(tmp_path / "other") == ["step_0000000012.npz"]


def test_parameters_that_are_no_longer_finite_do_not_replace_the_last_good_checkpoint(tmp_path):
    class Spoil(Callback):
        def on_batch_end(self, t):
            if t.step == 3:
                t.model.parameters[0] = np.nan

    (x, y), t = problem(), trainer()
    with pytest.raises(DivergenceError):
        t.fit(x, y, callbacks=[Spoil(), Checkpoint(tmp_path, every_steps=1)], progress=False)
    assert files(tmp_path) == ["step_0000000002.npz"]
    assert np.isfinite(Trainer.load(tmp_path).model.parameters).all()


@pytest.mark.parametrize("how", ["ctrl-c", "stop"])
def test_what_ctrl_c_or_stop_would_lose_is_saved_and_goes_on_to_the_same_bits(tmp_path, how):
    def end(t):
        if t.step == 6:
            t.stop()
            if how == "ctrl-c":
                raise KeyboardInterrupt

    (x, y), t, whole = problem(), trainer(Adam(0.01)), trainer(Adam(0.01))
    with contextlib.suppress(KeyboardInterrupt):
        callbacks = [FunctionCallback(end, moment="on_batch_end"), EarlyStopping("loss"), Checkpoint(tmp_path)]
        t.fit(x, y, epochs=3, callbacks=callbacks, progress=False)
    assert files(tmp_path) == ["step_0000000006.npz"]
    resumed = Trainer.load(tmp_path)
    resumed.fit(x, y, epochs=2, callbacks=[EarlyStopping("loss"), Checkpoint(tmp_path)], progress=False)
    whole.fit(x, y, epochs=3, callbacks=[EarlyStopping("loss")], progress=False)
    np.testing.assert_array_equal(resumed.model.parameters, whole.model.parameters)


def test_after_an_error_the_last_checkpoint_stays(tmp_path):
    def fail(t):
        if t.step == 6:
            raise RuntimeError("broken")

    (x, y), t = problem(), trainer()
    with pytest.raises(RuntimeError, match="broken"):
        t.fit(x, y, epochs=3, callbacks=[FunctionCallback(fail, moment="on_batch_end"), Checkpoint(tmp_path)])
    assert files(tmp_path) == ["step_0000000004.npz"]


def test_one_that_keeps_the_best_alone_saves_nothing_else_when_it_is_stopped(tmp_path):
    (x, y), t = problem(), trainer()
    best = Checkpoint(tmp_path, monitor="loss", every_epochs=None)
    t.fit(x, y, callbacks=[FunctionCallback(Trainer.stop, moment="on_batch_end"), best], progress=False)
    assert files(tmp_path) == []


def test_the_model_in_a_file_has_the_averaged_weights_that_were_validated(tmp_path):
    (x, y), t = problem(), trainer(SGD(0.5), average=ExponentialMovingAverage(0.8))
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
