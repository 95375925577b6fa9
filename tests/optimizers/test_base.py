import copy
import json
import math
import pickle
from dataclasses import field

import numpy as np
import pytest
from trajectories import SIZE, assert_takes_the_way_of, decreasing, draw

from minidl.errors import ArgumentError, ArgumentTypeError, ShapeError
from minidl.optimizers import SGD, Adadelta, Adagrad, Adam, AdamW, AMSGrad, Lion, Momentum, NAdam, Optimizer, RMSprop
from minidl.serialization import decode, encode
from minidl.settings import setting


class SignMomentum(Optimizer):
    """A part of the user's own, as the documents show it."""

    momentum: float = setting(0.9, low=0, below=1)
    slots = ("velocity",)

    def update(self, parameters, gradients, learning_rate, velocity):
        velocity *= self.momentum
        velocity += gradients
        parameters -= learning_rate * np.sign(velocity)


def sign_momentum(p, gradients, rates, mu=0.9):
    v = 0.0
    for g, rate in zip(gradients, rates, strict=True):
        v = mu * v + g
        p = p - rate * math.copysign(1, v)
        yield p, v


OPTIMIZERS = [
    SGD(),
    Momentum(),
    Momentum(nesterov=True),
    SignMomentum(),
    Adam(),
    AdamW(),
    AMSGrad(),
    NAdam(),
    RMSprop(),
    RMSprop(momentum=0.9, centered=True),
    Adagrad(),
    Adadelta(),
    Lion(weight_decay=0.1),
]
every_optimizer = pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=repr)


def fresh(optimizer, **settings):
    """Another of the same settings, and of these."""
    other = copy.deepcopy(optimizer)
    for name, value in settings.items():
        setattr(other, name, value)
    return other


def test_an_optimizer_of_ones_own_goes_the_way_it_describes():
    assert_takes_the_way_of(sign_momentum, SignMomentum(0.1), 0.1, {})


@every_optimizer
def test_a_long_vector_moves_as_its_short_parts_do(optimizer):
    rng, size = np.random.default_rng(0), 300_000
    start, gradients = rng.normal(size=size), rng.normal(size=(3, size))
    cuts = [slice(0, 140_000), slice(140_000, size)]  # none of them a multiple of a block
    whole, parts = start.copy(), [start[cut].copy() for cut in cuts]
    optimizers = [fresh(optimizer) for _ in range(3)]
    for gradient in gradients:
        optimizers[0].apply(whole, gradient)
        for part, cut, own in zip(parts, cuts, optimizers[1:], strict=True):
            own.apply(part, gradient[cut])
    assert optimizer.elementwise or type(optimizer) is SignMomentum
    assert (whole != start).all()
    np.testing.assert_array_equal(whole, np.concatenate(parts))


@pytest.mark.parametrize("elementwise", [True, False])
def test_only_an_elementwise_optimizer_gets_its_vectors_in_blocks(elementwise):
    sizes = []

    class Noting(Optimizer):
        slots = ("slot",)

        def update(self, parameters, gradients, learning_rate, slot):
            sizes.append((parameters.size, gradients.size, slot.size))

    Noting.elementwise = elementwise
    for size in (0, 5, 300_001):
        sizes.clear()
        Noting().apply(np.zeros(size), np.zeros(size))
        assert [sum(column) for column in zip(*sizes, strict=True)] == [size] * 3
        assert len(sizes) == 1 + 2 * (elementwise and size > 5)
    if elementwise:
        assert max(sizes)[0] - min(sizes)[0] <= 2  # parts of a length, as near as can be


@every_optimizer
def test_a_step_changes_the_parameters_given_and_nothing_else(optimizer):
    parameters, (gradients, *_) = draw(np.float32)
    optimizer, memory, given = fresh(optimizer), np.zeros(SIZE + 4, np.float32), gradients.copy()
    view = memory[2:-2]
    view[:] = parameters
    optimizer.apply(view, gradients)
    assert (view != parameters).all()
    np.testing.assert_array_equal(memory[[0, 1, -2, -1]], 0)
    np.testing.assert_array_equal(gradients, given)
    assert not any(
        np.shares_memory(vector, other) for vector in optimizer.state.values() for other in (view, gradients)
    )


