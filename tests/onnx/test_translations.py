"""Every layer, block and loss of minidl's against what ONNX Runtime computes of its translation."""

import copy

import numpy as np
import pytest
from onnxfiles import assert_close, random_model, run

import minidl
import minidl.onnx
from minidl import (
    ELU,
    BatchNorm,
    Concatenate,
    Dense,
    FocalCrossEntropy,
    GaussianNoise,
    Hinge,
    Huber,
    KLDivergence,
    Layer,
    Loss,
    MeanAbsoluteError,
    MeanSquaredError,
    Poisson,
    Reshape,
    Residual,
    Sequential,
    SigmoidCrossEntropy,
    Softmax,
    SoftmaxCrossEntropy,
    layers,
    losses,
    sequences,
)
from minidl.errors import ArgumentError, ArgumentTypeError
from minidl.onnx import Graph, translations
from minidl.settings import setting

rng = np.random.default_rng(0)
IMAGE, VECTOR, SERIES, IDS = (7, 6, 4), (5,), (3, 4), (8,)
LONG = (8, 4)  # a sequence

STEPS = [{}, {"return_sequences": True}, {"go_backwards": True}, {"go_backwards": True, "return_sequences": True}]
# Of each layer, the settings to try and the shapes of samples.
CASES = {
    "Dense": [({"units": 3}, VECTOR), ({"units": 3, "use_bias": False}, SERIES), ({"units": 2}, IMAGE)],
    "Conv2D": [
        ({"filters": 3, "kernel_size": (3, 2), "strides": (2, 1), "padding": ((1, 0), (2, 1))}, IMAGE),
        ({"filters": 4, "kernel_size": 3, "dilation": 2, "groups": 2, "padding": "same", "use_bias": False}, IMAGE),
    ],
    "DepthwiseConv2D": [({"kernel_size": 3, "multiplier": 2, "strides": 2}, IMAGE)],
    "Conv2DTranspose": [
        ({"filters": 3, "kernel_size": (3, 2), "strides": (2, 3), "padding": "same"}, IMAGE),
        ({"filters": 2, "kernel_size": 3, "strides": 2, "dilation": 2, "padding": ((1, 2), (0, 1))}, IMAGE),
        ({"filters": 2, "kernel_size": 1, "strides": 3, "padding": "same"}, IMAGE),
    ],
    "MaxPool2D": [({}, IMAGE), ({"pool_size": (3, 2), "strides": 1, "padding": "same"}, IMAGE)],
    "AveragePool2D": [({}, IMAGE), ({"pool_size": 3, "strides": 2, "padding": ((1, 2), (0, 1))}, IMAGE)],
    "GlobalAveragePool2D": [({}, IMAGE)],
    "GlobalMaxPool2D": [({}, IMAGE)],
    "UpSample2D": [({"size": (2, 3)}, IMAGE)],
    "ZeroPad2D": [({"padding": ((1, 0), (2, 3))}, IMAGE)],
    "BatchNorm": [({"epsilon": 1e-2}, VECTOR), ({}, SERIES), ({}, IMAGE)],
    "LayerNorm": [({"epsilon": 1e-2}, VECTOR), ({}, IMAGE)],
    "PReLU": [({}, VECTOR), ({}, SERIES), ({}, IMAGE)],
    "LeakyReLU": [({"negative_slope": 0.2}, VECTOR), ({"negative_slope": -2.0}, VECTOR)],
    "ELU": [({"alpha": 0.7}, VECTOR)],
    "GELU": [({}, VECTOR), ({"approximate": True}, VECTOR)],
    "Softmax": [({}, VECTOR), ({}, IMAGE)],
    "Rescale": [({"scale": 0.3}, VECTOR), ({"scale": 0.3, "offset": -1.5}, IMAGE)],
    "Reshape": [({"target_shape": (2, -1)}, IMAGE)],
    "Flatten": [({}, IMAGE), ({}, VECTOR)],
    "GaussianNoise": [({"standard_deviation": 0.5}, VECTOR)],
    "Residual": [
        ({"layers": [layers.Tanh()]}, VECTOR),
        ({"layers": [layers.Conv2D(5, 3, strides=2, padding="same")]}, IMAGE),
        ({"layers": [layers.Conv2D(4, 3, padding="same")]}, IMAGE),
    ],
    "Concatenate": [
        ({"branches": [layers.Tanh(), [Dense(2), layers.ReLU()]]}, VECTOR),
        ({"branches": [layers.Conv2D(2, 1), layers.MaxPool2D(3, strides=1, padding="same"), Dense(2)]}, IMAGE),
        ({"branches": [layers.Conv2D(4, 1), layers.Conv2D(4, 1)], "axis": 1}, IMAGE),
        ({"branches": [layers.Tanh(), layers.ReLU()], "axis": -2}, IMAGE),
    ],
    "Sequential": [({"layers": [Dense(3), layers.ReLU()]}, VECTOR)],
    "Embedding": [({"vocabulary_size": 9, "units": 3}, IDS), ({"vocabulary_size": 9, "units": 3}, (2, 5))],
    "PositionalEncoding": [({}, LONG)],
    "PositionEmbedding": [({}, LONG)],
    "Conv1D": [
        ({"filters": 3, "kernel_size": 3}, LONG),
        ({"filters": 4, "kernel_size": 2, "padding": "causal", "dilation": 3, "groups": 2, "use_bias": False}, LONG),
        ({"filters": 3, "kernel_size": 3, "strides": 2, "padding": "same"}, LONG),
        ({"filters": 3, "kernel_size": 3, "strides": 2, "padding": (2, 1)}, LONG),
    ],
    "MaxPool1D": [({}, LONG), ({"pool_size": 3, "strides": 2, "padding": (1, 2)}, LONG)],
    "AveragePool1D": [({}, LONG), ({"pool_size": 3, "strides": 1, "padding": "same"}, LONG)],
    "GlobalAveragePool1D": [({}, LONG)],
    "GlobalMaxPool1D": [({}, LONG)],
    "Masking": [({}, LONG)],
    "MultiHeadAttention": [
        ({"heads": 2}, LONG),
        ({"heads": 2, "causal": True, "use_bias": False}, LONG),
        ({"heads": 2, "causal": True, "rotary": True}, LONG),
        ({"heads": 1, "rotary": True, "dropout": 0.3}, LONG),
    ],
    **{name: [({"units": 5, **each}, LONG) for each in STEPS] for name in ("SimpleRNN", "GRU", "LSTM")},
    "Bidirectional": [
        ({"layer": sequences.LSTM(3)}, LONG),
        ({"layer": sequences.GRU(3, return_sequences=True), "merge": "sum"}, LONG),
        ({"layer": sequences.SimpleRNN(3, activation="relu", return_sequences=True), "merge": "mean"}, LONG),
    ],
    "TiedEmbedding": [
        ({"embedding": sequences.Embedding(9, 4), "layers": [sequences.PositionEmbedding()]}, IDS),
        ({"embedding": sequences.Embedding(9, 4), "layers": [sequences.GlobalMaxPool1D()], "use_bias": True}, IDS),
    ],
}  # fmt: skip
PLAIN = [({}, VECTOR), ({}, SERIES), ({}, IMAGE)]


