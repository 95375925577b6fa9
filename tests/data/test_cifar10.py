"""CIFAR-10 in each form that is read, made here of a few images; and what other files are answered with."""

import gzip
import io
import pickle
import re
import tarfile

import numpy as np
import pytest

from minidl.data import CIFAR10_CLASSES, load_cifar10
from minidl.errors import FileFormatError, MissingFileError

NAMES = (*(f"data_batch_{number}.bin" for number in range(1, 6)), "test_batch.bin")
FETCH = r"fetch the binary version, cifar-10-binary.tar.gz, from https://www.cs.toronto.edu/~kriz/cifar.html"


def random_images(count, seed=0):
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (count, 32, 32, 3), np.uint8), rng.integers(0, 10, count)


X, Y = random_images(13)
PARTS = {name: (X[2 * index : 2 * index + 2], Y[2 * index : 2 * index + 2]) for index, name in enumerate(NAMES)}
PARTS["test_batch.bin"] = X[10:], Y[10:]


def records(x, y):
    """The bytes as the page of CIFAR-10 describes them, written one number after the other."""
    content = bytearray()
    for image, label in zip(x, y, strict=True):
        content.append(label)
        for colour in range(3):
            for row in range(32):
                content += bytes(image[row, :, colour].tolist())
    return bytes(content)


CONTENTS = {name: records(*part) for name, part in PARTS.items()}


def write_folder(folder, contents=CONTENTS):
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    return folder


def write_archive(path, contents, mode="w:gz"):
    with tarfile.open(path, mode) as archive:
        for name, content in contents.items():
            entry = tarfile.TarInfo(f"cifar-10-batches-bin/{name}")
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return path


def assert_is_all(dataset, source):
    (x_train, y_train), (x_test, y_test) = dataset
    for found, expected in ((x_train, X[:10]), (y_train, Y[:10]), (x_test, X[10:]), (y_test, Y[10:])):
        np.testing.assert_array_equal(found, expected)
    for x, y in dataset:
        assert (x.dtype, y.dtype) == (np.uint8, np.intp)
        assert x.flags.c_contiguous
    assert dataset.source == source


def test_a_folder_of_the_binary_files_is_loaded_with_channels_last(tmp_path):
    folder = write_folder(tmp_path / "data")
    assert_is_all(load_cifar10(folder), f"CIFAR-10 ({folder})")
    assert_is_all(load_cifar10(str(folder)), f"CIFAR-10 ({folder})")


def test_the_folder_may_hold_the_one_with_the_files_or_the_archive(tmp_path):
    inner = write_folder(tmp_path / "a" / "cifar-10-batches-bin")
    assert_is_all(load_cifar10(tmp_path / "a"), f"CIFAR-10 ({inner})")
    (tmp_path / "b").mkdir()
    archive = write_archive(tmp_path / "b" / "cifar-10-binary.tar.gz", CONTENTS)
    assert_is_all(load_cifar10(tmp_path / "b"), f"CIFAR-10 ({archive})")


@pytest.mark.parametrize(("name", "mode"), [("cifar-10-binary.tar.gz", "w:gz"), ("data", "w"), ("my.tgz", "w:gz")])
def test_the_archive_is_loaded_packed_or_not_whatever_its_name_and_the_order_in_it(tmp_path, name, mode):
    backwards = dict(reversed([("readme.html", b"<html>"), ("batches.meta.txt", b"airplane\n"), *CONTENTS.items()]))
    archive = write_archive(tmp_path / name, backwards, mode)
    assert_is_all(load_cifar10(archive), f"CIFAR-10 ({archive})")


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_one_file_is_loaded_without_a_test_part(tmp_path, pack):
    (tmp_path / "some.bin").write_bytes(pack(CONTENTS["test_batch.bin"]))
    dataset = load_cifar10(tmp_path / "some.bin")
    np.testing.assert_array_equal(dataset.x_train, X[10:])
    np.testing.assert_array_equal(dataset.y_train, Y[10:])
    assert (dataset.x_test.shape, dataset.y_test.shape) == ((0, 32, 32, 3), (0,))
    assert (dataset.x_test.dtype, dataset.y_test.dtype) == (np.uint8, np.intp)


KERAS = {"x_train": X[:10], "y_train": Y[:10, None].astype(np.uint8), "x_test": X[10:], "y_test": Y[10:, None]}


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
@pytest.mark.parametrize("name", ["cifar10.npz", "arrays"])
def test_the_arrays_of_keras_are_loaded(tmp_path, save, name):
    with (tmp_path / name).open("wb") as file:
        save(file, **KERAS)
    assert_is_all(load_cifar10(tmp_path / name), f"CIFAR-10 arrays {tmp_path / name}")


def test_arrays_may_have_their_channels_first(tmp_path):
    first = {name: array.transpose(0, 3, 1, 2) if array.ndim == 4 else array for name, array in KERAS.items()}
    np.savez(tmp_path / "a.npz", **first)
    assert_is_all(load_cifar10(tmp_path / "a.npz"), f"CIFAR-10 arrays {tmp_path / 'a.npz'}")


def test_x_and_y_alone_have_no_test_part(tmp_path):
    np.savez(tmp_path / "a.npz", x=X, y=Y)
    dataset = load_cifar10(tmp_path / "a.npz")
    np.testing.assert_array_equal(dataset.x_train, X)
    np.testing.assert_array_equal(dataset.y_train, Y)
    assert len(dataset.y_test) == 0


