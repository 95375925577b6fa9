"""Thousands of damaged files: each loads rightly, or an error of minidl's own refuses it, quickly and in little memory.

A few hundred run with every test run, the rest by ``python -m pytest -m fuzz``. A failure says which call of
``mutated_file`` makes the file again.
"""

import contextlib
import csv
import gzip
import io
import math
import pickle
import signal
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import pytest
from fuzz.mutations import (
    CODES,
    KINDS,
    TRAP,
    Payload,
    files_with_every_value_at_every_place,
    good_models,
    mutated_file,
)

from minidl import Sequential
from minidl.data import load_csv, load_idx
from minidl.errors import MinidlError

LOADERS = {"csv": load_csv, "idx": load_idx, "model": Sequential.load}
MOST_SECONDS = 1.0
MOST_BYTES = 200 << 20
BATCH = 100
IN_EVERY_RUN, ALL = 200, 2000

pytestmark = pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="a hang is ended by a signal of POSIX")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "first",
    [
        *range(0, IN_EVERY_RUN, BATCH),
        *(pytest.param(first, marks=pytest.mark.fuzz) for first in range(IN_EVERY_RUN, ALL, BATCH)),
    ],
)
def test_a_mutated_file_loads_rightly_or_is_refused(kind, first, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = Path(f"file.{kind}")
    path.write_bytes(mutated_file(kind, 0))
    LOADERS[kind](path)  # what is imported, and the threads' memory, are not the next file's
    files = ((f"mutated_file({kind!r}, {seed})", mutated_file(kind, seed)) for seed in range(first, first + BATCH))
    check_files(kind, path, files)


@pytest.mark.fuzz
@pytest.mark.parametrize("number", range(len(good_models())))
def test_every_value_at_every_place_of_a_description_loads_rightly_or_is_refused(number, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    files = enumerate(files_with_every_value_at_every_place(good_models()[number]))
    check_files("model", Path("file.model"), ((f"{count} of model {number}", content) for count, content in files))


def check_files(kind, path, files):
    """Check each of the named files, written to `path`, alone in the current folder."""
    sys.modules.pop("this", None)  # which a trap would import, and another test may have
    outcomes, slowest = [], 0.0
    for name, content in files:
        path.write_bytes(content)
        try:
            result, seconds = load(kind, path)
            if seconds > MOST_SECONDS:  # a busy machine may stall once
                seconds = load(kind, path)[1]
            assert seconds <= MOST_SECONDS, "slow"
            slowest = max(slowest, seconds)
            if isinstance(result, MinidlError):
                outcomes.append("refused")
                assert path.name in str(result), "the error does not name the file"
            else:
                outcomes.append("loaded")
                CHECKS[kind](result, content)
            assert list(Path().iterdir()) == [path], "it wrote, or ran, something"
            assert "this" not in sys.modules
        except BaseException as error:
            raise AssertionError(f"{kind} file {name}") from error
    counts = {outcome: outcomes.count(outcome) for outcome in ("loaded", "refused")}
    print(f"{kind}: {counts}, slowest {slowest:.3f} s")
    assert all(counts.values()), "where everything loads, or nothing, little is tested"


def load(kind, path):
    """Return what the loader returns, or its refusal, and the seconds that it took."""
    with warnings.catch_warnings(), at_most_seconds(10), at_most_bytes(MOST_BYTES):
        warnings.simplefilter("error")
        start = time.monotonic()
        try:
            result = LOADERS[kind](path)
        except MinidlError as refusal:
            result = refusal
        return result, time.monotonic() - start


@contextlib.contextmanager
def at_most_seconds(seconds):
    """End a hang with an error that shows where it is."""

    def stop(*_):
        raise TimeoutError(f"still at it after {seconds} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@contextlib.contextmanager
def at_most_bytes(more):
    """Let the process take so much more address space, and none beyond: a MemoryError then; on Linux only."""
    statistics = Path("/proc/self/statm")
    if not statistics.exists():
        yield
        return
    import resource

    limits = resource.getrlimit(resource.RLIMIT_AS)
    now = int(statistics.read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (now + more, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, limits)


def check_csv(result, content):
    """Compare with what Python's csv module reads."""
    x, y = result
    text = (gzip.decompress(content) if content[:2] == b"\x1f\x8b" else content).decode("utf-8-sig")
    names, *rows = [row for row in csv.reader(io.StringIO(text, newline=""), strict=True) if "".join(row).strip()]
    numbers = [[int(cell) for cell in row] for row in rows]
    label = [name.strip() for name in names].index("label")
    assert (x.dtype, y.dtype) == (np.uint8, np.intp)
    assert y.tolist() == [row.pop(label) for row in numbers]
    assert x.tolist() == numbers


def check_idx(x, content):
    """Compare with what the bytes say."""
    content = gzip.decompress(content) if content[:2] == b"\x1f\x8b" else content
    dtype = np.dtype(CODES[content[2]])
    start = 4 + 4 * content[3]
    assert x.shape == tuple(int.from_bytes(content[place : place + 4], "big") for place in range(4, start, 4))
    assert x.dtype == dtype.newbyteorder("=")
    assert x.astype(dtype).tobytes() == content[start:]


def check_model(model, content):
    """Compare with what NumPy reads, and predict."""
    with np.load(io.BytesIO(content), allow_pickle=False) as archive:
        for kind, named in (("parameters", model.named_parameters()), ("states", model.named_states())):
            for name, array in named.items():
                np.testing.assert_array_equal(array.value, archive[f"{kind}/{name}"])
        assert len(archive.files) == 1 + len(model.named_parameters()) + len(model.named_states())
    if math.prod(model.input_shape) < 10**6 and len(model.input_shape) < 32:
        with np.errstate(all="ignore"):  # its numbers may be huge, or infinite
            assert len(model.predict(np.ones((2, *model.input_shape)))) == 2


CHECKS = {"csv": check_csv, "idx": check_idx, "model": check_model}


def test_the_payload_in_the_mutated_files_would_be_noticed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    pickle.loads(pickle.dumps(Payload()))
    assert [path.name for path in Path().iterdir()] == [TRAP]


def test_a_hang_and_a_waste_of_memory_would_be_noticed():
    with pytest.raises(TimeoutError), at_most_seconds(0.01):
        time.sleep(10)
    if Path("/proc/self/statm").exists():
        with pytest.raises(MemoryError), at_most_bytes(MOST_BYTES):
            bytes(2 * MOST_BYTES)
