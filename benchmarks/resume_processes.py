"""Kill one of several processes; test that all end, and that the resumed run gives the same history.

    python benchmarks/resume_processes.py [--kills 20]

2 to 4 processes train a network with dropout and batch normalization, and save it every 10 steps. A few milliseconds
after a random step SIGKILL kills a random process; the time until the others end is measured. The run then starts again
with another number of processes. Its history must equal the history of a single undisturbed process, to 1e-5 relative
in float32.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from mpi import ENVIRONMENT, need_mpiexec

EPOCHS, ROWS, BATCH, LIMIT, TOLERANCE = 6, 4000, 32, 30, 1e-5
STEPS = EPOCHS * ROWS // BATCH


def train(folder: Path) -> None:
    """Begin a run or continue the run in the folder, in one of the processes; the first one writes history.json."""
    import numpy as np
    from mpi4py import MPI

    from minidl import Adam, BatchNorm, Checkpoint, Dense, Dropout, ReLU, Sequential, SoftmaxCrossEntropy, Trainer
    from minidl.errors import MissingFileError

    communicator = MPI.COMM_WORLD
    (folder / f"process_{communicator.Get_rank()}").write_text(str(os.getpid()))
    rng = np.random.default_rng(0)
    x = rng.normal(size=(ROWS, 20)).astype(np.float32)
    y = x[:, :5].argmax(axis=1)
    try:
        trainer = Trainer.load(folder)
        trainer.communicator = communicator
    except MissingFileError:
        layers = [Dense(64, use_bias=False), BatchNorm(), ReLU(), Dropout(0.2), Dense(5), SoftmaxCrossEntropy()]
        model = Sequential(layers, input_shape=20, seed=0)
        trainer = Trainer(model, Adam(1e-3), batch_size=BATCH, seed=0, communicator=communicator)
    trainer.fit(x, y, epochs=EPOCHS - trainer.epoch, callbacks=[Checkpoint(folder, every_steps=10)], progress=False)
    if communicator.Get_rank() == 0:
        (folder / "history.json").write_text(json.dumps(dict(trainer.history)))


def start(folder: Path, processes: int) -> subprocess.Popen[bytes]:
    command = ["mpiexec", "-n", str(processes), sys.executable, __file__, "--folder", str(folder)]
    return subprocess.Popen(command, env=ENVIRONMENT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def is_alive(process: int) -> bool:
    try:
        state = Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


def last_step(folder: Path) -> int:
    """Return the step of the newest checkpoint in a folder, or 0."""
    return max((int(path.stem.split("_")[1]) for path in folder.glob("step_*.npz")), default=0)


def run_and_kill(folder: Path, processes: int, victim: int, step: int, delay: float) -> tuple[int, float]:
    """Kill one process a moment after a step was saved; return the last saved step, and the time until all ended."""
    run = start(folder, processes)
    while last_step(folder) < step and run.poll() is None:
        time.sleep(0.001)
    time.sleep(delay)
    numbers = [int((folder / f"process_{rank}").read_text()) for rank in range(processes)]
    if run.poll() is not None:
        raise SystemExit(f"the run ended with status {run.returncode} before it was killed")
    os.kill(numbers[victim], signal.SIGKILL)
    begin = time.monotonic()
    while any(map(is_alive, numbers)) and time.monotonic() - begin < 2 * LIMIT:
        time.sleep(0.01)
    seconds = time.monotonic() - begin
    run.wait()
    return last_step(folder), seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20, help="number of runs to kill (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the random moments (default: %(default)s)")
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.folder:
        train(options.folder)
        return
    need_mpiexec()
    moments, passed = random.Random(options.seed), 0
    with tempfile.TemporaryDirectory() as work:
        whole = Path(work) / "whole"
        whole.mkdir()
        start(whole, 1).wait()
        expected = json.loads((whole / "history.json").read_text())
        for kill in range(1, options.kills + 1):
            folder = Path(work) / f"kill_{kill}"
            folder.mkdir()
            before = moments.choice([2, 3, 4])
            after = moments.choice([number for number in (1, 2, 3, 4) if number != before])
            victim = moments.randrange(before)
            after_step = moments.randrange(1, STEPS * 3 // 4)
            step, seconds = run_and_kill(folder, before, victim, after_step, moments.uniform(0, 0.01))
            status = start(folder, after).wait()
            history = json.loads((folder / "history.json").read_text()) if status == 0 else {}
            difference = max(
                (
                    abs(value / wanted - 1)
                    for name, column in expected.items()
                    for value, wanted in zip(history.get(name, [float("nan")]), column, strict=False)
                ),
                default=float("nan"),
            )
            is_good = status == 0 and seconds < LIMIT and difference <= TOLERANCE
            passed += is_good
            killed = f"process {victim} of {before} killed after step {step}, all ended in {seconds:.1f} s"
            verdict = "passed" if is_good else "FAILED"
            print(f"run {kill:2}: {killed}; continued with {after}, differs by {difference:.0e}: {verdict}", flush=True)
    print(f"\n{passed} of {options.kills} passed")
    sys.exit(passed < options.kills)


if __name__ == "__main__":
    main()
