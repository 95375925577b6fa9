"""minidl beside other frameworks: the same networks, data, first weights and batches, each in its own processes.

    python benchmarks/peers.py                                        # everything, about half an hour
    python benchmarks/peers.py --quick                                # an impression within two minutes
    python benchmarks/peers.py --workloads deep-adam --peers pytorch jax-scan

The frameworks come with `pip install -e ".[bench]"`, and PyTorch as https://pytorch.org says; those that are missing
are left out. Every process trains once uncounted, with all compilation, and then takes a few timings, of which the
median counts. The frameworks take turns in rounds, so that a phase in which the machine is slow meets them all. Tables
show medians over the rounds, and the ratios are medians of the rounds' ratios.

minidl and PyTorch must reach the same loss within 2 %, or the command fails: what learns something else is no peer.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import importlib.util
import json
import math
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from itertools import zip_longest
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from contestants.workloads import Workload

BENCHMARKS = Path(__file__).resolve().parent
MNIST_BESIDE = BENCHMARKS.parent.parent / "shared" / "data" / "mnist"
SECONDS_PER_PROCESS = 300
LOSS_TOLERANCE = 0.02
SAME_CLASSES = 0.99
BENCH_EXTRA = 'pip install -e ".[bench]"'
TORCH = "pip install torch --index-url https://download.pytorch.org/whl/cpu (or as https://pytorch.org says)"


class Peer(NamedTuple):
    """One framework, in one manner of use."""

    name: str
    module: str
    imports: str = ""
    """What a process imports in the workload "import"; empty: it takes no part."""
    packages: tuple[str, ...] = ()
    """The distributions that must be installed."""
    variants: tuple[str, ...] = ("",)
    """Each runs in its own processes; the fastest in a workload stands for the peer."""
    without: tuple[str, ...] = ()
    """The workloads in which it takes no part."""
    install: str = BENCH_EXTRA


TRAINING = ("deep-sgd", "deep-adam", "small-fullbatch", "tiny", "skinny", "wide")
PREDICTION = ("predict-1", "predict-10k")

PEERS = (
    Peer("minidl", "minidl", "minidl", ("minidl",)),
    Peer("pytorch", "pytorch", "torch", ("torch",), ("fused", "foreach"), install=TORCH),
    Peer("pytorch-compiled", "pytorch", "", ("torch",), ("compiled",), install=TORCH),
    Peer("jax-step", "jax", "jax", ("jax",), ("step",)),
    # A full batch is one step, with nothing to scan over.
    Peer("jax-scan", "jax", "", ("jax",), ("scan",), without=("small-fullbatch", *PREDICTION)),
    Peer("scikit-learn", "scikit_learn", "sklearn.neural_network", ("scikit-learn",)),
    Peer("skorch", "skorch", "skorch", ("skorch", "torch"), install=f"{BENCH_EXTRA}, and {TORCH}"),
    Peer("columns", "columns"),
    Peer(
        "onnxruntime",
        "onnxruntime",
        "onnxruntime",
        ("onnx", "onnxruntime"),
        without=(*TRAINING, "import", "cold-start"),
    ),
    Peer("gemm", "gemm", "numpy", variants=("whole", "blocks")),
)

WORKLOADS = (
    Workload("deep-sgd", "training", optimizer="sgd", learning_rate=0.01),
    Workload("deep-adam", "training"),
    Workload(
        "small-fullbatch",
        "training",
        sizes=(784, 10, 10),
        rows=41_000,
        batch=41_000,
        optimizer="sgd",
        learning_rate=0.1,
        times=10,
    ),
    Workload("tiny", "training", "random-10", (10, 46, 46, 10), 12_800, 128),
    Workload("skinny", "training", "random-4", (4, 500, 1), 100_000, 128),
    Workload("wide", "training", sizes=(784, 1024, 1024, 10), rows=12_800, batch=128, repeats=2),
    Workload("predict-1", "prediction", rows=1, times=1000, repeats=5),
    Workload("predict-10k", "prediction", rows=10_000, times=5, repeats=5),
    Workload("import", "import"),
    Workload("cold-start", "cold start"),
)

MEANING = {
    "deep-sgd": "784-128-64-10, SGD, batch 64: an epoch of {rows} rows",
    "deep-adam": "784-128-64-10, Adam, batch 64: an epoch of {rows} rows",
    "small-fullbatch": "784-10-10, SGD, full batch: {times} steps of {rows} rows",
    "tiny": "10-46-46-10, squared error, Adam, batch 128: an epoch of {rows} rows",
    "skinny": "4-500-1, squared error, Adam, batch 128: an epoch of {rows} rows",
    "wide": "784-1024-1024-10, Adam, batch 128: an epoch of {rows} rows",
    "predict-1": "784-128-64-10: the class of 1 row",
    "predict-10k": "784-128-64-10: the classes of {rows} rows",
    "import": "a process that only imports the package",
    "cold-start": "a process that trains deep-adam for its first epoch of {rows} rows",
}


def quick(workload: Workload) -> Workload:
    """Return a smaller workload of the same kind: fewer rows, steps and timings."""
    if workload.kind == "training":
        fewer = {"small-fullbatch": 41_000, "wide": 2_560}.get(workload.name, 6_400)
        return workload._replace(
            rows=fewer, batch=fewer if workload.full_batch else workload.batch, times=min(workload.times, 3), repeats=2
        )
    if workload.kind == "prediction":
        return workload._replace(times=max(workload.times // 5, 1), repeats=3)
    return workload


def meaning(workload: Workload) -> str:
    return MEANING[workload.name].format(rows=f"{workload.rows:,}", times=workload.times)


class Run(NamedTuple):
    """One variant of one peer: a process per workload and round."""

    peer: Peer
    variant: str

    @property
    def name(self) -> str:
        return f"{self.peer.name} ({self.variant})" if len(self.peer.variants) > 1 else self.peer.name


def runs_of(workload: Workload, peers: Iterable[Peer], brief: bool) -> list[Run]:
    """Return who runs in a workload, without variants that would do the same as another; `brief` spares one more."""
    runs = []
    for peer in peers:
        if workload.name in peer.without or (workload.kind == "import" and not peer.imports):
            continue
        variants = peer.variants
        if brief or workload.kind != "training":
            variants = [variant for variant in variants if variant != "foreach"]
        if workload.kind == "import" or workload.rows_at_once <= 1024:
            variants = [variant for variant in variants if variant != "blocks"]
        runs += [Run(peer, variant) for variant in variants]
    return runs


class Processes:
    """Starts the processes that are measured, on the data in one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environment = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
        # Compiled bytecode, as an installed package has it; PyTorch's compiled steps; and no pool of compilers, which
        # would outlive a process that runs out of time.
        self.environment["PYTHONPYCACHEPREFIX"] = str(folder / "bytecode")
        self.environment["TORCHINDUCTOR_CACHE_DIR"] = str(folder / "inductor")
        self.environment["TORCHINDUCTOR_COMPILE_THREADS"] = "1"
        self.warm: set[tuple[str, Run]] = set()

    def measure(self, workload: Workload, run: Run) -> dict[str, Any]:
        """Return the figures of one process, with "seconds", a list; RuntimeError says why there are none."""
        if workload.kind == "import":
            command = ["-c", f"import {run.peer.imports}"]
        else:
            command = ["-m", "contestants.worker", run.peer.module, run.variant, workload.name, str(self.folder)]
        if workload.kind in {"training", "prediction"}:
            return json.loads(self._run(command).splitlines()[-1])
        if (workload.name, run) not in self.warm:
            self._run(command)
            self.warm.add((workload.name, run))
        start = time.perf_counter()
        output = self._run(command)
        figures = {"seconds": [time.perf_counter() - start]}
        return figures | ({"losses": [json.loads(output)["loss"]]} if workload.kind == "cold start" else {})

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

    digits = load_mnist(mnist or (MNIST_BESIDE if MNIST_BESIDE.is_dir() else None))
    rows = np.arange(max(workload.rows for workload in WORKLOADS if workload.data == "mnist")) % len(digits.y_train)
    np.save(folder / "mnist_x.npy", digits.x_train[rows])
    np.save(folder / "mnist_y.npy", digits.y_train[rows].astype(np.int64))
    for number, workload in enumerate(workload for workload in WORKLOADS if workload.data != "mnist"):
        # Standard normal input, and as target what a random network of 16 hidden units makes of it.
        rng = np.random.default_rng((1, number))
        inputs, outputs = workload.sizes[0], workload.sizes[-1]
        x = rng.standard_normal((workload.rows, inputs))
        y = np.tanh(x @ rng.standard_normal((inputs, 16))) @ rng.standard_normal((16, outputs)) / 4
        np.save(folder / f"{workload.data}_x.npy", x.astype(np.float32))
        np.save(folder / f"{workload.data}_y.npy", y.astype(np.float32))
    for workload in workloads:
        (folder / f"{workload.name}.json").write_text(json.dumps(workload._asdict()))
    return digits.source


