"""Steps that move the rows that occurred have the bits of steps that move all, and are taken where they are right."""

import numpy as np
import pytest

from minidl import (
    SGD,
    Adagrad,
    Adam,
    BatchNorm,
    Callback,
    Concatenate,
    CosineDecay,
    Dense,
    Embedding,
    ExponentialMovingAverage,
    FunctionCallback,
    GlobalAveragePool1D,
    Layer,
    Lookahead,
    Momentum,
    RMSprop,
    Sequential,
    SoftmaxCrossEntropy,
    Tanh,
    TiedEmbedding,
    Trainer,
)
from minidl.compiled import is_on, switch
from minidl.diagnostics import installed_version
from minidl.errors import ShapeError
from minidl.layers.parameter_rows import ParameterOfRows

WORDS, POSITIONS, ROWS, BATCH = 200, 6, 40, 8
STEPS = ROWS // BATCH


def problem():
    rng = np.random.default_rng(0)
    return rng.integers(0, WORDS, (ROWS, POSITIONS)), rng.integers(0, 3, ROWS)


def network(*, frozen=False):
    embedding = Embedding(WORDS, 5)
    embedding.trainable = not frozen
    layers = [embedding, GlobalAveragePool1D(), Dense(4), Tanh(), Dense(3), SoftmaxCrossEntropy()]
    return Sequential(layers, input_shape=POSITIONS, seed=0)


def nothing(trainer):
    """A callback that may change gradients, and does not: all rows move."""


ALL_ROWS = FunctionCallback(nothing, moment="on_gradients")


@pytest.fixture
def written(monkeypatch):
    """The list to which each whole gradient is added that is written."""
    writes, settle = [], ParameterOfRows.settle

    def noting(self):
        if self.rows is not None:
            writes.append(len(self.rows[0]))
        settle(self)

    monkeypatch.setattr(ParameterOfRows, "settle", noting)
    return writes


def run(model, optimizer, callbacks=(), epochs=3, **settings):
    trainer = Trainer(model, optimizer, batch_size=BATCH, seed=0, **settings)
    trainer.fit(*problem(), epochs=epochs, callbacks=list(callbacks), progress=False)
    return trainer


def assert_same(one, other):
    assert np.array_equal(one.model.parameters, other.model.parameters)
    assert np.array_equal(one.model.gradients, other.model.gradients)
    assert one.history["loss"] == other.history["loss"]
    assert one.step == other.step
    assert one.optimizer.state.keys() == other.optimizer.state.keys()
    for name, slot in one.optimizer.state.items():
        assert np.array_equal(slot, other.optimizer.state[name])
    if one.average is not None:
        assert np.array_equal(one.average.vector, other.average.vector)


BY_ROWS = {
    "sgd": lambda: SGD(0.5),
    "adagrad": lambda: Adagrad(0.1),
    "a rate that falls": lambda: SGD(CosineDecay(0.5, steps=3 * STEPS)),
    "adagrad, a rate that falls": lambda: Adagrad(CosineDecay(0.1, steps=3 * STEPS)),
}


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("make", BY_ROWS.values(), ids=BY_ROWS)
def test_the_rows_that_occur_move_to_the_same_bits(make, compiled, written):
    if compiled and installed_version("numba") is None:
        pytest.skip("needs numba")
    before = is_on()
    switch(compiled)
    try:
        by_rows = run(network(), make())
        assert len(written) == 3  # at the end of each epoch
        assert_same(by_rows, run(network(), make(), [ALL_ROWS]))
        assert len(written) == 3 + 3 * STEPS
    finally:
        switch(before)


@pytest.mark.parametrize("make", [lambda: ExponentialMovingAverage(0.9), lambda: Lookahead(steps=2)])
def test_averages_follow_all_rows(make, written):
    by_rows = run(network(), SGD(0.5), average=make())
    assert len(written) == 3
    assert_same(by_rows, run(network(), SGD(0.5), [ALL_ROWS], average=make()))


