"""Penalties and constraints: their formulas, and what they do in training."""

import copy
import pickle
import re
from dataclasses import dataclass, field

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
    Constraint,
    Dense,
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

weights = arrays(np.float64, (4, 3), elements=st.floats(-10, 10, allow_subnormal=False))


@given(weights)
def test_l1_and_l2_are_the_sums_of_their_names(w):
    sizes, squares = np.abs(w).sum(), (w**2).sum()
    assert L1(0.5)(w)[0] == pytest.approx(0.5 * sizes)
    assert L2(0.5)(w)[0] == pytest.approx(0.5 * squares)
    assert L1L2(0.25, 0.5)(w)[0] == pytest.approx(0.25 * sizes + 0.5 * squares)


@pytest.mark.parametrize("regularizer", [L1(0.3), L2(0.7), L1L2(0.2, 0.1)], ids=repr)
def test_the_gradient_is_that_of_the_penalty(regularizer):
    w = np.random.default_rng(0).normal(size=(5, 4))
    expected = numeric_gradient(lambda: regularizer(w)[0], w)
    np.testing.assert_allclose(regularizer(w)[1], expected, rtol=1e-6, atol=1e-8)


def test_an_entry_of_zero_has_no_slope():
    assert L1(2.0)(np.zeros((2, 2)))[1].tolist() == [[0, 0], [0, 0]]


@pytest.mark.parametrize("regularizer", [L1(0.3), L2(0.7), L1L2(0.2, 0.1)], ids=repr)
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
    ("make", "error", "message"),
    [
        (lambda: L1(-1), ArgumentError, "L1: strength is -1"),
        (lambda: L2(np.nan), ArgumentError, "L2: strength is nan"),
        (lambda: L2("much"), ArgumentTypeError, "L2: strength is 'much'"),
        (lambda: L1L2(l1=-0.5), ArgumentError, "L1L2: l1 is -0.5"),
        (lambda: L1L2(l2=np.inf), ArgumentError, "L1L2: l2 is inf"),
        (lambda: MaxNorm(0), ArgumentError, "MaxNorm: limit is 0; it must be .*above 0"),
        (lambda: Dense(3, regularizer=1e-4), ArgumentTypeError, "Dense: regularizer is 0.0001; give a Regularizer"),
        (lambda: Dense(3, constraint=L2()), ArgumentTypeError, r"Dense: constraint is L2.*; give a Constraint"),
    ],
)
def test_settings_that_cannot_work_are_refused(make, error, message):
    with pytest.raises(error, match=message):
        make()


@pytest.mark.parametrize("base", [Regularizer(), Constraint()], ids=["regularizer", "constraint"])
def test_the_base_classes_say_what_to_write(base):
    with pytest.raises(NotImplementedError, match="must define"):
        base(np.ones(2)) if isinstance(base, Regularizer) else base.apply(np.ones(2))


@dataclass(eq=False)
class Gain(Layer):
    regularizer: Regularizer | None = None

    def build(self, input_shape, rng):
        self.gain = self.add_parameter("gain", input_shape, "zeros", regularizer=self.regularizer)
        return input_shape


@pytest.mark.parametrize(
    ("layer", "name", "value"),
    [
        (Dense(3, regularizer=L2(0.1)), "regularizer", L2(0.2)),
        (Dense(3, regularizer=L2(0.1)), "regularizer", None),
        (Dense(3), "constraint", MaxNorm(1.0)),
        (Gain(), "regularizer", L1()),
    ],
)
def test_what_is_built_into_a_layer_cannot_be_set_afterwards(layer, name, value):
    # In the present run it would do nothing, and in one that is resumed from a file it would.
    layer = copy.deepcopy(layer)
    setattr(layer, name, value)
    assert getattr(layer, name) is value
    again = copy.deepcopy(Sequential([layer], input_shape=4)).layers[0]
    for built in (layer, again):
        with pytest.raises(ArgumentError, match=rf"^layer 1 '{layer.name}' is built, and its {name} stays: make a new"):
            setattr(built, name, L2(0.3))
    assert getattr(layer, name) is value
    assert repr(again) == repr(layer)


@dataclass(eq=False)
class BySettings(Regularizer):
    base: float = 1.0
    kept: float = field(default=0.0, init=False)


class WithoutSettings(Constraint):
    pass


