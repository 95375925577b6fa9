"""What holds for every network: properties of models, losses and training, on random stacks of layers."""

import copy
import pickle

import numpy as np
import pytest
from gradients import STEP
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from networks import problems

from minidl import SGD, Adam, Dense, MeanSquaredError, Sequential, SoftmaxCrossEntropy, Trainer
from minidl.functional import log_softmax, one_hot, softmax

some = settings(max_examples=40)

# float64 rounds by 1e-16 and float32 by 6e-8; sums in another order, of at most 64 terms in each of at most eight
# layers, amplify that some thousand times at most.
CLOSE = {"float64": {"rtol": 1e-10, "atol": 1e-12}, "float32": {"rtol": 1e-3, "atol": 1e-4}}


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    return tmp_path_factory.mktemp("models") / "model.npz"


def outputs(model, x, **options):
    return (
        model.predict(x, **options) if isinstance(model.loss, MeanSquaredError) else model.predict_proba(x, **options)
    )


def train(problem, optimizer, **options):
    trainer = Trainer(problem.model, optimizer, seed=0, **options)
    trainer.fit(problem.x, problem.targets, progress=False)
    return trainer


def assert_parameters_and_gradients_are_one_memory_each(model):
    """Write numbers into each vector; the shaped views, laid side by side, must show them all in their order."""
    for vector, part in ((model.parameters, "value"), (model.gradients, "gradient")):
        assert vector.shape == (model.count_parameters(),)
        kept = vector.copy()
        vector[:] = np.arange(vector.size)
        views = [getattr(parameter, part).ravel() for parameter in model.named_parameters().values()]
        np.testing.assert_array_equal(np.concatenate(views), vector)
        vector[:] = kept


class TestVectorsAndViews:
    @some
    @given(problem=problems("float32"))
    def test_they_are_one_memory_also_after_a_move_a_copy_a_pickle_a_load_and_training(self, problem, file):
        model = problem.model
        expected = outputs(model, problem.x)
        assert_parameters_and_gradients_are_one_memory_each(model)
        features = model.input_shape[-1]
        whole = Sequential([Dense(features), Sequential(model.layers), Dense(3)], input_shape=model.input_shape)
        for mine, others in ((model.parameters, whole.parameters), (model.gradients, whole.gradients)):
            assert np.shares_memory(mine, others)
        model.save(file)
        for other in (model, copy.deepcopy(model), pickle.loads(pickle.dumps(model)), Sequential.load(file)):
            assert_parameters_and_gradients_are_one_memory_each(other)
            np.testing.assert_array_equal(outputs(other, problem.x), expected)
        train(problem, Adam())
        assert_parameters_and_gradients_are_one_memory_each(model)
        assert np.shares_memory(model.parameters, whole.parameters)

    @some
    @given(problem=problems("float32"))
    def test_a_copy_shares_nothing_with_its_model(self, problem):
        other = copy.deepcopy(problem.model)
        train(problem, SGD(0.1))
        for vector in (other.parameters, other.gradients):
            assert not np.shares_memory(vector, problem.model.parameters)
            assert not np.shares_memory(vector, problem.model.gradients)
        before = outputs(problem.model, problem.x)
        other.parameters[:] = 0
        np.testing.assert_array_equal(outputs(problem.model, problem.x), before)


@some
@given(problem=st.sampled_from(["float32", "float64"]).flatmap(problems))
def test_a_saved_and_loaded_model_has_the_same_bits_and_trains_to_the_same_bits(problem, file):
    train(problem, Adam())
    problem.model.save(file)
    loaded = copy.copy(problem)
    loaded.model = Sequential.load(file)
    for _ in range(2):
        assert repr(loaded.model) == repr(problem.model)
        assert loaded.model.parameters.dtype == problem.model.parameters.dtype
        assert loaded.model.parameters.tobytes() == problem.model.parameters.tobytes()
        assert outputs(loaded.model, problem.x).tobytes() == outputs(problem.model, problem.x).tobytes()
        train(problem, Adam(), batch_size=3)
        train(loaded, Adam(), batch_size=3)


@some
@given(problem=problems(), data=st.data())
def test_frozen_layers_stay_as_they_are_and_the_others_learn_as_if_all_did(problem, data):
    model = problem.model
    with_parameters = [layer for layer in model.walk() if layer.own_trainable and layer is not model]
    frozen = data.draw(st.lists(st.sampled_from(with_parameters), unique_by=id), label="frozen")

    def gradients():
        _, dscores = model.loss(model.forward(problem.x, training=True), problem.targets)
        model.backward(dscores)
        return model.gradients.copy()

    expected = gradients()
    for layer in frozen:
        layer.trainable = False
    trained, kept = (model.parts(lambda layer, _, own=own: layer.own_trainable is own) for own in (True, False))
    found = gradients()
    before = model.parameters.copy()
    train(problem, Adam(weight_decay=0.1), batch_size=3)
    for part in trained:
        np.testing.assert_array_equal(found[part], expected[part])
        if expected[part].any():
            assert (model.parameters[part] != before[part]).any()
    for part in kept:
        np.testing.assert_array_equal(model.parameters[part], before[part])


