"""Read an ONNX file, also from another library, as a trainable model."""

from __future__ import annotations

import json
import math
import os
from typing import Any

import numpy as np

from minidl import blocks, layers, sequences
from minidl.errors import ArgumentTypeError, FileFormatError, MinidlError
from minidl.layers import Layer
from minidl.losses import CategoricalLoss, Loss, SigmoidCrossEntropy, SoftmaxCrossEntropy
from minidl.model import Sequential
from minidl.onnx import constants
from minidl.onnx.attention import find_attention
from minidl.onnx.fusing import fuse
from minidl.onnx.joins import join, square
from minidl.onnx.pieces import MOST_NUMBERS, TAKES_IMAGES, Chain, MisfitError, Node, Piece, Value, number
from minidl.onnx.recurrences import merge
from minidl.onnx.sequence_pieces import OPERATORS
from minidl.onnx.tensors import array_of, read_proto
from minidl.onnx.writing import SCORES
from minidl.reprs import brief
from minidl.serialization import decode
from minidl.typing import Array, Shape

_NO_FORK = "joins what does not begin at one tensor"


def load(path: str | os.PathLike[str], *, loss: Loss | None = None) -> Sequential:
    """Read an ONNX file as a Sequential, for further training, inspection or prediction.

    The network must be a chain of layers that minidl has, with residual connections and concatenations. `export`,
    PyTorch's two exporters and Keras write such files, and skl2onnx does for MLPClassifier and MLPRegressor. Images
    with their channels first, as in PyTorch, become images (N, height, width, channels); weights are reordered to
    match.

    Parameters
    ----------
    path : str or path
    loss : Loss, optional
        The loss at the end of the model. Default: the loss that `export` has saved; for other files,
        SoftmaxCrossEntropy replaces a softmax at the end and SigmoidCrossEntropy a sigmoid, and otherwise there is no
        loss.

    Raises
    ------
    MissingFileError
        If the file does not exist.
    FileFormatError
        If the file is corrupt, refers to files outside its folder, declares wrong sizes, or holds another kind of
        network: the error names the first node that does not fit.
    MissingDependencyError
        If the library onnx is missing.

    Nothing in the file is executed.
    """
    if loss is not None and not isinstance(loss, Loss):
        raise ArgumentTypeError(f"loss is {brief(loss)}; it must be a loss, such as SoftmaxCrossEntropy()")
    proto, size = read_proto(path)
    try:
        return _Reader(proto, size).read(loss)
    except (MinidlError, ValueError, TypeError, LookupError, ArithmeticError, RecursionError) as error:
        raise FileFormatError(f"{path} cannot be loaded: {error!s:.220}") from error


