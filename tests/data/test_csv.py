"""load_csv against Python's own csv module, and every way in which a file can be wrong."""

import csv
import gzip
import io
import re
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minidl.data import load_csv
from minidl.errors import ArgumentError, ArgumentTypeError, FileFormatError, MissingFileError

SMALL = "label,pixel0,pixel1\n7,0,255\n3,1,2\n"


@pytest.fixture
def file(tmp_path):
    """Write a file and return its path."""

    def write(content, name="train.csv"):
        path = tmp_path / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return write


@pytest.fixture
def tiny_blocks(monkeypatch):
    """Cut files after every line, so that a few lines make many blocks."""
    monkeypatch.setattr("minidl.data.csv._BLOCK_BYTES", 1)


def assert_small(x, y):
    np.testing.assert_array_equal(x, [[0, 255], [1, 2]])
    np.testing.assert_array_equal(y, [7, 3])
    assert (x.dtype, y.dtype) == (np.uint8, np.intp)
    assert x.flags.c_contiguous


def fault(path, **options):
    """Return what the error says after the file's name, with which it must begin."""
    with pytest.raises(FileFormatError) as caught:
        load_csv(path, **options)
    assert str(caught.value).startswith(str(path))
    return str(caught.value).removeprefix(str(path))


@pytest.mark.parametrize(
    "content",
    [
        SMALL,
        SMALL.replace("\n", "\r\n"),
        SMALL.removesuffix("\n"),
        SMALL + "\n",
        SMALL + "\r\n \t\n",
        "\ufeff" + SMALL,
        SMALL.replace("pixel0", '"pixel0"').replace("label", '"label"'),
        '"label","a,b","c"\n"7","0","255"\n"3","1","2"\n',
        " label , pixel0,pixel1 \n 7, +0,255 \n03,001,2\n",
    ],
    ids=["plain", "CRLF", "no newline", "blank line", "blank lines", "BOM", "quoted", "all quoted", "spaces"],
)
@pytest.mark.usefixtures("tiny_blocks")
def test_every_common_spelling_of_a_table_gives_the_same_arrays(file, content):
    assert_small(*load_csv(file(content)))


def test_a_gzip_file_is_read_whatever_its_name(file):
    assert_small(*load_csv(file(gzip.compress(SMALL.encode()), "train.csv.gz")))
    assert_small(*load_csv(file(gzip.compress(SMALL.encode()), "train.csv")))


def test_a_path_may_be_a_string_and_begin_with_a_tilde(file, monkeypatch):
    path = file(SMALL)
    assert_small(*load_csv(str(path)))
    monkeypatch.setenv("HOME", str(path.parent))
    monkeypatch.setenv("USERPROFILE", str(path.parent))
    assert_small(*load_csv("~/train.csv"))
    assert_small(*load_csv(Path("~/train.csv")))


@pytest.mark.parametrize("label", ["kind", 2, -1, np.int64(2)])
def test_the_label_column_is_chosen_by_name_or_position(file, label):
    assert_small(*load_csv(file("a,b,kind\n0,255,7\n1,2,3\n"), label=label))


def test_the_label_column_may_stand_between_the_pixels(file):
    assert_small(*load_csv(file("a,label,b\n0,7,255\n1,3,2\n")))


def test_a_file_without_labels_gives_none_for_them(file):
    x, y = load_csv(file("pixel0,pixel1\n0,255\n1,2\n"), label=None)
    np.testing.assert_array_equal(x, [[0, 255], [1, 2]])
    assert y is None


def test_labels_are_not_held_to_the_range_of_pixels(file):
    _, y = load_csv(file("label,pixel0\n-1,0\n1000,0\n9223372036854775807,0\n"))
    assert y.tolist() == [-1, 1000, 2**63 - 1]


def test_a_file_without_a_header_keeps_its_first_row(file):
    path = file("7,0,255\n3,1,2\n")
    assert_small(*load_csv(path, label=0, header=False))
    assert fault(file("7,0,255\n3,1\n"), label=0, header=False).startswith(", line 2: 2 cells")


def test_a_first_row_of_pixels_is_not_taken_for_a_header(file):
    assert fault(file("5,0,0\n4,0,0\n"), label=0).startswith(", line 1: numbers, where the column names should be")


def test_a_header_that_counts_the_columns_is_a_header(file):
    x, y = load_csv(file("0,1,2\n7,0,255\n3,1,2\n"), label=0)
    assert_small(x, y)


def test_a_large_table_comes_back_bit_for_bit(file):
    table = np.random.default_rng(0).integers(0, 256, (2500, 785), dtype=np.uint8)
    text = io.StringIO()
    np.savetxt(text, table, fmt="%d", delimiter=",", header=",".join(f"c{i}" for i in range(785)), comments="")
    path = file(text.getvalue())
    assert path.stat().st_size > 4 << 20  # more than one block
    x, y = load_csv(path, label="c784")
    np.testing.assert_array_equal(x, table[:, :-1])
    np.testing.assert_array_equal(y, table[:, -1])


