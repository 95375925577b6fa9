"""What callbacks write down: a CSV file, and TensorBoard's events."""

import builtins

import numpy as np
import pandas as pd
import pytest

from minidl import (
    SGD,
    CSVLogger,
    Dense,
    FunctionCallback,
    Sequential,
    SoftmaxCrossEntropy,
    TensorBoard,
    Trainer,
)
from minidl.errors import ArgumentError, MissingDependencyError


def problem():
    rng = np.random.default_rng(0)
    return rng.random((40, 5)), rng.integers(0, 2, 40)


def trainer():
    return Trainer(Sequential([Dense(2), SoftmaxCrossEntropy()], seed=0), SGD(0.1), batch_size=10, seed=0)


class TestCSV:
    def test_the_file_holds_the_history_to_the_last_bit(self, tmp_path):
        (x, y), t, path = problem(), trainer(), tmp_path / "log.csv"
        t.fit(x, y, epochs=3, validation_data=(x, y), callbacks=[CSVLogger(path)], progress=False)
        read = pd.read_csv(path, index_col="epoch")
        pd.testing.assert_frame_equal(read, t.history.to_frame(), check_exact=True)

    def test_it_is_whole_after_every_epoch(self, tmp_path):
        (x, y), path, rows = problem(), tmp_path / "log.csv", []
        look = FunctionCallback(lambda t: rows.append(len(path.read_text().splitlines())))
        trainer().fit(x, y, epochs=3, callbacks=[CSVLogger(path), look], progress=False)
        assert rows == [2, 3, 4]

    def test_a_metric_that_came_later_leaves_earlier_epochs_empty(self, tmp_path):
        (x, y), t, path = problem(), trainer(), tmp_path / "log.csv"
        t.fit(x, y, callbacks=[CSVLogger(path)], progress=False)
        t.fit(x, y, validation_data=(x, y), callbacks=[CSVLogger(path)], progress=False)
        lines = path.read_text().splitlines()
        assert lines[0] == "epoch,loss,accuracy,val_loss,val_accuracy"
        assert lines[1].startswith("1,")
        assert lines[1].endswith(",,")

    def test_its_folder_is_made(self, tmp_path):
        (x, y), t = problem(), trainer()
        t.fit(x, y, callbacks=[CSVLogger(tmp_path / "new" / "run" / "log.csv")], progress=False)
        assert (tmp_path / "new" / "run" / "log.csv").exists()

    def test_a_path_that_cannot_be_written_is_an_error_before_the_first_step(self, tmp_path):
        (x, y), t = problem(), trainer()
        with pytest.raises(ArgumentError, match="CSVLogger: .* is a folder; give the name of a file"):
            t.fit(x, y, callbacks=[CSVLogger(tmp_path)], progress=False)
        assert t.step == 0


class TestTensorBoard:
    def test_metrics_and_rate_of_each_epoch_are_written(self, tmp_path):
        pytest.importorskip("tensorboardX")
        from tensorboardX.proto.event_pb2 import Event
        from tensorboardX.record_writer import RecordWriter

        assert RecordWriter  # the format: length (8 bytes), its checksum (4), the event, its checksum (4)
        (x, y), t = problem(), trainer()
        t.fit(x, y, epochs=2, callbacks=[TensorBoard(tmp_path / "run")], progress=False)
        (path,) = (tmp_path / "run").iterdir()
        content, found = path.read_bytes(), {}
        while content:
            length = int.from_bytes(content[:8], "little")
            event = Event.FromString(content[12 : 12 + length])
            found |= {(value.tag, event.step): value.simple_value for value in event.summary.value}
            content = content[16 + length :]
        expected = {(name, epoch + 1): column[epoch] for name, column in t.history.items() for epoch in range(2)}
        assert found == pytest.approx(expected | {("learning_rate", 1): 0.1, ("learning_rate", 2): 0.1}, rel=1e-6)

    def test_two_runs_within_a_second_have_a_file_each_in_the_order_of_their_names(self, tmp_path):
        pytest.importorskip("tensorboardX")
        (x, y), t = problem(), trainer()
        seen = []
        for _ in range(3):
            t.fit(x, y, callbacks=[TensorBoard(tmp_path)], progress=False)
            seen += sorted({path.name for path in tmp_path.iterdir()} - {*seen})
        assert len(seen) == 3
        assert seen == sorted(seen)

    def test_without_the_library_the_error_says_how_to_get_it(self, tmp_path, monkeypatch):
        original = builtins.__import__

        def without(name, *rest, **options):
            if name.startswith("tensorboardX"):
                raise ImportError(name)
            return original(name, *rest, **options)

        monkeypatch.setattr(builtins, "__import__", without)
        (x, y), t = problem(), trainer()
        with pytest.raises(MissingDependencyError, match=r"pip install 'minidl\[tensorboard\]'"):
            t.fit(x, y, callbacks=[TensorBoard(tmp_path)], progress=False)
        assert t.step == 0