class _Reader:
    """A file and facts about its graph: the constants, and the nodes that use each tensor."""

    def __init__(self, proto: Any, size: int) -> None:
        self.proto, self.graph, self.size = proto, proto.graph, size
        self.opset = max((each.version for each in proto.opset_import if each.domain in {"", "ai.onnx"}), default=0)
        self.metadata = {each.key: each.value for each in proto.metadata_props}
        texts = {each.name for each in self.graph.initializer if each.data_type == each.STRING}  # names of classes
        self.constants = {each.name: array_of(each) for each in self.graph.initializer if each.name not in texts}
        inputs = [each for each in self.graph.input if each.name not in self.constants.keys() | texts]
        if len(inputs) != 1 or not self.graph.output:
            raise FileFormatError(f"it has {len(inputs)} inputs and {len(self.graph.output)} outputs, not one of each")
        self.input = inputs[0].name
        dims = inputs[0].type.tensor_type.shape.dim
        sizes = [each.dim_value if each.HasField("dim_value") else 0 for each in dims]
        if len(sizes) < 2 or min(sizes[1:]) < 1:
            raise FileFormatError(f"its input has the shape {sizes!s:.80}: all axes but the first need a fixed size")
        self.batch, self.input_sizes = sizes[0] or -1, tuple(sizes[1:])
        self.nodes = [self._node(index, each) for index, each in enumerate(self.graph.node)]
        self.target = self._choose_output()
        for node in self._needed():
            if node.operator == "Constant":
                self._add_constant(node)
        fuse(self.nodes, self.constants)
        merge(self.nodes, self.constants)
        find_attention(self.nodes, self.constants)
        self._resolve()

    def _node(self, index: int, proto: Any) -> Node:
        import onnx.helper

        attributes = {each.name: onnx.helper.get_attribute_value(each) for each in proto.attribute}
        inside = {"opset": self.opset, "batch": self.batch}
        node = Node(index, proto.op_type, [*proto.input], [*proto.output], attributes | inside, proto.name)
        if proto.domain not in {"", "ai.onnx"}:
            node.operator = f"{proto.domain}.{proto.op_type}"
        return node

    def _choose_output(self) -> str:
        """Return the output tensor for the model: the scores in minidl's files, else the last float output."""
        made = {name: node for node in self.nodes for name in node.outputs}
        if self.proto.producer_name == "minidl" and SCORES in made:
            return SCORES
        target = self.graph.output[-1].name
        for output in self.graph.output:
            if output.type.tensor_type.elem_type in {1, 10, 11}:
                target = output.name
        while target in made and made[target].operator in {"ai.onnx.ml.ZipMap", "ArgMax"}:
            target = made[target].inputs[0]
        return target

    def _needed(self) -> list[Node]:
        """Return the nodes that the model's output depends on."""
        needed, kept = {self.target}, []
        for node in reversed(self.nodes):
            if needed & {*node.outputs}:
                needed |= {*node.inputs}
                kept.append(node)
        return kept[::-1]

    def _resolve(self) -> None:
        """Find out what each tensor is: a constant, a shape, a transposed tensor, or a new tensor."""
        self.moved: dict[str, tuple[str, tuple[int, ...] | None]] = {}
        self.computed: dict[str, Node] = {}
        self.consumers: dict[str, list[Node]] = {}
        for node in self._needed():
            given = [name for name in node.inputs if name]
            plain = [name for name in given if name not in self.constants]
            if node.outputs[0] in self.constants:
                continue
            if node.operator == "Shape" or (node.operator in constants.OPERATORS and self.computed.keys() >= {*plain}):
                self.computed[node.outputs[0]] = node
            elif node.operator == "Transpose" or node.passes_on:
                self._add_moved(node)
            else:
                for name in dict.fromkeys(self._origin(name)[0] for name in plain if name not in self.computed):
                    self.consumers.setdefault(name, []).append(node)

    def _add_constant(self, node: Node) -> None:
        values = [(name, node.attributes[name]) for name in node.attributes if name.startswith("value")]
        name, value = values[0] if values else ("", None)
        if name == "value":
            self.constants[node.outputs[0]] = array_of(value)
        elif name in {"value_float", "value_floats", "value_int", "value_ints"}:
            self.constants[node.outputs[0]] = np.array(value, np.float32 if "float" in name else np.int64)
        else:
            raise node.misfit("is not an array of numbers")

    def _add_moved(self, node: Node) -> None:
        origin, before = self._origin(node.inputs[0])
        axes = before
        if node.operator == "Transpose":
            if "perm" not in node.attributes:
                raise node.misfit("does not say which axes it moves")
            permutation = tuple(node.attributes["perm"])
            if sorted(permutation) != [*range(len(permutation))] or permutation[0] != 0:
                raise node.misfit("moves the axis of the batch")
            if before is not None and len(before) != len(permutation):
                raise node.misfit("has a different number of axes than its input")
            axes = permutation if before is None else tuple(before[axis] for axis in permutation)
        self.moved[node.outputs[0]] = origin, axes

    def _origin(self, name: str) -> tuple[str, tuple[int, ...] | None]:
        return self.moved.get(name, (name, None))

    def read(self, loss: Loss | None) -> Sequential:
        """Return the model."""
        try:
            chain = self._whole(tuple(range(len(self.input_sizes) + 1)))
        except MisfitError as first:
            axes = (0, len(self.input_sizes), *range(1, len(self.input_sizes)))
            if len(axes) < 3:
                raise
            try:  # the channels of its images may be first
                chain = self._whole(axes)
            except MisfitError as second:
                raise max(first, second, key=lambda misfit: misfit.index) from None
        pieces, loss = self._with_loss(chain, loss)
        self._check_sizes(pieces)
        return _build(pieces, loss, self.input_shape, chain.value.shape)

    def _whole(self, axes: tuple[int, ...]) -> Chain:
        """Return the pieces from the input to the output, for this order of the input's axes."""
        sizes = [0] * len(axes)
        for axis, size in zip(axes[1:], self.input_sizes, strict=True):
            sizes[axis] = size
        self.input_shape = tuple(sizes[1:])
        self.values: dict[str, Value] = {}
        chain = Chain(self.input, Value(self.input_shape, axes))
        end = self._follow(chain)
        if end is not None or chain.tensor != self._origin(self.target)[0]:
            raise (
                end.misfit("joins what does not begin at one tensor") if end else MisfitError("its input has no output")
            )
        if chain.value.flat is not None:
            raise MisfitError("it ends with flat images that have their channels first", len(self.nodes))
        if chain.value.rows:
            maker = next(node for node in self.nodes if chain.tensor in node.outputs)
            raise maker.misfit("mixes samples: it gives rows of them")
        order = self._origin(self.target)[1]
        last = (chain.value if order is None else chain.value.moved(order)).axes
        if last not in {(*range(len(last)),), (0, len(last) - 1, *range(1, len(last) - 1))}:
            raise MisfitError("it ends with axes in another order than minidl's", len(self.nodes))
        return chain

    def _follow(self, chain: Chain) -> Node | None:
        """Extend a chain to the output, or to a node that also takes other branches; return that node."""
        goal = self._origin(self.target)[0]
        while True:
            if math.prod(chain.value.shape) > MOST_NUMBERS:
                raise MisfitError(
                    f"samples {chain.value.shape!s:.60} have more than {MOST_NUMBERS:,} numbers", len(self.nodes)
                )
            self.values[chain.tensor] = chain.value
            if chain.tensor == goal:
                return None
            following = self.consumers.get(chain.tensor, [])
            if not following:
                raise MisfitError(f"tensor {chain.tensor!r:.60} leads nowhere")
            if len(following) > 1:
                self._fork(chain, following)
            elif self._is_join(following[0]):
                return following[0]
            else:
                self._step(chain, following[0])

    def _dynamic(self, node: Node) -> list[str]:
        """Return the tensors that a node uses, in the order of its inputs."""
        names = [name for name in node.inputs if name and name not in self.constants and name not in self.computed]
        return [self._origin(name)[0] for name in names]

    def _is_join(self, node: Node) -> bool:
        return len({*self._dynamic(node)}) > 1

    def _enter(self, chain: Chain, node: Node) -> None:
        """Change the order of axes of a chain's value to the order that a node takes."""
        origins = [self._origin(name) for name in node.inputs]
        orders = {axes for origin, axes in origins if origin == chain.tensor}
        if len(orders) > 1:
            raise node.misfit("takes one tensor in two orders of axes")
        if (axes := orders.pop()) is not None:
            if len(axes) != len(chain.value.axes):
                raise node.misfit("takes a transposed tensor with a different number of axes")
            chain.value = chain.value.moved(axes)

    def _step(self, chain: Chain, node: Node) -> None:
        """Extend a chain by one node."""
        self._enter(chain, node)
        if chain.value.rows and node.operator not in {"Add", "Gemm", "MatMul", "Reshape"}:
            raise node.misfit("takes rows of samples, not samples")
        dynamic = self._dynamic(node)
        if len(dynamic) > 1:
            square(node, chain)
        elif node.operator == "Greater" and node.inputs[1] in self.constants:
            than = self.constants[node.inputs[1]]
            chain.add(node, "Greater", {"than": number(than.reshape(-1)[0]) if than.size == 1 else 0.0})
        elif operator := OPERATORS.get(node.operator):
            given = [
                None if not name or self._origin(name)[0] == chain.tensor else self._constant(node, name)
                for name in node.inputs
            ]
            try:
                operator(node, chain, given)
            except MisfitError:
                raise
            except (MinidlError, ValueError, TypeError, LookupError, ArithmeticError) as error:
                raise node.misfit(f"does not fit: {error!s:.120}") from error
        else:
            raise node.misfit("is an operator without a layer in minidl")
        chain.tensor = node.outputs[0]

    def _constant(self, node: Node, name: str) -> Array:
        """Return a constant, or the result that the graph computes from constants and shapes."""
        if name in self.constants:
            return self.constants[name]
        maker = self.computed[name]
        if maker.operator == "Shape" and (maker.inputs[0] in self.computed or maker.inputs[0] in self.constants):
            return np.array(self._constant(node, maker.inputs[0]).shape)
        if maker.operator == "Shape":
            origin, axes = self._origin(maker.inputs[0])
            if origin not in self.values:
                raise node.misfit("depends on the shape of a tensor that is computed later")
            value = self.values[origin]
            return np.array((value if axes is None else value.moved(axes)).sizes)
        inputs = [self._constant(node, each) for each in maker.inputs if each]
        filler = maker.attributes.get("value")
        made = constants.compute(maker, inputs, None if filler is None else array_of(filler))
        self.constants[name] = made
        return made

    def _fork(self, chain: Chain, following: list[Node]) -> None:
        """Follow the branches that begin at a chain's tensor until they join again."""
        if any(node.operator in TAKES_IMAGES for node in following):
            chain.put_channels_first()
        ready: list[Chain] = []
        waiting: dict[int, list[Chain]] = {}  # by the index of the node that also takes other branches
        for node in following:
            branch = Chain(chain.tensor, chain.value)
            if self._is_join(node):
                self._wait(branch, node, waiting)
            else:
                self._step(branch, node)
                ready.append(branch)
        while ready or waiting:
            while ready:
                if end := self._follow(branch := ready.pop()):
                    self._wait(branch, end, waiting)
            complete = [index for index, branches in waiting.items() if self._is_complete(index, branches)]
            if not complete:
                raise self.nodes[min(waiting)].misfit(_NO_FORK)
            node, branches = self.nodes[complete[0]], {each.tensor: each for each in waiting.pop(complete[0])}
            joined = join(node, [branches[name] for name in self._dynamic(node)])
            if waiting:
                ready.append(joined)
        chain.pieces += joined.pieces
        chain.tensor, chain.value = joined.tensor, joined.value

    def _wait(self, branch: Chain, node: Node, waiting: dict[int, list[Chain]]) -> None:
        self._enter(branch, node)
        if branch.value.rows:
            raise node.misfit("joins rows of samples, not samples")
        waiting.setdefault(node.index, []).append(branch)

    def _is_complete(self, index: int, branches: list[Chain]) -> bool:
        return {branch.tensor for branch in branches} == {*self._dynamic(self.nodes[index])}

    def _with_loss(self, chain: Chain, loss: Loss | None) -> tuple[list[Piece], Loss | None]:
        """Return the pieces of a chain without the activation that belongs to the loss, and the loss."""
        pieces, ours = chain.pieces, self.proto.producer_name == "minidl" and self.target == SCORES
        if ours:
            if loss is None and "loss" in self.metadata:
                loss = decode(json.loads(self.metadata["loss"])["loss"])
                if loss is not None and not isinstance(loss, Loss):
                    raise FileFormatError(f"its metadata describe {brief(loss)}, which is not a loss")
            return pieces, loss
        kinds = [piece.kind for piece in pieces]
        if kinds[-2:] == ["Sigmoid", "Concatenate"] and _is_pair(pieces[-1]):
            pieces, kinds = pieces[:-1], kinds[:-1]  # it turns p into (1 - p, p), as scikit-learn's classifiers do
            chain.value = Value((*chain.value.shape[:-1], 1), chain.value.axes)
        if kinds[-1:] == ["LogSoftmax"] or (kinds[-1:] == ["Softmax"] and (loss is None or _is(loss, CategoricalLoss))):
            return pieces[:-1], SoftmaxCrossEntropy() if loss is None else loss
        if kinds[-1:] == ["Sigmoid"] and (loss is None or _is(loss, SigmoidCrossEntropy)):
            return pieces[:-1], SigmoidCrossEntropy() if loss is None else loss
        return pieces, loss

    def _check_sizes(self, pieces: list[Piece]) -> None:
        """Raise FileFormatError if there are more parameters than the file can hold, such as one array used often."""
        numbers, unseen = 0, [*pieces]
        while unseen:
            piece = unseen.pop()
            numbers += sum(array.size for array in piece.arrays.values())
            for inner in _inside(piece):
                unseen += inner
        if numbers > 2 * self.size + 2**16:
            raise FileFormatError(
                f"its layers have {numbers:,} parameters, more than a file of {self.size:,} bytes has"
            )


