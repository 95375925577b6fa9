"""A model written as a file that ONNX Runtime and others run."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from minidl.errors import ArgumentError, ArgumentTypeError, NotReadyError, counted
from minidl.files import as_json, atomic_write
from minidl.inspection import begins_with_rescale
from minidl.layers import Layer, Reshape
from minidl.model import Sequential
from minidl.onnx.graph import OPSET, Graph
from minidl.onnx.translations import translate_layer, translate_loss
from minidl.reprs import brief
from minidl.sequences import Embedding
from minidl.serialization import encode
from minidl.typing import Shape
from minidl.version import __version__

IR_VERSION = 8
"""The version of the file format that came with the opset."""

SCORES = "scores"
"""The tensor that enters the loss, in every file that is written."""

INPUT_DTYPES = {"uint8": 2, "int64": 7, "float32": 1}
"""What a file may take, and ONNX's numbers of these types."""

OUTPUTS = ("scores", "probabilities", "labels")


def export(
    model: Sequential,
    path: str | os.PathLike[str],
    *,
    output: str = "scores",
    class_names: Sequence[Any] | None = None,
    input_dtype: str | None = None,
) -> None:
    """Write a model as an ONNX file, which ONNX Runtime and others run without minidl.

    The file has one input, ``x`` (N, *input_shape) with any N, and one output, named as `output`. It computes in
    float32 what inference does: dropout is off. Images stay (N, height, width, channels).

    Parameters
    ----------
    model : Sequential
        With its input shape known.
    path : str or path
        By custom it ends in ``.onnx``. An older file is replaced only by a whole one.
    output : "scores", "probabilities" or "labels", default "scores"
        What ``model.forward`` returns, or `predict_proba`, or `predict`: labels as int64 or, of a regression, values.
    class_names : sequence, optional
        What the classes are called, in the order of the scores: a JSON list in the file's metadata, ``class_names``.
    input_dtype : "uint8", "int64" or "float32", optional
        By default "uint8" if the model begins with `Rescale`, as one of pixels does, "int64" if it begins with an
        `Embedding`, and "float32" otherwise. Give "float32" for a model whose `Rescale` takes other numbers than 0 to
        255.

    Raises
    ------
    ArgumentTypeError
        For a layer or loss of your own that ONNX does not know; it says how to add it, see `register`. For names in a
        dict or a text, and for what is no Sequential.
    ArgumentError
        For an output that the loss does not give, names of other classes, and a graph that ONNX's checker refuses.
    NotReadyError
        When the model does not know its input shape.
    MissingDependencyError
        Without the library onnx.
    """
    if not isinstance(model, Sequential):
        raise ArgumentTypeError(f"model is {brief(model)}; export takes a Sequential, which estimators have as model_")
    if output not in OUTPUTS:
        raise ArgumentError(f"output is {output!r}; it must be one of {', '.join(map(repr, OUTPUTS))}")
    if input_dtype not in {None, *INPUT_DTYPES}:
        raise ArgumentError(f"input_dtype is {input_dtype!r}; it must be one of {', '.join(map(repr, INPUT_DTYPES))}")
    if model.input_shape is None or model.output_shape is None:
        raise NotReadyError("the model does not know its input shape: give input_shape=, or train it first")
    if model.loss is None and output != "scores":
        raise ArgumentError(f'the model has no loss that could give {output}: export output="scores"')
    names = None if class_names is None else _as_names(class_names, model.output_shape)

    graph = Graph()
    helper, kinds = graph.onnx.helper, graph.onnx.TensorProto
    dtype = input_dtype or _input_dtype(model)
    x = graph.node("Cast", "x", to=kinds.FLOAT) if dtype == "uint8" else "x"
    y = translate_layer(model, graph, graph.take_whole(x) if dtype == "int64" else x)
    scores = _named(graph, graph.channels_last(graph.as_floats(y)), SCORES)
    shape, whole = model.output_shape, False
    if model.loss is not None and output != "scores":
        y, whole = translate_loss(model.loss, graph, scores, output, shape)
        _named(graph, y, output)
        shape = _shape_of_labels(model, shape) if output == "labels" else shape

    inputs = helper.make_tensor_value_info("x", INPUT_DTYPES[dtype], ["N", *model.input_shape])
    outputs = helper.make_tensor_value_info(output, kinds.INT64 if whole else kinds.FLOAT, ["N", *shape])
    made = helper.make_graph(graph.nodes, "minidl", [inputs], [outputs], graph.initializers)
    opset = helper.make_opsetid("", OPSET)
    origin = {"producer_name": "minidl", "producer_version": __version__}
    proto = helper.make_model(made, opset_imports=[opset], ir_version=IR_VERSION, **origin)
    metadata = {"output": output, "loss": as_json({"loss": encode(model.loss)})}
    helper.set_model_props(proto, metadata | ({} if names is None else {"class_names": json.dumps(names)}))
    try:
        graph.onnx.checker.check_model(proto, full_check=True)
    except (graph.onnx.checker.ValidationError, graph.onnx.shape_inference.InferenceError) as error:
        raise ArgumentError(f"ONNX's checker refuses the graph: {' '.join(str(error).split()):.200}") from error
    with atomic_write(path) as file:
        file.write(proto.SerializeToString())


def _input_dtype(model: Sequential) -> str:
    if begins_with_rescale(model):
        return "uint8"
    return "int64" if _begins_with_embedding(model) else "float32"


def _begins_with_embedding(layer: Layer) -> bool:
    """Whether the first layer that computes something, or one of several beside each other, takes ids."""
    inner = [*layer.sublayers().values()]
    if isinstance(layer, Sequential):
        inner = [next((each for each in inner if not isinstance(each, Reshape)), inner[0])]
    return isinstance(layer, Embedding) or any(map(_begins_with_embedding, inner))


def _as_names(names: Sequence[Any], output_shape: Shape) -> list[str]:
    if np.ndim(names) != 1:
        raise ArgumentTypeError(f"class_names is {brief(names)}; give a list of names, in the order of the scores")
    found = [str(name) for name in names]
    if len(found) != max(output_shape[-1:] or (1,)) and not (len(found) == 2 and output_shape[-1:] in {(), (1,)}):
        raise ArgumentError(f"class_names has {counted(len(found), 'name')} for outputs {output_shape} per sample")
    return found


def _named(graph: Graph, tensor: str, name: str) -> str:
    """Call a tensor `name`."""
    graph.nodes.append(graph.onnx.helper.make_node("Identity", [tensor], [name], name=name))
    return name


def _shape_of_labels(model: Sequential, shape: Shape) -> Shape:
    """Return the shape of what the loss decides from scores of a shape."""
    assert model.loss is not None
    return model.loss.decide(np.zeros((1, *shape), model.dtype)).shape[1:]
