"""Each kind of file: what is in it, its inputs as they were written, and an error for what is none of its kind."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd
import pytest

from minidl.data.shard_files import ArchiveFiles, ArrayFiles, CsvFiles, ParquetFiles, kind_of_file, kind_of_files
from minidl.errors import ArgumentError, DataError, FileFormatError, MissingFileError

ROWS, FEATURES = 7, 3
pytestmark = pytest.mark.filterwarnings("error")


def numbers(dtype=np.float32):
    rng = np.random.default_rng(0)
    return (rng.normal(size=(ROWS, FEATURES)) * 10).astype(dtype), rng.integers(0, 3, ROWS)


def frame(x, y):
    return pd.DataFrame({"label": y} | {f"feature_{column}": x[:, column] for column in range(x.shape[1])})


def write(folder, ending, x, y):
    path = folder / f"x_07{ending}"
    if ending == ".npy":
        np.save(path, x)
        np.save(folder / "y_07.npy", y)
    elif ending == ".npz":
        np.savez_compressed(path, x=x, y=y)
    elif ending == ".parquet":
        frame(x, y).to_parquet(path)
    else:
        frame(x, y).to_csv(path, index=False)
    return path


KINDS = {
    ".npy": ArrayFiles(),
    ".npz": ArchiveFiles(),
    ".parquet": ParquetFiles("label"),
    ".csv": CsvFiles("label"),
    ".csv.gz": CsvFiles("label"),
}
every_kind = pytest.mark.parametrize("ending", KINDS)


@every_kind
@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.int64, np.bool_])
def test_a_file_holds_what_was_written(tmp_path, ending, dtype):
    x, y = numbers(dtype)
    path = write(tmp_path, ending, x, y)
    assert kind_of_file(path) is type(KINDS[ending])
    found = KINDS[ending].look(path)
    assert found.shape == (ROWS, FEATURES)
    assert found.dtype == (np.float64 if "csv" in ending and dtype == np.float32 else dtype)
    np.testing.assert_array_equal(found.targets, y)
    assert found.columns == (("feature_0", "feature_1", "feature_2") if KINDS[ending].target else ())
    read = KINDS[ending].read(path)
    assert type(read) is np.ndarray
    assert read.dtype == found.dtype
    np.testing.assert_array_equal(read.astype(dtype), x)


def test_a_npy_file_is_mapped_and_not_copied(tmp_path):
    path = write(tmp_path, ".npy", *numbers())
    read = ArrayFiles().read(path)
    assert isinstance(read.base, np.memmap)
    assert not read.flags.writeable
    assert np.shares_memory(read[2:5], read)


def test_images_in_arrays_keep_their_axes(tmp_path):
    images = np.arange(2 * 4 * 5 * 3, dtype=np.uint8).reshape(2, 4, 5, 3)
    for ending in (".npy", ".npz"):
        path = write(tmp_path, ending, images, np.zeros(2))
        assert KINDS[ending].look(path).shape == images.shape
        np.testing.assert_array_equal(KINDS[ending].read(path), images)


def test_files_without_targets_are_there_to_predict(tmp_path):
    x, _ = numbers()
    np.save(tmp_path / "x_1.npy", x)
    np.savez(tmp_path / "a.npz", x=x)
    frame(x, x[:, 0]).to_csv(tmp_path / "a.csv", index=False)
    assert ArrayFiles().look(tmp_path / "x_1.npy").targets is None
    assert ArchiveFiles().look(tmp_path / "a.npz").targets is None
    found = CsvFiles().look(tmp_path / "a.csv")
    assert found.targets is None
    assert found.columns[0] == "label"


def test_targets_have_the_name_that_is_given(tmp_path):
    x, y = numbers()
    np.savez(tmp_path / "a.npz", images=x, labels=y)
    np.testing.assert_array_equal(ArchiveFiles("labels").look(tmp_path / "a.npz").targets, y)
    np.testing.assert_array_equal(ArchiveFiles("labels").read(tmp_path / "a.npz"), x)
    np.save(tmp_path / "x3.npy", x)
    np.save(tmp_path / "labels3.npy", y)
    assert ArrayFiles("labels").inputs(sorted(tmp_path.glob("*.npy"))) == [tmp_path / "x3.npy"]
    np.testing.assert_array_equal(ArrayFiles("labels").look(tmp_path / "x3.npy").targets, y)


@pytest.mark.parametrize("ending", [".parquet", ".csv"])
def test_columns_are_chosen_by_name_in_their_order(tmp_path, ending):
    x, y = numbers(np.float64)
    path = write(tmp_path, ending, x, y)
    kind = type(KINDS[ending])("label", ["feature_2", "feature_0"])
    assert kind.look(path).columns == ("feature_2", "feature_0")
    np.testing.assert_array_equal(kind.read(path), x[:, [2, 0]])


@every_kind
def test_a_file_that_is_gone_is_named(tmp_path, ending):
    path = write(tmp_path, ending, *numbers())
    path.unlink()
    for use in (KINDS[ending].look, KINDS[ending].read):
        with pytest.raises(MissingFileError, match=r"x_07\S+ does not exist \(any more\): restore it"):
            use(path)


@every_kind
@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 no archive", b"\x93NUMPY\x01\x00v\x00{'descr': '<f4'"])
def test_a_file_of_another_content_is_named(tmp_path, ending, content):
    path = tmp_path / f"x_07{ending}"
    path.write_bytes(content)
    for use in (KINDS[ending].look, KINDS[ending].read):
        with pytest.raises((FileFormatError, ArgumentError), match="x_07") as caught:
            use(path)
        assert len(str(caught.value)) < 300 + len(str(tmp_path))


@pytest.mark.parametrize("ending", [".npy", ".npz"])
def test_files_are_read_by_several_threads_at_once(tmp_path, ending):
    # Where headers are parsed in both, Python 3.11 raises a SystemError at times.
    x, y = numbers()
    path = write(tmp_path, ending, x, y)
    with ThreadPoolExecutor(4) as threads:
        for read in threads.map(lambda _: KINDS[ending].read(path), range(300)):
            np.testing.assert_array_equal(read, x)


def test_pickles_are_not_read(tmp_path):
    np.save(tmp_path / "x_1.npy", np.array([{}], object))
    with pytest.raises(FileFormatError, match="x_1.npy"):
        ArrayFiles().look(tmp_path / "x_1.npy")


@pytest.mark.parametrize("ending", [".parquet", ".csv"])
def test_a_column_that_there_is_not_is_an_error_with_the_nearest(tmp_path, ending):
    path = write(tmp_path, ending, *numbers())
    with pytest.raises(ArgumentError, match=r"x_07\S+ has no column 'lable': did you mean 'label'\?"):
        type(KINDS[ending])("lable").look(path)
    with pytest.raises(ArgumentError, match="has no column 'x'"):
        type(KINDS[ending])("label", ["x"]).look(path)


@pytest.mark.parametrize("ending", [".parquet", ".csv"])
def test_columns_that_include_the_target_or_a_column_twice_are_an_error(tmp_path, ending):
    path = write(tmp_path, ending, *numbers())
    with pytest.raises(ArgumentError, match=r"x_07\S+: columns= includes the target 'label'; x must not hold it"):
        type(KINDS[ending])("label", ["feature_1", "label"]).look(path)
    assert type(KINDS[ending])(None, ["feature_1", "label"]).look(path).shape == (ROWS, 2)
    for use in ("look", "read"):
        with pytest.raises(ArgumentError, match=r"x_07\S+: columns= lists the column 'feature_1' twice; list it once"):
            getattr(type(KINDS[ending])("label", ["feature_1", "feature_0", "feature_1"]), use)(path)


def test_two_columns_of_a_parquet_file_with_one_name_are_an_error(tmp_path):
    pyarrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    path = tmp_path / "a.parquet"
    parquet.write_table(pyarrow.table([[1.0], [2.0], [3.0], [0]], names=["a", "a", "b", "label"]), path)
    for columns in (None, ["b", "a"]):
        with pytest.raises(ArgumentError, match=r"a\.parquet has several columns 'a': give each another name"):
            ParquetFiles("label", columns).look(path)
    np.testing.assert_array_equal(ParquetFiles("label", ["b"]).read(path), [[3.0]])


@pytest.mark.parametrize("ending", [".parquet", ".csv"])
def test_a_table_of_targets_alone_is_an_error(tmp_path, ending):
    path = write(tmp_path, ending, numbers()[0][:, :0], numbers()[1])
    with pytest.raises(ArgumentError, match=r"x_07\.\w+ has no columns for x, only 'label'"):
        KINDS[ending].look(path)


def test_an_index_is_no_input(tmp_path):
    x, y = numbers()
    table = frame(x, y).iloc[::2]  # whose index is not 0, 1, 2, ...
    table.to_parquet(tmp_path / "a.parquet")
    assert ParquetFiles("label").look(tmp_path / "a.parquet").columns == ("feature_0", "feature_1", "feature_2")
    np.testing.assert_array_equal(ParquetFiles("label").read(tmp_path / "a.parquet"), x[::2])
    table.to_csv(tmp_path / "a.csv")
    with pytest.raises(FileFormatError, match=r"a\.csv has a column without a name \(Unnamed: 0\), as an index has"):
        CsvFiles("label").look(tmp_path / "a.csv")
    assert CsvFiles("label", ["feature_1"]).look(tmp_path / "a.csv").shape == (4, 1)


@pytest.mark.parametrize("ending", [".parquet", ".csv"])
def test_a_column_of_text_is_an_error_that_names_it(tmp_path, ending):
    x, y = numbers()
    table = frame(x, y).assign(town=["Rome"] * ROWS)
    path = tmp_path / f"a{ending}"
    table.to_csv(path, index=False) if ending == ".csv" else table.to_parquet(path)
    for use in (KINDS[ending].look, KINDS[ending].read):
        with pytest.raises(DataError, match=r"a\.\w+: .*column 'town'.*row 0") as caught:
            use(path)
        assert "holds 'Rome' (str)" in str(caught.value)


def test_an_archive_of_other_arrays_is_an_error_that_lists_them(tmp_path):
    np.savez(tmp_path / "a.npz", images=np.ones((2, 2)), labels=np.ones(2))
    with pytest.raises(FileFormatError, match="a.npz holds the arrays images, labels: give target="):
        ArchiveFiles().look(tmp_path / "a.npz")
    with pytest.raises(FileFormatError, match="give target="):
        ArchiveFiles("label").look(tmp_path / "a.npz")


def test_array_files_of_other_names_are_an_error_that_says_how_to_name_them(tmp_path):
    with pytest.raises(FileFormatError, match="images_1.npy is neither x nor y: name such files x_07.npy and y_07.npy"):
        ArrayFiles().inputs([tmp_path / "images_1.npy"])


@pytest.mark.parametrize("target", ["y", "labels"])
def test_array_files_of_targets_without_inputs_are_an_error_that_names_them(tmp_path, target):
    pair = [tmp_path / "x_0.npy", tmp_path / f"{target}_0.npy"]
    assert ArrayFiles(target).inputs(pair) == pair[:1]
    with pytest.raises(MissingFileError, match=rf"{target}_1\.npy has no x_1\.npy: give both, or leave these targets"):
        ArrayFiles(target).inputs([*pair, tmp_path / f"{target}_1.npy"])


def test_what_programs_leave_beside_the_data_is_no_data(tmp_path):
    for name in ("_SUCCESS", ".a.csv.crc", "._a.csv", "readme.txt"):
        assert kind_of_file(tmp_path / name) is None
    assert kind_of_files([tmp_path / "a.CSV", tmp_path / "b.csv.gz", tmp_path / "_x.npy"], "here") is CsvFiles


def test_a_folder_has_one_kind_of_file(tmp_path):
    with pytest.raises(
        FileFormatError, match="here has files of several kinds, a.csv and b.npz: keep one kind in a folder"
    ):
        kind_of_files([tmp_path / "a.csv", tmp_path / "b.npz"], "here")
    with pytest.raises(FileFormatError, match=r"here has no files \.npy, \.npz, \.parquet, \.csv, .*: give the folder"):
        kind_of_files([], "here")


def test_parquet_without_pyarrow_names_the_extra(tmp_path):
    path = write(tmp_path, ".parquet", *numbers())
    program = f"""
import sys
sys.modules["pyarrow"] = None
from minidl.data import Shards
from minidl.errors import MissingDependencyError
try:
    Shards({str(path.parent)!r}, target="label")
except MissingDependencyError as error:
    print(error)
"""
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert result.stdout.strip() == "Parquet files need pyarrow: pip install 'minidl[parquet]'"
