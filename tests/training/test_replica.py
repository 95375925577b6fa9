"""Two halves of a batch, by a model and its replica: the gradients of the whole, and the same bits anywhere."""

import copy
import pickle
import threading
from typing import Any

import numpy as np
import pytest
from threadpoolctl import threadpool_limits

from minidl import (
    SGD,
    Adam,
    BatchNorm,
    Conv2D,
    Dense,
    Dropout,
    Flatten,
    FunctionCallback,
    GaussianNoise,
    Layer,
    LayerNorm,
    LeakyReLU,
    MaxPool2D,
    MeanSquaredError,
    ReLU,
    Residual,
    Sequential,
    SoftmaxCrossEntropy,
    Trainer,
)
from minidl.metrics import as_metrics
from minidl.settings import setting
from minidl.training import replica as module
from minidl.training.gradients import Tally, compute_gradients
from minidl.training.replica import Replica, blocks_of, may_share
from minidl.training.rows import prepare_rows

NETWORKS = {
    "dense": lambda: [Dense(7), ReLU(), LayerNorm(), Dense(3)],
    "normalized": lambda: [Residual([Dense(6), BatchNorm(), ReLU()]), Dense(4), BatchNorm(), Dense(3)],
    "images": lambda: [Conv2D(4, 3, padding="same"), BatchNorm(), ReLU(), MaxPool2D(2), Flatten(), Dense(3)],
}
RANDOM = NETWORKS | {"random": lambda: [Dense(9), Dropout(0.4), ReLU(), GaussianNoise(0.3), Dense(3)]}


def network(name, seed=0, dtype="float64"):
    shape = (6, 6, 2) if name == "images" else 5
    model = Sequential([*RANDOM[name](), SoftmaxCrossEntropy()], input_shape=shape, seed=seed, dtype=dtype)
    model.rows_at_once = 3  # so that few rows are many
    return model


def data(model, rows):
    rng = np.random.default_rng(1)
    return rng.normal(size=(rows, *model.input_shape)), rng.integers(0, 3, rows), rng.random(rows)