@settings(max_examples=60)
@given(
    rows=st.integers(2, 4).flatmap(
        lambda width: st.lists(st.lists(st.integers(0, 255), min_size=width, max_size=width), min_size=1)
    ),
    newline=st.sampled_from(["\n", "\r\n"]),
    quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
    block_bytes=st.integers(1, 40),
)
def test_what_the_csv_module_writes_is_read_back(rows, newline, quoting, block_bytes):
    text = io.StringIO()
    writer = csv.writer(text, lineterminator=newline, quoting=quoting)
    writer.writerow(["label", *(f"pixel{i}" for i in range(len(rows[0]) - 1))])
    writer.writerows(rows)
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr("minidl.data.csv._BLOCK_BYTES", block_bytes)
        path = Path(folder, "train.csv")
        path.write_text(text.getvalue(), newline="")
        x, y = load_csv(path)
    np.testing.assert_array_equal(x, np.array(rows)[:, 1:])
    np.testing.assert_array_equal(y, np.array(rows)[:, 0])


def first_fault(lines):
    """Read the lines in plain Python: the number of the first bad line and its bad column, or None."""
    for number, line in enumerate(lines, 2):
        cells = line.split(",")
        if not line.strip(" \t"):
            continue
        if len(cells) != 3:
            return number, None
        for column, cell in enumerate(cells):
            if not re.fullmatch(r"[+-]?\d+", cell.strip()) or (column > 0 and not 0 <= int(cell) <= 255):
                return number, column
    return None


good_cells = st.sampled_from(["0", "255", " 7", "8 ", "+9", "-0", "0012"])
bad_cells = st.sampled_from(["", "256", "-1", "1.5", "x", "1e2", "NaN", "true", "1_0", "0x1", "12345678901234567"])
good_lines = st.lists(good_cells, min_size=3, max_size=3).map(",".join)
bad_lines = st.one_of(
    st.sampled_from(["", " ", "1", "1,2", "1,2,3,", "1,2,3,4", ",,", ","]),
    st.lists(good_cells | bad_cells, min_size=3, max_size=3).map(",".join),
)


@settings(max_examples=150)
@given(
    lines=st.lists(good_lines | bad_lines, min_size=1, max_size=8).filter(lambda lines: any(map(str.strip, lines))),
    block_bytes=st.integers(1, 40),
)
def test_exactly_the_bad_lines_are_refused_and_the_first_is_named(lines, block_bytes):
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr("minidl.data.csv._BLOCK_BYTES", block_bytes)
        path = Path(folder, "train.csv")
        path.write_text("label,p0,p1\n" + "\n".join(lines) + "\n")
        expected = first_fault(lines)
        if expected is None:
            x, y = load_csv(path)
            cells = [list(map(int, line.split(","))) for line in lines if line.strip()]
            assert np.column_stack([y, x]).tolist() == cells
            return
        number, column = expected
        message = fault(path)
    assert message.startswith(f", line {number}")
    if column is not None:
        assert f", column {['label', 'p0', 'p1'][column]!r}: " in message


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("4,1", ": 2 cells, where line 1 has 3"),
        ("4,1,2,3", ": 4 cells, where line 1 has 3"),
        ("4,1,2,", ": 4 cells, where line 1 has 3"),
        ("4,x,2", ", column 'pixel0': 'x' is not an integer in 0-255"),
        ("4,,2", ", column 'pixel0': '' is not an integer in 0-255"),
        ("4,1,256", ", column 'pixel1': '256' is not an integer in 0-255"),
        ("4,1,-1", ", column 'pixel1': '-1' is not an integer in 0-255"),
        ("4,1,65536", ", column 'pixel1': '65536' is not an integer in 0-255"),
        ("4,1,2.5", ", column 'pixel1': '2.5' is not an integer in 0-255"),
        ("4,1,99999999999999999999999", ", column 'pixel1': '99999999999999999999999' is not an integer in 0-255"),
        ("four,1,2", ", column 'label': 'four' is not a 64-bit integer"),
        (",1,2", ", column 'label': '' is not a 64-bit integer"),
        ("9223372036854775808,1,2", ", column 'label': '9223372036854775808' is not a 64-bit integer"),
        ("4,1\0,2", ": not CSV text: a NUL byte at position 3"),
        ('4,"1,2', ": not CSV text: unexpected end of data"),
        ("4,1\r,2", ": not CSV text: new-line character seen in unquoted field"),
        (b"4,\xff,2", ": not CSV text: 'utf-8' codec can't decode byte 0xff in position 2"),
    ],
)
@pytest.mark.parametrize("before", [0, 3])
def test_a_bad_row_is_named_by_file_line_and_column(file, tiny_blocks, row, message, before):
    rows = [b"1,1,1"] * 6
    rows[before] = row if isinstance(row, bytes) else row.encode()
    path = file(b"label,pixel0,pixel1\n" + b"\n".join(rows) + b"\n")
    assert fault(path).startswith(f", line {before + 2}{message}")


