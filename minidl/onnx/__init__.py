"""Exchange trained models as ONNX files: write them, load them for further training, and make them smaller.

``export`` writes a file for ONNX Runtime and other programs. ``load`` reads a file, also from another library, as a
Sequential. ``quantize`` writes a file that computes with 8-bit integers. All need ``minidl[onnx]``.
"""

from minidl.onnx.graph import Graph
from minidl.onnx.quantizing import quantize
from minidl.onnx.reading import load
from minidl.onnx.translations import register
from minidl.onnx.writing import export

__all__ = ["Graph", "export", "load", "quantize", "register"]


def __dir__() -> list[str]:
    return sorted(__all__)