class Results:
    """All that was measured: for each workload and run a list with an entry per round, None where it failed."""

    def __init__(self, workloads: list[Workload], peers: list[Peer], about: dict[str, Any]) -> None:
        self.workloads, self.peers, self.about = workloads, peers, about
        self.rounds: dict[str, dict[str, list[dict[str, Any] | None]]] = {workload.name: {} for workload in workloads}
        self.errors: dict[str, dict[str, str]] = {workload.name: {} for workload in workloads}

    def seconds(self, workload: Workload, run_name: str) -> list[float | None]:
        """Return the figure of each round: the median of its timings."""
        return [entry and statistics.median(entry["seconds"]) for entry in self.rounds[workload.name][run_name]]

    def best(self, workload: Workload, peer: Peer) -> tuple[str, float] | None:
        """Return the peer's fastest variant and its median over the rounds."""
        found = []
        for variant in peer.variants:
            name = Run(peer, variant).name
            if times := [time for time in self.seconds(workload, name) if time] if self.has(workload, name) else []:
                found.append((name, statistics.median(times)))
        return min(found, key=lambda pair: pair[1], default=None)

    def has(self, workload: Workload, run_name: str) -> bool:
        return run_name in self.rounds[workload.name]

    def failed(self, workload: Workload, peer: Peer) -> bool:
        return any(Run(peer, variant).name in self.errors[workload.name] for variant in peer.variants)

    def ratio(self, workload: Workload, peer: Peer) -> float | None:
        """Return the median over the rounds of minidl's time by the peer's; below 1 minidl is faster."""
        own, other = self.best(workload, PEERS[0]), self.best(workload, peer)
        if own is None or other is None:
            return None
        pairs = zip(self.seconds(workload, own[0]), self.seconds(workload, other[0]), strict=False)
        ratios = [mine / theirs for mine, theirs in pairs if mine and theirs]
        return statistics.median(ratios) if ratios else None

    def last(self, workload: Workload, peer: Peer, key: str) -> Any:
        """Return what the fastest variant's last round says under a key, such as its losses."""
        best = self.best(workload, peer)
        entries = [entry for entry in self.rounds[workload.name][best[0]] if entry] if best else []
        return entries[-1].get(key) if entries else None

    def loss(self, workload: Workload, peer: Peer) -> float | None:
        """Return the mean training loss of the last epoch, or None for what has none."""
        losses = self.last(workload, peer, "losses")
        return losses[-1] if losses and not math.isnan(losses[-1]) else None

    def as_json(self) -> dict[str, Any]:
        return {
            "about": self.about,
            "workloads": {
                workload.name: {
                    **workload._asdict(),
                    "meaning": meaning(workload),
                    "peers": {
                        peer.name: {"variant": best[0], "seconds": best[1], "ratio": self.ratio(workload, peer)}
                        for peer in self.peers
                        if (best := self.best(workload, peer))
                    },
                    "rounds": self.rounds[workload.name],
                    "errors": self.errors[workload.name],
                }
                for workload in self.workloads
            },
        }