@every_optimizer
def test_state_is_a_vector_for_each_slot_of_the_parameters_dtype(optimizer):
    parameters, (gradients, *_) = draw(np.float32)
    optimizer = fresh(optimizer)
    assert optimizer.state == {}
    optimizer.apply(parameters, gradients)
    assert tuple(optimizer.state) == optimizer.slots
    assert {(vector.dtype, vector.shape) for vector in optimizer.state.values()} <= {(np.dtype("float32"), (SIZE,))}


@every_optimizer
@pytest.mark.parametrize("order", [list, reversed])
def test_slots_and_step_are_all_that_a_run_needs_to_go_on_to_the_same_bits(optimizer, order):
    parameters, gradients = draw(np.float32)
    optimizer = fresh(optimizer, learning_rate=decreasing)
    new = copy.deepcopy(optimizer)
    for gradient in gradients[:20]:
        optimizer.apply(parameters, gradient)
    resumed, resumed_parameters = new, parameters.copy()
    resumed.step = optimizer.step
    resumed.state = {name: optimizer.state[name].copy() for name in order(list(optimizer.state))}
    for gradient in gradients[20:]:
        optimizer.apply(parameters, gradient)
        resumed.apply(resumed_parameters, gradient)
    assert resumed_parameters.tobytes() == parameters.tobytes()


@every_optimizer
@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda optimizer: pickle.loads(pickle.dumps(optimizer))])
def test_a_copy_goes_on_by_itself(optimizer, duplicate):
    parameters, gradients = draw()
    optimizer = fresh(optimizer)
    optimizer.apply(parameters, gradients[0])
    twin, twin_parameters = duplicate(optimizer), parameters.copy()
    optimizer.apply(parameters, gradients[1])
    assert (twin.step, optimizer.step) == (1, 2)
    twin.apply(twin_parameters, gradients[1])
    assert twin_parameters.tobytes() == parameters.tobytes()


@every_optimizer
def test_an_optimizer_is_described_by_its_settings_alone(optimizer):
    optimizer = fresh(optimizer, learning_rate=0.25)
    optimizer.apply(*(array.copy() for array in (np.ones(2), np.ones(2))))
    again = decode(encode(optimizer))
    assert type(again) is type(optimizer)
    assert repr(again) == repr(optimizer)
    assert again.learning_rate == 0.25
    assert (again.step, again.state) == (0, {})


def test_an_optimizer_is_printed_with_its_settings():
    assert repr(SGD()) == "SGD(learning_rate=0.01)"
    assert repr(Momentum(0.1)) == "Momentum(learning_rate=0.1, momentum=0.9, nesterov=False)"
    assert repr(Adam()) == "Adam(learning_rate=0.001, beta1=0.9, beta2=0.999, epsilon=1e-08)"


def test_a_rate_may_be_zero_or_any_kind_of_number():
    for rate in (0, 0.0, np.float32(0.5), np.array(0.5), lambda step: np.float64(step + 1)):
        assert type(SGD(rate).rate()) is float
    parameters = np.ones(2, np.float32)
    SGD(np.float64(0.5)).apply(parameters, np.ones(2, np.float32))
    np.testing.assert_array_equal(parameters, [0.5, 0.5])


@pytest.mark.parametrize(
    ("rate", "error", "message"),
    [
        (-0.1, ArgumentError, r"is -0\.1; it must be a finite number, 0 or more"),
        (math.nan, ArgumentError, "is nan"),
        (math.inf, ArgumentError, "is inf"),
        (None, ArgumentTypeError, "is None; it must be a number"),
        ("fast", ArgumentTypeError, "is 'fast'; it must be a number"),
        (True, ArgumentTypeError, "is True; it must be a number"),
        ([0.1], ArgumentTypeError, r"is \[0\.1\]; it must be a number"),
    ],
)
def test_a_rate_that_cannot_work_is_refused_when_made_when_changed_and_when_a_function_returns_it(rate, error, message):
    with pytest.raises(error, match=f"^SGD: learning_rate {message}"):
        SGD(rate)
    optimizer = SGD()
    with pytest.raises(error, match=f"^SGD: learning_rate {message}"):
        optimizer.learning_rate = rate
    assert optimizer.learning_rate == 0.01
    optimizer, parameters = SGD(lambda step: rate), np.zeros(2)
    with pytest.raises(error, match=f"^SGD: learning_rate at step 0 {message}"):
        optimizer.rate()
    with pytest.raises(error, match=f"^SGD: learning_rate at step 0 {message}"):
        optimizer.apply(parameters, np.ones(2))
    assert (optimizer.step, optimizer.state, parameters.tolist()) == (0, {}, [0, 0])