class TestCompute:
    @pytest.mark.parametrize("threads", [1, 2])
    @pytest.mark.parametrize("rows", [2, 3, 17])
    @pytest.mark.parametrize("name", NETWORKS)
    def test_halves_add_up_to_the_whole(self, name, rows, threads):
        found = []
        for shared in (False, True):
            model = network(name)
            x, y, weights = data(model, rows)
            model.rows_at_once = 4 if shared else 100
            batch = prepare_rows(model, x, y, weights)
            tally = Tally(model, as_metrics(["accuracy"], model.loss), batch)
            replica = Replica(model, threads) if shared else None
            totals = compute_gradients(model, [batch], tally, batch.weight, replica)
            states = [state.value for state in model.named_states().values()]
            found.append((totals, model.gradients, *states))
        for whole, halves in zip(*found, strict=True):
            np.testing.assert_allclose(halves, whole, rtol=1e-12, atol=1e-13)

    def test_the_replica_has_the_parameters_of_the_model_and_gradients_of_its_own(self):
        model = network("dense")
        replica = Replica(model, 1)
        one, other = replica.models
        assert one is model
        model.parameters = 3.0
        assert (other.parameters == 3).all()
        model.gradients, other.gradients = 1.0, 2.0
        assert (model.gradients == 1).all()

    def test_it_follows_settings(self):
        class Scaled(Layer):
            inside: Any = setting(kw_only=False)
            factor: float = setting(default=1.0)

            def sublayers(self):
                return {"inside": self.inside}

        model = Sequential([LeakyReLU(0.1), Scaled(Dense(1)), MeanSquaredError()], input_shape=2, seed=0)
        replica = Replica(model, 2)
        model[0].negative_slope, model[1].factor = 0.5, 3.0
        model[1].trainable = False
        seen = replica.compute(lambda each, _: (each[0].negative_slope, each[1].factor, each[1].trainable))
        assert seen == [(0.5, 3.0, False), (0.5, 3.0, False)]
        assert replica.models[1][1].inside is not model[1].inside

    def test_halves_draw_other_random_numbers_and_the_same_each_time(self):
        def masks():
            model = Sequential([Dropout(0.5)], input_shape=100, seed=3)
            replica = Replica(model, 2)
            ones = np.ones((2, 100), np.float32)
            return [replica.compute(lambda each, side: each.forward(ones[[side]], training=True)) for _ in range(2)]

        steps = masks()
        drawn = {half.tobytes() for step in steps for half in step}
        assert len(drawn) == 4
        np.testing.assert_array_equal(steps, masks())

    @pytest.mark.parametrize("threads", [1, 2])
    @pytest.mark.parametrize("side", [0, 1])
    @pytest.mark.parametrize("name", ["dense", "normalized"])
    def test_an_error_of_a_half_is_raised_and_the_other_does_not_wait(self, name, side, threads):
        model = network(name)
        x = data(model, 8)[0]

        def work(each, half):
            if half == side:
                raise ZeroDivisionError
            return each.forward(x[half::2], training=True)

        replica = Replica(model, threads)
        with pytest.raises(ZeroDivisionError):
            replica.compute(work)
        assert all(layer.over_batch is None for each in replica.models for layer in each.walk())

    def test_with_one_thread_allowed_one_computes_at_a_time(self):
        running, most = [], []

        class Watched(BatchNorm):
            def forward(self, x, training=False):
                running.append(1)
                most.append(len(running))
                running.pop()
                return super().forward(x, training)

        model = Sequential([Watched(), Watched()], input_shape=3, seed=0)
        x = np.random.default_rng(0).random((50, 3))
        for _ in range(20):
            Replica(model, 1).compute(lambda each, side: each.forward(x[side::2], training=True))
        assert max(most) == 1


class TestBlocksOf:
    @pytest.mark.parametrize(
        ("rows", "halved", "starts"),
        [
            (3, False, [[0]]),
            (7, False, [[0, 3, 6]]),
            (1, True, [[0], [0]]),
            (7, True, [[0], [3]]),
            (12, True, [[0], [6]]),  # a half of two blocks is not divided
            (13, True, [[0], [6, 9, 12]]),
            (14, True, [[0, 3, 6], [7, 10, 13]]),
        ],
    )
    def test_they_are_all_rows_in_order(self, rows, halved, starts):
        found = blocks_of(network("dense"), rows, halved)
        assert [[block.start for block in half] for half in found] == starts
        assert [row for half in found for block in half for row in range(rows)[block]] == list(range(rows))

    def test_layers_that_mix_rows_or_draw_for_other_rows_get_them_all(self):
        model = network("random")
        assert len(blocks_of(model, 7, False)[0]) == 3
        model[1].rows_of_batch = 0, [(model[1].generator, 9)]
        assert blocks_of(model, 7, False) == [[slice(0, 7)]]
        assert blocks_of(network("normalized"), 14, True) == [[slice(0, 7)], [slice(7, 14)]]


class TestMayShare:
    def test_layers_that_mix_rows_in_their_own_way_or_keep_a_state_need_the_batch(self):
        class Mixes(Layer):
            mixes_batch = True

        class Keeps(Layer):
            def build(self, input_shape, declare):
                self.count = declare.state("count", ())
                return input_shape

        for layer, expected in ((Mixes(), False), (Keeps(), False), (BatchNorm(), True), (Dropout(0.5), True)):
            model = Sequential([Residual([layer]), Dense(1)], input_shape=3, seed=0)
            assert may_share(model) is expected

    def test_a_generator_that_cannot_be_jumped_ahead_draws_for_the_whole_batch(self):
        model = Sequential([Dropout(0.5)])
        model.set_up((3,), np.random.Generator(np.random.SFC64(0)))
        assert not may_share(model)