def public_layers():
    """Names of all classes of layers that users see: a new one is here without being entered anywhere."""
    shown = {getattr(minidl, name) for name in minidl.__all__} | {getattr(layers, name) for name in layers.__all__}
    return sorted({each.__name__ for each in shown if isinstance(each, type) and issubclass(each, Layer)} - {"Layer"})


@pytest.mark.parametrize("name", public_layers())
def test_onnx_runtime_agrees_with_every_public_layer(name, tmp_path):
    for settings, shape in CASES.get(name, PLAIN):
        before = {IMAGE: [layers.Conv2D(4, 1)], LONG: [sequences.Conv1D(4, 1)]}.get(shape, [])
        for start in ([], before):  # with the channels last, and with the channels first
            layer = getattr(minidl, name)(**copy.deepcopy(settings))
            check(Sequential([*start, Sequential([layer])], input_shape=shape), tmp_path)


def inputs(model, rows):
    """Numbers, or ids for a model that begins with an embedding."""
    sizes = [layer.vocabulary_size for layer in model.walk() if isinstance(layer, sequences.Embedding)]
    if sizes:
        return rng.integers(min(sizes), size=(rows, *model.input_shape))
    return rng.normal(size=(rows, *model.input_shape)).astype(np.float32)


def check(model, tmp_path):
    path, of_ids = tmp_path / "model.onnx", any(isinstance(layer, sequences.Embedding) for layer in model.walk())
    minidl.onnx.export(random_model(model, rng), path, input_dtype="int64" if of_ids else "float32")
    # ONNX Runtime aborts where one of these gets no rows.
    aborts = any(isinstance(layer, sequences.GRU | sequences.LSTM) for layer in model.walk())
    for rows in (1, 5) if aborts else (0, 1, 5):
        x = inputs(model, rows)
        assert_close(run(path, x)[0], model.forward(x))
    back = minidl.onnx.load(path)
    assert back.input_shape == model.input_shape
    assert_close(back.forward(x), model.forward(x))


