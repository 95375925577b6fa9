"""Quantize files: networks compute with 8-bit integers, need a quarter of the size, and are faster on many rows."""

from __future__ import annotations

import math
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from minidl.arrays import as_rows, check_finite
from minidl.errors import ArgumentError, DataError, FileFormatError, MissingDependencyError, ShapeError
from minidl.files import as_path, atomic_write
from minidl.onnx.graph import import_onnx
from minidl.onnx.tensors import read_proto
from minidl.typing import Array

_ROWS_AT_ONCE = 256

_CHANNELS = {"MatMul": 1, "BatchNormalization": 0, "LayerNormalization": 0}
"""The channel axis of weights; the quantizer looks for an axis that normalizations do not have, and warns."""


def quantize(path: str | os.PathLike[str], x: Any, to: str | os.PathLike[str] | None = None) -> Path:
    """Write a copy of an ONNX file with 8-bit weights and activations, and return the path of the new file.

    It uses ONNX Runtime's static quantizer, with pairs of QuantizeLinear and DequantizeLinear and a scale for each
    channel of the weights. The range of activations is measured on the given rows: use a few hundred rows of the
    training data. Compare the accuracy before and after.

    Parameters
    ----------
    path : str or path
        A file in float32, as `export` writes it; also from another library.
    x : array of shape (N, *input_shape)
        Rows in the form that the file takes.
    to : str or path, optional
        The new file; by default beside the old one, such as ``digits_int8.onnx`` for ``digits.onnx``.

    Raises
    ------
    ShapeError, DataError
        For rows of another shape, no rows, and numbers that are not finite. With an input of uint8 or int64, also for
        numbers that are not whole, and with uint8 for numbers outside 0 to 255.
    MissingFileError, FileFormatError
        For a file that does not exist, that ONNX Runtime cannot read, or that already computes in 8 bits.
    MissingDependencyError
        If the library onnx or onnxruntime is missing.
    """
    onnx, runtime = import_onnx(), _import_runtime()
    source = as_path(path)
    proto = read_proto(source)[0]
    if any(node.op_type == "DequantizeLinear" for node in proto.graph.node):
        raise FileFormatError(f"{source} already computes in 8 bits: give the file in float32")
    metadata = {each.key: each.value for each in proto.metadata_props}
    target = source.with_name(f"{source.stem}_int8{source.suffix}") if to is None else as_path(to)
    with tempfile.TemporaryDirectory() as folder:
        simple, small = Path(folder) / "simple.onnx", Path(folder) / "small.onnx"
        options = runtime.SessionOptions()
        # It merges batch normalizations into convolutions, and writes the graph with ONNX's own operators.
        options.graph_optimization_level = runtime.GraphOptimizationLevel.ORT_ENABLE_BASIC
        options.optimized_model_filepath = str(simple)
        options.log_severity_level = 3
        try:
            session = runtime.InferenceSession(str(source), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # its errors have no other common base
            why = " ".join(str(error).split())
            raise FileFormatError(f"{source}: ONNX Runtime cannot read it: {why:.200}") from error
        rows = _Rows(x, session.get_inputs())
        prepared = onnx.load(simple)
        onnx.helper.set_model_props(prepared, {"onnx.quant.pre_process": "onnxruntime.quant"})  # or it warns
        onnx.save(prepared, simple)
        runtime.quantization.quantize_static(
            simple,
            small,
            rows,
            quant_format=runtime.quantization.QuantFormat.QDQ,
            activation_type=runtime.quantization.QuantType.QInt8,
            weight_type=runtime.quantization.QuantType.QInt8,
            per_channel=True,
            nodes_to_exclude=_of_masks(prepared),
            extra_options={"QDQOpTypePerChannelSupportToAxis": _CHANNELS},
        )
        made = onnx.load(small)
    onnx.helper.set_model_props(made, metadata)
    with atomic_write(target) as file:
        file.write(made.SerializeToString())
    return target


def _of_masks(proto: Any) -> list[str]:
    """Return the nodes that stay in float32: they write a number near minus infinity at positions that do not count.

    In 8 bits, all other numbers would become 0 next to it.
    """
    choices = [node for node in proto.graph.node if node.op_type == "Where"]
    hidden = {name for node in choices for name in node.output}
    return [node.name for node in proto.graph.node if node in choices or hidden & {*node.input}]


class _Rows:
    """The rows on which the quantizer measures activations, in blocks."""

    def __init__(self, x: Any, inputs: list[Any]) -> None:
        types = {"tensor(float)": np.float32, "tensor(uint8)": np.uint8, "tensor(int64)": np.int64}
        if len(inputs) != 1 or inputs[0].type not in types:
            raise ArgumentError("quantize takes files with one input, of float32, uint8 or int64")
        self.name, shape = inputs[0].name, tuple(inputs[0].shape[1:])
        rows = as_rows(x, "x")
        if rows.shape[1:] != shape:
            raise ShapeError(f"x has shape {rows.shape}, but the file takes {shape} per sample")
        if not len(rows):
            raise DataError("x has no rows: give a few hundred rows of the training data")
        check_finite(rows, "x")
        dtype = types[inputs[0].type]
        self.rows = rows.astype(dtype)
        if dtype != np.float32 and (self.rows != rows).any():
            limits = " or not within 0 to 255" * (dtype == np.uint8)
            raise DataError(f"the file takes {dtype.__name__}, but x has numbers that are not whole{limits}")
        self._blocks = self._in_blocks()

    def _in_blocks(self) -> Iterator[Array]:
        for start in range(0, len(self.rows), _ROWS_AT_ONCE):
            yield self.rows[start : start + _ROWS_AT_ONCE]

    def get_next(self) -> dict[str, Array] | None:
        """Return the next rows by the input's name, or None after the last ones. The quantizer calls this."""
        block = next(self._blocks, None)
        return None if block is None else {self.name: block}

    def set_range(self, start_index: int, end_index: int) -> None:
        """Return only these blocks from now on: the quantizer may ask for parts."""
        blocks = [*self._in_blocks()][start_index:end_index]
        self._blocks = iter(blocks)

    def __len__(self) -> int:
        return math.ceil(len(self.rows) / _ROWS_AT_ONCE)


def _import_runtime() -> Any:
    try:
        import onnxruntime
        import onnxruntime.quantization
    except ModuleNotFoundError as error:
        raise MissingDependencyError("quantize needs onnxruntime: pip install 'minidl[onnx]'") from error
    return onnxruntime
