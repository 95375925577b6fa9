"""Sequences: embeddings, recurrent layers, attention, windows along time, blocks of these, and continuations."""

from minidl.sequences.attention import MultiHeadAttention
from minidl.sequences.blocks import TiedEmbedding, TransformerBlock
from minidl.sequences.embedding import Embedding
from minidl.sequences.generation import Continuation, generate
from minidl.sequences.masking import Masking
from minidl.sequences.positions import PositionalEncoding, PositionEmbedding
from minidl.sequences.recurrent import GRU, LSTM, Bidirectional, SimpleRNN
from minidl.sequences.windows import AveragePool1D, Conv1D, GlobalAveragePool1D, GlobalMaxPool1D, MaxPool1D

__all__ = [
    "GRU",
    "LSTM",
    "AveragePool1D",
    "Bidirectional",
    "Continuation",
    "Conv1D",
    "Embedding",
    "GlobalAveragePool1D",
    "GlobalMaxPool1D",
    "Masking",
    "MaxPool1D",
    "MultiHeadAttention",
    "PositionEmbedding",
    "PositionalEncoding",
    "SimpleRNN",
    "TiedEmbedding",
    "TransformerBlock",
    "generate",
]


def __dir__() -> list[str]:
    return sorted(__all__)
