"""Array files: written whole or not at all, read without trust."""

import io
import os
import struct
import subprocess
import sys
import textwrap
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hypothesis_numpy

from minidl import files
from minidl.errors import FileFormatError, MissingFileError

numbers = hypothesis_numpy.arrays(
    dtype=st.sampled_from([np.float32, np.float64, np.int64, np.uint8, np.bool_]),
    shape=hypothesis_numpy.array_shapes(min_dims=0, min_side=0, max_side=4),
)


def npy(array: np.ndarray, *, allow_pickle: bool = False) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=allow_pickle)
    return buffer.getvalue()


def zip_of(path: Path, entries: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    return path


@given(arrays=st.dictionaries(st.sampled_from(["a", "b/weight", "c/d/bias"]), numbers, max_size=3))
def test_arrays_come_back_as_they_were_written(tmp_path_factory, arrays):
    path = tmp_path_factory.mktemp("files") / "arrays.npz"
    files.write_arrays(path, arrays)
    read = files.read_arrays(path)
    assert read.keys() == arrays.keys()
    for name, expected in arrays.items():
        assert read[name].dtype == expected.dtype
        np.testing.assert_array_equal(read[name], expected)


def test_numpy_reads_the_same_file(tmp_path):
    files.write_arrays(tmp_path / "a.npz", {"x": np.arange(6).reshape(2, 3)})
    with np.load(tmp_path / "a.npz", allow_pickle=False) as loaded:
        np.testing.assert_array_equal(loaded["x"], [[0, 1, 2], [3, 4, 5]])


def test_fortran_ordered_arrays_keep_their_places(tmp_path):
    array = np.asfortranarray(np.arange(6).reshape(2, 3))
    files.write_arrays(tmp_path / "a.npz", {"x": array})
    np.testing.assert_array_equal(files.read_arrays(tmp_path / "a.npz")["x"], [[0, 1, 2], [3, 4, 5]])


def test_the_same_arrays_give_the_same_bytes(tmp_path, monkeypatch):
    files.write_arrays(tmp_path / "a.npz", {"x": np.arange(5)})
    monkeypatch.setattr("time.time", lambda: 2_000_000_000.0)
    files.write_arrays(tmp_path / "b.npz", {"x": np.arange(5)})
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()


def test_an_error_midway_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "a.npz"
    path.write_bytes(b"old")

    def write_half():
        with files.atomic_write(path) as file:
            file.write(b"half of the new")
            raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        write_half()
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_failing_sync_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "a.npz"
    path.write_bytes(b"old")

    def fail(_: int) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="Input/output"):
        files.write_arrays(path, {"x": np.zeros(3)})
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_kill_at_any_moment_leaves_the_old_file_or_the_new_one(tmp_path):
    path = tmp_path / "a.npz"
    files.write_arrays(path, {"x": np.zeros(200_000)})
    program = textwrap.dedent("""
        import sys
        import numpy as np
        from minidl.files import write_arrays
        print("ready", flush=True)
        while True:
            write_arrays(sys.argv[1], {"x": np.ones(200_000)})
            write_arrays(sys.argv[1], {"x": np.zeros(200_000)})
    """)
    for milliseconds in (1, 5, 9, 14, 20):
        process = subprocess.Popen([sys.executable, "-c", program, str(path)], stdout=subprocess.PIPE)
        assert process.stdout.readline() == b"ready\n"
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(milliseconds / 1000)
        process.kill()
        process.wait()
        process.stdout.close()
        x = files.read_arrays(path)["x"]
        assert x.shape == (200_000,)
        assert x.min() == x.max()


def test_writing_through_a_link_keeps_the_link(tmp_path):
    (tmp_path / "link.npz").symlink_to(tmp_path / "real.npz")
    files.write_arrays(tmp_path / "link.npz", {"x": np.arange(3)})
    assert (tmp_path / "link.npz").is_symlink()
    np.testing.assert_array_equal(files.read_arrays(tmp_path / "real.npz")["x"], [0, 1, 2])


def test_a_new_file_has_the_permissions_of_any_new_file(tmp_path):
    (tmp_path / "plain").touch()
    files.write_arrays(tmp_path / "a.npz", {"x": np.arange(3)})
    assert (tmp_path / "a.npz").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_a_file_that_is_replaced_keeps_its_permissions(tmp_path):
    files.write_arrays(tmp_path / "a.npz", {"x": np.arange(3)})
    (tmp_path / "a.npz").chmod(0o600)
    files.write_arrays(tmp_path / "a.npz", {"x": np.arange(4)})
    assert (tmp_path / "a.npz").stat().st_mode & 0o777 == 0o600
    np.testing.assert_array_equal(files.read_arrays(tmp_path / "a.npz")["x"], [0, 1, 2, 3])


