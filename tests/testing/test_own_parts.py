"""minidl's own parts pass the checks that it gives to others."""

import numpy as np
import pytest
from scipy.special import huber, log_softmax, rel_entr, softmax
from sklearn.metrics import (
    f1_score,
    hinge_loss,
    mean_absolute_error,
    r2_score,
    root_mean_squared_error,
    top_k_accuracy_score,
)

from minidl import (
    ELU,
    GELU,
    GRU,
    L2,
    LBFGS,
    LSTM,
    SELU,
    SGD,
    Adadelta,
    Adagrad,
    Adam,
    AdamW,
    AMSGrad,
    AveragePool1D,
    AveragePool2D,
    BatchNorm,
    Bidirectional,
    Concatenate,
    Constant,
    ConstantRate,
    Conv1D,
    Conv2D,
    Conv2DTranspose,
    CosineDecay,
    CosineRestarts,
    Dense,
    DepthwiseConv2D,
    Dropout,
    Dropout2D,
    Embedding,
    ExponentialDecay,
    ExponentialMovingAverage,
    Flatten,
    FocalCrossEntropy,
    GaussianNoise,
    GlobalAveragePool1D,
    GlobalAveragePool2D,
    GlobalMaxPool1D,
    GlobalMaxPool2D,
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
    MaxNorm,
    MaxPool1D,
    MaxPool2D,
    MeanAbsoluteError,
    MeanSquaredError,
    Momentum,
    NAdam,
    Normal,
    OneCycle,
    Optimizer,
    Orthogonal,
    Poisson,
    PolynomialDecay,
    PReLU,
    ReLU,
    Rescale,
    Reshape,
    Residual,
    RMSprop,
    Schedule,
    Sequential,
    Sigmoid,
    SigmoidCrossEntropy,
    SiLU,
    SimpleRNN,
    Softmax,
    SoftmaxCrossEntropy,
    Softplus,
    StepDecay,
    StochasticWeightAveraging,
    Tanh,
    Uniform,
    UpSample2D,
    Warmup,
    ZeroPad2D,
    Zeros,
    metrics,
    optimizers,
    schedules,
)
from minidl.testing import (
    average_checks,
    initializer_checks,
    layer_checks,
    loss_checks,
    metric_checks,
    optimizer_checks,
    schedule_checks,
)


class FixedNoise(Layer):
    """Adds random numbers that are drawn once and never trained."""

    def build(self, input_shape, declare):
        self.noise = declare.state("noise", input_shape, "normal")
        return input_shape

    def forward(self, x, training=False):
        return x + self.noise.value

    def backward(self, dy):
        return dy.copy()


