import json
from pathlib import Path

import numpy as np
import pytest
from onnxfiles import assert_close, onnx, run
from onnxgraphs import chain, graph, node

from minidl import (
    Adam,
    BatchNorm,
    Dense,
    Flatten,
    MeanSquaredError,
    ReLU,
    Rescale,
    Sequential,
    SigmoidCrossEntropy,
    Softmax,
    SoftmaxCrossEntropy,
    Trainer,
)
from minidl.errors import ArgumentTypeError, FileFormatError
from minidl.onnx import export, load

FILES = sorted((Path(__file__).parent / "files").glob("*.onnx"))
rng = np.random.default_rng(0)


def outputs(path, x):
    """What a file of another library gives, with channels last, as probabilities where it gives any."""
    y = run(path, x)[-1]
    if isinstance(y, list):  # scikit-learn's, a dict for each row
        y = np.array([[row[key] for key in sorted(row)] for row in y])
    if path.stem == "sklearn_two":
        y = y[:, 1:]
    if path.stem.endswith("view"):  # log_softmax
        y = np.exp(y)
    return np.moveaxis(y, 1, -1) if y.ndim == 4 and not path.stem.startswith("keras") else y


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_files_of_pytorch_keras_and_scikit_learn_come_back_as_models_that_train(path):
    shape = [each.dim_value for each in onnx.load(path).graph.input[0].type.tensor_type.shape.dim][1:]
    theirs = rng.normal(size=(20, *shape)).astype(np.float32)
    x = np.moveaxis(theirs, 1, -1) if len(shape) == 3 and not path.stem.startswith("keras") else theirs
    model = load(path)
    ours = model.forward(x) if model.loss is None else model.predict_proba(x)
    assert_close(ours, outputs(path, theirs))
    if model.loss is None:
        model = Sequential([*model.layers, MeanSquaredError()])
        model.set_up(x.shape[1:])
    targets = rng.normal(size=ours.shape)
    if isinstance(model.loss, SoftmaxCrossEntropy):
        targets = targets.argmax(axis=-1)
    elif isinstance(model.loss, SigmoidCrossEntropy):
        targets = (targets > 0).astype(int)
    before = model.parameters.copy()
    Trainer(model, Adam(0.01), batch_size=10, seed=0).fit(x, targets, epochs=2, progress=False)
    assert (model.parameters != before).any()


def test_there_are_files_of_both_exporters_of_pytorch_of_two_backends_of_keras_and_of_skl2onnx():
    makers = [path.stem.rsplit("_", 1)[0] for path in FILES]
    assert {maker: makers.count(maker) for maker in makers} == {
        "dynamo": 11, "torchscript": 11, "sklearn": 4, "keras_tensorflow": 9, "keras_torch": 9
    }  # fmt: skip


def kinds(model):
    return [type(layer).__name__ for layer in model.layers]


def test_layers_of_keras_come_back_as_the_layers_of_the_same_name():
    files = {path.stem: path for path in FILES}
    rectifiers = ["PReLU", "BatchNorm", "LayerNorm", "LeakyReLU", "ELU"]
    found = [kind for kind in kinds(load(files["keras_tensorflow_activations"])) if kind != "Dense"]
    assert found == [*rectifiers, "SiLU", "SELU", "Softplus", "Tanh", "ELU", "GELU"]
    assert kinds(load(files["keras_tensorflow_separable"])) == [
        "DepthwiseConv2D", "PReLU", "DepthwiseConv2D", "Conv2D", "SiLU", "LayerNorm", "AveragePool2D",
        "GlobalAveragePool2D", "Dense",
    ]  # fmt: skip
    for backend in ("tensorflow", "torch"):
        assert kinds(load(files[f"keras_{backend}_enlarging"])) == [
            "Conv2DTranspose", "ReLU", "UpSample2D", "ZeroPad2D", "Conv2DTranspose", "Conv2D"
        ]  # fmt: skip
        rows = kinds(load(files[f"keras_{backend}_rows"]))
        assert rows == ["Dense", "ReLU", "Dense", "Flatten", "BatchNorm", "Dense"]


