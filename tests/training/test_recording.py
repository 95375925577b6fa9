"""What callbacks write down: a CSV file, and TensorBoard's events."""

import builtins

import numpy as np
import pandas as pd
import pytest

from minidl import (
    SGD,
    Callback,
    CSVLogger,
    Dense,
    FunctionCallback,
    Sequential,
    SoftmaxCrossEntropy,
    TensorBoard,
    Trainer,
)
from minidl.errors import ArgumentError, ArgumentTypeError, MissingDependencyError


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

    def test_a_figure_that_came_later_leaves_earlier_epochs_empty(self, tmp_path):
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
    def test_figures_and_rate_of_each_epoch_are_written(self, tmp_path):
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


class TestFunctions:
    def test_a_plain_function_is_called_at_the_end_of_each_epoch(self):
        (x, y), epochs = problem(), []
        trainer().fit(x, y, epochs=3, callbacks=[lambda t: epochs.append(t.epoch)], progress=False)
        assert epochs == [1, 2, 3]

    @pytest.mark.parametrize(
        ("moment", "calls"),
        [
            ("on_train_begin", 1),
            ("on_epoch_begin", 3),
            ("on_gradients", 12),
            ("on_batch_end", 12),
            ("on_epoch_end", 3),
            ("on_train_end", 1),
        ],
    )
    def test_or_at_a_moment_that_is_told(self, moment, calls):
        (x, y), seen = problem(), []
        trainer().fit(x, y, epochs=3, callbacks=[FunctionCallback(seen.append, moment)], progress=False)
        assert len(seen) == calls

    def test_a_moment_that_does_not_exist_is_refused_where_it_is_written(self):
        with pytest.raises(ArgumentError, match="Mine.on_epoc_end would never be called; did you mean 'on_epoch_end'"):
            type("Mine", (Callback,), {"on_epoc_end": lambda self, trainer: None})

    def test_anything_else_is_refused(self):
        x, y = problem()
        with pytest.raises(ArgumentTypeError, match=r"no function: did you mean CSVLogger\(\)\?"):
            trainer().fit(x, y, callbacks=[CSVLogger], progress=False)
        with pytest.raises(ArgumentError, match="no moment 'on_epoch'; did you mean 'on_epoch_"):
            FunctionCallback(print, "on_epoch")
        with pytest.raises(ArgumentTypeError, match="takes a function, not 3"):
            FunctionCallback(3)
        for wrong in (3, CSVLogger):
            with pytest.raises(ArgumentTypeError, match="no Callback and no function"):
                trainer().fit(x, y, callbacks=[wrong], progress=False)
