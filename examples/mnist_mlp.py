"""Train fully connected networks on handwritten digits, as five published from-scratch recognisers did.

    python examples/mnist_mlp.py                              # both published recipes, one after the other
    python examples/mnist_mlp.py --network 784-256-10 --optimizer adam --epochs 10
    python examples/mnist_mlp.py --optimizer adamw --schedule one-cycle --normalization batch --dropout 0.2 --epochs 40
    python examples/mnist_mlp.py --recipe best                # all that is known to help, on all training images
    python examples/mnist_mlp.py --data train.csv             # the Digit Recognizer competition's file

Without --data, MNIST is found or downloaded, or, without a network, replaced by scikit-learn's digits. Each run
leaves model files, report.json and pictures in the folder --output. One that was stopped, by Ctrl-C or a power cut,
goes on with the same command and --resume, to the same result as if it had not been.
"""

from __future__ import annotations

import argparse
import json
import math
import shutil
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from mnist_recipes import RECIPES

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
from minidl.data import ImageDataset, load_mnist, train_validation_split
from minidl.errors import ArgumentError, DataError, MinidlError, counted
from minidl.initializers import get_initializer
from minidl.inputs import check_number, check_whole_number
from minidl.metrics import confusion_matrix
from minidl.optimizers.names import OPTIMIZERS, get_optimizer
from minidl.typing import Array

UNSET = object()
"""Stands for an option that was not given, where None already means a full batch."""

