"""Arrays that NumPy saved, also compressed; everything else in an .npz file is refused with its name."""

import random
import zipfile

import numpy as np
import pytest

from minidl.data.npz import look_into_npz, read_npz
from minidl.errors import FileFormatError

ARRAYS = {"x": np.arange(24, dtype=np.uint8).reshape(2, 3, 4), "y": np.array([3, -1]), "z": np.float64(0.5)}


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_arrays_come_as_numpy_saved_them(tmp_path, save):
    save(tmp_path / "a.npz", turned=ARRAYS["x"].T, **ARRAYS)
    read = read_npz(tmp_path / "a.npz")
    assert read.keys() == {"turned", *ARRAYS}
    for name, array in {"turned": ARRAYS["x"].T, **ARRAYS}.items():
        np.testing.assert_array_equal(read[name], array)
        assert read[name].dtype == array.dtype


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_shapes_and_types_are_told_and_one_array_read_without_the_others(tmp_path, save):
    save(tmp_path / "a.npz", **ARRAYS)
    assert look_into_npz(tmp_path / "a.npz") == {name: (array.shape, array.dtype) for name, array in ARRAYS.items()}
    assert read_npz(tmp_path / "a.npz", ["y"]).keys() == {"y"}
    write_entry(tmp_path / "a.npz", (10**6, 10**7), b"")  # which no memory could hold
    assert look_into_npz(tmp_path / "a.npz") == {"x": ((10**6, 10**7), np.dtype(np.uint8))}
    assert read_npz(tmp_path / "a.npz", ["y"]) == {}


def test_objects_are_never_unpickled(tmp_path):
    class Loud:
        def __reduce__(self):
            return exec, ("raise AssertionError('code was run')",)

    np.savez(tmp_path / "a.npz", x=np.array([Loud()], dtype=object))
    with pytest.raises(FileFormatError, match=r"a.npz: the array 'x.npy' holds pickled objects, which could run any"):
        read_npz(tmp_path / "a.npz")


def write_entry(path, shape, content, compression=zipfile.ZIP_STORED):
    header = f"{{'descr': '|u1', 'fortran_order': False, 'shape': {shape}, }}".encode().ljust(117) + b"\n"
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr("x.npy", b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + content)


def test_what_a_header_declares_is_not_believed(tmp_path):
    write_entry(tmp_path / "a.npz", (2, 3), bytes(6))
    assert read_npz(tmp_path / "a.npz")["x"].shape == (2, 3)
    write_entry(tmp_path / "a.npz", (10**6, 10**7), bytes(6))
    with pytest.raises(FileFormatError, match=r"'x.npy' declares \(1000000, 10000000\) of uint8, more than the file"):
        read_npz(tmp_path / "a.npz")
    write_entry(tmp_path / "a.npz", (2, 3), bytes(7), zipfile.ZIP_DEFLATED)
    with pytest.raises(FileFormatError, match=r"declares \(2, 3\) of uint8, but holds something else"):
        read_npz(tmp_path / "a.npz")


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_a_damaged_file_is_an_error_that_names_it_or_changes_numbers_only(tmp_path, save):
    save(tmp_path / "a.npz", **ARRAYS)
    whole, chance = (tmp_path / "a.npz").read_bytes(), random.Random(0)
    for _ in range(200):
        damaged = bytearray(whole)
        damaged[chance.randrange(len(damaged))] = chance.randrange(256)
        (tmp_path / "a.npz").write_bytes(damaged[: chance.choice([len(damaged), chance.randrange(len(damaged))])])
        try:
            read_npz(tmp_path / "a.npz")
        except FileFormatError as error:
            assert str(error).startswith(str(tmp_path / "a.npz"))  # noqa: PT017
