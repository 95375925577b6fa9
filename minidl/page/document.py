"""The page itself: a template, a style, scripts and a model in one HTML file."""

import html
import json
import math
import os
import re
from collections.abc import Sequence
from importlib import resources
from typing import Any

import numpy as np

from minidl.errors import ArgumentError, ArgumentTypeError, ShapeError, counted
from minidl.files import atomic_write
from minidl.inspection import begins_with_rescale
from minidl.losses import CategoricalLoss, SigmoidCrossEntropy
from minidl.losses.base import Loss
from minidl.model import Sequential
from minidl.page.description import describe
from minidl.page.weights import PackedArrays
from minidl.reprs import brief
from minidl.settings import as_number, as_shape
from minidl.typing import Shape

SCRIPTS = ("network.js", "drawing.js", "page.js")
"""In reading order."""


def export(
    model: Sequential,
    path: str | os.PathLike[str],
    *,
    weights: str = "float16",
    class_names: Sequence[Any] | None = None,
    title: str = "Draw a digit",
    ink: float | None = None,
    image_shape: Shape | None = None,
) -> None:
    """Write one HTML file with a trained classifier of drawings: the user draws, and the page shows the predictions.

    The file needs no server, network or installation: it opens from the disk or as an attachment, also on a phone. It
    contains the weights, and a script that computes the layers. The drawing is centered like MNIST's images: scaled to
    a box of 20 x 20 pixels, with its center of mass in the middle of 28 x 28.

    Parameters
    ----------
    model : Sequential
        A classifier of gray images: its input has the shape (height, width), (height, width, 1) or (height * width,),
        and its loss is SigmoidCrossEntropy or contains softmax.
    path : str or path
        The file, such as ``"digits.html"``. An existing file is replaced only when the new one is complete.
    weights : "float16" or "int8", default "float16"
        Store the weights of large layers in two bytes each, or in one. A 784-128-64-10 network makes a file of less
        than 400 kB or 250 kB.
    class_names : sequence of str or numbers, optional
        Default: 0, 1, 2, ...
    title : str
        The heading of the page and the title of the window.
    ink : float, optional
        The value of a black pixel of the drawing; the paper is 0. Default: 255 if the model begins with `Rescale`,
        else 1.
    image_shape : (height, width), optional
        The shape of the images if the inputs are rows of pixels; by default squares.

    Raises
    ------
    ArgumentTypeError
        If the page does not know a layer, `model` is not a Sequential, or the names are a dict or a text.
    ArgumentError
        If the loss gives no probabilities, or `weights` or the number of names is wrong.
    ShapeError
        If the input is not a gray image, or the output is not a row of scores.
    DataError
        If a weight is not finite, or is too large for float16.
    NotReadyError
        If the model does not know its input shape yet.
    """
    if not isinstance(model, Sequential):
        raise ArgumentTypeError(f"page.export takes a Sequential, not {brief(model)}")
    model.vectors()  # raises if the model is not set up
    activation = _activation(model.loss)
    height, width = _image_shape(model.input_shape or (), image_shape)
    arrays = PackedArrays(weights)
    description = {
        "image": (height, width),
        "input": model.input_shape,
        "ink": (255 if begins_with_rescale(model) else 1) if ink is None else as_number(ink, "ink"),
        "activation": activation,
        "exclusive": activation == "softmax" or model.output_shape == (1,),  # whether only one class is right
        "classes": _class_names(class_names, model.output_shape or ()),
        "layers": describe(model),
    }
    # No "<" in it: otherwise a name could end the element that contains it.
    as_json = json.dumps(description, default=arrays.add, separators=(",", ":")).replace("<", "\\u003c")
    about = f"{model.count_parameters():,} parameters, weights in {weights}"
    filled = {
        "title": html.escape(title),
        "style": _asset("page.css"),
        "about": html.escape(about),
        "model": as_json,
        "weights": arrays.as_text(),
        "script": "\n".join(map(_asset, SCRIPTS)),
    }
    # In one pass, so that inserted text is not searched.
    page = re.sub(r"\{\{(\w+)\}\}", lambda found: filled[found[1]], _asset("page.html"))
    with atomic_write(path) as file:
        file.write(page.encode())


def _asset(name: str) -> str:
    return resources.files("minidl.page").joinpath(name).read_text(encoding="utf-8")


def _activation(loss: Loss | None) -> str:
    """Return the name of the function that turns scores into probabilities."""
    for known, name in ((CategoricalLoss, "softmax"), (SigmoidCrossEntropy, "sigmoid")):
        if loss is not None and type(loss).activate is known.activate:
            return name
    given = f"{type(loss).__name__} gives none from softmax or sigmoid" if loss else "the model has no loss"
    raise ArgumentError(f"the page shows probabilities of classes, but {given}: use SoftmaxCrossEntropy()")


def _image_shape(input_shape: Shape, given: Shape | None) -> tuple[int, int]:
    """Return height and width of the images that the model takes."""
    shape = input_shape if given is None else as_shape(given, "image_shape")
    if len(shape) == 1:
        shape = (math.isqrt(shape[0]),) * 2
    if len(shape) == 3 and shape[2] == 1:
        shape = shape[:2]
    if len(shape) != 2 or math.prod(shape) != math.prod(input_shape):
        cure = "it takes gray images; for rows of pixels give image_shape=(height, width)"
        raise ShapeError(f"a drawing does not fit the model's input {input_shape}: {cure}")
    return shape[0], shape[1]


def _class_names(names: Sequence[Any] | None, output_shape: Shape) -> list[str]:
    if len(output_shape) != 1:
        raise ShapeError(f"the page shows one score for each class, not an output of shape {output_shape}")
    classes = max(output_shape[0], 2)  # one score is for the second of two classes
    names = range(classes) if names is None else names
    if np.ndim(names) != 1:
        raise ArgumentTypeError(f"class_names is {brief(names)}; give a list of names, in the order of the scores")
    found = [str(name) for name in names]
    if len(found) != classes:
        raise ArgumentError(f"class_names has {counted(len(found), 'name')}, but the model has {classes} classes")
    return found
