"""load_mnist from each of its sources, with a network that is never the real one."""

import gzip
import hashlib
import os
import re
import struct
import subprocess
import sys
import urllib.request
from http.client import IncompleteRead
from pathlib import Path

import numpy as np
import pytest
from streams import NO_STREAMS

from minidl.data import load_mnist
from minidl.errors import FileFormatError, MissingFileError

NAMES = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")
HOSTS = ("first.example", "second.example")
STAND_IN = "scikit-learn digits, 1,797 images scaled to 28 x 28"


def make_contents(size=28):
    """Return a small MNIST as the bytes of its four files."""
    rng = np.random.default_rng(0)
    contents = {}
    for part, count in (("train", 5), ("t10k", 4)):
        pixels, labels = rng.bytes(count * size * size), bytes(rng.integers(0, 10, count).tolist())
        contents[f"{part}-images-idx3-ubyte"] = struct.pack(">HBB3I", 0, 8, 3, count, size, size) + pixels
        contents[f"{part}-labels-idx1-ubyte"] = struct.pack(">HBBI", 0, 8, 1, count) + labels
    return contents


CONTENTS = make_contents()


class Network:
    """A network of mirrors: a file is its bytes, or the error to raise; every address asked for is kept."""

    def __init__(self):
        self.asked = []
        self.files = {
            f"https://{host}/{name}.gz": gzip.compress(content) for host in HOSTS for name, content in CONTENTS.items()
        }

    def set_mirror(self, host, answer):
        self.files |= {f"https://{host}/{name}.gz": answer for name in NAMES}

    def fetch(self, url, deadline, most_bytes):
        self.asked.append(url)
        answer = self.files[url]
        if isinstance(answer, BaseException):
            raise answer
        return answer


@pytest.fixture(autouse=True)
def network(monkeypatch, tmp_path):
    """Put the small MNIST on two invented mirrors, and the cache into an empty folder."""
    network = Network()
    digests = {name: hashlib.sha256(content).hexdigest() for name, content in CONTENTS.items()}
    monkeypatch.setattr("minidl.data.mnist.SHA256", {name: digests[name] for name in NAMES})
    monkeypatch.setattr("minidl.data.mnist.MIRRORS", tuple(f"https://{host}/" for host in HOSTS))
    monkeypatch.setattr("minidl.data.mnist.fetch", network.fetch)
    monkeypatch.setattr(urllib.request, "urlopen", None)
    monkeypatch.delenv("MINIDL_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home cache"))
    return network


@pytest.fixture
def cache(tmp_path):
    """Return the cache folder, which does not exist yet."""
    return tmp_path / "home cache" / "minidl" / "mnist"


def write_folder(folder, contents=CONTENTS):
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    return folder


def write_csv(path, pixels=784):
    table = np.random.default_rng(0).integers(0, 256, (6, pixels + 1))
    table[:, 0] %= 10
    header = "label," + ",".join(f"pixel{i}" for i in range(pixels))
    np.savetxt(path, table, fmt="%d", delimiter=",", header=header, comments="")
    return table


def assert_small_mnist(dataset, source, shape=(784,)):
    """Compare with the bytes of the files, behind their headers."""
    (x_train, y_train), (x_test, y_test) = dataset
    for x, y, part, count in ((x_train, y_train, "train", 5), (x_test, y_test, "t10k", 4)):
        assert x.shape == (count, *shape)
        assert (x.dtype, y.dtype) == (np.uint8, np.intp)
        assert x.flags.c_contiguous
        assert x.tobytes() == CONTENTS[f"{part}-images-idx3-ubyte"][16:]
        assert bytes(y.tolist()) == CONTENTS[f"{part}-labels-idx1-ubyte"][8:]
    assert dataset.source == source


def test_the_digests_are_of_the_published_files():
    # In a process of its own, as the fixture replaces them here.
    code = "from minidl.data import mnist; print(*mnist.SHA256, *map(len, mnist.SHA256.values()))"
    printed = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert printed.split() == [*NAMES, "64", "64", "64", "64"]


def test_an_idx_folder_is_loaded_as_flat_rows(tmp_path, network):
    folder = write_folder(tmp_path / "data")
    assert_small_mnist(load_mnist(folder), f"IDX folder {folder}")
    assert_small_mnist(load_mnist(str(folder)), f"IDX folder {folder}")
    assert network.asked == []


def test_images_may_be_kept_as_images(tmp_path):
    folder = write_folder(tmp_path / "data")
    assert_small_mnist(load_mnist(folder, flatten=False), f"IDX folder {folder}", shape=(28, 28, 1))


def test_a_csv_file_has_an_empty_test_part(tmp_path):
    table = write_csv(tmp_path / "digits.csv")
    (x_train, y_train), (x_test, y_test) = dataset = load_mnist(tmp_path / "digits.csv")
    np.testing.assert_array_equal(x_train, table[:, 1:])
    np.testing.assert_array_equal(y_train, table[:, 0])
    assert (x_test.shape, y_test.shape) == ((0, 784), (0,))
    assert (x_test.dtype, y_test.dtype) == (np.uint8, np.intp)
    assert dataset.source == f"CSV file {tmp_path / 'digits.csv'}"
    assert load_mnist(tmp_path / "digits.csv", flatten=False).x_test.shape == (0, 28, 28, 1)


