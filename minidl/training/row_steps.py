"""Steps that move only the embedding rows of the ids in a batch, with the same bits as moving all rows.

All parameters are one vector, and all gradients another. This is simple, but a batch contains about 2,000 of 50,000
words. If only the optimizer reads the gradients between two steps, and a gradient of zero moves nothing, the rows need
not be written into the vector, and the other rows need not be read.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

from minidl.layers.parameter_rows import ParameterOfRows
from minidl.optimizers import SGD, Adagrad, Optimizer
from minidl.optimizers.base import Parts
from minidl.schedules import Schedule
from minidl.training.progress import ProgressBar

if TYPE_CHECKING:
    from minidl.training.trainer import Fit, Trainer


@contextlib.contextmanager
def rows_beside(trainer: Trainer, fit: Fit) -> Iterator[None]:
    """Context in which gradients of rows wait outside of the vector, if only the optimizer reads them."""
    trained = [each for layer, each in fit.model._owned if layer.own_trainable]
    by_rows = [each for each in trained if isinstance(each, ParameterOfRows)]
    fit.beside = by_rows if by_rows and _is_read_by_optimizer_alone(trainer, fit) else []
    for parameter in fit.beside:
        parameter.waits = True
    try:
        yield
    finally:
        for parameter in fit.beside:
            del parameter.waits
            parameter.settle()


def move_rows(optimizer: Optimizer, fit: Fit) -> Parts:
    """Move the rows whose gradients wait. Return the other parts, which the optimizer must still move."""
    # A gradient that other code has read is in the vector already.
    waiting = [parameter for parameter in fit.beside if parameter.rows is not None]
    if not waiting:
        return fit.trained
    vectors, rate = [fit.parameters, *optimizer.prepare_state(fit.parameters)], optimizer.rate()
    for parameter in waiting:
        (part,) = fit.model.parts(lambda _, each, moved=parameter: each is moved)  # type: ignore[misc]
        numbers, gradients = parameter.rows
        arrays = [vector[part].reshape(parameter.value.shape) for vector in vectors]
        rows = [array.take(numbers, axis=0) for array in arrays]
        p, *slots = [each.reshape(-1) for each in rows]
        optimizer.update(p, gradients.reshape(-1), rate, *slots)
        for array, moved in zip(arrays, rows, strict=True):
            array[numbers] = moved
    return fit.model.parts(lambda layer, each: layer.own_trainable and each not in waiting)


def _is_read_by_optimizer_alone(trainer: Trainer, fit: Fit) -> bool:
    """Whether no other code uses the gradients within an epoch, and a gradient of zero moves nothing."""
    optimizer, rate = trainer.optimizer, trainer.optimizer.learning_rate
    # Blocks, halves and processes add up whole gradients. A single last row may join a batch.
    adding = fit.processes.size > 1 or trainer.accumulate > 1 or trainer.position.batch_rows >= fit.model.rows_at_once
    clips = (trainer.clip_norm, trainer.clip_value) != (None, None)
    # A user's rate function or callback may read the gradients after each step.
    hooks = fit.callbacks.doing("on_gradients") + fit.callbacks.doing("on_batch_end")
    watched = not all(type(getattr(each, "__self__", each)) is ProgressBar for each in hooks)
    watched = watched or (callable(rate) and not isinstance(rate, Schedule))
    # If the state does not fit, Optimizer.apply raises the error.
    fits = all(len(slot) == len(fit.parameters) for slot in optimizer.state.values())
    is_plain = type(optimizer) in {SGD, Adagrad} and not optimizer.weight_decay
    return is_plain and fits and not (adding or clips or watched)
