"""Show one digit with a model's prediction, the true label and the confidence.

    python examples/predict_digit.py runs/mnist_mlp/784-128-64-10.npz --index 7
    python examples/predict_digit.py runs/mnist_mlp/784-128-64-10.npz --data train.csv --index 7 --save digit.png

Without --save the image is drawn in the terminal. The index counts MNIST's 10,000 test images, or the rows of a CSV
file.
"""

from __future__ import annotations

import argparse
import math
import sys
from pathlib import Path

import numpy as np
from example_options import Parser

from minidl import Sequential
from minidl.data import load_csv, load_mnist
from minidl.errors import ArgumentError, MinidlError
from minidl.typing import Array


def load_images(path: Path | None) -> tuple[Array, Array | None]:
    """Return images and labels; a CSV file without a label column, such as the competition's test.csv, has none."""
    if path is None or path.is_dir():
        data = load_mnist(path)
        return data.x_test, data.y_test
    try:
        return load_csv(path)
    except ArgumentError:
        return load_csv(path, label=None)


def as_text(image: Array) -> str:
    """Draw a flat square image with two characters per pixel, as terminals' characters are tall."""
    side = round(len(image) ** 0.5)
    shades = np.array(list(" .:-=+*#%@"))
    levels = image.reshape(side, side) / max(image.max(), 1) * (len(shades) - 1)
    return "\n".join("".join(shades[row].repeat(2)).rstrip() for row in levels.round().astype(int))


def save_picture(path: Path, image: Array, prediction: int, truth: int | None, confidence: float) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from minidl.plots import plot_images

    targets = None if truth is None else [truth]
    axes = plot_images([image], predictions=[prediction], targets=targets, confidences=[confidence])
    axes.figure.savefig(path)
    print(f"saved {path}")


def picture(text: str) -> Path:
    path = Path(text)
    if path.suffix.lower() != ".png" or not path.parent.is_dir():
        raise argparse.ArgumentTypeError(f"{text!r} is no .png file in a folder that exists")
    return path


def main(arguments: list[str] | None = None) -> None:
    parser = Parser(__doc__)
    parser.add_argument("model", type=Path, help="a model file that mnist_mlp.py or mnist_cnn.py wrote")
    parser.add_argument("--data", type=Path, metavar="PATH", help="a CSV file, or a folder with MNIST's IDX files")
    parser.add_argument("--index", type=int, default=0, help="which image, from 0")
    parser.add_argument("--save", type=picture, metavar="PNG", help="save the image as a picture")
    options = parser.parse_args(arguments)

    model = Sequential.load(options.model)
    images, labels = load_images(options.data)
    if not 0 <= options.index < len(images):
        raise ArgumentError(f"--index {options.index}: there are {len(images):,} images, 0 to {len(images) - 1}")
    image = images[options.index]
    truth = None if labels is None else int(labels[options.index])
    fits = model.input_shape is not None and math.prod(model.input_shape) == image.size
    sample = image.reshape(1, *model.input_shape) if fits else image[np.newaxis]  # if not, the error says what would
    probabilities = model.predict_proba(sample)[0]
    prediction = int(probabilities.argmax())

    if options.save:
        save_picture(options.save, image, prediction, truth, float(probabilities[prediction]))
    else:
        print(as_text(image))
    label = "unknown" if truth is None else f"{truth} ({'right' if truth == prediction else 'wrong'})"
    print(f"prediction {prediction}   confidence {probabilities[prediction]:.1%}   label {label}")


if __name__ == "__main__":
    try:
        main()
    except (MinidlError, OSError, ImportError) as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        sys.exit("interrupted")
