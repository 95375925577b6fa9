"""Train convolutional networks on handwritten digits, or on photographs.

    python examples/mnist_cnn.py                              # a small network, also offline
    python examples/mnist_cnn.py --recipe conv                # a larger network, in some minutes
    python examples/mnist_cnn.py --recipe color               # colour images, also offline
    python examples/mnist_cnn.py --data cifar-10-binary.tar.gz     # photographs in ten classes

Without --data, the program finds or downloads MNIST; offline it uses scikit-learn's digits. The recipe color classifies
pieces of scikit-learn's two photographs. A run writes the model's file, report.json and pictures to the folder
--output. If a run was stopped, by Ctrl-C or a power cut, the same command with --resume continues it, to the same
result.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

from cnn_recipes import RECIPES
from example_options import Parser, add_run_options, run_program, whole_number
from mnist_training import as_given, follow, number_of_classes, train_each, with_test_images
from photographs import load_photographs

from minidl.data import ImageDataset, load_cifar10, load_mnist
from minidl.errors import ArgumentError, MissingFileError

DEFAULTS: dict[str, Any] = {"recipe": None, "data": None, "seed": 0, "output": Path("runs/mnist_cnn")}


def parse_arguments(arguments: list[str] | None) -> argparse.Namespace:
    parser = Parser(description=__doc__, argument_default=argparse.SUPPRESS)  # to know which options were given
    add = parser.add_argument
    add(
        "--recipe",
        choices=RECIPES,
        metavar="NAME",
        help="fast (seconds of training; the default for digits), conv (a larger network, minutes) or color (the "
        "default for photographs): trains on all training images, and evaluates on the test images at the end",
    )
    add(
        "--data",
        type=Path,
        metavar="PATH",
        help="MNIST: a CSV file, or a folder with the four IDX files; or CIFAR-10: a folder with its binary version, "
        "its archive cifar-10-binary.tar.gz, or an .npz file",
    )
    add("--epochs", type=whole_number(1, "number of epochs"), help="passes over the images (default: the recipe's)")
    add_run_options(parser, DEFAULTS["output"], "continue the stopped run in --output")
    given = vars(parser.parse_args(arguments))
    return argparse.Namespace(**{**DEFAULTS, **given}, given=given)


def load(path: Path | None, recipe: str | None) -> ImageDataset:
    """Load MNIST, or CIFAR-10 if the path has the ending of its files, or is a folder with CIFAR-10 and without MNIST.

    Without a path, load pieces of photographs for the recipe of colour images.
    """
    named = path or os.environ.get("MINIDL_DATA")
    if recipe == "color" and not named:
        return load_photographs()
    place = Path(named) if named else None
    if place and (place.suffix.lower() in {".npz", ".bin", ".tar", ".tgz"} or place.name.lower().endswith(".tar.gz")):
        return load_cifar10(place)
    try:
        return load_mnist(place, flatten=False)
    except MissingFileError:
        if place and place.is_dir() and any("batch" in each.name or "cifar" in each.name for each in place.iterdir()):
            return load_cifar10(place)
        raise


def main(arguments: list[str] | None = None) -> None:
    options = parse_arguments(arguments)
    data = load(options.data, options.recipe)
    x, y, evaluation = with_test_images(data, options.seed)
    if options.page and x.shape[3] != 1:
        raise ArgumentError("--page: drawings on a page are gray, and these are colour images; leave it out")
    print(f"{data.source}: {len(y):,} of {len(data.y_train):,} training images")
    name = options.recipe or ("color" if x.shape[3] == 3 else "fast")
    recipe = RECIPES[name].with_epochs(options.given.get("epochs"), len(y))
    network = recipe.network(x.shape[1:], number_of_classes(y, evaluation))
    settings = {"seed": options.seed} | options.given | {"recipe": name}
    train_each(
        [network],
        lambda _: follow(name, recipe, x, y, evaluation, options),
        as_given(settings, x, y),
        data.source,
        options,
    )


if __name__ == "__main__":
    run_program(main, interrupted="before the run began")
