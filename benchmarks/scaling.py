"""Measure the gain of several processes on this machine, and compute it for a network of many machines.

    python benchmarks/scaling.py [--rounds 5]

The benchmark starts processes with mpiexec, one thread each, and measures a training step: with one process, without
and with a communicator; with two processes that share a batch (strong scaling); and with two that have a batch each
(weak scaling). It also measures the sum of the gradients over two processes alone, and what explains the times: half a
batch in one process, also step by step, as several processes train. (A single process takes many steps in one compiled
call, if the extra "fast" is installed.) Then it computes the speed of 1 to 1,000 machines from the measured times of
separate steps and from the time of such a sum:

    T(p, n) = 2 log2(p) latency + 2 (p - 1) / p n / bandwidth

for p machines and n bytes, without the time of the additions. The method is halving and doubling (Rabenseifner), from
Thakur et al. (2005), "Optimization of collective communication operations in MPICH", section 4.5. The latencies are
assumptions: 30 microseconds is usual for TCP at 10 Gbit/s, and 3 for a cluster's network at 100 Gbit/s. For two
processes of this machine, the formula is checked: the sums of the smallest and the largest network give latency and
bandwidth, and from these it computes the sum of the third.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import subprocess
import sys
import time

from mpi import ENVIRONMENT, need_mpiexec

NETWORKS = {"784-128-64-10": 64, "784-1024-1024-10": 128, "conv": 64}
"""The networks, and the rows of their batches."""

STEPS = {"784-128-64-10": 300, "784-1024-1024-10": 12, "conv": 30}
LINKS = {"10 Gbit/s": (30e-6, 10e9 / 8), "100 Gbit/s": (3e-6, 100e9 / 8)}
"""Latency in seconds, and bytes per second."""

MACHINES = [1, 2, 4, 8, 32, 128, 1000]


def build(name: str):
    from minidl import Conv2D, Dense, Flatten, MaxPool2D, ReLU, Sequential, SoftmaxCrossEntropy

    if name == "conv":
        layers = [Conv2D(16, 3, padding="same"), ReLU(), MaxPool2D(2)]
        layers += [Conv2D(32, 3, padding="same"), ReLU(), MaxPool2D(2), Flatten()]
        shape = (28, 28, 1)
    else:
        _, *hidden, _ = map(int, name.split("-"))
        layers = [layer for units in hidden for layer in (Dense(units), ReLU())]
        shape = (784,)
    return Sequential([*layers, Dense(10), SoftmaxCrossEntropy()], input_shape=shape, seed=0)


def work(name: str, batch: int, is_plain: bool, by_steps: bool) -> None:
    """Train for some steps, in one of the processes; the first prints the seconds of a step and of a sum."""
    import numpy as np
    from mpi4py import MPI

    from minidl import SGD, FunctionCallback, Trainer

    communicator, rng = MPI.COMM_WORLD, np.random.default_rng(0)
    model = build(name)
    x = rng.random((STEPS[name] * batch, *model.input_shape), dtype=np.float32)
    y = rng.integers(0, 10, len(x))
    trainer = Trainer(model, SGD(0.01), batch_size=batch, seed=0, communicator=None if is_plain else communicator)
    # A callback that may read the gradients keeps steps apart.
    callbacks = [FunctionCallback(lambda trainer: None, moment="on_gradients")] if by_steps else []
    seconds, sums = [], []
    for _ in range(4):
        communicator.Barrier()
        start = time.perf_counter()
        trainer.fit(x, y, callbacks=callbacks, progress=False)
        seconds.append((time.perf_counter() - start) / STEPS[name])
    gradients = np.zeros_like(model.gradients)
    for _ in range(50):
        communicator.Barrier()
        start = time.perf_counter()
        communicator.Allreduce(gradients.copy(), gradients)
        sums.append(time.perf_counter() - start)
    if communicator.Get_rank() == 0:
        result = {"step": statistics.median(seconds[1:]), "sum": statistics.median(sums), "size": gradients.nbytes}
        print(json.dumps(result))


def measure(
    name: str, batch: int, processes: int = 1, *, is_plain: bool = False, by_steps: bool = False
) -> dict[str, float]:
    command = ["mpiexec", "-n", str(processes), sys.executable, __file__, "--work", name, "--batch", str(batch)]
    command += ["--plain"] * is_plain + ["--by-steps"] * by_steps
    result = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, check=True)
    return json.loads(result.stdout)


def medians(rounds: int, name: str) -> dict[str, dict[str, float]]:
    """Return the medians of each way; the ways take turns."""
    batch = NETWORKS[name]
    ways = {
        "plain": lambda: measure(name, batch, is_plain=True),
        "one": lambda: measure(name, batch),
        "half": lambda: measure(name, batch // 2, is_plain=True),
        "by steps": lambda: measure(name, batch, is_plain=True, by_steps=True),
        "half by steps": lambda: measure(name, batch // 2, is_plain=True, by_steps=True),
        "strong": lambda: measure(name, batch, 2),
        "weak": lambda: measure(name, 2 * batch, 2),
    }
    found = {way: [] for way in ways}
    for _ in range(rounds):
        for way, run in ways.items():
            found[way].append(run())
    return {
        way: {key: statistics.median(result[key] for result in results) for key in results[0]}
        for way, results in found.items()
    }


def seconds_of_a_sum(machines: int, size: float, link: tuple[float, float]) -> float:
    latency, bandwidth = link
    return 2 * math.log2(machines) * latency + 2 * (machines - 1) / machines * size / bandwidth


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, help="rounds of each measurement (default: %(default)s)")
    parser.add_argument("--work", choices=NETWORKS, help=argparse.SUPPRESS)
    parser.add_argument("--batch", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--plain", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--by-steps", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.work:
        work(options.work, options.batch, options.plain, options.by_steps)
        return
    need_mpiexec()
    found = {name: medians(options.rounds, name) for name in NETWORKS}

    print("microseconds per step on this machine, one thread per process\n")
    print(
        "| network, rows of a batch | 1 process | 1 under MPI | 2, half a batch each | 2, a batch each | a sum over 2 |"
    )
    print("|---|---:|---:|---:|---:|---:|")
    for name, ways in found.items():
        steps = [ways[way]["step"] * 1e6 for way in ("plain", "one", "strong", "weak")]
        plain = steps[0]
        texts = [f"{plain:.0f}", *(f"{step:.0f} ({step / plain:.2f})" for step in steps[1:])]
        print(f"| {name}, {NETWORKS[name]} | {' | '.join(texts)} | {ways['strong']['sum'] * 1e6:.0f} |")

    print("\nmicroseconds of a step of two processes; of half a batch plus a sum; and the same step by step\n")
    print("| network | measured | half a batch + a sum | step by step |")
    print("|---|---:|---:|---:|")
    for name, ways in found.items():
        expected = [ways[way]["step"] + ways["strong"]["sum"] for way in ("half", "half by steps")]
        print(f"| {name} | {' | '.join(f'{step * 1e6:.0f}' for step in (ways['strong']['step'], *expected))} |")

    print("\nmicroseconds of a sum over two processes; the formula with the latency and bandwidth of the others\n")
    print("| network | bytes | measured | computed |")
    print("|---|---:|---:|---:|")
    sums = sorted((ways["strong"]["size"], ways["strong"]["sum"], name) for name, ways in found.items())
    (least, quickest, _), *_, (most, slowest, _) = sums
    bandwidth = (most - least) / (slowest - quickest)
    link = (quickest - least / bandwidth) / 2, bandwidth
    for position, (size, seconds, name) in enumerate(sums):
        computed = f"{seconds_of_a_sum(2, size, link) * 1e6:.0f}" if 0 < position < len(sums) - 1 else "given"
        print(f"| {name} | {size:,.0f} | {seconds * 1e6:.0f} | {computed} |")
    print(f"\nlatency {link[0] * 1e6:.1f} microseconds, bandwidth {bandwidth / 1e9:.1f} GB/s")

    for link, speed in LINKS.items():
        print(f"\nrows per second relative to one machine, computed, {link}\n")
        print(f"| network, machines | {' | '.join(map(str, MACHINES))} |")
        print(f"|---|{'---:|' * len(MACHINES)}")
        for name, ways in found.items():
            plain, whole, half = (ways[way]["step"] for way in ("plain", "by steps", "half by steps"))
            batch = NETWORKS[name]
            row = min(2 * max(whole - half, 0), whole) / batch  # seconds per row; the rest of a step is constant
            for what in ("one batch for all", "a batch for each"):
                gains = []
                for machines in MACHINES:
                    computing = min(machines, batch) if what == "one batch for all" else machines
                    rows = batch / computing if what == "one batch for all" else batch
                    added = seconds_of_a_sum(computing, ways["plain"]["size"], speed)
                    step = whole - (batch - rows) * row + added if machines > 1 else plain
                    gains.append(rows * computing / batch * plain / step)
                print(f"| {name}, {what} | {' | '.join(f'{gain:.2f}' for gain in gains)} |")


if __name__ == "__main__":
    main()