OUTPUTS = {
    "SoftmaxCrossEntropy": (SoftmaxCrossEntropy, [(3,), (2, 3)]),
    "FocalCrossEntropy": (FocalCrossEntropy, [(3,)]),
    "KLDivergence": (KLDivergence, [(3,)]),
    "SigmoidCrossEntropy": (SigmoidCrossEntropy, [(1,), (3,), (2, 1)]),
    "Hinge": (Hinge, [(1,), (3,), (2, 1)]),
    "MeanSquaredError": (MeanSquaredError, [(1,), (3,)]),
    "MeanAbsoluteError": (MeanAbsoluteError, [(1,)]),
    "Huber": (Huber, [(2,)]),
    "Poisson": (Poisson, [(1,), (3,)]),
}
BASES = {"Loss", "CategoricalLoss", "PositionWiseLoss", "RegressionLoss"}


def public_losses():
    found = (getattr(losses, name) for name in dir(losses))
    return sorted({each.__name__ for each in found if isinstance(each, type) and issubclass(each, Loss)} - BASES)


@pytest.mark.parametrize("name", public_losses())
def test_onnx_runtime_agrees_with_what_every_public_loss_makes_of_scores(name, tmp_path):
    kind, shapes = OUTPUTS[name]
    for shape in shapes:
        model = Sequential([Dense(int(np.prod(shape))), Reshape(shape), kind()], input_shape=4, seed=0)
        x = rng.normal(size=(9, 4)).astype(np.float32)
        wanted = {"scores": model.predict_scores, "labels": model.predict}
        if type(model.loss).activate is not Loss.activate:
            wanted["probabilities"] = model.predict_proba
        else:
            with pytest.raises(ArgumentError, match="gives no probabilities"):
                minidl.onnx.export(model, tmp_path / "model.onnx", output="probabilities")
        for output, predict in wanted.items():
            minidl.onnx.export(model, tmp_path / "model.onnx", output=output)
            (y,) = run(tmp_path / "model.onnx", x)
            assert_close(y, predict(x))
            assert (y.dtype == np.int64) == (predict(x).dtype.kind == "i")


class Swish(Layer):
    beta: float = 1.0

    def forward(self, x, training=False):
        return x / (1 + np.exp(-self.beta * x))


class ExportedSwish(Swish):
    def to_onnx(self, graph, x):
        gate = graph.node("Sigmoid", graph.node("Mul", x, graph.constant(self.beta)))
        return graph.node("Mul", x, gate)


class Sum(Layer):
    """A block of one's own: it adds its layer's output to its input's mean."""

    dense: object = setting(kw_only=False)

    def sublayers(self):
        return {"dense": self.dense}

    def build(self, input_shape, declare):
        return declare.sublayer("dense", input_shape)

    def forward(self, x, training=False):
        return self.dense.forward(x, training) + x.mean(axis=1, keepdims=True)

    def to_onnx(self, graph, x):
        return graph.node("Add", graph.add_layer(self.dense, x), graph.node("ReduceMean", x, axes=[1]))


def exported(model, tmp_path, x):
    minidl.onnx.export(model, tmp_path / "model.onnx")
    return run(tmp_path / "model.onnx", x)[0]


