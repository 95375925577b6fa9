"""A run of several processes, and what is left of it: ``mpiexec -n 2 python train.py FOLDER [OPTIONS]``."""

import argparse
import os
import signal
import time
from pathlib import Path

import numpy as np
from mpi4py import MPI

from minidl import (
    Adam,
    BatchNorm,
    Checkpoint,
    Conv2D,
    Dense,
    Dropout,
    Dropout2D,
    Flatten,
    FunctionCallback,
    GaussianNoise,
    MaxPool2D,
    ReLU,
    Sequential,
    SoftmaxCrossEntropy,
    Trainer,
)
from minidl.errors import MissingFileError


def table():
    # A bias would have no gradient before BatchNorm, but for rounding, of which Adam would make steps of full size.
    return [Dense(16, use_bias=False), BatchNorm(), ReLU(), Dropout(0.2)]


def images():
    convolution = Conv2D(32, 3, use_bias=False)
    return [convolution, BatchNorm(), ReLU(), MaxPool2D(2), Dropout2D(0.2), Flatten(), Dropout(0.3)]


def blocks():
    # The first layer that draws needs 75 numbers for a row: no multiple of 4, as many as 64 bits give.
    return [Conv2D(3, 3), Dropout(0.2), ReLU(), MaxPool2D(2), Dropout2D(0.2), GaussianNoise(0.1), Flatten()]


NETWORKS = {
    "table": (table, 8, 400, {"batch_size": 32}),
    # A single process halves batches of more than `rows_at_once` rows: in float32 8, which are all of the last batch.
    "images": (images, (28, 28, 1), 104, {"batch_size": 48}),
    # With `rows_at_once` of 1, it computes the halves row by row. Batches and the last step of an epoch are not even.
    "blocks": (blocks, (7, 7, 1), 120, {"batch_size": 35, "accumulate": 2}),
}
"""Layers, shape of a sample, rows to train on, and settings of the trainer."""


def new_trainer(network, dtype, communicator):
    layers, shape, _, options = NETWORKS[network]
    model = Sequential([*layers(), Dense(3), SoftmaxCrossEntropy()], input_shape=shape, seed=0, dtype=dtype)
    return Trainer(model, Adam(0.01), seed=0, communicator=communicator, **options)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--network", choices=NETWORKS, default="table")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--alone", action="store_true", help="without a communicator")
    parser.add_argument("--seconds", type=float, default=0, help="that each step takes besides")
    parser.add_argument("--signal", help="that the last process gets after ten steps")
    parser.add_argument("--differ", action="store_true", help="by the batch size")
    parser.add_argument("--missing", action="store_true", help="the data of the last process")
    parser.add_argument("--batch-size", type=int, help="instead of the network's own")
    parser.add_argument("--every-steps", type=int, help="that a checkpoint is written; the default is at no step")
    options = parser.parse_args()
    communicator = None if options.alone else MPI.COMM_WORLD
    rank = MPI.COMM_WORLD.Get_rank()
    if options.missing and rank == MPI.COMM_WORLD.Get_size() - 1:
        np.load(options.folder / "missing.npy")

    try:
        trainer = Trainer.load(options.folder)
        trainer.communicator = communicator
    except MissingFileError:
        trainer = new_trainer(options.network, options.dtype, communicator)
    if options.network == "blocks":
        trainer.model.rows_at_once = 1
    rows, rng = NETWORKS[options.network][2], np.random.default_rng(0)
    x = rng.normal(size=(rows + 100, *trainer.model.input_shape)).astype(options.dtype)
    first, second, *_ = x.reshape(len(x), -1).T
    y = (first > 0).astype(int) + (second > 0)
    trainer.batch_size = options.batch_size or trainer.batch_size
    if options.differ and rank == 1:
        trainer.batch_size = 16

    def wait_or_end(trainer):
        time.sleep(options.seconds)
        if options.seconds and trainer.step == 2:
            (options.folder / f"begun_{rank}").touch()
        if options.signal and trainer.step == 10 and rank == MPI.COMM_WORLD.Get_size() - 1:
            os.kill(os.getpid(), getattr(signal, options.signal))

    callbacks = [
        Checkpoint(options.folder, every_steps=options.every_steps),
        FunctionCallback(wait_or_end, moment="on_batch_end"),
    ]
    epochs = options.epochs - trainer.epoch
    trainer.fit(x[:rows], y[:rows], epochs=epochs, validation_data=(x[rows:], y[rows:]), callbacks=callbacks)
    left = {name: np.array(column) for name, column in trainer.history.items()}
    np.savez(options.folder / f"left_{rank}", parameters=trainer.model.parameters, **left)


if __name__ == "__main__":
    main()