def test_a_folder_with_the_competitions_file_is_loaded(tmp_path):
    table = write_csv(tmp_path / "train.csv")
    np.testing.assert_array_equal(load_mnist(tmp_path).y_train, table[:, 0])


def test_a_folder_without_data_names_the_first_missing_file(tmp_path, network):
    with pytest.raises(MissingFileError, match=re.escape(f"{tmp_path} lacks train-images-idx3-ubyte")):
        load_mnist(tmp_path)
    assert network.asked == []


def test_a_path_that_does_not_exist_is_an_error_and_not_a_download(tmp_path, network):
    with pytest.raises(MissingFileError, match=f"^there is no file or folder {re.escape(str(tmp_path / 'none'))}"):
        load_mnist(tmp_path / "none")
    assert network.asked == []


@pytest.mark.parametrize("kind", ["folder", "csv"])
def test_images_of_another_size_are_refused(tmp_path, kind):
    if kind == "folder":
        path = write_folder(tmp_path / "data", make_contents(size=8))
    else:
        path = tmp_path / "digits.csv"
        write_csv(path, pixels=64)
    with pytest.raises(FileFormatError, match=re.escape(str(path)) + r": images of shape \(.*\), not 28 x 28"):
        load_mnist(path)


def test_the_environment_variable_names_a_folder_or_a_csv_file(tmp_path, monkeypatch):
    folder = write_folder(tmp_path / "data")
    monkeypatch.setenv("MINIDL_DATA", str(folder))
    assert_small_mnist(load_mnist(), f"IDX folder {folder}")
    table = write_csv(tmp_path / "digits.csv")
    monkeypatch.setenv("MINIDL_DATA", str(tmp_path / "digits.csv"))
    np.testing.assert_array_equal(load_mnist().y_train, table[:, 0])


def test_a_path_goes_before_the_environment_variable(tmp_path, monkeypatch):
    monkeypatch.setenv("MINIDL_DATA", str(tmp_path / "none"))
    folder = write_folder(tmp_path / "data")
    assert_small_mnist(load_mnist(folder), f"IDX folder {folder}")


def test_an_environment_variable_that_names_nothing_is_an_error(tmp_path, monkeypatch, network):
    monkeypatch.setenv("MINIDL_DATA", str(tmp_path / "none"))
    with pytest.raises(MissingFileError, match=re.escape(f"MINIDL_DATA names {tmp_path / 'none'}, which does not")):
        load_mnist()
    assert network.asked == []


def test_an_empty_environment_variable_counts_as_unset(monkeypatch):
    monkeypatch.setenv("MINIDL_DATA", "")
    assert_small_mnist(load_mnist(), "MNIST (downloaded from first.example)")


@pytest.mark.parametrize("make", NO_STREAMS.values(), ids=NO_STREAMS)
def test_a_download_works_whatever_standard_error_is(cache, network, monkeypatch, capsys, make):
    monkeypatch.setattr(sys, "stderr", make())
    assert load_mnist().source.startswith("MNIST")
    assert capsys.readouterr().out == ""


def test_a_download_is_announced_kept_and_not_repeated(cache, network, capsys):
    assert_small_mnist(load_mnist(), "MNIST (downloaded from first.example)")
    assert capsys.readouterr() == ("", "minidl: downloading MNIST (11 MB) from first.example ...\n")
    assert network.asked == [f"https://first.example/{name}.gz" for name in NAMES]
    assert {path.name: path.read_bytes() for path in cache.iterdir()} == CONTENTS

    assert_small_mnist(load_mnist(), f"MNIST (cache folder {cache})")
    assert capsys.readouterr() == ("", "")
    assert len(network.asked) == 4


def test_files_put_into_the_cache_by_hand_are_taken(cache, network):
    write_folder(cache, {f"{name}.gz": gzip.compress(content) for name, content in CONTENTS.items()})
    assert_small_mnist(load_mnist(), f"MNIST (cache folder {cache})")
    assert network.asked == []


def test_only_what_the_cache_lacks_is_downloaded(cache, network):
    write_folder(cache)
    (cache / NAMES[2]).unlink()
    assert_small_mnist(load_mnist(), "MNIST (downloaded from first.example)")
    assert network.asked == [f"https://first.example/{NAMES[2]}.gz"]


