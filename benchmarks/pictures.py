"""Draw pictures for the docs: schedules, searches on MNIST, distorted digits and photographs, vanishing gradients.

    python benchmarks/pictures.py       # into docs/images

The pictures show every schedule over 1,000 steps, a search for a learning rate and one over several parameters on
MNIST, distorted digits and photographs, the first gradients of a deep network with sigmoids, the evidence that a
convolutional network finds in digits, and mistakes of the README's network. The first search prints its suggested rate.
The second prints its best result and the number of epochs it trained.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
from reports import mnist_folder

from minidl import (
    Adam,
    ConstantRate,
    CosineDecay,
    CosineRestarts,
    Dense,
    Dropout,
    ExponentialDecay,
    Flatten,
    OneCycle,
    PolynomialDecay,
    ReLU,
    Rescale,
    Schedule,
    Sequential,
    Sigmoid,
    SoftmaxCrossEntropy,
    StepDecay,
    Trainer,
    Warmup,
    find_learning_rate,
    search,
)
from minidl.data import augment, load_mnist
from minidl.errors import MinidlError
from minidl.layers import Conv2D, MaxPool2D
from minidl.typing import Array

STEPS, RATE = 1_000, 0.003

DISTORTIONS: list[augment.Distortion] = [
    augment.Rotation(),
    augment.Scaling(),
    augment.Translation(),
    augment.Shear(),
    augment.Elastic(),
    augment.PixelNoise(),
    augment.CutOut(),
]
OF_PHOTOGRAPHS: list[augment.Distortion] = [
    augment.HorizontalFlip(),
    augment.VerticalFlip(),
    augment.RandomCrop(),
    augment.ColorJitter(),
]

FALLING: dict[str, Schedule] = {
    "ConstantRate": ConstantRate(RATE),
    "StepDecay": StepDecay(RATE, every=STEPS // 4, factor=0.3),
    "ExponentialDecay": ExponentialDecay(RATE, steps=STEPS, factor=0.01),
    "PolynomialDecay": PolynomialDecay(RATE, steps=STEPS),
    "CosineDecay": CosineDecay(RATE, steps=STEPS),
}
RISING: dict[str, Schedule] = {
    "CosineRestarts": CosineRestarts(RATE, steps=-(-STEPS // 7)),
    "OneCycle": OneCycle(RATE, steps=STEPS),
    "Warmup, then CosineDecay": Warmup(CosineDecay(RATE, steps=STEPS - STEPS // 10), steps=STEPS // 10),
}


def draw_schedules(path: Path) -> None:
    """Draw the schedules that only fall, and next to them the schedules that also rise."""
    import matplotlib.pyplot as plt

    from minidl import plots

    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.4), sharey=True, layout="constrained")
    plots.plot_schedule(FALLING, STEPS, ax=left)
    plots.plot_schedule(RISING, STEPS, ax=right)
    right.set_ylabel("")
    figure.savefig(path)
    plt.close(figure)


def readme_network() -> Sequential:
    layers = [Rescale(1 / 255), Dense(128), ReLU(), Dense(64), ReLU(), Dense(10), SoftmaxCrossEntropy()]
    return Sequential(layers, seed=0)


def draw_rate_search(path: Path, data: Path | None) -> None:
    """Draw the search for Adam's rate on MNIST; print the suggestion."""
    import matplotlib.pyplot as plt

    from minidl import plots

    mnist = load_mnist(mnist_folder(data))
    found = find_learning_rate(readme_network(), mnist.x_train, mnist.y_train, batch_size=128)
    print(f"suggested: {found.suggestion:.2g}")
    figure = plots.plot_rate_search(found).figure
    figure.savefig(path)
    plt.close("all")


def draw_distortions(path: Path, data: Path | None) -> None:
    """Draw some digits after each distortion."""
    mnist = load_mnist(mnist_folder(data))
    digits = mnist.x_train.reshape(-1, 28, 28)[[int((mnist.y_train == digit).argmax()) for digit in range(10)]]
    draw_distorted(path, digits, DISTORTIONS, 6.2)


def draw_distorted_photographs(path: Path) -> None:
    """Draw pieces of scikit-learn's photographs after each distortion for photographs."""
    from sklearn.datasets import load_sample_images

    # Each pixel is the mean of 8 x 8 pixels; the pieces are 32 x 32 pixels, like the images of CIFAR-10.
    small = [image[:424].reshape(53, 8, 80, 8, 3).mean(axis=(1, 3)) for image in load_sample_images().images]
    pieces = np.stack([image[20:52, left : left + 32] for image in small for left in (0, 16, 32, 48)])
    draw_distorted(path, np.rint(pieces).astype(np.uint8), OF_PHOTOGRAPHS, 4.8)


