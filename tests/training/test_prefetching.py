"""Batches made ready in a thread: the same as without it, in order, and the thread ends with the run."""

import subprocess
import sys
import threading

import numpy as np
import pytest

from minidl import (
    LBFGS,
    SGD,
    BatchNorm,
    Callback,
    Dense,
    Dropout,
    ReLU,
    Sequential,
    SoftmaxCrossEntropy,
    Trainer,
)
from minidl.data.augment import Compose, CutOut, Distortion, Elastic, PixelNoise, Rotation
from minidl.errors import ArgumentError, ArgumentTypeError, DataError, DivergenceError, ShapeError
from minidl.training.prefetching import prefetch

SHAPE = (8, 8)
AUGMENT = Compose(
    [Rotation(20), Elastic(8, smoothness=2), PixelNoise(0.05), CutOut(3, probability=0.5)], image_shape=SHAPE
)


def data(rows=100):
    rng = np.random.default_rng(0)
    y = rng.integers(0, 3, rows)
    return (rng.random((rows, 64)) * 0.3 + (np.arange(64) % 3 == y[:, None]) * 0.5).astype(np.float32), y


def model():
    return Sequential([Dense(12), BatchNorm(), ReLU(), Dropout(0.2), Dense(3), SoftmaxCrossEntropy()], seed=0)


def trainer(augment=AUGMENT, optimizer=None, batch_size=16, **settings):
    return Trainer(model(), optimizer or SGD(0.1), batch_size=batch_size, seed=7, augment=augment, **settings)


def batch_threads():
    return [thread for thread in threading.enumerate() if thread.name.startswith("minidl-batches")]


def test_a_run_is_that_of_a_plain_loop_over_augmented_batches():
    x, y = data()
    run = trainer()
    run.fit(x, y, epochs=2, progress=False)

    expected = model()
    expected.set_up_for(x)
    for epoch in range(2):
        order = np.random.default_rng((7, epoch)).permutation(100)
        for row in range(0, 100, 16):
            rows = order[row : row + 16]
            scores = expected.forward(AUGMENT(x[rows], np.random.default_rng((7, epoch, row, 1))), training=True)
            expected.backward(expected.loss(scores, y[rows])[1])
            expected.parameters -= np.float32(0.1) * expected.gradients
    np.testing.assert_array_equal(run.model.parameters, expected.parameters)


@pytest.mark.parametrize("step", [1, 6, 7, 10])
def test_a_run_resumed_at_any_step_gives_the_same_bits(tmp_path, step):
    class SaveAndStop(Callback):
        def on_batch_end(self, trainer):
            if trainer.step == step:
                trainer.save(tmp_path / "run.npz")
                raise InterruptedError

    x, y = data()
    undisturbed = trainer()
    undisturbed.fit(x, y, epochs=3, progress=False)
    with pytest.raises(InterruptedError):
        trainer().fit(x, y, epochs=3, callbacks=[SaveAndStop()], progress=False)
    resumed = Trainer.load(tmp_path / "run.npz")
    assert repr(resumed.augment).count("Elastic(strength=8.0, probability=1.0, fill=0.0, smoothness=2.0)") == 1
    resumed.fit(x, y, epochs=3 - resumed.epoch, progress=False)
    np.testing.assert_array_equal(resumed.model.parameters, undisturbed.model.parameters)
    assert dict(resumed.history) == dict(undisturbed.history)


def test_a_file_is_loaded_where_nothing_has_named_the_distortions_yet(tmp_path):
    x, y = data()
    run = trainer()
    run.fit(x, y, progress=False)
    run.save(tmp_path / "run.npz")
    code = "import sys, minidl; print(minidl.Trainer.load(sys.argv[1]).augment)"
    result = subprocess.run(
        [sys.executable, "-c", code, tmp_path / "run.npz"], capture_output=True, text=True, check=True
    )
    assert result.stdout.startswith("Compose(\n    distortions=(\n        Rotation(degrees=20.0")


