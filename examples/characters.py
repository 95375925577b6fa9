"""Train a network to predict the next character of a text, and let it write.

    python examples/characters.py                                    # The Zen of Python, half a minute
    python examples/characters.py --model gru --temperature 0.3 1
    python examples/characters.py --text book.txt --steps 6000       # a real text: two or three minutes

Without --text it learns The Zen of Python (PEP 20, by Tim Peters, in the public domain), 856 characters from Python's
module `this`. They are enough for a network to memorize a text, but not to learn English. The last tenth of the text is
held out, and the loss on it soon rises. With a book you see what such a network can do.

--model transformer has two blocks of causal attention with 4 heads, 64 wide; --model gru has two layers of 64 units.
Both are trained on windows of 64 characters. Their losses are compared with the loss of a table of pairs of characters.
During training the network continues the held-out text. A low temperature repeats the most likely text; a high one
writes more freely, with more mistakes.

At the end the network writes a text in two ways: with remembered states of its layers, and by computing all characters
again for each new one. Both give the same text. Their scores differ only by rounding in float32, which grows with the
scores: the example checks that the largest difference, divided by the largest score, is at most 1e-5.

The folder --output gets the model, report.json and pictures: the losses, and what each head attends to in a piece of
text, or the states of a GRU's units.
"""

from __future__ import annotations

import argparse
import codecs
import contextlib
import io
import itertools
import json
import math
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from example_options import Parser, not_negative, output_folder, pictures_possible, positive, run_program, whole_number

from minidl import (
    GRU,
    Adam,
    Callback,
    Continuation,
    Dense,
    Embedding,
    LayerNorm,
    MultiHeadAttention,
    OneCycle,
    PositionEmbedding,
    Sequential,
    SoftmaxCrossEntropy,
    TiedEmbedding,
    Trainer,
    TransformerBlock,
    generate,
)
from minidl.data import windows
from minidl.errors import DataError, counted
from minidl.typing import Array

POSITIONS, UNITS, HEADS, LAYERS = 64, 64, 4, 2
HELD_OUT = 0.1
"""The share of the text that is held out, at its end."""
PROMPT = 16
"""The network continues this many characters of the held-out text."""
ROUNDING = 1e-5
"""The largest difference that rounding in float32 may make between scores, as a part of the largest score."""


def zen_of_python() -> str:
    """Return PEP 20 from the module `this`, which prints it on import and stores it in a simple cipher."""
    with contextlib.redirect_stdout(io.StringIO()):
        import this
    return codecs.decode(this.s, "rot13")


def read_text(path: Path | None) -> str:
    """Return the text of a file, or The Zen of Python; raise DataError if it is not UTF-8 or cannot be learned."""
    try:
        text = zen_of_python() if path is None else path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not in UTF-8: byte {error.start} is invalid. Save it as UTF-8") from error
    least = math.ceil((POSITIONS + 1) / HELD_OUT)
    if len(text) < least:
        raise DataError(f"{path} has {counted(len(text), 'character')}, too few to hold some out: give {least} or more")
    if len(set(text)) < 2:
        raise DataError(f"{path} repeats {text[0]!r}; give a text with at least two different characters")
    return text