@pytest.mark.parametrize("damage", [CONTENTS[NAMES[0]][:-1], CONTENTS[NAMES[0]][:-1] + b"?", b"\x1f\x8b\x08", b""])
def test_a_damaged_file_in_the_cache_is_named_and_replaced(cache, network, capsys, damage):
    write_folder(cache)
    (cache / NAMES[0]).write_bytes(damage)
    assert_small_mnist(load_mnist(), "MNIST (downloaded from first.example)")
    said = capsys.readouterr().err
    assert said.startswith("minidl: the cache cannot be used: ")
    assert f"/minidl/mnist/{NAMES[0]}" in said  # errors shorten a long path
    assert len(network.asked) == 1
    assert (cache / NAMES[0]).read_bytes() == CONTENTS[NAMES[0]]


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (OSError("unreachable"), "unreachable"),
        (TimeoutError("no answer within 5 seconds"), "no answer within 5 seconds"),
        (IncompleteRead(b"12"), "IncompleteRead(2 bytes read)"),
        (gzip.compress(b"something else"), "is damaged: its SHA-256 is not that of MNIST's train-images-idx3-ubyte"),
        (gzip.compress(CONTENTS[NAMES[0]])[:-20], "damaged gzip file"),
        (b"<html>Please log in to this hotel</html>", "is damaged: its SHA-256"),
        (b"", "is damaged: its SHA-256"),
    ],
    ids=["unreachable", "time-out", "incomplete", "other content", "partial", "web page", "nothing"],
)
def test_after_a_mirror_that_fails_comes_the_next_and_then_the_stand_in(cache, network, capsys, answer, reason):
    network.set_mirror("first.example", answer)
    assert_small_mnist(load_mnist(), "MNIST (downloaded from second.example)")
    announced = [f"minidl: downloading MNIST (11 MB) from {host} ..." for host in HOSTS]
    assert capsys.readouterr().err.splitlines() == announced
    assert len(network.asked) == 1 + 4

    for path in cache.iterdir():
        path.unlink()
    network.set_mirror("second.example", answer)
    assert load_mnist().source == STAND_IN
    *lines, last = capsys.readouterr().err.splitlines()
    assert lines == announced
    assert last.startswith("minidl: no MNIST (first.example: ")
    assert last.count(reason) == 2
    assert "second.example: " in last
    assert "load_mnist(path) or MINIDL_DATA" in last
    assert list(cache.iterdir()) == []


def test_without_the_network_allowed_the_stand_in_comes_and_says_why(cache, network, capsys):
    write_folder(cache)
    (cache / NAMES[3]).unlink()
    (x_train, y_train), (x_test, y_test) = dataset = load_mnist(download=False)
    assert (dataset.source, network.asked) == (STAND_IN, [])
    assert capsys.readouterr().err.startswith(f"minidl: no MNIST ({cache} lacks t10k-labels-idx1-ubyte, and download=F")
    assert (x_train.shape, y_train.shape, x_test.shape, y_test.shape) == ((1437, 784), (1437,), (360, 784), (360,))
    assert (x_train.dtype, y_train.dtype) == (np.uint8, np.intp)
    assert load_mnist(download=False, flatten=False).x_test.shape == (360, 28, 28, 1)


def test_a_cache_that_cannot_be_written_leaves_the_data_in_memory(cache, capsys):
    cache.parent.parent.mkdir()
    cache.parent.write_text("a file where the folder should be")
    assert_small_mnist(load_mnist(), "MNIST (downloaded from first.example)")
    said = capsys.readouterr().err.splitlines()[-1]
    assert said.startswith(f"minidl: the cache folder {cache} cannot be written (")
    assert said.endswith("): MNIST is kept only in memory")


def test_a_full_disk_leaves_nothing_half_written(cache, monkeypatch, capsys):
    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    assert_small_mnist(load_mnist(), "MNIST (downloaded from first.example)")
    assert "No space left on device" in capsys.readouterr().err
    assert list(cache.iterdir()) == []


def test_an_interrupted_download_leaves_nothing_behind(cache, network):
    network.files[f"https://first.example/{NAMES[2]}.gz"] = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        load_mnist()
    assert not cache.exists()


def test_an_interruption_between_two_writes_leaves_only_whole_files(cache, monkeypatch):
    replace = Path.replace

    def interrupted(self, target):
        if Path(target).name == NAMES[1]:
            raise KeyboardInterrupt
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        load_mnist()
    assert {path.name: path.read_bytes() for path in cache.iterdir()} == {NAMES[0]: CONTENTS[NAMES[0]]}


@pytest.mark.parametrize(
    ("variables", "folder"),
    [
        ({"XDG_CACHE_HOME": "/x/y", "LOCALAPPDATA": "/local"}, "/x/y/minidl/mnist"),
        ({"LOCALAPPDATA": "/local"}, "/local/minidl/mnist"),
        ({"HOME": "/home/ada", "USERPROFILE": "/home/ada"}, "/home/ada/.cache/minidl/mnist"),
        ({"XDG_CACHE_HOME": "", "HOME": "/home/ada", "USERPROFILE": "/home/ada"}, "/home/ada/.cache/minidl/mnist"),
    ],
)
def test_the_cache_is_where_the_system_keeps_caches(monkeypatch, capsys, variables, folder):
    for name in ("XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    load_mnist(download=False)
    assert f"({Path(folder)} lacks " in capsys.readouterr().err


def test_importing_the_data_package_imports_nothing_heavy():
    code = """
import sys, numpy
before = set(sys.modules)
import minidl.data
heavy = {"pandas", "sklearn", "scipy", "tqdm", "urllib.request", "http.client", "gzip", "zlib", "hashlib", "difflib"}
print(sorted(heavy & (set(sys.modules) - before)))
"""
    printed = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert printed == "[]\n"
