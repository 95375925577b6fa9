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
    Dense,
    Dropout,
    FunctionCallback,
    ReLU,
    Sequential,
    SoftmaxCrossEntropy,
    Trainer,
)
from minidl.errors import MissingFileError


def new_trainer(dtype, communicator):
    # A bias would have no gradient before BatchNorm, but for rounding, of which Adam would make steps of full size.
    layers = [Dense(16, use_bias=False), BatchNorm(), ReLU(), Dropout(0.2), Dense(3), SoftmaxCrossEntropy()]
    model = Sequential(layers, input_shape=8, seed=0, dtype=dtype)
    return Trainer(model, Adam(0.01), batch_size=32, seed=0, communicator=communicator)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--alone", action="store_true", help="without a communicator")
    parser.add_argument("--seconds", type=float, default=0, help="that each step takes besides")
    parser.add_argument("--signal", help="that the last process gets after ten steps")
    parser.add_argument("--differ", action="store_true", help="by the batch size")
    options = parser.parse_args()
    communicator = None if options.alone else MPI.COMM_WORLD
    rank = MPI.COMM_WORLD.Get_rank()

    rng = np.random.default_rng(0)
    x = rng.normal(size=(500, 8)).astype(options.dtype)
    y = (x[:, 0] > 0).astype(int) + (x[:, 1] > 0)
    try:
        trainer = Trainer.load(options.folder)
        trainer.communicator = communicator
    except MissingFileError:
        trainer = new_trainer(options.dtype, communicator)
    if options.differ and rank == 1:
        trainer.batch_size = 16

    def wait_or_end(trainer):
        time.sleep(options.seconds)
        if options.signal and trainer.step == 10 and rank == MPI.COMM_WORLD.Get_size() - 1:
            os.kill(os.getpid(), getattr(signal, options.signal))

    callbacks = [Checkpoint(options.folder, every_steps=4), FunctionCallback(wait_or_end, moment="on_batch_end")]
    epochs = options.epochs - trainer.epoch
    trainer.fit(x[:400], y[:400], epochs=epochs, validation_data=(x[400:], y[400:]), callbacks=callbacks)
    left = {name: np.array(column) for name, column in trainer.history.items()}
    np.savez(options.folder / f"left_{rank}", parameters=trainer.model.parameters, **left)


if __name__ == "__main__":
    main()
