"""Compare minidl with other frameworks: same networks, data, initial weights and batches, each in its own processes.

    python benchmarks/peers.py                                        # everything, more than an hour
    python benchmarks/peers.py --quick                                # a first impression within two minutes
    python benchmarks/peers.py --workloads deep-adam --peers pytorch jax-scan

Install the frameworks with `pip install -e ".[bench]"`, and PyTorch as https://pytorch.org says; missing frameworks are
skipped. Every process first trains once without timing, to compile everything. It then takes a few timings and reports
their median. The frameworks take turns in rounds, so that a slow phase of the machine affects all of them.
Tables show medians over the rounds, and the ratios are medians of the rounds' ratios.

The losses of minidl and PyTorch must agree within 2 %; otherwise the command fails: the two do not train the same way.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from contestants.lineup import PEERS, WORKLOADS, Peer, Run, meaning, quick
from contestants.report import describe, kernels, print_table, tables, write
from contestants.results import Results
from contestants.workloads import CHARACTERS, SEQUENCE_NETWORKS, WORDS, Workload
from reports import mnist_folder
from sklearn.datasets import load_digits, make_classification

from minidl.diagnostics import installed_version, processor, usable_cores

BENCHMARKS = Path(__file__).resolve().parent
SECONDS_PER_PROCESS = 300
LOSS_TOLERANCE = 0.02
SAME_CLASSES = 0.99


def runs_of(workload: Workload, peers: Iterable[Peer], brief: bool) -> list[Run]:
    """Return the contestants of a workload, without variants equal to another one; `brief` also skips "foreach"."""
    runs = []
    for peer in peers:
        if workload.name in {"plain-128", "normalized"} and not peer.normalizes:
            continue
        if workload.network and not peer.more_than_dense:
            continue
        takes_part = workload.name in peer.only if peer.only else workload.name not in peer.without
        if workload.kind == "fit" and peer.name not in {"minidl", "estimators", "scikit-learn"}:
            continue
        if not takes_part or (workload.kind == "import" and not peer.imports):
            continue
        variants = peer.variants
        if brief or workload.kind != "training":
            variants = [variant for variant in variants if variant != "foreach"]
        if workload.kind == "import" or workload.rows_at_once <= 1024:
            variants = [variant for variant in variants if variant != "blocks"]
        runs += [Run(peer, variant) for variant in variants]
    return runs


class Processes:
    """Start the measured processes, with the data in one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environment = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
        # All processes share compiled bytecode, as in an installed package, and PyTorch's compiled steps. There is no
        # pool of compilers, because it would outlive a process that runs out of time.
        self.environment["PYTHONPYCACHEPREFIX"] = str(folder / "bytecode")
        self.environment["TORCHINDUCTOR_CACHE_DIR"] = str(folder / "inductor")
        self.environment["TORCHINDUCTOR_COMPILE_THREADS"] = "1"
        self.warm: set[tuple[str, Peer]] = set()

    def measure(self, workload: Workload, run: Run) -> dict[str, Any]:
        """Return the results of one process, with a list of "seconds"; raise RuntimeError if the process fails."""
        if workload.kind == "import":
            command = ["-c", f"import {run.peer.imports}"]
        else:
            command = ["-m", "contestants.worker", run.peer.module, run.variant, workload.name, str(self.folder)]
        if workload.kind in {"training", "fit", "prediction"}:
            figures = json.loads(self._run(command).splitlines()[-1])
            self.warm.add(("", run.peer))
            return figures
        # Any process of the peer leaves bytecode for all workloads; PyTorch compiles for each workload separately.
        already = (workload.name if run.variant == "compiled" else "", run.peer)
        if already not in self.warm:
            self._run(command)
            self.warm.add(already)
        start = time.perf_counter()
        output = self._run(command)
        figures = {"seconds": [time.perf_counter() - start]}
        return figures | (
            {"losses": [json.loads(output.splitlines()[-1])["loss"]]} if workload.kind == "cold start" else {}
        )

    def _run(self, command: list[str]) -> str:
        try:
            done = subprocess.run(
                [sys.executable, *command],
                check=False,
                capture_output=True,
                text=True,
                env=self.environment,
                cwd=BENCHMARKS,
                timeout=SECONDS_PER_PROCESS,
            )
        except subprocess.TimeoutExpired:
            raise RuntimeError(f"took more than {SECONDS_PER_PROCESS} s") from None
        if done.returncode:
            lines = [line for line in done.stderr.splitlines() if line.strip()]
            raise RuntimeError(lines[-1] if lines else f"ended with code {done.returncode}")
        return done.stdout


