"""The layers of images and of sequences, which few programs need: each is loaded when it is first asked for."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from minidl.layers.attention import MultiHeadAttention
    from minidl.layers.convolution import Conv2D, Conv2DTranspose, DepthwiseConv2D
    from minidl.layers.embedding import Embedding
    from minidl.layers.pooling import (
        AveragePool2D,
        GlobalAveragePool2D,
        GlobalMaxPool2D,
        MaxPool2D,
        UpSample2D,
        ZeroPad2D,
    )
    from minidl.layers.positions import PositionalEncoding, PositionEmbedding
    from minidl.layers.recurrent import GRU, LSTM, Bidirectional, SimpleRNN
    from minidl.layers.time_windows import AveragePool1D, Conv1D, GlobalAveragePool1D, GlobalMaxPool1D, MaxPool1D

__all__ = [
    "GRU",
    "LSTM",
    "AveragePool1D",
    "AveragePool2D",
    "Bidirectional",
    "Conv1D",
    "Conv2D",
    "Conv2DTranspose",
    "DepthwiseConv2D",
    "Embedding",
    "GlobalAveragePool1D",
    "GlobalAveragePool2D",
    "GlobalMaxPool1D",
    "GlobalMaxPool2D",
    "MaxPool1D",
    "MaxPool2D",
    "MultiHeadAttention",
    "PositionEmbedding",
    "PositionalEncoding",
    "SimpleRNN",
    "UpSample2D",
    "ZeroPad2D",
]

MODULES = {
    **dict.fromkeys(("Conv2D", "Conv2DTranspose", "DepthwiseConv2D"), "convolution"),
    **dict.fromkeys(("AveragePool2D", "GlobalAveragePool2D", "GlobalMaxPool2D"), "pooling"),
    **dict.fromkeys(("MaxPool2D", "UpSample2D", "ZeroPad2D"), "pooling"),
    **dict.fromkeys(("AveragePool1D", "Conv1D", "GlobalAveragePool1D", "GlobalMaxPool1D", "MaxPool1D"), "time_windows"),
    **dict.fromkeys(("GRU", "LSTM", "Bidirectional", "SimpleRNN"), "recurrent"),
    **dict.fromkeys(("PositionEmbedding", "PositionalEncoding"), "positions"),
    "Embedding": "embedding",
    "MultiHeadAttention": "attention",
}
"""The module of each."""
