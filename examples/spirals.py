"""Watch a small network learn to classify the points of several interleaved spirals.

    python examples/spirals.py                             # three spirals, runs/spirals/spirals.gif
    python examples/spirals.py --arms 2 --network 2-16-16-2 --format png
    python examples/spirals.py --noise 0.12 --epochs 300   # arms that touch

Each picture shows the training points and the regions that the network predicts for the classes. Straight lines cannot
separate the spirals: with --network 2-3, which has no hidden layer, the network can only learn three sectors. The
pictures go to the folder --output; the last one is also saved as spirals.png.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from example_options import (
    Parser,
    needing,
    network_name,
    not_negative,
    output_folder,
    positive,
    resized,
    run_program,
    whole_number,
)

from minidl import Adam, Callback, Dense, ReLU, Sequential, SoftmaxCrossEntropy, Trainer
from minidl.data import train_validation_split
from minidl.errors import ArgumentError, counted
from minidl.typing import Array

DOTS_PER_INCH = 100


def make_spirals(arms: int, points: int, noise: float, seed: int) -> tuple[Array, Array]:
    """Return points (arms * points, 2) within a radius of about 1, `points` for each arm, and the arm of each point."""
    rng = np.random.default_rng(seed)
    arm = np.repeat(np.arange(arms), points)
    radius = np.sqrt(rng.uniform(0.02, 1, size=len(arm)))  # the same density everywhere on the arm
    angle = 2 * np.pi * arm / arms + 2 * np.pi * radius  # one turn
    x = radius[:, np.newaxis] * np.column_stack([np.cos(angle), np.sin(angle)])
    return x + rng.normal(scale=noise, size=x.shape), arm


def build(network: str, seed: int) -> Sequential:
    """Make the model that a name such as 2-32-32-3 describes."""
    inputs, *hidden, classes = map(int, network.split("-"))
    layers: list[Any] = []
    for units in hidden:
        layers += [Dense(units), ReLU()]
    return Sequential([*layers, Dense(classes), SoftmaxCrossEntropy()], input_shape=inputs, seed=seed)


class DrawBoundary(Callback):
    """Draw the regions before training and at `frames` evenly spaced epochs; pass each picture to `save`."""

    def __init__(self, x: Array, y: Array, frames: int, save: Callable[[Any], None]) -> None:
        import matplotlib.pyplot as plt

        self.x, self.y, self.frames, self.save = x, y, frames, save
        self.figure = plt.figure(figsize=(5, 5.2), dpi=DOTS_PER_INCH)
        self.ax = self.figure.add_axes((0.02, 0.02, 0.96, 0.92))

    def on_train_begin(self, trainer: Trainer) -> None:
        self.epochs = set(np.linspace(0, trainer.last_epoch, self.frames + 1).round().astype(int).tolist())
        self.draw(trainer)

    def on_epoch_end(self, trainer: Trainer) -> None:
        if trainer.epoch in self.epochs:
            self.draw(trainer)

    def draw(self, trainer: Trainer) -> None:
        from minidl.plots import plot_decision_boundary

        self.ax.clear()
        plot_decision_boundary(trainer.model, self.x, self.y, resolution=160, ax=self.ax)
        self.ax.set(aspect="equal", xticks=[], yticks=[])
        values = trainer.metric_values
        held_out = f"held-out accuracy {values['val_accuracy']:6.1%}" if values else "not yet trained"
        self.ax.set_title(f"epoch {trainer.epoch:>3}: {held_out}", family="monospace", fontsize=10)
        self.save(self.figure)


def train(options: argparse.Namespace) -> Trainer:
    """Train the network and write the pictures."""
    with needing("the pictures need matplotlib", "plots"):
        import matplotlib
        from PIL import Image

    matplotlib.use("Agg")

    x, y = make_spirals(options.arms, options.points, options.noise, options.seed)
    x_train, x_validation, y_train, y_validation = train_validation_split(x, y, 0.25, seed=options.seed)
    trainer = Trainer(build(options.network, options.seed), Adam(options.learning_rate), seed=options.seed)
    pictures: list[Image.Image] = []

    def save(figure: Any) -> None:
        figure.canvas.draw()
        pictures.append(Image.fromarray(np.asarray(figure.canvas.buffer_rgba())).convert("RGB"))
        if options.format == "png":
            pictures[-1].save(options.output / f"frame_{len(pictures) - 1:03}.png")

    callbacks = [DrawBoundary(x_train, y_train, options.frames, save)]
    try:
        trainer.fit(
            x_train,
            y_train,
            epochs=options.epochs,
            validation_data=(x_validation, y_validation),
            callbacks=callbacks,
        )
    except KeyboardInterrupt:
        raise KeyboardInterrupt("the pictures show the training up to this point" if pictures else "") from None
    finally:  # an interrupted animation shows the training up to this point
        if pictures:
            pictures[-1].save(options.output / "spirals.png")
        if pictures and options.format == "gif":
            # The octree method keeps the few dots with strong colours; other methods lose them among many pale pixels.
            animation = [picture.quantize(method=Image.Quantize.FASTOCTREE) for picture in pictures]
            durations = [1000 // options.speed] * (len(pictures) - 1) + [2000]  # in milliseconds
            animation[0].save(
                options.output / "spirals.gif", save_all=True, append_images=animation[1:], duration=durations, loop=0
            )
    return trainer


def parse_arguments(arguments: list[str] | None) -> argparse.Namespace:
    parser = Parser(__doc__)
    count = whole_number(1)
    parser.add_argument(
        "--arms", type=whole_number(2), default=3, help="number of spirals, one class each (default: %(default)s)"
    )
    parser.add_argument("--points", type=whole_number(4), default=150, help="points per spiral (default: %(default)s)")
    parser.add_argument("--noise", type=not_negative, default=0.03, help="spread of the points (default: %(default)s)")
    parser.add_argument("--network", type=network_name("2-32-32-3"), metavar="SIZES", help="(default: 2-32-32-ARMS)")
    parser.add_argument("--epochs", type=count, default=60, help="(default: %(default)s)")
    parser.add_argument(
        "--learning-rate", type=positive, default=0.01, metavar="RATE", help="Adam's (default: %(default)s)"
    )
    parser.add_argument("--frames", type=count, default=30, help="number of pictures (default: %(default)s)")
    parser.add_argument("--speed", type=count, default=10, help="pictures per second of the GIF (default: %(default)s)")
    parser.add_argument(
        "--format", choices=("gif", "png"), default="gif", help="one animation, or pictures (default: %(default)s)"
    )
    parser.add_argument(
        "--seed", type=whole_number(0), default=0, help="seed of points, weights and order (default: %(default)s)"
    )
    parser.add_argument(
        "--output",
        type=output_folder,
        default=Path("runs/spirals"),
        metavar="DIR",
        help="folder; --format png deletes older pictures frame_....png in it (default: %(default)s)",
    )
    options = parser.parse_args(arguments)
    options.network = options.network or f"2-32-32-{options.arms}"
    return options


def main(arguments: list[str] | None = None) -> None:
    options = parse_arguments(arguments)
    inputs, *_, classes = map(int, options.network.split("-"))
    if inputs != 2:
        raise ArgumentError(
            f"--network {options.network} has {counted(inputs, 'input')}, but a point has 2 coordinates: give "
            f"{resized(options.network, 2, options.arms)}"
        )
    if classes != options.arms:
        raise ArgumentError(
            f"--network {options.network} has {counted(classes, 'output')}, but there are {options.arms} spirals: give "
            f"{resized(options.network, 2, options.arms)}{f', or --arms {classes}' if classes > 1 else ''}"
        )
    options.output.mkdir(parents=True, exist_ok=True)
    if options.format == "png":
        for path in options.output.iterdir():  # an earlier run may have written more pictures
            if re.fullmatch(r"frame_\d{3,}\.png", path.name):
                path.unlink()
    trainer = train(options)
    values = trainer.metric_values
    print(
        f"{options.network} after {counted(trainer.epoch, 'epoch')}: loss {values['loss']:.4f}, accuracy "
        f"{values['accuracy']:.1%} on the training rows and {values['val_accuracy']:.1%} on the held-out rows"
    )
    print(f"pictures: {options.output}")


if __name__ == "__main__":
    run_program(main, interrupted="before the first picture")