LAYERS = [
    (FixedNoise(), 5),
    (Dense(5), 4),
    (Dense(5, initializer="glorot_uniform", use_bias=False), 4),
    (Dense(30), 40),
    (Dense(3, regularizer=L2(0.1), constraint=MaxNorm(2)), (2, 5, 4)),
    (ReLU(), (3, 4)),
    (LeakyReLU(0.2), 6),
    (Sigmoid(), (2, 3)),
    (Tanh(), 5),
    (Softmax(), (2, 4)),
    (Flatten(), (2, 3, 2)),
    (Reshape((3, -1)), (2, 3)),
    (Rescale(1 / 255, offset=-0.5), (2, 2)),
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
    (PReLU(initial_slope=-0.5), (2, 3)),
    (GELU(), 5),
    (GELU(approximate=True), (2, 3)),
    (SiLU(), 5),
    (Softplus(), 4),
    (BatchNorm(), 3),
    (BatchNorm(momentum=0.5, epsilon=0.1), (2, 3, 4)),
    (LayerNorm(), 4),
    (LayerNorm(epsilon=0.1), (2, 3)),
    (Dropout(0.3), 8),
    (Dropout(0), (2, 3)),
    (GaussianNoise(0.5), (2, 3)),
    (Conv2D(3, 3), (5, 4, 2)),
    (Conv2D(3, (1, 2), use_bias=False, regularizer=L2(0.1), constraint=MaxNorm(2)), (3, 4, 1)),
    (Conv2D(4, 3, strides=2, padding="same"), (5, 6, 1)),
    (Conv2D(4, (3, 2), strides=(2, 3), padding=((0, 2), (1, 0)), groups=2), (4, 5, 4)),
    (Conv2D(2, 2, padding="same", dilation=(2, 1)), (4, 3, 2)),
    (Conv2D(4, 3, strides=2, padding=1, dilation=2, groups=2), (6, 7, 2)),
    (Conv2D(3, 1, strides=2), (4, 3, 2)),
    (DepthwiseConv2D(3, strides=2, padding="same"), (5, 4, 3)),
    (DepthwiseConv2D((2, 3), multiplier=2, dilation=2), (4, 6, 2)),
    (Conv2DTranspose(3, 3), (2, 3, 2)),
    (Conv2DTranspose(2, 3, strides=2, padding="same"), (3, 2, 2)),
    (Conv2DTranspose(2, (2, 3), strides=(3, 2), padding=((0, 1), (1, 0)), dilation=(1, 2), use_bias=False), (2, 3, 1)),
    (MaxPool2D(), (4, 5, 2)),
    (MaxPool2D(3, strides=2, padding="same"), (4, 5, 2)),
    (MaxPool2D((1, 3), strides=1, padding=((0, 0), (1, 2))), (3, 4, 1)),
    (AveragePool2D(), (5, 4, 2)),
    (AveragePool2D(3, strides=(2, 1), padding=1), (4, 5, 2)),
    (GlobalAveragePool2D(), (3, 2, 3)),
    (GlobalMaxPool2D(), (3, 2, 3)),
    (Conv1D(3, 3), (5, 2)),
    (Conv1D(3, 2, use_bias=False, regularizer=L2(0.1), constraint=MaxNorm(2)), (4, 1)),
    (Conv1D(4, 3, strides=2, padding="same", groups=2), (6, 2)),
    (Conv1D(4, 3, padding="causal", dilation=2), (6, 2)),
    (Conv1D(2, 2, strides=2, padding=(0, 3)), (5, 3)),
    (MaxPool1D(), (5, 2)),
    (MaxPool1D(3, strides=2, padding="same"), (5, 2)),
    (AveragePool1D(), (5, 2)),
    (AveragePool1D(3, strides=1, padding=(1, 2)), (5, 2)),
    (GlobalAveragePool1D(), (3, 2)),
    (GlobalMaxPool1D(), (3, 2)),
    (ZeroPad2D(((1, 0), (2, 1))), (2, 3, 2)),
    (UpSample2D((2, 3)), (2, 3, 2)),
    (Dropout2D(0.3), (3, 2, 8)),
    (BatchNorm(), (2, 3, 4)),
    (BatchNorm(), (4, 3)),
    (LayerNorm(), (3, 2, 4)),
    (Residual([Conv2D(4, 3, strides=2, padding="same"), BatchNorm(), ReLU()]), (5, 4, 2)),
    (Residual([Conv2D(2, 3, padding="same"), Tanh()]), (3, 3, 2)),
    (Concatenate([Conv2D(2, 1), [MaxPool2D(3, strides=1, padding="same"), Conv2D(1, 1)]]), (3, 4, 2)),
    (Sequential([Reshape((4, 4, 1)), Conv2D(3, 3), ReLU(), MaxPool2D(), Flatten(), Dense(2)]), 16),
    (Sequential([Dense(5), BatchNorm(), Dropout(0.3), Dense(3)]), 4),
    (SimpleRNN(3), (4, 2)),
    (SimpleRNN(3, activation="relu", return_sequences=True, go_backwards=True), (4, 2)),
    (GRU(3), (4, 2)),
    (GRU(3, return_sequences=True, regularizer=L2(0.1), constraint=MaxNorm(2)), (4, 2)),
    (GRU(3, go_backwards=True, initializer="he_normal", recurrent_initializer="glorot_uniform"), (4, 2)),
    (LSTM(3), (4, 2)),
    (LSTM(3, return_sequences=True), (1, 1)),
    (LSTM(1, return_sequences=True, go_backwards=True), (4, 2)),
    (Bidirectional(LSTM(3, return_sequences=True)), (4, 2)),
    (Bidirectional(GRU(3), merge="sum"), (4, 2)),
    (Bidirectional(SimpleRNN(3, return_sequences=True), merge="mean"), (4, 2)),
    (Sequential([GRU(3, return_sequences=True), Bidirectional(LSTM(2)), Dense(2)]), (4, 2)),
    (Residual([LayerNorm(), SimpleRNN(3, return_sequences=True), Dropout(0.3), Dense(2)]), (4, 2)),
    (Concatenate([MaxPool1D(), [Conv1D(2, 3, padding="causal"), AveragePool1D()]], axis=1), (4, 2)),
    (Sequential([Conv1D(3, 2), MaxPool1D(2, strides=1), GlobalAveragePool1D(), Dense(2)]), (5, 2)),
]
# At any position: alone, behind a layer that lets integers through, in nested models and in branches.
LAYERS_OF_INTEGERS = [
    Embedding(7, 3),
    Embedding(300, 2, padding_id=0),
    Sequential([Reshape((3, 2)), Sequential([Embedding(7, 3), Dense(2)])]),
    Residual([Embedding(7, 3), Flatten()], projection=[Flatten(), Embedding(7, 3), Flatten(), Dense(18)]),
    Concatenate([Embedding(7, 3), [Embedding(7, 3), Tanh()]]),
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


@pytest.mark.parametrize(
    ("name", "check"),
    [
        pytest.param(name, check, id=f"{layer!r}-{name}")
        for layer in LAYERS_OF_INTEGERS
        for name, check in layer_checks(layer, 6, integers=7)
    ],
)
def test_layer_of_integers(name, check):
    check()


def softmax_reference(scores, labels):
    return -log_softmax(scores, axis=1)[np.arange(len(labels)), labels]


def sigmoid_reference(scores, targets):
    probabilities = 1 / (1 + np.exp(-scores))
    targets = targets.reshape(scores.shape)
    return -(targets * np.log(probabilities) + (1 - targets) * np.log(1 - probabilities)).mean(axis=1)


def positions_reference(scores, labels):
    each = -np.log(softmax(scores, axis=-1))
    return np.take_along_axis(each, labels[..., np.newaxis], axis=-1)[..., 0]


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
    (SoftmaxCrossEntropy(label_smoothing=0.2), 3, {"reference": smoothed_reference}),
    (SoftmaxCrossEntropy(label_smoothing=0.2), 3, {"targets": distributions}),
    (SoftmaxCrossEntropy(), (4, 3), {"reference": positions_reference}),
    (SigmoidCrossEntropy(), (4, 2), {}),
    (FocalCrossEntropy(gamma=1.5), (2, 3), {}),
    (Hinge(), (2, 3), {}),
    (FocalCrossEntropy(gamma=1.5), 3, {"reference": focal_reference, "invalid_targets": [0, 1, 2, 3, 0, 0]}),
    (
        FocalCrossEntropy(gamma=0.5),
        3,
        {"targets": distributions, "reference": focal_rows_reference, "invalid_targets": 2 * distributions},
    ),
    (KLDivergence(), 3, {"targets": distributions, "reference": divergence_reference, "invalid_targets": [0, 1, 2, 3]}),
    (
        Hinge(),
        3,
        {"targets": [0, 1, 2, 2, 1], "reference": hinge_reference, "invalid_targets": np.eye(3)[[0, 1, 2, 2, 1]]},
    ),
    (Hinge(), 1, {"targets": bits[:, 0], "reference": hinge_reference, "invalid_targets": 2 * bits[:, 0]}),
    (Hinge(), 1, {"targets": 2 * bits[:, 0] - 1, "reference": hinge_reference, "invalid_targets": [0, 1, -1, 1]}),
    (MeanAbsoluteError(), 3, {"reference": absolute_reference}),
    (MeanAbsoluteError(), 1, {"reference": absolute_reference}),
    (Huber(delta=0.8), 1, {"reference": huber_reference}),
    (Huber(delta=0.8), (2, 3), {"reference": huber_reference}),
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
    (Momentum(0.1, momentum=0.8), {"scale_invariant": False}),
    (Momentum(0.1, nesterov=True), {}),
    (Adam(), {"scale_invariant": True}),
    (Adam(0.01, beta1=0.5, beta2=0.9, epsilon=1e-6), {}),
    (Adam(CosineDecay(0.01, steps=5)), {}),
    (AdamW(weight_decay=0.5), {"moves_on_zero": True, "scale_invariant": True}),
    (AMSGrad(), {"scale_invariant": True}),
    (NAdam(), {"scale_invariant": True}),
    (RMSprop(), {"scale_invariant": True}),
    (RMSprop(momentum=0.9, centered=True, epsilon=1e-3), {"scale_invariant": False}),
    (Adagrad(), {"scale_invariant": True}),
    (Adadelta(), {"learning_rate": 1.0}),
    (Lion(), {"scale_invariant": True}),
    (Lion(weight_decay=0.1), {"moves_on_zero": True}),
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
    public = {each for each in vars(optimizers).values() if isinstance(each, type) and issubclass(each, Optimizer)}
    # LBFGS takes no single steps.
    assert {type(optimizer) for optimizer, _ in OPTIMIZERS} == public - {Optimizer, LBFGS}


INITIALIZERS = [
    Zeros(),
    Constant(0.5),
    Normal(mean=1.0, standard_deviation=2.0),
    Uniform(low=-1, high=1),
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


def share_of_right(scores, labels):
    return np.mean(scores.argmax(axis=-1) == labels)


def is_close(predictions, targets):
    return np.abs(predictions - targets) < 1


def margin(scores, targets):
    return np.ptp(scores, axis=1)


bits_of_one = np.tile([0, 1, 1, 0, 1], 4)
METRICS = [
    (metrics.Accuracy(), {"reference": share_of_right}),
    (metrics.Accuracy(), {"loss": SigmoidCrossEntropy(), "output_shape": 4}),
    (metrics.Accuracy(), {"output_shape": (5, 3), "reference": share_of_right}),
    (
        metrics.TopKAccuracy(2),
        {"reference": lambda scores, labels: top_k_accuracy_score(labels, scores, k=2, labels=range(3))},
    ),
    (metrics.TopKAccuracy(), {"output_shape": 10}),
    (metrics.TotalVariation(), {}),
    *(
        (kind(average=average), {"output_shape": 4})
        for kind in (metrics.Precision, metrics.Recall, metrics.F1)
        for average in ("auto", "macro", "micro", "weighted")
    ),
    (metrics.F1(average="binary"), {"loss": SigmoidCrossEntropy(), "output_shape": 1, "targets": bits_of_one}),
    (metrics.F1(), {"loss": SigmoidCrossEntropy(), "output_shape": 4}),
    (
        metrics.F1(),
        {
            "output_shape": 4,
            "reference": lambda scores, labels: f1_score(labels, scores.argmax(axis=1), average="macro"),
        },
    ),
    (
        metrics.MeanAbsoluteError(),
        {"loss": MeanSquaredError(), "reference": lambda scores, y: mean_absolute_error(y, scores)},
    ),
    (metrics.MeanSquaredError(), {"loss": MeanSquaredError(), "output_shape": 1}),
    (
        metrics.RootMeanSquaredError(),
        {"loss": MeanSquaredError(), "reference": lambda scores, y: root_mean_squared_error(y, scores)},
    ),
    (
        metrics.R2Score(),
        {"loss": MeanSquaredError(), "output_shape": 1, "reference": lambda scores, y: r2_score(y, scores)},
    ),
    (metrics.R2Score(), {"loss": MeanSquaredError(), "reference": lambda scores, y: r2_score(y, scores)}),
    (is_close, {"loss": MeanSquaredError(), "output_shape": 1}),
    (margin, {}),
]


@pytest.mark.parametrize(
    ("name", "check"),
    [
        pytest.param(name, check, id=f"{index}-{name}")
        for index, (metric, options) in enumerate(METRICS)
        for name, check in metric_checks(metric, **options)
    ],
)
def test_metric(name, check):
    check()


def test_every_metric_of_the_package_is_checked():
    public = {each for each in vars(metrics).values() if isinstance(each, type) and issubclass(each, metrics.Metric)}
    bases = {metrics.Metric, metrics.ClassMetric, metrics.FunctionMetric}
    checked = {type(metric) for metric, _ in METRICS if isinstance(metric, metrics.Metric)}
    assert checked == public - bases


SCHEDULES = [
    ConstantRate(0.1),
    StepDecay(0.1, every=10),
    ExponentialDecay(0.1, steps=10, factor=0.5),
    PolynomialDecay(0.1, steps=100, end=0.01, power=2),
    CosineDecay(0.1, steps=100),
    CosineRestarts(0.1, steps=10, decay=0.5),
    CosineRestarts(0.1, steps=10, growth=1),
    OneCycle(0.1, steps=100),
    Warmup(0.1, steps=10),
    Warmup(CosineDecay(0.1, steps=50, end=0.001), steps=20, start=0.01),
]


@pytest.mark.parametrize(
    ("name", "check"),
    [
        pytest.param(name, check, id=f"{schedule!r}-{name}")
        for schedule in SCHEDULES
        for name, check in schedule_checks(schedule)
    ],
)
def test_schedule(name, check):
    check()


def test_every_schedule_of_the_package_is_checked():
    public = [each for name, each in vars(schedules).items() if not name.startswith("_")]
    kinds = {each for each in public if isinstance(each, type) and issubclass(each, Schedule)}
    assert {type(schedule) for schedule in SCHEDULES} == kinds - {Schedule}


AVERAGES = [
    ExponentialMovingAverage(0.9),
    StochasticWeightAveraging(),
    StochasticWeightAveraging(start=4, every=3),
    Lookahead(steps=2),
    Lookahead(slow_rate=1),
]


@pytest.mark.parametrize(
    ("name", "check"),
    [
        pytest.param(name, check, id=f"{average!r}-{name}")
        for average in AVERAGES
        for name, check in average_checks(average)
    ],
)
def test_average(name, check):
    check()
