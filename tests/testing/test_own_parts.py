"""minidl's own layers, losses, optimizers and initializers pass the checks that it gives to others."""

import numpy as np
import pytest
from scipy.special import huber, log_softmax, rel_entr, softmax
from sklearn.metrics import hinge_loss

from minidl import (
    ELU,
    GELU,
    SELU,
    SGD,
    Adadelta,
    Adagrad,
    Adam,
    AdamW,
    AMSGrad,
    BatchNorm,
    Concatenate,
    Constant,
    CosineDecay,
    Dense,
    Dropout,
    ExponentialMovingAverage,
    Flatten,
    FocalCrossEntropy,
    GaussianNoise,
    GlorotNormal,
    GlorotUniform,
    HeNormal,
    HeUniform,
    Hinge,
    Huber,
    KLDivergence,
    Layer,
    LayerNorm,
    LeakyReLU,
    LeCunNormal,
    Lion,
    Lookahead,
    MeanAbsoluteError,
    MeanSquaredError,
    Momentum,
    NAdam,
    Normal,
    Orthogonal,
    Poisson,
    PReLU,
    ReLU,
    Rescale,
    Reshape,
    Residual,
    RMSprop,
    Sequential,
    Sigmoid,
    SigmoidCrossEntropy,
    SiLU,
    Softmax,
    SoftmaxCrossEntropy,
    Softplus,
    StochasticWeightAveraging,
    Tanh,
    Uniform,
    Zeros,
    optimizers,
)
from minidl.testing import initializer_checks, layer_checks, loss_checks, optimizer_checks


class FrozenNoise(Layer):
    """Adds random numbers that are drawn once and never trained."""

    def build(self, input_shape, rng):
        self.noise = self.add_state("noise", input_shape, "normal")
        return input_shape

    def forward(self, x, training=False):
        self.check_input(x)
        return x + self.noise.value

    def backward(self, dy):
        return dy.copy()


LAYERS = [
    (FrozenNoise(), 5),
    (Dense(5), 4),
    (Dense(5, "glorot_uniform", use_bias=False), 4),
    (Dense(30), 40),
    (ReLU(), (3, 4)),
    (LeakyReLU(0.2), 6),
    (Sigmoid(), (2, 3)),
    (Tanh(), 5),
    (Softmax(), (2, 4)),
    (Flatten(), (2, 3, 2)),
    (Reshape((3, -1)), (2, 3)),
    (Rescale(1 / 255, -0.5), (2, 2)),
    (Sequential([Dense(5), Tanh(), Dense(3)]), 4),
    (Residual([Dense(6), ReLU(), Dense(4)]), 4),
    (Residual(Tanh()), (2, 3)),
    (Residual([BatchNorm(), ReLU(), Dropout(0.3), Dense(3)]), 4),
    (Residual([Flatten(), Dense(3)], projection=[Flatten(), Dense(3)]), (2, 2)),
    (Concatenate([Dense(3), [Dense(4), Tanh()], Sequential([Tanh()], name="beside")]), 4),
    (Concatenate([Tanh(), Sigmoid()], axis=1), (2, 3)),
    (Concatenate([Residual(Dense(2)), Concatenate([Dropout(0.3), GaussianNoise(0.1)])]), 4),
    (ELU(), (3, 4)),
    (ELU(0.7), 6),
    (SELU(), 5),
    (PReLU(), 4),
    (PReLU(-0.5), (2, 3)),
    (GELU(), 5),
    (GELU(approximate=True), (2, 3)),
    (SiLU(), 5),
    (Softplus(), 4),
    (BatchNorm(), 3),
    (BatchNorm(0.5, 0.1), (2, 3, 4)),
    (LayerNorm(), 4),
    (LayerNorm(0.1), (2, 3)),
    (Dropout(0.3), 8),
    (Dropout(0), (2, 3)),
    (GaussianNoise(0.5), (2, 3)),
    (Sequential([Dense(5), BatchNorm(), Dropout(0.3), Dense(3)]), 4),
]


