"""Frozen layers in training: they stay as they are to the last bit, cost nothing, and may be freed at any time."""

import numpy as np
import pytest

from minidl import (
    L2,
    LBFGS,
    SGD,
    Adam,
    AdamW,
    BatchNorm,
    Callback,
    Checkpoint,
    Concatenate,
    Dense,
    EarlyStopping,
    ExponentialMovingAverage,
    FunctionCallback,
    Layer,
    Lookahead,
    MaxNorm,
    Momentum,
    Optimizer,
    ReLU,
    Residual,
    Sequential,
    SoftmaxCrossEntropy,
    StochasticWeightAveraging,
    Tanh,
    Trainer,
)


def problem(rows=60):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(rows, 5)).astype(np.float32)
    return x, (x[:, 0] * x[:, 1] > 0).astype(int)


class Normalized(Optimizer):
    """Steps of one length: by the norm of all that moves. So it is not elementwise."""

    slots = ("sum_of_norms",)

    def update(self, parameters, gradients, learning_rate, sum_of_norms):
        norm = np.linalg.norm(gradients)
        sum_of_norms += norm
        parameters -= learning_rate * gradients / (norm + 1e-12)


OPTIMIZERS = {
    "sgd": lambda: SGD(0.1, weight_decay=0.1),
    "momentum": lambda: Momentum(0.05, nesterov=True),
    "adam": lambda: Adam(0.01),
    "adamw": lambda: AdamW(0.01, weight_decay=0.5),
    "not elementwise": lambda: Normalized(0.05),
    "lbfgs": LBFGS,
}
every_optimizer = pytest.mark.parametrize("make", OPTIMIZERS.values(), ids=OPTIMIZERS)


def network(**options):
    layers = [
        Dense(8, name="first", regularizer=L2(0.01)),
        BatchNorm(name="norm"),
        Tanh(),
        Dense(6, name="middle", regularizer=L2(0.01)),
        Tanh(),
        Dense(2, name="last"),
        SoftmaxCrossEntropy(),
    ]
    return Sequential(layers, **{"input_shape": 5, "seed": 0} | options)


def layer(model, name):
    return next(each for each in model.layers if each.name == name)


def trainer(model, optimizer, **settings):
    batch_size = None if optimizer.full_batch else 20
    return Trainer(model, optimizer, batch_size=batch_size, seed=0, **settings)


def arrays_of(model, *names):
    """Bytes of all parameters and states of these layers."""
    return {path: a.tobytes() for path, a in model.named_arrays().items() if path.split("/")[1] in names}


class Change(Callback):
    """Freezes and frees layers after steps: ``{3: {"first": False}}``."""

    def __init__(self, plan):
        self.plan = plan

    def on_batch_end(self, trainer):
        for name, trainable in self.plan.get(trainer.step, {}).items():
            layer(trainer.model, name).trainable = trainable


class Watch(Callback):
    """Keeps the arrays of layers after each step, and the average's vector."""

    def __init__(self, *names):
        self.names, self.seen = names, []

    def on_batch_end(self, trainer):
        self.seen.append(arrays_of(trainer.model, *self.names))


