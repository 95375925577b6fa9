"""Processes of a real MPI train as one, whatever ends them."""

import functools
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from minidl import Trainer

pytest.importorskip("mpi4py", exc_type=ImportError)
MPIEXEC = shutil.which("mpiexec")
if MPIEXEC is None:
    pytest.skip("no MPI is installed", allow_module_level=True)

SCRIPT = Path(__file__).with_name("train.py")
ENVIRONMENT = os.environ | {
    "OMP_NUM_THREADS": "1",
    # What Open MPI must be told by root, and with more processes than cores.
    "OMPI_ALLOW_RUN_AS_ROOT": "1",
    "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
    "OMPI_MCA_rmaps_base_oversubscribe": "1",
}


def start(size, folder, *options, module=()):
    command = [MPIEXEC, "-n", str(size), sys.executable, *module, str(SCRIPT), str(folder), *map(str, options)]
    return subprocess.Popen(
        command, env=ENVIRONMENT, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True
    )


def run(size, folder, *options):
    """Train; return the exit status and what was printed."""
    process = start(size, folder, *options)
    output, _ = process.communicate(timeout=120)
    return process.returncode, output


def left(folder, rank=0):
    with np.load(folder / f"left_{rank}.npz") as file:
        return dict(file)


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """What a single process without a communicator leaves, given a network and the type of its numbers."""

    @functools.cache
    def find(network, dtype):
        folder = tmp_path_factory.mktemp(dtype)
        status, output = run(1, folder, "--alone", "--network", network, "--dtype", dtype)
        assert status == 0, output
        return left(folder)

    return find


@pytest.mark.parametrize("network", ["table", "images", "blocks"])
@pytest.mark.parametrize(("dtype", "rtol"), [("float32", 1e-5), ("float64", 1e-12)])
@pytest.mark.parametrize("size", [1, 2, 4])
def test_the_history_is_that_of_a_single_process(alone, tmp_path, size, dtype, rtol, network):
    status, output = run(size, tmp_path, "--network", network, "--dtype", dtype)
    assert status == 0, output
    found = left(tmp_path)
    parameters, wanted = found.pop("parameters"), dict(alone(network, dtype))
    np.testing.assert_allclose(parameters, wanted.pop("parameters"), rtol=1e3 * rtol, atol=1e2 * rtol)
    assert found.keys() == wanted.keys()
    for name, column in wanted.items():
        np.testing.assert_allclose(found[name], column, rtol=rtol, err_msg=name)
    for rank in range(1, size):
        np.testing.assert_array_equal(left(tmp_path, rank)["parameters"], parameters)
    assert output.count("epoch 3/3") == 1


def test_two_runs_have_the_same_bits(tmp_path):
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
        status, output = run(2, tmp_path / name)
        assert status == 0, output
    one, other = (left(tmp_path / name) for name in ("one", "other"))
    for name, array in one.items():
        np.testing.assert_array_equal(other[name], array)


def test_a_process_that_is_killed_ends_all_and_the_run_goes_on_with_another_number(alone, tmp_path):
    begin = time.monotonic()
    status, output = run(2, tmp_path, "--signal", "SIGKILL", "--every-steps", 4)
    assert status != 0
    assert time.monotonic() - begin < 30
    assert "9" in output, output  # both MPICH and Open MPI name the signal
    assert sorted(path.name for path in tmp_path.glob("step_*.npz")) == ["step_0000000008.npz"]
    status, output = run(3, tmp_path)
    assert status == 0, output
    for name, column in alone("table", "float32").items():
        rtol, atol = (1e-2, 1e-3) if name == "parameters" else (1e-5, 0)
        np.testing.assert_allclose(left(tmp_path)[name], column, rtol=rtol, atol=atol, err_msg=name)


def start_long_epoch(size, folder, *options, **how):
    """Start a run whose first checkpoint is ten seconds away. Return it when all processes have taken two steps."""
    process = start(size, folder, "--batch-size", 4, "--seconds", 0.1, *options, **how)
    deadline = time.monotonic() + 60
    while len(list(folder.glob("begun_*"))) < size and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not list(folder.glob("step_*.npz"))
    return process


def signal_group(process):
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does


SIGNALS = {
    "Ctrl-C in a terminal": signal_group,
    "SIGINT to mpiexec": lambda process: process.send_signal(signal.SIGINT),
    "SIGTERM to mpiexec": lambda process: process.send_signal(signal.SIGTERM),
}


@pytest.mark.parametrize("module", [(), ("-m", "mpi4py")], ids=["python", "python -m mpi4py"])
@pytest.mark.parametrize("send", SIGNALS.values(), ids=SIGNALS)
def test_a_signal_leaves_a_checkpoint_of_the_last_step_and_ends_all(tmp_path, send, module):
    process = start_long_epoch(2, tmp_path, module=module)
    send(process)
    output, _ = process.communicate(timeout=30)
    assert process.returncode != 0, output
    assert len(list(tmp_path.glob("step_*.npz"))) == 1, output
    loaded = Trainer.load(tmp_path)
    assert loaded.position.row == 4 * loaded.step > 0


def test_an_error_outside_of_fit_ends_all_if_mpi4py_runs_the_program(tmp_path):
    process = start(2, tmp_path, "--missing", module=("-m", "mpi4py"))
    output, _ = process.communicate(timeout=60)
    assert process.returncode != 0, output
    assert "FileNotFoundError" in output


def test_processes_that_differ_say_so(tmp_path):
    status, output = run(2, tmp_path, "--differ")
    assert status != 0
    assert "process 1 differs from process 0 in batch_size: 16, and not 32" in output
    assert not list(tmp_path.iterdir())
