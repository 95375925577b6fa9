import numpy as np
import pytest
from onnxfiles import onnx

from minidl import Dense, Sequential
from minidl.errors import FileFormatError, MissingFileError
from minidl.onnx import export, load
from minidl.onnx.tensors import array_of

helper = onnx.helper


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "int64", "int32", "int8", "uint8", "bool"])
def test_arrays_of_each_type_are_read_from_raw_bytes_and_from_numbers(dtype):
    array = np.array([[1, 0, 3], [4, 5, 100]]).astype(dtype)
    kind = helper.np_dtype_to_tensor_dtype(array.dtype)
    for tensor in (onnx.numpy_helper.from_array(array), helper.make_tensor("t", kind, (2, 3), array.ravel().tolist())):
        read = array_of(tensor)
        assert read.dtype == array.dtype
        np.testing.assert_array_equal(read, array)


@pytest.mark.parametrize("dims", [(3,), (2, 2**62), (-1, -6), (0,), (1,) * 40 + (6,)])
def test_an_array_that_declares_another_size_than_it_has_is_refused(dims):
    tensor = onnx.numpy_helper.from_array(np.zeros(6, np.float32))
    del tensor.dims[:]
    tensor.dims.extend(dims)
    with pytest.raises(FileFormatError, match="declares shape"):
        array_of(tensor)


def test_a_type_that_minidl_does_not_know_is_refused():
    with pytest.raises(FileFormatError, match="number type"):
        array_of(helper.make_tensor("t", onnx.TensorProto.STRING, (1,), [b"text"]))


@pytest.fixture
def external(tmp_path):
    """A model whose weights are in a file beside it, and that file's entry."""
    path = tmp_path / "folder" / "model.onnx"
    path.parent.mkdir()
    model = Sequential([Dense(3)], input_shape=4, seed=0)
    export(model, path)
    onnx.save(onnx.load(path), path, save_as_external_data=True, location="weights.bin", size_threshold=0)
    return path, model


def change(path, **entries):
    proto = onnx.load(path, load_external_data=False)
    for entry in proto.graph.initializer[0].external_data:
        entry.value = entries.get(entry.key, entry.value)
    path.write_bytes(proto.SerializeToString())


def test_weights_in_a_file_of_the_same_folder_are_read(external):
    path, model = external
    x = np.random.default_rng(0).normal(size=(5, 4)).astype(np.float32)
    np.testing.assert_array_equal(load(path).forward(x), model.forward(x))


@pytest.mark.parametrize("location", ["../secret.bin", "/etc/passwd", "", ".", "no.bin", "link.bin", "a\0b"])
def test_weights_outside_of_the_folder_are_not_read(external, location):
    path, _ = external
    secret = path.parent.parent / "secret.bin"
    secret.write_bytes(bytes(100))
    (path.parent / "link.bin").symlink_to(secret)
    change(path, location=location)
    with pytest.raises(FileFormatError, match="not in the folder of the model"):
        load(path)


@pytest.mark.parametrize("entries", [{"offset": "-1"}, {"offset": "1000000"}, {"length": "8"}, {"length": "x"}])
def test_places_that_the_other_file_does_not_have_are_refused(external, entries):
    path, _ = external
    change(path, **entries)
    with pytest.raises(FileFormatError, match=r"declares 48 bytes|cannot be read"):
        load(path)


def test_many_tensors_cannot_read_one_file_again_and_again(external):
    path, _ = external
    proto = onnx.load(path, load_external_data=False)
    for number in range(10):
        copy = proto.graph.initializer.add()
        copy.CopyFrom(proto.graph.initializer[0])
        copy.name = f"copy_{number}"
    path.write_bytes(proto.SerializeToString())
    with pytest.raises(FileFormatError, match="does not have them"):
        load(path)


def test_files_that_are_missing_or_no_onnx_files_are_errors(tmp_path):
    with pytest.raises(MissingFileError, match="there is no file"):
        load(tmp_path / "model.onnx")
    with pytest.raises(MissingFileError, match="but a folder"):
        load(tmp_path)
    (tmp_path / "model.onnx").write_bytes(b"PK\x03\x04 no model")
    with pytest.raises(FileFormatError, match="is not an ONNX file"):
        load(tmp_path / "model.onnx")