@pytest.mark.parametrize(
    ("name", "check"),
    [
        pytest.param(name, check, id=f"{layer!r}-{name}")
        for layer, shape in LAYERS
        for name, check in layer_checks(layer, shape)
    ],
)
def test_layer(name, check):
    check()


def softmax_reference(scores, labels):
    return -log_softmax(scores, axis=1)[np.arange(len(labels)), labels]


def sigmoid_reference(scores, targets):
    probabilities = 1 / (1 + np.exp(-scores))
    targets = targets.reshape(scores.shape)
    return -(targets * np.log(probabilities) + (1 - targets) * np.log(1 - probabilities)).mean(axis=1)


def squares_reference(scores, targets):
    return ((scores - targets.reshape(scores.shape)) ** 2).reshape(len(scores), -1).mean(axis=1)


def smoothed_reference(scores, labels):
    return 0.8 * softmax_reference(scores, labels) - 0.2 * log_softmax(scores, axis=1).mean(axis=1)


def focal_reference(scores, labels):
    p = softmax(scores, axis=1)[np.arange(len(labels)), labels]
    return -((1 - p) ** 1.5) * np.log(p)


def focal_rows_reference(scores, targets):
    p = softmax(scores, axis=1)
    return -(targets * (1 - p) ** 0.5 * np.log(p)).sum(axis=1)


def divergence_reference(scores, targets):
    return rel_entr(targets, softmax(scores, axis=1)).sum(axis=1)


def hinge_reference(scores, labels):
    return hinge_loss(labels, scores[:, 0] if scores.shape[1] == 1 else scores)


def absolute_reference(scores, targets):
    return np.abs(scores - targets.reshape(scores.shape)).reshape(len(scores), -1).mean(axis=1)


def huber_reference(scores, targets):
    return huber(0.8, scores - targets.reshape(scores.shape)).reshape(len(scores), -1).mean(axis=1)


def poisson_reference(scores, targets):
    return (np.exp(scores) - targets.reshape(scores.shape) * scores).mean(axis=1)


distributions = np.array([[0.2, 0.5, 0.3], [1, 0, 0], [0, 0.25, 0.75], [0.4, 0.4, 0.2]])
counts = np.array([[0, 3, 1], [1, 0, 0], [7, 2, 0], [1, 2.5, 4]])
bits = np.array([[0, 1, 1], [1, 0, 0], [0, 0, 0], [1, 1, 1]])
LOSSES = [
    (SoftmaxCrossEntropy(), 3, {"reference": softmax_reference, "invalid_targets": [0, 1, 2, 3, 0, 0]}),
    (SoftmaxCrossEntropy(), 3, {"targets": np.eye(3), "invalid_targets": np.ones((3, 3))}),
    (SigmoidCrossEntropy(), 3, {"targets": bits, "reference": sigmoid_reference, "invalid_targets": 2 * bits}),
    (SigmoidCrossEntropy(), 1, {"targets": bits[:, 0], "reference": sigmoid_reference}),
    (MeanSquaredError(), 3, {"reference": squares_reference}),
    (MeanSquaredError(), 1, {"reference": squares_reference}),
    (MeanSquaredError(), (2, 3), {"reference": squares_reference}),
    (SoftmaxCrossEntropy(0.2), 3, {"reference": smoothed_reference}),
    (SoftmaxCrossEntropy(0.2), 3, {"targets": distributions}),
    (FocalCrossEntropy(1.5), 3, {"reference": focal_reference, "invalid_targets": [0, 1, 2, 3, 0, 0]}),
    (
        FocalCrossEntropy(0.5),
        3,
        {"targets": distributions, "reference": focal_rows_reference, "invalid_targets": 2 * distributions},
    ),
    (KLDivergence(), 3, {"targets": distributions, "reference": divergence_reference, "invalid_targets": [0, 1, 2, 0]}),
    (
        Hinge(),
        3,
        {"targets": [0, 1, 2, 2, 1], "reference": hinge_reference, "invalid_targets": np.eye(3)[[0, 1, 2, 2, 1]]},
    ),
    (Hinge(), 1, {"targets": bits[:, 0], "reference": hinge_reference, "invalid_targets": 2 * bits[:, 0]}),
    (Hinge(), 1, {"targets": 2 * bits[:, 0] - 1, "reference": hinge_reference, "invalid_targets": [0, 1, -1, 1]}),
    (MeanAbsoluteError(), 3, {"reference": absolute_reference}),
    (MeanAbsoluteError(), 1, {"reference": absolute_reference}),
    (Huber(0.8), 1, {"reference": huber_reference}),
    (Huber(0.8), (2, 3), {"reference": huber_reference}),
    # An extreme score of 80: float32 ends at exp(88.7).
    (
        Poisson(),
        3,
        {"targets": counts, "reference": poisson_reference, "invalid_targets": -counts, "extreme_score": 80},
    ),
    (Poisson(), 1, {"targets": counts[:, 0], "reference": poisson_reference, "extreme_score": 80}),
]


