"""The progress bar; the other moments are tested with the trainer that calls them."""

import re

import numpy as np
import pytest

from minidl import SGD, Callback, Dense, EarlyStopping, ProgressBar, Sequential, SoftmaxCrossEntropy, Trainer


def run(epochs=3, **options):
    rng = np.random.default_rng(0)
    x, y = rng.random((40, 5)), rng.integers(0, 2, 40)
    trainer = Trainer(Sequential([Dense(2), SoftmaxCrossEntropy()], seed=0), SGD(0.1), batch_size=10, seed=0)
    trainer.fit(x, y, epochs=epochs, validation_data=(x, y), **options)
    return trainer, x, y


def test_the_bar_ends_with_the_last_epochs_figures_and_a_rate(capfd):
    trainer, *_ = run()
    last = capfd.readouterr().err.split("\r")[-1]
    loss, accuracy, val_loss, val_accuracy = (column[-1] for column in trainer.history.values())
    assert f"epoch 3/3 loss {loss:.3f}/{val_loss:.3f} accuracy {accuracy:.3f}/{val_accuracy:.3f} |" in last
    assert re.search(r"\| +[\d.]+[kM]? rows/s 00:00", last)


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


def test_a_continued_fit_counts_epochs_on_and_rows_from_its_own_start(capfd):
    trainer, x, y = run()
    capfd.readouterr()
    trainer.fit(x, y, epochs=2)
    err = capfd.readouterr().err
    assert "epoch 5/5" in err


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


def test_a_callback_has_no_state_unless_it_says_so():
    assert Callback().state() == {}
    Callback().restore({"more": 1})


def test_a_moment_may_be_set_on_the_callback_itself():
    callback, steps = Callback(), []
    callback.on_batch_end = lambda trainer: steps.append(trainer.step)
    run(callbacks=[callback], progress=False)
    assert steps == list(range(1, len(steps) + 1))
    assert steps


def test_a_callback_shows_what_it_is_and_what_it_watches():
    assert repr(ProgressBar()) == "ProgressBar()"
    assert repr(EarlyStopping("val_loss")) == "EarlyStopping('val_loss', mode='min')"
