"""Distillation: a convolutional network teaches a small dense one to read handwritten digits.

    python examples/distillation.py                          # teacher and student, some minutes
    python examples/distillation.py --teacher conv.npz       # with a teacher that mnist_cnn.py has trained

The teacher is the network of the recipe conv of `mnist_cnn.py`, trained for 8 epochs on stronger distortions. The
student, 784-128-64-10, learns the teacher's softened probabilities of distorted images, which also tell which other
digits an image resembles, mixed with the labels. Without --data, the program finds or downloads MNIST; offline it uses
scikit-learn's digits. If a run was stopped, the same command with --resume continues it, to the same result.

Source: Hinton, Vinyals and Dean (2015), "Distilling the knowledge in a neural network", arXiv:1503.02531.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import cnn_recipes
import numpy as np
from example_options import Parser, add_run_options, run_program, whole_number
from mnist_recipes import RECIPES, FullyConnected
from mnist_training import as_given, follow, number_of_classes, train_each, with_test_images

from minidl import History, KLDivergence, Sequential, Trainer
from minidl.data import load_mnist
from minidl.data.augment import Elastic, Rotation, Scaling, Shear, Translation
from minidl.errors import ArgumentError
from minidl.functional import softmax
from minidl.losses import CategoricalLoss
from minidl.typing import Array, Shape

DEFAULTS: dict[str, Any] = {"teacher": None, "data": None, "seed": 0, "output": Path("runs/distillation")}


@dataclass(frozen=True, kw_only=True)
class Distilled(FullyConnected):
    """A recipe for a student. A lesson is all images, distorted once, with the teacher's probabilities."""

    epochs_of_a_lesson: int
    temperature: float
    """The teacher's scores are divided by it, which softens the probabilities."""
    share_of_labels: float
    """The share of the label in the student's targets; the rest is the share of the teacher's probabilities."""
    teacher: Sequential | None = field(default=None, repr=False)

    def layers(self, classes: int) -> list[Any]:
        return [*super().layers(classes)[:-1], KLDivergence()]

    def augment(self, image_shape: Shape) -> None:
        """The teacher must see the distorted images, too: a lesson has them."""

    def fit(self, trainer: Trainer, x: Array, y: Array, **options: Any) -> History:
        """Train with the lessons that are left. Then give the student's probabilities the teacher's sharpness, once."""
        length, distort = self.epochs_of_a_lesson, self.distort(x.shape[1:])
        lessons = -(-self.epochs // length)
        for lesson in range(min(trainer.epoch // length, lessons - 1), lessons):
            images = distort(x, np.random.default_rng((trainer.seed, lesson)))
            end = min((lesson + 1) * length, self.epochs)
            trainer.fit(images, self.targets(images, y), epochs=end - trainer.epoch, **options)
        for parameter in trainer.model.layers[-1].named_parameters().values():
            parameter.value *= self.temperature
        return trainer.history

    def targets(self, images: Array, labels: Array) -> Array:
        """Return what the student learns of flat images: probabilities (N, classes)."""
        shape, share = self.teacher.input_shape, self.share_of_labels
        targets = softmax(self.teacher.predict_scores(images.reshape(-1, *shape)) / self.temperature)
        targets *= 1 - share
        targets[np.arange(len(labels)), labels] += share
        return targets


TEACHER = replace(
    cnn_recipes.RECIPES["conv"],
    epochs=8,
    distortions=(Rotation(10), Scaling(0.12, keep_aspect=False), Translation(0.07), Shear(9), Elastic(15)),
    copies=0,
)
STUDENT = Distilled(
    hidden=(128, 64),
    epochs=72,
    epochs_of_a_lesson=2,
    temperature=2.0,
    share_of_labels=0.3,
    batch_size=256,
    learning_rate=RECIPES["best"].learning_rate,
    distortions=RECIPES["best"].distortions,
    normalization=True,
)


def parse_arguments(arguments: list[str] | None) -> argparse.Namespace:
    parser = Parser(description=__doc__, argument_default=argparse.SUPPRESS)  # to know which options were given
    add = parser.add_argument
    add("--teacher", type=Path, metavar="FILE", help="a trained convolutional network (default: train one)")
    add("--data", type=Path, metavar="PATH", help="a CSV file, or a folder with MNIST's four IDX files")
    what = f"the student's passes over the images (default: {STUDENT.epochs})"
    add("--epochs", type=whole_number(1, "number of epochs"), help=what)
    add_run_options(parser, DEFAULTS["output"], "continue the stopped run in --output")
    given = vars(parser.parse_args(arguments))
    return argparse.Namespace(**{**DEFAULTS, **given}, given=given)


def load_teacher(path: Path, pixels: int, classes: int) -> Sequential:
    """Read a trained model; raise ArgumentError if it cannot teach digits of this size."""
    teacher = Sequential.load(path)
    is_classifier = isinstance(teacher.loss, CategoricalLoss)
    if not is_classifier or np.prod(teacher.input_shape) != pixels or teacher.output_shape != (classes,):
        raise ArgumentError(
            f"--teacher {path}: it takes {teacher.input_shape} numbers per image and returns {teacher.output_shape}; "
            f"these images have {pixels} pixels and {classes} classes: give a classifier of such images"
        )
    return teacher


def main(arguments: list[str] | None = None) -> None:
    options = parse_arguments(arguments)
    data = load_mnist(options.data)
    x, y, evaluation = with_test_images(data, options.seed)
    evaluated_on, x_test, y_test = evaluation
    classes, side = number_of_classes(y, evaluation), int(x.shape[1] ** 0.5)
    image_shape = (side, side, 1)
    print(f"{data.source}: {len(y):,} of {len(data.y_train):,} training images")
    teacher = load_teacher(options.teacher, x.shape[1], classes) if options.teacher else None
    student = STUDENT.with_epochs(options.given.get("epochs"), len(y))
    names = {"teacher": TEACHER.network(image_shape, classes), "student": student.network(x.shape[1:], classes)}

    def train_one(network: str) -> dict[str, Any]:
        if network == names["teacher"]:
            images, test_images = (each.reshape(-1, *image_shape) for each in (x, x_test))
            return follow("teacher", TEACHER, images, y, (evaluated_on, test_images, y_test), options)
        trained = options.output / f"{names['teacher']}.npz"
        taught_by = Sequential.load(trained) if teacher is None else teacher
        return follow("student", replace(student, teacher=taught_by), x, y, evaluation, options)

    settings = {"seed": options.seed} | options.given | {"recipe": "distilled"}
    if options.teacher:
        settings["teacher"] = f"another file, {sha256(options.teacher.read_bytes()).hexdigest()[:16]}"
    train_each(
        [name for role, name in names.items() if role == "student" or teacher is None],
        train_one,
        as_given(settings, x, y),
        data.source,
        options,
    )


if __name__ == "__main__":
    run_program(main, interrupted="before the run began")