def test_a_layer_of_ones_own_adds_its_nodes_by_a_method(tmp_path):
    x = rng.normal(size=(3, 4)).astype(np.float32)
    model = Sequential([Residual([Dense(4), ExportedSwish(beta=1.5)]), Sum(Dense(2))], input_shape=4, seed=0)
    assert_close(exported(model, tmp_path, x), model.forward(x))


def test_a_layer_of_ones_own_gets_images_with_their_channels_last(tmp_path):
    class Columns(Layer):
        def build(self, input_shape, declare):
            return input_shape[:1] + input_shape[2:]

        def forward(self, x, training=False):
            return x.max(axis=2)

        def to_onnx(self, graph, x):
            return graph.node("ReduceMax", x, axes=[2], keepdims=0)

    model = Sequential([layers.Conv2D(3, 2), Columns()], input_shape=(4, 5, 2), seed=0)
    x = rng.normal(size=(3, 4, 5, 2)).astype(np.float32)
    assert_close(exported(model, tmp_path, x), model.forward(x))


def test_a_function_can_be_registered_for_a_layer_or_a_loss(tmp_path, monkeypatch):
    class Cosine(Loss):
        def per_sample(self, scores, targets):
            return -np.cos(scores - targets)[:, 0], np.sin(scores - targets)

        def decide(self, scores):
            return np.cos(scores)

    monkeypatch.setattr(translations, "_REGISTERED", {})
    model = Sequential([Dense(1), Swish(), Cosine()], input_shape=4, seed=0)
    with pytest.raises(ArgumentTypeError, match=r"layer 2 'swish_1': Swish is not a class .*to_onnx\(self, graph, x\)"):
        minidl.onnx.export(model, tmp_path / "model.onnx")
    minidl.onnx.register(Swish, lambda layer, graph, x: graph.node("Mul", x, graph.node("Sigmoid", x)))
    with pytest.raises(ArgumentTypeError, match=r"Cosine is not a class .*to_onnx\(self, graph, scores, output\)"):
        minidl.onnx.export(model, tmp_path / "model.onnx", output="labels")
    minidl.onnx.register(Cosine, lambda loss, graph, scores, output: graph.node("Cos", scores))
    minidl.onnx.export(model, tmp_path / "model.onnx", output="labels")
    x = rng.normal(size=(3, 4)).astype(np.float32)
    assert_close(run(tmp_path / "model.onnx", x)[0], model.predict(x))
    with pytest.raises(ArgumentTypeError, match="takes the class"):
        minidl.onnx.register(Swish(), lambda layer, graph, x: x)


def test_a_derived_class_is_translated_like_its_base_unless_it_computes_something_else(tmp_path):
    class Wide(Dense):
        """Dense of another name."""

    class Clipped(ELU):
        def forward(self, x, training=False):
            return np.minimum(super().forward(x, training), 1)

    x = rng.normal(size=(3, 4)).astype(np.float32)
    model = Sequential([Wide(3)], input_shape=4, seed=0)
    assert_close(exported(model, tmp_path, x), model.forward(x))
    with pytest.raises(ArgumentTypeError, match="Clipped is not a class of minidl"):
        minidl.onnx.export(Sequential([Clipped()], input_shape=4), tmp_path / "model.onnx")


def test_a_method_that_returns_no_name_is_an_error(tmp_path):
    class Lost(Layer):
        def forward(self, x, training=False):
            return x

        def to_onnx(self, graph, x):
            return None

    with pytest.raises(ArgumentTypeError, match="to_onnx of Lost must return the name"):
        minidl.onnx.export(Sequential([Lost()], input_shape=2), tmp_path / "model.onnx")


def test_noise_and_frozen_layers_do_not_matter_in_inference(tmp_path):
    model = Sequential([GaussianNoise(3), BatchNorm(), Concatenate([Softmax(), layers.Dropout(0.9)])], input_shape=4)
    model.trainable = False
    x = rng.normal(size=(3, 4)).astype(np.float32)
    assert_close(exported(model, tmp_path, x), model.forward(x))
    assert Graph().nodes == []
