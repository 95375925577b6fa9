"""load_csv against Python's own csv module, and every way in which a file can be wrong."""

import csv
import gzip
import io
import pickle
import re
import tempfile
import time
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minidl.data import load_csv, load_mnist
from minidl.errors import ArgumentError, ArgumentTypeError, DataWarning, FileFormatError, MissingFileError

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


def test_a_header_that_counts_the_columns_is_a_header_and_that_is_said(file):
    with pytest.warns(DataWarning, match=r"line 1: 0, 1, 2, \.\.\. are read as column names; .*header=False") as found:
        x, y = load_csv(file("0,1,2\n7,0,255\n3,1,2\n"), label=0)
    assert found[0].filename == __file__
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
        (b"\x89PNG\r\n\x1a\n\0\0", " is not a CSV file, but a PNG image"),
        (b"\x89\r\n\x1a\n\0\0", ", line 1: not CSV text: 'utf-8' codec can't decode byte 0x89 in position 0"),
        (b"PK\x03\x04\0\0\n", ": damaged zip file: File is not a zip file"),
        ("label,pixel0\n1,2\n".encode("utf-16"), " is not a CSV file, but UTF-16 text: save it as UTF-8"),
        ("label,pixel0\n1,2\n".encode("utf-16-le"), ", line 1: not CSV text: a NUL byte at position 1"),
        ('label,"pixel0\n1,2\n', ", line 1: not CSV text: unexpected end of data"),
    ],
    ids=["empty", "header", "header and blanks", "blank first", "PNG", "bytes", "zip", "UTF-16", "UTF-16-LE", "quote"],
)
def test_a_file_that_is_no_table_says_why(file, content, message):
    assert fault(file(content)).startswith(message)


def test_a_folder_is_not_a_file(tmp_path):
    assert fault(tmp_path) == " is a folder, but must be a file"


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
    with pytest.raises(ArgumentError, match=re.escape(f"{path} has 3 columns, but no column at label={label}")):
        load_csv(path, label=label)


def test_a_label_of_another_type_is_refused(file):
    with pytest.raises(ArgumentTypeError, match=re.escape("label=0.0 is not a name, a position or None")):
        load_csv(file(SMALL), label=0.0)


def packed_in_zip(*contents, names=("train.csv", "test.csv", "sample.csv")):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in zip(names, contents, strict=False):
            archive.writestr(name, content)
    return file.getvalue()


@pytest.mark.parametrize("name", ["train.csv.zip", "train.csv"])
def test_a_zip_of_one_file_is_read_whatever_its_name(file, name):
    assert_small(*load_csv(file(packed_in_zip(SMALL), name)))
    assert_small(*load_csv(file(packed_in_zip("", SMALL, names=["data/", "data/train.csv"]), name)))
    of_a_mac = packed_in_zip(SMALL, b"\0", b"\0", names=["train.csv", "__MACOSX/._train.csv", ".DS_Store"])
    assert_small(*load_csv(file(of_a_mac, name)))


@pytest.mark.parametrize("compression", ["infer", None, "gzip", "zip"])
@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_what_pandas_writes_is_read(tmp_path, compression, separator):
    path = tmp_path / {"infer": "train.csv.gz", None: "train.csv", "gzip": "a.csv.gz", "zip": "a.csv.zip"}[compression]
    table = pd.DataFrame([[7, 0, 255], [3, 1, 2]], columns=["label", "pixel0", "pixel1"])
    table.to_csv(path, index=False, sep=separator, compression=compression)
    assert_small(*load_csv(path))
    table.to_csv(path, index=False, header=False, sep=separator, compression=compression)
    assert_small(*load_csv(path, header=False, label=0))


