"""Test that killed and resumed runs give the same bits as undisturbed runs, and measure the cost of checkpoints.

    python benchmarks/resume.py

Three kinds of runs take turns. "plain" is a network with dropout and batch normalization, trained with Adam, a
one-cycle rate and early stopping. "averaged" has an average of its weights, clipped gradients, several metrics, and
layers that are frozen and trained again every few epochs. "lbfgs" is a smaller network trained by L-BFGS. Each run is
saved every epoch and every 25 steps. SIGKILL kills it at a random moment, every second run in the middle of a save, and
a new process resumes it. Then parameters, running means, optimizer, average, history and predictions must equal the
undisturbed run, bit for bit. At the end, the benchmark measures the time of a save after each epoch of 33,600 rows.
"""

from __future__ import annotations

import argparse
import json
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

EPOCHS, BATCH = {"plain": 15, "averaged": 15, "lbfgs": 60}, 128


def rows_of(count: int):
    """Make images of 784 random pixels, and labels that a network can learn."""
    import numpy as np

    rng = np.random.default_rng(0)
    x = rng.integers(0, 256, (count, 784), dtype=np.uint8)
    return x, (x[:, :10] + rng.integers(0, 128, (count, 10))).argmax(axis=1)


def new_trainer(kind: str, rows: int):
    from minidl import (
        LBFGS,
        Adam,
        BatchNorm,
        Dense,
        Dropout,
        ExponentialMovingAverage,
        OneCycle,
        ReLU,
        Rescale,
        Sequential,
        SoftmaxCrossEntropy,
        Tanh,
        Trainer,
    )

    if kind == "lbfgs":
        layers = [Rescale(1 / 255), Dense(32), Tanh(), Dense(10), SoftmaxCrossEntropy()]
        return Trainer(Sequential(layers, input_shape=784, seed=0), LBFGS(), batch_size=None, seed=0)
    layers = [Rescale(1 / 255)]
    for units in (128, 64):
        layers += [Dense(units), BatchNorm(), ReLU(), Dropout(0.2)]
    model = Sequential([*layers, Dense(10), SoftmaxCrossEntropy()], input_shape=784, seed=0)
    optimizer = Adam(OneCycle(3e-3, steps=EPOCHS[kind] * -(-rows // BATCH)))
    if kind == "plain":
        return Trainer(model, optimizer, batch_size=BATCH, seed=0)
    metrics, average = ["accuracy", "top_3_accuracy", "f1"], ExponentialMovingAverage(0.99)
    return Trainer(model, optimizer, batch_size=BATCH, seed=0, metrics=metrics, average=average, clip_norm=1.0)


def freeze_now_and_then(trainer) -> None:
    """Freeze the first layers in two of four epochs."""
    for layer in trainer.model.layers[1:3]:
        layer.trainable = trainer.epoch % 4 < 2


def train(folder: Path, kind: str, rows: int, every_steps: int | None) -> None:
    """Begin a run, or continue the run in the folder; write result.npz, and the times to seconds.json."""
    import numpy as np

    from minidl import Checkpoint, EarlyStopping, Trainer
    from minidl.errors import MissingFileError
    from minidl.files import as_json, write_arrays

    seconds: list[float] = []

    class Timed(Trainer):
        def save(self, path) -> None:
            start = time.perf_counter()
            super().save(path)
            seconds.append(time.perf_counter() - start)

    x, y = rows_of(rows + 1000)
    try:
        trainer = Timed.load(folder)
    except MissingFileError:
        trainer = new_trainer(kind, rows)
        trainer.__class__ = Timed
    callbacks = [Checkpoint(folder, every_steps=every_steps, keep=2), EarlyStopping(patience=6)]
    if kind == "averaged":
        callbacks.append(freeze_now_and_then)
    start = time.perf_counter()
    trainer.fit(
        x[:rows],
        y[:rows],
        epochs=EPOCHS[kind] - trainer.epoch,
        validation_data=(x[rows:], y[rows:]),
        callbacks=callbacks,
        progress=False,
    )
    whole = time.perf_counter() - start
    left = {f"model/{name}": array for name, array in trainer.model.named_arrays().items()}
    left |= {f"optimizer/{name}": vector for name, vector in trainer.optimizer.state.items()}
    left |= {f"history/{name}": np.array(column) for name, column in trainer.history.items()}
    left["predictions"] = trainer.model.predict_proba(x[rows:])
    if trainer.average is not None:
        left["average"] = trainer.average.vector
    left["position"] = np.array(as_json(vars(trainer.position)))
    write_arrays(folder / "result.npz", left)
    (folder / "seconds.json").write_text(json.dumps({"run": whole, "saves": seconds}))


def command(folder: Path, kind: str, rows: int, every_steps: int | None) -> list[str]:
    options = [] if every_steps is None else ["--every-steps", str(every_steps)]
    return [sys.executable, __file__, "--folder", str(folder), "--kind", kind, "--rows", str(rows), *options]


def run_and_kill(folder: Path, kind: str, rows: int, every_steps: int, moment: float, amid_a_save: bool) -> str:
    """Start a run, kill it `moment` seconds after its first save, and resume it; return where it was killed.

    If the run or the save ends before the signal arrives, the run starts again with half the time.
    """
    process = subprocess.Popen(command(folder, kind, rows, every_steps))
    while not list(folder.glob("step_*.npz")) and process.poll() is None:
        time.sleep(0.001)
    end = time.monotonic() + moment
    while time.monotonic() < end and process.poll() is None:
        time.sleep(0.0005)
    while amid_a_save and not list(folder.glob(".step_*")) and process.poll() is None:
        pass
    process.send_signal(signal.SIGKILL)
    ended = process.wait() == 0
    halves = list(folder.glob(".step_*"))
    if ended or (amid_a_save and not halves):
        for path in folder.iterdir():
            path.unlink()
        return run_and_kill(folder, kind, rows, every_steps, moment / 2, amid_a_save)
    names = sorted(path.name for path in folder.glob("step_*.npz"))
    subprocess.run(command(folder, kind, rows, every_steps), check=True)
    return f"{'during the save after' if halves else 'after'} {names[-1].removesuffix('.npz').replace('_', ' ')}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20, help="number of runs to kill (default %(default)s)")
    parser.add_argument("--rows", type=int, default=6000, help="rows of the runs to kill (default %(default)s)")
    parser.add_argument("--cost-rows", type=int, default=33_600, help="rows to measure saves on (default %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the random moments (default %(default)s)")
    parser.add_argument("--every-steps", type=int, default=None, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--kind", choices=EPOCHS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.folder:
        train(options.folder, options.kind, options.rows, options.every_steps)
        return
    with tempfile.TemporaryDirectory() as work:
        home = Path(work)
        expected, length = {}, {}
        for kind in EPOCHS:
            undisturbed = home / kind
            undisturbed.mkdir()
            subprocess.run(command(undisturbed, kind, options.rows, 25), check=True)
            expected[kind] = (undisturbed / "result.npz").read_bytes()
            length[kind] = json.loads((undisturbed / "seconds.json").read_text())["run"]
        moments = random.Random(options.seed)
        identical = 0
        for kill in range(options.kills):
            kind = list(EPOCHS)[kill % len(EPOCHS)]
            folder = home / f"killed_{kill}"
            folder.mkdir()
            moment = moments.uniform(0, 0.8 * length[kind])
            when = run_and_kill(folder, kind, options.rows, 25, moment, kill % 2 == 1)
            same = (folder / "result.npz").read_bytes() == expected[kind]
            identical += same
            print(f"run {kill + 1:2}, {kind}, killed {when}: {'the same bits' if same else 'DIFFERENT'}", flush=True)
        print(f"\n{identical} of {options.kills} identical")

        folder = home / "cost"
        folder.mkdir()
        subprocess.run(command(folder, "plain", options.cost_rows, None), check=True)
        cost = json.loads((folder / "seconds.json").read_text())
        size = max(path.stat().st_size for path in folder.glob("step_*.npz"))
        print(
            f"a save of {size / 1e6:.1f} MB after each epoch of {options.cost_rows:,} rows: median "
            f"{1e3 * statistics.median(cost['saves']):.1f} ms, {sum(cost['saves']) / cost['run']:.1%} of the run's "
            f"{cost['run']:.1f} s"
        )
    sys.exit(identical < options.kills)


if __name__ == "__main__":
    main()
