"""Write a model as a file that ONNX Runtime and other programs run."""

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
"""The version of the file format that belongs to the opset."""

SCORES = "scores"
"""The name of the loss's input tensor in every written file."""

INPUT_DTYPES = {"uint8": 2, "int64": 7, "float32": 1}
"""The input types of a file, and ONNX's numbers for them."""

OUTPUTS = ("scores", "probabilities", "labels")


def export(
    model: Sequential,
    path: str | os.PathLike[str],
    *,
    output: str = "scores",
    class_names: Sequence[Any] | None = None,
    input_dtype: str | None = None,
) -> None:
    """Write a model as an ONNX file, which ONNX Runtime and other programs run without minidl.

    The file has one input, ``x`` (N, *input_shape) with any N, and one output with the name `output`. It computes
    inference in float32: dropout is off. Images stay (N, height, width, channels).

    Parameters
    ----------
    model : Sequential
        Its input shape must be known.
    path : str or path
        Usually ends in ``.onnx``. An existing file is replaced only when the new one is complete.
    output : "scores", "probabilities" or "labels", default "scores"
        The result of ``model.forward``, `predict_proba` or `predict`. Labels are int64; for a regression they are
        values.
    class_names : sequence, optional
        The names of the classes, in the order of the scores: a JSON list in the file's metadata, ``class_names``.
    input_dtype : "uint8", "int64" or "float32", optional
        Default: "uint8" if the model begins with `Rescale`, as for pixels; "int64" if it begins with an `Embedding`;
        otherwise "float32". Use "float32" if `Rescale` takes other numbers than 0 to 255.

    Raises
    ------
    ArgumentTypeError
        For a custom layer or loss without a translation; the error says how to add it, see `register`. Also for names
        in a dict or a text, and for a model that is not a Sequential.
    ArgumentError
        For an output that the loss does not give, a wrong number of names, and a graph that ONNX's checker rejects.
    NotReadyError
        If the model does not know its input shape.
    MissingDependencyError
        If the library onnx is missing.
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
        raise ArgumentError(f'the model has no loss, so it gives no {output}: export output="scores"')
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
        raise ArgumentError(f"ONNX's checker rejects the graph: {' '.join(str(error).split()):.200}") from error
    with atomic_write(path) as file:
        file.write(proto.SerializeToString())


def _input_dtype(model: Sequential) -> str:
    if begins_with_rescale(model):
        return "uint8"
    return "int64" if _begins_with_embedding(model) else "float32"


def _begins_with_embedding(layer: Layer) -> bool:
    """Whether the first layer that computes something, or one of several parallel layers, takes ids."""
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
    """Rename a tensor to `name`."""
    graph.nodes.append(graph.onnx.helper.make_node("Identity", [tensor], [name], name=name))
    return name


def _shape_of_labels(model: Sequential, shape: Shape) -> Shape:
    """Return the shape of the loss's decisions for scores of a shape."""
    assert model.loss is not None
    return model.loss.decide(np.zeros((1, *shape), model.dtype)).shape[1:]
