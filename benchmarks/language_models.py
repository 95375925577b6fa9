"""Measure the gain of each step of docs/language_models.md, from counted pairs of characters to a transformer.

    python benchmarks/language_models.py                     # some minutes, in one thread
    python benchmarks/language_models.py --text book.txt --steps 500
    python benchmarks/language_models.py --quick             # a minute; the losses mean little

Without --text, the text is Moby-Dick if it is next to the checkout, or else the Zen of Python, which is part of Python
but far too short to learn from. Models train on the first nine tenths of the text, and are compared on the last tenth.
All take the same number of steps. Each step predicts 1,024 characters: 16 pieces of 64 characters, the same for all
models, or 1,024 windows of 8 characters. Adam's rate falls to 0 along a cosine. Seconds of training are processor time
in one thread, because other programs change it less.
"""

from __future__ import annotations

import argparse
import codecs
import contextlib
import io
import math
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from textwrap import fill, indent

import numpy as np
import pandas as pd
from numpy.lib.stride_tricks import sliding_window_view
from reports import machine, number, put_into_document, table_text
from threadpoolctl import threadpool_limits

from minidl import (
    GRU,
    Adam,
    Conv1D,
    CosineDecay,
    Dense,
    Embedding,
    Flatten,
    Layer,
    LayerNorm,
    MultiHeadAttention,
    PositionEmbedding,
    ReLU,
    Residual,
    Sequential,
    SoftmaxCrossEntropy,
    TiedEmbedding,
    Trainer,
    TransformerBlock,
)
from minidl.errors import MinidlError
from minidl.typing import Array

TEXT_BESIDE = Path(__file__).resolve().parents[2] / "shared" / "data" / "text" / "moby_dick.txt"

CONTEXT = 64
"""The number of characters in a piece."""

BATCH = 16
"""The number of pieces in a step."""

WINDOW = 8
"""The number of characters in a window."""

WRITTEN = 160
"""The number of characters that a model writes for the page."""


@dataclass
class Step:
    """A model of the page, with its name in the table."""

    section: int
    """The section of the page."""

    name: str
    rate: float
    """Adam's rate at the first step, chosen in a few short runs, most of them with 400 steps."""

    layers: Callable[[int], list[Layer]]
    """Makes the layers for V characters. A test compares the lists with the page."""

    window: int | None = None
    """The characters in a window, after which one character is predicted; None: pieces, predicted at each position."""

    writes: bool = False
    """Whether the page shows text that the model writes."""


def window_layers(V: int) -> list[Layer]:
    return [Embedding(V, 32), Flatten(), Dense(256), ReLU(), Dense(V)]


def convolutions(V: int) -> list[Layer]:
    return [
        Embedding(V, 64),
        Conv1D(64, 4, padding="causal"),
        ReLU(),
        Conv1D(64, 4, padding="causal", dilation=4),
        ReLU(),
        Conv1D(64, 4, padding="causal", dilation=16),
        ReLU(),
        Dense(V),
    ]


def recurrent(V: int) -> list[Layer]:
    return [Embedding(V, 64), GRU(128, return_sequences=True), Dense(V)]


def one_head(V: int) -> list[Layer]:
    return [Embedding(V, 64), MultiHeadAttention(1, causal=True), Dense(V)]


def trained_positions(V: int) -> list[Layer]:
    return [Embedding(V, 64), PositionEmbedding(), MultiHeadAttention(1, causal=True), Dense(V)]


def rotary_positions(V: int) -> list[Layer]:
    return [Embedding(V, 64), MultiHeadAttention(1, causal=True, rotary=True), Dense(V)]


def four_heads(V: int) -> list[Layer]:
    return [Embedding(V, 64), MultiHeadAttention(4, causal=True, rotary=True), Dense(V)]


def shortcut(V: int) -> list[Layer]:
    return [Embedding(V, 64), Residual(MultiHeadAttention(4, causal=True, rotary=True)), Dense(V)]


def one_block(V: int) -> list[Layer]:
    return [Embedding(V, 64), TransformerBlock(64, heads=4, causal=True, rotary=True), LayerNorm(), Dense(V)]


def two_blocks(V: int) -> list[Layer]:
    return [
        Embedding(V, 64),
        TransformerBlock(64, heads=4, causal=True, rotary=True),
        TransformerBlock(64, heads=4, causal=True, rotary=True),
        LayerNorm(),
        Dense(V),
    ]