def race(results: Results, workload: Workload, processes: Processes, runs: list[Run], rounds: int) -> None:
    """Measure a workload in rounds, in which the runs take turns; one that fails is left out from then on."""
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
    """Print the losses of a workload; return what keeps the contestants from being comparable."""
    minidl, faults = PEERS[0], []
    losses = {peer.name: loss for peer in results.peers if (loss := results.loss(workload, peer)) is not None}
    if losses:
        print("  loss: " + ", ".join(f"{name} {loss:.5g}" for name, loss in losses.items()))
    if {"minidl", "pytorch"} <= losses.keys():
        difference = abs(losses["minidl"] / losses["pytorch"] - 1)
        if not difference <= LOSS_TOLERANCE:
            faults.append(
                f"{workload.name}: minidl's loss {losses['minidl']:.5g} and PyTorch's {losses['pytorch']:.5g} differ "
                f"by {difference:.1%}, more than {LOSS_TOLERANCE:.0%}: they do not train the same"
            )
    classes = {peer.name: found for peer in results.peers if (found := results.last(workload, peer, "classes"))}
    for name, found in classes.items():
        agreement = np.mean(np.equal(found, classes.get(minidl.name, found)))
        if agreement < SAME_CLASSES:
            faults.append(f"{workload.name}: {name} predicts only {agreement:.1%} of the rows as minidl does")
    return faults


