"""The progress bar: what it shows, how often, and that it ends whatever ends the run."""

import re

import numpy as np
import pytest

from minidl import SGD, Callback, Dense, FunctionCallback, Sequential, SoftmaxCrossEntropy, Trainer
from minidl.metrics import TopKAccuracy


def run(epochs=3, metrics=None, **options):
    rng = np.random.default_rng(0)
    x, y = rng.random((40, 5)), rng.integers(0, 2, 40)
    model = Sequential([Dense(2), SoftmaxCrossEntropy()], seed=0)
    trainer = Trainer(model, SGD(0.1), batch_size=10, seed=0, metrics=metrics)
    trainer.fit(x, y, epochs=epochs, **{"validation_data": (x, y)} | options)
    return trainer, x, y


def last_line(capfd):
    return capfd.readouterr().err.split("\r")[-1]


def test_the_bar_ends_with_the_last_epochs_metrics_and_a_rate(capfd):
    trainer, *_ = run()
    last = last_line(capfd)
    loss, accuracy, val_loss, val_accuracy = (column[-1] for column in trainer.history.values())
    assert f"epoch 3/3 loss {loss:.3f}/{val_loss:.3f} accuracy {accuracy:.3f}/{val_accuracy:.3f} |" in last
    assert re.search(r"\| +[\d.]+[kM]? rows/s 00:00", last)


def test_the_bar_shows_every_metric_that_was_asked_for_in_order(capfd):
    def misses(predictions, targets):
        return predictions != targets

    trainer, *_ = run(metrics=[TopKAccuracy(1), misses, "f1"])
    shown = re.search(r"epoch 3/3 (.*) \|", last_line(capfd))[1].split(" |")[0].split()
    names = ["loss", "top_1_accuracy", "misses", "f1"]
    assert shown[::2] == names
    last = {name: column[-1] for name, column in trainer.history.items()}
    assert shown[1::2] == [f"{last[name]:.3f}/{last[f'val_{name}']:.3f}" for name in names]


def test_without_validation_data_each_metric_is_one_number(capfd):
    trainer, *_ = run(validation_data=None, metrics=[])
    assert f"epoch 3/3 loss {trainer.history['loss'][-1]:.3f} |" in last_line(capfd)


def test_silence_prints_nothing(capfd):
    run(progress=False)
    assert capfd.readouterr() == ("", "")


def test_a_log_file_gets_few_lines_and_a_terminal_many(capfd, monkeypatch):
    clock = iter(range(100_000))
    monkeypatch.setattr("time.monotonic", lambda: next(clock))
    run(epochs=5)
    few = capfd.readouterr().err.count("epoch ")
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    run(epochs=5)
    many = capfd.readouterr().err.count("epoch ")
    assert 2 <= few < many
    assert many >= 20


def test_within_an_epoch_the_bar_shows_the_means_so_far_beside_the_last_validation(capfd, monkeypatch):
    clock, seen = iter(range(0, 1_000_000, 100)), []
    monkeypatch.setattr("time.monotonic", lambda: next(clock))  # so that it draws at each moment

    def note(trainer):
        seen.append(
            (trainer.epoch + 1, trainer.metric_values["loss"], dict(trainer.history).get("val_loss", [None])[-1])
        )

    run(epochs=2, callbacks=[FunctionCallback(note, moment="on_batch_end")])
    drawn = capfd.readouterr().err
    assert len(seen) == 8
    for epoch, loss, validation in seen:
        beside = "" if validation is None else f"/{validation:.3f}"
        assert f"epoch {epoch}/2 loss {loss:.3f}{beside} accuracy" in drawn


def test_a_continued_fit_counts_epochs_on_and_rows_from_its_own_start(capfd):
    trainer, x, y = run()
    capfd.readouterr()
    trainer.fit(x, y, epochs=2)
    err = capfd.readouterr().err
    assert "epoch 5/5" in err


def test_the_bar_is_full_at_the_end_also_where_a_fit_finished_an_interrupted_epoch_first(capfd, monkeypatch):
    bars = []

    class Bar:
        """Counts as tqdm does."""

        def __init__(self, total, initial, **_):
            self.total, self.n = total, initial
            bars.append(self)

        def update(self, rows):
            self.n += rows

        def set_description_str(self, *_, **__):
            pass

        def close(self):
            pass

    monkeypatch.setattr("tqdm.auto.tqdm", Bar)
    stop = FunctionCallback(lambda trainer: trainer.stop() if trainer.step == 6 else None, moment="on_batch_end")
    trainer, x, y = run(callbacks=[stop])
    trainer.fit(x, y, epochs=2)
    assert [(bar.total, bar.n) for bar in bars] == [(120, 60), (80, 80)]


def test_the_bar_is_closed_when_the_run_is_interrupted(capfd):
    class Interrupt(Callback):
        def on_batch_end(self, trainer):
            if trainer.step == 6:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(callbacks=[Interrupt()])
    err = capfd.readouterr().err
    assert err.endswith("\n")
    assert re.search(r"epoch 2/3 loss 0\.\d+/0\.\d+ accuracy .*rows/s", err)


def test_what_other_callbacks_print_at_their_end_comes_after_the_bar(capfd):
    run(callbacks=[FunctionCallback(lambda trainer: print("done", flush=True), moment="on_train_end")])
    out, err = capfd.readouterr()
    assert out == "done\n"
    assert err.endswith("\n")
