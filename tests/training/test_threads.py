"""Small networks are trained with one thread of BLAS, others with all, whoever else trains meanwhile."""

import threading

import numpy as np
import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from minidl import Dense, MeanSquaredError, Sequential, Trainer
from minidl.settings import ArgumentError
from minidl.training.threads import WORTH_THREADS, blas_threads, multiplications_per_row, threads_for


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
    assert threads_in_fit(512, model(512, 512), batch_size=512) == [{2}]
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


def test_a_limit_ends_with_an_error():
    with pytest.raises(ZeroDivisionError), blas_threads(1):
        raise ZeroDivisionError
    assert threads_now() == {2}


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
