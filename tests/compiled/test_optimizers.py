"""Compiled updates give the bits of the NumPy code, at any numbers, sizes and strides."""

import copy
from pkgutil import resolve_name

import numpy as np
import pytest
from bits import SIZES, assert_same_bits, compiled_functions, numbers

from minidl import SGD, Adagrad, Adam, Momentum, RMSprop
from minidl.optimizers import Adadelta, AdamW, AMSGrad, Lion, NAdam

OPTIMIZERS = [
    SGD(0.1),
    Momentum(0.1, momentum=0.7),
    Momentum(0.1, nesterov=True),
    Adam(0.01),
    Adam(0.01, beta1=0.0, beta2=0.5, epsilon=1e-3),
    AdamW(0.01, weight_decay=0.1),
    AMSGrad(0.01),
    NAdam(0.01),
    RMSprop(0.01),
    RMSprop(0.01, momentum=0.9),
    RMSprop(0.01, centered=True, momentum=0.5),
    RMSprop(0.01, centered=True),
    Adagrad(0.1),
    Adadelta(1.0),
    Lion(0.01),
]


def updates(optimizer):
    """NumPy's update of an optimizer, and the compiled one."""
    homes = {resolve_name(each.home): each for each in compiled_functions("update")}
    found = next(homes[kind] for kind in type(optimizer).__mro__ if kind in homes)
    assert type(optimizer).update in (found.numpy, found.compiled)
    return found.numpy, found.compiled


@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=repr)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("stride", [1, 3])
def test_an_update_gives_the_bits_of_numpys(optimizer, dtype, stride):
    for size in SIZES:
        results = []
        for update in updates(optimizer):
            rng, each = np.random.default_rng(size), copy.deepcopy(optimizer)
            p, g = (numbers(rng, size, dtype, stride) for _ in range(2))
            slots = [np.zeros(size * stride, dtype)[::stride] for _ in each.slots]
            for each.step in (1, 2, 3):
                with np.errstate(all="ignore"):
                    update(each, p, g, 0.03, *slots)
                g = numbers(rng, size, dtype, stride)
            results.append([p, *slots])
        for numpy, compiled in zip(*results, strict=True):
            assert_same_bits(compiled, numpy)


def test_every_update_of_one_pass_has_a_compiled_one():
    import minidl

    kinds = {getattr(minidl, name) for name in minidl.__all__ if isinstance(getattr(minidl, name), type)}
    own = {kind for kind in kinds if issubclass(kind, minidl.Optimizer) and "update" in vars(kind)}
    assert {resolve_name(each.home) for each in compiled_functions("update")} == own - {minidl.Optimizer, minidl.LBFGS}
