"""Damaged and hostile files: a good file of each kind, then one to three random changes, all drawn from a seed."""

import copy
import functools
import gzip
import io
import json
import pickle
import struct
import tempfile
import zipfile
from pathlib import Path

import numpy as np

from minidl import (
    BatchNorm,
    Concatenate,
    Dense,
    Flatten,
    LeakyReLU,
    MeanSquaredError,
    ReLU,
    Rescale,
    Reshape,
    Residual,
    Sequential,
    SoftmaxCrossEntropy,
    Tanh,
    Uniform,
)

KINDS = ("csv", "idx", "model")
TRAP = "executed"
"""The folder that a payload makes in the current folder if anything runs it."""


class Payload:
    """Makes a folder when it is unpickled."""

    def __reduce__(self):
        import os

        return os.mkdir, (TRAP,)


def mutated_file(kind, seed):
    """Return the bytes of the file of that kind and seed; one in twenty is a good one."""
    rng = np.random.default_rng([KINDS.index(kind), seed])
    content = {"csv": csv_file, "idx": idx_file, "model": model_file}[kind](rng, changed=seed % 20 > 0)
    packed = kind != "model" and rng.random() < 0.3
    if packed:
        content = gzip.compress(content, mtime=0)
        if seed % 20 > 0 and rng.random() < 0.05:  # gzip files one after the other are one: of 300 MB
            content += gzip.compress(pick(rng, [b"1", b",", b"\0", b'"', b"1,"]) * (1 << 20), mtime=0) * 300
    # Raw damage mostly alone, so that a change made inside the format is not hidden behind a wrong checksum.
    if seed % 20 > 0 and rng.random() < (0.5 if packed else 0.3):
        for _ in range(rng.integers(1, 4)):
            content = damaged(content, rng)
    return content


def pick(rng, choices):
    """Return one of the choices itself, which ``rng.choice`` would first turn into NumPy's types."""
    return choices[rng.integers(len(choices))]


def damaged(content, rng):
    """Truncate, flip, insert, delete, overwrite or repeat bytes, without regard to the format."""
    start, stop = sorted(int(place) for place in rng.integers(0, len(content) + 1, 2))
    stop = min(stop, start + int(rng.integers(1, 40)))
    some = rng.bytes(int(rng.integers(1, 9)))
    change = pick(rng, ["truncate", "flip", "insert", "delete", "overwrite", "repeat", "extreme"])
    if change == "truncate":
        return content[:start]
    if change == "flip" and start < len(content):
        return content[:start] + bytes([content[start] ^ 1 << int(rng.integers(8))]) + content[start + 1 :]
    replacement = {
        "insert": some + content[start:stop],
        "delete": b"",
        "overwrite": some,
        "repeat": content[start:stop] * int(rng.integers(2, 50)),
        "extreme": pick(rng, [b"\0", b"\xff", b"\x7f", b"\x80"]) * min(8, stop - start),
    }.get(change, b"")
    return content[:start] + replacement + content[stop:]


# --- CSV


CELLS = [
    "", "-1", "256", "1e2", "5.0", "nan", "NaN", "inf", "0x1F", "1_0", '"', '""', '"5"', '"5', '5"', '"1\n2"', " 7 ",
    "+8", "007", "-0", "a", "é", "\0", ";", ",", "\n", "\r", "\t", "9223372036854775807", "9223372036854775808",
    "-9223372036854775809", "9" * 30, "9" * 4300, "9" * 5000, "9" * 100_000, "true", "None", "\u0663", "\u2212\u0031",
    "=", "#",
]  # fmt: skip


def csv_file(rng, changed):
    rows, columns = rng.integers(1, 30), rng.integers(1, 20)
    table = [["label", *(f"pixel{column}" for column in range(columns))]]
    table += rng.integers(0, 256, (rows, columns + 1)).astype(str).tolist()
    newline = pick(rng, ["\n", "\r\n"])
    for _ in range(rng.integers(1, 4) if changed and rng.random() < 0.8 else 0):
        row = table[rng.integers(len(table))]
        place = int(rng.integers(len(row))) if row else 0
        match rng.integers(8):
            case 0:
                row[place : place + 1] = []
            case 1:
                row.insert(place, "3")
            case 2:
                row.clear()
            case 3:
                table[0] = table[int(rng.integers(len(table)))]
            case _:
                row[place : place + 1] = [pick(rng, CELLS)]
    text = newline.join(",".join(row) for row in table) + newline * int(rng.integers(3))
    encoding = "utf-16" if changed and rng.random() < 0.02 else "utf-8"
    return text.encode(encoding)


