"""The progress bar: what it shows, how often, and that it ends whatever ends the run."""

import io
import os
import re
import sys
import types
import warnings
from unittest import mock

import numpy as np
import pytest
from streams import NO_STREAMS, OnlyWrites

from minidl import (
    SGD,
    Callback,
    Dense,
    FunctionCallback,
    Sequential,
    SoftmaxCrossEntropy,
    Trainer,
    cross_validate,
    search,
)
from minidl.metrics import TopKAccuracy
from minidl.training.progress import counted_on_bar


def set_terminal(monkeypatch, terminal=True):
    monkeypatch.setattr("sys.stderr.isatty", lambda: terminal, raising=False)


def run(epochs=3, metrics=None, **options):
    rng = np.random.default_rng(0)
    x, y = rng.random((40, 5)), rng.integers(0, 2, 40)
    model = Sequential([Dense(2), SoftmaxCrossEntropy()], seed=0)
    trainer = Trainer(model, SGD(0.1), batch_size=10, seed=0, metrics=metrics)
    trainer.fit(x, y, epochs=epochs, **{"validation_data": (x, y)} | options)
    return trainer, x, y


def last_line(capfd):
    return capfd.readouterr().err.splitlines()[-1]


def test_the_bar_ends_with_the_last_epochs_metrics_and_a_rate(capfd, monkeypatch):
    set_terminal(monkeypatch)
    trainer, *_ = run()
    last = last_line(capfd)
    loss, accuracy, val_loss, val_accuracy = (column[-1] for column in trainer.history.values())
    assert f"epoch 3/3 loss {loss:.3f}/{val_loss:.3f} accuracy {accuracy:.3f}/{val_accuracy:.3f} |" in last
    assert re.search(r"\|[^|]+\| +[\d.]+[kM]? rows/s 00:00", last)


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


def test_a_terminal_is_drawn_on_many_times_within_an_epoch(capfd, monkeypatch):
    set_terminal(monkeypatch)
    clock = iter(range(100_000))
    monkeypatch.setattr("time.monotonic", lambda: next(clock))
    # With a callback for each batch, also compiled code takes one step at a time.
    run(epochs=5, callbacks=[FunctionCallback(lambda _: None, moment="on_batch_end")])
    assert capfd.readouterr().err.count("epoch ") >= 20


@pytest.mark.parametrize(("seconds_of_a_batch", "epochs_told"), [(0, [1, 7]), (2, [1, 3, 5, 7]), (100, range(1, 8))])
def test_a_log_gets_the_first_epoch_one_every_ten_seconds_and_the_last_each_once_as_a_line(
    capfd, monkeypatch, seconds_of_a_batch, epochs_told
):
    now = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])

    def work(trainer):
        now[0] += seconds_of_a_batch

    run(epochs=7, callbacks=[FunctionCallback(work, moment="on_batch_end")])
    err = capfd.readouterr().err
    assert "\r" not in err
    lines = err.splitlines()
    assert [line.split()[1] for line in lines] == [f"{epoch}/7" for epoch in epochs_told]
    assert all(re.fullmatch(r"epoch ./7 loss \S+ accuracy \S+ \| .+(rows/s|s/ rows) \S+", line) for line in lines)


def test_a_log_tells_the_last_epoch_also_where_a_run_is_stopped_or_interrupted(capfd):
    run(epochs=9, callbacks=[FunctionCallback(lambda trainer: trainer.stop() if trainer.epoch == 4 else None)])
    assert [line.split()[1] for line in capfd.readouterr().err.splitlines()] == ["1/9", "4/9"]
    stop = FunctionCallback(lambda trainer: trainer.stop() if trainer.step == 14 else None, moment="on_batch_end")
    trainer, x, y = run(epochs=9, callbacks=[stop])
    assert [line.split()[1] for line in capfd.readouterr().err.splitlines()] == ["1/9", "4/9"]
    trainer.fit(x, y, epochs=0)
    assert capfd.readouterr().err == ""  # nothing was done