def test_a_folder_in_the_place_of_a_file_is_named(tmp_path):
    with pytest.raises(IsADirectoryError, match=f"-> '{tmp_path}'"):
        files.write_arrays(tmp_path, {})
    assert not list(tmp_path.parent.glob(".*.tmp"))


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(MissingFileError, match=r"nowhere.*a\.npz: its folder does not exist"):
        files.write_arrays(tmp_path / "nowhere" / "a.npz", {})


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(MissingFileError, match=r"there is no file .*a\.npz"):
        files.read_arrays(tmp_path / "a.npz")


def test_the_home_of_nobody_is_a_missing_file():
    with pytest.raises(MissingFileError, match="there is no file ~nobody-of-that-name/a.npz"):
        files.read_arrays("~nobody-of-that-name/a.npz")


@pytest.mark.parametrize("content", [b"", b"PK", b"not a zip at all" * 100])
def test_a_file_that_is_no_zip_is_refused(tmp_path, content):
    (tmp_path / "a.npz").write_bytes(content)
    with pytest.raises(FileFormatError, match=r"a\.npz is not an \.npz file, or it is truncated or corrupt"):
        files.read_arrays(tmp_path / "a.npz")


def test_a_folder_is_no_file(tmp_path):
    with pytest.raises(MissingFileError, match="there is no file"):
        files.read_arrays(tmp_path)


def test_every_truncation_is_refused(tmp_path):
    files.write_arrays(tmp_path / "a.npz", {"x": np.arange(40), "y": np.ones((3, 4))})
    whole = (tmp_path / "a.npz").read_bytes()
    for length in range(0, len(whole), 7):
        (tmp_path / "b.npz").write_bytes(whole[:length])
        with pytest.raises(FileFormatError):
            files.read_arrays(tmp_path / "b.npz")


def test_every_flipped_byte_of_an_array_is_noticed(tmp_path):
    files.write_arrays(tmp_path / "a.npz", {"x": np.arange(40)})
    whole = bytearray((tmp_path / "a.npz").read_bytes())
    start = whole.index(b"\x93NUMPY")
    for position in range(start, start + 128 + 40 * 8, 3):
        damaged = whole.copy()
        damaged[position] ^= 0x5A
        (tmp_path / "b.npz").write_bytes(damaged)
        with pytest.raises(FileFormatError):
            files.read_arrays(tmp_path / "b.npz")


def test_python_objects_are_never_read(tmp_path):
    class Trap:
        def __reduce__(self):
            return (os.mkdir, (str(tmp_path / "executed"),))

    zip_of(tmp_path / "a.npz", {"x.npy": npy(np.array([Trap()], dtype=object), allow_pickle=True)})
    with pytest.raises(FileFormatError, match=r"a\.npz is not an .*: entry 'x\.npy' does not hold a plain"):
        files.read_arrays(tmp_path / "a.npz")
    assert not (tmp_path / "executed").exists()


def test_a_huge_declared_shape_is_refused_without_being_made(tmp_path):
    content = npy(np.zeros(3)).replace(b"(3,)", b"(300000000000,)").replace(b" " * 11 + b"\n", b"\n")
    zip_of(tmp_path / "a.npz", {"x.npy": content})
    with pytest.raises(
        FileFormatError, match=r"'x\.npy' declares shape \(300000000000,\) of float64, which does not fit its 24 bytes"
    ):
        files.read_arrays(tmp_path / "a.npz")


def test_compressed_entries_are_refused_so_none_can_swell(tmp_path):
    zip_of(tmp_path / "a.npz", {"x.npy": npy(np.zeros(10_000_000, np.uint8))}, zipfile.ZIP_DEFLATED)
    with pytest.raises(FileFormatError, match="is compressed, or has a wrong size"):
        files.read_arrays(tmp_path / "a.npz")


def test_entries_inside_each_other_are_refused_so_none_can_swell(tmp_path):
    """Every entry's values hold all entries after it, local headers included: a file of n entries times its size."""
    entries, data = [], bytes(100_000)
    for number in range(100):
        zip_of(tmp_path / "one.npz", {f"{number:03}.npy": npy(np.frombuffer(data, np.uint8))})
        one = (tmp_path / "one.npz").read_bytes()
        start = one.rindex(b"PK\1\2")
        data = one[:start]
        entries.append((len(data), one[start:-22]))
    directory = b"".join(entry[:42] + struct.pack("<I", len(data) - size) + entry[46:] for size, entry in entries[::-1])
    end = struct.pack("<4sHHHHIIH", b"PK\5\6", 0, 0, 100, 100, len(directory), len(data), 0)
    (tmp_path / "a.npz").write_bytes(data + directory + end)
    tracemalloc.start()
    with pytest.raises(FileFormatError):
        files.read_arrays(tmp_path / "a.npz")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 5 * (tmp_path / "a.npz").stat().st_size


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        (20, 2**32 - 2, "is compressed, or has a wrong size"),  # would be read at once, as 4 GB
        (42, 2**32 - 2, "is compressed, or has a wrong size or place"),
    ],
)
def test_a_directory_that_points_outside_the_file_is_refused(tmp_path, field, value, message):
    path = zip_of(tmp_path / "a.npz", {"x.npy": npy(np.zeros(3))})
    content = bytearray(path.read_bytes())
    struct.pack_into("<I", content, content.rindex(b"PK\1\2") + field, value)
    path.write_bytes(content)
    with pytest.raises(FileFormatError, match=message):
        files.read_arrays(path)


