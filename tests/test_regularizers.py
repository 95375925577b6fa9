"""Penalties and constraints: their formulas, and what they do in training."""

import copy
import pickle

import numpy as np
import pytest
from gradients import numeric_gradient
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from minidl import (
    L1,
    L1L2,
    L2,
    SGD,
    Callback,
    Checkpoint,
    Constant,
    Constraint,
    Conv2D,
    Conv2DTranspose,
    Dense,
    DepthwiseConv2D,
    Flatten,
    Layer,
    MaxNorm,
    MeanSquaredError,
    Regularizer,
    ReLU,
    Sequential,
    SoftmaxCrossEntropy,
    Trainer,
)
from minidl.errors import ArgumentError, ArgumentTypeError
from minidl.settings import setting

weights = arrays(np.float64, (4, 3), elements=st.floats(-10, 10, allow_subnormal=False))


@given(weights)
def test_l1_and_l2_are_the_sums_of_their_names(w):
    sizes, squares = np.abs(w).sum(), (w**2).sum()
    assert L1(0.5)(w)[0] == pytest.approx(0.5 * sizes)
    assert L2(0.5)(w)[0] == pytest.approx(0.5 * squares)
    assert L1L2(l1=0.25, l2=0.5)(w)[0] == pytest.approx(0.25 * sizes + 0.5 * squares)


@pytest.mark.parametrize("regularizer", [L1(0.3), L2(0.7), L1L2(l1=0.2, l2=0.1)], ids=repr)
def test_the_gradient_is_that_of_the_penalty(regularizer):
    w = np.random.default_rng(0).normal(size=(5, 4))
    expected = numeric_gradient(lambda: regularizer(w)[0], w)
    np.testing.assert_allclose(regularizer(w)[1], expected, rtol=1e-6, atol=1e-8)


def test_an_entry_of_zero_has_no_slope():
    assert L1(2.0)(np.zeros((2, 2)))[1].tolist() == [[0, 0], [0, 0]]


@pytest.mark.parametrize("regularizer", [L1(0.3), L2(0.7), L1L2(l1=0.2, l2=0.1)], ids=repr)
def test_float32_stays_float32(regularizer):
    assert regularizer(np.ones((2, 3), np.float32))[1].dtype == np.float32


@given(weights, st.floats(0.1, 5))
def test_max_norm_shortens_what_is_too_long_and_leaves_the_rest(w, limit):
    before, norms = w.copy(), np.linalg.norm(w, axis=0)
    MaxNorm(limit).apply(w)
    for unit in range(3):
        if norms[unit] <= limit * (1 - 1e-9):
            np.testing.assert_array_equal(w[:, unit], before[:, unit])
        elif norms[unit] >= limit * (1 + 1e-9):
            assert np.linalg.norm(w[:, unit]) == pytest.approx(limit)
            np.testing.assert_allclose(w[:, unit] * norms[unit], before[:, unit] * limit, rtol=1e-9, atol=1e-200)


def test_max_norm_takes_all_axes_but_the_last_for_one_unit():
    kernel = np.full((3, 3, 4, 2), 1.0)
    MaxNorm(3.0).apply(kernel)
    np.testing.assert_allclose(np.sqrt((kernel**2).sum(axis=(0, 1, 2))), [3, 3])