class TestFrozenFromTheStart:
    @every_optimizer
    @pytest.mark.parametrize("names", [["first", "norm"], ["middle"], ["last"], ["first", "last"], ["norm"]])
    def test_frozen_parts_stay_and_others_learn(self, make, names):
        (x, y), model = problem(), network()
        others = {"first", "norm", "middle", "last"} - set(names)
        for name in names:
            layer(model, name).trainable = False
        frozen, free = arrays_of(model, *names), {name: arrays_of(model, name) for name in others}
        history = trainer(model, make()).fit(x, y, epochs=4, progress=False)
        assert arrays_of(model, *names) == frozen
        assert all(arrays_of(model, name) != before for name, before in free.items())
        assert history["loss"][-1] < history["loss"][0]

    @pytest.mark.parametrize("make", [*list(OPTIMIZERS.values())[:-1]], ids=list(OPTIMIZERS)[:-1])
    def test_it_is_the_training_of_a_smaller_model_on_what_the_frozen_layers_make_of_the_data(self, make):
        (x, y), model = problem(), network(dtype="float64")
        for name in ("first", "norm"):
            layer(model, name).trainable = False
        features = x.astype(float)
        for each in model.layers[:3]:
            features = each.forward(features)
        small = Sequential(
            [Dense(6, regularizer=L2(0.01)), Tanh(), Dense(2), SoftmaxCrossEntropy()], input_shape=8, dtype="float64"
        )
        for one, other in zip(small.layers, model.layers[3:], strict=True):
            for parameter, value in zip(
                one.named_parameters().values(), other.named_parameters().values(), strict=True
            ):
                parameter.value = value.value
        penalty = 0.01 * float((layer(model, "first").weight.value ** 2).sum())
        whole, part = trainer(model, make(), clip_norm=0.3), trainer(small, make(), clip_norm=0.3)
        for each, inputs in ((whole, x), (part, features)):
            each.fit(inputs, y, epochs=3, progress=False)
        # The same sums, of vectors of another length: some 1e-16 a step.
        moving = len(small.parameters)
        np.testing.assert_allclose(model.parameters[-moving:], small.parameters, rtol=1e-10, atol=1e-13)
        np.testing.assert_allclose(whole.history["loss"], np.add(part.history["loss"], penalty), rtol=1e-12)
        for slot in whole.optimizer.slots:
            np.testing.assert_array_equal(whole.optimizer.state[slot][:-moving], 0)
            np.testing.assert_allclose(
                whole.optimizer.state[slot][-moving:], part.optimizer.state[slot], rtol=1e-9, atol=1e-13
            )

    @pytest.mark.parametrize("make", [lambda: SGD(0.1), lambda: Adam(0.01), LBFGS], ids=["sgd", "adam", "lbfgs"])
    def test_all_frozen_nothing_moves_and_the_loss_is_reported(self, make):
        (x, y), model = problem(), network()
        model.trainable = False
        before = arrays_of(model, "first", "norm", "middle", "last")
        t = trainer(model, make())
        history = t.fit(x, y, epochs=2, progress=False)
        assert arrays_of(model, "first", "norm", "middle", "last") == before
        assert history["loss"][0] == pytest.approx(t.evaluate(x, y)["loss"], rel=1e-6)

    def test_clip_norm_counts_only_what_is_trained(self):
        (x, y), model = problem(), network(dtype="float64")
        layer(model, "last").trainable = False  # whose gradient is the largest by far
        moving = model.parts(lambda each, _: each.own_trainable)
        before, gradients = model.parameters.copy(), []
        keep = FunctionCallback(lambda t: gradients.append(t.model.gradients.copy()), moment="on_gradients")
        t = Trainer(model, SGD(1.0), batch_size=None, clip_norm=1e-3)
        t.fit(x, y, callbacks=[keep], progress=False)
        step = model.parameters - before
        assert np.linalg.norm(step) == pytest.approx(1e-3, rel=1e-9)
        expected = np.concatenate([gradients[0][part] for part in moving])
        found = np.concatenate([step[part] for part in moving])
        np.testing.assert_allclose(found, -1e-3 * expected / np.linalg.norm(expected), rtol=1e-6, atol=1e-15)

    def test_callbacks_find_zeros_in_the_gradients_of_frozen_parts(self):
        (x, y), model, seen = problem(), network(), []
        layer(model, "middle").trainable = False
        parts = model.parts(lambda each, _: not each.own_trainable)

        def look(t):
            seen.extend(t.model.gradients[part].any() for part in parts)

        trainer(model, SGD(0.1)).fit(x, y, callbacks=[FunctionCallback(look, moment="on_gradients")], progress=False)
        assert len(seen) == 3
        assert not any(seen)

    def test_regularizers_and_constraints_of_frozen_parts_do_not_move_them_but_count_in_the_loss(self):
        (x, y), layers = problem(), [Dense(6, regularizer=L2(1.0), constraint=MaxNorm(0.01)), Tanh(), Dense(2)]
        model = Sequential([*layers, SoftmaxCrossEntropy()], input_shape=5, seed=0)
        layers[0].trainable = False
        before = layers[0].weight.value.copy()
        t = Trainer(model, SGD(0.1), seed=0)
        history = t.fit(x, y, epochs=2, progress=False)
        np.testing.assert_array_equal(layers[0].weight.value, before)
        assert history["loss"][-1] > (before.astype(float) ** 2).sum()
        layers[0].trainable = True
        t.fit(x, y, progress=False)
        assert np.linalg.norm(layers[0].weight.value, axis=0).max() <= 0.01 * (1 + 1e-6)

    def test_weight_decay_leaves_frozen_parts_alone(self):
        (x, y), model = problem(), network()
        layer(model, "first").trainable = False
        frozen = arrays_of(model, "first")
        trainer(model, SGD(0.1, weight_decay=5.0)).fit(x, y, epochs=3, progress=False)
        assert arrays_of(model, "first") == frozen