def test_within_an_epoch_the_bar_shows_the_means_so_far_beside_the_last_validation(capfd, monkeypatch):
    set_terminal(monkeypatch)
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


@pytest.mark.parametrize("terminal", [True, False])
def test_a_continued_fit_shows_the_metrics_that_it_has_and_no_nan(capfd, monkeypatch, terminal):
    set_terminal(monkeypatch, terminal)
    clock = iter(range(0, 1_000_000, 100))
    monkeypatch.setattr("time.monotonic", lambda: next(clock))  # so that it draws at each moment
    trainer, x, y = run()
    capfd.readouterr()
    trainer.fit(x, y, epochs=2)
    without = capfd.readouterr().err
    assert "nan" not in without
    assert (
        f"epoch 5/5 loss {trainer.history['loss'][-1]:.3f} accuracy {trainer.history['accuracy'][-1]:.3f} |" in without
    )
    assert "/0." not in without
    trainer.metrics = ["f1"]
    trainer.fit(x, y, epochs=1, validation_data=(x, y))
    validated_again = capfd.readouterr().err
    assert "nan" not in validated_again
    assert "accuracy" not in validated_again
    last = {name: column[-1] for name, column in trainer.history.items()}
    assert f"epoch 6/6 loss {last['loss']:.3f}/{last['val_loss']:.3f} f1 {last['f1']:.3f}/{last['val_f1']:.3f} |" in (
        validated_again
    )


def test_a_metric_that_is_nan_is_shown_as_that(capfd):
    def unknown(predictions, targets):
        return np.full(len(targets), np.nan)

    run(metrics=[unknown])
    assert "unknown nan/nan |" in last_line(capfd)


@pytest.mark.parametrize("terminal", [True, False])
def test_the_bar_is_full_at_the_end_also_where_a_fit_finished_an_interrupted_epoch_first(capfd, monkeypatch, terminal):
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

        @classmethod
        def format_meter(cls, done, total, initial, **_):
            cls(total, initial).update(done - initial)

    set_terminal(monkeypatch, terminal)
    monkeypatch.setattr("tqdm.tqdm", Bar)
    stop = FunctionCallback(lambda trainer: trainer.stop() if trainer.step == 6 else None, moment="on_batch_end")
    trainer, x, y = run(callbacks=[stop])
    trainer.fit(x, y, epochs=2)
    last = {bar.total: (bar.total, bar.n) for bar in bars}
    assert list(last.values()) == [(120, 60), (80, 80)]


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


def build(seed):
    return Sequential([Dense(2), SoftmaxCrossEntropy()], seed=seed)


@pytest.mark.parametrize("make", [OnlyWrites, *NO_STREAMS.values()], ids=["only writes", *NO_STREAMS])
def test_whatever_standard_error_is_all_that_draws_a_bar_works(monkeypatch, make):
    stream = make()
    monkeypatch.setattr(sys, "stderr", stream)
    trainer, x, y = run()
    assert trainer.epoch == 3
    assert len(cross_validate(build, x, y, epochs=1, folds=2).runs) == 2
    assert len(search(build, {"seed": [1, 2]}, x, y, epochs=1).runs) == 2
    if isinstance(stream, OnlyWrites):
        assert [text.split(" |")[0] for text in stream.texts if not text.startswith("epoch")] == [
            "cross-validation: 1/2",
            "cross-validation: 2/2",
            "search: 1/2",
            "search: 2/2",
        ]


def test_a_stream_that_breaks_while_the_bar_is_drawn_does_not_end_the_training(monkeypatch):
    class Pipe(io.StringIO):
        encoding = "utf-8"

        def write(self, text):
            if self.tell() > 200:
                raise BrokenPipeError
            return super().write(text)

        def isatty(self):
            return True

    monkeypatch.setattr(sys, "stderr", Pipe())
    clock = iter(range(100_000))
    monkeypatch.setattr("time.monotonic", lambda: next(clock))
    assert run()[0].epoch == 3
    assert sys.stderr.tell() > 200


