"""Saves that are killed, and saves on a full disk: the file is the old one or the new one, whole."""

import errno
import io
import os
import subprocess
import sys
from pathlib import Path

import pytest

from minidl import Dense, Flatten, ReLU, Sequential

SMALLEST_WRITE = 512


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork and SIGKILL")
@pytest.mark.parametrize(("kills", "seed"), [(15, 0), pytest.param(1000, 1, marks=pytest.mark.fuzz)])
def test_a_save_killed_at_any_moment_leaves_the_old_file_or_the_new_one(tmp_path, kills, seed):
    program = Path(__file__).with_name("interrupted_saves.py")
    single = dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1")  # fork wants one thread
    done = subprocess.run(
        [sys.executable, program, tmp_path, str(kills), str(seed)],
        env=os.environ | single, capture_output=True, text=True, timeout=kills, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    print(f"{kills} kills, {done.stdout.strip()} in the midst of a save")
    assert int(done.stdout) >= kills // 10, "most kills came between two saves, and prove little"


class Disk:
    """Counts what is asked of the disk, and refuses the call of one number, or from it on."""

    def __init__(self, monkeypatch):
        self.calls, self.refused = 0, range(0)
        for name in ("fsync", "replace"):
            monkeypatch.setattr(os, name, self.counted(getattr(os, name)))
        monkeypatch.setattr(Path, "open", self.counted(self.open))

    def open(self, path, mode):
        return io.BufferedWriter(DiskFile(self, path, mode.replace("b", "")), SMALLEST_WRITE)

    def counted(self, call):
        def counted(*arguments):
            self.ask()
            return call(*arguments)

        return counted

    def ask(self):
        self.calls += 1
        if self.calls - 1 in self.refused:
            raise OSError(errno.ENOSPC, "No space left on device")


class DiskFile(io.FileIO):
    def __init__(self, disk, path, mode):
        super().__init__(path, mode)
        self.disk = disk

    def write(self, content):
        if len(content) > 1 and self.disk.calls in self.disk.refused:
            super().write(content[: len(content) // 2])  # a full disk takes what fits
        self.disk.ask()
        return super().write(content)


@pytest.mark.parametrize("stays_full", [False, True])
def test_a_disk_that_is_full_at_any_call_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch, stays_full):
    path = tmp_path / "model.npz"
    old, new = (Sequential([Flatten(), Dense(20), ReLU(), Dense(3)], input_shape=(5, 4), seed=seed) for seed in (0, 1))
    old.save(path)
    before = path.read_bytes()
    with monkeypatch.context() as patch:
        disk = Disk(patch)
        new.save(path)
        calls = disk.calls
    after = path.read_bytes()
    assert after != before
    assert calls > 10
    for call in range(calls):
        path.write_bytes(before)
        with monkeypatch.context() as patch:
            disk = Disk(patch)
            disk.refused = range(call, 10**9 if stays_full else call + 1)
            with pytest.raises(OSError, match="No space left"):
                new.save(path)
        assert path.read_bytes() == before
        assert list(tmp_path.iterdir()) == [path]
    new.save(path)
    assert path.read_bytes() == after


def test_a_limit_on_the_size_of_files_leaves_the_old_file_and_nothing_else(tmp_path):
    pytest.importorskip("resource", reason="limits are POSIX's")
    program = """if True:
        import resource, sys
        from pathlib import Path
        from minidl import Dense, Sequential

        path = Path(sys.argv[1])
        old, new = (Sequential([Dense(30)], input_shape=20, seed=seed) for seed in (0, 1))
        new.save(path)
        size = path.stat().st_size
        old.save(path)
        before = path.read_bytes()
        for limit in [*range(0, size, 97), size - 1]:
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
            try:
                new.save(path)
            except OSError as error:
                assert "File too large" in str(error), error
            else:
                raise AssertionError(f"no error at {limit}")
            assert path.read_bytes() == before
            assert list(path.parent.iterdir()) == [path]
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
        new.save(path)
        assert (Sequential.load(path).parameters == new.parameters).all()
    """
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program, tmp_path / "model.npz"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
