import sys

import numpy as np
import pytest
from onnxfiles import onnx, onnxruntime, run

import minidl
from minidl import (
    Adam,
    BatchNorm,
    Conv2D,
    Dense,
    Flatten,
    LayerNorm,
    MaxPool2D,
    ReLU,
    Rescale,
    Sequential,
    SoftmaxCrossEntropy,
    Trainer,
)
from minidl.data.digits import load_digits_as_mnist
from minidl.errors import DataError, FileFormatError, MissingDependencyError, MissingFileError, ShapeError
from minidl.onnx import export, quantize
from minidl.sequences import GRU, Conv1D, Embedding, MaxPool1D, MultiHeadAttention, TransformerBlock


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder with dense.onnx and conv.onnx, which know scikit-learn's digits, and these."""
    folder, digits = tmp_path_factory.mktemp("onnx"), load_digits_as_mnist()
    layers = {
        "dense": [Flatten(), Dense(64), ReLU(), Dense(10)],
        "conv": [Conv2D(4, 5, strides=2), ReLU(), MaxPool2D(2), Flatten(), Dense(10)],
    }
    for name, parts in layers.items():
        model = Sequential([Rescale(1 / 255), *parts, SoftmaxCrossEntropy()], input_shape=(28, 28, 1), seed=0)
        x = digits.x_train.reshape(-1, 28, 28, 1)
        Trainer(model, Adam(3e-3), batch_size=64, seed=0).fit(x, digits.y_train, epochs=4, progress=False)
        export(model, folder / f"{name}.onnx", output="labels", class_names=range(10))
    return folder, digits.x_test.reshape(-1, 28, 28, 1), digits.y_test


@pytest.mark.parametrize("name", ["dense", "conv"])
def test_whole_numbers_of_8_bits_keep_the_accuracy_within_a_percent(trained, name):
    folder, x, y = trained
    path = quantize(folder / f"{name}.onnx", x[:100])
    assert path == folder / f"{name}_int8.onnx"
    before, after = ((run(each, x)[0] == y).mean() for each in (folder / f"{name}.onnx", path))
    assert before > 0.9
    assert abs(after - before) <= 0.01
    proto = onnx.load(path)
    assert {node.op_type for node in proto.graph.node} >= {"QuantizeLinear", "DequantizeLinear"}
    weights = [each for each in proto.graph.initializer if len(each.dims) > 1]
    assert {each.data_type for each in weights} == {onnx.TensorProto.INT8}
    assert onnxruntime.InferenceSession(path).get_modelmeta().custom_metadata_map["class_names"].startswith('["0"')
    onnx.checker.check_model(proto)


def test_the_new_file_goes_where_it_shall_and_is_a_third_of_the_size(trained):
    folder, x, _ = trained
    path = quantize(folder / "dense.onnx", x[:20], to=folder / "small.onnx")
    assert path.stat().st_size < (folder / "dense.onnx").stat().st_size / 3
    assert {each.suffix for each in folder.iterdir()} == {".onnx"}


def test_rows_that_the_file_does_not_take_are_errors(trained):
    folder, x, _ = trained
    with pytest.raises(ShapeError, match=r"the file takes \(28, 28, 1\)"):
        quantize(folder / "dense.onnx", x.reshape(-1, 784))
    with pytest.raises(DataError, match="no rows"):
        quantize(folder / "dense.onnx", x[:0])
    with pytest.raises(DataError, match="uint8"):
        quantize(folder / "dense.onnx", x / 255)


def test_normalizations_are_quantized_without_a_warning(tmp_path, caplog):
    layers = [Conv2D(3, 3), MaxPool2D(2), BatchNorm(), ReLU(), Flatten(), Dense(8), LayerNorm(), Dense(4), BatchNorm()]
    model = Sequential(layers, input_shape=(8, 8, 1), seed=0)
    rng = np.random.default_rng(0)
    model.parameters += rng.normal(0, 0.2, model.parameters.shape)
    for path, state in model.named_states().items():
        state.value = rng.uniform(0.5 if "variance" in path else -1, 2, state.value.shape)
    x = rng.normal(size=(200, 8, 8, 1)).astype(np.float32)
    export(model, tmp_path / "model.onnx")
    small = run(quantize(tmp_path / "model.onnx", x), x)[0]
    scores = model.forward(x)
    assert np.abs(small - scores).mean() < 0.05 * scores.std()
    assert caplog.text == ""


@pytest.mark.parametrize(
    "layers",
    [
        [Embedding(30, 16), TransformerBlock(16, 2, causal=True), Dense(3)],
        [Embedding(30, 16, padding_id=0), Conv1D(16, 3), MaxPool1D(), MultiHeadAttention(2), GRU(8), Dense(3)],
    ],
    ids=["causal", "masked"],
)
def test_what_a_mask_hides_does_not_take_the_room_of_other_numbers(layers, tmp_path):
    """The number near minus infinity that hides a score would leave no room for the others in 8 bits."""
    model = Sequential(layers, input_shape=12, seed=0)
    export(model, tmp_path / "model.onnx")
    ids = np.random.default_rng(0).integers(1, 30, (300, 12)) * (np.arange(12) < np.arange(300)[:, np.newaxis] % 12 + 1)
    small, scores = run(quantize(tmp_path / "model.onnx", ids), ids)[0], model.forward(ids)
    assert np.abs(small - scores).mean() < 0.1 * scores.std()
    with pytest.raises(DataError, match="takes int64, but x has numbers that are not whole$"):
        quantize(tmp_path / "model.onnx", ids + 0.5)


def test_files_that_cannot_be_read_are_errors(tmp_path, trained):
    with pytest.raises(MissingFileError):
        quantize(tmp_path / "model.onnx", np.zeros((1, 2)))
    with pytest.raises(MissingFileError, match="a folder"):
        quantize(".", np.zeros((1, 2)))
    folder, x, _ = trained
    with pytest.raises(FileFormatError, match="twice.onnx already computes in 8 bits"):
        quantize(quantize(folder / "dense.onnx", x[:20], to=tmp_path / "twice.onnx"), x)
    (tmp_path / "model.onnx").write_bytes(b"nothing")
    with pytest.raises(FileFormatError):
        quantize(tmp_path / "model.onnx", np.zeros((1, 2)))


def test_without_the_runtime_an_error_names_the_extra(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'minidl\[onnx\]'"):
        quantize(tmp_path / "model.onnx", np.zeros((1, 2)))
    assert minidl.onnx.quantize is quantize