@pytest.mark.parametrize("terminal", [True, False])
def test_runs_are_counted_as_they_come_also_up_to_an_error(capfd, monkeypatch, terminal):
    set_terminal(monkeypatch, terminal)
    assert list(counted_on_bar("abc", 3, "letters")) == ["a", "b", "c"]
    assert last_line(capfd).startswith("letters: 3/3 |")

    with pytest.raises(ZeroDivisionError):
        list(counted_on_bar((1 / number for number in (2, 1, 0)), 3, "quotients"))
    assert last_line(capfd).startswith("quotients: 2/3 |")


class Widget:
    """Has what tqdm uses of an ipywidget."""

    def __init__(self, children=(), value=None, **settings):
        self.children, self.value, self.settings, self.bar_style = children, value, settings, ""
        self.layout, self.style = types.SimpleNamespace(), types.SimpleNamespace()


@pytest.fixture(params=["with widgets", "without widgets"])
def notebook(request, monkeypatch):
    """The modules of a notebook's kernel, where what is displayed goes into a list, with and without ipywidgets."""
    shown, kernel = [], type("ZMQInteractiveShell", (), {})()
    modules = {name: types.ModuleType(name) for name in ("IPython", "IPython.display", "ipykernel.zmqshell")}
    modules["IPython"].get_ipython = lambda: kernel
    modules["IPython.display"].display = shown.append
    modules["ipywidgets"] = None  # so that importing it fails
    if request.param == "with widgets":
        modules["ipywidgets"] = types.ModuleType("ipywidgets")
        vars(modules["ipywidgets"]).update(dict.fromkeys(["HTML", "FloatProgress", "HBox"], Widget))
    for name in ("QT_API", *(name for name in os.environ if name.startswith("SPYDER"))):
        monkeypatch.delenv(name, raising=False)
    with mock.patch.dict(sys.modules, modules):
        for name in ("tqdm.auto", "tqdm.autonotebook", "tqdm.notebook"):
            sys.modules.pop(name, None)  # as they decide at their import
        yield shown if request.param == "with widgets" else None


def test_in_a_notebook_the_bar_is_there_at_once_follows_each_batch_and_nothing_warns(capfd, monkeypatch, notebook):
    clock, seen = iter(range(100_000)), []
    monkeypatch.setattr("time.monotonic", lambda: next(clock))

    def look(trainer):
        if notebook is None:
            seen.append(capfd.readouterr().err)
        else:
            (bar,) = notebook
            seen.append(bar.children[0].value.replace("\u2007", " "))

    looks = [FunctionCallback(look, moment=moment) for moment in ("on_batch_end", "on_train_end")]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        run(callbacks=looks)
        assert list(counted_on_bar("abc", 3, "letters")) == ["a", "b", "c"]
    assert len(seen) == 13
    assert seen[0].strip("\r").startswith("epoch")
    steps = [re.findall(r"epoch (\d)/3", text) for text in seen]
    assert [step[0] for step in steps[1:]] == list("111122223333")
    if notebook is None:
        assert "letters: 3/3" in capfd.readouterr().err
    else:
        assert [bar.children[1].value for bar in notebook] == [120, 3]
        assert [bar.children[1].bar_style for bar in notebook] == ["success", "success"]
        assert capfd.readouterr() == ("", "")


def test_a_log_of_a_terminals_ipython_is_a_log(capfd, monkeypatch):
    module, shell = types.ModuleType("IPython"), type("TerminalInteractiveShell", (), {})
    module.get_ipython = type("Embedded", (shell,), {})
    monkeypatch.setitem(sys.modules, "IPython", module)
    run()
    assert "\r" not in capfd.readouterr().err


def test_a_program_that_imports_ipython_without_its_shell_is_no_notebook(capfd, monkeypatch):
    module = types.ModuleType("IPython")
    module.get_ipython = lambda: None
    monkeypatch.setitem(sys.modules, "IPython", module)
    run()
    assert "\r" not in capfd.readouterr().err
