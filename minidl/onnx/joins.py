"""Nodes at which branches of a graph meet: sums, concatenations, and the products inside activations."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from minidl.onnx.pieces import Chain, Node, Piece
from minidl.onnx.recurrences import both_ways


def join(node: Node, branches: Sequence[Chain]) -> Chain:
    """Return the chain of a node that joins branches from one tensor, in the order of the node's inputs.

    The chain begins where the branches do. Raises MisfitError if minidl has no such block.
    """
    values = {branch.value for branch in branches}
    shapes = {(branch.value.axes, branch.value.flat, len(branch.value.shape)) for branch in branches}
    joined = Chain(node.outputs[0], branches[0].value)
    ways = both_ways([branch.pieces for branch in branches])
    if ways and len(shapes) == 1:
        shape, axes = branches[0].value.shape, branches[0].value.axes
        if node.operator == "Concat" and node.attributes["axis"] in {-1, len(axes) - 1}:
            joined.value = replace(branches[0].value, shape=(*shape[:-1], 2 * shape[-1]))
            joined.add(node, "Bidirectional", {"layers": ways, "merge": "concatenate"})
            return joined
        if node.operator == "Add":
            joined.add(node, "Bidirectional", {"layers": ways, "merge": "sum"})
            return joined
    if node.operator == "Concat" and len(shapes) == 1 and not branches[0].value.flat:
        axes = branches[0].value.axes
        axis = axes[node.attributes["axis"]] if -len(axes) <= node.attributes.get("axis", 0) < len(axes) else 0
        others = {(*value.shape[: axis - 1], *value.shape[axis:]) for value in values}
        if axis and len(others) == 1:
            size = sum(branch.value.shape[axis - 1] for branch in branches)
            first = branches[0].value
            joined.value = replace(first, shape=(*first.shape[: axis - 1], size, *first.shape[axis:]))
            parts = [branch.pieces or [Piece("Rescale", {"scale": 1.0, "offset": 0.0})] for branch in branches]
            joined.add(node, "Concatenate", {"branches": parts, "axis": axis})
            return joined
    elif len(values) == 1 and node.operator in {"Add", "Sum"} and len(branches) == 2:
        pieces, shortcut = sorted((branch.pieces for branch in branches), key=lambda pieces: not pieces)
        joined.add(node, "Residual", {"layers": pieces, "projection": shortcut})
        return joined
    elif len(values) == 1 and node.operator == "Mul" and len(branches) == 2:
        for gate, other in (branches, branches[::-1]):
            if found := _gated(gate.pieces, other.pieces):
                kind, settings, factor = found
                joined.add(node, kind, settings)
                joined.rescale(node, factor, 0)
                return joined
    elif len(values) == 1 and node.operator == "Where" and _is_softplus(branches):
        joined.add(node, "Softplus")
        return joined
    raise node.misfit("joins branches in a way that no block of minidl does")


def square(node: Node, chain: Chain) -> None:
    """Continue a chain with a node that multiplies it by itself."""
    if node.operator != "Mul":
        raise node.misfit("takes one tensor twice")
    chain.add(node, "Square")


def _gated(gate: list[Piece], other: list[Piece]) -> tuple[str, dict[str, bool], float] | None:
    """Return the activation that a product of two branches is, its settings, and a factor to multiply it by.

    The product is of x, or Rescale(factor), and a function of x.
    """
    factor, kinds = _factor(other), [piece.kind for piece in gate]
    if factor is None or not kinds:
        return None
    scales = [piece.settings["scale"] for piece in gate if piece.kind == "Rescale"]
    if kinds == ["Square"] and factor == 1:
        return "Cube", {}, 1
    if kinds == ["Sigmoid"]:
        return "SiLU", {}, factor
    half = _half(gate[-1])
    if kinds == ["Rescale", "Erf", "Rescale"] and half and _near(scales[0], math.sqrt(0.5)) and _is_scale(gate[0]):
        return "GELU", {"approximate": False}, 2 * half * factor
    tails = (["Rescale", "Sigmoid"], 2, 1.0), (["Rescale", "Tanh", "Rescale"], 1, 2 * half)
    for tail, steepness, weight in tails:
        fits = kinds == ["Residual", *tail] and _is_cubic(gate[0]) and _is_scale(gate[1])
        if fits and weight and _near(scales[0], steepness * math.sqrt(2 / math.pi)):
            return "GELU", {"approximate": True}, weight * factor
    return None


def _factor(pieces: list[Piece]) -> float | None:
    """Return the factor by which a branch multiplies its input; None if it does something else."""
    if not pieces:
        return 1.0
    return float(pieces[0].settings["scale"]) if len(pieces) == 1 and _is_scale(pieces[0]) else None


def _half(piece: Piece) -> float:
    """Return h for ``h x + h``, and 0 for anything else."""
    if piece.kind != "Rescale" or not _near(piece.settings["scale"], piece.settings["offset"]):
        return 0.0
    return float(piece.settings["scale"])


def _is_cubic(piece: Piece) -> bool:
    """Whether a piece is ``x + 0.044715 x^3``."""
    pieces = piece.settings["layers"]
    is_sum = [each.kind for each in pieces] == ["Cube", "Rescale"] and not piece.settings["projection"]
    return is_sum and _is_scale(pieces[1]) and _near(pieces[1].settings["scale"], 0.044715)


def _is_scale(piece: Piece) -> bool:
    return piece.kind == "Rescale" and not piece.settings["offset"]


def _is_softplus(branches: Sequence[Chain]) -> bool:
    """Whether it is Softplus(x), or the same with x itself for large x."""
    kinds = [[piece.kind for piece in branch.pieces] for branch in branches]
    return kinds == [["Greater"], [], ["Softplus"]] and branches[0].pieces[0].settings["than"] >= 15


def _near(value: float, wanted: float) -> bool:
    return math.isclose(value, wanted, rel_tol=1e-5)
