"""Training networks on images: the examples train, show the results, and save them in a folder."""

from __future__ import annotations

import argparse
import shlex
import time
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from example_options import pictures_possible
from mnist_runs import RunFolder
from recipe import Recipe

from minidl import Callback, Checkpoint, EarlyStopping, History, Sequential, Trainer, page
from minidl.compiled import is_on
from minidl.data import ImageDataset, train_validation_split
from minidl.errors import ArgumentError, DataError, counted
from minidl.losses import Loss
from minidl.metrics import accuracy, confusion_matrix
from minidl.prediction import Predictor
from minidl.typing import Array


def split(x: Array, y: Array, held_out: float | int, seed: int, cure: str) -> tuple[Array, Array, Array, Array]:
    """Hold rows out, with every digit on both sides; if this is not possible, say so in terms of this program."""
    try:
        return train_validation_split(x, y, held_out, seed=seed)
    except (ArgumentError, DataError) as error:
        share = f"{held_out:,}" if isinstance(held_out, int) else f"{held_out:.0%}"
        rarest = np.unique(y, return_counts=True)[1].min()
        raise ArgumentError(
            f"cannot hold out {share} of {len(y):,} rows with every digit on both sides, as the rarest is in "
            f"{rarest:,} of them: {cure}"
        ) from error


def number_of_classes(y: Array, evaluation: tuple[str, Array, Array]) -> int:
    return int(max(y.max(), evaluation[2].max())) + 1


def with_test_images(data: ImageDataset, seed: int) -> tuple[Array, Array, tuple[str, Array, Array]]:
    """Return training images and test images; without test images hold out a seventh, as in MNIST."""
    if len(data.y_test):
        return data.x_train, data.y_train, ("test", data.x_test, data.y_test)
    x, x_test, y, y_test = split(data.x_train, data.y_train, 1 / 7, seed, "give more rows, or test images")
    print(f"the data have no test images: {len(y_test):,} of {len(data.y_train):,} rows are held out instead")
    return x, y, ("held-out", x_test, y_test)


def follow(
    name: str, recipe: Recipe, x: Array, y: Array, evaluation: tuple[str, Array, Array], options: argparse.Namespace
) -> dict[str, Any]:
    """Train by a recipe on all training images, and evaluate on the images of `evaluation` at the end."""
    classes, (evaluated_on, x_test, _) = number_of_classes(y, evaluation), evaluation
    image_shape = x.shape[1:]
    network = recipe.network(image_shape, classes)
    print(
        f"\n{name}, {network}: {len(y):,} rows to train, {len(x_test):,} {evaluated_on} images at the end, "
        f"{counted(recipe.epochs, 'epoch')}, batches of {recipe.batch_size}"
    )
    entry = run(
        network,
        lambda: recipe.trainer(image_shape, len(y), classes, options.seed),
        lambda trainer, **others: recipe.fit(trainer, x, y, **others),
        recipe.epochs,
        evaluation,
        None,
        options,
        recipe.predictor,
    )
    distort = repr(recipe.distort(image_shape)) if recipe.distortions else None
    return entry | {"recipe": name, "settings": repr(recipe), "augment": distort}