def tied(V: int) -> list[Layer]:
    inner = [
        TransformerBlock(64, heads=4, causal=True, rotary=True),
        TransformerBlock(64, heads=4, causal=True, rotary=True),
        LayerNorm(),
    ]
    return [TiedEmbedding(Embedding(V, 64), inner)]


STEPS = [
    Step(2, "the same table, trained", 0.1, lambda V: [Embedding(V, V)], writes=True),
    Step(3, "a window of 8, dense layers", 0.01, window_layers, window=WINDOW),
    Step(4, "causal convolutions", 0.01, convolutions),
    Step(5, "GRU", 0.01, recurrent, writes=True),
    Step(6, "attention", 0.01, one_head),
    Step(6, "attention, trained positions", 0.01, trained_positions),
    Step(6, "attention, rotary positions", 0.01, rotary_positions),
    Step(7, "four heads", 0.01, four_heads),
    Step(7, "four heads, shortcut", 0.01, shortcut),
    Step(7, "a block of a transformer", 0.005, one_block),
    Step(8, "two blocks", 0.005, two_blocks),
    Step(8, "two blocks, tied embedding", 0.005, tied, writes=True),
]


class Text:
    """A text as ids of its characters, split into a training and a validation part."""

    def __init__(self, text: str) -> None:
        self.characters, ids = np.unique(list(text), return_inverse=True)
        self.training, self.validation = np.split(ids.astype(np.uint16), [len(ids) * 9 // 10])
        self.count = len(self.characters)

    def rows(self, step: Step, steps: int, seed: int) -> tuple[Array, Array]:
        """Return the inputs of a whole run, and the characters to predict, one after each character or window."""
        length, each = (CONTEXT, BATCH) if step.window is None else (step.window, BATCH * CONTEXT)
        starts = np.random.default_rng(seed).integers(0, len(self.training) - length, steps * each)
        return cut(self.training, length, starts, step.window is not None)

    def validation_rows(self, step: Step) -> tuple[Array, Array]:
        """Return the validation text in pieces, or all its windows."""
        length, stride = (CONTEXT, CONTEXT) if step.window is None else (step.window, 1)
        return cut(self.validation, length, slice(None, None, stride), step.window is not None)


def read_text(path: Path | None) -> tuple[str, str]:
    """Return the name of a text and the text itself: from the file, or without a file the first default that exists."""
    path = path or (TEXT_BESIDE if TEXT_BESIDE.is_file() else None)
    if path:
        return path.name, path.read_text(encoding="utf-8")
    with contextlib.redirect_stdout(io.StringIO()):  # the module prints the text, and stores it in rot13
        import this
    return "the Zen of Python", codecs.decode(this.s, "rot13")


def cut(ids: Array, length: int, starts: Array | slice, is_window: bool) -> tuple[Array, Array]:
    """Return pieces of the text, and the next characters: at all positions, or only at the last one for windows."""
    pieces = sliding_window_view(ids, length + 1)[starts]
    return pieces[:, :-1], pieces[:, -1] if is_window else pieces[:, 1:]


# Models without training


def frequencies(text: Text, characters: int) -> float:
    """Count which character follows each `characters` characters (counts start at 1); return bits per character."""
    counts = np.ones((text.count,) * (characters + 1))
    np.add.at(counts, tuple(sliding_window_view(text.training, characters + 1).T), 1)
    probabilities = counts / counts.sum(axis=-1, keepdims=True)
    return float(-np.log2(probabilities[tuple(sliding_window_view(text.validation, characters + 1).T)]).mean())


@dataclass
class Result:
    """A line of the table."""

    section: int
    name: str
    numbers: int
    bits: float
    seconds: float | None = None


def counted(text: Text) -> list[Result]:
    """Return the results of the models without training."""
    return [
        Result(0, "equal probabilities", 0, math.log2(text.count)),
        Result(0, "character frequencies", text.count, frequencies(text, 0)),
        Result(1, "counted pairs", text.count**2, frequencies(text, 1)),
    ]


# Training


def build(step: Step, text: Text, seed: int) -> Sequential:
    shape = step.window or CONTEXT
    return Sequential([*step.layers(text.count), SoftmaxCrossEntropy()], input_shape=shape, seed=seed)


def train(step: Step, text: Text, options: argparse.Namespace) -> tuple[Result, Sequential]:
    """Train a model; return its result, and the model."""
    x, y = text.rows(step, options.steps, options.seed)
    model = build(step, text, options.seed)
    rate = CosineDecay(step.rate * options.rates, steps=options.steps)
    batch = len(x) // options.steps
    trainer = Trainer(model, Adam(rate), batch_size=batch, shuffle=False, threads=1)
    warm_up = Trainer(build(step, text, options.seed), batch_size=batch, threads=1)
    warm_up.fit(x[:batch], y[:batch], epochs=1, progress=False)  # loads or compiles all that the first step needs
    start = time.process_time()
    trainer.fit(x, y, epochs=1, progress=False)
    seconds = time.process_time() - start
    bits = trainer.evaluate(*text.validation_rows(step))["loss"] / math.log(2)
    print(f"{step.name}: {bits:.3f} bits, {seconds:.0f} s", file=sys.stderr)
    return Result(step.section, step.name, model.parameters.size, bits, seconds), model


def write(model: Sequential, text: Text, seed: int) -> str:
    """Let a model write text: each character is drawn from the predicted probabilities."""
    rng = np.random.default_rng(seed)
    ids = [int(np.flatnonzero(text.characters == " ")[0])]
    for _ in range(WRITTEN):
        last = ids[-CONTEXT:]
        row = np.zeros((1, CONTEXT), int)
        row[0, : len(last)] = last  # the zeros come after the last one: a causal model does not see them
        probabilities = model.predict_proba(row)[0, len(last) - 1].astype(float)
        ids.append(int(rng.choice(text.count, p=probabilities / probabilities.sum())))
    return " ".join("".join(text.characters[ids]).split())


def sample_text(samples: dict[str, str]) -> str:
    """Format the models' texts in lines of 80 columns."""
    return "\n\n".join(f"{name}\n{indent(fill(text, 76), '    ')}" for name, text in samples.items())


def format_table(results: list[Result]) -> str:
    """Format one line per result, with the gain in bits over the line before."""
    frame = pd.DataFrame(
        {
            "parameters": [f"{result.numbers:,}" for result in results],
            "nats": [f"{result.bits * math.log(2):.3f}" for result in results],
            "bits": [f"{result.bits:.3f}" for result in results],
            "gained": ["", *(f"{last.bits - result.bits:.3f}" for last, result in pairwise(results))],
            "seconds": ["" if result.seconds is None else f"{result.seconds:.0f}" for result in results],
        },
        index=[result.name for result in results],
    )
    return table_text(frame)


def report(results: list[Result], name: str, text: Text, options: argparse.Namespace) -> str:
    """Return the whole report."""
    return (
        f"{name}: {len(text.training):,} characters to train on, {len(text.validation):,} to validate; "
        f"V = {text.count}\n{options.steps:,} steps of {BATCH * CONTEXT:,} characters, seed {options.seed}; "
        f"validation loss per character\n{machine()}\n\n{format_table(results)}"
    )


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--text", type=Path, metavar="FILE", help="text in UTF-8 (default: Moby-Dick or the Zen of Python)")
    add("--steps", type=number, default=2000, help="steps of each model (default: %(default)s)")
    add("--quick", action="store_true", help="take 50 steps")
    add("--seed", type=number, default=1, help="seed of initial weights and pieces (default: %(default)s)")
    add("--rates", type=float, default=1.0, metavar="FACTOR", help="multiplies all rates (default: %(default)s)")
    add("--document", type=Path, metavar="FILE", help="put all tables and written texts into this document")
    options = parser.parse_args(arguments)
    if options.quick:
        options.steps = 50
    name, words = read_text(options.text)
    text = Text(words)
    results, samples = counted(text), {}
    with threadpool_limits(1):
        for step in STEPS:
            result, model = train(step, text, options)
            results.append(result)
            if step.writes:
                samples[step.name] = write(model, text, options.seed)
    table, written = report(results, name, text, options), sample_text(samples)
    print(table, written, sep="\n\n")
    if options.document:
        put_into_document(options.document, "language models", table)
        put_into_document(options.document, "what they write", written)
        for section in {result.section for result in results}:
            # The table begins with the step before, for the gain of the first one.
            lines = [index for index, result in enumerate(results) if result.section == section]
            part = format_table(results[max(lines[0] - 1, 0) : lines[-1] + 1])
            put_into_document(options.document, f"language models {section}", part)


if __name__ == "__main__":
    try:
        main()
    except (MinidlError, OSError) as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        sys.exit("interrupted")