NORMALIZATIONS = {"none": list, "batch": lambda: [BatchNorm()], "layer": lambda: [LayerNorm()]}
SCHEDULES = {
    "constant": lambda rate, steps: rate,
    "step": lambda rate, steps: StepDecay(rate, max(steps // 3, 1), factor=0.1),
    "exponential": lambda rate, steps: ExponentialDecay(rate, steps, factor=0.01),
    "cosine": CosineDecay,
    "one-cycle": OneCycle,
    "warm-up": lambda rate, steps: Warmup(rate, max(steps // 10, 1)),
}


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


def build(network: str, options: argparse.Namespace) -> Sequential:
    """Make the model of a name such as 784-128-64-10: ReLU between the layers, softmax cross-entropy at the end."""
    inputs, *hidden, classes = map(int, network.split("-"))
    dense: dict[str, Any] = {
        "initializer": options.initializer,
        "regularizer": L1L2(options.l1, options.l2) if options.l1 or options.l2 else None,
        "constraint": MaxNorm(options.max_norm) if options.max_norm else None,
    }
    layers: list[Any] = [Rescale(1 / 255)]
    for units in hidden:
        layers += [Dense(units, **dense), *NORMALIZATIONS[options.normalization](), ReLU()]
        layers += [Dropout(options.dropout)] if options.dropout else []
    layers += [Dense(classes, **dense), SoftmaxCrossEntropy(options.label_smoothing)]
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
    batch = f"batches of {recipe.batch_size}" if recipe.batch_size else "full batch"
    print(f"\n{network}: {len(y_train):,} rows to train, {len(y_validation):,} to validate, {batch}, {optimizer!r}")
    callbacks = [EarlyStopping("val_accuracy", patience=options.early_stopping)] if options.early_stopping else []
    return run(
        network,
        lambda: Trainer(build(network, options), optimizer, batch_size=recipe.batch_size, seed=options.seed),
        recipe.epochs,
        (x_train, y_train),
        ("validation", x_validation, y_validation),
        callbacks,
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
    recipe = RECIPES[name] if options.epochs is UNSET else replace(RECIPES[name], epochs=options.epochs)
    check_whole_number(recipe.epochs, "epochs", 1)
    classes, (judged_by, x_judge, _) = number_of_classes(y, judge), judge
    network = recipe.network(classes)
    print(
        f"\n{name}, {network}: {len(y):,} rows to train, {len(x_judge):,} {judged_by} images at the end, "
        f"{counted(recipe.epochs, 'epoch')}, batches of {recipe.batch_size}"
    )
    entry = run(
        network, lambda: recipe.trainer(len(y), classes, options.seed), recipe.epochs, (x, y), judge, [], options
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
    callbacks: list[Callback],
    options: argparse.Namespace,
) -> dict[str, Any]:
    """Train one network, or go on; save its model and pictures; return its entry of report.json."""
    checkpoints = options.output / f"{network}_checkpoints"
    if list(checkpoints.glob("step_*.npz")):
        trainer = Trainer.load(checkpoints)
        print(f"resumed after {trainer.epoch} of {epochs} epochs, at step {trainer.step:,}")
    else:
        if options.resume:
            print("there is nothing to resume: it begins anew")
        trainer = new_trainer()

    judged_by, x, y = judge
    resumed_after, stopwatch = trainer.epoch, Stopwatch()
    history = trainer.fit(
        *training,
        epochs=max(epochs - trainer.epoch, 0),
        validation_data=(x, y) if judged_by == "validation" else None,
        callbacks=[Checkpoint(checkpoints, every_epochs=max(epochs // 20, 1)), stopwatch, *callbacks],
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
    lines = [
        f"{'network':<16}{'parameters':>11}{'seconds':>9}{'loss':>9}{'train accuracy':>16}{f'{judged_by} accuracy':>21}"
    ]
    for entry in report:
        history = entry["history"]
        lines.append(
            f"{entry['network']:<16}{entry['parameters']:>11,}{entry['seconds']:>9.1f}{figure(history['loss'][-1])}"
            f"{history['accuracy'][-1]:>16.2%}{entry[judged_by]['accuracy']:>21.2%}"
        )
    return "\n".join(lines)


def figure(loss: float) -> str:
    return f"{loss:>9.4f}" if loss < 1000 else f"{loss:>9.1e}"


def matrix(entry: dict[str, Any]) -> str:
    """Format a confusion matrix: rows are true digits, columns predicted ones."""
    counts = entry["confusion_matrix"]
    lines = [f"{entry['network']}: rows are true digits, columns predicted ones"]
    lines.append("    " + "".join(f"{digit:>6}" for digit in range(len(counts))))
    lines += [f"{digit:>4}" + "".join(f"{count or '.':>6}" for count in row) for digit, row in enumerate(counts)]
    return "\n".join(lines)


def network_name(text: str) -> str:
    sizes = text.split("-")
    if len(sizes) < 2 or not all(size.isdecimal() and int(size) > 0 for size in sizes):
        raise argparse.ArgumentTypeError(f"{text!r} is no network: give sizes joined by '-', such as 784-128-64-10")
    return "-".join(str(int(size)) for size in sizes)


def initializer_name(text: str) -> str:
    try:
        get_initializer(text)
    except MinidlError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
    return text


def rows(text: str) -> int:
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of rows, 1 or more")
    return int(text)


def seed(text: str) -> int:
    if not text.isdecimal() or int(text) >= 2**32:
        raise argparse.ArgumentTypeError(f"{text!r} is no seed, a whole number from 0 to {2**32 - 1}")
    return int(text)


def batch_size(text: str) -> int | None:
    return None if text == "full" else rows(text)


def number_in(low: float, below: float = math.inf) -> Callable[[str], float]:
    """Make a function that reads a number of this range."""

    def number(text: str) -> float:
        try:
            return check_number(float(text), "it", low, below)
        except ValueError as error:
            raise argparse.ArgumentTypeError(f"{text!r} is no number that fits here: {error}") from None

    return number


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


def parse_arguments(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="Recipes: 784-10-10 and 784-64-10 full batch, rate 0.1, 500 iterations, 1,000 rows held out; all "
        "others\nbatch 64, rate 0.01, 20 epochs, 20 % held out; optimizers other than sgd and momentum have rates of "
        "their own.\nOptions replace their parts.",
    )
    parser.add_argument(
        "--network",
        action="append",
        type=network_name,
        metavar="SIZES",
        help="sizes joined by '-'; repeatable (default: 784-10-10 and 784-128-64-10)",
    )
    parser.add_argument(
        "--recipe",
        choices=RECIPES,
        metavar="NAME",
        help="best (784-128-64-10 to 99 %%), fast (98 %% in the least time) or wide (larger, a quarter of an hour): on "
        "all training images, judged at the end by the test images; of all options only --data, --epochs, --seed, "
        "--output and --resume go with it",
    )
    parser.add_argument("--data", type=Path, metavar="PATH", help="a CSV file, or a folder with MNIST's four IDX files")
    parser.add_argument("--rows", type=rows, default=42_000, help="draw at most so many rows (default: 42000)")
    parser.add_argument(
        "--optimizer", choices=OPTIMIZERS, default="sgd", metavar="NAME", help=f"{', '.join(OPTIMIZERS)} (default: sgd)"
    )
    parser.add_argument(
        "--schedule",
        choices=SCHEDULES,
        default="constant",
        metavar="NAME",
        help=f"of the learning rate: {', '.join(SCHEDULES)} (default: constant)",
    )
    parser.add_argument("--learning-rate", type=float, default=UNSET, metavar="RATE", help="(default: the recipe's)")
    parser.add_argument("--batch-size", type=batch_size, default=UNSET, metavar="ROWS", help="rows per step, or 'full'")
    parser.add_argument(
        "--epochs", type=int, default=UNSET, help="passes over the data (a full batch makes one step in each)"
    )
    parser.add_argument(
        "--initializer",
        type=initializer_name,
        default="he_normal",
        metavar="NAME",
        help="of the weights: he_normal (default), uniform, 'uniform(-0.1, 0.1)', ...",
    )
    parser.add_argument(
        "--normalization", choices=NORMALIZATIONS, default="none", help="before each ReLU (default: none)"
    )
    share = number_in(0, 1)
    parser.add_argument("--dropout", type=share, default=0.0, metavar="RATE", help="after each ReLU (default: 0)")
    parser.add_argument("--label-smoothing", type=share, default=0.0, metavar="SHARE", help="(default: 0)")
    for name, what in (
        ("l1", "penalty of the weights' sizes"),
        ("l2", "penalty of their squares"),
        ("max-norm", "limit of the norm of each unit's weights, 0 for none"),
    ):
        parser.add_argument(f"--{name}", type=number_in(0), default=0.0, metavar="NUMBER", help=f"{what} (default: 0)")
    parser.add_argument(
        "--early-stopping",
        type=rows,
        metavar="EPOCHS",
        help="stop after so many epochs without a better validation accuracy, and keep the best model",
    )
    parser.add_argument("--seed", type=seed, default=0, help="of weights, split and order (default: 0)")
    parser.add_argument(
        "--validation",
        type=fraction_or_rows,
        default=UNSET,
        metavar="FRACTION|ROWS",
        help="held out: 0.2, or 1000 rows",
    )
    parser.add_argument(
        "--output", type=Path, default=Path("runs/mnist_mlp"), metavar="DIR", help="(default: %(default)s)"
    )
    parser.add_argument("--resume", action="store_true", help="go on with the run in --output that was stopped")
    options = parser.parse_args(arguments)
    if options.recipe:
        free = {"recipe", "data", "epochs", "seed", "output", "resume"}
        if fixed := [
            name for name, value in vars(options).items() if name not in free and value != parser.get_default(name)
        ]:
            names = ", ".join(f"--{name.replace('_', '-')}" for name in fixed)
            parser.error(f"{names}: not with --recipe {options.recipe}, which settles that itself")
    options.network = options.network or ["784-10-10", "784-128-64-10"]
    return options


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
            f"the network {network} does not fit the data: they have {x.shape[1]} pixels and labels 0 to {y.max()}"
        )


def recipe_for(network: str, options: argparse.Namespace) -> Recipe:
    recipe = PUBLISHED.get(network, MINI_BATCH)
    if options.optimizer not in {"sgd", "momentum"}:
        optimizer = get_optimizer(options.optimizer)
        recipe = replace(recipe, learning_rate=optimizer.learning_rate)
        if optimizer.full_batch:
            recipe = replace(recipe, batch_size=None)
    given = {name: getattr(options, name) for name in ("batch_size", "learning_rate", "epochs", "validation")}
    return replace(recipe, **{name: value for name, value in given.items() if value is not UNSET})


def note_settings(options: argparse.Namespace, x: Array, y: Array) -> None:
    """Write the options beside the run; refuse to resume a run that had others, or to begin one over a stopped one."""
    path = options.output / "settings.json"
    stopped = list(options.output.glob("*_checkpoints/step_*.npz"))
    if stopped and not options.resume:
        raise ArgumentError(
            f"{options.output} holds a run that was stopped: add --resume to go on with it, or give another --output, "
            f"or delete {stopped[0].parent}"
        )
    named = {name: None if value is UNSET else str(value) for name, value in vars(options).items() if name != "resume"}
    named["data"] = f"{named['data']}, {sha256(x.tobytes() + y.tobytes()).hexdigest()[:16]}"  # it may hold others now
    if stopped and path.exists():
        before = json.loads(path.read_text(encoding="utf-8"))
        if changed := [f"--{name.replace('_', '-')}" for name in named if before.get(name) != named[name]]:
            raise ArgumentError(
                f"the run in {options.output} had another {', '.join(changed)}: resume it with the options it had"
            )
    path.write_text(json.dumps(named, indent=1) + "\n", encoding="utf-8")


def pictures_possible() -> bool:
    try:
        import matplotlib
    except ImportError:
        print("no pictures: they need matplotlib, pip install 'minidl[plots]'", file=sys.stderr)
        return False
    matplotlib.use("Agg")
    return True


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
    options.output.mkdir(parents=True, exist_ok=True)
    note_settings(options, x, y)
    options.pictures = pictures_possible()

    report: list[dict[str, Any]] = []
    for network in networks:
        if options.recipe:
            entry = follow(options.recipe, x, y, judge, options)
        else:
            entry = train(network, recipe_for(network, options), x, y, options)
        report.append({"data": data.source} | entry)
        # Written after each network, so that an interruption of the next does not lose it.
        (options.output / "report.json").write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")

    for network in networks:  # all is done, and saved
        shutil.rmtree(options.output / f"{network}_checkpoints")
    for entry in report:
        print(f"\n{matrix(entry)}")
    print(f"\n{table(report)}")
    if report[0]["augment"]:
        print("loss and train accuracy are those of distorted images, which are harder")
    print(f"\nmodels, report.json{' and pictures' if options.pictures else ''}: {options.output}")


if __name__ == "__main__":
    try:
        main()
    except (MinidlError, OSError) as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        sys.exit("interrupted: the same command with --resume goes on")