def test_weights_and_validation_data_are_not_augmented():
    x, y = data()
    weights = np.linspace(0, 2, 100)
    seen = []

    def note(inputs, rng):
        seen.append(inputs.copy())
        return inputs

    plain, augmented = trainer(None), trainer(note)
    for run in (plain, augmented):
        run.fit(x, y, epochs=2, sample_weight=weights, validation_data=(x[:30], y[:30]), progress=False)
    np.testing.assert_array_equal(plain.model.parameters, augmented.model.parameters)
    assert dict(plain.history) == dict(augmented.history)
    assert len(seen) == 1 + 2 * 7  # a trial, and each batch once
    np.testing.assert_array_equal(np.sort(np.concatenate(seen[1:8]), axis=None), np.sort(x, axis=None))


def test_a_full_batch_is_augmented_anew_in_each_epoch():
    firsts = []

    def note(inputs, rng):
        firsts.append(rng.random())
        return inputs

    x, y = data()
    trainer(note, batch_size=None).fit(x, y, epochs=3, progress=False)
    assert len(set(firsts[1:])) == 3


class BatchError(Exception):
    pass


def test_an_error_in_a_batch_is_raised_at_its_turn_and_the_thread_ends():
    calls = []

    def fail_later(inputs, rng):
        calls.append(1)
        if len(calls) == 6:
            raise BatchError("the fifth batch")
        return inputs

    x, y = data()
    run = trainer(fail_later)
    with pytest.raises(BatchError, match="the fifth batch"):
        run.fit(x, y, progress=False)
    assert (run.step, run.position.row, run.interrupted) == (4, 64, True)
    assert not batch_threads()
    run.augment = None
    run.fit(x, y, progress=False)
    assert (run.step, run.epoch) == (7, 1)


def test_no_thread_is_left_by_stops_interrupts_and_divergence():
    class Interrupt(Callback):
        def on_batch_end(self, trainer):
            if trainer.step == 3:
                raise KeyboardInterrupt

    x, y = data()
    run = trainer()
    with pytest.raises(KeyboardInterrupt):
        run.fit(x, y, callbacks=[Interrupt()], progress=False)
    assert not batch_threads()
    run.fit(x, y, callbacks=[lambda trainer: trainer.stop()], epochs=2, progress=False)
    assert not batch_threads()
    with pytest.raises(DivergenceError):
        trainer(optimizer=SGD(1e30)).fit(x, y, epochs=20, progress=False)
    assert not batch_threads()


@pytest.mark.parametrize(
    ("augment", "error", "words"),
    [
        (lambda inputs, rng: inputs[:, :3], ShapeError, r"shape that it gets, \(2, 64\), not \(2, 3\)"),
        (lambda inputs, rng: None, DataError, "what augment returned is missing: it is None"),
        (lambda inputs, rng: inputs * np.float32(np.nan), DataError, "what augment returned holds NaN at row 0"),
        (
            lambda inputs, rng: inputs.astype(complex),
            DataError,
            r"what augment returned holds .* \(complex128\) in column 0, row 0",
        ),
        (Rotation(), ShapeError, "flat, 64 numbers each"),
        (Rotation(image_shape=(8, 9)), ShapeError, r"image_shape is \(8, 9\)"),
        (CutOut(9, image_shape=SHAPE), ShapeError, "does not fit"),
    ],
)
def test_what_does_not_fit_the_data_is_refused_before_anything_changes(augment, error, words):
    run = trainer(augment)
    with pytest.raises(error, match=words):
        run.fit(*data(), progress=False)
    assert run.model.input_shape is None
    assert run.step == 0


@pytest.mark.parametrize("augment", [lambda inputs: inputs, lambda: 0, lambda inputs, rng, strength: inputs])
def test_a_function_that_does_not_take_inputs_and_a_generator_is_refused_before_anything_changes(augment):
    run = trainer(augment)
    with pytest.raises(TypeError, match="takes [01] positional arguments? but|missing 1 required"):
        run.fit(*data(), progress=False)
    assert run.model.input_shape is None