@pytest.mark.parametrize(
    ("layer", "name", "cure"),
    [
        (Dense(3, regularizer=L2(0.1)), "regularizer", "layer.regularizer.strength"),
        (Dense(3, regularizer=L1L2()), "regularizer", "layer.regularizer.l1 or layer.regularizer.l2"),
        (Dense(3, regularizer=BySettings()), "regularizer", "layer.regularizer.base"),
        (Dense(3, constraint=MaxNorm()), "constraint", "layer.constraint.limit"),
        (Dense(3, constraint=WithoutSettings()), "constraint", None),
        (Dense(3), "regularizer", None),
    ],
)
def test_the_cure_names_the_settings_of_what_the_layer_has(layer, name, cure):
    layer = copy.deepcopy(layer)
    layer.build(4, 0)
    told = f", or change a setting of the {name} that it has, {cure}" if cure else ""
    with pytest.raises(ArgumentError, match=f"stays: make a new layer{re.escape(told)}$"):
        setattr(layer, name, None)


@dataclass(eq=False)
class WithOptions(Layer):
    regularizer: Regularizer | None
    constraint: Constraint | None = field(default=None, repr=False, kw_only=True)


@dataclass(eq=False)
class WithFactory(Layer):
    regularizer: Regularizer | None = field(default_factory=lambda: L2(0.5))
    constraint: Constraint | None = field(default_factory=lambda: None)


class Plain(Layer):
    regularizer = L2(0.5)
    constraint = None


class SetInBuild(Layer):
    def build(self, input_shape, rng):
        self.regularizer, self.constraint = L2(0.5), None
        return input_shape


@pytest.mark.parametrize("make", [lambda: WithOptions(L2(0.5)), WithFactory, Plain, SetInBuild])
def test_however_a_layer_of_ones_own_declares_them_they_stay_once_it_is_built(make):
    for _ in range(2):  # also where one of its class has been built before
        layer = make()
        layer.regularizer = layer.constraint = None
        layer.regularizer = L2(0.5)
        layer.build(3, 0)
        layer.build(4, 1)
        for each in (layer, copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
            assert (repr(each.regularizer), each.constraint) == ("L2(strength=0.5)", None)
            for name in ("regularizer", "constraint"):
                with pytest.raises(ArgumentError, match=f"is built, and its {name} stays"):
                    setattr(each, name, None)


def test_a_field_of_ones_own_may_have_options():
    layer = WithOptions(L2(0.5))
    layer.build(3, 0)
    assert repr(layer) == repr(WithOptions(L2(0.5)))
    assert repr(layer).endswith("WithOptions(regularizer=L2(strength=0.5))")
    assert layer.constraint is WithOptions.constraint is None


def test_a_field_that_must_be_given_stays_so_once_a_layer_is_built():
    WithOptions(None).build(3, 0)

    @dataclass(eq=False)
    class Below(WithOptions):
        regularizer: Regularizer | None

    for kind in (WithOptions, Below):
        with pytest.raises(TypeError, match="'regularizer'"):
            kind()
    with pytest.raises(AttributeError, match="WithOptions has no attribute 'regularizer' yet"):
        _ = WithOptions.regularizer


def test_properties_and_methods_of_these_names_are_the_layers_own():
    class Own(Layer):
        strength = 0.5

        @property
        def regularizer(self):
            return L2(self.strength)

        @regularizer.setter
        def regularizer(self, value):
            self.strength = value.strength

        def constraint(self, values):
            return values + 1

    layer = Own()
    layer.build(3, 0)
    layer.regularizer = L2(0.25)
    assert (repr(layer.regularizer), layer.constraint(1)) == ("L2(strength=0.25)", 2)


def test_a_layer_that_has_neither_gets_neither():
    layer = ReLU()
    layer.build(3, 0)
    assert not hasattr(ReLU, "regularizer")
    layer.regularizer = "anything"


@pytest.mark.parametrize(("name", "value"), [("regularizer", L2()), ("constraint", None), ("decays", False)])
def test_what_a_parameter_was_declared_with_stays(name, value):
    parameter = network(regularizer=L2(0.1)).layers[0].weight
    before = getattr(parameter, name)
    with pytest.raises(AttributeError):
        setattr(parameter, name, value)
    assert getattr(parameter, name) is before


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

    def test_a_classifier_with_a_penalty_still_reports_its_accuracy(self):
        x, _ = problem()
        y = (x[:, 0] > 0).astype(int)
        model = Sequential([Dense(2, regularizer=L2(1e-3)), SoftmaxCrossEntropy()], seed=0)
        trainer = Trainer(model, SGD(0.5), batch_size=10, seed=0)
        trainer.fit(x, y, epochs=20, progress=False)
        assert trainer.evaluate(x, y)["accuracy"] == np.mean(model.predict(x) == y) > 0.9
