"""Files plain and gzip come with the same content; what cannot be read is an error that names it."""

import gzip
import io
import random
import re
import zipfile
from pathlib import Path

import pytest

from minidl.data.reading import open_bytes, shown, unpack
from minidl.errors import FileFormatError, MissingFileError

CONTENT = b"one line\nand another\n" * 100


def zipped(content):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("file", content)
    return file.getvalue()


def read(path):
    with open_bytes(path) as file:
        return file.read()


@pytest.mark.parametrize("name", ["file", "file.gz"])  # its name does not count
@pytest.mark.parametrize("pack", [bytes, gzip.compress, zipped], ids=["plain", "gzip", "zip"])
@pytest.mark.parametrize("content", [CONTENT, b"", b"\x1f", b"\x8b\x1f"], ids=["lines", "empty", "one byte", "swapped"])
def test_plain_and_packed_files_have_the_same_content(tmp_path, name, pack, content):
    (tmp_path / name).write_bytes(pack(content))
    assert read(tmp_path / name) == content


@pytest.mark.parametrize("name", ["none", "file/none"])
def test_a_missing_file_is_named_and_so_is_the_folder_that_it_was_looked_for_from(tmp_path, name):
    (tmp_path / "file").write_bytes(CONTENT)
    message = f"{tmp_path / name} does not exist (current folder: {Path.cwd()})"
    with pytest.raises(MissingFileError, match=f"^{re.escape(message)}$"):
        read(tmp_path / name)


def test_a_folder_is_no_file(tmp_path):
    with pytest.raises(FileFormatError, match=f"^{re.escape(str(tmp_path))} is a folder, but must be a file$"):
        read(tmp_path)


def with_wrong_sum(packed):
    return packed[:-8] + bytes([packed[-8] ^ 1]) + packed[-7:]


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda packed: packed[:-1], "Compressed file ended"),
        (lambda packed: packed[:30], "Compressed file ended"),
        (with_wrong_sum, "CRC check failed"),
        (lambda packed: packed[:10] + b"\xff" * 40, "Error -3"),
        (lambda packed: packed + b"rest", "Not a gzipped file"),
    ],
    ids=["cut at the end", "cut", "sum", "nonsense", "rest"],
)
def test_a_damaged_gzip_file_is_named_with_what_is_wrong(damage, message):
    with (
        pytest.raises(FileFormatError, match=f"^the place: damaged gzip file: {message}"),
        unpack(io.BytesIO(damage(gzip.compress(CONTENT))), "the place") as file,
    ):
        file.read()


@pytest.mark.parametrize("pack", [gzip.compress, zipped], ids=["gzip", "zip"])
def test_whatever_is_damaged_is_an_error_that_names_it_or_changes_nothing_else(pack):
    whole = pack(CONTENT[:200])
    chance = random.Random(0)
    for _ in range(300):
        damaged = bytearray(whole)
        damaged[chance.randrange(len(damaged))] = chance.randrange(256)
        try:
            with unpack(
                io.BytesIO(damaged[: chance.choice([len(damaged), chance.randrange(4, len(damaged))])]), "it"
            ) as file:
                file.read()
        except FileFormatError as error:
            assert str(error).startswith("it")  # noqa: PT017


def test_of_a_very_long_path_the_end_is_shown():
    assert shown(Path("folder/train.csv")) == str(Path("folder/train.csv"))
    text = shown(Path("a" * 200, "train.csv"))
    assert text.startswith("...a")
    assert text.endswith("train.csv")
    assert len(text) == 110
