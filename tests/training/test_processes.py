"""Tasks shared out: in this process or in others, also with the oldest joblib that scikit-learn is content with."""

import functools
import operator
import os

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
        with pytest.raises(MissingDependencyError, match=r"joblib 1.3 or later, and this is 1.2.0: pip install"):
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