def test_what_scikit_learn_has_scaled_by_stays_as_it_is():
    model = load(FILES[0].with_name("sklearn_scaled.onnx"))
    assert isinstance(model.layers[0], BatchNorm)
    before = model.layers[0].scale.value.copy()
    x = 100 + 9 * rng.normal(size=(40, 5)).astype(np.float32)
    scaled = model.activations(x)["batch_norm_1"]
    Trainer(model, Adam(0.01), batch_size=10, seed=0).fit(x, rng.integers(3, size=40), epochs=1, progress=False)
    np.testing.assert_array_equal(model.activations(x)["batch_norm_1"], scaled)
    np.testing.assert_array_equal(model.layers[0].scale.value, before)
    assert np.abs(scaled.mean(axis=0)).max() < 1


def keras_like():
    """A network as tf2onnx writes Keras's: the image is transposed for the convolution, and back to be flattened."""
    constants = {
        "k": rng.normal(size=(2, 1, 3, 3)).astype(np.float32), "kb": rng.normal(size=2).astype(np.float32),
        "t": np.int64([-1, 8]), "w": rng.normal(size=(8, 3)).astype(np.float32),
        "b": rng.normal(size=3).astype(np.float32),
    }  # fmt: skip
    nodes = chain(
        ("Transpose", [], {"perm": [0, 3, 1, 2]}), ("Conv", ["k", "kb"], {}), ("Relu", [], {}),
        ("MaxPool", [], {"kernel_shape": [2, 2], "strides": [2, 2]}), ("Transpose", [], {"perm": [0, 2, 3, 1]}),
        ("Reshape", ["t"], {}), ("MatMul", ["w"], {}), ("Add", ["b"], {}), ("Softmax", [], {"axis": -1}),
    )  # fmt: skip
    return graph(nodes, constants, (6, 6, 1))


def test_an_output_with_other_axes_before_those_of_minidl_is_refused(tmp_path):
    """Heads before positions, say: the model would give them in another order than the file."""
    nodes = chain(("Reshape", ["t"], {}), ("Transpose", [], {"perm": [0, 2, 1, 3]}))
    (tmp_path / "model.onnx").write_bytes(graph(nodes, {"t": np.int64([0, 5, 2, 3])}, (5, 6)))
    with pytest.raises(FileFormatError, match="ends with axes in another order"):
        load(tmp_path / "model.onnx")


def test_a_network_as_keras_has_it_comes_back_in_its_own_order_of_axes(tmp_path):
    content = keras_like()
    (tmp_path / "model.onnx").write_bytes(content)
    model = load(tmp_path / "model.onnx")
    assert model.input_shape == (6, 6, 1)
    x = rng.normal(size=(5, 6, 6, 1)).astype(np.float32)
    assert_close(model.predict_proba(x), run(content, x)[0])
    assert [type(layer).__name__ for layer in model.layers] == ["Conv2D", "ReLU", "MaxPool2D", "Flatten", "Dense"]


def loaded(tmp_path, content, **options):
    (tmp_path / "model.onnx").write_bytes(content)
    return load(tmp_path / "model.onnx", **options)


def test_the_last_activation_becomes_the_loss_unless_another_loss_is_given(tmp_path):
    softmax = graph(chain(("Softmax", [], {})), {}, (3,))
    assert isinstance(loaded(tmp_path, softmax).loss, SoftmaxCrossEntropy)
    model = loaded(tmp_path, softmax, loss=MeanSquaredError())
    assert isinstance(model.layers[-1], Softmax)
    assert isinstance(model.loss, MeanSquaredError)
    model = loaded(tmp_path, softmax, loss=SoftmaxCrossEntropy(label_smoothing=0.1))
    assert len(model.layers) == 1
    assert not isinstance(model.layers[0], Softmax)
    assert isinstance(loaded(tmp_path, graph(chain(("Sigmoid", [], {})), {}, (3,))).loss, SigmoidCrossEntropy)
    assert loaded(tmp_path, graph(chain(("Relu", [], {})), {}, (3,))).loss is None
    with pytest.raises(ArgumentTypeError, match="must be a loss"):
        loaded(tmp_path, softmax, loss="softmax")


