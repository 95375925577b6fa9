"""The type of a file by its first bytes, and what can read it. Errors about wrong file types use it."""

from collections.abc import Iterable

_UNPACK = "unpack it first"
_IMAGE = "Pillow reads it, and a table of pixels has a row per image"
_SIGNATURES = {
    b"\x93NUMPY": ("a NumPy array (.npy)", "numpy.load reads it"),
    b"\x80\x02": ("a pickle", "pandas.read_pickle reads it, if you trust its source"),
    b"\x80\x03": ("a pickle", "pandas.read_pickle reads it, if you trust its source"),
    b"\x80\x04": ("a pickle", "pandas.read_pickle reads it, if you trust its source"),
    b"\x80\x05": ("a pickle", "pandas.read_pickle reads it, if you trust its source"),
    b"PAR1": ("a Parquet file", "pandas.read_parquet reads it"),
    b"ARROW1": ("an Arrow file", "pandas.read_feather reads it"),
    b"\x89HDF": ("an HDF5 file", "h5py reads it"),
    b"\xd0\xcf\x11\xe0": ("an old Excel file (.xls)", "pandas.read_excel reads it; or save it as CSV"),
    b"SQLite format 3": ("an SQLite database", "pandas.read_sql reads it"),
    b"MATLAB 5.0": ("a MATLAB file", "scipy.io.loadmat reads it"),
    b"%PDF": ("a PDF document", "give the data that it shows"),
    b"\x89PNG": ("a PNG image", _IMAGE),
    b"\xff\xd8\xff": ("a JPEG image", _IMAGE),
    b"GIF8": ("a GIF image", _IMAGE),
    b"II*\0": ("a TIFF image", _IMAGE),
    b"MM\0*": ("a TIFF image", _IMAGE),
    b"PK\x03\x04": ("a zip archive", _UNPACK),
    b"PK\x05\x06": ("an empty zip archive", "download or make it again"),
    b"\x1f\x8b": ("a gzip file", _UNPACK),
    b"BZh": ("a bzip2 file", _UNPACK),
    b"\xfd7zXZ": ("an xz file", _UNPACK),
    b"\x28\xb5\x2f\xfd": ("a zstd file", _UNPACK),
    b"7z\xbc\xaf": ("a 7z archive", _UNPACK),
    b"Rar!": ("a RAR archive", _UNPACK),
    b"\xff\xfe": ("UTF-16 text", "save it as UTF-8"),
    b"\xfe\xff": ("UTF-16 text", "save it as UTF-8"),
    b"version https://git-lfs": ("a Git LFS pointer, not the data", "git lfs pull brings them"),
}
_TEXTS = {
    "<!doctype": ("a web page", "perhaps of a log-in; download the file itself"),
    "<html": ("a web page", "perhaps of a log-in; download the file itself"),
    "<?xml": ("XML text", "pandas.read_xml reads tables"),
    '{"': ("JSON text", "pandas.read_json reads tables"),
    "[{": ("JSON text", "pandas.read_json reads tables"),
    "[[": ("JSON text", "pandas.read_json reads tables"),
}
_TYPES_OF_IDX = b"\x08\x09\x0b\x0c\x0d\x0e"
_TAR_AT = 257


def kind_of(start: bytes) -> str | None:
    """Return the type of a file with these first bytes, and what can read it. None for a possible plain table."""
    start = start[:512]
    if start[:2] == b"\0\0" and len(start) >= 4 and start[2] in _TYPES_OF_IDX:
        return "an IDX file: load_idx reads it, and load_mnist the folder that holds all four"
    if start[_TAR_AT : _TAR_AT + 5] == b"ustar":
        return f"a tar archive: {_UNPACK}"
    text = start.decode("utf-8-sig", "replace").lstrip().lower()
    kinds = [kind for signature, kind in _SIGNATURES.items() if start.startswith(signature)]
    kinds += [kind for signature, kind in _TEXTS.items() if text.startswith(signature)]
    return ": ".join(kinds[0]) if kinds else None


def kind_of_archive(names: Iterable[str]) -> str | None:
    """Return the type of a zip archive with these file names, if it is a known file of a program."""
    names = list(names)
    if names and all(name.endswith(".npy") for name in names):
        return "an .npz file: numpy.load reads it"
    if "xl/workbook.xml" in names:
        return "an Excel file: pandas.read_excel reads it; or save it as CSV"
    if "content.xml" in names:
        return "an OpenDocument file: pandas.read_excel reads sheets; or save it as CSV"
    if any(name.endswith("data.pkl") for name in names):
        return "a PyTorch file: torch.load reads it"
    return None
