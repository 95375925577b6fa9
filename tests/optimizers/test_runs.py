"""Settings that are set or changed in a run, and the same run resumed from the file of each of its epochs."""

import numpy as np
import pytest

from minidl import (
    L2,
    Callback,
    Checkpoint,
    Dense,
    ExponentialMovingAverage,
    FunctionCallback,
    Lookahead,
    ReLU,
    Sequential,
    SoftmaxCrossEntropy,
    StochasticWeightAveraging,
    Tanh,
    Trainer,
)
from minidl.errors import ArgumentError
from minidl.optimizers import (
    LBFGS,
    SGD,
    Adadelta,
    Adagrad,
    Adam,
    AdamW,
    AMSGrad,
    Lion,
    Momentum,
    NAdam,
    Optimizer,
    RMSprop,
)
from minidl.settings import setting

EPOCHS, STEPS = 6, 4
KINDS = [SGD, Momentum, Adam, AMSGrad, NAdam, RMSprop, Adagrad, Adadelta, Lion]
AVERAGES = [
    lambda: None,
    lambda: ExponentialMovingAverage(0.9),
    lambda: StochasticWeightAveraging(start=3),
    lambda: Lookahead(steps=3),
]
NAMES = ["none", "exponential", "stochastic", "lookahead"]
each_average = pytest.mark.parametrize("average", AVERAGES, ids=NAMES)


def everything(trainer):
    state = {name: vector.tobytes() for name, vector in trainer.optimizer.state.items()}
    average = trainer.average and trainer.average.vector.tobytes()
    return trainer.model.parameters.tobytes(), state, average, trainer.step, repr(trainer), dict(trainer.history)


def data():
    rng = np.random.default_rng(0)
    return rng.normal(size=(40, 6)), rng.integers(0, 3, 40)


def assert_resumed_runs_end_in_the_same_bits(folder, optimizer, change=None, batch_size=10, **settings):
    """Compare a run with those resumed from its files; ``change(trainer)`` is called after each epoch."""
    x, y = data()
    steps = len(x) // (batch_size or len(x))

    class Change(Callback):
        def on_epoch_end(self, trainer):
            if change is not None:
                change(trainer)

    def finish(trainer, *more):
        epochs = EPOCHS - trainer.epoch
        trainer.fit(x, y, epochs=epochs, callbacks=[Change(), *more], progress=False)
        return everything(trainer)

    model = Sequential([Dense(8), ReLU(), Dense(3), SoftmaxCrossEntropy()], seed=0)
    trainer = Trainer(model, optimizer, batch_size=batch_size, seed=0, **settings)
    whole = finish(trainer, Checkpoint(folder, keep=None))
    for epoch in range(1, EPOCHS):
        resumed = Trainer.load(folder / f"step_{epoch * steps:010d}.npz")
        assert resumed.epoch == epoch
        assert finish(resumed) == whole
    return trainer


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("average", AVERAGES[:2], ids=NAMES[:2])
def test_weight_decay_that_is_set_is_saved_with_any_optimizer(tmp_path, kind, average):
    optimizer = kind(0.05)
    optimizer.weight_decay = 0.25
    assert_resumed_runs_end_in_the_same_bits(tmp_path, optimizer, average=average())


@pytest.mark.parametrize("kind", [Adam, AdamW, AMSGrad, NAdam])
@each_average
def test_betas_that_change_in_a_run_are_resumed_to_the_same_bits(tmp_path, kind, average):
    def change(trainer):
        optimizer, epoch = trainer.optimizer, trainer.epoch
        optimizer.beta1, optimizer.beta2 = (0.95 - 0.05 * epoch, 0.999) if epoch < 4 else (0.9, np.float32(0.97))

    assert_resumed_runs_end_in_the_same_bits(tmp_path, kind(0.05), change, average=average())


@pytest.mark.parametrize("momenta", [(0.9, 0.9, 0.0, 0.0, 0.9, 0.5), (0.0, 0.9, 0.0, 0.9, 0.0, 0.0)])
@each_average
def test_slots_that_come_and_go_with_a_setting_are_resumed_to_the_same_bits(tmp_path, momenta, average):
    def change(trainer):
        optimizer = trainer.optimizer
        optimizer.momentum, optimizer.centered = momenta[trainer.epoch - 1], trainer.epoch in {2, 3}

    optimizer = RMSprop(0.01, momentum=momenta[-1])
    assert_resumed_runs_end_in_the_same_bits(tmp_path, optimizer, change, average=average())


@each_average
def test_settings_of_trainer_and_average_that_change_in_a_run_are_resumed_to_the_same_bits(tmp_path, average):
    def change(trainer):
        trainer.clip_norm, trainer.clip_value = (0.1, None) if trainer.epoch < 3 else (None, np.float32(0.05))
        if isinstance(trainer.average, ExponentialMovingAverage):
            trainer.average.decay = 0.5 + 0.05 * trainer.epoch

    assert_resumed_runs_end_in_the_same_bits(tmp_path, Adam(0.05), change, average=average(), clip_norm=1.0)


def test_clipping_is_resumed_to_the_same_bits(tmp_path):
    assert_resumed_runs_end_in_the_same_bits(tmp_path, Momentum(0.5), clip_norm=0.1, clip_value=0.05)


