"""minidl against values that PyTorch computed, which `make_references.py` wrote into the files beside this one."""

import functools
import json
from pathlib import Path

import numpy as np
import pytest

import minidl
from minidl.training.gradients import clip

# The same sums in another order: a few units of 2^-53 = 1e-16 or 2^-24 = 6e-8 per addition, of at most 64 terms of
# order 1 to 100, and as much again through the exponential functions. Gradients go through two such sums.
FORWARD = {"float64": {"rtol": 1e-12, "atol": 1e-13}, "float32": {"rtol": 2e-5, "atol": 2e-5}}
BACKWARD = {"float64": {"rtol": 1e-10, "atol": 1e-12}, "float32": {"rtol": 1e-4, "atol": 1e-4}}
TRAJECTORY = {"float64": {"rtol": 1e-10, "atol": 1e-10}, "float32": {"rtol": 1e-3, "atol": 1e-3}}

# The references have them among the optimizer's settings; here they are the trainer's.
CLIPPING = ("clip_norm", "clip_value")

FILES_OF_LAYERS = ("layers", "sequences_windows")

both_types = pytest.mark.parametrize("dtype", ["float64", "float32"])


@functools.cache
def read(file):
    with np.load(Path(__file__).parent / f"{file}.npz", allow_pickle=False) as arrays:
        return dict(arrays)


def cases_of(file):
    return json.loads(read(file)["cases"].item())


def every_case(file):
    return pytest.mark.parametrize("case", list(cases_of(file)))


def make(file, case, **more):
    """Return the object in minidl that the case is about, and the case's arrays."""
    description = cases_of(file)[case]
    settings = {name: value for name, value in description["settings"].items() if name not in CLIPPING}
    arrays = {name.removeprefix(f"{case}/"): a for name, a in read(file).items() if name.startswith(f"{case}/")}
    return getattr(minidl, description["class"])(**settings, **more), arrays


@pytest.mark.parametrize(
    "file", ["layers", "losses", "optimizers", "initializers", "sequences_attention", "sequences_windows"]
)
def test_the_file_says_which_versions_made_it(file):
    assert read(file)["torch_version"].item().startswith("2.")
    assert read(file)["numpy_version"].item().startswith("2.")


@both_types
@pytest.mark.parametrize(("file", "case"), [(file, case) for file in FILES_OF_LAYERS for case in cases_of(file)])
def test_a_layer_computes_outputs_and_gradients_as_pytorch_does(file, case, dtype):
    layer, arrays = make(file, case)
    x, dy = arrays["x"].astype(dtype), arrays["dy"].astype(dtype)
    layer.set_up(x.shape[1:], 0, dtype=dtype)
    parameters = layer.named_parameters()
    assert {f"d{name}" for name in parameters} | {"dx"} == {name for name in arrays if name[0] == "d" and name != "dy"}
    for name, parameter in parameters.items():
        parameter.value[...] = arrays[name]
    for name, state in layer.named_states().items():
        state.value = arrays[f"{name} before"]

    y = layer.forward(x, training=True)
    dx = layer.backward(dy)

    assert y.dtype == dx.dtype == dtype
    np.testing.assert_allclose(y, arrays["y"], **FORWARD[dtype])
    np.testing.assert_allclose(layer.forward(x), arrays.get("y in inference", arrays["y"]), **FORWARD[dtype])
    np.testing.assert_allclose(dx, arrays["dx"], **BACKWARD[dtype])
    for name, parameter in parameters.items():
        np.testing.assert_allclose(parameter.gradient, arrays[f"d{name}"], **BACKWARD[dtype], err_msg=name)
    for name, state in layer.named_states().items():
        np.testing.assert_allclose(state.value, arrays[name], **FORWARD[dtype], err_msg=name)