def as_time(seconds: float) -> str:
    """Three digits with their unit: 1.23 s, 45.6 ms, 7.89 us."""
    factor, unit = next(((f, u) for f, u in ((1, "s"), (1e3, "ms")) if seconds * f >= 1), (1e6, "µs"))
    value = seconds * factor
    return f"{value:.{max(0, 2 - int(math.log10(max(value, 1))))}f} {unit}"


def table(results: Results, what: str) -> list[list[str]]:
    """Return rows of text: medians, or minidl's ratio to each peer; "-" failed, empty takes no part."""
    rows = [["", *(peer.name for peer in results.peers)]]
    for workload in results.workloads:
        row = [workload.name]
        for peer in results.peers:
            best, ratio = results.best(workload, peer), results.ratio(workload, peer)
            if best is None or (what == "ratio" and ratio is None):
                row.append("-" if results.failed(workload, peer) else "")
            else:
                row.append(as_time(best[1]) if what == "seconds" else f"{ratio:.2f}")
        if any(row[1:]):
            rows.append(row)
    return rows


def print_table(title: str, rows: list[list[str]]) -> None:
    """Print aligned columns, the names of the peers broken at their hyphens."""
    header = zip_longest(*(name.replace("-", "- ").split() for name in rows[0]), fillvalue="")
    lines = [["", *line[1:]] if line[0] == "" else list(line) for line in header] + rows[1:]
    lines = [list(line) for line in lines]
    widths = [max(len(line[column]) for line in lines) for column in range(len(rows[0]))]
    print(f"\n{title}")
    for line in lines:
        cells = [f"{cell:>{width}}" for cell, width in zip(line[1:], widths[1:], strict=True)]
        print("  ".join([f"{line[0]:<{widths[0]}}", *cells]).rstrip())


def as_markdown(rows: list[list[str]]) -> str:
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join([lines[0], "|---" + "|---:" * (len(rows[0]) - 1) + "|", *lines[1:]])


