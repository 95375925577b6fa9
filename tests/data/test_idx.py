"""load_idx against a writer that shares no code with it, and against hostile files."""

import gzip
import re
import struct
import time
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from minidl.data import ImageDataset, load_idx
from minidl.errors import FileFormatError, MissingFileError

CODES = {
    "uint8": (8, "B"),
    "int8": (9, "b"),
    "int16": (11, "h"),
    "int32": (12, "i"),
    "float32": (13, "f"),
    "float64": (14, "d"),
}


def idx_bytes(array):
    """Write the format with struct alone."""
    code, letter = CODES[array.dtype.name]
    header = struct.pack(f">HBB{array.ndim}I", 0, code, array.ndim, *array.shape)
    return header + struct.pack(f">{array.size}{letter}", *array.ravel().tolist())


def write_mnist(folder, images=3, test_images=2, suffix=""):
    """Write the four files; return their arrays in the order of the data set."""
    rng = np.random.default_rng(0)
    arrays = {}
    for part, count in (("train", images), ("t10k", test_images)):
        arrays[f"{part}-images-idx3-ubyte"] = rng.integers(0, 256, (count, 28, 28), dtype=np.uint8)
        arrays[f"{part}-labels-idx1-ubyte"] = rng.integers(0, 10, count, dtype=np.uint8)
    folder.mkdir(exist_ok=True)
    for name, array in arrays.items():
        content = idx_bytes(array)
        (folder / (name + suffix)).write_bytes(gzip.compress(content) if suffix else content)
    return list(arrays.values())


def fault(path, content):
    """Return what the error for such a file says after its name; it must come quickly, and take no memory."""
    path.write_bytes(content)
    tracemalloc.start()
    start = time.perf_counter()
    with pytest.raises(FileFormatError) as caught:
        load_idx(path)
    seconds = time.perf_counter() - start
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert seconds < 1
    assert peak < 50e6
    assert str(caught.value).startswith(str(path))
    return str(caught.value).removeprefix(str(path))


@settings(max_examples=100)
@given(
    array=st.sampled_from(sorted(CODES)).flatmap(
        lambda dtype: hnp.arrays(dtype, hnp.array_shapes(min_dims=1, max_dims=4, min_side=0, max_side=5))
    ),
    packed=st.booleans(),
)
def test_any_array_comes_back_bit_for_bit(tmp_path_factory, array, packed):
    path = tmp_path_factory.mktemp("idx") / "array"
    path.write_bytes(gzip.compress(idx_bytes(array)) if packed else idx_bytes(array))
    loaded = load_idx(path)
    np.testing.assert_array_equal(loaded, array)
    assert (loaded.dtype, loaded.shape) == (array.dtype, array.shape)
    assert loaded.dtype.isnative
    assert loaded.flags.c_contiguous
    assert loaded.flags.writeable


def test_a_path_may_be_a_string(tmp_path):
    (tmp_path / "a").write_bytes(idx_bytes(np.arange(3, dtype=np.int32)))
    assert load_idx(str(tmp_path / "a")).tolist() == [0, 1, 2]


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_a_folder_gives_the_four_arrays_as_stored(tmp_path, suffix):
    arrays = write_mnist(tmp_path, suffix=suffix)
    dataset = load_idx(tmp_path)
    assert isinstance(dataset, ImageDataset)
    (x_train, y_train), (x_test, y_test) = dataset
    for loaded, array in zip((x_train, y_train, x_test, y_test), arrays, strict=True):
        np.testing.assert_array_equal(loaded, array)
        assert loaded.dtype == np.uint8
    assert dataset.source == f"idx folder {tmp_path}"
    shapes = "x_train=(3, 28, 28), y_train=(3,), x_test=(2, 28, 28), y_test=(2,)"
    assert repr(dataset) == f"ImageDataset({shapes}, source={dataset.source!r})"


def test_the_four_files_may_be_spelt_with_a_dot_and_mixed(tmp_path):
    arrays = write_mnist(tmp_path)
    (tmp_path / "train-images-idx3-ubyte").rename(tmp_path / "train-images.idx3-ubyte")
    labels = tmp_path / "t10k-labels-idx1-ubyte"
    (tmp_path / "t10k-labels.idx1-ubyte.gz").write_bytes(gzip.compress(labels.read_bytes()))
    labels.unlink()
    dataset = load_idx(tmp_path)
    np.testing.assert_array_equal(dataset.x_train, arrays[0])
    np.testing.assert_array_equal(dataset.y_test, arrays[3])


def test_a_missing_one_of_the_four_is_named(tmp_path):
    write_mnist(tmp_path)
    (tmp_path / "t10k-images-idx3-ubyte").unlink()
    (tmp_path / "t10k-images-idx3-ubyte").mkdir()  # a folder of that name does not count
    with pytest.raises(MissingFileError, match=re.escape(f"{tmp_path} lacks t10k-images-idx3-ubyte")):
        load_idx(tmp_path)


def test_images_and_labels_of_different_counts_are_refused(tmp_path):
    write_mnist(tmp_path)
    (tmp_path / "t10k-labels-idx1-ubyte").write_bytes(idx_bytes(np.zeros(5, np.uint8)))
    message = f"{tmp_path / 't10k-images-idx3-ubyte'} holds 2 images, but has 5 labels beside it"
    with pytest.raises(FileFormatError, match=re.escape(message)):
        load_idx(tmp_path)