class Counted(Layer):
    """Passes on what it gets, and counts its passes."""

    forwards = backwards = 0

    def forward(self, x, training=False):
        self.forwards += training
        return x

    def backward(self, dy):
        self.backwards += 1
        self.asked = self.needs_input_gradient
        return dy


class TestCost:
    def test_backward_ends_at_the_first_layer_that_learns(self):
        (x, y), counted = problem(40), [Counted() for _ in range(4)]
        first, second, last = Dense(6), Dense(6), Dense(2)
        layers = [counted[0], first, counted[1], second, counted[2], ReLU(), counted[3], last]
        model = Sequential([*layers, SoftmaxCrossEntropy()], input_shape=5, seed=0)
        t = Trainer(model, SGD(0.1), batch_size=20, seed=0)

        def backwards():
            t.fit(x, y, progress=False)
            found = [each.backwards for each in counted]
            for each in counted:
                each.backwards = 0
            return found

        assert backwards() == [0, 2, 2, 2]  # what lies before the first layer with parameters never learns
        first.trainable = False
        assert backwards() == [0, 0, 2, 2]
        second.trainable = False
        assert backwards() == [0, 0, 0, 0]
        first.trainable = True
        assert backwards() == [0, 2, 2, 2]
        model.trainable = False
        assert backwards() == [0, 0, 0, 0]
        assert all(each.forwards == 10 for each in counted)

    def test_the_first_layer_that_learns_does_not_compute_its_inputs_gradient(self):
        (x, y), first, second = problem(), Dense(6), Dense(6)
        model = Sequential([first, Tanh(), second, Tanh(), Dense(2), SoftmaxCrossEntropy()], input_shape=5, seed=0)
        t = Trainer(model, SGD(0.1), seed=0)
        t.fit(x, y, progress=False)
        assert (first.needs_input_gradient, second.needs_input_gradient) == (False, True)
        first.trainable = False
        t.fit(x, y, progress=False)
        assert not second.needs_input_gradient
        first.trainable = True
        t.fit(x, y, progress=False)
        assert second.needs_input_gradient

    @pytest.mark.parametrize("wrap", [Residual, lambda layers: Concatenate([layers, Dense(2)]), Sequential])
    def test_frozen_layers_within_blocks_stay_and_what_is_behind_learns(self, wrap):
        (x, y), inner, counted = problem(), [Dense(5), Tanh(), Dense(5)], Counted()
        block = wrap([*inner, counted])
        model = Sequential([block, Dense(2), SoftmaxCrossEntropy()], input_shape=5, seed=0)
        t = Trainer(model, Adam(0.01), seed=0)
        block.trainable = False
        frozen = {name: a.tobytes() for name, a in block.named_parameters().items() for a in [a.value]}
        t.fit(x, y, epochs=2, progress=False)
        assert {name: a.value.tobytes() for name, a in block.named_parameters().items()} == frozen
        assert counted.backwards == 0
        inner[2].trainable = True
        before = [each.weight.value.copy() for each in (inner[0], inner[2])]
        t.fit(x, y, progress=False)
        np.testing.assert_array_equal(inner[0].weight.value, before[0])
        assert (inner[2].weight.value != before[1]).any()
        assert counted.backwards == 2