class Stopwatch(Callback):
    """Measures the seconds since it was made. A checkpoint keeps them, so a resumed run counts the time before, too."""

    def __post_init__(self) -> None:
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
    fit: Callable[..., History],
    epochs: int,
    evaluation: tuple[str, Array, Array],
    stopping: EarlyStopping | None,
    options: argparse.Namespace,
    predictor_of: Callable[[Sequential], Sequential | Predictor] = lambda model: model,
) -> dict[str, Any]:
    """Train one network, or continue its training; save its model and pictures; return its entry of report.json.

    `fit` takes the trainer and options of its method `fit`, and trains for the epochs that are left. `predictor_of`
    returns what predicts with the trained model.
    """
    checkpoints = options.folder.checkpoints(network)
    if list(checkpoints.glob("step_*.npz")):
        trainer = Trainer.load(checkpoints)
        print(f"resumed after {trainer.epoch} of {epochs} epochs, at step {trainer.step:,}")
    else:
        trainer = new_trainer()

    evaluated_on, x, y = evaluation
    resumed_after, stopwatch = trainer.epoch, Stopwatch()
    history = fit(
        trainer,
        validation_data=(x, y) if evaluated_on == "validation" else None,
        callbacks=[
            Checkpoint(checkpoints, every_epochs=max(epochs // 20, 1)),
            stopwatch,
            *([stopping] if stopping else []),
        ],
    )

    model = trainer.model
    model.save(options.output / f"{network}.npz")
    predictor = predictor_of(model)
    scores = predictor.predict_scores(x)
    probabilities, predicted = model.loss.activate(scores), model.loss.decide(scores)
    if options.pictures:
        draw(network, options.output, model, history, probabilities, x, y)
    return {
        "network": network,
        "train_rows": trainer.position.rows,
        f"{evaluated_on}_rows": len(y),
        "parameters": model.parameters.size,
        "model": repr(model),
        "optimizer": repr(trainer.optimizer),
        "augment": trainer.augment and repr(trainer.augment),
        "batch_size": trainer.batch_size,
        "seed": options.seed,
        "seconds": stopwatch.seconds,
        "compiled": is_on(),
        "resumed_after_epochs": resumed_after,
        "epochs": trainer.epoch,
        "stopped_early": trainer.epoch < epochs,
        "kept_epoch": stopping.best_epoch if stopping else trainer.epoch,
        "history": dict(history),
        "evaluated_on": evaluated_on,
        evaluated_on: trainer.evaluate(x, y),
        "confusion_matrix": confusion_matrix(y, predicted, labels=range(model.output_shape[0])).tolist(),
    } | ({} if predictor is model else {"averaged": score(model.loss, scores, y)})


def score(loss: Loss, scores: Array, y: Array) -> dict[str, float]:
    """Return loss and accuracy."""
    return {"loss": loss(scores, y)[0], "accuracy": float(accuracy(y, loss.decide(scores)))}


def draw(
    network: str, folder: Path, model: Sequential, history: History, probabilities: Array, x: Array, y: Array
) -> None:
    """Save plots of the learning curves, the confusion matrix, the worst mistakes, and the learned features."""
    import matplotlib.pyplot as plt

    from minidl import plots

    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4), layout="constrained")
    plots.plot_history(history, "loss", ax=left)
    plots.plot_history(history, "accuracy", ax=right)
    figure.suptitle(network)
    figure.savefig(folder / f"{network}_curves.png")
    plots.plot_confusion_matrix(y, probabilities.argmax(axis=1)).figure.savefig(folder / f"{network}_confusion.png")
    plots.plot_mistakes(x, y, probabilities).figure.savefig(folder / f"{network}_mistakes.png")
    if x.ndim == 2:
        plots.plot_weights(model).figure.savefig(folder / f"{network}_weights.png")
    else:
        plots.plot_kernels(model).figure.savefig(folder / f"{network}_kernels.png")
        plots.plot_feature_maps(model, x[0]).figure.savefig(folder / f"{network}_features.png")
        plots.plot_evidence(model, x[:6], y[:6]).figure.savefig(folder / f"{network}_evidence.png")
    plt.close("all")


def write_page(network: str, folder: Path) -> None:
    """Write a page on which one can draw digits for a trained network."""
    path = folder / f"{network}.html"
    page.export(Sequential.load(folder / f"{network}.npz"), path, title=f"Draw a digit for {network}")
    print(f"open in a browser: {path}")


def as_given(settings: dict[str, Any], x: Array, y: Array) -> dict[str, str]:
    """Return everything that a run depends on as text by name: options as on a command line, and a hash of the data."""

    def text(name: str, value: Any) -> str:
        option = f"--{name.replace('_', '-')}"
        if isinstance(value, list):
            return " ".join(f"{option} {each}" for each in value)
        return f"{option} {'full' if value is None else shlex.quote(str(value))}"  # None: a full batch

    elsewhere = {"data", "output", "resume", "page", "predict", "submission"}
    texts = {name: text(name, value) for name, value in settings.items() if name not in elsewhere}
    return texts | {"data": f"other --data, {sha256(x.tobytes() + y.tobytes()).hexdigest()[:16]}"}