@both_types
@every_case("sequences_attention")
def test_attention_and_positions_are_what_pytorch_computes(case, dtype):
    layer, arrays = make("sequences_attention", case)
    x, dy = arrays["x"].astype(dtype), arrays["dy"].astype(dtype)
    mask = {"mask": arrays["mask"]} if "mask" in arrays else {}
    layer.set_up(x.shape[1:], 0, dtype=dtype)
    parameters = layer.named_parameters()
    assert {f"d{name}" for name in parameters} | {"dx"} == {name for name in arrays if name[0] == "d" and name != "dy"}
    for name, parameter in parameters.items():
        parameter.value[...] = arrays[name]

    y = layer.forward(x, training=True, **mask)
    dx = layer.backward(dy)

    assert y.dtype == dx.dtype == dtype
    np.testing.assert_allclose(y, arrays["y"], **FORWARD[dtype])
    np.testing.assert_allclose(layer.forward(x, **mask), arrays["y"], **FORWARD[dtype])
    np.testing.assert_allclose(dx, arrays["dx"], **BACKWARD[dtype])
    for name, parameter in parameters.items():
        np.testing.assert_allclose(parameter.gradient, arrays[f"d{name}"], **BACKWARD[dtype], err_msg=name)
    if "weights" in arrays:
        np.testing.assert_allclose(layer.attention_weights(x, **mask), arrays["weights"], **FORWARD[dtype])


@both_types
@every_case("losses")
def test_a_loss_has_the_value_and_the_gradient_that_pytorch_gives(case, dtype):
    loss, arrays = make("losses", case)
    value, gradient = loss(arrays["scores"].astype(dtype), arrays["targets"], arrays.get("sample_weight"))
    assert gradient.dtype == dtype
    np.testing.assert_allclose(value, arrays["loss"], **FORWARD[dtype])
    np.testing.assert_allclose(gradient, arrays["gradient"], **BACKWARD[dtype])


@both_types
@pytest.mark.parametrize("path", ["recorded", "quadratic"])
@pytest.mark.parametrize("case", [case for case in cases_of("optimizers") if not case.startswith("schedule ")])
def test_an_optimizer_goes_the_way_that_pytorchs_goes(case, path, dtype):
    rates = read("optimizers")[f"{case}/rates"]
    optimizer, arrays = make("optimizers", case, learning_rate=lambda step: rates[step])
    bounds = [cases_of("optimizers")[case]["settings"].get(name) for name in CLIPPING]
    start, gradients, centre, curvature = (
        read("optimizers")[name].astype(dtype) for name in ("start", "gradients", "centre", "curvature")
    )
    parameters, visited = start.copy(), []
    for step in range(len(rates)):
        gradient = gradients[step].copy() if path == "recorded" else curvature @ (parameters - centre)
        clip(gradient, *bounds)
        optimizer.apply(parameters, gradient)
        if (step + 1) % 10 == 0:
            visited.append(parameters.copy())
    assert parameters.dtype == dtype
    np.testing.assert_allclose(visited, arrays[path], **TRAJECTORY[dtype])


@pytest.mark.parametrize("case", [case for case in cases_of("optimizers") if case.startswith("schedule ")])
def test_a_schedule_gives_the_rates_that_pytorchs_gives(case):
    schedule, arrays = make("optimizers", case)
    expected = arrays["schedule"]
    # PyTorch gets to a rate by factors on the one before.
    np.testing.assert_allclose([schedule(step) for step in range(len(expected))], expected, rtol=1e-10, atol=1e-15)


@every_case("initializers")
def test_an_initializer_draws_from_the_distribution_that_pytorch_draws_from(case):
    initializer, arrays = make("initializers", case)
    weight = initializer(tuple(arrays["shape"]), 0, "float64")
    (mean, deviation, least, largest), size = arrays["statistics"], weight.size
    # Means of n entries differ by sqrt(2 / n) deviations, standard deviations by sqrt(1 / n) or less: five times that.
    assert abs(weight.mean() - mean) < 5 * np.sqrt(2 / size) * deviation
    assert abs(weight.std() - deviation) < 5 * np.sqrt(1 / size) * deviation
    # The extremes of 90,000 uniform numbers are within 1e-3 of the width from the ends, but for a chance of e^-90;
    # those of as many normal ones vary by 0.27 deviations around 4.3.
    uniform = "Uniform" in case
    tolerance = 1e-3 * (largest - least) if uniform else 1.5 * deviation
    assert abs(weight.min() - least) < tolerance
    assert abs(weight.max() - largest) < tolerance
