"""Every layer, block and loss of minidl's against what ONNX Runtime computes of its translation."""

import copy

import numpy as np
import pytest
from onnxfiles import assert_close, onnx, run

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
)
from minidl.errors import ArgumentError, ArgumentTypeError, FileFormatError
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
    "MultiHeadAttention": [
        ({"heads": 2}, LONG),
        ({"heads": 2, "causal": True, "use_bias": False}, LONG),
        ({"heads": 2, "causal": True, "rotary": True}, LONG),
        ({"heads": 1, "rotary": True, "dropout": 0.3}, LONG),
    ],
    **{name: [({"units": 5, **each}, LONG) for each in STEPS] for name in ("SimpleRNN", "GRU", "LSTM")},
    "Bidirectional": [
        ({"layer": layers.LSTM(3)}, LONG),
        ({"layer": layers.GRU(3, return_sequences=True), "merge": "sum"}, LONG),
        ({"layer": layers.SimpleRNN(3, activation="relu", return_sequences=True), "merge": "mean"}, LONG),
    ],
    "TiedEmbedding": [
        ({"embedding": layers.Embedding(9, 4), "layers": [layers.PositionEmbedding()]}, IDS),
        ({"embedding": layers.Embedding(9, 4), "layers": [layers.GlobalMaxPool1D()], "use_bias": True}, IDS),
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
        before = {IMAGE: [layers.Conv2D(4, 1)], LONG: [layers.Conv1D(4, 1)]}.get(shape, [])
        for start in ([], before):  # with the channels last, and with the channels first
            layer = getattr(minidl, name)(**copy.deepcopy(settings))
            check(Sequential([*start, Sequential([layer])], input_shape=shape), tmp_path)


# What `load` does not read: it says so, and names the first node that does not fit.
ONLY_WRITTEN = (
    layers.MultiHeadAttention,
    layers.SimpleRNN,
    layers.GRU,
    layers.LSTM,
    layers.Bidirectional,
)


def random_model(model):
    for parameter in model.named_parameters().values():
        parameter.value += rng.normal(scale=0.3, size=parameter.value.shape)
    for state in model.named_states().values():
        state.value = rng.uniform(0.5, 2, size=state.value.shape)
    return model


def inputs(model, rows):
    """Numbers, or ids for a model that begins with an embedding."""
    sizes = [layer.vocabulary_size for layer in model.walk() if isinstance(layer, layers.Embedding)]
    if sizes:
        return rng.integers(min(sizes), size=(rows, *model.input_shape))
    return rng.normal(size=(rows, *model.input_shape)).astype(np.float32)


def check(model, tmp_path):
    path, of_ids = tmp_path / "model.onnx", any(isinstance(layer, layers.Embedding) for layer in model.walk())
    minidl.onnx.export(random_model(model), path, input_dtype="int64" if of_ids else "float32")
    # ONNX Runtime aborts where one of these gets no rows.
    aborts = any(isinstance(layer, layers.GRU | layers.LSTM) for layer in model.walk())
    for rows in (1, 5) if aborts else (0, 1, 5):
        x = inputs(model, rows)
        assert_close(run(path, x)[0], model.forward(x))
    if any(isinstance(layer, ONLY_WRITTEN) for layer in model.walk()):
        with pytest.raises(FileFormatError, match=r"cannot be loaded: .*node \d+ '\w+'"):
            minidl.onnx.load(path)
        return
    back = minidl.onnx.load(path)
    assert back.input_shape == model.input_shape
    assert_close(back.forward(x), model.forward(x))


# Layers between an embedding with a padding id and the output: (N, 8, 4) goes in.
WITH_MASK = [
    [layers.Conv1D(3, 3)],
    [layers.Conv1D(3, 3, padding="same"), layers.MaxPool1D(3, strides=2, padding=1), layers.Conv1D(3, 2)],
    [layers.Conv1D(3, 2, padding="causal", strides=2), layers.AveragePool1D(2, strides=1)],
    [layers.Conv1D(3, 2, padding=(0, 3), strides=2), layers.GlobalMaxPool1D()],
    [layers.AveragePool1D(3, strides=2, padding=1), layers.GlobalAveragePool1D()],
    [layers.MaxPool1D(), layers.GRU(3)],
    [layers.GlobalAveragePool1D()],
    [layers.GlobalMaxPool1D()],
    [layers.PositionEmbedding(), BatchNorm(), layers.Dropout(0.5), layers.LayerNorm(), layers.SimpleRNN(3)],
    [layers.PositionalEncoding(), layers.MultiHeadAttention(2), layers.GlobalMaxPool1D()],
    [layers.MultiHeadAttention(2, causal=True, rotary=True)],
    [minidl.TransformerBlock(4, 2), layers.LSTM(3)],
    *(
        [kind(3, go_backwards=back, return_sequences=whole)]
        for kind in (layers.SimpleRNN, layers.GRU, layers.LSTM)
        for back in (False, True)
        for whole in (False, True)
    ),
    [layers.LSTM(4, return_sequences=True, go_backwards=True), layers.GRU(3), Dense(2)],
    [layers.Bidirectional(layers.GRU(3, return_sequences=True)), layers.GlobalAveragePool1D()],
    [layers.Bidirectional(layers.LSTM(3), merge="mean")],
    [Residual([layers.Conv1D(4, 3, padding="same"), layers.ReLU()]), layers.GlobalAveragePool1D()],
    [Concatenate([layers.Conv1D(4, 3, padding="causal"), layers.Tanh()]), layers.GlobalAveragePool1D()],
    [Concatenate([layers.GlobalMaxPool1D(), layers.GRU(3)])],
    [Dense(4), Reshape((8, 2, 2)), Reshape((8, 4)), layers.GRU(3)],
]


@pytest.mark.parametrize("between", WITH_MASK, ids=repr)
def test_onnx_runtime_leaves_out_the_padding_that_minidl_leaves_out(between, tmp_path):
    model = Sequential([layers.Embedding(9, 4, padding_id=0), *copy.deepcopy(between)], input_shape=8)
    minidl.onnx.export(random_model(model), tmp_path / "model.onnx")
    ids = rng.integers(1, 9, (12, 8))
    ids[np.arange(8) >= np.arange(12)[:, np.newaxis]] = 0  # padded on the right, by up to all positions
    ids[9:11, :3] = 0  # and on the left
    ids[11, ::2] = 0
    assert_close(run(tmp_path / "model.onnx", ids)[0], model.forward(ids))


def test_a_file_of_padded_ids_gives_a_row_what_it_gives_alone(tmp_path):
    def exported(length):
        between = [layers.Bidirectional(layers.LSTM(3, return_sequences=True)), layers.Conv1D(5, 3, padding="causal")]
        between += [layers.MultiHeadAttention(1), layers.GlobalAveragePool1D()]
        model = Sequential([layers.Embedding(9, 4, padding_id=0), *between], input_shape=length, seed=0)
        minidl.onnx.export(model, tmp_path / f"{length}.onnx")
        return tmp_path / f"{length}.onnx"

    ids = rng.integers(1, 9, (4, 7)) * (np.arange(7) < np.array([[7], [5], [2], [1]]))
    (together,) = run(exported(7), ids)
    for row, length in enumerate([7, 5, 2, 1]):
        assert_close(run(exported(length), ids[row : row + 1, :length])[0], together[row : row + 1])


def test_a_tied_embedding_is_written_once_and_a_mask_goes_through_it(tmp_path):
    inner = [layers.PositionEmbedding(), minidl.TransformerBlock(4, 2, causal=True)]
    tied = minidl.TiedEmbedding(layers.Embedding(300, 4, padding_id=0), inner, use_bias=True)
    model = Sequential([tied, SoftmaxCrossEntropy()], input_shape=6)
    minidl.onnx.export(random_model(model), tmp_path / "model.onnx", output="probabilities")
    ids = rng.integers(0, 3, (5, 6))
    assert_close(run(tmp_path / "model.onnx", ids)[0], model.predict_proba(ids))
    sizes = [each.dims for each in onnx.load(tmp_path / "model.onnx").graph.initializer]
    assert [list(size) for size in sizes].count([300, 4]) == 1


def test_embeddings_beside_each_other_take_one_input_and_their_masks_are_joined(tmp_path):
    branches = [layers.Embedding(9, 4, padding_id=0), [layers.Embedding(9, 2, padding_id=3), layers.Tanh()]]
    model = Sequential([Concatenate(branches), layers.GRU(3)], input_shape=8)
    minidl.onnx.export(random_model(model), tmp_path / "model.onnx")
    ids = rng.integers(0, 5, (6, 8))
    assert_close(run(tmp_path / "model.onnx", ids)[0], model.forward(ids))


def test_a_mask_that_a_layer_refuses_is_an_error_at_export(tmp_path):
    embedding, convolution = layers.Embedding(9, 4, padding_id=0), layers.Conv1D(3, 3, strides=2, padding="same")
    with pytest.raises(ArgumentError, match=r"^layer 2 'conv1d_1': with strides, padding=\"same\" depends"):
        minidl.onnx.export(Sequential([embedding, convolution], input_shape=8), tmp_path / "model.onnx")


class Doubled(Layer):
    """A layer of one's own that keeps the positions."""

    def forward(self, x, training=False):
        return 2 * x

    def to_onnx(self, graph, x):
        return graph.node("Add", x, x)


class Total(Layer):
    """A layer of one's own that takes a mask: the sum over positions that count."""

    takes_mask = True

    def build(self, input_shape, declare):
        return input_shape[1:]

    def forward(self, x, training=False, mask=None):
        return x.sum(axis=1, where=mask[..., np.newaxis])

    def to_onnx(self, graph, x):
        counts = graph.node("Unsqueeze", graph.mask_of(x), graph.constant([2]))
        hidden = graph.node("Where", counts, x, graph.constant(0.0))
        return graph.node("ReduceSum", hidden, graph.constant([1]), keepdims=0)


def test_layers_of_ones_own_get_masks_and_hand_them_on(tmp_path):
    model = Sequential([layers.Embedding(9, 4, padding_id=0), Doubled(), Total()], input_shape=8)
    ids = rng.integers(0, 3, (5, 8))
    assert_close(exported(model, tmp_path, ids), model.forward(ids))


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
    with pytest.raises(ArgumentTypeError, match=r"layer 2 'swish_1': Swish is no class .*to_onnx\(self, graph, x\)"):
        minidl.onnx.export(model, tmp_path / "model.onnx")
    minidl.onnx.register(Swish, lambda layer, graph, x: graph.node("Mul", x, graph.node("Sigmoid", x)))
    with pytest.raises(ArgumentTypeError, match=r"Cosine is no class .*to_onnx\(self, graph, scores, output\)"):
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
    with pytest.raises(ArgumentTypeError, match="Clipped is no class of minidl's"):
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
