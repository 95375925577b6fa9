"""Recurrent operators with what surrounds them in files, and what they become."""

import copy
from pathlib import Path

import numpy as np
import pytest
from onnxfiles import assert_close, onnx, random_model, run
from onnxgraphs import graph

from minidl import Concatenate, Dense, Residual, Sequential, Tanh
from minidl.errors import FileFormatError
from minidl.onnx import export, load
from minidl.sequences import GRU, LSTM, Bidirectional, SimpleRNN

FILES = Path(__file__).parent / "files"
rng = np.random.default_rng(0)
T, F, H = 6, 4, 3
GATES = {"RNN": 1, "GRU": 3, "LSTM": 4}


def f(*shape):
    return rng.normal(size=shape).astype(np.float32)


def kinds(model):
    return [type(layer).__name__ for layer in model.layers]


@pytest.mark.parametrize(
    ("layers", "read"),
    [
        ([LSTM(3, return_sequences=True, go_backwards=True), GRU(2)], ["LSTM", "GRU"]),
        ([Bidirectional(LSTM(3, return_sequences=True)), Bidirectional(GRU(2))], ["Bidirectional", "Bidirectional"]),
        ([Bidirectional(SimpleRNN(3, activation="relu"), merge="mean")], ["Bidirectional", "Rescale"]),
        ([Residual([GRU(4, return_sequences=True), Tanh()]), LSTM(3)], ["Residual", "LSTM"]),
        ([Concatenate([GRU(4), LSTM(2)]), Dense(2)], ["Concatenate", "Dense"]),
        ([Concatenate([LSTM(3, go_backwards=True), LSTM(3)])], ["Concatenate"]),
    ],
    ids=repr,
)
def test_what_is_written_is_read_as_the_same_layers(layers, read, tmp_path):
    model = random_model(Sequential(copy.deepcopy(layers), input_shape=(T, F), seed=0), rng)
    export(model, tmp_path / "model.onnx")
    back, x = load(tmp_path / "model.onnx"), f(5, T, F)
    assert kinds(back) == read
    assert_close(back.forward(x), model.forward(x))


@pytest.mark.parametrize("exporter", ["torchscript", "dynamo"])
def test_stacks_of_pytorch_in_both_directions_are_layers_that_follow_each_other(exporter):
    recurrent = load(FILES / f"{exporter}_recurrent.onnx")
    assert kinds(recurrent) == [*["Bidirectional"] * 2, "GRU", "GRU", "LSTM", "Bidirectional", "Dense"]
    assert kinds(load(FILES / f"{exporter}_states.onnx")) == ["GRU", "Tanh", "GRU", "GRU", "Dense"]
    along_time = ["Conv1D", "ReLU", "MaxPool1D", "Conv1D", "AveragePool1D", "GRU", "Dense"]
    assert [kind for kind in kinds(load(FILES / f"{exporter}_sequences.onnx")) if kind != "BatchNorm"] == along_time


def around(operator, *, way="forward", before=(1, 0, 2), after=(1, 0, 2), extra=(), **attributes):
    """Return the bytes of a graph: x, transposed, through an operator, and back."""
    count, ways = GATES[operator], 2 if way == "bidirectional" else 1
    constants = {"w": f(ways, count * H, F), "r": f(ways, count * H, H), "b": f(ways, 2 * count * H)}
    make = onnx.helper.make_node
    nodes = [
        make("Transpose", ["x"], ["steps"], perm=[*before]),
        make(operator, ["steps", "w", "r", "b", *extra], ["s"], hidden_size=H, direction=way, **attributes),
        make("Squeeze", ["s", "one"], ["states"]),
        make("Transpose", ["states"], ["y"], perm=[*after]),
    ]
    others = {"one": np.int64([1]), "lengths": np.int32([T]), "zeros": np.zeros((1, 1, H), np.float32)}
    return graph(nodes, constants | others | {"ones": np.ones((1, 1, H), np.float32)}, (T, F), batch=1)


@pytest.mark.parametrize("operator", ["RNN", "GRU", "LSTM"])
@pytest.mark.parametrize("extra", [(), ("", "zeros")])
def test_an_operator_between_transpositions_is_a_layer(operator, extra, tmp_path):
    reset = {"linear_before_reset": 1} if operator == "GRU" else {}
    content = around(operator, extra=extra, **reset)
    (tmp_path / "model.onnx").write_bytes(content)
    x = f(1, T, F)
    assert_close(load(tmp_path / "model.onnx").forward(x), run(content, x)[0])


@pytest.mark.parametrize(
    ("operator", "options", "why"),
    [
        ("LSTM", {"clip": 1.0}, "clip"),
        ("LSTM", {"input_forget": 1}, "input_forget"),
        ("LSTM", {"activations": ["Sigmoid", "Tanh", "Relu"]}, "activations"),
        ("RNN", {"activations": ["Sigmoid"]}, "activations"),
        ("GRU", {}, "resets the state before its product"),
        ("LSTM", {"extra": ("", "ones")}, "moves the axis of the batch"),
        ("LSTM", {"extra": ("lengths",)}, "moves the axis of the batch"),
        ("LSTM", {"after": (2, 1, 0)}, "moves the axis of the batch"),
        ("LSTM", {"before": (0, 1, 2)}, "moves the axis of the batch"),
        ("LSTM", {"way": "bidirectional"}, "moves the axis of the batch"),
    ],
)
def test_what_minidls_layers_do_not_do_is_an_error_that_names_a_node(operator, options, why, tmp_path):
    (tmp_path / "model.onnx").write_bytes(around(operator, **options))
    with pytest.raises(FileFormatError, match=rf"cannot be loaded: node \d '\w.*{why}"):
        load(tmp_path / "model.onnx")


def test_only_the_last_step_of_a_layer_that_goes_forwards_is_its_last_state(tmp_path):
    make, constants = onnx.helper.make_node, {"w": f(1, 4 * H, F), "r": f(1, 4 * H, H), "one": np.int64([1])}
    for place, fits in ((-1, True), (T - 1, True), (0, False)):
        nodes = [
            make("Transpose", ["x"], ["steps"], perm=[1, 0, 2]),
            make("LSTM", ["steps", "w", "r"], ["s"], hidden_size=H),
            make("Squeeze", ["s", "one"], ["states"]),
            make("Transpose", ["states"], ["batch"], perm=[1, 0, 2]),
            make("Gather", ["batch", "place"], ["y"], axis=1),
        ]
        content = graph(nodes, constants | {"place": np.int64(place)}, (T, F))
        (tmp_path / "model.onnx").write_bytes(content)
        if not fits:
            with pytest.raises(FileFormatError, match="node 4 'Gather'.*another step than the last one"):
                load(tmp_path / "model.onnx")
            continue
        model, x = load(tmp_path / "model.onnx"), f(5, T, F)
        assert model.output_shape == (H,)
        assert_close(model.forward(x), run(content, x)[0])
