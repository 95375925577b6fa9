"""Train fully connected networks on handwritten digits, as five published from-scratch recognisers did.

    python examples/mnist_mlp.py                              # both published recipes, one after the other
    python examples/mnist_mlp.py --network 784-256-10 --optimizer adam --epochs 10
    python examples/mnist_mlp.py --optimizer adamw --schedule one-cycle --normalization batch --dropout 0.2 --epochs 40
    python examples/mnist_mlp.py --recipe best                # all that is known to help, on all training images
    python examples/mnist_mlp.py --data train.csv             # the Digit Recognizer competition's file
    python examples/mnist_mlp.py --data train.csv --predict test.csv --submission submission.csv   # and an entry for it

Without --data, MNIST is found or downloaded, or, without a network, replaced by scikit-learn's digits. Each run
leaves model files, report.json and pictures in the folder --output. One that was stopped, by Ctrl-C or a power cut,
goes on with the same command and --resume, to the same result as if it had not been (L-BFGS excepted).
"""

from __future__ import annotations

import argparse
import shlex
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from example_options import (
    Parser,
    network_name,
    not_negative,
    output_folder,
    pictures_possible,
    positive,
    resized,
    share,
    whole_number,
)
from mnist_recipes import RECIPES
from mnist_runs import RunFolder