def test_a_rate_that_is_a_function_may_use_what_does_not_exist_yet():
    optimizer = SGD(lambda step: run["rate"])
    run = {"rate": 0.5}
    assert optimizer.rate() == 0.5


def test_a_rate_that_turns_bad_on_the_way_is_refused_with_its_step_and_changes_nothing():
    optimizer, parameters = Momentum(lambda step: 0.1 - 0.05 * step), np.zeros(2)
    for _ in range(3):
        optimizer.apply(parameters, np.ones(2))
    before = parameters.copy(), optimizer.state["v"].copy()
    with pytest.raises(ArgumentError, match=r"learning_rate at step 3 is -0\.05"):
        optimizer.apply(parameters, np.ones(2))
    np.testing.assert_array_equal((parameters, optimizer.state["v"]), before)
    assert optimizer.step == 3


@every_optimizer
def test_gradients_of_another_size_are_refused_and_change_nothing(optimizer):
    optimizer, parameters = fresh(optimizer), np.zeros(3)
    message = rf"^{type(optimizer).__name__} got vectors \[\(3,\), \(1,\)"
    with pytest.raises(ShapeError, match=message):
        optimizer.apply(parameters, np.ones(1))
    np.testing.assert_array_equal(parameters, 0)
    assert optimizer.step == 0
    other, same = fresh(optimizer), np.zeros(3)
    optimizer.apply(parameters, np.ones(3))  # as if nothing had been
    other.apply(same, np.ones(3))
    np.testing.assert_array_equal(parameters, same)


def test_the_parameters_of_another_model_are_refused():
    optimizer = Momentum()
    optimizer.apply(np.zeros(3), np.ones(3))
    message = r"Momentum got vectors \[\(4,\), \(4,\), \(3,\)\]: make one for each model"
    with pytest.raises(ShapeError, match=message):
        optimizer.apply(np.zeros(4), np.ones(4))
    assert optimizer.step == 1


def test_the_base_alone_says_what_is_missing():
    with pytest.raises(NotImplementedError, match=r"Optimizer must define update\(parameters, gradients"):
        Optimizer().apply(np.zeros(3), np.ones(3))


def test_slots_without_the_comma_are_noticed_where_it_matters():
    class Forgetful(Optimizer):
        slots = "velocity"

        def update(self, parameters, gradients, learning_rate, velocity):
            raise AssertionError

    with pytest.raises(TypeError, match="5 positional arguments but 12 were given"):  # a slot for each letter
        Forgetful().apply(np.zeros(2), np.ones(2))

    class Brief(Optimizer):
        slots = "v"

        def update(self, parameters, gradients, learning_rate, v):
            v += gradients

    optimizer = Brief()
    optimizer.apply(np.zeros(2), np.ones(2))
    assert optimizer.state["v"].tolist() == [1, 1]


def test_a_bound_of_the_gradients_is_no_setting_of_an_optimizer():
    for name in ("clip_norm", "clip_value"):
        with pytest.raises(ArgumentTypeError, match=f"Adam has no setting {name!r}; set the {name} of the trainer$"):
            Adam(**{name: 1.0})


class Decaying(Optimizer):
    """Shrinks the parameters, and else leaves them."""

    weight_decay: float = 0.5
    elementwise = True

    def update(self, parameters, gradients, learning_rate):
        pass


