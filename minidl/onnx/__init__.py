"""Trained models elsewhere: files of the open format ONNX, written, read back to train on, and made smaller.

``export`` writes what ONNX Runtime and others run, ``load`` makes a Sequential of such a file, also of one that another
library wrote, and ``quantize`` writes a file that computes in whole numbers of 8 bits. All need ``minidl[onnx]``.
"""

from minidl.onnx.graph import Graph
from minidl.onnx.quantizing import quantize
from minidl.onnx.reading import load
from minidl.onnx.translations import register
from minidl.onnx.writing import export

__all__ = ["Graph", "export", "load", "quantize", "register"]


def __dir__() -> list[str]:
    return sorted(__all__)