def describe(results: Results) -> list[str]:
    """Return the lines that say what machine, versions and settings the figures belong to."""
    about = results.about
    lines = [
        f"{about['processor']}, {about['cores']} cores; {about['system']}; Python {about['python']}",
        ", ".join(f"{name} {version}" for name, version in about["versions"].items()),
        f"Pixels: {about['pixels']}",
    ]
    if about["settings"]:
        lines.append("Environment: " + ", ".join(f"{name}={value}" for name, value in about["settings"].items()))
    return lines


def kernels(results: Results) -> str:
    """Return a line on the processor for which NumPy's BLAS computed; OPENBLAS_CORETYPE changes it."""
    found = {results.last(workload, PEERS[0], "kernels") for workload in results.workloads} - {None}
    return f"Kernels of NumPy's BLAS: {', '.join(sorted(found)) or 'not known'}"


def write(results: Results, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "results.json").write_text(json.dumps(results.as_json(), indent=1) + "\n")
    parts = [
        "# minidl and its peers",
        "\n".join(f"- {line}" for line in [*describe(results), kernels(results)]),
        f"Median time, {results.about['rounds']} rounds:",
        as_markdown(table(results, "seconds")),
        "minidl's time by the peer's, median of the rounds' ratios; below 1 minidl is faster:",
        as_markdown(table(results, "ratio")),
        "\n".join(f"- {workload.name}: {meaning(workload)}" for workload in results.workloads),
    ]
    (folder / "peers.md").write_text("\n\n".join(parts) + "\n", encoding="utf-8")
    if importlib.util.find_spec("matplotlib"):
        draw(results, folder / "peers.png")
    else:
        print(f"no chart: matplotlib is missing; {BENCH_EXTRA}")
    print(f"\nWritten: {folder}/")