class TestInTheMiddleOfARun:
    @every_optimizer
    def test_a_callback_may_freeze_and_free_layers_in_the_middle_of_an_epoch(self, make):
        (x, y), model, watch = problem(), network(), Watch("first", "norm")
        plan = {2: {"first": False, "norm": False}, 5: {"first": True, "norm": True}}
        trainer(model, make()).fit(x, y, epochs=8, callbacks=[Change(plan), watch], progress=False)
        seen = watch.seen
        assert seen[0] != seen[1]
        assert seen[1] == seen[2] == seen[3] == seen[4]
        assert seen[4] != seen[5] != seen[6]
        assert all(seen[4][path] != seen[5][path] for path in seen[4])  # running statistics, too

    @pytest.mark.parametrize("make", [lambda: Momentum(0.05), lambda: Adam(0.01)], ids=["momentum", "adam"])
    def test_slots_of_frozen_parts_wait_and_go_on(self, make):
        (x, y), model, slots = problem(), network(), []

        def look(t):
            slots.append({name: vector[:48].tobytes() for name, vector in t.optimizer.state.items()})

        plan = {2: {"first": False}, 5: {"first": True}}
        watch = FunctionCallback(look, moment="on_batch_end")
        trainer(model, make()).fit(x, y, epochs=3, callbacks=[Change(plan), watch], progress=False)
        assert slots[0] != slots[1] == slots[2] == slots[3] == slots[4] != slots[5]

    @pytest.mark.parametrize(
        "average", [lambda: ExponentialMovingAverage(0.8), StochasticWeightAveraging, lambda: Lookahead(steps=2)]
    )
    def test_averages_of_frozen_parts_stay_too(self, average):
        (x, y), model, vectors = problem(), network(), []
        first, last = slice(0, 48), slice(len(model.parameters) - 14, None)

        def look(t):
            vectors.append([t.average.vector[part].tobytes() for part in (first, last)])

        plan, watch = {2: {"first": False}, 5: {"first": True}}, Watch("first")
        callbacks = [Change(plan), watch, FunctionCallback(look, moment="on_batch_end")]
        t = trainer(model, Adam(0.01), average=average())
        t.fit(x, y, epochs=3, validation_data=(x, y), callbacks=callbacks, progress=False)
        assert watch.seen[1] == watch.seen[2] == watch.seen[3] == watch.seen[4] != watch.seen[5]
        assert vectors[1][0] == vectors[2][0] == vectors[3][0] == vectors[4][0] != vectors[6][0]
        assert vectors[1][1] != vectors[3][1]

    def test_a_layer_that_is_frozen_between_two_fits_keeps_the_average_that_the_model_shows(self):
        (x, y), model = problem(), network()
        t = trainer(model, Adam(0.01), average=ExponentialMovingAverage(0.8))
        t.fit(x, y, epochs=2, progress=False)
        shown = arrays_of(model, "first", "norm")
        for name in ("first", "norm"):
            layer(model, name).trainable = False
        t.fit(x, y, epochs=2, progress=False)
        assert arrays_of(model, "first", "norm") == shown

    def test_an_order_of_freezing_does_not_change_what_is_trained(self):
        (x, y), models = problem(), [network(), network(input_shape=None)]
        for model in models:
            layer(model, "first").trainable = False  # of the second before it is set up
            trainer(model, Adam(0.01)).fit(x, y, epochs=2, progress=False)
        np.testing.assert_array_equal(models[0].parameters, models[1].parameters)

    def test_early_stopping_restores_a_model_with_frozen_layers(self):
        (x, y), model = problem(), network()
        layer(model, "first").trainable = False
        frozen, best = arrays_of(model, "first"), []

        def pretend(t):
            t.history["val_loss"][-1] = [3, 1, 2, 2.5][t.epoch - 1]
            best.append(arrays_of(t.model, "norm", "middle", "last"))

        callbacks = [pretend, EarlyStopping(patience=2)]
        trainer(model, Adam(0.01)).fit(x, y, epochs=9, validation_data=(x, y), callbacks=callbacks, progress=False)
        assert arrays_of(model, "norm", "middle", "last") == best[1]
        assert arrays_of(model, "first") == frozen