def test_weight_decay_shrinks_the_parts_it_is_told_and_else_all():
    whole, parts, none = np.ones((3, 10))
    Decaying(0.1).apply(whole, np.ones(10))
    Decaying(0.1).apply(parts, np.ones(10), decaying=[slice(1, 3), slice(6, None)])
    Decaying(0.1).apply(none, np.ones(10), decaying=[])
    np.testing.assert_allclose(whole, 0.95)
    np.testing.assert_allclose(parts, [1, 0.95, 0.95, 1, 1, 1, 0.95, 0.95, 0.95, 0.95])
    np.testing.assert_array_equal(none, 1)


def test_weight_decay_shrinks_by_itself_only_what_is_trained():
    alone, told = np.ones((2, 10))
    Decaying(0.1).apply(alone, np.ones(10), [slice(2, 5)])
    Decaying(0.1).apply(told, np.ones(10), [slice(2, 5)], [slice(2, 4)])
    np.testing.assert_allclose(alone, [1, 1, 0.95, 0.95, 0.95, 1, 1, 1, 1, 1])
    np.testing.assert_allclose(told, [1, 1, 0.95, 0.95, 1, 1, 1, 1, 1, 1])


def test_parts_that_decay_reach_over_the_blocks_of_a_long_vector():
    size = 500_000
    parameters, expected = np.ones((2, size))
    parts = [slice(10, 20), slice(100_000, 420_000), slice(499_999, size)]
    for part in parts:
        expected[part] = 0.95
    Decaying(0.1).apply(parameters, np.ones(size), decaying=parts)
    np.testing.assert_allclose(parameters, expected)


PARTS = [[slice(0, 2)], [slice(3, 5), slice(5, 7)], [slice(0, 1), slice(2, 3), slice(6, 7)], [slice(0, 7)], []]


@every_optimizer
@pytest.mark.parametrize("parts", PARTS, ids=str)
def test_what_is_not_trained_stays_with_its_slots_and_the_rest_moves_as_if_it_were_all(optimizer, parts):
    parameters, gradients = draw()
    moving = np.concatenate([np.arange(SIZE)[part] for part in parts]).astype(int) if parts else np.zeros(0, int)
    staying = np.setdiff1d(np.arange(SIZE), moving)
    partly, alone, smaller = fresh(optimizer), fresh(optimizer), parameters[moving]
    partly.apply(parameters, gradients[0])  # all of it, so that there is a state to keep
    alone.apply(smaller, gradients[0][moving])
    before, slots = parameters.copy(), {name: vector.copy() for name, vector in partly.state.items()}
    for gradient in gradients[1:5]:
        partly.apply(parameters, gradient, parts)
        alone.apply(smaller, gradient[moving])
    np.testing.assert_array_equal(parameters[moving], smaller)
    np.testing.assert_array_equal(parameters[staying], before[staying])
    assert not len(moving) or (parameters[moving] != before[moving]).any()
    for name, vector in partly.state.items():
        np.testing.assert_array_equal(vector[moving], alone.state[name])
        np.testing.assert_array_equal(vector[staying], slots[name][staying])
    assert partly.step == 5


def test_an_optimizer_that_looks_at_whole_vectors_sees_those_of_what_is_trained():
    class Normalized(Optimizer):
        def update(self, parameters, gradients, learning_rate):
            parameters -= learning_rate * gradients / np.linalg.norm(gradients)

    parameters, gradients = np.zeros(5), np.array([3.0, np.nan, 4.0, 1e9, 0.0])
    Normalized(1.0).apply(parameters, gradients, [slice(0, 1), slice(2, 3), slice(4, 5)])
    np.testing.assert_allclose(parameters, [-0.6, 0, -0.8, 0, 0], rtol=1e-15)


