"""Damaged ONNX files: each loads as a model that gives what ONNX Runtime gives, or an error of minidl's own refuses it.

A few hundred run with every test run, the rest by ``python -m pytest -m fuzz``.
"""

import functools
from pathlib import Path

import numpy as np
import pytest
from fuzz.mutations import damaged, pick
from fuzz.test_fuzz import MOST_BYTES, MOST_SECONDS, at_most_bytes, at_most_seconds
from onnxfiles import onnx, run

from minidl import (
    GELU,
    Concatenate,
    Conv2D,
    Dense,
    Flatten,
    MaxPool2D,
    ReLU,
    Residual,
    Sequential,
    SoftmaxCrossEntropy,
    functional,
)
from minidl.errors import MinidlError
from minidl.onnx import export, load

FOLDER = Path(__file__).parents[1] / "onnx" / "files"
IN_EVERY_RUN, ALL, BATCH = 200, 4000, 200
EXTREMES = [-(2**63), -(2**31), -2, -1, 0, 1, 2, 3, 4, 7, 255, 2**16, 2**31, 2**40, 2**62, 2**63 - 1]
OPERATORS = [
    *("Relu", "Tanh", "Sigmoid", "Softmax", "Flatten", "Add", "Mul", "Sub", "Concat", "Conv", "Gemm", "MatMul"),
    *("Transpose", "Reshape", "Identity", "Squeeze", "GlobalAveragePool", "BatchNormalization", "MaxPool", "Cast"),
    *("AveragePool", "Pad", "Shape", "Gather", "Constant", "If", "Loop", "Erf", "Dropout"),
]


@functools.cache
def good_files():
    """Return the bytes of files that PyTorch, Keras and minidl wrote."""
    contents = [path.read_bytes() for path in sorted(FOLDER.glob("*.onnx")) if "sklearn" not in path.stem]
    branches = Concatenate([Conv2D(2, 1), [MaxPool2D(3, strides=1, padding="same"), GELU()]])
    layers = [Conv2D(3, 3), Residual([Conv2D(4, 3, strides=2, padding="same"), ReLU()]), branches, Flatten(), Dense(3)]
    path = Path("made.onnx")
    export(Sequential([*layers, SoftmaxCrossEntropy()], input_shape=(7, 6, 1), seed=0), path)
    contents.append(path.read_bytes())
    path.unlink()
    return contents


def mutated(seed):
    """Return a good file with one to three changes; one in twenty is left as it is."""
    rng = np.random.default_rng([7, seed])
    content = pick(rng, good_files())
    if seed % 20 == 0:
        return content
    if rng.random() < 0.3:
        for _ in range(rng.integers(1, 4)):
            content = damaged(content, rng)
        return content
    model = onnx.ModelProto.FromString(content)
    for _ in range(rng.integers(1, 4)):
        change(model.graph, rng)
    return model.SerializeToString()


def change(graph, rng):
    node = pick(rng, graph.node)
    tensors = [*graph.initializer, *(each.t for each in node.attribute if each.HasField("t"))]
    changes = [
        lambda: change_attribute(node, rng),
        lambda: change_tensor(pick(rng, tensors), rng) if tensors else None,
        lambda: change_tensor(pick(rng, tensors), rng) if tensors else None,
        lambda: setattr(node, "op_type", pick(rng, OPERATORS)),
        lambda: change_input(graph, node, rng),
        lambda: graph.node.remove(node),
        lambda: setattr(pick(rng, graph.input[0].type.tensor_type.shape.dim), "dim_value", pick(rng, EXTREMES)),
    ]
    pick(rng, changes)()


def change_attribute(node, rng):
    if not node.attribute:
        return
    attribute = pick(rng, node.attribute)
    if rng.random() < 0.3:
        node.attribute.remove(attribute)
    elif attribute.ints:
        attribute.ints[rng.integers(len(attribute.ints))] = pick(rng, EXTREMES)
    elif attribute.HasField("i"):
        attribute.i = pick(rng, EXTREMES)
    elif attribute.HasField("f"):
        attribute.f = pick(rng, [0.0, -1.0, 0.5, 1e30, np.inf, np.nan])