class TestFiles:
    @every_optimizer
    @pytest.mark.parametrize("average", [lambda: None, lambda: ExponentialMovingAverage(0.8)], ids=["none", "average"])
    def test_a_run_with_layers_that_are_frozen_and_freed_is_resumed_to_the_same_bits(self, tmp_path, make, average):
        if make is LBFGS and average() is not None:
            pytest.skip("LBFGS takes no average")
        plan = {2: {"first": False, "norm": False}, 4: {"last": False}, 7: {"first": True}, 8: {"last": True}}
        (x, y), model, settings = problem(), network(), {"clip_norm": 0.5}
        if make is LBFGS:  # each evaluation of it moves the running statistics
            model = Sequential([*(each for each in model.layers if each.name != "norm"), model.loss], seed=0)
            plan[2], settings = {"first": False}, {}

        def run(t, *more):
            options = {"validation_data": (x, y), "callbacks": [Change(plan), *more], "progress": False}
            epochs = 9 if t.optimizer.full_batch else 3
            t.fit(x, y, epochs=epochs - t.epoch, **options)
            return t.model.named_arrays(), dict(t.history), t.optimizer.state, t.average and t.average.vector

        checkpoint = Checkpoint(tmp_path, every_steps=1, keep=None)
        expected = run(trainer(model, make(), average=average(), **settings), checkpoint)
        for step in (1, 2, 3, 5, 7, 8):
            resumed = Trainer.load(tmp_path / f"step_{step:010d}.npz")
            flags = {each.name: True for each in model.layers}
            for change in sorted(moment for moment in plan if moment <= step):
                flags |= plan[change]
            assert {each.name: each.own_trainable for each in resumed.model.layers} == flags
            arrays, history, slots, vector = run(resumed)
            assert history == expected[1]
            for found, wanted in ((arrays, expected[0]), (slots, expected[2])):
                assert found.keys() == wanted.keys()
                for name in found:
                    np.testing.assert_array_equal(found[name], wanted[name])
            np.testing.assert_array_equal(vector, expected[3])

    def test_a_fine_tuned_model_is_saved_with_what_is_frozen(self, tmp_path):
        (x, y), pretrained = problem(), network()
        trainer(pretrained, Adam(0.01)).fit(x, y, epochs=2, progress=False)
        pretrained.save(tmp_path / "model.npz")
        body = Sequential.load(tmp_path / "model.npz").layers[:-1]
        for each in body:
            each.trainable = False
        model = Sequential([*body, Dense(3), SoftmaxCrossEntropy()], seed=1)
        frozen = [each.tobytes() for layer in body for each in (p.value for p in layer.named_parameters().values())]
        t = Trainer(model, Adam(0.05), batch_size=20, seed=0)
        t.fit(x, (x[:, 0] > 0) + (x[:, 1] > 0), epochs=3, progress=False)
        assert [p.value.tobytes() for layer in body for p in layer.named_parameters().values()] == frozen
        t.save(tmp_path / "run.npz")
        again = Trainer.load(tmp_path / "run.npz")
        assert [each.own_trainable for each in again.model.walk()] == [each.own_trainable for each in model.walk()]
        for each in (t, again):
            each.fit(x, y, progress=False)
        np.testing.assert_array_equal(again.model.parameters, model.parameters)
