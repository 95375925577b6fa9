"""Looking into a network: its layers by name, and their outputs."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from minidl.errors import ArgumentTypeError, did_you_mean
from minidl.layers import Layer, Rescale, Reshape
from minidl.typing import Array

if TYPE_CHECKING:
    from minidl.model import Sequential


def find_layer(model: Sequential, key: int | str) -> Layer:
    """Return a layer by its position, ``model[-1]``, or its path, ``model["dense_1"]``, ``model["residual_1/layers"]``.

    Paths are as in `named_parameters`. Raises KeyError for an unknown path, and IndexError for an unknown position.
    """
    if not isinstance(key, str):
        return model.layers[key]
    layers = _layers_by_path(model)
    if key not in layers:
        raise KeyError(f"the model has no layer {key!r}; {did_you_mean(key, layers)}")
    return layers[key]


def begins_with_rescale(layer: Layer) -> bool:
    """Return whether the first layer that computes something is Rescale. The input then is stored pixels."""
    from minidl.model import Sequential

    if isinstance(layer, Sequential):
        first = next((inner for inner in layer.layers if not isinstance(inner, Reshape)), layer.layers[0])
        return begins_with_rescale(first)
    return isinstance(layer, Rescale)


def has_layer(model: Sequential, key: object) -> bool:
    """Return whether the model has a layer with this path, as in ``"dropout_1" in model``, or contains this layer."""
    return key in (_layers_by_path(model) if isinstance(key, str) else model.layers)


def print_summary(model: Sequential) -> None:
    """Print the layers with their output shapes and numbers of parameters, and mark frozen layers."""
    from minidl import display

    display.print_summary(model)


def html(model: Sequential) -> str:
    """Return a table of the layers for notebooks."""
    from minidl import display

    return display.html(model)


def activations(model: Sequential, x: Any, layers: Sequence[str] | None = None) -> dict[str, Array]:
    """Return the outputs of layers for `x` by their paths: ``model.activations(x)["dense_1"]``.

    Parameters
    ----------
    x : array of shape (N, *input_shape), or anything else that `predict` takes
    layers : list of str, optional
        The paths of some layers, as in ``model["residual_1/layers/dense_1"]``. The default is all layers, also those
        in blocks.

    Returns
    -------
    dict of str -> array (N, *output_shape)
        The outputs in inference, so dropout is off. The last layer's output are the scores that enter the loss.

    Raises KeyError for an unknown path, and ShapeError and DataError like `predict`.
    """
    return {path: output for path, (output, _) in outputs_and_masks(model, x, layers).items()}


def outputs_and_masks(
    model: Sequential, x: Any, layers: Sequence[str] | None = None
) -> dict[str, tuple[Array, Array | None]]:
    """Return what `activations` returns, and for each output its mask (N, T), or None if all of it counts."""
    if isinstance(layers, str):
        raise ArgumentTypeError(f"layers is {layers!r}; give a list of paths: [{layers!r}]")
    x = model.as_inputs(x)
    model.set_up_for(x)
    paths = list(_layers_by_path(model) if layers is None else layers)
    # A copy records, because other threads may use the model. It shares the parameters of the model.
    shared = {id(parameter.vectors): parameter.vectors for parameter in model.named_parameters().values()}
    recorded = copy.deepcopy(model, shared)
    for own in [vars(layer) for layer in recorded.walk() if "_computed" in vars(layer)]:
        own["_computed"] = own["layers"]  # in the original order: no ReLU is moved behind a pooling
    outputs: dict[str, Array] = {}
    masks: dict[str, Array | None] = {}
    blocks: dict[str, list[tuple[Array, Array | None]]] = {path: [] for path in paths}
    for path in paths:
        _record(recorded[path], path, outputs, masks)
    if not x.ndim:
        model.predict_scores(x)  # raises its error for data that are not a batch
    for start in range(0, max(len(x), 1), model.rows_at_once):  # in this thread: several would mix up the outputs
        outputs.clear()
        masks.clear()
        recorded.predict_scores(x[start : start + model.rows_at_once])
        for path, output in outputs.items():
            blocks[path].append((output, masks.get(path)))
    # A layer may not call one of the layers inside it.
    return {path: _joined(found) for path, found in blocks.items() if found}


def _joined(blocks: Sequence[tuple[Array, Array | None]]) -> tuple[Array, Array | None]:
    outputs, masks = zip(*blocks, strict=True)
    return np.concatenate(outputs), None if masks[0] is None else np.concatenate(masks)


def _layers_by_path(model: Sequential) -> dict[str, Layer]:
    return {path.rstrip("/"): layer for path, layer in model.named_layers()[1:]}


def _record(layer: Layer, path: str, outputs: dict[str, Array], masks: dict[str, Array | None]) -> None:
    """Let a layer also store its latest output, and the mask of the output, under its path."""
    forward, mask_after = layer.forward, layer.mask_after

    def recording(*arguments: Any, **options: Any) -> Array:
        outputs[path] = forward(*arguments, **options)
        if (mask := options.get("mask")) is not None:  # a Bidirectional does not ask its layers for their masks
            masks[path] = mask_after(None, mask)
        return outputs[path]

    def recording_mask(x: Array | None, mask: Array | None) -> Array | None:
        masks[path] = mask_after(x, mask)
        return masks[path]

    vars(layer).update(forward=recording, mask_after=recording_mask)
