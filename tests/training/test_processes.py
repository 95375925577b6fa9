"""Tasks shared out: in this process or in others, also with the oldest joblib that scikit-learn is content with."""

import contextlib
import functools
import operator
import os
import signal
import subprocess
import sys

import joblib
import numpy as np
import pytest

from minidl.errors import MissingDependencyError
from minidl.training.folds import as_data_set
from minidl.training.processes import as_processes, run_tasks


@pytest.fixture
def old_joblib(monkeypatch):
    """A joblib before 1.3, whose Parallel knows no `return_as`."""

    class Parallel:
        def __init__(self, n_jobs=None, backend=None, verbose=0):
            raise AssertionError("called")

    monkeypatch.setattr(joblib, "Parallel", Parallel)
    monkeypatch.setattr(joblib, "__version__", "1.2.0")


def test_one_process_needs_nothing_of_joblib(old_joblib):
    tasks = [functools.partial(operator.add, number, 10) for number in range(3)]
    for jobs in (None, 1):
        assert run_tasks(tasks, processes=as_processes(jobs), name="sums", progress=False) == [10, 11, 12]


def test_several_processes_need_a_joblib_that_returns_results_as_they_come(old_joblib, monkeypatch):
    monkeypatch.setattr(joblib, "cpu_count", lambda: 4)
    for jobs in (2, -1):
        with pytest.raises(MissingDependencyError, match=r"joblib 1.3 or later, but this is 1.2.0: pip install"):
            as_processes(jobs)
    monkeypatch.setattr(joblib, "cpu_count", lambda: 1)
    assert as_processes(-1) == 1


def test_a_single_task_is_called_here_whatever_processes_there_may_be():
    assert run_tasks([os.getpid], processes=2, name="one", progress=False) == [os.getpid()]
    assert os.getpid() not in run_tasks([os.getpid] * 2, processes=as_processes(2), name="two", progress=False)


def file_of(data):
    return data.table.filename


def test_folds_of_one_table_come_to_the_processes_as_one_memory_map():
    table = np.zeros((2000, 100))
    whole = as_data_set(table, np.zeros(2000))
    tasks = [functools.partial(file_of, whole.take(np.arange(number, 2000))) for number in range(4)]
    assert len(set(run_tasks(tasks, processes=as_processes(2), name="maps", progress=False))) == 1


LEFT = """
import functools, os, time
from minidl.training.processes import run_tasks

def work(seconds):
    os.write(1, b"begun\\n")  # in one piece: two processes may write at once
    time.sleep(seconds)

tasks = [functools.partial(work, seconds) for seconds in (0, 10**6)]
run_tasks(tasks, processes=2, name="left", progress=False)
"""


@pytest.mark.skipif(os.name == "nt", reason="needs the signals of POSIX")
def test_processes_that_work_and_that_wait_end_with_one_that_is_killed():
    process = subprocess.Popen([sys.executable, "-c", LEFT], stdout=subprocess.PIPE, start_new_session=True)
    try:
        begun = [process.stdout.readline() for _ in range(2)]
        process.kill()
        out, _ = process.communicate(timeout=60)  # output ends only when no process is left that holds the pipe
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    assert (begun, out) == ([b"begun\n"] * 2, b"")


@pytest.mark.skipif(os.name == "nt", reason="needs a shell of POSIX")
def test_processes_do_without_standard_error():
    program = (
        "import functools, operator, sys; from minidl.training.processes import run_tasks\n"
        "tasks = [functools.partial(operator.add, number, 10) for number in range(3)]\n"
        "print(sys.stderr, run_tasks(tasks, processes=2, name='sums', progress=True))"
    )
    command = ["sh", "-c", 'exec "$0" -c "$1" 2>&-', sys.executable, program]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False, timeout=60)
    assert done.stdout == "None [10, 11, 12]\n"
