"""Networks with each of minidl's layers, for the page; digits to train on, and digits to draw."""

import math
import os

import numpy as np
from PIL import Image

from minidl import Concatenate, Dense, Flatten, Residual, Sequential, SoftmaxCrossEntropy
from minidl.data import load_mnist
from minidl.data.digits import load_digits_as_mnist
from minidl.layers import (
    ELU,
    GELU,
    SELU,
    AveragePool2D,
    BatchNorm,
    Conv2D,
    Conv2DTranspose,
    DepthwiseConv2D,
    Dropout,
    Dropout2D,
    GaussianNoise,
    GlobalAveragePool2D,
    GlobalMaxPool2D,
    LayerNorm,
    LeakyReLU,
    MaxPool2D,
    PReLU,
    ReLU,
    Rescale,
    Reshape,
    Sigmoid,
    SiLU,
    Softmax,
    Softplus,
    Tanh,
    UpSample2D,
    ZeroPad2D,
)

IMAGE = (9, 12, 1)
"""Of the networks below: not a square, and odd."""


def activations():
    """A few units of each activation."""
    each = [ReLU(), LeakyReLU(0.2), LeakyReLU(-2), PReLU(), ELU(0.7), SELU(), Sigmoid(), Tanh(), Softmax(), GELU()]
    return [*each, GELU(approximate=True), SiLU(), Softplus()]


NETWORKS = {
    "activations": lambda: [Flatten(), Concatenate([[Dense(5), layer] for layer in activations()])],
    "activations of images": lambda: [
        Concatenate([[Conv2D(3, 2, strides=4), layer] for layer in activations()]),
        Flatten(),
    ],
    "normalization": lambda: [Conv2D(3, 3), BatchNorm(), LayerNorm(), Flatten(), Dense(6), LayerNorm(), BatchNorm()],
    "noise": lambda: [
        GaussianNoise(1),
        Conv2D(3, 3),
        Dropout2D(),
        Flatten(),
        Dropout(),
        Dense(4),
        Sequential([Dropout()]),
    ],
    "shapes": lambda: [Reshape((6, 18)), Dense(5), Softmax(), Rescale(2, offset=-0.5), Reshape((3, -1)), Flatten()],
    "convolutions": lambda: [
        Conv2D(4, (3, 2), strides=(2, 1), padding="same"),
        Conv2D(6, 2, dilation=(1, 2), padding=((1, 0), (2, 1)), groups=2, use_bias=False),
        DepthwiseConv2D((2, 3), multiplier=2, padding=1),
        Conv2D(5, 1, strides=2),
        Flatten(),
    ],
    "transposed": lambda: [
        MaxPool2D(3),
        Conv2DTranspose(3, 3, strides=2, padding="same"),
        Conv2DTranspose(2, (2, 3), dilation=2, padding=((1, 0), (0, 2)), use_bias=False),
        Conv2DTranspose(2, 2, strides=(1, 3)),
        Flatten(),
    ],
    "pooling": lambda: [
        Conv2D(3, 2),
        ZeroPad2D(((0, 2), (1, 3))),
        Concatenate(
            [
                [MaxPool2D((3, 2), strides=2, padding=1), Flatten()],
                [MaxPool2D(3, padding="same"), Flatten()],
                [AveragePool2D((2, 3), strides=(1, 2), padding="same"), Flatten()],
                [AveragePool2D(2), Flatten()],
                [UpSample2D((2, 1)), AveragePool2D(4), Flatten()],
                GlobalMaxPool2D(),
                GlobalAveragePool2D(),
            ]
        ),
    ],
    "blocks": lambda: [
        Residual([Conv2D(3, 3, padding="same"), Sequential([ReLU(), Residual([Conv2D(3, 1), Tanh()])])]),
        Concatenate([Conv2D(2, 3, padding="same"), Rescale(1)], axis=-1),
        Concatenate([[MaxPool2D(2, padding="same")], [MaxPool2D(2, padding="same"), Tanh()]], axis=1),
        Residual([Dropout()]),
        Flatten(),
    ],
}
"""Layers that together are all that there are."""


def network(name, loss=None, **options):
    """Make one of these networks, with numbers in all its arrays that are not those it begins with."""
    layers = [Rescale(1 / 255), *NETWORKS[name](), Dense(4), loss or SoftmaxCrossEntropy()]
    return disturbed(Sequential(layers, input_shape=IMAGE, seed=0, **options))


def disturbed(model):
    rng = np.random.default_rng(1)
    model.parameters += rng.normal(0, 0.2, model.parameters.shape)
    for path, state in model.named_states().items():
        low = 0.5 if "variance" in path else -1
        state.value = rng.uniform(low, 2, state.value.shape)
    return model


def centered(image):
    """Return a gray image (28, 28) as MNIST's makers would have: in a box of 20 x 20, by its center of mass."""
    rows, columns = np.nonzero(image > 80)
    crop = image[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
    height, width = (max(round(20 * size / max(crop.shape)), 1) for size in crop.shape)
    small = np.asarray(Image.fromarray(crop).resize((width, height), Image.Resampling.BILINEAR), float)
    places = [axis @ (np.arange(len(axis)) + 0.5) / small.sum() for axis in (small.sum(1), small.sum(0))]
    top, left = (min(max(round(14 - place), 0), 28 - size) for place, size in zip(places, small.shape, strict=True))
    image = np.zeros((28, 28))
    image[top : top + height, left : left + width] = small
    return image


def digits():
    """Return images (N, 28, 28) and labels to train on, and others: of MNIST if MINIDL_DATA names it.

    Else scikit-learn's digits, centered, and with a contrast like MNIST's, which the scaling from 8 x 8 had taken.
    """
    if os.environ.get("MINIDL_DATA"):
        data = load_mnist(os.environ["MINIDL_DATA"], flatten=False)
        x_train, x_test = (x.reshape(len(x), 28, 28) for x in (data.x_train[:20_000], data.x_test))
        return x_train, data.y_train[:20_000], x_test, data.y_test
    data = load_digits_as_mnist()
    x_train, x_test = (
        np.stack([np.clip((centered(image) - 90) * 1.9, 0, 255) for image in images]).astype(np.uint8)
        for images in (data.x_train, data.x_test)
    )
    return x_train, data.y_train, x_test, data.y_test


def arc(x, y, width, height, start, stop):
    """Return points of an ellipse around (x, y), from one angle to another, in degrees."""
    angles = [math.radians(start + (stop - start) * step / 20) for step in range(21)]
    return [(x + width * math.cos(angle), y + height * math.sin(angle)) for angle in angles]


STROKES = [
    [arc(50, 50, 22, 32, -90, 270)],
    [[(52, 18), (48, 82)]],
    [[*arc(50, 34, 18, 16, -170, 20), (60, 52), (34, 80), (70, 80)]],
    [arc(48, 34, 17, 15, -150, 90) + arc(48, 65, 20, 16, -90, 140)],
    [[(46, 14), (28, 58), (74, 58)], [(58, 36), (54, 86)]],
    [[(68, 20), (38, 20), (36, 46), *arc(48, 62, 18, 18, -120, 130)]],
    [[(60, 16), (46, 34), (36, 56), *arc(50, 66, 15, 16, 180, -190)]],
    [[(30, 22), (68, 22), (46, 84)]],
    [arc(50, 34, 14, 14, 90, -270) + arc(50, 65, 17, 17, -90, 270)],
    [[*arc(48, 36, 15, 15, 0, -360), (63, 36), (60, 60), (54, 84)]],
]
"""How one may write 0 to 9 on a pad of 100 x 100: strokes, each a list of points."""