def test_functions_that_take_more_or_do_not_tell_what_they_take_serve():
    for augment in (lambda *both: both[0], lambda inputs, rng=None, strength=2: inputs, Untold()):
        trainer(augment).fit(*data(), progress=False)


class Untold:
    """As what is written in C may be."""

    @property
    def __signature__(self):
        raise ValueError("not told")

    def __call__(self, inputs, rng):
        return inputs


def test_settings_that_cannot_work_are_refused():
    with pytest.raises(ArgumentTypeError, match=r"Trainer: augment must be a function of \(inputs, generator\)"):
        trainer(3)
    with pytest.raises(ArgumentTypeError, match=r"Trainer: augment must be .* like Rotation\(20\)"):
        trainer(Rotation)
    with pytest.raises(ArgumentTypeError, match=r"must be .*, not \[Rotation"):
        trainer([Rotation()])
    run = trainer(Rotation(image_shape=SHAPE))
    with pytest.raises(ArgumentError, match="degrees is 1000"):
        run.augment.degrees = 1000
    with pytest.raises(ArgumentTypeError, match="Trainer: augment must be .*, not 'flip'"):
        run.augment = "flip"
    with pytest.raises(ArgumentError, match="LBFGS compares losses along a line, but augment would change"):
        trainer(optimizer=LBFGS(), batch_size=None).fit(*data(), progress=False)


@pytest.mark.parametrize("settings", [{}, {"shuffle": False}, {"batch_size": None}])
def test_the_data_cannot_be_changed_by_a_function_that_works_in_place(settings):
    def in_place(inputs, rng):
        inputs += 1
        return inputs

    x, y = data()
    before = x.copy()
    with pytest.raises(ValueError, match="read-only"):
        trainer(in_place, **settings).fit(x, y, progress=False)
    np.testing.assert_array_equal(x, before)


def test_what_is_wrong_with_a_later_batch_alone_is_said_at_its_turn():
    run = trainer(lambda inputs, rng: inputs if len(inputs) == 2 else inputs[:-3])
    with pytest.raises(ShapeError, match=r"shape that it gets, \(16, 64\), not \(13, 64\)"):
        run.fit(*data(), progress=False)
    assert run.step == 0


def test_a_function_trains_but_cannot_be_saved(tmp_path):
    run = trainer(lambda inputs, rng: inputs)
    run.fit(*data(), progress=False)
    cure = "write the function as a class"
    with pytest.raises(ArgumentTypeError, match=f"the trainer's augment = <function.* cannot be saved: .*{cure}"):
        run.save(tmp_path / "run.npz")


def test_what_a_distortion_holds_and_cannot_be_saved_is_named_with_its_place(tmp_path):
    run = trainer(Brighter(probability=1.0, image_shape=SHAPE))
    run.fit(*data(), progress=False)
    run.augment.share = print
    with pytest.raises(ArgumentTypeError, match=r"Brighter\.share = <built-in.* cannot be saved: give numbers"):
        run.save(tmp_path / "run.npz")


class Brighter(Distortion):
    share: float = 0.5

    def distort(self, images, rng):
        return images * (1 + self.share * rng.random((len(images), 1, 1, 1), np.float32))


def test_a_distortion_of_the_users_own_is_saved_with_the_run(tmp_path):
    x, y = data()
    run = trainer(Brighter(share=0.25, image_shape=SHAPE))
    run.fit(x, y, progress=False)
    run.save(tmp_path / "run.npz")
    again = Trainer.load(tmp_path / "run.npz")
    assert again.augment.share == 0.25
    assert "share=0.25)" in repr(again)


@pytest.mark.parametrize("ahead", [1, 2, 9])
def test_a_few_batches_are_made_ahead_and_in_order(ahead):
    made = []

    def make(place):
        made.append(place)
        return place

    batches = prefetch(make, range(15), ahead)
    assert next(batches) == 0
    batches.close()
    assert made == list(range(len(made)))
    assert 1 <= len(made) <= 1 + ahead
    assert list(prefetch(make, range(5), ahead)) == [0, 1, 2, 3, 4]
    assert list(prefetch(make, [], ahead)) == []