class OwnSGD(SGD):
    """One that moves parameters without a gradient, too."""

    def update(self, p, g, learning_rate):
        p -= learning_rate * (g + 0.01)


class Watching(Callback):
    """Looks at the gradients after each step."""

    def on_train_begin(self, trainer):
        self.seen, self.gradients = [], trainer.model.gradients

    def on_batch_end(self, trainer):
        self.seen.append(np.count_nonzero(self.gradients[: WORDS * 5].reshape(WORDS, 5).any(axis=1)))


ALL = {
    "adam": (lambda: Adam(0.01), {}),
    "momentum": (lambda: Momentum(0.1), {}),
    "rmsprop": (lambda: RMSprop(0.01), {}),
    "weight decay": (lambda: SGD(0.5, weight_decay=0.1), {}),
    "an SGD of one's own": (lambda: OwnSGD(0.5), {}),
    "a rate of one's own": (lambda: SGD(lambda step: 0.5 / (1 + step)), {}),
    "clipped norm": (lambda: SGD(0.5), {"clip_norm": 0.01}),
    "clipped values": (lambda: SGD(0.5), {"clip_value": 1e-3}),
    "a callback after each step": (lambda: SGD(0.5), {"callbacks": [Watching()]}),
}


@pytest.mark.parametrize(("make", "settings"), ALL.values(), ids=ALL)
def test_whole_gradients_are_written_where_somebody_needs_them(make, settings, written):
    trainer = run(network(), make(), **settings)
    assert len(written) == 3 * STEPS
    callbacks = [*settings.pop("callbacks", []), ALL_ROWS]
    assert_same(trainer, run(network(), make(), callbacks, **settings))


def test_batches_that_are_added_up_are_written_whole(written):
    run(network(), SGD(0.5), epochs=1, accumulate=2)
    assert len(written) == STEPS


class Large(Layer):
    """Says that it needs half a megabyte for each row."""

    def forward(self, x, training=False):
        return x

    def backward(self, dy):
        return dy.copy()

    def numbers_per_row(self):
        return 2**17


@pytest.mark.parametrize("threads", [1, 2])
def test_the_blocks_of_a_batch_are_written_whole(written, threads):
    def blocks():
        layers = [Embedding(WORDS, 5), GlobalAveragePool1D(), Large(), Dense(3), SoftmaxCrossEntropy()]
        return Sequential(layers, input_shape=POSITIONS, seed=0)

    by_rows = run(blocks(), SGD(0.5), epochs=1, threads=threads)
    assert by_rows.model.rows_at_once <= BATCH
    assert len(written) >= STEPS
    assert_same(by_rows, run(blocks(), SGD(0.5), [ALL_ROWS], epochs=1, threads=threads))


def test_a_callback_sees_the_whole_gradient(written):
    watching = Watching()
    run(network(), SGD(0.5), [watching], epochs=1)
    x, _ = problem()
    order = np.random.default_rng((0, 0)).permutation(ROWS)
    expected = [len(np.unique(x[order[start : start + BATCH]])) for start in range(0, ROWS, BATCH)]
    assert watching.seen == expected == written


def test_after_an_epoch_callbacks_see_the_whole_gradient_of_its_last_step():
    seen = []

    def look(trainer):
        seen.append(trainer.model.gradients.copy())

    run(network(), SGD(0.5), [look], epochs=2)
    all_rows = []
    run(network(), SGD(0.5), [lambda trainer: all_rows.append(trainer.model.gradients.copy()), ALL_ROWS], epochs=2)
    assert np.array_equal(seen, all_rows)
    assert np.count_nonzero(seen[0]) > 0


def test_an_embedding_that_also_scores_gets_both_gradients():
    def tied():
        layers = [TiedEmbedding(Embedding(WORDS, 5), [Dense(5)]), SoftmaxCrossEntropy()]
        return Sequential(layers, input_shape=POSITIONS, seed=0)

    x, _ = problem()
    runs = []
    for callbacks in ([], [ALL_ROWS]):
        trainer = Trainer(tied(), SGD(0.5), batch_size=BATCH, seed=0)
        trainer.fit(x, x, epochs=2, callbacks=callbacks, progress=False)
        runs.append(trainer)
    assert_same(*runs)