def test_a_regularizer_that_is_set_in_a_run_works_from_then_on_and_is_what_is_saved(tmp_path):
    def change(trainer):
        if trainer.epoch == 2:
            trainer.model.layers[0].regularizer = L2(0.5)

    trainer = assert_resumed_runs_end_in_the_same_bits(tmp_path, SGD(0.1), change)
    assert Trainer.load(tmp_path / f"step_{2 * STEPS:010d}.npz").model.layers[0].regularizer.strength == 0.5
    weight = trainer.model.layers[0].weight.value
    plain = assert_resumed_runs_end_in_the_same_bits(tmp_path / "plain", SGD(0.1))
    assert np.linalg.norm(weight) < 0.5 * np.linalg.norm(plain.model.layers[0].weight.value)


def test_layers_that_are_frozen_and_freed_in_a_run_are_resumed_to_the_same_bits(tmp_path):
    def change(trainer):
        trainer.model.layers[0].trainable = trainer.epoch not in {2, 3}

    average = ExponentialMovingAverage(0.9)
    assert_resumed_runs_end_in_the_same_bits(tmp_path, Adam(0.05), change, average=average, clip_norm=0.5)


def test_lbfgs_is_resumed_to_the_same_bits(tmp_path):
    trainer = assert_resumed_runs_end_in_the_same_bits(tmp_path, LBFGS(memory=3), batch_size=None)
    assert trainer.step == EPOCHS


def test_lbfgs_with_layers_frozen_in_a_run_is_resumed_to_the_same_bits(tmp_path):
    def change(trainer):
        trainer.model.layers[0].trainable = trainer.epoch not in {2, 3}

    assert_resumed_runs_end_in_the_same_bits(tmp_path, LBFGS(), change, batch_size=None)


def test_lbfgs_with_a_regularizer_that_is_set_in_a_run_is_resumed_to_the_same_bits(tmp_path):
    def change(trainer):
        if trainer.epoch == 2:
            trainer.model.layers[0].regularizer = L2(0.5)

    trainer = assert_resumed_runs_end_in_the_same_bits(tmp_path, LBFGS(), change, batch_size=None)
    assert trainer.step == EPOCHS  # the loss that it compares with is that of the new problem


class NormalizedMomentum(Optimizer):
    """Steps of a length that does not depend on the gradients: a norm of all that moves, so it is not elementwise."""

    momentum: float = setting(default=0.9, low=0, below=1)
    slots = ("v",)

    def update(self, p, g, learning_rate, v):
        v *= self.momentum
        v += g
        p -= learning_rate * v / (np.linalg.norm(v) + 1e-12)


@each_average
def test_an_optimizer_of_the_users_own_is_resumed_to_the_same_bits(tmp_path, average):
    def change(trainer):
        trainer.optimizer.momentum = 0.9 - 0.1 * trainer.epoch
        trainer.model.layers[2].trainable = trainer.epoch != 4

    assert_resumed_runs_end_in_the_same_bits(tmp_path, NormalizedMomentum(0.05), change, average=average())


@pytest.mark.parametrize("kind", [*KINDS, NormalizedMomentum, LBFGS])
def test_an_optimizer_gets_vectors_and_never_sees_model_or_data(kind):
    """The data reach the optimizer as gradients alone: two loops that make the same gradients take the same way."""
    x, y = data()
    layers = [Dense(4), Tanh(), Dense(3), SoftmaxCrossEntropy()]
    trained = Sequential(layers, input_shape=6, seed=0, dtype="float64")
    alone, gradients, path = trained.parameters.copy(), [], []
    optimizer = kind()
    if not optimizer.full_batch:
        trainer = Trainer(trained, optimizer, batch_size=10, seed=0)
        notes = [
            FunctionCallback(lambda t: gradients.append(t.model.gradients.copy()), moment="on_gradients"),
            FunctionCallback(lambda t: path.append(t.model.parameters.copy()), moment="on_batch_end"),
        ]
        trainer.fit(x, y, epochs=2, callbacks=notes, progress=False)
        again = kind()
        for gradient, parameters in zip(gradients, path, strict=True):
            again.apply(alone, gradient)
            np.testing.assert_array_equal(alone, parameters)
    held = [value for name, value in vars(optimizer).items() if name != "state"]
    assert not any(isinstance(value, (np.ndarray, Sequential, Trainer)) for value in held)
    assert not hasattr(optimizer, "model")


def test_a_setting_that_cannot_work_is_refused_in_a_run_and_the_old_one_stays(tmp_path):
    def change(trainer):
        trainer.optimizer.beta2 = 1.0

    with pytest.raises(ArgumentError, match=r"Adam: beta2 is 1.0; it must be a finite number, in \[0, 1\)"):
        assert_resumed_runs_end_in_the_same_bits(tmp_path, optimizer := Adam(0.05), change)
    assert optimizer.beta2 == 0.999


def test_an_average_before_the_first_step_is_saved_and_loaded(tmp_path):
    model = Sequential([Dense(3), SoftmaxCrossEntropy()], input_shape=6, seed=0)
    trainer = Trainer(model, "adam", average=ExponentialMovingAverage(0.9), seed=0)
    with trainer.averaged_weights():
        trainer.save(tmp_path / "run.npz")
    loaded = Trainer.load(tmp_path / "run.npz")
    assert loaded.average.vector is None
    assert repr(loaded) == repr(trainer)
    assert loaded.model.parameters.tobytes() == model.parameters.tobytes()