# --- IDX


CODES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}


def idx_file(rng, changed):
    shape = rng.integers(0, 6, rng.integers(1, 5)).tolist()
    code = pick(rng, list(CODES))
    body = rng.bytes(int(np.prod(shape)) * np.dtype(CODES[code]).itemsize)
    if changed and rng.random() < 0.8:
        match rng.integers(5):
            case 0:
                code = int(rng.integers(256))
            case 1:
                shape[rng.integers(len(shape))] = pick(rng, [0, 1, 7, 2**16, 2**31 - 1, 2**31, 2**32 - 1])
            case 2:
                shape = rng.integers(0, 2**32, pick(rng, [0, 1, 3, 32, 33, 64, 255])).tolist()
            case 3:
                shape = rng.choice([0, 1, 2**32 - 1], rng.integers(1, 40)).tolist()
            case 4:
                body += rng.bytes(int(rng.integers(1, 9)))
    return struct.pack(f">HBB{len(shape)}I", 0, code, len(shape), *shape) + body


# --- Model files


@functools.cache
def good_models():
    """Return a few models' files, as a header and the bytes of each array's ``.npy``."""
    classifier = [
        Rescale(1 / 255),
        Flatten(),
        Dense(5, initializer=Uniform(low=-0.1, high=0.1)),
        LeakyReLU(0.2),
        Dense(3),
    ]
    inner = Sequential([Dense(4, use_bias=False), Tanh()], name="inner")
    blocks = [BatchNorm(), Residual(Dense(3)), Reshape((3, 1)), Concatenate([Tanh(), Dense(1)])]
    models = [
        Sequential([*classifier, SoftmaxCrossEntropy()], input_shape=(2, 3, 1), seed=0),
        Sequential([inner, Reshape((2, 2)), Flatten(), Dense(1), MeanSquaredError()], input_shape=3, dtype="float64"),
        Sequential([Flatten(), ReLU()], input_shape=(2, 2)),
        Sequential([*blocks, SoftmaxCrossEntropy()], input_shape=2),
    ]
    models[-1].layers[1].trainable = False
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.npz"
        found = []
        for model in models:
            model.save(path)
            with zipfile.ZipFile(path) as archive:
                found.append({name: archive.read(name) for name in archive.namelist()})
    return found


def model_file(rng, changed):
    entries = dict(pick(rng, good_models()))
    if not changed:
        return zipped(entries.items())
    kind = pick(rng, ["json", "json", "json", "json text", "array", "array", "entries", "zip", "zip", "raw"])
    if kind == "json":
        description = description_of(entries)
        for _ in range(rng.integers(1, 3)):
            description = with_another_value(description, rng)
        return with_description(entries, description)
    if kind == "json text":
        text = np.load(io.BytesIO(entries["header.npy"])).item()
        entries["header.npy"] = npy(np.array(damaged(text.encode(), rng).decode("latin-1")))
    elif kind == "array":
        name = pick(rng, list(entries))
        entries[name] = another_array(entries[name], rng)
    elif kind == "entries":
        return zipped(other_entries(list(entries.items()), rng))
    elif kind == "zip":
        return with_other_zip_fields(zipped(entries.items()), rng)
    else:
        return damaged(zipped(entries.items()), rng)
    return zipped(entries.items())


def npy(array):
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def zipped(entries, **options):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", **options) as archive:
        for name, content in entries:
            entry = zipfile.ZipInfo(name)
            entry.compress_type = archive.compression
            archive.NameToInfo.pop(name, None)  # an entry of the same name again, without the warning
            archive.writestr(entry, content)
    return buffer.getvalue()


def described(name, **configuration):
    return {"class": name, "module": "minidl.layers", "configuration": configuration}


def nested(depth):
    value = described("ReLU")
    for _ in range(depth):
        value = described("Sequential", layers=[value])
    return value


MODEL = '{"class": "Sequential", "module": "minidl.model", "configuration": {"layers": ['
WRITTEN = {
    "deep lists": "[" * 800 + "]" * 800,
    "deeper lists": "[" * 50_000 + "]" * 50_000,
    "deep models": MODEL * 200 + json.dumps(described("ReLU")) + "]}}" * 200,
    "many digits": "9" * 5000,
    "unclosed": "[",
}
"""JSON that Python's own writer refuses to write, by the string that stands for it until then."""


