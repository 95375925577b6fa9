"""Small networks are trained with one thread of BLAS, others with all, whoever else trains meanwhile."""

import multiprocessing
import os
import threading
import time

import numpy as np
import pytest
import scipy.linalg  # noqa: F401 - its BLAS, which minidl would not know if a later import loaded it
from threadpoolctl import threadpool_info, threadpool_limits

from minidl import Dense, FunctionCallback, MeanSquaredError, Sequential, Trainer
from minidl.errors import DataError
from minidl.settings import ArgumentError
from minidl.threads import (
    WORTH_THREADS,
    blas_threads,
    count_threads,
    in_threads,
    multiplications_per_row,
    plan_threads,
    threads_for,
)


def threads_now():
    return {library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"}


@pytest.fixture(autouse=True)
def _two_threads():
    with threadpool_limits(2, user_api="blas"):
        yield
        assert threads_now() == {2}


def model(inputs=64, units=64):
    return Sequential([Dense(units), Dense(1), MeanSquaredError()], input_shape=inputs, seed=0)


def threads_in_fit(rows, network, **settings):
    found = []
    x, y = np.zeros((rows, *network.input_shape)), np.zeros((rows, 1))
    trainer = Trainer(network, batch_size=settings.pop("batch_size", None), seed=0, **settings)
    trainer.fit(x, y, callbacks=[lambda _: found.append(threads_now())], progress=False)
    return found


def test_the_largest_product_decides():
    rows = WORTH_THREADS // 64**2
    assert threads_for(model(), rows) is None
    assert threads_for(model(), rows - 1) == 1
    positions = Sequential([Dense(64), MeanSquaredError()], input_shape=(rows, 64), seed=0)
    assert threads_for(positions, 1) is None
    assert multiplications_per_row(positions) == rows * 64 * 64


def test_a_small_network_has_one_thread_and_a_large_one_all():
    assert threads_in_fit(100, model()) == [{1}]
    assert threads_in_fit(256, model(512, 512), batch_size=256) == [{2}]
    assert threads_in_fit(512, model(512, 512), batch_size=32) == [{1}]


def test_the_user_may_choose():
    assert threads_in_fit(100, model(), threads=2) == [{2}]
    assert threads_in_fit(512, model(512, 512), batch_size=512, threads=1) == [{1}]
    with pytest.raises(ArgumentError, match="threads is 0; it must be a whole number, 1 or more"):
        Trainer(model(), threads=0)


def test_the_thread_that_distorts_gets_a_core():
    assert threads_in_fit(512, model(512, 512), batch_size=512, augment=lambda x, _: x) == [{1}]
    with blas_threads(None, spared=5):
        assert threads_now() == {1}


def test_two_threads_share_blocks_unless_blas_makes_use_of_more():
    small, large = model(), model(512, 512)
    for usable, expected in ((1, [(1, 1), (1, None)]), (2, [(2, 1), (2, 1)]), (8, [(2, 1), (1, None)])):
        with threadpool_limits(usable, user_api="blas"):
            assert [plan_threads(network, 10**6) for network in (small, large)] == expected
    assert plan_threads(large, 10**6, allowed=1) == (1, 1)
    assert plan_threads(large, 10**6, allowed=2) == (2, 1)
    assert plan_threads(small, 10**6, apart=False) == (1, 1)
    assert plan_threads(small, 10**6, allowed=2, apart=False) == (1, 2)


def test_the_program_may_use_what_blas_has_outside_of_a_limit():
    assert count_threads() == 2
    with blas_threads(1):
        assert count_threads() == 2


class TestInThreads:
    @pytest.mark.parametrize("threads", [1, 2, 5])
    def test_it_returns_the_results_in_order(self, threads):
        assert in_threads(lambda item: item**2, range(20), threads) == [item**2 for item in range(20)]
        assert in_threads(str, [], threads) == []

    def test_two_threads_work_at_once(self):
        meeting = threading.Barrier(2)
        names = in_threads(lambda _: (meeting.wait(10), threading.current_thread().name)[1], range(2), 2)
        assert len(set(names)) == 2

    @pytest.mark.parametrize("threads", [1, 2])
    def test_the_first_error_is_raised_and_nothing_more_is_begun(self, threads):
        begun = []

        def work(item):
            begun.append(item)
            if item >= 3:
                raise ValueError(item)

        with pytest.raises(ValueError, match="3"):
            in_threads(work, range(1000), threads)
        assert len(begun) < 10

    def test_the_treatment_of_overflows_is_that_of_the_caller(self):
        huge, meeting = np.array([1e308]), threading.Barrier(2)
        with np.errstate(over="raise"), pytest.raises(FloatingPointError):
            in_threads(lambda _: (meeting.wait(10), huge * 10), range(2), 2)
        with np.errstate(over="ignore"):
            assert in_threads(lambda _: (meeting.wait(10), huge * 10)[1], range(2), 2) == [np.inf, np.inf]

    @pytest.mark.skipif(not hasattr(os, "fork"), reason="the system cannot fork")
    def test_a_forked_process_has_threads_of_its_own(self):
        in_threads(str, range(4), 2)
        meeting = multiprocessing.get_context("fork").Queue()
        process = multiprocessing.get_context("fork").Process(
            target=lambda: meeting.put(in_threads(lambda item: item + 1, range(4), 2))
        )
        process.start()
        assert meeting.get(timeout=30) == [1, 2, 3, 4]
        process.join(10)


def test_a_large_prediction_is_shared_and_has_the_same_bits():
    x = np.random.default_rng(0).random((5000, 64))
    network = model()
    network.rows_at_once = 64
    names = set()
    forward = network.forward

    def watched(x):
        names.add(threading.current_thread().name)
        time.sleep(0.001)
        return forward(x)

    vars(network)["forward"] = watched
    shared = network.predict(x)
    assert len(names) == 2
    with threadpool_limits(1, user_api="blas"):
        np.testing.assert_array_equal(network.predict(x), shared)
    x[[700, 4000], 3] = np.nan
    with pytest.raises(DataError, match="row 700"):
        network.predict(x)


def test_a_limit_ends_with_an_error():
    with pytest.raises(ZeroDivisionError), blas_threads(1):
        raise ZeroDivisionError
    assert threads_now() == {2}


def test_a_limit_within_another_ends_with_the_outer_one():
    with blas_threads(1):
        with blas_threads(None):
            assert threads_now() == {1}
        assert threads_now() == {1}
    with blas_threads(2):
        with blas_threads(1):
            assert threads_now() == {1}
        assert threads_now() == {2}


def test_validation_leaves_the_number_of_threads_of_the_training():
    found, network = [], model()
    network.rows_at_once = 8
    x, y = np.zeros((40, 64)), np.zeros((40, 1))
    trainer = Trainer(network, batch_size=8, seed=0)
    look = FunctionCallback(lambda _: found.append(threads_now()), moment="on_batch_end")
    trainer.fit(x, y, epochs=2, validation_data=(x, y), callbacks=[look], progress=False)
    assert found == [{1}] * 10


def test_of_several_threads_the_last_to_end_gives_back_what_there_was():
    inside, first_may_end, first_ended = threading.Barrier(3), threading.Event(), threading.Event()

    def first():
        with blas_threads(1):
            inside.wait(10)
            first_may_end.wait(10)
        first_ended.set()

    def second():
        with blas_threads(1):
            inside.wait(10)
            first_ended.wait(10)

    threads = [threading.Thread(target=each) for each in (first, second)]
    for thread in threads:
        thread.start()
    inside.wait(10)
    first_may_end.set()
    for thread in threads:
        thread.join(10)
    assert threads_now() == {2}


def test_the_main_thread_gets_back_what_there_was_while_others_train():
    begun, done = threading.Event(), threading.Event()

    def other():
        with blas_threads(1):
            begun.set()
            done.wait(10)

    thread = threading.Thread(target=other)
    with blas_threads(1):
        thread.start()
        assert begun.wait(10)
        assert threads_now() == {1}
    assert threads_now() == {2}
    done.set()
    thread.join()


def test_a_small_network_learns_the_same_bits_with_any_number_of_threads():
    rng = np.random.default_rng(0)
    x, y = rng.random((256, 64)), rng.random((256, 1))
    learned = []
    for threads in (1, 2):
        with threadpool_limits(threads, user_api="blas"):
            network = model()
            Trainer(network, batch_size=128, seed=0).fit(x, y, epochs=2, progress=False)
            learned.append(network.parameters.tobytes())
    assert learned[0] == learned[1]