def table(report: list[dict[str, Any]]) -> str:
    """Format the networks side by side."""
    evaluated_on = report[0]["evaluated_on"]
    width = max(len(entry["network"]) for entry in report)
    lines = [
        f"{'':<{width}}{'':>12}{'':>9}{'':>9}{'train':>10}{evaluated_on:>12}",
        f"{'network':<{width}}{'parameters':>12}{'seconds':>9}{'loss':>9}{'accuracy':>10}{'accuracy':>12}",
    ]
    for entry in report:
        loss, accuracy = (entry["history"][name][entry["kept_epoch"] - 1] for name in ("loss", "accuracy"))
        lines.append(
            f"{entry['network']:<{width}}{entry['parameters']:>12,}{entry['seconds']:>9.1f}{figure(loss)}"
            f"{accuracy:>10.2%}{entry[evaluated_on]['accuracy']:>12.2%}"
        )
    lines += [f"{entry['network']}: {text}" for entry in report if (text := which_epoch(entry))]
    lines += [
        f"{entry['network']}: {entry['averaged']['accuracy']:.2%} by the mean over shifted copies"
        for entry in report
        if "averaged" in entry
    ]
    return "\n".join(lines)


def which_epoch(entry: dict[str, Any]) -> str:
    """Say when the training ended, and which epoch the model and metrics are from, if it is not the last epoch."""
    epochs, kept = entry["epochs"], entry["kept_epoch"]
    if kept == epochs:
        return f"stopped after epoch {epochs}, as the loss fell no further" if entry["stopped_early"] else ""
    if entry["stopped_early"]:
        return f"stopped after epoch {epochs}; the model is from epoch {kept}"
    return f"the model is from epoch {kept} of {epochs}"


def figure(loss: float) -> str:
    return f"{loss:>9.4f}" if loss < 1000 else f"{loss:>9.1e}"


def matrix(entry: dict[str, Any]) -> str:
    """Format a confusion matrix: rows are true digits, columns predicted ones."""
    counts = entry["confusion_matrix"]
    predicted = "predicted ones, by the mean over copies" if "averaged" in entry else "predicted ones"
    lines = [f"{entry['network']}: rows are true digits, columns {predicted}"]
    lines.append("    " + "".join(f"{digit:>6}" for digit in range(len(counts))))
    lines += [f"{digit:>4}" + "".join(f"{count or '.':>6}" for count in row) for digit, row in enumerate(counts)]
    return "\n".join(lines)


def train_each(
    networks: list[str],
    train_one: Callable[[str], dict[str, Any]],
    given: dict[str, str],
    source: str,
    options: argparse.Namespace,
    *,
    epochs: int | None = None,
    afterwards: Callable[[list[Any]], None] | None = None,
) -> None:
    """Train the networks of a run that are left, and print the results of all networks.

    `given` is the result of `as_given`: everything that the run depends on. `epochs` is the number of epochs if it may
    change. `afterwards` is called with the report.
    """
    options.folder = folder = RunFolder(options.output)
    report = folder.begin(networks, given, epochs=epochs, resume=options.resume)
    if not folder.left:
        print(f"the run in {folder.path} is complete: nothing is left to train (without --resume it starts again)")
    options.pictures = bool(folder.left) and pictures_possible()
    try:
        for network in list(folder.left):
            report.append({"data": source} | train_one(network))
            folder.finish(network, report)  # save it now, in case the next one is interrupted
        for entry in report:
            print(f"\n{matrix(entry)}")
        print(f"\n{table(report)}")
        if report[0]["augment"]:
            print("loss and train accuracy are measured on distorted images, which are harder")
        print(f"\nmodels{', pictures' if options.pictures else ''} and report.json: {options.output}")
        if options.page:
            for network in networks:
                write_page(network, options.output)
        if afterwards:
            afterwards(report)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(folder.after_interruption()) from None
