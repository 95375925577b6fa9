"""How loops are compiled: nothing is rearranged, and which arrays they take."""

import copy
import pickle
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("numba")

from minidl.compiled import loops
from minidl.compiled.loops import are_alike, compiled


@compiled
def sum_in_order(x):
    total = x[0] - x[0]
    for i in range(x.size):
        total += x[i]
    return total


@compiled
def quotient(x, y):
    return x / y


def test_sums_keep_their_order_and_products_their_rounding():
    x = (np.random.default_rng(0).normal(size=1000) * 1e4).astype(np.float32)
    in_order = np.add.accumulate(x)[-1]
    assert sum_in_order(x) == in_order
    assert in_order != x[::-1].cumsum()[-1]  # another order would have shown


def test_a_division_by_zero_is_what_it_is_to_numpy():
    assert quotient(np.float32(1), np.float32(0)) == np.inf
    assert np.isnan(quotient(np.float32(0), np.float32(0)))


def test_what_a_user_compiles_is_not_announced(capsys, monkeypatch):
    import numba

    monkeypatch.setattr(loops._Note, "said", False)
    numba.njit(lambda x: x + 1)(1)
    assert capsys.readouterr().err == ""


def test_arrays_whose_types_were_copied_are_taken_and_those_of_other_types_are_not():
    x = np.ones(3, np.float32)
    assert are_alike(x, pickle.loads(pickle.dumps(x)), np.empty(3, copy.deepcopy(x.dtype)))
    assert are_alike(pickle.loads(pickle.dumps(x)), x)
    for other in (np.ones(3), np.ones(3, ">f4"), np.ones(3, np.float16), np.ones(2, np.float32)):
        assert not are_alike(x, other)


def test_a_change_of_any_source_gives_all_functions_other_files(monkeypatch):
    now = loops._digest_of_sources()
    assert sum_in_order.py_func.__qualname__ == f"sum_in_order_{now:08x}"
    monkeypatch.setattr(Path, "read_bytes", lambda path: path.name.encode())
    assert loops._digest_of_sources.__wrapped__() != now