@pytest.mark.parametrize(
    ("name", "check"),
    [
        pytest.param(name, check, id=f"{loss!r}-{shape}-{name}")
        for loss, shape, options in LOSSES
        for name, check in loss_checks(loss, shape, **options)
    ],
)
def test_loss(name, check):
    check()


OPTIMIZERS = [
    (SGD(0.1), {"scale_invariant": False}),
    (SGD(lambda step: 0.1 / (1 + step)), {}),
    (Momentum(0.1, 0.8), {"scale_invariant": False}),
    (Momentum(0.1, nesterov=True), {}),
    (Adam(), {"scale_invariant": True}),
    (Adam(0.01, 0.5, 0.9, 1e-6), {}),
    (Adam(CosineDecay(0.01, 5), clip_norm=1.0, clip_value=0.5), {}),
    (AdamW(weight_decay=0.5), {"moves_on_zero": True, "scale_invariant": True}),
    (AMSGrad(), {"scale_invariant": True}),
    (NAdam(), {"scale_invariant": True}),
    (RMSprop(), {"scale_invariant": True}),
    (RMSprop(momentum=0.9, centered=True, epsilon=1e-3), {"scale_invariant": False}),
    (Adagrad(), {"scale_invariant": True}),
    (Adadelta(), {"learning_rate": 1.0}),
    (Lion(), {"scale_invariant": True}),
    (Lion(weight_decay=0.1), {"moves_on_zero": True}),
    (ExponentialMovingAverage(Adam()), {"scale_invariant": True}),
    (StochasticWeightAveraging(SGD(0.1), 2, 3), {"scale_invariant": False}),
    (Lookahead("momentum", steps=2), {"scale_invariant": False}),
    (Lookahead(ExponentialMovingAverage(NAdam())), {"scale_invariant": True}),
]


@pytest.mark.parametrize(
    ("name", "check"),
    [
        pytest.param(name, check, id=f"{index}-{name}")
        for index, (optimizer, options) in enumerate(OPTIMIZERS)
        for name, check in optimizer_checks(optimizer, **options)
    ],
)
def test_optimizer(name, check):
    check()


def test_every_optimizer_of_the_package_is_checked():
    checked = {type(optimizer) for optimizer, _ in OPTIMIZERS}
    # LBFGS takes no single steps.
    assert checked == {getattr(optimizers, name) for name in optimizers.__all__ if name[0].isupper()} - {
        optimizers.Optimizer,
        optimizers.LBFGS,
    }


INITIALIZERS = [
    Zeros(),
    Constant(0.5),
    Normal(1.0, 2.0),
    Uniform(-1, 1),
    HeNormal(),
    HeUniform(),
    GlorotNormal(),
    GlorotUniform(),
    LeCunNormal(),
    Orthogonal(2.0),
]


@pytest.mark.parametrize(
    ("name", "check"),
    [
        pytest.param(name, check, id=f"{initializer!r}-{name}")
        for initializer in INITIALIZERS
        for name, check in initializer_checks(initializer)
    ],
)
def test_initializer(name, check):
    check()
