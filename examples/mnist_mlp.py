"""Train fully connected networks on handwritten digits, as five published from-scratch recognizers did.

    python examples/mnist_mlp.py                              # both published recipes, one after the other
    python examples/mnist_mlp.py --network 784-256-10 --optimizer adam --epochs 10
    python examples/mnist_mlp.py --optimizer adamw --schedule one-cycle --normalization batch --dropout 0.2 --epochs 40
    python examples/mnist_mlp.py --recipe fast --page         # also a page for the browser, on which you draw digits
    python examples/mnist_mlp.py --recipe best                # everything that helps, on all training images
    python examples/mnist_mlp.py --data train.csv             # the Digit Recognizer competition's file
    python examples/mnist_mlp.py --data train.csv --predict test.csv --submission submission.csv   # and an entry for it

Without --data, the program finds or downloads MNIST; offline it uses scikit-learn's digits. Each run writes model
files, report.json and pictures to the folder --output. If a run was stopped, by Ctrl-C or a power cut, the same command
with --resume continues it, to the same result (except with L-BFGS).
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from example_options import (
    Parser,
    add_run_options,
    network_name,
    not_negative,
    positive,
    resized,
    run_program,
    share,
    whole_number,
)
from mnist_recipes import RECIPES
from mnist_training import as_given, follow, number_of_classes, run, split, train_each, with_test_images

from minidl import (
    L1L2,
    BatchNorm,
    CosineDecay,
    Dense,
    Dropout,
    EarlyStopping,
    ExponentialDecay,
    LayerNorm,
    MaxNorm,
    OneCycle,
    Optimizer,
    ReLU,
    Rescale,
    Sequential,
    SoftmaxCrossEntropy,
    StepDecay,
    Trainer,
    Warmup,
)
from minidl.data import load_csv, load_mnist
from minidl.errors import ArgumentError, MinidlError, counted
from minidl.files import atomic_write
from minidl.initializers import get_initializer
from minidl.optimizers import OPTIMIZERS, get_optimizer
from minidl.typing import Array

NORMALIZATIONS = {"none": list, "batch": lambda: [BatchNorm()], "layer": lambda: [LayerNorm()]}
SCHEDULES = {
    "constant": lambda rate, steps: rate,
    "step": lambda rate, steps: StepDecay(rate, every=max(steps // 3, 1), factor=0.1),
    "exponential": lambda rate, steps: ExponentialDecay(rate, steps, factor=0.01),
    "cosine": CosineDecay,
    "one-cycle": lambda rate, steps: OneCycle(rate, steps=max(steps, 2)),
    "warm-up": lambda rate, steps: Warmup(rate, steps=max(steps // 10, 1)),
}
DEFAULTS: dict[str, Any] = {
    "network": ["784-10-10", "784-128-64-10"],
    "recipe": None,
    "data": None,
    "rows": 42_000,
    "optimizer": "sgd",
    "schedule": "constant",
    "initializer": "he_normal",
    "normalization": "none",
    "dropout": 0.0,
    "label_smoothing": 0.0,
    "l1": 0.0,
    "l2": 0.0,
    "max_norm": 0.0,
    "early_stopping": None,
    "seed": 0,
    "output": Path("runs/mnist_mlp"),
    "predict": None,
    "submission": Path("submission.csv"),
}
"""Defaults of the options. All other options have the defaults of the recipe."""


@dataclass
class PublishedRecipe:
    """The settings of the training of one network."""

    batch_size: int | None
    learning_rate: float
    epochs: int
    validation: float | int


FULL_BATCH = PublishedRecipe(batch_size=None, learning_rate=0.1, epochs=500, validation=1000)
MINI_BATCH = PublishedRecipe(batch_size=64, learning_rate=0.01, epochs=20, validation=0.2)
PUBLISHED = {"784-10-10": FULL_BATCH, "784-64-10": FULL_BATCH, "784-128-64-10": MINI_BATCH}
"""As published, with plain gradient descent."""


def recipe_for(network: str, options: argparse.Namespace) -> PublishedRecipe:
    """Return the recipe of a network with the chosen optimizer; given options replace its parts."""
    optimizer = get_optimizer(options.optimizer)
    if options.optimizer == "sgd":
        recipe = PUBLISHED.get(network, MINI_BATCH)
    elif optimizer.full_batch:
        recipe = replace(MINI_BATCH, batch_size=None, epochs=100)
    else:  # with a full batch, so one step per epoch, these optimizers would learn little
        recipe = replace(MINI_BATCH, learning_rate=optimizer.learning_rate)
    names = ("batch_size", "learning_rate", "epochs", "validation")
    return replace(recipe, **{name: options.given[name] for name in names if name in options.given})


def build(network: str, options: argparse.Namespace) -> Sequential:
    """Make the model for a name such as 784-128-64-10: ReLU between the layers, softmax cross-entropy at the end."""
    inputs, *hidden, classes = map(int, network.split("-"))
    dense: dict[str, Any] = {
        "initializer": options.initializer,
        "regularizer": L1L2(l1=options.l1, l2=options.l2) if options.l1 or options.l2 else None,
        "constraint": MaxNorm(options.max_norm) if options.max_norm else None,
    }
    layers: list[Any] = [Rescale(1 / 255)]
    for units in hidden:
        layers += [Dense(units, **dense), *NORMALIZATIONS[options.normalization](), ReLU()]
        layers += [Dropout(options.dropout)] if options.dropout else []
    layers += [Dense(classes, **dense), SoftmaxCrossEntropy(label_smoothing=options.label_smoothing)]
    return Sequential(layers, input_shape=inputs, seed=options.seed)


def make_optimizer(recipe: PublishedRecipe, rows: int, options: argparse.Namespace) -> Optimizer:
    """Make the optimizer, with a schedule over all steps of the run."""
    optimizer = get_optimizer(options.optimizer)
    if not optimizer.full_batch:
        steps = recipe.epochs * -(-rows // (recipe.batch_size or rows))
        optimizer.learning_rate = SCHEDULES[options.schedule](recipe.learning_rate, steps)
    return optimizer


def train(network: str, recipe: PublishedRecipe, x: Array, y: Array, options: argparse.Namespace) -> dict[str, Any]:
    """Train one network by a published recipe, and evaluate it on held-out rows."""
    cure = "give more rows, or hold out another share with --validation, such as 0.2"
    x_train, x_validation, y_train, y_validation = split(x, y, recipe.validation, options.seed, cure)
    optimizer = make_optimizer(recipe, len(y_train), options)
    batch = f"batches of {recipe.batch_size}" if recipe.batch_size else "each one step with all rows"
    print(
        f"\n{network}: {len(y_train):,} rows to train, {len(y_validation):,} to validate, "
        f"{counted(recipe.epochs, 'epoch')}, {batch}, {optimizer!r}"
    )
    stopping = EarlyStopping("val_accuracy", patience=options.early_stopping) if options.early_stopping else None
    return run(
        network,
        lambda: Trainer(build(network, options), optimizer, batch_size=recipe.batch_size, seed=options.seed),
        lambda trainer, **others: trainer.fit(x_train, y_train, epochs=max(recipe.epochs - trainer.epoch, 0), **others),
        recipe.epochs,
        ("validation", x_validation, y_validation),
        stopping,
        options,
    ) | {"initializer": options.initializer}


def draw_rows(x: Array, y: Array, most: int, seed: int) -> tuple[Array, Array]:
    """Draw at most `most` rows: the recipes were published with 42,000 rows, and MNIST has 60,000."""
    if len(y) <= most:
        return x, y
    chosen = np.random.default_rng(seed).choice(len(y), most, replace=False)
    return x[chosen], y[chosen]


def initializer_name(text: str) -> str:
    try:
        get_initializer(text)
    except MinidlError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
    return text


number_of_rows = whole_number(1, "number of rows")


def batch_size(text: str) -> int | None:
    return None if text == "full" else number_of_rows(text)


def fraction_or_rows(text: str) -> float | int:
    try:
        number = int(text) if text.isdecimal() else float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a fraction such as 0.2, or a number of rows") from None
    if number == 0:
        raise argparse.ArgumentTypeError(f"{text!r} holds out no rows to evaluate networks on: give for example 0.2")
    if isinstance(number, float) and not 0 < number < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is neither a fraction between 0 and 1 nor a number of rows")
    return number


def new_csv(text: str) -> Path:
    path = Path(text)
    if path.suffix.lower() != ".csv" or path.is_dir() or not path.parent.is_dir():
        raise argparse.ArgumentTypeError(f"{text!r} is not a .csv file in an existing folder")
    return path


def parse_arguments(arguments: list[str] | None) -> argparse.Namespace:
    parser = Parser(
        description=__doc__,
        epilog="Defaults: with --optimizer sgd, the default, 784-10-10 and 784-64-10 train with a full batch, rate\n"
        "0.1, 500 epochs of one step each, and 1,000 held-out rows; all other networks with batches of 64, rate 0.01,\n"
        "20 epochs, and 20 % held-out rows. Other optimizers train every network in batches of 64 for 20 epochs, at\n"
        "their own rates, with 20 % held-out rows; but lbfgs takes a full batch, and at most 100 epochs. Options\n"
        "replace these defaults.",
        argument_default=argparse.SUPPRESS,  # to know which options were given
    )
    add = parser.add_argument
    add(
        "--network",
        action="append",
        type=network_name("784-128-64-10"),
        metavar="SIZES",
        help="sizes joined by '-'; repeatable (default: 784-10-10 and 784-128-64-10)",
    )
    add(
        "--recipe",
        choices=RECIPES,
        metavar="NAME",
        help="best (784-128-64-10 to 99.3 %%), fast (98.7 %% in some seconds) or wide (larger, ten minutes): "
        "trains on all training images, and evaluates on the test images at the end; works only with --data, --epochs, "
        "--seed, --output, --resume, --page, --predict and --submission",
    )
    add("--data", type=Path, metavar="PATH", help="a CSV file, or a folder with MNIST's four IDX files")
    add("--rows", type=number_of_rows, help=f"draw at most this number of rows (default: {DEFAULTS['rows']})")
    add("--optimizer", choices=OPTIMIZERS, metavar="NAME", help=f"{', '.join(OPTIMIZERS)} (default: sgd)")
    add(
        "--schedule",
        choices=SCHEDULES,
        metavar="NAME",
        help=f"schedule of the learning rate: {', '.join(SCHEDULES)} (default: constant)",
    )
    add("--learning-rate", type=positive, metavar="RATE", help="(default: see below)")
    add("--batch-size", type=batch_size, metavar="ROWS", help="rows per step, or 'full' (default: see below)")
    add(
        "--epochs",
        type=whole_number(1, "number of epochs"),
        help="passes over the data; with a full batch, one step each (default: see below)",
    )
    add(
        "--initializer",
        type=initializer_name,
        metavar="NAME",
        help="initializer of the weights: he_normal (default), uniform, ...",
    )
    add("--normalization", choices=NORMALIZATIONS, help="before each ReLU (default: none)")
    add("--dropout", type=share, metavar="RATE", help="after each ReLU (default: 0)")
    add("--label-smoothing", type=share, metavar="SHARE", help="(default: 0)")
    for name, what in (
        ("l1", "penalty on the weights' absolute values"),
        ("l2", "penalty on their squares"),
        ("max-norm", "limit of the norm of each unit's weights, 0 for none"),
    ):
        add(f"--{name}", type=not_negative, metavar="NUMBER", help=f"{what} (default: 0)")
    add(
        "--early-stopping",
        type=whole_number(1, "number of epochs"),
        metavar="EPOCHS",
        help="stop after this number of epochs without a better validation accuracy, and keep the best epoch's model",
    )
    add(
        "--validation",
        type=fraction_or_rows,
        metavar="FRACTION|ROWS",
        help="held out: 0.2, or 1000 rows (default: see below)",
    )
    add_run_options(
        parser,
        DEFAULTS["output"],
        "continue the stopped run in --output; with a constant rate you may change --epochs",
    )
    add(
        "--predict",
        type=Path,
        metavar="CSV",
        help="images without labels, such as the Digit Recognizer's test.csv: the best network predicts them",
    )
    add(
        "--submission",
        type=new_csv,
        metavar="CSV",
        help=f"file for the predictions, in the competition's format (default: {DEFAULTS['submission']})",
    )
    given = vars(parser.parse_args(arguments))
    options = argparse.Namespace(**{**DEFAULTS, **given}, given=given)
    options.network = list(dict.fromkeys(options.network))
    if message := conflict(options):
        parser.error(message)
    return options


def conflict(options: argparse.Namespace) -> str:
    """Return which options conflict, and the fix, or "": so no option is silently ignored."""
    given = options.given
    if "submission" in given and options.predict is None:
        return "--submission: give the images to predict as well, such as --predict test.csv"
    if options.recipe:
        free = {"recipe", "data", "epochs", "seed", "output", "resume", "page", "predict", "submission"}
        fixed = [f"--{name.replace('_', '-')}" for name in given if name not in free]
        return f"{', '.join(fixed)}: leave out with --recipe {options.recipe}, which sets this itself" if fixed else ""
    reasons: list[tuple[str, str]] = []
    if get_optimizer(options.optimizer).full_batch:
        reasons += [
            ("learning_rate", f"{options.optimizer} chooses the length of its steps itself: leave it out"),
            ("schedule", f"{options.optimizer} has no learning rate: leave it out"),
            ("batch_size", f"{options.optimizer} takes all rows in each step: leave it out, or give --batch-size full"),
            ("dropout", f"{options.optimizer} needs the same loss at each evaluation: leave it out"),
            ("max_norm", f"{options.optimizer} cannot limit weights: leave it out, or use --l2"),
        ]
    if all(network.count("-") == 1 for network in options.network):
        nowhere = f"{options.network[0]} has no hidden layer: remove the option, or give a --network with one"
        reasons += [("dropout", nowhere), ("normalization", nowhere)]
    for name, reason in reasons:
        if given.get(name) not in {None, DEFAULTS.get(name)}:
            return f"--{name.replace('_', '-')} {given[name]}: {reason}"
    return ""


def check_sizes(network: str, x: Array, y: Array) -> None:
    """Raise ArgumentError for a network that does not fit the data, before any training."""
    inputs, *_, classes = map(int, network.split("-"))
    if inputs != x.shape[1] or classes <= y.max():
        raise ArgumentError(
            f"the network {network} does not fit the data: they have {x.shape[1]} pixels and labels 0 to {y.max()}; "
            f"give {resized(network, x.shape[1], int(y.max()) + 1)}"
        )


def load_unlabelled(path: Path, pixels: int) -> Array:
    """Read the images to predict; if it is the wrong file, say which one to give."""
    images, _ = load_csv(path, label=None)
    if images.shape[1] == pixels + 1:
        cure = "give the file without labels, test.csv"
        raise ArgumentError(f"--predict {path}: it has {pixels + 1} columns, one more than there are pixels; {cure}")
    if images.shape[1] != pixels:
        raise ArgumentError(
            f"--predict {path}: it has {images.shape[1]} columns, and the networks take {pixels} pixels"
        )
    return images


def submit(report: list[dict[str, Any]], images: Array, options: argparse.Namespace) -> None:
    """Write the predictions of the best network: a line for each image, numbered from 1."""
    best = max(report, key=lambda entry: entry[entry["evaluated_on"]]["accuracy"])
    model = Sequential.load(options.output / f"{best['network']}.npz")
    predictor = RECIPES[options.recipe].predictor(model) if options.recipe else model
    labels = predictor.predict(images)
    lines = ["ImageId,Label", *(f"{number},{label}" for number, label in enumerate(labels.tolist(), start=1))]
    with atomic_write(options.submission) as file:
        file.write(("\n".join(lines) + "\n").encode())
    print(f"{len(labels):,} predictions of {best['network']}: {options.submission}")


def main(arguments: list[str] | None = None) -> None:
    options = parse_arguments(arguments)
    data = load_mnist(options.data)
    if options.recipe:
        x, y, evaluation = with_test_images(data, options.seed)
        recipe = RECIPES[options.recipe].with_epochs(options.given.get("epochs"), len(y))
        networks = [recipe.network(x.shape[1:], number_of_classes(y, evaluation))]
    else:
        networks = options.network
        x, y = draw_rows(data.x_train, data.y_train, options.rows, options.seed)
    print(f"{data.source}: {len(y):,} of {len(data.y_train):,} training images")
    for network in networks:
        check_sizes(network, x, y)
    unlabelled = load_unlabelled(options.predict, x.shape[1]) if options.predict else None
    settings = {name: value for name, value in DEFAULTS.items() if value is not None} | options.given
    may_be_longer = not options.recipe and options.schedule == "constant"

    def train_one(network: str) -> dict[str, Any]:
        if options.recipe:
            return follow(options.recipe, recipe, x, y, evaluation, options)
        return train(network, recipe_for(network, options), x, y, options)

    train_each(
        networks,
        train_one,
        as_given(settings | {"network": options.network}, x, y),
        data.source,
        options,
        epochs=options.given.get("epochs") if may_be_longer else None,
        afterwards=None if unlabelled is None else lambda report: submit(report, unlabelled, options),
    )


if __name__ == "__main__":
    run_program(main, interrupted="before the run began")
