"""Searches for parameters, small enough to run many of them, and the runs that they should consist of."""

import functools

import numpy as np
import pandas as pd
from sklearn.compose import ColumnTransformer
from sklearn.datasets import load_iris
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from threadpoolctl import threadpool_limits

from minidl import (
    Adam,
    CosineDecay,
    Dense,
    Dropout,
    Layer,
    MeanSquaredError,
    Momentum,
    ReLU,
    Sequential,
    SoftmaxCrossEntropy,
    Trainer,
    search,
)
from minidl.data.augment import PixelNoise

x, y = load_iris(return_X_y=True)
x = x.astype(np.float32)
NOISE = PixelNoise(0.5, image_shape=(2, 2))  # of rows of four numbers
line = np.linspace(-1, 1, 100)[:, np.newaxis].astype(np.float32)
GRID = {"units": [4, 8], "rate": [0.01, 0.1, 0.001]}


def classifier(units, rate=0.01, seed=0):
    layers = [Dense(units), ReLU(), Dropout(0.2), Dense(3), SoftmaxCrossEntropy()]
    return Trainer(Sequential(layers, seed=seed), Adam(CosineDecay(rate, steps=80)), batch_size=16, seed=seed)


def network(units=8, seed=0):
    return Sequential([Dense(units), ReLU(), Dense(3), SoftmaxCrossEntropy()], seed=seed)


def regression(rate, units=4, seed=0):
    return Trainer(Sequential([Dense(units), Dense(1), MeanSquaredError()], seed=seed), Momentum(rate), seed=seed)


def look(build_model=classifier, space=GRID, x=x, y=y, **options):
    return search(build_model, space, x, y, **{"epochs": 2, "progress": False} | options)


brief = functools.partial(look, space={"units": [4, 8]}, epochs=1)


def by_hand(trainer, epochs, **options):
    """A trainer's run that nothing interrupts, without search."""
    x_train, x_val, y_train, y_val = train_test_split(x, y, test_size=30, random_state=0, stratify=y)
    with threadpool_limits(1, user_api="blas"):
        options = {"validation_data": (x_val, y_val)} | options
        trainer.fit(x_train, y_train, epochs=epochs, progress=False, **options)
    return trainer


def frame_of_flowers():
    """Iris with a text column, some of whose values only a few rows have, and an index that is no count."""
    frame = pd.DataFrame(x, columns=["length", "width", "petal", "petal width"], index=np.arange(150)[::-1] * 10)
    colours = np.array(["red", "green", "blue"])[(10 * x[:, 0]).astype(int) % 3]
    colours[[3, 90]] = "rare", "rarer"
    return frame.assign(colour=colours, count=np.arange(150, dtype="int16"))


FLOWERS = frame_of_flowers()


def by_columns(sparse=False):
    """A transformer that names columns, and gives other features where it is fitted to other rows."""
    words = OneHotEncoder(handle_unknown="ignore", sparse_output=sparse)
    return ColumnTransformer(
        [("numbers", StandardScaler(), ["length", "petal"]), ("words", words, ["colour"])],
        sparse_threshold=1.0 if sparse else 0.0,
    )


def without_seconds(result):
    return result.table.drop(columns="seconds")


def assert_same(one, two):
    """Compare all but the time that it took, to the last bit."""
    pd.testing.assert_frame_equal(without_seconds(one), without_seconds(two), check_exact=True)
    for first, second in zip(one.runs, two.runs, strict=True):
        assert dict(first.history) == dict(second.history)
        assert list(map(dict, first.fold_histories)) == list(map(dict, second.fold_histories))
    assert np.array_equal(one.best_model.parameters, two.best_model.parameters)
    np.testing.assert_equal(vars(one.best_trainer.position), vars(two.best_trainer.position))


def never(units, rate=0.1, seed=0):
    """A model that must not be trained."""

    class Fails(Layer):
        def forward(self, x, training=False):
            assert not training, "trained"
            return x

        def backward(self, dy):
            raise AssertionError("trained")

    return Sequential([Fails(), Dense(units), Dense(3), SoftmaxCrossEntropy()], seed=seed)