def test_a_bad_row_of_a_large_file_is_found(file):
    path = file("label,pixel0\n" + "5,6\n" * 1_200_000 + "5,six\n")
    assert fault(path) == ", line 1200002, column 'pixel0': 'six' is not an integer in 0-255"


def test_blank_lines_count_in_line_numbers(file, tiny_blocks):
    assert fault(file("label,pixel0\n\n1,2\n\n1,x\n")).startswith(", line 5, column 'pixel0'")


def test_the_original_error_is_the_cause(file):
    with pytest.raises(FileFormatError) as caught:
        load_csv(file("label,pixel0\n1,2,3\n"))
    assert isinstance(caught.value.__cause__, pd.errors.ParserError)


def test_a_trouble_that_only_pandas_sees_still_names_file_and_line(file, monkeypatch):
    def refuse(*_, **__):
        raise ValueError("no idea")

    monkeypatch.setattr(pd, "read_csv", refuse)
    assert fault(file(SMALL)) == ", from line 2 on: pandas cannot read it: no idea"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", " is empty"),
        ("label,pixel0", ": a header, but no rows after it"),
        ("label,pixel0\n\r\n\n", ": a header, but no rows after it"),
        ("\n1,2\n", ", line 1: blank, where the column names should be"),
        (b"\x89PNG\r\n\x1a\n\0\0", ", line 1: not CSV text: 'utf-8' codec can't decode byte 0x89 in position 0"),
        (b"PK\x03\x04\0\0\n", ", line 1: not CSV text: a NUL byte at position 4"),
        ("label,pixel0\n1,2\n".encode("utf-16"), ", line 1: not CSV text: a NUL byte at position 3"),
        ('label,"pixel0\n1,2\n', ", line 1: not CSV text: unexpected end of data"),
    ],
    ids=["empty", "header only", "header and blanks", "blank first", "PNG", "zip", "UTF-16", "open quote"],
)
def test_a_file_that_is_no_table_says_why(file, content, message):
    assert fault(file(content)).startswith(message)


def test_a_folder_is_not_a_file(tmp_path):
    assert fault(tmp_path) == " is a folder, where a file is needed"


@pytest.mark.parametrize("name", ["none.csv", "train.csv/none.csv"])
def test_a_missing_file_is_named(file, name):
    path = file(SMALL).parent / name
    with pytest.raises(MissingFileError, match=re.escape(f"{path} does not exist (current folder: {Path.cwd()})")):
        load_csv(path)


def test_the_tilde_of_an_unknown_user_is_a_missing_file():
    with pytest.raises(MissingFileError, match=r"~no-such-user/train\.csv does not exist"):
        load_csv("~no-such-user/train.csv")


@pytest.mark.parametrize("cut", [-1, -8, 30])
def test_a_truncated_gzip_file_is_named(file, cut):
    packed = gzip.compress(SMALL.encode() + b"1,1,1\n" * 1000)
    assert fault(file(packed[:cut], "train.csv.gz")).startswith(": damaged gzip file: ")


@pytest.mark.parametrize(("content", "line"), [(SMALL + "1" * 3000, 4), ("1" * 3000, 1), ("a,b\n" + "1" * 3000, 2)])
@pytest.mark.usefixtures("tiny_blocks")
def test_a_line_without_end_is_not_read_to_its_end(file, monkeypatch, content, line):
    monkeypatch.setattr("minidl.data.csv._LONGEST_LINE", 1000)
    path = file(gzip.compress(content.encode()))
    assert fault(path, label=0) == f", line {line}: longer than 1,000 bytes"


def test_a_missing_label_among_very_many_columns_is_reported_at_once(file):
    path = file(",".join(f"pixel{column}" for column in range(200_000)))
    start = time.perf_counter()
    with pytest.raises(ArgumentError, match="has no column 'pixel', did you mean 'pixel"):
        load_csv(path, label="pixel")
    assert time.perf_counter() - start < 1


def test_a_missing_label_column_lists_what_is_there(file):
    path = file("Label," + ",".join(f"pixel{i}" for i in range(784)) + "\n" + ",".join(["0"] * 785) + "\n")
    with pytest.raises(ArgumentError) as caught:
        load_csv(path)
    message = str(caught.value)
    assert message.startswith(f"{path} has no column 'label', did you mean 'Label'? its columns are ['Label', 'pixel0'")
    assert len(message) < len(str(path)) + 250
    with pytest.raises(ArgumentError, match="has no column 'zzz'; its columns are"):
        load_csv(path, label="zzz")


@pytest.mark.parametrize("label", [3, -4])
def test_a_label_position_outside_the_table_is_refused(file, label):
    path = file(SMALL)
    with pytest.raises(ArgumentError, match=re.escape(f"{path} has 3 columns, so none at label={label}")):
        load_csv(path, label=label)


def test_a_label_of_another_type_is_refused(file):
    with pytest.raises(ArgumentTypeError, match=re.escape("label=0.0 is neither a name nor a position nor None")):
        load_csv(file(SMALL), label=0.0)