@pytest.mark.parametrize(
    "layer",
    [
        Conv2D(4, 3, groups=2, constraint=MaxNorm(0.5), regularizer=L2(0.1)),
        DepthwiseConv2D(3, multiplier=2, constraint=MaxNorm(0.5), regularizer=L2(0.1)),
        Conv2DTranspose(4, 3, constraint=MaxNorm(0.5), regularizer=L2(0.1)),
    ],
    ids=repr,
)
def test_each_filter_of_a_convolution_is_one_unit_and_its_bias_is_left_alone(layer):
    model = Sequential([layer, Flatten(), Dense(1), MeanSquaredError()], input_shape=(4, 5, 2), seed=0)
    filters = np.moveaxis(layer.weight.value, -1, 0).reshape(4, -1)
    layer.bias.value = 7
    assert model.penalty() == pytest.approx(0.1 * (filters.astype(float) ** 2).sum(), rel=1e-6)
    x = np.random.default_rng(0).normal(size=(8, 4, 5, 2))
    Trainer(model, SGD(1e-5), seed=0).fit(x, x[:, 0, 0, :1], epochs=1, progress=False)
    norms = [np.linalg.norm(layer.weight.value[..., filter_]) for filter_ in range(4)]
    np.testing.assert_allclose(norms, 0.5, rtol=1e-5)  # He's first ones are longer
    np.testing.assert_allclose(layer.bias.value, 7, rtol=0.1)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: L1(-1), ArgumentError, "L1: strength is -1"),
        (lambda: L2(np.nan), ArgumentError, "L2: strength is nan"),
        (lambda: L2("much"), ArgumentTypeError, "L2: strength is 'much'"),
        (lambda: L1L2(l1=-0.5), ArgumentError, "L1L2: l1 is -0.5"),
        (lambda: L1L2(l2=np.inf), ArgumentError, "L1L2: l2 is inf"),
        (lambda: MaxNorm(0), ArgumentError, "MaxNorm: limit is 0; it must be .*above 0"),
        (
            lambda: Dense(3, regularizer=1e-4),
            ArgumentTypeError,
            r"Dense: regularizer is 0.0001; it must be a Regularizer, such as L2",
        ),
        (
            lambda: Dense(3, constraint=L2()),
            ArgumentTypeError,
            r"Dense: constraint is L2.*; it must be a Constraint, such as MaxNorm",
        ),
        (
            lambda: L1L2(0.1),
            ArgumentTypeError,
            r"L1L2: too many positional arguments; it is .*l1=",
        ),
    ],
)
def test_settings_that_cannot_work_are_refused(make, error, message):
    with pytest.raises(error, match=message):
        make()


@pytest.mark.parametrize("base", [Regularizer(), Constraint()], ids=["regularizer", "constraint"])
def test_the_base_classes_say_what_to_write(base):
    with pytest.raises(NotImplementedError, match="must define"):
        base(np.ones(2)) if isinstance(base, Regularizer) else base.apply(np.ones(2))


@pytest.mark.parametrize(
    ("make", "name"), [(L1, "strength"), (L2, "strength"), (L1L2, "l1"), (L1L2, "l2"), (MaxNorm, "limit")]
)
def test_a_setting_that_is_changed_is_checked_too(make, name):
    part = make()
    with pytest.raises(ArgumentError, match=f"^{make.__name__}: {name} is -1; it must be a finite number"):
        setattr(part, name, -1)
    setattr(part, name, np.float32(0.5))
    assert type(getattr(part, name)) is float


class Gain(Layer):
    """A layer of the user's own with two parameters, one of which is regularized."""

    regularizer: Regularizer | None = setting(None)
    constraint: Constraint | None = setting(None)

    def build(self, input_shape, declare):
        self.gain = declare.parameter("gain", input_shape, Constant(2), regularized=True)
        self.shift = declare.parameter("shift", input_shape, Constant(2))
        return input_shape

    def forward(self, x, training=False):
        if training:
            self.saved = x
        return x * self.gain.value + self.shift.value

    def backward(self, dy):
        self.gain.gradient[...] = (dy * self.saved).sum(axis=0)
        self.shift.gradient[...] = dy.sum(axis=0)
        return dy * self.gain.value


def test_only_what_a_layer_declares_as_regularized_is():
    layer = Gain(regularizer=L2(0.5), constraint=MaxNorm(1.0))
    model = Sequential([layer], input_shape=1, dtype="float64")
    assert model.penalty() == 0.5 * 2**2
    model.gradients[:] = 0
    assert model.penalty(add_gradients=True) == 0.5 * 2**2
    np.testing.assert_array_equal((layer.gain.gradient[0], layer.shift.gradient[0]), (2.0, 0.0))
    model.constrain()
    np.testing.assert_array_equal((layer.gain.value[0], layer.shift.value[0]), (1.0, 2.0))


LAYERS = [lambda **settings: Dense(3, **settings), Gain]
before_and_after = pytest.mark.parametrize("is_set_up", [False, True], ids=["before", "after"])