def test_the_classes_have_their_names():
    assert len(CIFAR10_CLASSES) == 10
    assert (CIFAR10_CLASSES[0], CIFAR10_CLASSES[9]) == ("airplane", "truck")


class Loud:
    def __reduce__(self):
        return exec, ("raise AssertionError('code was run')",)


@pytest.mark.parametrize("protocol", [2, 5])
def test_pickles_are_never_read_and_the_error_says_what_to_fetch(tmp_path, protocol):
    pickled = pickle.dumps({"data": Loud()}, protocol)
    folder = write_folder(tmp_path / "cifar-10-batches-py", {"data_batch_1": pickled})
    archive = write_archive(tmp_path / "cifar-10-python.tar.gz", {"data_batch_1": pickled})
    other = write_folder(tmp_path / "renamed", {"data_batch_1.bin": pickled})
    for path in (folder, tmp_path, archive):
        with pytest.raises(FileFormatError, match=f"another version of CIFAR-10, with pickles or for MATLAB: {FETCH}"):
            load_cifar10(path)
    for path in (folder / "data_batch_1", other):
        with pytest.raises(FileFormatError, match=f"holds Python pickles, which could run any code .*: {FETCH}"):
            load_cifar10(path)


@pytest.mark.parametrize("name", NAMES)
def test_a_file_that_is_missing_is_named(tmp_path, name):
    rest = {each: content for each, content in CONTENTS.items() if each != name}
    folder = write_folder(tmp_path / "data", rest)
    with pytest.raises(MissingFileError, match=f"^{re.escape(str(folder))} lacks {name}$"):
        load_cifar10(folder)
    archive = write_archive(tmp_path / "a.tar.gz", rest)
    with pytest.raises(MissingFileError, match=f"^{re.escape(str(archive))} lacks {name}$"):
        load_cifar10(archive)


def test_a_path_that_does_not_exist_or_holds_nothing_is_named(tmp_path):
    with pytest.raises(MissingFileError, match=f"^there is no file or folder {re.escape(str(tmp_path / 'none'))}$"):
        load_cifar10(tmp_path / "none")
    with pytest.raises(MissingFileError, match=r"lacks data_batch_1.bin, and cifar-10-binary.tar.gz, which holds it$"):
        load_cifar10(tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "holds 0 bytes, which are not whole records of 3,073 bytes: download it again"),
        (CONTENTS["test_batch.bin"][:-1], "holds 9,218 bytes, which are not whole records"),
        (bytes(3072) + b"\x00" + b"\x0a" + bytes(3072), "label 10 of image 1 is not a CIFAR-10 label, 0 to 9"),
        (b"<html>Please log in</html>", "is not a CIFAR-10 file, but a web page"),
        (b"\x89PNG\r\n", "is not a CIFAR-10 file, but a PNG image"),
        (gzip.compress(CONTENTS["test_batch.bin"])[:-20], "damaged gzip file"),
    ],
    ids=["nothing", "cut", "label", "web page", "picture", "gzip"],
)
def test_a_file_that_holds_something_else_is_named(tmp_path, content, message):
    (tmp_path / "a.bin").write_bytes(content)
    with pytest.raises(FileFormatError, match=f"^{re.escape(str(tmp_path / 'a.bin'))}.*{message}"):
        load_cifar10(tmp_path / "a.bin")


def test_more_bytes_than_all_of_it_are_refused_before_they_are_kept(tmp_path, monkeypatch):
    monkeypatch.setattr("minidl.data.cifar10._LARGEST_BYTES", 2 * 3073)
    (tmp_path / "a.bin").write_bytes(CONTENTS["test_batch.bin"])
    with pytest.raises(FileFormatError, match="more bytes than all of CIFAR-10"):
        load_cifar10(tmp_path / "a.bin")


def test_a_damaged_archive_is_an_error_that_names_it(tmp_path):
    whole = write_archive(tmp_path / "a.tar", CONTENTS, "w").read_bytes()
    rng = np.random.default_rng(0)
    for _ in range(100):
        damaged = bytearray(whole)
        damaged[rng.integers(512)] = rng.integers(256)  # in the first header
        path = tmp_path / "b.tar"
        path.write_bytes(damaged[: rng.choice([len(damaged), rng.integers(600, len(damaged))])])
        try:
            load_cifar10(path)
        except (FileFormatError, MissingFileError) as error:
            assert str(path) in str(error)  # noqa: PT017


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"x_train": None}, r"has no array 'x', but y_train, x_test, y_test: name them x_train, y_train"),
        ({"y_train": None}, "has no array 'y_train'"),
        ({"x_train": X[:10] / 255}, r"x_train: float64 of shape \(10, 32, 32, 3\); it must be uint8 pixels"),
        ({"x_test": X[10:].reshape(3, -1)}, r"x_test: uint8 of shape \(3, 3072\); it must be uint8 pixels \(N, 32"),
        ({"y_train": Y[:9]}, r"its labels y_train are int64 \(9,\); give integers \(10,\)"),
        ({"y_test": np.eye(10)[Y[10:]]}, r"its labels y_test are float64 \(3, 10\)"),
        ({"y_test": np.array([1, 2, -1])}, "y_test: label -1 of image 2 is not a"),
        ({"x_train": np.array([None])}, "holds pickled objects"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(tmp_path, changes, message):
    arrays = {name: array for name, array in (KERAS | changes).items() if array is not None}
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(FileFormatError, match=f"^{re.escape(str(tmp_path / 'a.npz'))}.*{message}"):
        load_cifar10(tmp_path / "a.npz")