def prepare(folder: Path, workloads: Iterable[Workload], mnist: str | None) -> str:
    """Write data and workloads into the folder; return where the pixels come from."""
    from minidl.data import load_mnist

    digits = load_mnist(mnist_folder(mnist))
    rows = np.arange(max(workload.rows for workload in WORKLOADS if workload.data == "mnist")) % len(digits.y_train)
    np.save(folder / "mnist_x.npy", digits.x_train[rows])
    np.save(folder / "mnist_y.npy", digits.y_train[rows].astype(np.int64))
    pictures = make_pictures(max(workload.rows for workload in WORKLOADS if workload.data == "pictures"))
    classes = {"pictures": pictures, "digits": load_digits(return_X_y=True), "table": make_table()}
    for name, (x, y) in classes.items():
        np.save(folder / f"{name}_x.npy", x.astype(np.float32))
        np.save(folder / f"{name}_y.npy", y.astype(np.int64))
    for workload in WORKLOADS:
        if workload.network in SEQUENCE_NETWORKS:
            positions, _ = SEQUENCE_NETWORKS[workload.network]
            x, y = (make_words if workload.data == "words" else make_text)(workload.rows, positions)
            np.save(folder / f"{workload.data}_x.npy", x)
            np.save(folder / f"{workload.data}_y.npy", y)
    for number, workload in enumerate(workload for workload in WORKLOADS if not workload.classifies):
        # Inputs are standard normal; targets are the outputs of a random network with 16 hidden units.
        rng = np.random.default_rng((1, number))
        inputs, outputs = workload.sizes[0], workload.sizes[-1]
        x = rng.standard_normal((workload.rows, inputs))
        y = np.tanh(x @ rng.standard_normal((inputs, 16))) @ rng.standard_normal((16, outputs)) / 4
        np.save(folder / f"{workload.data}_x.npy", x.astype(np.float32))
        np.save(folder / f"{workload.data}_y.npy", y.astype(np.float32))
    for workload in workloads:
        (folder / f"{workload.name}.json").write_text(json.dumps(workload._asdict()))
    return digits.source


def make_pictures(rows: int) -> tuple[np.ndarray, np.ndarray]:
    """Return images (N, 32, 32, 3) of ten classes: each class has its own picture, with noise."""
    rng = np.random.default_rng(2)
    y = rng.integers(0, 10, rows)
    return 0.5 * rng.standard_normal((10, 32, 32, 3))[y] + rng.standard_normal((rows, 32, 32, 3)), y


def make_table() -> tuple[np.ndarray, np.ndarray]:
    """Return 20,000 rows of 50 features in four classes."""
    return make_classification(20_000, 50, n_informative=20, n_classes=4, random_state=0)


def make_text(rows: int, positions: int) -> tuple[np.ndarray, np.ndarray]:
    """Return characters (N, T), and their next characters; each character has four possible next ones."""
    rng = np.random.default_rng(3)
    following = rng.integers(0, CHARACTERS, (CHARACTERS, 4))
    text = np.empty((rows, positions + 1), np.int64)
    text[:, 0] = rng.integers(0, CHARACTERS, rows)
    for position in range(positions):
        text[:, position + 1] = following[text[:, position], rng.integers(0, 4, rows)]
    return text[:, :-1], text[:, 1:]


def make_words(rows: int, positions: int) -> tuple[np.ndarray, np.ndarray]:
    """Return words (N, T), all equally frequent, and labels: the class, of ten, with the most votes of the words."""
    rng = np.random.default_rng(4)
    words = rng.integers(0, WORDS, (rows, positions))
    return words, rng.standard_normal((WORDS, 10))[words].sum(axis=1).argmax(axis=1)


def race(results: Results, workload: Workload, processes: Processes, runs: list[Run], rounds: int) -> None:
    """Measure a workload in rounds; the runs take turns, and a failed run is skipped from then on."""
    entries = results.rounds[workload.name]
    for _ in range(rounds):
        for run in runs:
            if run.name in results.errors[workload.name]:
                continue
            entry = None
            try:
                entry = processes.measure(workload, run)
            except RuntimeError as error:
                results.errors[workload.name][run.name] = str(error)
                print(f"  {run.name} failed: {error}", flush=True)
            entries.setdefault(run.name, []).append(entry)


def unfair(results: Results, workload: Workload) -> list[str]:
    """Print the losses of a workload; return the reasons why the contestants are not comparable."""
    minidl = PEERS[0]
    faults = [f"{workload.name}: minidl failed"] if results.failed(workload, minidl) else []
    losses = {peer.name: loss for peer in results.peers if (loss := results.loss(workload, peer)) is not None}
    if losses:
        print("  loss: " + ", ".join(f"{name} {loss:.5g}" for name, loss in losses.items()))
    if {"minidl", "pytorch"} <= losses.keys():
        difference = abs(losses["minidl"] / losses["pytorch"] - 1)
        if not difference <= LOSS_TOLERANCE:
            faults.append(
                f"{workload.name}: minidl's loss {losses['minidl']:.5g} and PyTorch's {losses['pytorch']:.5g} differ "
                f"by {difference:.1%}, more than {LOSS_TOLERANCE:.0%}: they do not train the same way"
            )
    classes = {peer.name: found for peer in results.peers if (found := results.last(workload, peer, "classes"))}
    for name, found in classes.items():
        agreement = np.mean(np.equal(found, classes.get(minidl.name, found)))
        if agreement < SAME_CLASSES:
            faults.append(f"{workload.name}: {name} and minidl agree on only {agreement:.1%} of the rows")
    return faults