from minidl import (
    L1L2,
    BatchNorm,
    Callback,
    Checkpoint,
    CosineDecay,
    Dense,
    Dropout,
    EarlyStopping,
    ExponentialDecay,
    History,
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
from minidl.data import ImageDataset, load_csv, load_mnist, train_validation_split
from minidl.errors import ArgumentError, DataError, MinidlError, counted
from minidl.files import atomic_write
from minidl.initializers import get_initializer
from minidl.metrics import confusion_matrix
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
"""Of the options; what else is not given is the recipe's."""


@dataclass
class Recipe:
    """How one network is trained."""

    batch_size: int | None
    learning_rate: float
    epochs: int
    validation: float | int


FULL_BATCH = Recipe(batch_size=None, learning_rate=0.1, epochs=500, validation=1000)
MINI_BATCH = Recipe(batch_size=64, learning_rate=0.01, epochs=20, validation=0.2)
PUBLISHED = {"784-10-10": FULL_BATCH, "784-64-10": FULL_BATCH, "784-128-64-10": MINI_BATCH}
"""As published, with plain gradient descent."""


def recipe_for(network: str, options: argparse.Namespace) -> Recipe:
    """Return the recipe of a network with the optimizer asked for, and with the options given in place of its parts."""
    optimizer = get_optimizer(options.optimizer)
    if options.optimizer == "sgd":
        recipe = PUBLISHED.get(network, MINI_BATCH)
    elif optimizer.full_batch:
        recipe = replace(MINI_BATCH, batch_size=None, epochs=100)
    else:  # of which a step for each epoch, as with a full batch, would make little
        recipe = replace(MINI_BATCH, learning_rate=optimizer.learning_rate)
    names = ("batch_size", "learning_rate", "epochs", "validation")
    return replace(recipe, **{name: options.given[name] for name in names if name in options.given})


def build(network: str, options: argparse.Namespace) -> Sequential:
    """Make the model of a name such as 784-128-64-10: ReLU between the layers, softmax cross-entropy at the end."""
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


def make_optimizer(recipe: Recipe, rows: int, options: argparse.Namespace) -> Optimizer:
    """Make the optimizer, with a schedule over all steps of the run."""
    optimizer = get_optimizer(options.optimizer)
    if not optimizer.full_batch:
        steps = recipe.epochs * -(-rows // (recipe.batch_size or rows))
        optimizer.learning_rate = SCHEDULES[options.schedule](recipe.learning_rate, steps)
    return optimizer


def train(network: str, recipe: Recipe, x: Array, y: Array, options: argparse.Namespace) -> dict[str, Any]:
    """Train one network by a published recipe, judged by rows that are held out."""
    cure = "give more rows, or hold out others by --validation, such as 0.2"
    x_train, x_validation, y_train, y_validation = split(x, y, recipe.validation, options.seed, cure)
    optimizer = make_optimizer(recipe, len(y_train), options)
    batch = f"batches of {recipe.batch_size}" if recipe.batch_size else "each a step with all rows"
    print(
        f"\n{network}: {len(y_train):,} rows to train, {len(y_validation):,} to validate, "
        f"{counted(recipe.epochs, 'epoch')}, {batch}, {optimizer!r}"
    )
    stopping = EarlyStopping("val_accuracy", patience=options.early_stopping) if options.early_stopping else None
    return run(
        network,
        lambda: Trainer(build(network, options), optimizer, batch_size=recipe.batch_size, seed=options.seed),
        recipe.epochs,
        (x_train, y_train),
        ("validation", x_validation, y_validation),
        stopping,
        options,
    ) | {"initializer": options.initializer}


def split(x: Array, y: Array, held_out: float | int, seed: int, cure: str) -> tuple[Array, Array, Array, Array]:
    """Hold rows out, every digit on both sides; say in words of this program where that cannot be."""
    try:
        return train_validation_split(x, y, held_out, seed=seed)
    except (ArgumentError, DataError) as error:
        share = f"{held_out:,}" if isinstance(held_out, int) else f"{held_out:.0%}"
        rarest = np.unique(y, return_counts=True)[1].min()
        raise ArgumentError(
            f"of {len(y):,} rows {share} cannot be held out with every digit on both sides, the rarest being in "
            f"{rarest:,} of them: {cure}"
        ) from error


def number_of_classes(y: Array, judge: tuple[str, Array, Array]) -> int:
    return int(max(y.max(), judge[2].max())) + 1


def follow(
    name: str, x: Array, y: Array, judge: tuple[str, Array, Array], options: argparse.Namespace
) -> dict[str, Any]:
    """Train by a recipe of mnist_recipes.py on all training images; those that judge it are looked at at the end."""
    recipe = replace(RECIPES[name], epochs=options.given.get("epochs", RECIPES[name].epochs))
    classes, (judged_by, x_judge, _) = number_of_classes(y, judge), judge
    network = recipe.network(classes)
    print(
        f"\n{name}, {network}: {len(y):,} rows to train, {len(x_judge):,} {judged_by} images at the end, "
        f"{counted(recipe.epochs, 'epoch')}, batches of {recipe.batch_size}"
    )
    entry = run(
        network, lambda: recipe.trainer(len(y), classes, options.seed), recipe.epochs, (x, y), judge, None, options
    )
    return entry | {"recipe": name, "settings": repr(recipe)}


class Stopwatch(Callback):
    """Seconds of training, also those before a stop, up to the last checkpoint, which keeps what callbacks know."""

    def on_train_begin(self, trainer: Trainer) -> None:
        self.start = time.perf_counter()

    def on_train_end(self, trainer: Trainer) -> None:
        self.seconds = time.perf_counter() - self.start

    def state(self) -> dict[str, Any]:
        return {"seconds": time.perf_counter() - self.start}

    def restore(self, state: dict[str, Any]) -> None:
        self.start -= state["seconds"]


def run(
    network: str,
    new_trainer: Callable[[], Trainer],
    epochs: int,
    training: tuple[Array, Array],
    judge: tuple[str, Array, Array],
    stopping: EarlyStopping | None,
    options: argparse.Namespace,
) -> dict[str, Any]:
    """Train one network, or go on; save its model and pictures; return its entry of report.json."""
    checkpoints = options.folder.checkpoints(network)
    if list(checkpoints.glob("step_*.npz")):
        trainer = Trainer.load(checkpoints)
        print(f"resumed after {trainer.epoch} of {epochs} epochs, at step {trainer.step:,}")
    else:
        trainer = new_trainer()

    judged_by, x, y = judge
    resumed_after, stopwatch = trainer.epoch, Stopwatch()
    history = trainer.fit(
        *training,
        epochs=max(epochs - trainer.epoch, 0),
        validation_data=(x, y) if judged_by == "validation" else None,
        callbacks=[
            Checkpoint(checkpoints, every_epochs=max(epochs // 20, 1)),
            stopwatch,
            *([stopping] if stopping else []),
        ],
    )

    model = trainer.model
    model.save(options.output / f"{network}.npz")
    if options.pictures:
        draw(network, options.output, model, history, x, y)
    return {
        "network": network,
        "train_rows": len(training[0]),
        f"{judged_by}_rows": len(y),
        "parameters": model.parameters.size,
        "model": repr(model),
        "optimizer": repr(trainer.optimizer),
        "augment": trainer.augment and repr(trainer.augment),
        "batch_size": trainer.batch_size,
        "seed": options.seed,
        "seconds": stopwatch.seconds,
        "resumed_after_epochs": resumed_after,
        "epochs": trainer.epoch,
        "stopped_early": trainer.epoch < epochs,
        "kept_epoch": stopping.best_epoch if stopping else trainer.epoch,
        "history": dict(history),
        "judged_by": judged_by,
        judged_by: trainer.evaluate(x, y),
        "confusion_matrix": confusion_matrix(y, model.predict(x), labels=range(model.output_shape[0])).tolist(),
    }


def draw(network: str, folder: Path, model: Sequential, history: History, x: Array, y: Array) -> None:
    """Save pictures of the learning curves, the confusion matrix, the worst mistakes and the first layer's weights."""
    import matplotlib.pyplot as plt

    from minidl import plots

    probabilities = model.predict_proba(x)

    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4), layout="constrained")
    plots.plot_history(history, "loss", ax=left)
    plots.plot_history(history, "accuracy", ax=right)
    figure.suptitle(network)
    figure.savefig(folder / f"{network}_curves.png")
    plots.plot_confusion_matrix(y, probabilities.argmax(axis=1)).figure.savefig(folder / f"{network}_confusion.png")
    plots.plot_mistakes(x, y, probabilities).figure.savefig(folder / f"{network}_mistakes.png")
    plots.plot_weights(model).figure.savefig(folder / f"{network}_weights.png")
    plt.close("all")


def draw_rows(x: Array, y: Array, most: int, seed: int) -> tuple[Array, Array]:
    """Draw at most `most` rows, so that MNIST's 60,000 become the 42,000 that the recipes were published with."""
    if len(y) <= most:
        return x, y
    chosen = np.random.default_rng(seed).choice(len(y), most, replace=False)
    return x[chosen], y[chosen]


def table(report: list[dict[str, Any]]) -> str:
    """Format the networks side by side."""
    judged_by = report[0]["judged_by"]
    width = max(len(entry["network"]) for entry in report)
    lines = [
        f"{'':<{width}}{'':>12}{'':>9}{'':>9}{'train':>10}{judged_by:>12}",
        f"{'network':<{width}}{'parameters':>12}{'seconds':>9}{'loss':>9}{'accuracy':>10}{'accuracy':>12}",
    ]
    for entry in report:
        loss, accuracy = (entry["history"][name][entry["kept_epoch"] - 1] for name in ("loss", "accuracy"))
        lines.append(
            f"{entry['network']:<{width}}{entry['parameters']:>12,}{entry['seconds']:>9.1f}{figure(loss)}"
            f"{accuracy:>10.2%}{entry[judged_by]['accuracy']:>12.2%}"
        )
    lines += [f"{entry['network']}: {text}" for entry in report if (text := which_epoch(entry))]
    return "\n".join(lines)


def which_epoch(entry: dict[str, Any]) -> str:
    """Say where the training ended, and of which epoch model and figures are, if not of the last that was asked for."""
    epochs, kept = entry["epochs"], entry["kept_epoch"]
    if kept == epochs:
        return f"ended after epoch {epochs}, as the loss fell no further" if entry["stopped_early"] else ""
    if entry["stopped_early"]:
        return f"stopped after epoch {epochs}; the model is that of epoch {kept}"
    return f"the model is that of epoch {kept} of {epochs}"


def figure(loss: float) -> str:
    return f"{loss:>9.4f}" if loss < 1000 else f"{loss:>9.1e}"


def matrix(entry: dict[str, Any]) -> str:
    """Format a confusion matrix: rows are true digits, columns predicted ones."""
    counts = entry["confusion_matrix"]
    lines = [f"{entry['network']}: rows are true digits, columns predicted ones"]
    lines.append("    " + "".join(f"{digit:>6}" for digit in range(len(counts))))
    lines += [f"{digit:>4}" + "".join(f"{count or '.':>6}" for count in row) for digit, row in enumerate(counts)]
    return "\n".join(lines)


def initializer_name(text: str) -> str:
    try:
        get_initializer(text)
    except MinidlError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
    return text


number_of_rows = whole_number(1, "number of rows")


def seed(text: str) -> int:
    if not text.isdecimal() or int(text) >= 2**32:
        raise argparse.ArgumentTypeError(f"{text!r} is no seed, a whole number from 0 to {2**32 - 1}")
    return int(text)


def batch_size(text: str) -> int | None:
    return None if text == "full" else number_of_rows(text)


def fraction_or_rows(text: str) -> float | int:
    try:
        number = int(text) if text.isdecimal() else float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is neither a fraction such as 0.2 nor a number of rows") from None
    if number == 0:
        raise argparse.ArgumentTypeError(f"{text!r} holds out no rows, by which networks are judged: give 0.2, say")
    if isinstance(number, float) and not 0 < number < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no fraction between 0 and 1, and no number of rows")
    return number


def new_csv(text: str) -> Path:
    path = Path(text)
    if path.suffix.lower() != ".csv" or path.is_dir() or not path.parent.is_dir():
        raise argparse.ArgumentTypeError(f"{text!r} is no .csv file in a folder that exists")
    return path


def parse_arguments(arguments: list[str] | None) -> argparse.Namespace:
    parser = Parser(
        description=__doc__,
        epilog="What is trained: with --optimizer sgd, the default, 784-10-10 and 784-64-10 take a full batch, rate\n"
        "0.1, 500 epochs of a step each, and 1,000 rows are held out; all other networks batches of 64, rate 0.01, 20\n"
        "epochs, and 20 % are held out. Other optimizers train every network in batches of 64 for 20 epochs, at rates\n"
        "of their own, and 20 % are held out; but lbfgs takes a full batch, and 100 epochs at most. Options replace\n"
        "these parts.",
        argument_default=argparse.SUPPRESS,  # so that it is known which were given
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
        help="best (784-128-64-10 to 99 %%), fast (98 %% in the least time) or wide (larger, a quarter of an hour): on "
        "all training images, judged at the end by the test images; of all options only --data, --epochs, --seed, "
        "--output and --resume go with it",
    )
    add("--data", type=Path, metavar="PATH", help="a CSV file, or a folder with MNIST's four IDX files")
    add("--rows", type=number_of_rows, help=f"draw at most so many rows (default: {DEFAULTS['rows']})")
    add("--optimizer", choices=OPTIMIZERS, metavar="NAME", help=f"{', '.join(OPTIMIZERS)} (default: sgd)")
    add(
        "--schedule",
        choices=SCHEDULES,
        metavar="NAME",
        help=f"of the learning rate: {', '.join(SCHEDULES)} (default: constant)",
    )
    add("--learning-rate", type=positive, metavar="RATE", help="(default: see below)")
    add("--batch-size", type=batch_size, metavar="ROWS", help="rows per step, or 'full' (default: see below)")
    add(
        "--epochs",
        type=whole_number(1, "number of epochs"),
        help="passes over the data; a full batch makes one step in each (default: see below)",
    )
    add(
        "--initializer",
        type=initializer_name,
        metavar="NAME",
        help="of the weights: he_normal (default), uniform, ...",
    )
    add("--normalization", choices=NORMALIZATIONS, help="before each ReLU (default: none)")
    add("--dropout", type=share, metavar="RATE", help="after each ReLU (default: 0)")
    add("--label-smoothing", type=share, metavar="SHARE", help="(default: 0)")
    for name, what in (
        ("l1", "penalty of the weights' sizes"),
        ("l2", "penalty of their squares"),
        ("max-norm", "limit of the norm of each unit's weights, 0 for none"),
    ):
        add(f"--{name}", type=not_negative, metavar="NUMBER", help=f"{what} (default: 0)")
    add(
        "--early-stopping",
        type=whole_number(1, "number of epochs"),
        metavar="EPOCHS",
        help="stop after so many epochs without a better validation accuracy, and keep the best epoch's model",
    )
    add("--seed", type=seed, help="of weights, split and order (default: 0)")
    add(
        "--validation",
        type=fraction_or_rows,
        metavar="FRACTION|ROWS",
        help="held out: 0.2, or 1000 rows (default: see below)",
    )
    add("--output", type=output_folder, metavar="DIR", help=f"(default: {DEFAULTS['output']})")
    add(
        "--resume",
        action="store_true",
        default=False,
        help="go on with the run in --output that was stopped; with a constant rate also to other --epochs",
    )
    add(
        "--predict",
        type=Path,
        metavar="CSV",
        help="images without labels, such as the Digit Recognizer's test.csv, for the best network to predict",
    )
    add(
        "--submission",
        type=new_csv,
        metavar="CSV",
        help=f"where the predictions go, as the competition takes them (default: {DEFAULTS['submission']})",
    )
    given = vars(parser.parse_args(arguments))
    options = argparse.Namespace(**{**DEFAULTS, **given}, given=given)
    options.network = list(dict.fromkeys(options.network))
    if message := conflict(options):
        parser.error(message)
    return options


def conflict(options: argparse.Namespace) -> str:
    """Say which options do not go together, and what to do, that none is ignored; else nothing."""
    given = options.given
    if "submission" in given and options.predict is None:
        return "--submission: give the images to predict as well, such as --predict test.csv"
    if options.recipe:
        free = {"recipe", "data", "epochs", "seed", "output", "resume", "predict", "submission"}
        fixed = [f"--{name.replace('_', '-')}" for name in given if name not in free]
        return f"{', '.join(fixed)}: not with --recipe {options.recipe}, which settles that itself" if fixed else ""
    reasons: list[tuple[str, str]] = []
    if get_optimizer(options.optimizer).full_batch:
        reasons += [
            ("learning_rate", f"{options.optimizer} finds the length of its steps itself: leave it out"),
            ("schedule", f"{options.optimizer} has no learning rate: leave it out"),
            ("batch_size", f"{options.optimizer} takes all rows in each step: leave it out, or give --batch-size full"),
            ("dropout", f"{options.optimizer} needs the same loss each time that it looks: leave it out"),
            ("max_norm", f"{options.optimizer} cannot hold weights to a limit: leave it out, or take --l2"),
        ]
    if all(network.count("-") == 1 for network in options.network):
        nowhere = f"{options.network[0]} has no hidden layer: leave it out, or give a --network with one"
        reasons += [("dropout", nowhere), ("normalization", nowhere)]
    for name, reason in reasons:
        if given.get(name) not in {None, DEFAULTS.get(name)}:
            return f"--{name.replace('_', '-')} {given[name]}: {reason}"
    return ""


def with_judge(data: ImageDataset, seed: int) -> tuple[Array, Array, tuple[str, Array, Array]]:
    """Return training images and test images; where there are none of these, a seventh, as in MNIST, is held out."""
    if len(data.y_test):
        return data.x_train, data.y_train, ("test", data.x_test, data.y_test)
    x, x_test, y, y_test = split(data.x_train, data.y_train, 1 / 7, seed, "give more rows, or test images")
    print(f"the data have no test images: {len(y_test):,} of {len(data.y_train):,} rows are held out instead")
    return x, y, ("held-out", x_test, y_test)


def check_sizes(network: str, x: Array, y: Array) -> None:
    """Refuse a network that does not fit the data, before any is trained."""
    inputs, *_, classes = map(int, network.split("-"))
    if inputs != x.shape[1] or classes <= y.max():
        raise ArgumentError(
            f"the network {network} does not fit the data: they have {x.shape[1]} pixels and labels 0 to {y.max()}; "
            f"give {resized(network, x.shape[1], int(y.max()) + 1)}"
        )


def as_given(options: argparse.Namespace, x: Array, y: Array) -> dict[str, str]:
    """Return all that a run depends on as text: by name each option as one would give it, and the data's sum."""

    def text(name: str, value: Any) -> str:
        option = f"--{name.replace('_', '-')}"
        if isinstance(value, list):
            return " ".join(f"{option} {each}" for each in value)
        return f"{option} {'full' if value is None else shlex.quote(str(value))}"  # of a batch size

    settings = {name: value for name, value in DEFAULTS.items() if value is not None} | options.given
    settings["network"] = options.network
    elsewhere = {"data", "output", "resume", "predict", "submission"}
    texts = {name: text(name, value) for name, value in settings.items() if name not in elsewhere}
    return texts | {"data": f"other --data, {sha256(x.tobytes() + y.tobytes()).hexdigest()[:16]}"}


def load_unlabelled(path: Path, pixels: int) -> Array:
    """Read the images to predict; say which file it should have been where it is another."""
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
    """Write what the best network predicts: a line for each image, numbered from 1."""
    best = max(report, key=lambda entry: entry[entry["judged_by"]]["accuracy"])
    labels = Sequential.load(options.output / f"{best['network']}.npz").predict(images)
    lines = ["ImageId,Label", *(f"{number},{label}" for number, label in enumerate(labels.tolist(), start=1))]
    with atomic_write(options.submission) as file:
        file.write(("\n".join(lines) + "\n").encode())
    print(f"{len(labels):,} predictions of {best['network']}: {options.submission}")


def main(arguments: list[str] | None = None) -> None:
    options = parse_arguments(arguments)
    data = load_mnist(options.data)
    if options.recipe:
        x, y, judge = with_judge(data, options.seed)
        networks = [RECIPES[options.recipe].network(number_of_classes(y, judge))]
    else:
        networks = options.network
        x, y = draw_rows(data.x_train, data.y_train, options.rows, options.seed)
    print(f"{data.source}: {len(y):,} of {len(data.y_train):,} training images")
    for network in networks:
        check_sizes(network, x, y)
    unlabelled = load_unlabelled(options.predict, x.shape[1]) if options.predict else None
    options.folder = folder = RunFolder(options.output)
    may_be_longer = not options.recipe and options.schedule == "constant"
    report = folder.begin(
        networks,
        as_given(options, x, y),
        epochs=options.given.get("epochs") if may_be_longer else None,
        resume=options.resume,
    )
    if not folder.left:
        print(f"the run in {folder.path} is complete: nothing is left to train (without --resume it begins anew)")
    options.pictures = bool(folder.left) and pictures_possible()
    try:
        for network in list(folder.left):
            if options.recipe:
                entry = follow(options.recipe, x, y, judge, options)
            else:
                entry = train(network, recipe_for(network, options), x, y, options)
            report.append({"data": data.source} | entry)
            folder.finish(network, report)  # now, so that an interruption of the next does not lose it
        for entry in report:
            print(f"\n{matrix(entry)}")
        print(f"\n{table(report)}")
        if report[0]["augment"]:
            print("loss and train accuracy are those of distorted images, which are harder")
        print(f"\nmodels{', pictures' if options.pictures else ''} and report.json: {options.output}")
        if unlabelled is not None:
            submit(report, unlabelled, options)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(folder.after_interruption()) from None


if __name__ == "__main__":
    try:
        main()
    except (MinidlError, OSError) as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt as interruption:
        sys.exit(f"interrupted: {str(interruption) or 'before the run began'}")
