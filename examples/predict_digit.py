"""Predict digits with a model: photographs of your own handwriting, or one digit of a data set.

    python examples/predict_digit.py runs/mnist_mlp/784-128-64-10.npz photo.jpg another.png
    python examples/predict_digit.py runs/mnist_mlp/784-128-64-10.npz photos --save seen.png
    python examples/predict_digit.py runs/mnist_mlp/784-128-64-10.npz --index 7
    python examples/predict_digit.py runs/mnist_mlp/784-128-64-10.npz --data train.csv --index 7 --save digit.png

A photograph has one digit, dark on light or light on dark. The program cuts it out and centers it like MNIST's digits.
It shows the network's input in the terminal, or saves it as a picture with --save. If you give a folder, the program
reads all images in it. The index counts MNIST's 10,000 test images, or the rows of a CSV file.
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path

import numpy as np
from example_options import Parser, needing, run_program

from minidl import Sequential
from minidl.data import center_digit, load_csv, load_images, load_mnist
from minidl.errors import ArgumentError, ShapeError
from minidl.typing import Array


def load_data(path: Path | None) -> tuple[Array, Array | None]:
    """Return images and labels. A CSV file without a label column, such as Kaggle's test.csv, has no labels."""
    if path is None or path.is_dir():
        data = load_mnist(path)
        return data.x_test, data.y_test
    try:
        return load_csv(path)
    except ArgumentError:
        return load_csv(path, label=None)


def as_text(image: Array) -> str:
    """Draw a flat square image with two characters per pixel, because characters in a terminal are tall."""
    side = round(len(image) ** 0.5)
    shades = np.array(list(" .:-=+*#%@"))
    levels = image.reshape(side, side) / max(image.max(), 1) * (len(shades) - 1)
    return "\n".join("".join(shades[row].repeat(2)).rstrip() for row in levels.round().astype(int))


def save_picture(path: Path, images: Array, probabilities: Array, labels: list[int] | None) -> None:
    with needing("--save needs matplotlib", "plots"):
        import matplotlib

    matplotlib.use("Agg")
    from minidl.plots import plot_images

    best = probabilities.argmax(axis=1)
    axes = plot_images(images, predictions=best, targets=labels, confidences=probabilities.max(axis=1))
    axes.figure.savefig(path)
    print(f"saved {path}")


def picture(text: str) -> Path:
    path = Path(text)
    if path.suffix.lower() != ".png" or not path.parent.is_dir():
        raise argparse.ArgumentTypeError(f"{text!r} is not a .png file in an existing folder")
    return path


def predict(model: Sequential, images: Array) -> Array:
    """Return the probabilities for images (N, 784) or (N, 28, 28), reshaped to the model's input."""
    fits = model.input_shape is not None and math.prod(model.input_shape) == math.prod(images.shape[1:])
    return model.predict_proba(
        images.reshape(-1, *model.input_shape) if fits else images
    )  # otherwise the error says why


def show_photographs(model: Sequential, photographs: list[Path], save: Path | None) -> None:
    digits = load_images(photographs[0] if len(photographs) == 1 else photographs, transform=center_digit)
    if model.input_shape is not None and math.prod(model.input_shape) != 784:
        raise ShapeError(f"the model takes {model.input_shape}, not MNIST's 28 x 28 pixels: train it on MNIST")
    probabilities = predict(model, digits.x)
    if save:
        save_picture(save, digits.x, probabilities, None)
    else:
        for image, path in zip(digits.x, digits.paths, strict=True):
            print(f"{as_text(image.ravel()).strip(chr(10))}\n{path}\n")
    width = max(len("photograph"), *(len(path.name) for path in digits.paths))
    print(f"{'photograph':{width}}  prediction  confidence  second guess")
    for path, chances in zip(digits.paths, probabilities, strict=True):
        best, second = chances.argsort()[:-3:-1]
        print(f"{path.name:{width}}  {best:10}  {chances[best]:10.1%}  {second} ({chances[second]:.1%})")


def show_one(model: Sequential, data: Path | None, index: int, save: Path | None) -> None:
    images, labels = load_data(data)
    if not 0 <= index < len(images):
        raise ArgumentError(f"--index {index}: there are {len(images):,} images, 0 to {len(images) - 1}")
    image = images[index]
    truth = None if labels is None else int(labels[index])
    probabilities = predict(model, image[np.newaxis])
    prediction = int(probabilities[0].argmax())
    if save:
        save_picture(save, image[np.newaxis], probabilities, None if truth is None else [truth])
    else:
        print(as_text(image))
    label = "unknown" if truth is None else f"{truth} ({'right' if truth == prediction else 'wrong'})"
    print(f"prediction {prediction}   confidence {probabilities[0, prediction]:.1%}   label {label}")


def main(arguments: list[str] | None = None) -> None:
    parser = Parser(__doc__)
    parser.add_argument("model", type=Path, help="a model file written by mnist_mlp.py or mnist_cnn.py")
    parser.add_argument(
        "photographs", type=Path, nargs="*", metavar="photo", help="images of one digit each, or a folder"
    )
    parser.add_argument("--data", type=Path, metavar="PATH", help="a CSV file, or a folder with MNIST's IDX files")
    parser.add_argument("--index", type=int, help="number of the image in the data, from 0 (default: 0)")
    parser.add_argument("--save", type=picture, metavar="PNG", help="save the network's input as a picture")
    options = parser.parse_intermixed_args(arguments)  # so that photographs may come after --save
    if options.photographs and (options.data is not None or options.index is not None):
        parser.error("--data and --index choose a digit of a data set: remove them, or the photographs")

    model = Sequential.load(options.model)
    if options.photographs:
        show_photographs(model, options.photographs, options.save)
    else:
        show_one(model, options.data, options.index or 0, options.save)


if __name__ == "__main__":
    run_program(main)