@pytest.mark.parametrize("elementwise", [True, False])
def test_parts_that_are_trained_of_a_long_vector_come_in_blocks_to_an_elementwise_optimizer(elementwise):
    sizes = []

    class Noting(Optimizer):
        slots = ("slot",)

        def update(self, parameters, gradients, learning_rate, slot):
            sizes.append(parameters.size)
            parameters -= learning_rate * gradients
            slot += 1

    Noting.elementwise = elementwise
    size, parts = 400_000, [slice(5, 150_000), slice(200_000, 399_999)]
    optimizer, parameters, expected = Noting(0.5), np.zeros(size), np.zeros(size)
    optimizer.apply(parameters, np.ones(size), parts)
    for part in parts:
        expected[part] = -0.5
    np.testing.assert_array_equal(parameters, expected)
    np.testing.assert_array_equal(optimizer.state["slot"], -2 * expected)
    assert sum(sizes) == 149_995 + 199_999
    assert len(sizes) == (3 if elementwise else 1)


def test_an_update_that_does_not_work_in_place_is_refused():
    class Returns(Optimizer):
        def update(self, parameters, gradients, learning_rate):
            return parameters - learning_rate * gradients

    with pytest.raises(ArgumentTypeError, match="Returns.update must work in place"):
        Returns(0.1).apply(np.ones(3), np.ones(3))


def test_a_method_named_step_does_not_pass_for_the_one_that_takes_a_step():
    kind = type("Steps", (Optimizer,), {"step": lambda self, parameters, gradients: None})
    with pytest.raises(NotImplementedError, match="Steps must define update"):
        kind().apply(np.zeros(2), np.ones(2))


def test_a_weight_decay_that_a_class_of_ones_own_has_by_default_is_set_and_kept():
    optimizer = Decaying()
    assert decode(encode(optimizer)).weight_decay == 0.5
    optimizer.weight_decay = 0.125
    assert decode(encode(optimizer)).weight_decay == 0.125


class _MovesByRate(Optimizer):
    def update(self, parameters, gradients, learning_rate):
        parameters -= learning_rate * gradients


class Unannotated(_MovesByRate):
    weight_decay = 0.25
    learning_rate = 0.5


class Annotated(_MovesByRate):
    momentum: float = setting(0.9, kw_only=False, low=0, below=1)
    weight_decay: float = 0.25
    learning_rate: float = 0.5


class AsField(_MovesByRate):
    weight_decay: float = field(default=0.25, kw_only=False)
    learning_rate: float = field(default=0.5)


class AsSetting(_MovesByRate):
    weight_decay: float = setting(0.25)
    learning_rate: float = setting(0.5)


class OfUnannotated(Unannotated):
    momentum: float = setting(0.9, kw_only=False, low=0, below=1)


@pytest.mark.parametrize("kind", [Unannotated, Annotated, AsField, AsSetting, OfUnannotated])
def test_a_new_default_of_an_inherited_setting_counts_however_it_is_written(kind):
    optimizer, parameters = kind(), np.ones(2)
    assert (optimizer.learning_rate, optimizer.weight_decay) == (0.5, 0.25)
    optimizer.apply(parameters, np.zeros(2))
    np.testing.assert_array_equal(parameters, 0.875)
    assert kind(0.125, weight_decay=0.5).learning_rate == 0.125
    assert decode(json.loads(json.dumps(encode(kind(weight_decay=0.5))))).weight_decay == 0.5
    for refused in (-0.25, math.nan):
        with pytest.raises(ArgumentError, match=f"{kind.__name__}: weight_decay is {refused}"):
            kind(weight_decay=refused)
        with pytest.raises(ArgumentError, match=f"{kind.__name__}: learning_rate is {refused}"):
            kind(refused)


def test_a_setting_given_by_keyword_stays_so_where_a_class_of_ones_own_has_another_default():
    assert Annotated(0.1, 0.5).momentum == OfUnannotated(0.1, 0.5).momentum == 0.5
    for make in (
        lambda: Annotated(0.1, 0.5, 0.25),
        lambda: Unannotated(0.1, 0.5),
        lambda: AsSetting(0.1, 0.5),
        lambda: Decaying(0.1, 0.5),
    ):
        with pytest.raises(ArgumentTypeError, match=r"too many positional arguments; it is .*weight_decay="):
            make()
    assert AsField(0.1, 2.0).weight_decay == 2.0  # where it says so itself


def test_a_setting_that_is_a_property_stays_one():
    class Fixed(_MovesByRate):
        weight_decay = property(lambda self: 0.25, lambda self, value: None)

    parameters = np.ones(2)
    Fixed(0.5).apply(parameters, np.zeros(2))
    np.testing.assert_array_equal(parameters, 0.875)