@pytest.mark.parametrize("separator", [";", "\t"])
@pytest.mark.usefixtures("tiny_blocks")
def test_semicolons_and_tabs_separate_like_commas(file, separator):
    for content in (SMALL, '"label","a,b","c;d"\n"7","0","255"\n 3,1 ,2\n\n'):
        assert_small(*load_csv(file(content.replace('","', f'"{separator}"').replace(",", separator))))
    wrong = "label,pixel0,pixel1\n7,0,255\n3,1\n".replace(",", separator)
    assert fault(file(wrong)) == ", line 3: 2 cells, where line 1 has 3"
    empty = "label,pixel0,pixel1\n7,0,255\n,,\n".replace(",", separator)
    assert fault(file(empty)) == ", line 3, column 'label': '' is not a 64-bit integer: fill missing values"


def test_names_with_other_separators_do_not_decide(file):
    assert_small(*load_csv(file('label,"a;b;c;d","\te\t\t"\n7,0,255\n3,1,2\n')))
    assert_small(*load_csv(file('"label";"a,b,c,d";e\n7;0;255\n3;1;2\n')))


def test_a_decimal_comma_is_named(file):
    message = fault(file("label;pixel0;pixel1\n7;0,5;1\n"))
    assert (
        message == ", line 2, column 'pixel0': '0,5' is not an integer in 0-255: a decimal comma? write whole numbers"
    )


def test_numbers_that_are_not_whole_are_told_how_to_be_written(file):
    message = ": write whole numbers, with astype(int), or with fmt='%d' of numpy.savetxt"
    for cell in ("5.0", "0.5", ".5", "1e2", "7.000000000000000000e+00"):
        assert fault(file(f"label,pixel0\n7,{cell}\n")).endswith(message)
    assert fault(file("label,pixel0\n7,nan\n")).endswith(": fill missing values")


def test_numbers_between_spaces_are_told_the_separators(tmp_path):
    path = tmp_path / "train.txt"
    np.savetxt(path, [[7, 0, 255], [3, 1, 2]])
    assert fault(path, header=False, label=0).startswith(", line 1: spaces between numbers: separate cells by commas")
    assert fault(path).startswith(", line 1: spaces between numbers")


@pytest.mark.parametrize("rows", [1, 2, 300, 3000])
@pytest.mark.parametrize("first", [0, 1])
@pytest.mark.parametrize("separator", [",", ";"])
def test_an_index_saved_by_mistake_is_named(tmp_path, rows, first, separator):
    path = tmp_path / "train.csv"
    table = pd.DataFrame({"label": [3] * rows, "pixel0": [255] * rows}, index=range(first, first + rows))
    table.to_csv(path, sep=separator)
    cure = "Save the table without it: table.to_csv(path, index=False)"
    found = f": column without a name counts the rows: an index, saved by mistake. {cure}"
    for label in ("label", 0, 1, None):
        assert fault(path, label=label) == found
    pd.read_csv(path, sep=separator).to_csv(path, index=False, sep=separator)
    assert fault(path) == found.replace("without a name", "'Unnamed: 0'")
    with pytest.raises(FileFormatError, match="index=False"):
        load_mnist(path)
    table.to_csv(path, index=False, sep=separator)
    assert load_csv(path)[0].shape == (rows, 1)


def test_an_index_of_a_frame_without_names_is_named(tmp_path):
    pd.DataFrame([[7, 0, 255], [3, 1, 2]]).to_csv(tmp_path / "train.csv")
    assert "index=False" in fault(tmp_path / "train.csv", label=0)
    pd.DataFrame([[7, 0, 255]] * 2000).to_csv(tmp_path / "train.csv", header=False)
    assert "index=False" in fault(tmp_path / "train.csv", header=False, label=0)


def test_a_column_without_a_name_that_does_not_count_is_a_column(file):
    x, _ = load_csv(file("label,,pixel1\n7,0,255\n3,2,2\n"))
    assert x.tolist() == [[0, 255], [2, 2]]
    x, _ = load_csv(file("label,Unnamed: 0\n" + "".join(f"7,{row % 256}\n" for row in range(300))))
    assert x[:, 0].tolist() == [row % 256 for row in range(300)]