VALUES = [
    None, True, False, 0, -1, 1, 2.5, 10**9, 2**31, 2**63, 2**64, 10**400, 10**4299, -(10**30), 1e308, 1e-320,
    float("nan"), float("inf"), float("-inf"), "", "x", "/", "a/b", "\0", "\ud800", "é" * 50, "x" * 100_000,
    "zeros" + " " * 50_000 + "!", "uniform(" + "(" * 5000, "uniform(" + "-" * 5000 + "1)", "uniform(9**9**9**9)",
    "constant(1e999)", "normal(__import__('os').mkdir('executed'))", "float16", "a4", "float64", ">f4", "V99", "O",
    [], {}, [[]], [None], [0], [-1], [-1, -1], [2, 3], [10**9] * 3, [2**62, 2**62], [10**4000] * 3, [1] * 70,
    ["a"], {"a": 1}, nested(20), *WRITTEN,
    [described("ReLU") for _ in range(300)], described("Dense", units=10**9), described("Dense", units=10**4000),
    described("Dense"), described("Rescale", scale=10**400), described("Constant", value="x"),
    described("Uniform", low=float("nan")), described("Initializer"), described("Loss"),
    described("Configurable"), described("os.system", command=f"mkdir {TRAP}"),
    described("Flatten", target_shape=1),
    {"class": "system", "module": "os", "configuration": {"command": f"mkdir {TRAP}"}},
    {"class": "eval", "module": "builtins", "configuration": {"source": f"__import__('os').mkdir('{TRAP}')"}},
    {"class": "Zen", "module": "this", "configuration": {}}, {"class": [], "module": {}, "configuration": {}},
]  # fmt: skip


def description_of(entries):
    return json.loads(np.load(io.BytesIO(entries["header.npy"])).item())


def with_description(entries, description):
    text = json.dumps(description)
    for name, written in WRITTEN.items():
        text = text.replace(f'"{name}"', written)
    return zipped({**entries, "header.npy": npy(np.array(text))}.items())


def places_in(data):
    """Yield every value inside JSON data, as its container and its key there."""
    if isinstance(data, dict | list):
        for key, value in list(data.items() if isinstance(data, dict) else enumerate(data)):
            yield data, key
            yield from places_in(value)


def with_another_value(data, rng):
    """Put another value, key or copy at a random place of JSON data."""
    places, value = list(places_in(data)), copy.deepcopy(pick(rng, VALUES))
    if not places or rng.random() < 0.05:
        return value
    container, key = pick(rng, places)
    match rng.integers(8):
        case 0:
            del container[key]
        case 1 if isinstance(container, dict):
            container[pick(rng, ["self", "cls", "name", "input_shape", "__class__", "layers", "é"])] = value
        case 2 if isinstance(container, list):
            container.insert(key, value)
        case 3:
            container[key] = copy.deepcopy(pick(rng, places)[0])
        case _:
            container[key] = value
    return data


def files_with_every_value_at_every_place(entries):
    """Yield the model file once for each value of its description and each value to put there."""
    for number in range(len(list(places_in(description_of(entries))))):
        for value in VALUES:
            description = description_of(entries)
            container, key = list(places_in(description))[number]
            container[key] = value
            yield with_description(entries, description)


SHAPES = ["()", "(0,)", "(3,)", "(3, 5)", "(5, 3)", "(-1,)", "(1,,)", "(1 2)", "(0, 99999999999999999999)", "(2.0,)",
          "(" + "9" * 400 + ",)", "(" + "9" * 5000 + ",)", "(4000000000, 4000000000)", "(10000000000,)",
          "(" + "1, " * 70 + ")", "(" + "(" * 3000, "(__import__('os').mkdir('executed'),)"]  # fmt: skip
TYPES = ["<f4", ">f4", "<f8", ">f8", "<f2", "<f16", "<i4", "|b1", "|u1", "<U5", ">U5", "<U0", "<U999999999", "|O",
         "|V8", "<c8", "<M8[ns]", "|S5", "<f3", "<b2", "|i8", "=f4", "f4,f4", "<f999999999"]  # fmt: skip