def draw(results: Results, path: Path) -> None:
    """Save a panel of bars for each workload, the fastest on top; minidl in colour, the bare products pale."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    shown = [workload for workload in results.workloads if any(results.best(workload, p) for p in results.peers)]
    if not shown:
        return
    columns = min(2, len(shown))
    height = 0.9 + 0.27 * max(sum(results.best(workload, p) is not None for p in results.peers) for workload in shown)
    lines = math.ceil(len(shown) / columns)
    figure, axes = plt.subplots(
        lines, columns, figsize=(6.2 * columns, height * lines + 0.6), layout="constrained", squeeze=False
    )
    for ax in axes.flat[len(shown) :]:
        ax.axis("off")
    for ax, workload in zip(axes.flat, shown, strict=False):
        bars = [(best[1], peer) for peer in results.peers if (best := results.best(workload, peer))]
        bars.sort(key=lambda bar: bar[0])
        own = results.best(workload, PEERS[0])
        # Bars many times longer than most would leave the others no room: they are cut off, with a gap to show it.
        limit = min(bars[-1][0], 5 * bars[len(bars) // 2][0])
        for place, (seconds, peer) in enumerate(bars):
            floor = peer.name.startswith("gemm")
            colour = "#d1495b" if peer is PEERS[0] else "#d5d8dc" if floor else "#7f9bb3"
            ax.barh(place, min(seconds, limit), color=colour, height=0.72)
            text = as_time(seconds)
            if own and peer is not PEERS[0] and not floor:
                times = 1 / results.ratio(workload, peer)
                text += f"  ({times:.{2 if times < 1 else 1 if times < 10 else 0}f} x)"
            if seconds > limit:
                ax.barh(place, 0.012 * limit, left=0.93 * limit, color="white", height=0.8)
            ax.annotate(text, (min(seconds, limit), place), (4, 0), textcoords="offset points", va="center", fontsize=8)
        ax.set_yticks(range(len(bars)), [peer.name for _, peer in bars], fontsize=8.5)
        for label, (_, peer) in zip(ax.get_yticklabels(), bars, strict=True):
            label.set_fontweight("bold" if peer is PEERS[0] else "normal")
        ax.invert_yaxis()
        ax.set_xlim(0, limit * 1.35)
        ax.set_xticks([])
        ax.tick_params(left=False)
        ax.spines[["top", "right", "bottom"]].set_visible(False)
        ax.set_title(f"{workload.name}\n", loc="left", fontsize=11, fontweight="bold")
        ax.text(0, 1.02, meaning(workload), transform=ax.transAxes, fontsize=8.5, color="#555555", va="bottom")
    about = results.about
    figure.suptitle(
        "Time of minidl and its peers: shorter is faster; in brackets, times minidl's\n"
        f"{about['processor']}, {about['cores']} cores, Python {about['python']}; gemm: only the matrix products",
        fontsize=10,
        x=0.01,
        ha="left",
    )
    figure.savefig(path, dpi=130)
    plt.close(figure)


def about(rounds: int, pixels: str) -> dict[str, Any]:
    names = ["numpy", *dict.fromkeys(package for peer in PEERS for package in peer.packages)]
    settings = ("OPENBLAS_", "OMP_", "MKL_", "GOTO_", "BLIS_", "XLA_", "JAX_", "TORCH")
    return {
        "processor": processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "system": platform.platform(terse=True),
        "python": platform.python_version(),
        "versions": {name: version for name in names if (version := version_of(name))},
        "settings": {name: value for name, value in sorted(os.environ.items()) if name.startswith(settings)},
        "pixels": pixels,
        "rounds": rounds,
    }


def processor() -> str:
    information = Path("/proc/cpuinfo")
    if information.exists():
        for line in information.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def version_of(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="workloads:\n" + "\n".join(f"  {workload.name:<16} {meaning(workload)}" for workload in WORKLOADS),
    )
    workloads, peers = [workload.name for workload in WORKLOADS], [peer.name for peer in PEERS]
    parser.add_argument(
        "--workloads", nargs="+", choices=workloads, default=workloads, metavar="NAME", help="which (default all)"
    )
    parser.add_argument(
        "--peers", nargs="+", choices=peers, metavar="NAME", help=f"beside minidl (default all): {', '.join(peers[1:])}"
    )
    parser.add_argument("--rounds", type=int, help="rounds in which the peers take turns (default 5; 1 with --quick)")
    parser.add_argument(
        "--quick", action="store_true", help="one round of less work, without pytorch-compiled unless it is named"
    )
    parser.add_argument(
        "--data", help="MNIST: a folder of IDX files or a train.csv (default: wherever minidl.data.load_mnist finds it)"
    )
    parser.add_argument("--output", type=Path, default=Path("runs/peers"), help="folder (default %(default)s)")
    options = parser.parse_args(arguments)
    options.rounds = options.rounds or (1 if options.quick else 5)
    if options.rounds < 1:
        parser.error("--rounds must be 1 or more")
    options.peers = options.peers or [name for name in peers if not (options.quick and name == "pytorch-compiled")]
    return options


def installed(names: list[str]) -> list[Peer]:
    """Return minidl and the peers of these names; print how to install those that are missing."""
    present = []
    for peer in PEERS:
        if peer is PEERS[0] or peer.name in names:
            missing = [package for package in peer.packages if version_of(package) is None]
            if missing:
                print(f"{peer.name} is left out, {' and '.join(missing)} is not installed: {peer.install}")
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
            print("\nInterrupted: here is what there is so far.")
            code = 130
        print_table(f"Median time, {options.rounds} round{'s' * (options.rounds > 1)}", table(results, "seconds"))
        print_table("minidl's time by the peer's: below 1 minidl is faster", table(results, "ratio"))
        print(f"\n{kernels(results)}")
        write(results, options.output)
    for fault in faults:
        print(f"UNFAIR: {fault}", file=sys.stderr)
    return code or (1 if faults else 0)


if __name__ == "__main__":
    sys.exit(main())
