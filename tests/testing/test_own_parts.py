"""minidl's own layers, losses, optimizers and initializers pass the checks that it gives to others."""

from dataclasses import dataclass

import numpy as np
import pytest
from scipy.special import log_softmax

from minidl import (
    SGD,
    Adadelta,
    Adagrad,
    Adam,
    AdamW,
    AMSGrad,
    Constant,
    CosineDecay,
    Dense,
    ExponentialMovingAverage,
    Flatten,
    GlorotNormal,
    GlorotUniform,
    HeNormal,
    HeUniform,
    Layer,
    LeakyReLU,
    LeCunNormal,
    Lion,
    Lookahead,
    MeanSquaredError,
    Momentum,
    NAdam,
    Normal,
    Orthogonal,
    ReLU,
    Rescale,
    Reshape,
    RMSprop,
    Sequential,
    Sigmoid,
    SigmoidCrossEntropy,
    Softmax,
    SoftmaxCrossEntropy,
    StochasticWeightAveraging,
    Tanh,
    Uniform,
    Zeros,
    optimizers,
)
from minidl.testing import initializer_checks, layer_checks, loss_checks, optimizer_checks


@dataclass(eq=False)
class Residual(Layer):
    inner: Layer

    def build(self, input_shape, rng):
        return self.inner.build(input_shape, rng)

    def sublayers(self):
        return {"inner": self.inner}

    def forward(self, x, training=False):
        return x + self.inner.forward(x, training=training)

    def backward(self, dy):
        return dy + self.inner.backward(dy)


@dataclass(eq=False)
class Dropout(Layer):
    """Draws random numbers in training, from a generator of its own."""

    rate: float = 0.5

    def build(self, input_shape, rng):
        self.rng = np.random.default_rng(rng.integers(2**32))
        return input_shape

    def forward(self, x, training=False):
        if not training:
            return x.copy()
        self.saved = ((self.rng.random(x.shape) >= self.rate) / (1 - self.rate)).astype(x.dtype)
        return x * self.saved

    def backward(self, dy):
        return dy * self.saved


@dataclass(eq=False)
class Center(Layer):
    """Takes the batch's mean off, and in inference that of the batches seen: rows depend on each other."""

    mixes_batch = True

    def build(self, input_shape, rng):
        self.mean = self.add_state("mean", input_shape)
        return input_shape

    def forward(self, x, training=False):
        self.check_input(x)
        if not training or not len(x):
            return x - self.mean.value
        mean = x.mean(axis=0)
        self.mean.value = 0.9 * self.mean.value + 0.1 * mean
        return x - mean

    def backward(self, dy):
        return dy - dy.mean(axis=0) if len(dy) else dy.copy()


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
    (Residual(Sequential([Dense(6), ReLU(), Dense(4)])), 4),
    (Dropout(0.3), 8),
    (Center(), 3),
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


bits = np.array([[0, 1, 1], [1, 0, 0], [0, 0, 0], [1, 1, 1]])
LOSSES = [
    (SoftmaxCrossEntropy(), 3, {"reference": softmax_reference, "invalid_targets": [0, 1, 2, 3, 0, 0]}),
    (SoftmaxCrossEntropy(), 3, {"targets": np.eye(3), "invalid_targets": np.ones((3, 3))}),
    (SigmoidCrossEntropy(), 3, {"targets": bits, "reference": sigmoid_reference, "invalid_targets": 2 * bits}),
    (SigmoidCrossEntropy(), 1, {"targets": bits[:, 0], "reference": sigmoid_reference}),
    (MeanSquaredError(), 3, {"reference": squares_reference}),
    (MeanSquaredError(), 1, {"reference": squares_reference}),
    (MeanSquaredError(), (2, 3), {"reference": squares_reference}),
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
