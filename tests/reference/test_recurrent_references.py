"""Recurrent layers against values that PyTorch computed, which `make_references.py` wrote."""

import json
from pathlib import Path

import numpy as np
import pytest

import minidl
from minidl import Bidirectional

# The same sums in another order, of at most 10 terms of order 1, through 6 steps.
FORWARD = {"float64": {"rtol": 1e-12, "atol": 1e-13}, "float32": {"rtol": 2e-5, "atol": 2e-5}}
BACKWARD = {"float64": {"rtol": 1e-10, "atol": 1e-12}, "float32": {"rtol": 1e-4, "atol": 1e-4}}

with np.load(Path(__file__).parent / "sequences_recurrent.npz", allow_pickle=False) as file:
    ARRAYS = dict(file)
CASES = json.loads(ARRAYS["cases"].item())

both_types = pytest.mark.parametrize("dtype", ["float64", "float32"])


def make(case, dtype):
    """The layer of a case with its parameters, the arrays, and the mask of the positions that count."""
    description = CASES[case]
    arrays = {name.removeprefix(f"{case}/"): a for name, a in ARRAYS.items() if name.startswith(f"{case}/")}
    layer = getattr(minidl, description["class"])(**description["settings"])
    if description["merge"]:
        layer = Bidirectional(layer, merge=description["merge"])
    time = arrays["x"].shape[1]
    layer.set_up(arrays["x"].shape[1:], 0, dtype=dtype)
    for name, parameter in layer.named_parameters().items():
        parameter.value = arrays[name]
    mask = np.arange(time) < arrays["lengths"][:, np.newaxis] if "lengths" in arrays else None
    return layer, arrays, mask


@both_types
@pytest.mark.parametrize("case", CASES)
def test_a_recurrent_layer_computes_outputs_and_gradients_as_pytorch_does(case, dtype):
    layer, arrays, mask = make(case, dtype)
    x, dy = arrays["x"].astype(dtype), arrays["dy"].astype(dtype)
    counts = np.ones(x.shape[:2], bool) if mask is None else mask
    x[~counts] = 1000  # what stands where nothing counts does not matter
    if dy.ndim == 3:
        dy[~counts] = 0  # PyTorch's outputs there are zeros, and here those of the step before

    y = layer.forward(x, training=True, mask=mask)
    dx = layer.backward(dy)

    assert y.dtype == dx.dtype == dtype
    found, wanted = (each[counts] if y.ndim == 3 else each for each in (y, arrays["y"]))
    np.testing.assert_allclose(found, wanted, **FORWARD[dtype])
    np.testing.assert_array_equal(layer.forward(x, mask=mask), y)
    np.testing.assert_allclose(dx, arrays["dx"], **BACKWARD[dtype])
    assert not dx[~counts].any()
    for name, parameter in layer.named_parameters().items():
        np.testing.assert_allclose(parameter.gradient, arrays[f"d{name}"], **BACKWARD[dtype], err_msg=name)


@both_types
@pytest.mark.parametrize("case", [name.rpartition("/")[0] for name in ARRAYS if name.endswith("/states")])
def test_the_state_after_each_step_is_that_of_pytorchs_cells(case, dtype):
    layer, arrays, _ = make(case, dtype)
    x, memory = arrays["x"].astype(dtype), {}
    for position, state in enumerate(arrays["states"]):
        layer.continued(x[:, position : position + 1], memory)
        np.testing.assert_allclose(memory["state"], state, **FORWARD[dtype])
