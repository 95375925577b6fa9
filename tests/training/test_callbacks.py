"""What a callback is; the moments themselves are tested with the trainer that calls them."""

import pickle

import numpy as np
import pytest

from minidl import (
    SGD,
    Callback,
    CSVLogger,
    Dense,
    EarlyStopping,
    FunctionCallback,
    ProgressBar,
    Sequential,
    SoftmaxCrossEntropy,
    Trainer,
)
from minidl.errors import ArgumentError, ArgumentTypeError
from minidl.settings import setting
from minidl.training.callbacks import CallbackList


def run(epochs=3, **options):
    rng = np.random.default_rng(0)
    x, y = rng.random((40, 5)), rng.integers(0, 2, 40)
    trainer = Trainer(Sequential([Dense(2), SoftmaxCrossEntropy()], seed=0), SGD(0.1), batch_size=10, seed=0)
    trainer.fit(x, y, epochs=epochs, progress=False, **options)
    return trainer


def test_a_callback_has_no_state_unless_it_says_so():
    assert Callback().state() == {}
    Callback().restore({"more": 1})


def test_a_moment_may_be_set_on_the_callback_itself():
    callback, steps = Callback(), []
    callback.on_batch_end = lambda trainer: steps.append(trainer.step)
    run(callbacks=[callback])
    assert steps == list(range(1, 13))


def test_a_callback_shows_its_settings():
    assert repr(ProgressBar()) == "ProgressBar()"
    assert repr(EarlyStopping("val_loss", patience=3)) == (
        "EarlyStopping(monitor='val_loss', min_delta=0.0, mode='auto', patience=3, restore_best=True)"
    )


def test_its_key_tells_its_class_and_what_it_watches():
    assert ProgressBar().key == "ProgressBar"
    assert EarlyStopping("loss", mode="max").key == "EarlyStopping('loss', mode='max')"


class Every(Callback):
    """Settings as fields, with limits, and no __init__."""

    steps: int = setting(kw_only=False, low=1, whole=True)
    label: str = "step"

    def __post_init__(self):
        self.seen = []

    def on_batch_end(self, trainer):
        if trainer.step % self.steps == 0:
            self.seen.append((self.label, trainer.step))


def test_a_callback_of_the_users_own_declares_its_settings_as_fields():
    every = Every(5, label="s")
    run(callbacks=[every])
    assert every.seen == [("s", 5), ("s", 10)]
    assert repr(every) == "Every(steps=5, label='s')"
    with pytest.raises(ArgumentError, match="Every: steps is 0; it must be a whole number, 1 or more"):
        Every(0)
    with pytest.raises(
        ArgumentTypeError, match=r"Every: too many positional arguments; it is Every\(steps.*\*, label="
    ):
        Every(5, "s")
    with pytest.raises(ArgumentTypeError, match="Every has no setting 'step'; did you mean 'steps'"):
        Every(step=5)


def test_a_setting_that_changes_in_a_run_is_checked_and_counts_at_once():
    every = Every(5)

    def change(trainer):
        every.steps = np.int64(2) if trainer.epoch == 1 else every.steps

    run(callbacks=[change, every])
    assert every.seen == [("step", step) for step in (6, 8, 10, 12)]
    assert type(every.steps) is int
    with pytest.raises(ArgumentTypeError, match="Every: steps is 1.5; it must be a whole number"):
        every.steps = 1.5


def test_callbacks_of_the_package_can_be_copied_to_another_process():
    for callback in (EarlyStopping("loss", patience=2), CSVLogger("log.csv"), FunctionCallback(print)):
        assert repr(pickle.loads(pickle.dumps(callback))) == repr(callback)


class TestFunctions:
    def test_a_plain_function_is_called_at_the_end_of_each_epoch(self):
        epochs = []
        run(callbacks=[lambda trainer: epochs.append(trainer.epoch)])
        assert epochs == [1, 2, 3]

    @pytest.mark.parametrize(
        ("moment", "calls"),
        [
            ("on_train_begin", 1),
            ("on_epoch_begin", 3),
            ("on_gradients", 12),
            ("on_batch_end", 12),
            ("on_epoch_end", 3),
            ("on_train_end", 1),
        ],
    )
    def test_or_at_a_moment_that_is_told(self, moment, calls):
        seen = []
        run(callbacks=[FunctionCallback(seen.append, moment=moment)])
        assert len(seen) == calls

    def test_a_moment_that_does_not_exist_is_refused_where_it_is_written(self):
        with pytest.raises(ArgumentError, match="Mine.on_epoc_end would never be called; did you mean 'on_epoch_end'"):
            type("Mine", (Callback,), {"on_epoc_end": lambda self, trainer: None})

    def test_anything_else_is_refused(self):
        with pytest.raises(ArgumentTypeError, match="a callback is .*CSVLogger.*; give a function, or a Callback such"):
            run(callbacks=[CSVLogger])
        with pytest.raises(ArgumentError, match="moment is 'on_epoch'; it must be one of 'on_train_begin', 'on_epoch_"):
            FunctionCallback(print, moment="on_epoch")
        with pytest.raises(ArgumentTypeError, match="a callback is 3; give a function"):
            FunctionCallback(3)
        for wrong in (3, CSVLogger):
            with pytest.raises(ArgumentTypeError, match="give a function, or a Callback"):
                run(callbacks=[wrong])


class TestList:
    def test_it_calls_those_that_do_something_at_a_moment_in_their_order_and_the_last_last(self):
        called = []

        class Note(Callback):
            label: str = ""

            def on_batch_end(self, trainer):
                called.append(self.label)

        last = Note(label="last")
        last.runs_last = True
        hooks = CallbackList([last, Note(label="a"), Callback(), Note(label="b")])
        hooks.call("on_batch_end", None)
        hooks.call("on_gradients", None)
        assert called == ["a", "b", "last"]
        assert hooks.doing("on_gradients") == []
        assert len(hooks.doing("on_batch_end")) == 3

    def test_those_that_have_not_begun_do_not_end(self):
        class Begin(Callback):
            label: str = ""

            def on_train_begin(self, trainer):
                if self.label == "broken":
                    raise OSError("no place left")

            def on_train_end(self, trainer):
                ended.append(self.label)

        ended = []
        hooks = CallbackList([Begin(label="a"), Begin(label="broken"), Begin(label="b")])
        with pytest.raises(OSError, match="no place left"):
            hooks.begin(None)
        hooks.end(None)
        assert ended == ["a"]

    def test_a_state_goes_to_the_callback_of_its_key_and_what_has_no_heir_is_told(self):
        class Counter(Callback):
            count = 0

            def state(self):
                return {"count": self.count}

            def restore(self, state):
                self.count = state["count"]

        one, other = Counter(), Counter()
        one.count, other.count = 3, 5
        states = CallbackList([one, Callback(), other]).states()
        assert states == [("Counter", {"count": 3}), ("Counter", {"count": 5})]
        heirs = [Counter(), Counter()]
        CallbackList(heirs).restore_states(states)
        assert [heir.count for heir in heirs] == [3, 5]
        with pytest.warns(UserWarning, match="the run continues without its Counter: fit was given none"):
            CallbackList(heirs[:1]).restore_states(states)
