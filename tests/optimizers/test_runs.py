"""Settings that are set or changed in a run, and the same run resumed from the file of each of its epochs."""

import numpy as np
import pytest

from minidl import Callback, Checkpoint, Dense, ReLU, Sequential, SoftmaxCrossEntropy, Trainer
from minidl.optimizers import (
    SGD,
    Adadelta,
    Adagrad,
    Adam,
    AdamW,
    AMSGrad,
    ExponentialMovingAverage,
    Lion,
    Lookahead,
    Momentum,
    NAdam,
    RMSprop,
    StochasticWeightAveraging,
)

EPOCHS, STEPS = 6, 4
KINDS = [SGD, Momentum, Adam, AMSGrad, NAdam, RMSprop, Adagrad, Adadelta, Lion]


def everything(trainer):
    state = {name: vector.tobytes() for name, vector in trainer.optimizer.state.items()}
    return trainer.model.parameters.tobytes(), state, trainer.step, repr(trainer.optimizer)


def assert_resumed_runs_end_in_the_same_bits(folder, optimizer, change=None):
    """Compare a run with those resumed from its files; ``change(optimizer, epoch)`` is called after each epoch."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(40, 6)), rng.integers(0, 3, 40)

    class Change(Callback):
        def on_epoch_end(self, trainer):
            if change is not None:
                change(trainer.optimizer, trainer.epoch)

    def finish(trainer, *more):
        epochs = EPOCHS - trainer.epoch
        trainer.fit(x, y, epochs=epochs, callbacks=[Change(), *more], progress=False)
        return everything(trainer)

    model = Sequential([Dense(8), ReLU(), Dense(3), SoftmaxCrossEntropy()], seed=0)
    whole = finish(Trainer(model, optimizer, batch_size=10, seed=0), Checkpoint(folder, keep=None))
    for epoch in range(1, EPOCHS):
        resumed = Trainer.load(folder / f"step_{epoch * STEPS:010d}.npz")
        assert resumed.epoch == epoch
        assert finish(resumed) == whole


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("wrap", [lambda inner: inner, ExponentialMovingAverage])
def test_weight_decay_that_is_set_is_saved_with_any_optimizer(tmp_path, kind, wrap):
    optimizer = wrap(kind(0.05))
    optimizer.weight_decay = 0.25
    assert_resumed_runs_end_in_the_same_bits(tmp_path, optimizer)


WRAPS = [
    lambda inner: inner,
    ExponentialMovingAverage,
    lambda inner: Lookahead(StochasticWeightAveraging(inner, start=3), steps=3),
]


@pytest.mark.parametrize("kind", [Adam, AdamW, AMSGrad, NAdam])
@pytest.mark.parametrize("wrap", WRAPS)
def test_betas_that_change_in_a_run_are_resumed_to_the_same_bits(tmp_path, kind, wrap):
    def change(optimizer, epoch):
        while not isinstance(optimizer, Adam):
            optimizer = optimizer.optimizer
        optimizer.beta1, optimizer.beta2 = (0.95 - 0.05 * epoch, 0.999) if epoch < 4 else (0.9, np.float32(0.97))

    assert_resumed_runs_end_in_the_same_bits(tmp_path, wrap(kind(0.05)), change)


@pytest.mark.parametrize("momenta", [(0.9, 0.9, 0.0, 0.0, 0.9, 0.5), (0.0, 0.9, 0.0, 0.9, 0.0, 0.0)])
@pytest.mark.parametrize("wrap", WRAPS)
def test_slots_that_come_and_go_with_a_setting_are_resumed_to_the_same_bits(tmp_path, momenta, wrap):
    def change(optimizer, epoch):
        while not isinstance(optimizer, RMSprop):
            optimizer = optimizer.optimizer
        optimizer.momentum, optimizer.centered = momenta[epoch - 1], epoch in (2, 3)

    optimizer = wrap(RMSprop(0.01, momentum=momenta[-1]))
    assert_resumed_runs_end_in_the_same_bits(tmp_path, optimizer, change)


def test_an_average_that_was_looked_at_before_the_first_step_is_saved_and_loaded(tmp_path):
    model = Sequential([Dense(3), SoftmaxCrossEntropy()], input_shape=6, seed=0)
    trainer = Trainer(model, ExponentialMovingAverage("adam"), seed=0)
    for exchanged in (True, False):
        trainer.optimizer.exchange(model.parameters)
        trainer.save(tmp_path / "run.npz")
        loaded = Trainer.load(tmp_path / "run.npz")
        assert everything(loaded) == everything(trainer)
        assert loaded.optimizer.exchanged is exchanged