class TestFit:
    @pytest.mark.parametrize("name", RANDOM)
    def test_the_bits_do_not_depend_on_the_number_of_threads(self, name):
        learned = []
        for threads in (1, 2, 5):
            model = network(name, dtype="float32")
            x, y, weights = data(model, 24)
            with threadpool_limits(threads, user_api="blas"):
                trainer = Trainer(model, Adam(), batch_size=8, seed=0)
                trainer.fit(x, y, epochs=3, sample_weight=weights, validation_data=(x, y), progress=False)
            learned.append((model.parameters.tobytes(), dict(trainer.history)))
        assert learned[0] == learned[1] == learned[2]

    @pytest.mark.parametrize("name", RANDOM)
    def test_a_run_goes_on_to_the_same_bits(self, name, tmp_path):
        def run(**options):
            model = network(name)
            trainer = Trainer(model, SGD(0.1), batch_size=8, seed=0)
            x, y, _ = data(model, 30)
            trainer.fit(x, y, epochs=3, progress=False, **options)
            return trainer, x, y

        whole, x, y = run()

        def save(trainer):
            if trainer.step == 6:
                trainer.save(tmp_path / "run.npz")
                trainer.stop()

        run(callbacks=[FunctionCallback(save, moment="on_batch_end")])
        again = Trainer.load(tmp_path / "run.npz")
        again.model.rows_at_once = 3
        again.fit(x, y, epochs=3 - again.epoch, progress=False)
        np.testing.assert_array_equal(again.model.parameters, whole.model.parameters)

    def test_within_a_step_the_model_can_be_copied_and_pickled(self):
        copies = []

        def keep(trainer):
            copies.append(copy.deepcopy(trainer.model))
            copies.append(pickle.loads(pickle.dumps(trainer.model)))

        model = network("normalized")
        x, y, _ = data(model, 8)
        Trainer(model, SGD(0.0), batch_size=None, seed=0).fit(
            x, y, callbacks=[FunctionCallback(keep, moment="on_gradients")], progress=False
        )
        assert len(copies) == 2
        for each in copies:
            np.testing.assert_array_equal(each.gradients, copies[0].gradients)

    def test_a_network_that_cannot_share_is_trained_as_ever(self):
        class Mixes(Layer):
            mixes_batch = True
            seen = 0

            def forward(self, x, training=False):
                type(self).seen = max(type(self).seen, len(x))
                return x.copy()

            def backward(self, dy):
                return dy

        model = Sequential([Mixes(), Dense(1), MeanSquaredError()], input_shape=2, seed=0)
        model.rows_at_once = 3
        x = np.random.default_rng(0).random((12, 2))
        Trainer(model, SGD(0.1), batch_size=None, seed=0).fit(x, x[:, :1], progress=False)
        assert Mixes.seen == 12

    def test_two_trainers_in_two_threads_do_not_disturb_each_other(self):
        def learn(results, index):
            model = network("normalized")
            x, y, _ = data(model, 40)
            Trainer(model, SGD(0.1), batch_size=10, seed=0).fit(x, y, epochs=5, progress=False)
            results[index] = model.parameters.copy()

        results = [None] * 4
        learn(results, 0)
        threads = [threading.Thread(target=learn, args=(results, index)) for index in (1, 2, 3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        for other in results[1:]:
            np.testing.assert_array_equal(other, results[0])


def test_the_sums_of_the_sides_are_added_in_one_order():
    meeting = module._Meeting(2)
    values, found = (0.1, 1e16, -1e16), {}

    def side(index):
        add = meeting.adder(index)
        sums = []
        for value in values:
            array = np.array([value * (1 + index)])
            add(array)
            sums.append(float(array[0]))
        found[index] = sums

    threads = [threading.Thread(target=meeting.attend, args=(lambda index=index: side(index),)) for index in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert found[0] == found[1] == [value + 2 * value for value in values]