def change_tensor(tensor, rng):
    match rng.integers(3):
        case 0 if tensor.dims:
            tensor.dims[rng.integers(len(tensor.dims))] = pick(rng, EXTREMES)
        case 1:
            tensor.data_type = int(rng.integers(20))
        case _ if tensor.raw_data:
            numbers = bytearray(tensor.raw_data)
            numbers[rng.integers(len(numbers))] = int(rng.integers(256))
            tensor.raw_data = bytes(numbers)


def change_input(graph, node, rng):
    names = [name for other in graph.node for name in (*other.input, *other.output)]
    if node.input:
        node.input[rng.integers(len(node.input))] = pick(rng, names)


@pytest.mark.parametrize(
    "first",
    [
        *range(0, IN_EVERY_RUN, BATCH),
        *(pytest.param(first, marks=pytest.mark.fuzz) for first in range(IN_EVERY_RUN, ALL, BATCH)),
    ],
)
def test_a_mutated_onnx_file_loads_rightly_or_is_refused(first, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path, outcomes = Path("file.onnx"), []
    for seed in range(first, first + BATCH):
        content = mutated(seed)
        path.write_bytes(content)
        try:
            model = loaded(path)
        except BaseException as error:
            raise AssertionError(f"mutated({seed})") from error
        if isinstance(model, MinidlError):
            assert path.name in str(model), f"mutated({seed}): the error does not name the file"
            assert len(str(model)) <= 300
            outcomes.append("refused")
        else:
            outcomes.append(compare(model, content, seed))
        assert [*Path().iterdir()] == [path], f"mutated({seed}): it wrote something"
    print({outcome: outcomes.count(outcome) for outcome in sorted({*outcomes})})
    assert outcomes.count("the same") > BATCH / 20
    assert outcomes.count("refused") > BATCH / 20


def loaded(path):
    """Return the model, or minidl's error."""
    with at_most_seconds(10 * MOST_SECONDS), at_most_bytes(MOST_BYTES), np.errstate(all="ignore"):
        try:
            return load(path)
        except MinidlError as refusal:
            return refusal


def compare(model, content, seed):
    """Compare a model with ONNX Runtime, if that takes the file, too, on three rows."""
    if np.prod(model.input_shape) > 10_000:
        return "large"
    dims = onnx.ModelProto.FromString(content).graph.input[0].type.tensor_type.shape.dim
    shape = tuple(each.dim_value for each in dims)[1:]
    rows = dims[0].dim_value or 3
    if not 0 < rows <= 100 or min(shape) < 1:
        return "large"
    theirs = np.random.default_rng(seed).normal(size=(rows, *shape)).astype(np.float32)
    x = theirs if shape == model.input_shape else np.moveaxis(theirs, 1, -1)
    try:
        y = run(content, theirs)[-1]
    except Exception:  # what it raises has no base of its own
        return "not for ONNX Runtime"
    with np.errstate(all="ignore"):
        found = [model.forward(x)]
        if model.loss is not None:
            found += [model.predict_proba(x), functional.log_softmax(found[0])]
    forms = [y, np.moveaxis(y, 1, -1)] if y.ndim > 2 else [y]
    if not np.isfinite(y).all() or not np.isfinite(found[0]).all():
        return "not finite"
    scale = max(float(np.abs(y).max(initial=0)), 1e-6)
    pairs = [(ours, form) for ours in found for form in forms if ours.shape == form.shape]
    near = [np.abs(ours - form).max(initial=0) <= 1e-4 * scale for ours, form in pairs]
    assert any(near), f"mutated({seed}): {model} gives {found[0]}, ONNX Runtime {y}"
    return "the same"