@pytest.mark.parametrize("array", [np.zeros(3, np.uint8), np.zeros((3, 28, 28), np.float32)])
def test_a_file_of_the_four_that_holds_something_else_is_refused(tmp_path, array):
    write_mnist(tmp_path)
    path = tmp_path / "train-images-idx3-ubyte"
    path.write_bytes(idx_bytes(array))
    message = f"{path} should hold a 3-dimensional array of uint8, but holds {array.dtype} of shape {array.shape}"
    with pytest.raises(FileFormatError, match=re.escape(message)):
        load_idx(tmp_path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(MissingFileError, match=re.escape(f"{tmp_path / 'none'} does not exist")):
        load_idx(tmp_path / "none")


GOOD = idx_bytes(np.arange(12, dtype=np.int16).reshape(3, 4))
HUGE = struct.pack(">HBB3I", 0, 8, 3, 2**32 - 1, 2**32 - 1, 2**32 - 1)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", " is not an IDX file: it begins with b'', not with two zero bytes"),
        (b"\0\0\x08", " is not an IDX file: it begins with b'\\x00\\x00\\x08'"),
        (b"\x89PNG\r\n", " is not an IDX file, but a PNG image"),
        (b"\x89\0\0\0\r\n", " is not an IDX file: it begins with b'\\x89\\x00\\x00\\x00', not with two zero bytes"),
        (
            b"label,pixel0\n",
            " is not an IDX file: it begins with b'labe', not with two zero bytes; load_csv reads tables",
        ),
        (b"\0\0\x0a\x01\0\0\0\0", ", byte 2: unknown type code 0x0a, not one of 0x08, 0x09, 0x0b, 0x0c, 0x0d, 0x0e"),
        (b"\0\0\x08\0", ", byte 3: 0 dimensions, not 1-32"),
        (b"\0\0\x08\xff" + b"\0\0\0\1" * 255, ", byte 3: 255 dimensions, not 1-32"),
        (GOOD[:9], " ends in its header, at byte 9 of 12"),
        (GOOD[:-1], ": the header declares (3, 4) of int16, 24 bytes, but the file holds 23"),
        (GOOD[:12], ": the header declares (3, 4) of int16, 24 bytes, but the file holds 0"),
        (GOOD + b"\0", ": the header declares (3, 4) of int16, 24 bytes, but the file holds more"),
        (HUGE, ": the header declares (4294967295, 4294967295, 4294967295) of uint8, "),
        (struct.pack(">HBB3I", 0, 8, 3, 0, 2**32 - 1, 2**32 - 1), ": the header declares (0, 4294967295, 4294967295)"),
    ],
)
@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["plain", "gzip"])
def test_a_bad_file_is_named_with_the_bytes_at_fault(tmp_path, content, message, pack):
    assert fault(tmp_path / "array", pack(content)).startswith(message)


def test_an_impossible_size_is_refused_before_anything_is_read(tmp_path):
    size = f"{(2**32 - 1) ** 3:,}"
    message = fault(tmp_path / "array", HUGE)
    assert message.endswith(f"{size} bytes, far more than a file of 16 bytes can hold")


def test_a_gzip_bomb_with_a_modest_header_is_not_unpacked(tmp_path):
    bomb = gzip.compress(struct.pack(">HBBI", 0, 8, 1, 10) + bytes(200_000_000), compresslevel=1)
    assert fault(tmp_path / "array", bomb).endswith("10 bytes, but the file holds more")


def test_a_gzip_bomb_with_a_huge_header_is_not_unpacked(tmp_path):
    bomb = gzip.compress(struct.pack(">HBBI", 0, 14, 1, 2**32 - 1) + bytes(200_000_000), compresslevel=1)
    assert "far more than a file of" in fault(tmp_path / "array", bomb)


@pytest.mark.parametrize("cut", [-1, -5, -8, 12])
def test_a_truncated_gzip_file_is_named(tmp_path, cut):
    assert fault(tmp_path / "array.gz", gzip.compress(GOOD)[:cut]).startswith(
        ": damaged gzip file: Compressed file ended"
    )


def test_a_gzip_file_with_a_wrong_sum_is_named(tmp_path):
    packed = bytearray(gzip.compress(GOOD))
    packed[-8] ^= 1
    assert fault(tmp_path / "array.gz", bytes(packed)).startswith(": damaged gzip file: CRC check failed")


def test_a_gzip_file_with_nonsense_inside_is_named(tmp_path):
    packed = gzip.compress(GOOD)
    assert fault(tmp_path / "array.gz", packed[:10] + b"\xff" * 40).startswith(": damaged gzip file: Error -3")


@settings(max_examples=200)
@given(
    content=st.one_of(
        st.binary(max_size=40),
        st.builds(lambda head, rest: b"\0\0" + head + rest, st.binary(min_size=2, max_size=2), st.binary(max_size=40)),
        st.builds(lambda at, byte: GOOD[:at] + byte + GOOD[at + 1 :], st.integers(0, 35), st.binary(max_size=2)),
        st.binary(max_size=60).map(lambda rest: b"\x1f\x8b\x08" + rest),
    )
)
def test_any_bytes_give_an_array_or_an_error_of_ours(tmp_path_factory, content):
    path = tmp_path_factory.mktemp("idx") / "array"
    path.write_bytes(content)
    try:
        said = f"{path} holds {load_idx(path).nbytes} bytes"
    except FileFormatError as error:
        said = str(error)
    assert said.startswith(str(path))
