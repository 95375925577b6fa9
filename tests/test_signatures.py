"""Files of real programs are told by their first bytes, and tables are not taken for them."""

import gzip
import io
import lzma
import pickle
import tarfile

import numpy as np
import pandas as pd
import pytest

from minidl import Dense, Sequential, Trainer
from minidl.data import load_idx
from minidl.errors import FileFormatError, MissingFileError
from minidl.signatures import kind_of, kind_of_archive

TABLE = pd.DataFrame({"label": [7, 3], "pixel0": [0, 255]})


def npy(file):
    np.save(file, TABLE.to_numpy())


def tar(file):
    with tarfile.open(fileobj=file, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("train.csv"), io.BytesIO())


def image(file):
    from matplotlib.image import imsave

    imsave(file, np.eye(4))


WRITERS = {
    "a NumPy array (.npy)": npy,
    "a pickle": lambda file: pickle.dump(TABLE, file),
    "a Parquet file": TABLE.to_parquet,
    "an Arrow file": TABLE.to_feather,
    "a tar archive": tar,
    "a PNG image": image,
    "a gzip file": lambda file: file.write(gzip.compress(b"1")),
    "an xz file": lambda file: file.write(lzma.compress(b"1")),
    "a web page": lambda file: file.write(TABLE.to_html().replace("<table", "<!DOCTYPE html><table").encode()),
    "XML text": lambda file: file.write(b"\xef\xbb\xbf\n<?xml version='1.0'?><data/>"),
    "JSON text": lambda file: file.write(TABLE.to_json().encode()),
    "UTF-16 text": lambda file: file.write(TABLE.to_csv(index=False).encode("utf-16")),
}


@pytest.mark.parametrize(("kind", "write"), WRITERS.items(), ids=WRITERS)
def test_a_file_that_a_program_wrote_is_told_by_its_beginning(kind, write, tmp_path):
    file = io.BytesIO()
    write(file)
    found = kind_of(file.getvalue())
    assert found is not None
    assert found.startswith(f"{kind}: ")
    assert len(found) < 100
    path = tmp_path / "model.npz"
    path.write_bytes(file.getvalue())
    for load in (Sequential.load, Trainer.load):
        with pytest.raises(FileFormatError) as caught:
            load(path)
        assert str(caught.value) == f"{path} is not an .npz file, but {found}"
    if kind != "a gzip file":  # which may hold an IDX file
        with pytest.raises(FileFormatError) as caught:
            load_idx(path)
        assert str(caught.value) == f"{path} is not an IDX file, but {found}"


@pytest.mark.parametrize(
    "table", ["label,pixel0\n7,0\n", "[0];[1]\n1;2\n", "<a>,<b>\n", "\ufefflabel\n", "0,1\n", "", "\0\0"]
)
def test_a_table_is_of_no_other_kind(table):
    assert kind_of(table.encode()) is None


def test_archives_are_told_by_the_names_in_them():
    assert kind_of_archive(["a.npy", "b/c.npy"]) == "an .npz file: numpy.load reads it"
    assert kind_of_archive(["[Content_Types].xml", "xl/workbook.xml"]).startswith("an Excel file")
    assert kind_of_archive(["mimetype", "content.xml"]).startswith("an OpenDocument file")
    assert kind_of_archive(["model/data.pkl", "model/version"]).startswith("a PyTorch file")
    assert kind_of_archive(["train.csv"]) is kind_of_archive([]) is None


def test_a_folder_and_an_empty_file_are_no_model(tmp_path):
    with pytest.raises(MissingFileError, match="there is no file .*, but a folder$"):
        Sequential.load(tmp_path)
    (tmp_path / "empty.npz").write_bytes(b"")
    with pytest.raises(FileFormatError, match=r"empty\.npz is not an \.npz file, or it is truncated or corrupt"):
        Sequential.load(tmp_path / "empty.npz")


def test_a_zip_of_other_things_is_no_model(tmp_path):
    np.savez(tmp_path / "data.npz", x=np.zeros(3))
    with pytest.raises(FileFormatError, match="it has no header; every model that minidl saved has one"):
        Sequential.load(tmp_path / "data.npz")
    model = Sequential([Dense(1)], input_shape=2)
    model.save(tmp_path / "model.npz")
    with pytest.raises(FileFormatError, match=r"is an \.npz file: numpy\.load reads it"):
        load_idx(tmp_path / "model.npz")