def another_array(content, rng):
    """Change the header or the values of an ``.npy`` file, or put another array in its place."""
    array = np.load(io.BytesIO(content))
    start = 10 + int.from_bytes(content[8:10], "little")
    descr, shape, fortran, version = array.dtype.str, str(array.shape), "False", b"\x01\x00"
    body = content[start:]
    match rng.integers(9):
        case 0:
            shape = pick(rng, SHAPES)
        case 1:
            descr = pick(rng, TYPES)
        case 2:
            fortran = pick(rng, ["True", "1", "None", "true"])
        case 3:
            version = bytes(rng.integers(0, 4, 2).tolist())
        case 4:
            body = damaged(body, rng)
        case 5:
            return damaged(content[:start], rng) + body
        case 6:
            return np.lib.format.magic(1, 0) + b"\x10\x00" + pickle.dumps(Payload())
        case 7:
            buffer = io.BytesIO()
            np.save(buffer, np.array([Payload()], dtype=object), allow_pickle=True)
            return buffer.getvalue()
        case _:
            if array.dtype.kind == "f":
                kinds = [array.T, np.asfortranarray(array), array.astype(">f4"), array.astype("f8"), array.ravel()]
                kinds += [array * np.nan, array + np.inf, array.astype("i4"), array[..., np.newaxis], array[:0]]
                return npy(pick(rng, kinds))
            return npy(np.array(array.item()[: rng.integers(len(array.item()))]))
    header = f"{{'descr': '{descr}', 'fortran_order': {fortran}, 'shape': {shape}, }}"
    header = header.encode() + b" " * (-(len(header) + 11) % 64) + b"\n"
    return b"\x93NUMPY" + version + len(header).to_bytes(2, "little") + header + body


def other_entries(entries, rng):
    """Rename, repeat, drop, add or compress entries."""
    place = int(rng.integers(len(entries)))
    name, content = entries[place]
    match rng.integers(6):
        case 0:
            names = ["../x.npy", "/etc/x.npy", "", ".npy", name.upper(), name + "\0.npy", "parameters/x.npy", "é.npy"]
            entries[place] = pick(rng, [*names, name.replace(".npy", ".npy.npy"), name[:-4]]), content
        case 1:
            entries.insert(int(rng.integers(len(entries) + 1)), (name, content))
        case 2:
            del entries[place]
        case 3:
            entries += [(f"parameters/{number}.npy", content) for number in range(rng.integers(1, 300))]
        case 4:
            entries[place] = name, zipped(entries)
        case _:
            rng.shuffle(entries)
    return entries


EXTREMES = [0, 1, 0x7F, 0xFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF]
# Signature, then name -> offset and size of the fields of a zip's three records.
LOCAL = b"PK\x03\x04", {"flags": (6, 2), "method": (8, 2), "crc": (14, 4), "size": (22, 4), "name length": (26, 2)}
CENTRAL = (
    b"PK\x01\x02",
    {"needed": (6, 2), "flags": (8, 2), "method": (10, 2), "date": (14, 2), "crc": (16, 4), "packed size": (20, 4),
     "size": (24, 4), "name length": (28, 2), "extra length": (30, 2), "comment length": (32, 2), "disk": (34, 2),
     "offset": (42, 4)},
)  # fmt: skip
END = (
    b"PK\x05\x06",
    {
        "disk": (4, 2),
        "entries here": (8, 2),
        "entries": (10, 2),
        "size": (12, 4),
        "offset": (16, 4),
        "comment": (20, 2),
    },
)


def with_other_zip_fields(content, rng):
    """Change fields of the zip's own records: flags (encryption), methods, sizes, offsets, counts."""
    if rng.random() < 0.1:
        names = zipfile.ZipFile(io.BytesIO(content))
        method = pick(rng, [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
        return zipped([(name, names.read(name)) for name in names.namelist()], compression=method)
    if rng.random() < 0.1:
        return with_zip64_end(content, rng)
    changed = bytearray(content)
    for _ in range(rng.integers(1, 3)):
        signature, fields = pick(rng, (LOCAL, CENTRAL, END))
        places = [place for place in range(len(content) - 3) if content.startswith(signature, place)]
        offset, size = pick(rng, list(fields.values()))
        place = pick(rng, places) + offset
        value = pick(rng, EXTREMES) if rng.random() < 0.6 else 1 << int(rng.integers(8 * size))
        changed[place : place + size] = (value % (1 << 8 * size)).to_bytes(size, "little")
    return bytes(changed)


def with_zip64_end(content, rng):
    """Let a zip64 record, whose sizes and offsets have 64 bits, speak for the directory."""
    end = content.rindex(b"PK\x05\x06")
    size, offset, where = (pick(rng, [0, 100, end, end + 56, 2**31, 2**62, 2**63, 2**64 - 1]) for _ in range(3))
    record = struct.pack("<4sQHHIIQQQQ", b"PK\x06\x06", 44, 45, 45, 0, 0, 1, 1, size, offset)
    locator = struct.pack("<4sLQL", b"PK\x06\x07", 0, end if rng.random() < 0.5 else where, 1)
    return content[:end] + record + locator + content[end:]
