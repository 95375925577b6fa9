"""Losses: the last element of a model. A loss turns scores and targets into the number that training minimizes.

`base` defines what a loss is. The other files are for classes and for numbers.
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