@pytest.mark.parametrize("row", ["7,0,255", "5,0,0", "7,8,9", "1,2,3", "0.5,0.25,1", "7.0,0.0,255.0", "-1,0,1", "7,,1"])
@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_a_first_row_of_numbers_is_never_taken_for_a_header(file, row, separator):
    path = file(f"{row}\n3,1,2\n4,5,6\n".replace(",", separator))
    cure = "if it is the first image, load_csv(path, header=False, label=0) reads it"
    for label in ("label", 0, None):
        assert fault(path, label=label) == f", line 1: numbers, where the column names should be; {cure}"
    with pytest.raises(FileFormatError, match="header=False, label=0"):
        load_mnist(path)


def test_names_that_only_count_have_positions(file):
    path = file("0,1,2\n7,0,255\n3,1,2\n")
    for load in (load_csv, load_mnist, lambda path: load_csv(path, header=False)):
        with pytest.raises(ArgumentError, match="has no column 'label' and no column names: .*header=False, label=0"):
            load(path)


def test_a_header_that_was_read_as_an_image_is_named(file):
    message = fault(file(SMALL), header=False, label=0)
    assert message.endswith("'label' is not a 64-bit integer; if line 1 holds the column names, remove header=False")


def npy(array):
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def npz(**arrays):
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


def xlsx():
    return packed_in_zip("<a/>", "<b/>", names=["[Content_Types].xml", "xl/workbook.xml"])


def parquet():
    file = io.BytesIO()
    pd.DataFrame({"label": [7, 3]}).to_parquet(file)
    return file.getvalue()


IDX = b"\0\0\x08\x01\0\0\0\x02\x07\x03"
OTHERS = {
    "npy": (npy(np.zeros((2, 3))), "a NumPy array (.npy): numpy.load reads it"),
    "npz": (npz(x_train=np.zeros(3), y_train=np.zeros(3)), "an .npz file: numpy.load reads it"),
    "npz of one": (npz(x=np.zeros(3)), "an .npz file: numpy.load reads it"),
    "pickle": (pickle.dumps({"label": [7]}), "a pickle: pandas.read_pickle reads it, if you trust"),
    "old pickle": (pickle.dumps([7], protocol=2), "a pickle: pandas.read_pickle reads it"),
    "IDX": (IDX, "an IDX file: load_idx reads it, and load_mnist the folder"),
    "xlsx": (xlsx(), "an Excel file: pandas.read_excel reads it"),
    "parquet": (parquet(), "a Parquet file: pandas.read_parquet reads it"),
    "zip": (
        packed_in_zip(SMALL, SMALL, SMALL),
        "a zip archive of 3 files, 'train.csv', 'test.csv', ...: unpack it first",
    ),
    "empty zip": (packed_in_zip(), "a zip archive of 0 files: unpack it first"),
    "HTML": (b"\n<!DOCTYPE html>\n<html>"[1:], "a web page: perhaps of a log-in; download the file itself"),
    "html": (b"  <html><body>", "a web page"),
    "JSON": (b'{"message": "Unauthorized"}', "JSON text"),
    "LFS": (b"version https://git-lfs.github.com/spec/v1\noid sha256:1\n", "a Git LFS pointer"),
    "JPEG": (b"\xff\xd8\xff\xe0\0\x10JFIF", "a JPEG image"),
    "tar": (b"train.csv".ljust(257, b"\0") + b"ustar\x0000".ljust(255, b"\0"), "a tar archive: unpack it first"),
    "xz": (b"\xfd7zXZ\0", "an xz file: unpack it first"),
}