def test_an_entry_before_the_files_start_is_refused(tmp_path):
    path = zip_of(tmp_path / "a.npz", {"x.npy": npy(np.zeros(3))})
    path.write_bytes(path.read_bytes()[7:])
    with pytest.raises(FileFormatError, match=r"entry 'x\.npy' is compressed, or has a wrong size or place"):
        files.read_arrays(path)


def test_entries_that_are_no_arrays_are_refused(tmp_path):
    zip_of(tmp_path / "a.npz", {"x.txt": b"hello"})
    with pytest.raises(FileFormatError, match=r"entry 'x\.txt' is not an array, or occurs twice"):
        files.read_arrays(tmp_path / "a.npz")


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_an_entry_that_is_there_twice_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("x.npy", npy(np.zeros(2)))
        archive.writestr("x.npy", npy(np.ones(2)))
    with pytest.raises(FileFormatError, match="occurs twice"):
        files.read_arrays(tmp_path / "a.npz")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x93NUMPY\x07\x00rubbish",
        b"\x93NUMPY\x01\x00\x10\x00{'descr': '<f8'}",
        npy(np.zeros(2)).replace(b"'<f8'", b"'?!?'"),
        npy(np.zeros(2)).replace(b"'<f8'", b"'<f7'"),
        npy(np.zeros(2)).replace(b"'<f8'", b"'<U0'"),
        npy(np.zeros(2, dtype=[("a", "f8")])),
        npy(np.zeros(2)).replace(b"(2,)", b"(-2,"),
    ],
)
def test_an_invalid_array_header_is_refused(tmp_path, content):
    zip_of(tmp_path / "a.npz", {"x.npy": content})
    with pytest.raises(FileFormatError, match=r"'x\.npy'"):
        files.read_arrays(tmp_path / "a.npz")


class TestDescribed:
    """Arrays with a description, which has a kind and a version."""

    @staticmethod
    def write(path, version=3, **description):
        files.write_described(path, "thing", version, description, {"x": np.arange(3)})

    @staticmethod
    def read(path, kind="thing", versions=range(1, 4)):
        return files.read_described(path, kind, versions, lambda description, arrays: (description, arrays))

    def test_description_and_arrays_come_back_and_numbers_of_numpy_as_plain_ones(self, tmp_path):
        self.write(tmp_path / "a.npz", size=np.int64(7), rates=np.array([0.5, 1]), name="é")
        description, arrays = self.read(tmp_path / "a.npz")
        assert description == {"format": "minidl thing", "version": 3, "size": 7, "rates": [0.5, 1.0], "name": "é"}
        np.testing.assert_array_equal(arrays["x"], [0, 1, 2])

    @pytest.mark.parametrize(
        ("version", "oldest", "message"),
        [
            (3, 1, None),
            (3, 3, None),
            (1, 1, None),
            (4, 1, "version is 4, this minidl reads \\[1, 2, 3\\]"),
            (2, 3, "version is 2, this minidl reads \\[3\\]"),
        ],
    )
    def test_versions_from_the_oldest_to_the_present_one_are_read(self, tmp_path, version, oldest, message):
        self.write(tmp_path / "a.npz", version=version)
        if message is None:
            assert self.read(tmp_path / "a.npz", versions=range(oldest, 4))[0]["version"] == version
            return
        with pytest.raises(FileFormatError, match=rf"a\.npz cannot be loaded: its {message}"):
            self.read(tmp_path / "a.npz", versions=range(oldest, 4))

    def test_what_is_read_must_be_there(self, tmp_path):
        self.write(tmp_path / "a.npz", a=1)
        make = lambda description, arrays: description["b"]  # noqa: E731
        with pytest.raises(FileFormatError, match=r"a\.npz cannot be loaded: it has no 'b'$"):
            files.read_described(tmp_path / "a.npz", "thing", range(4), make)

    def test_a_file_of_another_kind_of_ours_says_what_it_is(self, tmp_path):
        self.write(tmp_path / "a.npz")
        with pytest.raises(FileFormatError, match="it is not a model that minidl saved, but 'minidl thing'$"):
            self.read(tmp_path / "a.npz", "model")
        files.write_described(tmp_path / "b.npz", "model", 1, {}, {})
        with pytest.raises(FileFormatError, match="but 'minidl model'"):
            self.read(tmp_path / "b.npz", "training run")

    def test_what_json_cannot_hold_is_named(self, tmp_path):
        with pytest.raises(TypeError, match="<object .*> is not a number, text, list or dict"):
            self.write(tmp_path / "a.npz", thing=object())
        assert not (tmp_path / "a.npz").exists()