def branches(frozen=None):
    """Two embeddings of the same ids, the first of which may be frozen while the second learns."""
    embeddings = [Embedding(WORDS, 5), Embedding(WORDS, 3)]
    if frozen is not None:
        embeddings[frozen].trainable = False
    layers = [Concatenate([[embedding] for embedding in embeddings]), GlobalAveragePool1D(), Dense(3)]
    return Sequential([*layers, SoftmaxCrossEntropy()], input_shape=POSITIONS, seed=0)


@pytest.mark.parametrize("frozen", [None, 0, 1])
def test_of_several_embeddings_those_that_are_trained_move(frozen, written):
    by_rows = run(branches(frozen), SGD(0.5))
    assert_same(by_rows, run(branches(frozen), SGD(0.5), [ALL_ROWS]))


def test_a_frozen_embedding_stays():
    model = network(frozen=True)
    before = model.layers[0].weight.value.copy()
    run(model, SGD(0.5))
    assert np.array_equal(model.layers[0].weight.value, before)


def test_layers_that_mix_rows_change_nothing():
    def mixing():
        layers = [Embedding(WORDS, 5), GlobalAveragePool1D(), BatchNorm(), Dense(3), SoftmaxCrossEntropy()]
        return Sequential(layers, input_shape=POSITIONS, seed=0)

    assert_same(run(mixing(), SGD(0.5)), run(mixing(), SGD(0.5), [ALL_ROWS]))


def test_an_optimizer_of_another_model_is_refused():
    trainer = run(network(), Adagrad(0.1))
    trainer.model = branches()
    with pytest.raises(ShapeError, match="make one for each model"):
        trainer.fit(*problem(), progress=False)


class Failing(Layer):
    """Raises an error in its third backward pass."""

    passes = 0

    def forward(self, x, training=False):
        return x

    def backward(self, dy):
        self.passes += 1
        if self.passes == 3:
            raise RuntimeError("a failure")
        return dy


def test_after_an_error_the_gradient_is_whole_and_passes_write_it_at_once():
    layers = [Embedding(WORDS, 5), GlobalAveragePool1D(), Dense(3), Failing(), SoftmaxCrossEntropy()]
    model = Sequential(layers, input_shape=POSITIONS, seed=0)
    with pytest.raises(RuntimeError, match="a failure"):
        run(model, SGD(0.5))
    weight = model.layers[0].weight
    assert weight.rows is None
    assert weight.vectors[1][: WORDS * 5].any()
    x, _ = problem()
    weight.gradient = 1e3
    model.backward(np.ones_like(model.forward(x[:1], training=True)))
    assert np.count_nonzero(model.gradients[: WORDS * 5].reshape(WORDS, 5).any(axis=1)) == len(np.unique(x[0]))


def test_a_fit_leaves_the_parameter_as_it_describes_itself():
    model = network()
    before = repr(model.layers[0].weight)
    run(model, SGD(0.5))
    assert repr(model.layers[0].weight) == before


def test_a_run_that_is_resumed_within_an_epoch_ends_in_the_same_bits(tmp_path):
    path = tmp_path / "run.npz"
    whole = run(network(), Adagrad(0.1))
    trainer = Trainer(network(), Adagrad(0.1), batch_size=BATCH, seed=0)

    def stop(trainer):
        if trainer.step == STEPS + 2:
            trainer.stop()

    trainer.fit(*problem(), epochs=3, callbacks=[FunctionCallback(stop, moment="on_batch_end")], progress=False)
    trainer.save(path)
    resumed = Trainer.load(path)
    assert resumed.position.row == 2 * BATCH
    resumed.fit(*problem(), epochs=2, progress=False)
    assert_same(resumed, whole)