def test_a_model_of_ours_comes_back_with_its_layers_and_its_states(tmp_path):
    model = Sequential([Rescale(0.5), Flatten(), Dense(4), BatchNorm(momentum=0.8), ReLU(), Dense(2)], seed=0)
    model.predict(np.zeros((1, 3, 3), np.uint8))
    model.layers[3].running_mean.value = [1, 2, 3, 4]
    export(model, tmp_path / "model.onnx")
    back = load(tmp_path / "model.onnx")
    assert repr(back) == repr(model)
    for name, array in model.named_arrays().items():
        np.testing.assert_array_equal(back.named_arrays()[name], array)


def test_weights_that_several_nodes_share_are_copied_but_not_without_limit(tmp_path):
    nodes = chain(*[("MatMul", ["w"], {})] * 3)
    weight = rng.normal(size=(3, 3)).astype(np.float32)
    model = loaded(tmp_path, graph(nodes, {"w": weight}, (3,)))
    assert model.count_parameters() == 27
    many = chain(*[("MatMul", ["w"], {})] * 100)
    with pytest.raises(FileFormatError, match="parameters, more than a file"):
        loaded(tmp_path, graph(many, {"w": np.zeros((100, 100), np.float32)}, (100,)))


def test_samples_beyond_any_memory_are_refused_before_it_is_taken(tmp_path):
    slope = {"s": np.float32([0.1])}
    with pytest.raises(FileFormatError, match="more than 16,777,216 numbers"):
        loaded(tmp_path, graph(chain(("PRelu", ["s"], {})), slope, (2**40,)))
    scales = {"r": np.float32([]), "s": np.float32([1, 1, 2**20, 2**20])}
    with pytest.raises(FileFormatError, match="more than 16,777,216 numbers"):
        loaded(tmp_path, graph(chain(("Resize", ["r", "s"], {"mode": "nearest"}), ("Relu", [], {})), scales, (1, 2, 2)))


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (graph(chain(("Relu", [], {})), {}, ("M",)), "need a fixed size"),
        (graph([node("Identity", "x")], {}, ()), "need a fixed size"),
        (graph(chain(("Relu", [], {}), ("NonZero", [], {})), {}, (3,)), "node 1 'NonZero'"),
    ],
)
def test_graphs_that_are_no_networks_are_refused(tmp_path, content, why):
    with pytest.raises(FileFormatError, match=why):
        loaded(tmp_path, content)


def test_metadata_that_name_an_unknown_loss_or_no_loss_are_an_error(tmp_path):
    path = tmp_path / "model.onnx"
    export(Sequential([Dense(2), SoftmaxCrossEntropy()], input_shape=3, seed=0), path)
    for description in (
        {"class": "os.system", "module": "os", "configuration": {}},
        {"class": "Dense", "module": "minidl.layers.dense", "configuration": {"units": 3}},
        7,
    ):
        proto = onnx.load(path)
        for entry in proto.metadata_props:
            if entry.key == "loss":
                entry.value = json.dumps({"loss": description})
        with pytest.raises(FileFormatError):
            loaded(tmp_path, proto.SerializeToString())


def test_a_fixed_size_of_the_batch_does_not_matter(tmp_path):
    nodes = chain(("Reshape", ["t"], {}), ("Relu", [], {}))
    model = loaded(tmp_path, graph(nodes, {"t": np.int64([1, 6])}, (2, 3), batch=1))
    assert model.predict(np.zeros((5, 2, 3))).shape == (5, 6)


def test_a_gradient_flows_through_a_loaded_model_to_its_input(tmp_path):
    model = loaded(tmp_path, graph(chain(("Tanh", [], {})), {}, (3,)))
    x = rng.normal(size=(4, 3)).astype(np.float32)
    np.testing.assert_allclose(model.backward(np.ones_like(model.forward(x, training=True))), 1 - np.tanh(x) ** 2, 1e-5)