def _is(loss: Loss, kind: type[Loss]) -> bool:
    return isinstance(loss, kind)


def _is_pair(piece: Piece) -> bool:
    """Whether it turns p into (1 - p, p)."""
    branches = [
        [(each.kind, each.settings.get("scale"), each.settings.get("offset")) for each in branch]
        for branch in piece.settings["branches"]
    ]
    return branches == [[("Rescale", -1, 1)], [("Rescale", 1, 0)]]


def _inside(piece: Piece) -> list[list[Piece]]:
    """Return the chains inside a block."""
    if piece.kind == "Residual":
        return [piece.settings["layers"], piece.settings["projection"]]
    if piece.kind == "Bidirectional":
        return [piece.settings["layers"]]
    return piece.settings["branches"] if piece.kind == "Concatenate" else []


def _build(pieces: list[Piece], loss: Loss | None, input_shape: Shape, output_shape: Shape) -> Sequential:
    """Return the model with the layers and arrays of these pieces."""
    arrays: dict[int, dict[str, Array]] = {}
    made = _make_layers(pieces, arrays) or [layers.Rescale(1.0)]
    model = Sequential([*made, loss] if loss else made)
    stored = {
        f"{start}{name}": np.ascontiguousarray(array, np.float32)
        for start, layer in model.named_layers()
        for name, array in arrays.get(id(layer), {}).items()
    }
    model.set_up(input_shape, stored=stored)
    if model.output_shape != output_shape:
        raise FileFormatError(f"its output {output_shape} per sample would be {model.output_shape} here")
    return model