@pytest.mark.parametrize("pack", [bytes, gzip.compress, packed_in_zip], ids=["plain", "gzip", "zip"])
@pytest.mark.parametrize(("content", "kind"), OTHERS.values(), ids=OTHERS)
def test_a_file_of_another_kind_is_named_with_what_reads_it(file, pack, content, kind):
    if pack is packed_in_zip and content[:2] == b"PK":
        kind = "a zip archive: unpack it first"  # inside of another
    if pack is gzip.compress and content[:2] == b"PK":
        kind = "a zip archive: unpack it first" if len(content) > 22 else "an empty zip archive"
    elif content == packed_in_zip() and pack is packed_in_zip:
        kind = "an empty zip archive"
    path = file(pack(content))
    for load in (load_csv, load_mnist):
        with pytest.raises(FileFormatError) as caught:
            load(path)
        assert kind in str(caught.value)
        assert str(caught.value).startswith(f"{path} is ")


@pytest.mark.parametrize("cut", [5, 30, 60, -30, -1])
def test_a_damaged_zip_file_is_named(file, cut):
    packed = packed_in_zip(SMALL + "1,1,1\n" * 1000)
    assert fault(file(packed[:cut], "train.csv.zip")).startswith(": damaged zip file: ")


def test_a_zip_file_with_a_wrong_sum_or_a_password_is_named(file):
    packed = bytearray(packed_in_zip(SMALL))
    packed[14] ^= 1
    at = packed.index(b"PK\x01\x02")
    packed[at + 16] ^= 1
    assert fault(file(bytes(packed))).startswith(": damaged zip file: Bad CRC-32")
    packed = bytearray(packed_in_zip(SMALL))
    packed[packed.index(b"PK\x01\x02") + 8] |= 1
    assert fault(file(bytes(packed))) == " is a zip archive with a password, or not packed by deflate: unpack it first"


def test_an_empty_file_is_empty_however_it_is_packed(file):
    for pack in (bytes, gzip.compress, packed_in_zip):
        assert fault(file(pack(b""))) == " is empty"


def test_no_message_is_longer_than_300_characters(tmp_path, monkeypatch):
    monkeypatch.setattr("minidl.data.csv._LONGEST_LINE", 100_000)
    folder = tmp_path.joinpath(*["a folder of a long name"] * 9)
    folder.mkdir(parents=True)
    path = folder / "train.csv"
    long = "".join(map(chr, range(97, 123))) * 100
    names = ",".join(f"{long}{number}" for number in range(20))
    contents = [content for content, _ in OTHERS.values()]
    contents += [packed_in_zip("", "", names=[long, long + "b"]), packed_in_zip(SMALL)[:-9], gzip.compress(b"1")[:-9]]
    contents += [text.encode() for text in ("", "\n", "1" * 100_000, f'"{long}', f"{long}\0,", names, SMALL[:20])]
    contents += [f"label,{names}\n{names},{row}\n".encode() for row in ("1", "1,2", '"', "\0", "1\r,")]
    contents += [f"label,{long}\n1,{cell}\n".encode() for cell in (long, "9" * 300, "0," * 300, "0.5", "", "1" * 5000)]
    contents += [f"label;{long}\n1;{cell}\n".encode() for cell in ("0,5" * 200, "0,5", long)]
    contents += [("," + names + "\n").encode() + b"0" + b",1" * 20 + b"\n", b"5,7\n1,2\n", b"0 1 2\n", b"0,1\n1,2\n"]
    contents += [b"label,\xff\n", b"label,a\n1,\xff\n", SMALL.encode("utf-16")]
    found = set()
    for content in contents:
        path.write_bytes(content)
        for options in ({}, {"label": 0}, {"label": "label" + long}, {"header": False, "label": 0}, {"header": False}):
            for label in ({}, {"label": 10**200}, {"label": 0.5}, {"label": [long]}, {"label": f"{long}1"[-30:]}):
                try:
                    load_csv(path, **(options | label))
                except (FileFormatError, ArgumentError, ArgumentTypeError) as error:
                    found.add(str(error))
    for missing in (path / "none.csv", folder / "none.csv", folder):
        with pytest.raises((FileFormatError, MissingFileError)) as caught:
            load_csv(missing)
        found.add(str(caught.value))
    assert len(found) > 60
    assert max(map(len, found)) <= 300, max(found, key=len)