@pytest.mark.parametrize("make", LAYERS, ids=["ours", "own"])
@before_and_after
def test_they_may_be_set_and_taken_away_at_any_time_and_count_from_then_on(make, is_set_up, tmp_path):
    layer = make()
    model = Sequential([layer], seed=0)
    if is_set_up:
        model.set_up(4)
    layer.regularizer, layer.constraint = L1(0.5), MaxNorm(0.25)
    model.set_up_for(np.zeros((1, 4)))
    weight = layer.gain if isinstance(layer, Gain) else layer.weight
    assert model.penalty() == pytest.approx(0.5 * np.abs(weight.value).sum(), rel=1e-6)
    model.constrain()
    assert np.linalg.norm(weight.value.reshape(-1, weight.value.shape[-1]), axis=0).max() <= 0.25 * (1 + 1e-6)
    layer.regularizer = L2(3.0)
    assert model.penalty() == pytest.approx(3 * (weight.value**2).sum(), rel=1e-6)
    model.save(tmp_path / "model.npz")
    for again in (Sequential.load(tmp_path / "model.npz"), copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert repr(again) == repr(model)
        assert again.penalty() == model.penalty()
    layer.regularizer = layer.constraint = None
    before = weight.value.copy()
    weight.value *= 1000
    assert model.penalty() == 0
    model.constrain()
    np.testing.assert_array_equal(weight.value, before * 1000)


@before_and_after
def test_what_a_layer_refuses_it_refuses_at_any_time_and_keeps_what_it_had(is_set_up):
    layer = Dense(3, regularizer=L2(0.1))
    if is_set_up:
        layer.set_up(4)
    with pytest.raises(ArgumentTypeError, match=r"Dense: regularizer is 0\.1; it must be a Regularizer, such as L2"):
        layer.regularizer = 0.1
    with pytest.raises(ArgumentTypeError, match=r"Dense: constraint is L1.*; it must be a Constraint, such as MaxNorm"):
        layer.constraint = L1()
    assert (repr(layer.regularizer), layer.constraint) == ("L2(strength=0.1)", None)


def test_properties_of_these_names_are_the_layers_own():
    class Own(Gain):
        strength = 0.5

        @property
        def regularizer(self):
            return L2(self.strength)

        @regularizer.setter
        def regularizer(self, value):
            self.strength = self.strength if value is None else value.strength

    layer = Own()
    model = Sequential([layer], input_shape=1, dtype="float64")
    assert model.penalty() == 0.5 * 2**2
    layer.regularizer = L2(0.25)
    assert model.penalty() == 0.25 * 2**2


def test_a_layer_that_has_neither_has_no_penalty():
    model = Sequential([ReLU(), Dense(2)], input_shape=3)
    assert model.penalty() == 0
    assert not hasattr(model.layers[0], "regularizer")


class Sparse(Regularizer):
    """A part of the user's own: the root of each size, smoothed."""

    strength: float = setting(0.01, kw_only=False, low=0)
    epsilon: float = setting(0.1, above=0)

    def __call__(self, values):
        roots = np.sqrt(np.abs(values) + self.epsilon)
        return self.strength * float(roots.sum()), self.strength * np.sign(values) / (2 * roots)


class Positive(Constraint):
    def apply(self, values):
        np.maximum(values, 0, out=values)


def test_a_regularizer_and_a_constraint_of_ones_own_work_and_are_saved_as_ours_are(tmp_path):
    w = np.random.default_rng(0).normal(size=(5, 4))
    np.testing.assert_allclose(Sparse(2)(w)[1], numeric_gradient(lambda: Sparse(2)(w)[0], w), rtol=1e-6, atol=1e-8)
    model = network(regularizer=Sparse(0.1), constraint=Positive())
    x, y = problem()
    Trainer(model, SGD(0.1), batch_size=10, seed=0).fit(x, y, epochs=2, progress=False)
    assert (model.layers[0].weight.value >= 0).all()
    model.save(tmp_path / "model.npz")
    again = Sequential.load(tmp_path / "model.npz")
    settings = "regularizer=Sparse(strength=0.1, epsilon=0.1), constraint=Positive()"
    assert repr(again.layers[0]) == f"Dense(units=5, initializer='he_normal', use_bias=True, {settings})"
    assert again.penalty() == model.penalty() > 0


def problem(rows=30):
    rng = np.random.default_rng(0)
    return rng.normal(size=(rows, 4)), rng.normal(size=(rows, 2))


def network(**options):
    return Sequential(
        [Dense(5, **options), ReLU(), Dense(2), MeanSquaredError()], input_shape=4, seed=0, dtype="float64"
    )


class TestInTraining:
    @pytest.mark.parametrize("rows", [30, 2500], ids=["one block", "several blocks"])
    def test_the_step_is_that_of_loss_and_penalty_together(self, rows):
        x, y = problem(rows)
        model, plain = network(regularizer=L2(0.1)), network()
        weight = plain.layers[0].weight.value.copy()
        Trainer(model, SGD(1.0), batch_size=None).fit(x, y, progress=False)
        Trainer(plain, SGD(1.0), batch_size=None).fit(x, y, progress=False)
        expected = plain.parameters.copy()
        expected[: weight.size] -= 2 * 0.1 * weight.ravel()  # the weight of the first layer comes first
        np.testing.assert_allclose(model.parameters, expected, rtol=1e-10, atol=1e-12)

    def test_the_reported_loss_has_the_penalty_in_training_and_in_evaluation(self):
        x, y = problem()
        model, plain = network(regularizer=L1(0.2)), network()
        penalty = 0.2 * np.abs(plain.layers[0].weight.value).sum()
        without = Trainer(plain, SGD(0.0)).evaluate(x, y)["loss"]
        trainer = Trainer(model, SGD(0.0), batch_size=7)
        assert trainer.evaluate(x, y)["loss"] == pytest.approx(without + penalty)
        history = trainer.fit(x, y, validation_data=(x[:9], y[:9]), progress=False)
        assert history["loss"][0] == pytest.approx(without + penalty)
        assert history["val_loss"][0] == pytest.approx(
            Trainer(plain, SGD(0.0)).evaluate(x[:9], y[:9])["loss"] + penalty
        )

    def test_the_constraint_holds_after_every_step(self):
        x, y = problem()
        model, norms = network(constraint=MaxNorm(0.5)), []

        class Look(Callback):
            def on_batch_end(self, trainer):
                norms.append(np.linalg.norm(trainer.model.layers[0].weight.value, axis=0).max())

        Trainer(model, SGD(0.5), batch_size=5, seed=0).fit(x, y, epochs=3, callbacks=[Look()], progress=False)
        assert max(norms) == pytest.approx(0.5)
        assert len(norms) == 18

    def test_a_strong_l1_leaves_few_weights_that_count(self):
        x, y = problem(200)
        sparse, plain = network(regularizer=L1(0.05)), network()
        for model in (sparse, plain):
            Trainer(model, SGD(0.05), batch_size=20, seed=0).fit(x, y, epochs=60, progress=False)
        small = [(np.abs(model.layers[0].weight.value) < 0.01).mean() for model in (sparse, plain)]
        assert small[0] > 0.5
        assert small[1] < 0.2

    def test_nested_models_and_copies_keep_theirs(self, tmp_path):
        inner = Sequential([Dense(5, regularizer=L2(0.1), constraint=MaxNorm(1.0)), ReLU()])
        model = Sequential([inner, Dense(2, regularizer=L1(0.1)), MeanSquaredError()], input_shape=4, seed=0)
        first, second = inner.layers[0].weight.value, model.layers[1].weight.value
        expected = 0.1 * (first**2).sum() + 0.1 * np.abs(second).sum()
        assert model.penalty() == pytest.approx(expected, rel=1e-6)
        model.save(tmp_path / "model.npz")
        again = Sequential.load(tmp_path / "model.npz")
        assert again.penalty() == pytest.approx(expected, rel=1e-6)
        assert repr(again) == repr(model)
        again.parameters[:] = 5
        again.constrain()
        assert np.linalg.norm(again.layers[0].layers[0].weight.value, axis=0).max() == pytest.approx(1)

    def test_a_run_whose_strength_is_changed_by_the_way_resumes_to_the_same_bits(self, tmp_path):
        x, y = problem(60)

        def anneal(trainer):
            trainer.model.layers[0].regularizer.strength *= 3

        def finish(trainer, *callbacks):
            trainer.fit(x, y, epochs=6 - trainer.epoch, callbacks=[anneal, *callbacks], progress=False)
            return trainer.model

        first = Trainer(network(regularizer=L2(0.001)), SGD(0.1), batch_size=20, seed=0)
        whole = finish(first, Checkpoint(tmp_path, keep=None))
        resumed = finish(Trainer.load(tmp_path / "step_0000000009.npz"))
        np.testing.assert_array_equal(resumed.parameters, whole.parameters)
        assert resumed.penalty() == whole.penalty() > 0.1

    def test_a_penalty_and_a_constraint_that_come_in_a_run_hold_from_then_on_and_resume_to_the_same_bits(
        self, tmp_path
    ):
        x, y = problem(60)

        def change(trainer):
            layer = trainer.model.layers[0]
            if trainer.epoch == 2:
                layer.regularizer, layer.constraint = L1(0.05), MaxNorm(0.5)
            if trainer.epoch == 5:
                layer.regularizer = None

        def finish(trainer, *callbacks):
            trainer.fit(x, y, epochs=7 - trainer.epoch, callbacks=[change, *callbacks], progress=False)
            return trainer.model

        plain, first = (Trainer(network(), SGD(0.1), batch_size=20, seed=0) for _ in range(2))
        plain.fit(x, y, epochs=7, progress=False)
        whole = finish(first, Checkpoint(tmp_path, keep=None))
        assert first.history["loss"][:2] == plain.history["loss"][:2]
        assert first.history["loss"][2] > plain.history["loss"][2]
        weight = whole.layers[0].weight.value
        assert np.linalg.norm(weight, axis=0).max() <= 0.5 * (1 + 1e-12)
        assert whole.penalty() == 0
        for step in (6, 9, 15):
            resumed = finish(Trainer.load(tmp_path / f"step_{step:010d}.npz"))
            np.testing.assert_array_equal(resumed.parameters, whole.parameters)
            assert repr(resumed) == repr(whole)

    def test_a_frozen_layer_keeps_its_weights_and_its_penalty_is_still_reported(self):
        x, y = problem()
        model, plain = network(regularizer=L2(0.1), constraint=MaxNorm(0.01)), network()
        model.layers[0].trainable = False
        weight = model.layers[0].weight.value.copy()
        trainer = Trainer(model, SGD(0.1), batch_size=10, seed=0)
        without = Trainer(plain, SGD(0.0)).evaluate(x, y)["loss"]
        assert trainer.evaluate(x, y)["loss"] == pytest.approx(without + 0.1 * (weight**2).sum())
        trainer.fit(x, y, epochs=3, progress=False)
        np.testing.assert_array_equal(model.layers[0].weight.value, weight)

    def test_a_classifier_with_a_penalty_still_reports_its_accuracy(self):
        x, _ = problem()
        y = (x[:, 0] > 0).astype(int)
        model = Sequential([Dense(2, regularizer=L2(1e-3)), SoftmaxCrossEntropy()], seed=0)
        trainer = Trainer(model, SGD(0.5), batch_size=10, seed=0)
        trainer.fit(x, y, epochs=20, progress=False)
        assert trainer.evaluate(x, y)["accuracy"] == np.mean(model.predict(x) == y) > 0.9


@pytest.mark.parametrize("name", ["regularizer", "constraint"])
def test_on_a_layer_without_that_field_setting_one_does_not_silently_do_nothing(name):
    with pytest.raises(ArgumentError, match=f"^ReLU has no '{name}': set the {name} of a layer that has one"):
        setattr(ReLU(), name, L2())


def test_a_regularized_parameter_needs_the_field_that_is_saved():
    class Forgetful(Gain):
        pass

    class Fieldless(Layer):
        def build(self, input_shape, declare):
            self.gain = declare.parameter("gain", input_shape, "ones", regularized=True)
            return input_shape

    Sequential([Forgetful()], input_shape=3)
    with pytest.raises(ArgumentTypeError, match="'gain' is regularized: Fieldless needs a field regularizer"):
        Sequential([Fieldless()], input_shape=3)