def of_estimators(results: Results) -> list[str]:
    """Return a line for each fit: the estimator's time divided by the Trainer's, and by scikit-learn's."""
    peers = {peer.name: peer for peer in results.peers}
    lines = []
    for workload in results.workloads:
        if workload.kind == "fit" and "estimators" in peers:
            for name, of_whom in (("minidl", "the Trainer's"), ("scikit-learn", "scikit-learn's")):
                if name in peers and (ratio := results.ratio(workload, peers[name], of=peers["estimators"])):
                    lines.append(f"{workload.name}: the estimator's time is {ratio:.2f} of {of_whom}")
    return lines


def about(rounds: int, pixels: str) -> dict[str, Any]:
    names = ["numpy", *dict.fromkeys(package for peer in PEERS for package in peer.packages)]
    settings = ("OPENBLAS_", "OMP_", "MKL_", "GOTO_", "BLIS_", "XLA_", "JAX_", "TORCH")
    return {
        "processor": processor(),
        "cores": usable_cores(),
        "system": platform.platform(terse=True),
        "python": platform.python_version(),
        "versions": {name: version for name in names if (version := installed_version(name))},
        "settings": {name: value for name, value in sorted(os.environ.items()) if name.startswith(settings)},
        "pixels": pixels,
        "rounds": rounds,
    }


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="workloads:\n" + "\n".join(f"  {workload.name:<16} {meaning(workload)}" for workload in WORKLOADS),
    )
    workloads, peers = [workload.name for workload in WORKLOADS], [peer.name for peer in PEERS]
    parser.add_argument(
        "--workloads", nargs="+", choices=workloads, default=workloads, metavar="NAME", help="see below (default all)"
    )
    parser.add_argument(
        "--peers", nargs="+", choices=peers, metavar="NAME", help=f"others (default all): {', '.join(peers[1:])}"
    )
    parser.add_argument("--rounds", type=int, help="rounds in which the peers take turns (default 5; 1 with --quick)")
    parser.add_argument(
        "--quick", action="store_true", help="one round with less work; without pytorch-compiled unless you name it"
    )
    parser.add_argument(
        "--data", help="MNIST: a folder of IDX files or a train.csv (default: where minidl.data.load_mnist finds it)"
    )
    parser.add_argument("--output", type=Path, default=Path("runs/peers"), help="folder (default %(default)s)")
    options = parser.parse_args(arguments)
    options.rounds = options.rounds or (1 if options.quick else 5)
    if options.rounds < 1:
        parser.error("--rounds must be 1 or more")
    options.peers = options.peers or [name for name in peers if not (options.quick and name == "pytorch-compiled")]
    return options


def installed(names: list[str]) -> list[Peer]:
    """Return minidl and the peers with these names; print how to install missing ones."""
    present = []
    for peer in PEERS:
        if peer is PEERS[0] or peer.name in names:
            missing = [package for package in peer.packages if installed_version(package) is None]
            if missing:
                print(f"{peer.name} is skipped: it needs {' and '.join(missing)}: {peer.install}")
            else:
                present.append(peer)
    return present


def main() -> int:
    options = parse()
    peers = installed(options.peers)
    workloads = [workload for workload in WORKLOADS if workload.name in options.workloads]
    if options.quick:
        workloads = [quick(workload) for workload in workloads]
    faults, code = [], 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        results = Results(workloads, peers, about(options.rounds, prepare(folder, workloads, options.data)))
        print("\n".join(describe(results)))
        processes = Processes(folder)
        try:
            for workload in workloads:
                print(f"\n{workload.name}: {meaning(workload)}", flush=True)
                start = time.perf_counter()
                race(results, workload, processes, runs_of(workload, peers, options.quick), options.rounds)
                faults += unfair(results, workload)
                print(f"  measured in {time.perf_counter() - start:.0f} s", flush=True)
        except KeyboardInterrupt:
            print("\nInterrupted: here are the results so far.")
            code = 130
        for title, rows in tables(results).items():
            print_table(title, rows)
        print(f"\n{kernels(results)}")
        for line in of_estimators(results):
            print(line)
        write(results, options.output)
    for fault in faults:
        print(f"UNFAIR: {fault}", file=sys.stderr)
    return code or (1 if faults else 0)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