def draw_distorted(path: Path, originals: Array, distortions: list[augment.Distortion], height: float) -> None:
    """Draw images, and below them the same images after each distortion with its default strength."""
    import matplotlib.pyplot as plt

    rows = {"as they are": originals} | {type(each).__name__: each(originals, 0) for each in distortions}
    figure, axes = plt.subplots(len(rows), len(originals), figsize=(8.6, height), layout="constrained")
    for line, (name, images) in zip(axes, rows.items(), strict=True):
        line[0].set_ylabel(name, rotation=0, ha="right", va="center")
        for each, image in zip(line, images, strict=True):
            each.imshow(image, cmap="gray_r", vmin=0, vmax=255, interpolation="nearest")
            each.set(xticks=[], yticks=[])
    figure.savefig(path)
    plt.close(figure)


def draw_gradients(path: Path) -> None:
    """Draw the first gradients of a network with eight sigmoid layers, for 64 of scikit-learn's digits."""
    import matplotlib.pyplot as plt
    from sklearn.datasets import load_digits

    from minidl import plots

    x, y = load_digits(return_X_y=True)
    hidden = [layer for _ in range(8) for layer in (Dense(32, initializer="glorot_uniform", use_bias=False), Sigmoid())]
    model = Sequential([Rescale(1 / 16), *hidden, Dense(10, use_bias=False), SoftmaxCrossEntropy()], seed=0)
    plots.plot_gradient_distributions(model, x[:64], y[:64]).figure.savefig(path)
    plt.close("all")


def draw_evidence(path: Path, data: Path | None) -> None:
    """Draw the evidence that a small convolutional network, trained on a part of MNIST, finds in digits."""
    import matplotlib.pyplot as plt

    from minidl import plots

    mnist = load_mnist(mnist_folder(data), flatten=False)
    layers = [Rescale(1 / 255), Conv2D(16, 3), MaxPool2D(), ReLU(), Conv2D(32, 3), MaxPool2D(), ReLU()]
    model = Sequential([*layers, Flatten(), Dense(10), SoftmaxCrossEntropy()], seed=0)
    Trainer(model, Adam(0.003), batch_size=64, seed=0).fit(mnist.x_train[:6000], mnist.y_train[:6000], epochs=2)
    chosen = [int((mnist.y_test == digit).argmax()) for digit in (2, 3, 4, 5, 7, 9)]
    plots.plot_evidence(model, mnist.x_test[chosen], mnist.y_test[chosen]).figure.savefig(path)
    plt.close("all")


def draw_mistakes(path: Path, data: Path | None) -> None:
    """Draw a row of the mistakes with the highest confidence of the README's network."""
    import matplotlib.pyplot as plt

    from minidl import plots

    mnist, model = load_mnist(mnist_folder(data)), readme_network()
    Trainer(model, Adam(1e-3), batch_size=64, seed=0).fit(mnist.x_train, mnist.y_train, epochs=5)
    probabilities = model.predict_proba(mnist.x_test)
    plots.plot_mistakes(mnist.x_test, mnist.y_test, probabilities, count=8, columns=8).figure.savefig(path)
    plt.close("all")


def build_trainer(units: int, rate: float, dropout: float, seed: int) -> Trainer:
    """Make a trainer for the search over several parameters."""
    layers = [Rescale(1 / 255), Dense(units), ReLU(), Dropout(dropout), Dense(10), SoftmaxCrossEntropy()]
    return Trainer(Sequential(layers, seed=seed), Adam(rate), batch_size=64, seed=seed)


def draw_search(path: Path, data: Path | None) -> None:
    """Draw a search with successive halving on a part of MNIST; print its best result and its cost."""
    import matplotlib.pyplot as plt
    from scipy.stats import loguniform

    from minidl import plots

    mnist = load_mnist(mnist_folder(data))
    space = {"units": [16, 32, 64, 128], "rate": loguniform(1e-4, 1), "dropout": [0.0, 0.2, 0.4]}
    x, y = mnist.x_train[:6000], mnist.y_train[:6000]
    result = search(build_trainer, space, x, y, candidates=27, epochs=9, halving=3, monitor="val_accuracy", jobs=-1)
    print(result)
    print(f"{result.table['epochs'].sum()} epochs, in place of {27 * 9}")
    plots.plot_search(result)[0].figure.savefig(path)
    plt.close("all")


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--data", type=Path, metavar="PATH", help="MNIST's folder or CSV file (default: found or downloaded)")
    add("--output", type=Path, default=Path("docs/images"), metavar="DIR", help="(default: %(default)s)")
    options = parser.parse_args(arguments)
    import matplotlib

    matplotlib.use("Agg")
    options.output.mkdir(parents=True, exist_ok=True)
    draw_schedules(options.output / "schedules.png")
    draw_rate_search(options.output / "rate_search.png", options.data)
    draw_distortions(options.output / "distortions.png", options.data)
    draw_distorted_photographs(options.output / "distorted_photographs.png")
    draw_search(options.output / "search.png", options.data)
    draw_gradients(options.output / "gradients.png")
    draw_evidence(options.output / "evidence.png", options.data)
    draw_mistakes(options.output / "row_of_mistakes.png", options.data)


if __name__ == "__main__":
    try:
        main()
    except (MinidlError, OSError) as error:
        sys.exit(f"error: {error}")