def _make_layers(pieces: list[Piece], arrays: dict[int, dict[str, Array]]) -> list[Layer]:
    return [_make_layer(piece, arrays) for piece in pieces]


def _make_layer(piece: Piece, arrays: dict[int, dict[str, Array]]) -> Layer:
    settings = dict(piece.settings)
    if piece.kind == "Residual":
        inner, projection = (_make_layers(each, arrays) for each in _inside(piece))
        return blocks.Residual(inner, projection=projection or None)
    if piece.kind == "Concatenate":
        return blocks.Concatenate([_make_layers(each, arrays) for each in _inside(piece)], axis=settings["axis"])
    if piece.kind == "Bidirectional":
        ahead, back = settings["layers"]
        both = sequences.Bidirectional(_make_layer(ahead, arrays), merge=settings["merge"])
        arrays[id(both.sublayers()["backward"])] = back.arrays
        return both
    if piece.kind == "Reshape":
        del settings["start"]
        if len(settings["target_shape"]) == 1:
            piece, settings = Piece("Flatten"), {}
    kind = next((getattr(home, piece.kind) for home in (layers, sequences) if piece.kind in home.__all__), None)
    if kind is None:
        assert piece.node is not None
        raise piece.node.misfit("is an operator without a layer in minidl")
    layer: Layer = kind(**settings)
    layer.trainable = not piece.frozen
    arrays[id(layer)] = piece.arrays
    return layer