def test_an_optimizer_with_an_init_of_its_own_calls_that_of_the_base():
    class Scaled(Optimizer):
        slots = ("total",)

        def __init__(self, scale):
            super().__init__(learning_rate=0.1 * scale)

        def update(self, parameters, gradients, learning_rate, total):
            total += gradients
            parameters -= learning_rate * total

    optimizer, parameters = Scaled(5), np.zeros(2)
    optimizer.apply(parameters, np.ones(2))
    np.testing.assert_array_equal(parameters, -0.5)
    with pytest.raises(ArgumentError, match="Scaled: learning_rate is -0.1"):
        Scaled(-1)
    with pytest.raises(ArgumentTypeError, match="Scaled has its own __init__: declare its settings"):
        encode(optimizer)


def test_a_rate_may_change_a_setting_that_the_state_depends_on():
    def rate(step):
        changing.beta1 = 0.9 if step < 2 else 0.5
        return 0.1

    changing, told = Adam(rate), Adam(0.1)
    (one, gradients), (other, _) = draw(), draw()
    for step, gradient in enumerate(gradients[:5]):
        told.beta1 = 0.9 if step < 2 else 0.5
        changing.apply(one, gradient)
        told.apply(other, gradient)
    np.testing.assert_array_equal(one, other)


@every_optimizer
def test_weight_decay_is_a_setting_of_every_optimizer(optimizer):
    with_decay, without = fresh(optimizer, weight_decay=0.5), fresh(optimizer, weight_decay=0.0)
    again = decode(json.loads(json.dumps(encode(with_decay))))
    assert again.weight_decay == 0.5
    assert repr(again) == repr(with_decay) != repr(without)
    rate = 0.1
    moved = []
    for each in (again, without):
        each.learning_rate = rate
        parameters = np.full(3, 2.0)
        each.apply(parameters, np.ones(3))
        moved.append(parameters)
    shrunk = 2.0 * rate * 0.5
    np.testing.assert_allclose(moved[1] - moved[0], np.full(3, shrunk), rtol=1e-9)


def test_weight_decay_is_given_by_its_name_and_shown_where_there_is_some():
    assert repr(Momentum(weight_decay=0)) == repr(Momentum()) == repr(Momentum(weight_decay=0.0))
    assert repr(SGD(0.1, weight_decay=0.5)) == "SGD(learning_rate=0.1, weight_decay=0.5)"
    assert repr(Lion()) == "Lion(learning_rate=0.0001, beta1=0.9, beta2=0.99)"
    assert repr(AdamW()).startswith("AdamW(learning_rate=0.001, weight_decay=0.01, beta1=0.9,")
    assert repr(AdamW(weight_decay=0)).startswith("AdamW(learning_rate=0.001, weight_decay=0.0, beta1=0.9,")
    for make in (lambda: SGD(0.1, 0.5), lambda: AdamW(0.1, 0.9, 0.999, 1e-8, 0.5), lambda: Lion(0.1, 0.9)):
        with pytest.raises(ArgumentTypeError, match=r"too many positional arguments; it is .*weight_decay="):
            make()
    for value in (-0.1, math.nan, math.inf):
        with pytest.raises(ArgumentError, match=f"SGD: weight_decay is {value}; it must be a finite number, 0 or more"):
            SGD(weight_decay=value)


def test_an_optimizer_described_before_it_had_weight_decay_is_made_without():
    description = encode(Momentum(0.5))
    del description["configuration"]["weight_decay"]
    assert repr(decode(description)) == repr(Momentum(0.5))


def test_the_decay_of_adam_is_that_of_adamw():
    parameters, gradients = draw()
    one, other = parameters.copy(), parameters.copy()
    decoupled, adamw = Adam(0.1, weight_decay=0.3), AdamW(0.1, weight_decay=0.3)
    for gradient in gradients:
        decoupled.apply(one, gradient)
        adamw.apply(other, gradient)
    np.testing.assert_array_equal(one, other)
