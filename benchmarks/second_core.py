"""Measure the possible gain of a second core for a step of a small network, with compiled code.

    python benchmarks/second_core.py [--rounds 9]

A step here is the two large products of 784-128-64-10 in batches of 64, forward and backward, and the optimizer's
update of all parameters. Three ways compute it: one thread; one thread with two BLAS threads; and one thread with a
helper thread. The helper spins while it waits, and takes half of each product when it is awake. No thread waits for a
half that has not begun. The halves are rows of the result, so they have the same bits as the whole.
"""

from __future__ import annotations

import argparse
import platform
import threading
import time

import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic
from threadpoolctl import threadpool_limits

from minidl.compiled import blas as products
from minidl.compiled.optimizers import adam_step, sgd_step

STEPS, ROWS, INPUTS, UNITS, PARAMETERS = 400, 64, 784, 128, 109_386
OFFERED, TAKEN, DONE = 0, 64, 128
"""Where the box stores the numbers of the last half offered, taken and done, each in its own cache line."""

compiled = numba.njit(error_model="numpy", nogil=True)


def _atomic(build):
    """Return a function of an address and integers, for compiled loops."""

    def declare(_, address, *numbers):
        def generate(context, builder, __, values):
            pointer = builder.inttoptr(values[0], ir.IntType(64).as_pointer())
            return build(context, builder, pointer, *values[1:])

        return types.int64(types.uintp, *[types.int64] * len(numbers)), generate

    return declare


@intrinsic
def load(typing, address):
    return _atomic(lambda _, builder, pointer: builder.load_atomic(pointer, "acquire", 8))(typing, address)


@intrinsic
def store(typing, address, number):
    def build(_, builder, pointer, number):
        builder.store_atomic(number, pointer, "release", 8)
        return number

    return _atomic(build)(typing, address, number)


@intrinsic
def exchange(typing, address, expected, number):
    """Write the number if the memory contains the expected one; return 1 if it did, or else 0."""

    def build(_, builder, pointer, expected, number):
        found = builder.cmpxchg(pointer, expected, number, "acq_rel", "acquire")
        return builder.zext(builder.extract_value(found, 1), ir.IntType(64))

    return _atomic(build)(typing, address, expected, number)


@intrinsic
def pause(_):
    """Tell an x86 processor that this thread waits, so the other thread of its core is faster."""

    def generate(context, builder, __, ___):
        if platform.machine() in {"x86_64", "AMD64"}:
            kind = ir.FunctionType(ir.VoidType(), [])
            builder.call(builder.module.declare_intrinsic("llvm.x86.sse2.pause", (), kind), [])
        return context.get_dummy_value()

    return types.void(), generate


@compiled
def multiply_rows(blas, number, half, x, weight, y, dy, gradient):
    """Compute half of the rows of ``y <- x @ weight`` or of ``gradient <- x.T @ dy``; both halves if `half` is -1."""
    one, zero = x.dtype.type(1), x.dtype.type(0)
    count = ROWS if number % 2 else INPUTS
    start, stop = (0, count) if half < 0 else (half * count // 2, (half + 1) * count // 2)
    if number % 2:
        sizes = 101, 111, 111, stop - start, UNITS, INPUTS
        a, b, c = x[start:].ctypes.data, weight.ctypes.data, y[start:].ctypes.data
    else:
        sizes = 101, 112, 111, stop - start, UNITS, ROWS
        a, b, c = x[:, start:].ctypes.data, dy.ctypes.data, gradient[start:].ctypes.data
    products._gemm(blas[0], one, (*sizes, one, a, INPUTS, b, UNITS, zero, c, UNITS))


@compiled
def help_out(box, blas, arrays):
    """Take halves until a number below 0 is offered; return how many it took."""
    place, seen, taken = box.ctypes.data, 0, 0
    while True:
        number = load(place + OFFERED)
        if number < 0:
            return taken
        if number > seen:
            seen = number
            if exchange(place + TAKEN, number - 1, number):
                multiply_rows(blas, number, 1, *arrays)
                store(place + DONE, number)
                taken += 1
        else:
            pause()


@compiled
def train(box, blas, arrays, vectors, is_shared, is_adam):
    place, number = box.ctypes.data, 0
    for _ in range(STEPS):
        for _ in range(2):
            number += 1
            if not is_shared:
                multiply_rows(blas, number, -1, *arrays)
                continue
            store(place + OFFERED, number)
            multiply_rows(blas, number, 0, *arrays)
            if exchange(place + TAKEN, number - 1, number):
                multiply_rows(blas, number, 1, *arrays)
            else:
                while load(place + DONE) < number:
                    pause()
        parameters, gradients, first, second = vectors
        if is_adam:
            adam_step(parameters, gradients, first, second, 0.9, 0.999, 1e-8, 1e-4)
        else:
            sgd_step(parameters, gradients, 1e-4)
    store(place + OFFERED, -1)


def measure(way: str, optimizer: str) -> tuple[float, bytes, int]:
    """Return the microseconds of a step, the bits of the parameters, and how many halves the helper took."""
    rng = np.random.default_rng(0)
    vectors = rng.normal(0, 0.03, PARAMETERS).astype(np.float32), *np.zeros((3, PARAMETERS), np.float32)
    weight, gradient = (vector[: INPUTS * UNITS].reshape(INPUTS, UNITS) for vector in vectors[:2])
    x, dy = (rng.random((ROWS, size), dtype=np.float32) for size in (INPUTS, UNITS))
    arrays, box = (x, weight, np.empty_like(dy), dy, gradient), np.zeros(64, np.int64)
    taken: list[int] = []
    blas = products.routines(x.dtype)
    helper = threading.Thread(target=lambda: taken.append(help_out(box, blas, arrays)))
    with threadpool_limits(2 if way == "BLAS" else 1, user_api="blas"):
        if way == "helper":
            helper.start()
        start = time.perf_counter()
        train(box, blas, arrays, vectors, way == "helper", optimizer == "Adam")
        seconds = time.perf_counter() - start
        if way == "helper":
            helper.join()
    return seconds / STEPS * 1e6, vectors[0].tobytes(), sum(taken)


def main() -> None:
    """Measure the three ways in turns, and print medians and ranges."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9, help="rounds of each way (default: %(default)s)")
    rounds = parser.parse_args().rounds
    ways = {"one thread": "one thread", "BLAS": "two BLAS threads", "helper": "with a helper thread"}
    print(f"{'microseconds of a step, median (range)':<40}{'ratio':>25}  bits")
    for optimizer in ("SGD", "Adam"):
        found = {way: [] for way in ways}
        for way in ways:  # compiles
            measure(way, optimizer)
        for _ in range(rounds):
            for way, results in found.items():
                time.sleep(0.1)  # BLAS threads spin this long while they wait for more work
                results.append(measure(way, optimizer))
        usual = np.median([microseconds for microseconds, *_ in found["one thread"]])
        for way, text in ways.items():
            times = np.array([microseconds for microseconds, *_ in found[way]])
            same = "the same" if found[way][0][1] == found["one thread"][0][1] else "others"
            spread = f"{np.median(times):.0f} ({times.min():.0f} to {times.max():.0f})"
            share = np.mean([taken for *_, taken in found[way]]) / (2 * STEPS)
            note = f", took {share:.0%} of the halves" if way == "helper" else ""
            print(f"{optimizer}, {text:<28}{spread:>22}{np.median(times) / usual:>9.2f}  {same}{note}")


if __name__ == "__main__":
    main()
