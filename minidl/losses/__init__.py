"""Losses: the last element of a model, which turns scores and targets into a number to make small.

`base` says what a loss is; the others are for classes and for numbers.
"""

from minidl.losses.base import Loss
from minidl.losses.classification import (
    CategoricalLoss,
    FocalCrossEntropy,
    Hinge,
    KLDivergence,
    PositionWiseLoss,
    SigmoidCrossEntropy,
    SoftmaxCrossEntropy,
)
from minidl.losses.regression import Huber, MeanAbsoluteError, MeanSquaredError, Poisson, RegressionLoss