def pairs(ids: Array, most: int) -> tuple[Array, Array]:
    """Return windows of the text and the next character for each of their characters: two views (N, POSITIONS).

    The windows are evenly spaced and together cover the text. There are about `most` of them.
    """
    stride = min(max(len(ids) // most, 1), POSITIONS)
    cut = windows(ids, POSITIONS + 1, horizon=0, stride=stride)[0][..., 0]
    return cut[:, :-1], cut[:, 1:]


def build(kind: str, tied: bool, vocabulary_size: int, seed: int) -> Sequential:
    embedding = Embedding(vocabulary_size, UNITS)
    layers: list[Any]
    if kind == "gru":
        layers = [GRU(UNITS, return_sequences=True) for _ in range(LAYERS)]
    else:
        blocks = [TransformerBlock(UNITS, HEADS, causal=True) for _ in range(LAYERS)]
        layers = [PositionEmbedding(), *blocks, LayerNorm()]
    if tied:
        layers = [TiedEmbedding(embedding, layers, use_bias=True)]
    else:
        layers = [embedding, *layers, Dense(vocabulary_size, initializer="glorot_uniform")]
    return Sequential([*layers, SoftmaxCrossEntropy()], input_shape=POSITIONS, seed=seed)


def bigram_loss(ids: Array, vocabulary_size: int, before: Array, after: Array) -> float:
    """Return the loss, in nats, of a table that counts how often each character follows another in `ids`.

    Each count is increased by 0.1, so that new pairs are not impossible.
    """
    counts = np.full((vocabulary_size, vocabulary_size), 0.1)
    np.add.at(counts, (ids[:-1], ids[1:]), 1)
    table = np.log(counts / counts.sum(axis=1, keepdims=True))
    return float(-table[before, after].mean())


def in_words(nats: float) -> str:
    return f"{nats:.3f} nats ({nats / math.log(2):.3f} bits)"


class WriteSamples(Callback):
    """Print the losses, and the network's continuation of a prompt, at evenly spaced epochs."""

    def __init__(self, prompt: Array, characters: Array, options: argparse.Namespace) -> None:
        self.prompt, self.characters, self.options = prompt, characters, options

    def on_train_begin(self, trainer: Trainer) -> None:
        self.begun = time.perf_counter()
        wanted = np.linspace(0, trainer.last_epoch, self.options.samples + 1)
        self.epochs = set(wanted.round().astype(int).tolist()) - {0}
        self.write(trainer, "before the training")

    def on_epoch_end(self, trainer: Trainer) -> None:
        if trainer.epoch in self.epochs:
            values, seconds = trainer.metric_values, time.perf_counter() - self.begun
            losses = f"loss {in_words(values['loss'])}, held out {in_words(values['val_loss'])}"
            self.write(trainer, f"{counted(trainer.step, 'step')}, {seconds:.0f} s: {losses}")

    def write(self, trainer: Trainer, title: str) -> None:
        print(f"\n{title}")
        for temperature in self.options.temperature:
            length, seed = self.options.length, self.options.seed
            ids = generate(trainer.model, self.prompt, length, temperature=temperature, seed=seed)
            written = "".join(self.characters[[*self.prompt, *ids]])
            print(f"  temperature {temperature:g}:\n{textwrap.indent(written, '    ', lambda line: True)}", flush=True)


def write(score: Callable[[Array], Array], prompt: Array, length: int, seed: int) -> tuple[Array, Array, float]:
    """Continue the prompt; return all ids, the scores for each new id, and the seconds.

    `score` gets all ids so far and returns the scores of the next one. Each new id has the largest score after Gumbel
    noise is added, and so is a draw from the softmax.
    """
    rng, ids, scores = np.random.default_rng(seed), prompt, []
    begun = time.perf_counter()
    for _ in range(length):
        scores.append(score(ids))
        ids = np.append(ids, np.argmax(scores[-1] + rng.gumbel(size=scores[-1].shape)))
    return ids, np.array(scores), time.perf_counter() - begun


def compare_ways_to_write(model: Sequential, prompt: Array, seed: int) -> dict[str, Any]:
    """Write with remembered states, and by computing all characters again for each new one; compare the two."""
    continuation = Continuation(model)

    def remembering(ids: Array) -> Array:
        return continuation.next(ids[np.newaxis, continuation.positions :])[0, -1]

    def anew(ids: Array) -> Array:
        filled = np.zeros((1, POSITIONS), ids.dtype)  # the entries after the last character do not matter
        filled[0, : len(ids)] = ids
        return model.forward(filled)[0, len(ids) - 1]

    length = POSITIONS - len(prompt)
    ids, scores, seconds = write(remembering, prompt, length, seed)
    again, scores_again, seconds_again = write(anew, prompt, length, seed)
    largest = float(abs(scores).max())
    return {
        "characters": length,
        "same text": bool((ids == again).all()),
        "largest score": largest,
        "largest difference by largest score": float(abs(scores - scores_again).max()) / largest,
        "seconds remembering": seconds,
        "seconds anew": seconds_again,
    }


def draw(folder: Path, model: Sequential, trainer: Trainer, bigram: float, ids: Array, characters: Array) -> None:
    import matplotlib.pyplot as plt

    from minidl import plots

    figure, ax = plt.subplots(figsize=(7, 4.5), layout="constrained")
    plots.plot_history(trainer.history, ax=ax)
    ax.axhline(bigram, color="0.5", linewidth=1, linestyle=":")
    ax.annotate(
        "pairs of characters, held out", (0.99, bigram), xycoords=("axes fraction", "data"), ha="right", va="bottom"
    )
    ax.set_ylabel("loss in nats per character")
    figure.savefig(folder / "losses.png")
    plt.close(figure)

    shown = POSITIONS // 2
    letters = ["\u21b5" if letter == "\n" else letter for letter in characters[ids[:shown]]]
    batch = ids[np.newaxis, :POSITIONS]
    attending = [
        (before.rstrip("/"), layer)
        for (before, _), (_, layer) in itertools.pairwise(model.named_layers())
        if isinstance(layer, MultiHeadAttention)
    ]
    if attending:
        size = (3.6 * HEADS, 3.8 * len(attending))
        figure = plt.figure(figsize=size, layout="constrained")
        grid = figure.subplots(len(attending), HEADS, sharex=True, sharey=True, squeeze=False)
        for number, ((before, layer), row) in enumerate(zip(attending, grid, strict=True), start=1):
            weights = layer.attention_weights(model.activations(batch, [before])[before])[0, :, :shown, :shown]
            for head, ax in enumerate(row):
                ax.imshow(weights[head], cmap="Blues", vmin=0, vmax=1)
                ax.set_title(f"block {number}, head {head + 1}", fontsize=10)
                ax.tick_params(length=0, labelsize=7, labelfontfamily="monospace")
        grid[0, 0].set(xticks=range(shown), yticks=range(shown), xticklabels=letters, yticklabels=letters)
        figure.suptitle("what each character (row) takes from itself and from earlier characters (columns)")
        name = "attention.png"
    else:
        recurrent = [path.rstrip("/") for path, layer in model.named_layers() if isinstance(layer, GRU)]
        figure = plt.figure(figsize=(9, 4.5 * len(recurrent)), layout="constrained")
        grid = figure.subplots(len(recurrent), 1, squeeze=False)
        for number, (path, ax) in enumerate(zip(recurrent, grid[:, 0], strict=True), start=1):
            states = model.activations(batch, [path])[path][0, :shown]
            ax.imshow(states.T, cmap="RdBu_r", vmin=-1, vmax=1, aspect="auto")
            ax.set_title(f"GRU {number}", fontsize=10)
            ax.set_xticks(range(shown), letters, family="monospace")
            ax.set_ylabel("unit")
        figure.suptitle("state of each unit after each character, from -1 (blue) to 1 (red)")
        name = "states.png"
    figure.savefig(folder / name, dpi=80)
    plt.close(figure)


def parse_arguments(arguments: list[str] | None) -> argparse.Namespace:
    parser = Parser(__doc__)
    count = whole_number(1)
    parser.add_argument("--text", type=Path, metavar="FILE", help="a text in UTF-8 (default: The Zen of Python)")
    parser.add_argument("--model", choices=("gru", "transformer"), default="transformer", help="(default: %(default)s)")
    parser.add_argument("--tied", action="store_true", help="use the same vectors for input and output characters")
    parser.add_argument(
        "--steps", type=count, default=400, help="training steps, rounded up to whole epochs (default: %(default)s)"
    )
    parser.add_argument("--batch-size", type=count, default=16, metavar="ROWS", help="(default: %(default)s)")
    parser.add_argument(
        "--learning-rate",
        type=positive,
        default=0.003,
        metavar="RATE",
        help="highest learning rate of Adam (default: %(default)s)",
    )
    parser.add_argument(
        "--temperature", type=not_negative, nargs="+", default=[0.2, 0.6, 1.0], help="one or more temperatures"
    )
    parser.add_argument("--length", type=count, default=120, help="characters to write (default: %(default)s)")
    parser.add_argument("--samples", type=count, default=4, help="number of texts to write (default: %(default)s)")
    parser.add_argument(
        "--seed", type=whole_number(0), default=0, help="seed for weights, order and writing (default: 0)"
    )
    parser.add_argument(
        "--output", type=output_folder, default=Path("runs/characters"), metavar="DIR", help="(default: %(default)s)"
    )
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> None:
    options = parse_arguments(arguments)
    text = read_text(options.text)
    characters, ids = np.unique(np.array(list(text)), return_inverse=True)
    split = len(ids) - int(HELD_OUT * len(ids))
    train, held_out = ids[:split], ids[split:]
    (x, y), (x_held_out, y_held_out) = pairs(train, 16_000), pairs(held_out, 500)
    bigram = bigram_loss(train, len(characters), x_held_out, y_held_out)
    steps_per_epoch = math.ceil(len(x) / options.batch_size)
    epochs = math.ceil(options.steps / steps_per_epoch)

    model = build(options.model, options.tied, len(characters), options.seed)
    optimizer = Adam(OneCycle(options.learning_rate, steps=max(epochs * steps_per_epoch, 2)))
    trainer = Trainer(model, optimizer, batch_size=options.batch_size, clip_norm=1.0, seed=options.seed)
    name = str(options.text or "The Zen of Python")
    print(
        f"{name}: {counted(len(text), 'character')}, {len(characters)} different ones; "
        f"the last {len(held_out):,} are held out\n"
        f"{options.model}: {counted(model.count_parameters(), 'parameter')}, "
        f"{counted(epochs, 'epoch')} of {counted(steps_per_epoch, 'step')}\n"
        f"loss of equal probabilities: {in_words(math.log(len(characters)))}\n"
        f"held-out loss of a table of pairs of characters: {in_words(bigram)}"
    )
    begun = time.perf_counter()
    samples = WriteSamples(held_out[:PROMPT], characters, options)
    history = trainer.fit(
        x, y, epochs=epochs, validation_data=(x_held_out, y_held_out), callbacks=[samples], progress=False
    )
    seconds = time.perf_counter() - begun
    ways = compare_ways_to_write(model, held_out[:PROMPT], options.seed)

    options.output.mkdir(parents=True, exist_ok=True)
    model.save(options.output / f"{options.model}.npz")
    best = int(np.argmin(history["val_loss"]))
    report = {
        "text": name,
        "characters": "".join(characters),
        "model": options.model,
        "parameters": model.count_parameters(),
        "steps": trainer.step,
        "seconds": seconds,
        "bigram loss": bigram,
        "best epoch": best + 1,
        "history": dict(history),
        "writing": ways,
    }
    (options.output / "report.json").write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    pictures = pictures_possible()
    if pictures:
        draw(options.output, model, trainer, bigram, held_out, characters)
    last, lowest = history["val_loss"][-1], history["val_loss"][best]
    difference = ways["largest difference by largest score"]
    print(
        f"\nheld-out loss after {seconds:.0f} s: {in_words(last)}\n"
        f"lowest, after epoch {best + 1}: {in_words(lowest)}\n"
        f"of the table of pairs: {in_words(bigram)}\n\n"
        f"{ways['characters']} characters, written in {ways['seconds remembering']:.3f} s with remembered states, and "
        f"in {ways['seconds anew']:.3f} s by computing all characters again:\n"
        f"the texts are {'the same' if ways['same text'] else 'different'}; the largest difference of scores, divided "
        f"by the largest score, {ways['largest score']:.1f}, is {difference:.1e}\n"
        f"model, report.json{' and pictures' if pictures else ''}: {options.output}"
    )
    if not difference <= ROUNDING:
        sys.exit(f"error: rounding may change scores by {ROUNDING:g} of the largest score, not by {difference:.1e}")


if __name__ == "__main__":
    run_program(main)