class TestRows:
    @some
    @given(problem=problems("float32"), batch_size=st.integers(1, 12))
    def test_predictions_do_not_depend_on_the_batches_they_are_made_in(self, problem, batch_size):
        whole, cut = (outputs(problem.model, problem.x, batch_size=size) for size in (12, batch_size))
        assert whole.dtype == cut.dtype == np.float32
        np.testing.assert_allclose(cut, whole, **CLOSE["float32"])

    @some
    @given(problem=problems(), seed=st.integers(0, 1000))
    def test_permuted_rows_give_permuted_predictions(self, problem, seed):
        order = np.random.default_rng(seed).permutation(len(problem.x))
        whole = outputs(problem.model, problem.x)
        np.testing.assert_allclose(outputs(problem.model, problem.x[order]), whole[order], **CLOSE["float64"])

    @some
    @given(problem=problems(), size=st.integers(1, 5), weighted=st.booleans())
    def test_the_gradient_of_a_batch_is_the_weighted_mean_of_those_of_its_rows(self, problem, size, weighted):
        model, x, targets = problem.model, problem.x, problem.targets
        weights = np.random.default_rng(0).uniform(0.5, 2, len(x)) if weighted else np.ones(len(x))

        # Row by row, with nothing but forward, loss and backward, and the mean written out.
        losses, gradients = [], []
        for row in range(len(x)):
            scores = model.forward(x[row : row + 1], training=True)
            loss, dscores = model.loss(scores, targets[row : row + 1])
            model.backward(dscores)
            losses.append(loss)
            gradients.append(model.gradients.copy())
        expected_loss = np.average(losses, weights=weights)
        expected = np.average(gradients, axis=0, weights=weights)

        # As parts of `size` rows, each with its share of the whole weight.
        prepared = model.loss.prepare_targets(targets, model.output_shape, model.dtype)
        loss, gradient = 0.0, np.zeros_like(expected)
        for start in range(0, len(x), size):
            part = slice(start, start + size)
            scores = model.forward(x[part], training=True)
            own = weights[part] if weighted else None
            summed, dscores = model.loss.total(scores, prepared[part], own, scale=1 / weights.sum())
            model.backward(dscores)
            loss += summed
            gradient += model.gradients
        np.testing.assert_allclose(loss / weights.sum(), expected_loss, **CLOSE["float64"])
        np.testing.assert_allclose(gradient, expected, **CLOSE["float64"])

        # As the trainer's full batch, in one piece and in blocks; at the rate 0 the parameters stay as they are.
        for rows_at_once in (len(x), size):
            model.rows_at_once = rows_at_once
            trainer = Trainer(model, SGD(0), batch_size=None)
            trainer.fit(x, targets, sample_weight=weights if weighted else None, progress=False)
            np.testing.assert_allclose(trainer.history["loss"], [expected_loss], **CLOSE["float64"])
            np.testing.assert_allclose(model.gradients, expected, **CLOSE["float64"])


# Derandomized, for a random draw could lie within a step of a kink of ReLU, where there is no derivative.
@settings(some, derandomize=True, max_examples=100)
@given(problem=problems())
def test_the_loss_changes_along_any_direction_as_its_gradient_says(problem):
    model, x, targets = problem.model, problem.x, problem.targets
    model.needs_input_gradient = True
    scores = model.forward(x, training=True)
    loss, dscores = model.loss(scores, targets)
    dx = model.backward(dscores)

    rng = np.random.default_rng(0)
    start, direction, dx_direction = (
        model.parameters.copy(),
        rng.normal(size=model.parameters.size),
        rng.normal(size=x.shape),
    )
    losses = []
    for step in (STEP, -STEP):
        model.parameters = start + step * direction
        losses.append(model.loss(model.forward(x + step * dx_direction), targets)[0])
    numeric = (losses[0] - losses[1]) / (2 * STEP)

    # The curvature of deep stacks is far above 1, so the step's error is above that of a single layer.
    analytic = model.gradients @ direction + np.sum(dx * dx_direction)
    np.testing.assert_allclose(analytic, numeric, rtol=1e-5, atol=1e-7 * max(1, loss))


@some
@given(problem=problems(losses=[SoftmaxCrossEntropy]))
def test_labels_and_one_hot_rows_train_alike(problem):
    other = copy.deepcopy(problem)
    (classes,) = problem.model.output_shape
    other.targets = one_hot(problem.targets, classes)
    histories = [train(one, SGD(0.1), batch_size=4).history for one in (problem, other)]
    np.testing.assert_allclose(other.model.parameters, problem.model.parameters, **CLOSE["float64"])
    np.testing.assert_allclose(histories[0]["loss"], histories[1]["loss"], **CLOSE["float64"])
    assert histories[0]["accuracy"] == histories[1]["accuracy"]


@some
@given(
    eighths=arrays(
        np.int64, array_shapes(min_dims=2, max_dims=2, min_side=2, max_side=5), elements=st.integers(-800, 800)
    ),
    shift=st.integers(-(10**6), 10**6),
)
def test_a_constant_added_to_all_scores_changes_no_bit_of_softmax_and_its_loss(eighths, shift):
    # Eighths plus a whole number are exact in float64, so nothing but the softmax itself could round.
    scores = eighths / 8
    labels = np.arange(len(scores)) % scores.shape[1]
    np.testing.assert_array_equal(softmax(scores + shift), softmax(scores))
    np.testing.assert_array_equal(log_softmax(scores + shift), log_softmax(scores))
    for plain, shifted in zip(*(SoftmaxCrossEntropy()(s, labels) for s in (scores, scores + shift)), strict=True):
        np.testing.assert_array_equal(shifted, plain)
