"""Data in many files train as the same rows in memory do: to the same bits, in an order that follows from the seed."""

import copy
import pickle
import threading
import time

import numpy as np
import pandas as pd
import pytest
from processes import together
from threadpoolctl import threadpool_limits

from minidl import (
    Adam,
    BatchNorm,
    Dense,
    Dropout,
    FunctionCallback,
    MeanSquaredError,
    ReLU,
    Rescale,
    Sequential,
    SoftmaxCrossEntropy,
    Trainer,
)
from minidl.data import Shards, train_validation_split
from minidl.errors import (
    ArgumentError,
    ArgumentTypeError,
    DataError,
    DataWarning,
    FileFormatError,
    MissingFileError,
)

SIZES = [9, 1, 14, 7, 12, 5, 10, 3]
FEATURES = 4


def problem(rows=61, dtype=np.float64):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(rows, FEATURES))
    y = (x[:, 0] > 0).astype(int) + (x[:, 1] > 0)
    return (x * 40).astype(dtype), y


def write(folder, x, y, ending=".npy", sizes=SIZES):
    """Write the rows to files of these sizes; return the Shards of them."""
    folder.mkdir(exist_ok=True)
    stop = 0
    for number, size in enumerate(sizes):
        start, stop = stop, stop + size
        own_x, own_y, path = x[start:stop], y[start:stop], folder / f"x_{number}{ending}"
        if ending == ".npy":
            np.save(path, own_x)
            np.save(folder / f"y_{number}.npy", own_y)
        elif ending == ".npz":
            np.savez(path, x=own_x, y=own_y)
        else:
            frame = pd.DataFrame(own_x, columns=[f"c{column}" for column in range(x.shape[1])]).assign(label=own_y)
            frame.to_parquet(path) if ending == ".parquet" else frame.to_csv(path, index=False)
    return {"target": None if ending in {".npy", ".npz"} else "label"}


def shards(folder, *, ending=".npy", sizes=SIZES, dtype=np.float64, **options):
    x, y = problem(sum(sizes), dtype)
    return Shards(folder, **write(folder, x, y, ending, sizes) | options)


def trainer(communicator=None, *between, dtype="float64", **options):
    layers = [Rescale(0.025), Dense(6), *between, ReLU(), Dense(3), SoftmaxCrossEntropy()]
    model = Sequential(layers, input_shape=FEATURES, seed=0, dtype=dtype)
    return Trainer(
        model, **{"optimizer": Adam(0.01), "batch_size": 8, "seed": 3, "communicator": communicator} | options
    )


def order_of(data, seed, size=8):
    order = data.x.shards.order(seed)
    return np.concatenate([order[start : min(start + size, len(data))] for start in range(0, len(data), size)])


def assert_same(one, other):
    assert dict(one.history) == dict(other.history)
    assert (one.epoch, one.step, one.position.row) == (other.epoch, other.step, other.position.row)
    np.testing.assert_array_equal(one.model.parameters, other.model.parameters)


# The order


@pytest.mark.parametrize("size", [1, 7, 8, 64])
@pytest.mark.parametrize("buffer", [1, 2, 3, 8, 100])
def test_an_order_has_each_row_once_and_the_same_whatever_the_batches(tmp_path, size, buffer):
    data = shards(tmp_path, buffer=buffer)
    order = order_of(data, (0, 0), size)
    np.testing.assert_array_equal(np.sort(order), np.arange(len(data)))
    np.testing.assert_array_equal(order, order_of(data, (0, 0), 5))


def test_an_order_follows_from_seed_and_epoch(tmp_path):
    data = shards(tmp_path)
    orders = [order_of(data, seed).tolist() for seed in ((0, 0), (0, 1), (1, 0), (1, 1))]
    assert len({tuple(order) for order in orders}) == 4
    assert order_of(shards(tmp_path), (0, 1)).tolist() == orders[1]


@pytest.mark.parametrize("buffer", [1, 3])
def test_rows_come_from_so_many_files_at_a_time_in_random_order(tmp_path, buffer):
    data = shards(tmp_path, buffer=buffer)
    files = np.repeat(np.arange(len(SIZES)), SIZES)[order_of(data, (0, 0))]
    first_seen = [*dict.fromkeys(files.tolist())]
    lots = [first_seen[start : start + buffer] for start in range(0, len(SIZES), buffer)]
    start = 0
    for lot in lots:
        stop = start + sum(SIZES[file] for file in lot)
        assert {*files[start:stop].tolist()} == {*lot}
        start = stop
    assert sorted(first_seen) != first_seen


def test_an_order_reads_no_data(tmp_path):
    data = shards(tmp_path)
    data.x.shards.read = None
    data.x.shards.hold = lambda files: None
    assert len(order_of(data, (0, 0))) == len(data)


def test_the_order_of_a_row_takes_no_longer_where_there_are_more(tmp_path):
    # By what is made, not by time: the numbers of two lots at most.
    data = shards(tmp_path, sizes=[5] * 60, buffer=2)
    order = data.x.shards.order((0, 0))
    for start in range(0, len(data), 4):
        order[start : start + 4]
        assert sum(map(len, order._made.values())) <= 20


# Rows


PARTS = [slice(0, 0), slice(3, 30), slice(9, 10), slice(None), slice(-5, None), slice(50, 4, -3), slice(40, 999), ...]
PARTS += [np.array([60, 0, 0, 9, 10, 31]), np.array([-1, 5]), np.array([], int), np.arange(61) % 3 == 0]


@pytest.mark.parametrize("ending", [".npy", ".npz", ".parquet", ".csv"])
def test_rows_are_those_of_the_whole_table(tmp_path, ending):
    x, y = problem()
    data = shards(tmp_path, ending=ending)
    np.testing.assert_array_equal(data.y, y)
    assert (len(data), len(data.x), data.x.shape, data.x.dtype) == (len(x), len(x), x.shape, x.dtype)
    for part in PARTS:
        np.testing.assert_array_equal(data.x[part], x[part], err_msg=str(part))
    assert type(data.x[3:5]) is np.ndarray


def test_rows_within_a_mapped_file_are_a_view_of_it(tmp_path):
    data = shards(tmp_path)
    part = data.x[10:20]
    base = part
    while base.base is not None and not isinstance(base, np.memmap):
        base = base.base
    assert isinstance(base, np.memmap)


def test_files_come_in_the_order_of_their_numbers(tmp_path):
    sizes = [2] * 12  # of which x_10 and x_11 come after x_9
    x, _ = problem(24)
    np.testing.assert_array_equal(shards(tmp_path, sizes=sizes).x[...], x)


def test_a_list_of_files_holds_others_out(tmp_path):
    x, y = problem()
    shards(tmp_path)
    files = [tmp_path / f"x_{number}.npy" for number in range(len(SIZES))]
    train, held_out = Shards(files[:-2]), Shards(map(str, files[-2:]))
    np.testing.assert_array_equal(np.concatenate([train.x[...], held_out.x[...]]), x)
    np.testing.assert_array_equal(np.concatenate([train.y, held_out.y]), y)


def test_files_without_rows_are_left_out(tmp_path):
    x, _ = problem()
    data = shards(tmp_path, sizes=[0, *SIZES, 0])
    assert len(data.x.shards.paths) == len(SIZES)
    np.testing.assert_array_equal(data.x[...], x)


def test_csv_files_of_whole_numbers_and_of_others_are_of_one_type(tmp_path):
    (tmp_path / "a.csv").write_text("u,v,label\n1,2,0\n3,4,1\n")
    (tmp_path / "b.csv").write_text("v,u,label\n2.5,1,0\n")
    data = Shards(tmp_path, target="label")
    assert data.columns == ("u", "v")
    assert data.x[:1].dtype == np.float64
    np.testing.assert_array_equal(data.x[...], [[1, 2], [3, 4], [1, 2.5]])
    np.testing.assert_array_equal(data.x[np.array([2, 0])], [[1, 2.5], [1, 2]])


def test_a_copy_and_a_pickle_read_the_same_files(tmp_path):
    x, _ = problem()
    data = shards(tmp_path)
    data.x[:20]
    for same in (copy.deepcopy(data), pickle.loads(pickle.dumps(data))):
        np.testing.assert_array_equal(same.x[...], x)
        np.testing.assert_array_equal(same.y, data.y)


def test_a_repr_says_what_there_is(tmp_path):
    assert repr(shards(tmp_path / "a")) == f"<Shards of {tmp_path / 'a'}: 8 files, 61 rows of (4,) float64>"


# Reading ahead


def watch(data):
    """Note which file is read, and in which thread."""
    reads, read = [], data.x.shards.read

    def noted(number):
        reads.append((number, threading.current_thread().name))
        return read(number)

    data.x.shards.read = noted
    return reads


def wait_for(condition):
    for _ in range(1000):
        if condition():
            return
        time.sleep(0.01)
    raise AssertionError("it did not come")


def test_the_next_files_are_read_by_a_thread_while_those_before_are_in_use(tmp_path):
    data = shards(tmp_path, buffer=2)
    reads, order = watch(data), data.x.shards.order((0, 0))
    order[0:1]
    wait_for(lambda: len(reads) == 4)  # of two lots, without asking for a row of theirs
    assert all(name.startswith("minidl-shards") for _, name in reads)
    lots = order._lots
    assert [number for number, _ in reads] == [*lots[0], *lots[1]]


def test_in_an_epoch_each_file_is_read_once(tmp_path):
    data = shards(tmp_path, buffer=2, ending=".npz")
    reads, run = watch(data), trainer()
    of_sample = []  # read before the first step, to find inputs that are scaled twice
    begin = FunctionCallback(lambda run: of_sample.extend(reads) or reads.clear(), moment="on_train_begin")
    run.fit(data.x, data.y, callbacks=[begin], progress=False)
    assert sorted(number for number, _ in reads) == [*range(len(SIZES))]
    assert len(of_sample) == 4
    reads.clear()
    run.fit(data.x, data.y, progress=False)
    assert len({number for number, _ in reads}) == len(reads)  # files that the last epoch has left are not read again
    data = Shards(tmp_path)
    reads = watch(data)
    with threadpool_limits(1):  # a thread that falls behind by several small files reads one again
        trainer().model.predict(data.x, batch_size=4)
    assert sorted(number for number, _ in reads) == [*range(len(SIZES))]


def test_no_more_files_are_kept_than_the_buffer_says(tmp_path):
    data, most = shards(tmp_path, buffer=2), []
    run = trainer()
    look = FunctionCallback(lambda run: most.append(len(data.x.shards._held)), moment="on_batch_end")
    run.fit(data.x, data.y, epochs=2, callbacks=[look], progress=False)
    assert max(most) == 4
    run.evaluate(data.x, data.y)
    assert len(data.x.shards._held) <= 3


def test_rows_may_be_read_by_several_threads(tmp_path):
    x, _ = problem()
    data = shards(tmp_path, ending=".npz")
    found = {}

    def read(number):
        rng = np.random.default_rng(number)
        found[number] = True
        for _ in range(50):
            start = rng.integers(0, len(x))
            found[number] &= np.array_equal(data.x[start : start + 6], x[start : start + 6])
            rows = rng.integers(0, len(x), 5)
            found[number] &= np.array_equal(data.x[rows], x[rows])

    threads = [threading.Thread(target=read, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == dict.fromkeys(range(4), True)


# Training


@pytest.mark.parametrize("ending", [".npy", ".npz", ".parquet", ".csv"])
@pytest.mark.parametrize("dtype", [np.float64, np.uint8])
def test_an_epoch_has_the_bits_of_the_same_rows_in_memory(tmp_path, ending, dtype):
    data = shards(tmp_path, ending=ending, dtype=dtype)
    x, y = data.x[...], data.y
    of_shards, in_memory = trainer(), trainer(shuffle=False)
    for epoch in range(3):
        order = order_of(data, (3, epoch))
        of_shards.fit(data.x, data.y, validation_data=(data.x, data.y), progress=False)
        in_memory.fit(x[order], y[order], validation_data=(x, y), progress=False)
    assert_same(of_shards, in_memory)


@pytest.mark.parametrize("options", [{"shuffle": False}, {"batch_size": None}, {"batch_size": 200}], ids=str)
def test_rows_in_order_have_the_bits_of_those_in_memory(tmp_path, options):
    x, y = problem()
    data = shards(tmp_path)
    of_shards, in_memory = trainer(**options), trainer(**options)
    of_shards.fit(data.x, data.y, epochs=3, validation_data=(data.x, data.y), progress=False)
    in_memory.fit(x, y, epochs=3, validation_data=(x, y), progress=False)
    assert_same(of_shards, in_memory)
    assert of_shards.evaluate(data.x, data.y) == in_memory.evaluate(x, y)
    for size in (None, 5):
        proba = of_shards.model.predict_proba(data.x, batch_size=size)
        np.testing.assert_array_equal(proba, in_memory.model.predict_proba(x, batch_size=size))
    np.testing.assert_array_equal(of_shards.model.predict(data.x), in_memory.model.predict(x))


def test_weights_of_classes_and_rows_belong_to_their_rows(tmp_path):
    x, y = problem()
    data, weights = shards(tmp_path), np.random.default_rng(1).random(len(x))
    order = order_of(data, (3, 0))
    of_shards, in_memory = trainer(), trainer(shuffle=False)
    options = {"class_weight": "balanced", "progress": False}
    of_shards.fit(data.x, data.y, sample_weight=weights, **options)
    in_memory.fit(x[order], y[order], sample_weight=weights[order], **options)
    np.testing.assert_array_equal(of_shards.model.parameters, in_memory.model.parameters)


def test_images_in_flat_rows_are_the_models_images(tmp_path):
    from minidl import Conv2D, Flatten

    x, y = problem(24, np.uint8)
    data = shards(tmp_path, sizes=[10, 14], dtype=np.uint8)
    order, runs = order_of(data, (3, 0)), []
    for inputs, targets, shuffle in ((data.x, data.y, True), (x[order], y[order], False)):
        layers = [Rescale(0.1), Conv2D(2, 2), Flatten(), Dense(3), SoftmaxCrossEntropy()]
        runs.append(Trainer(Sequential(layers, input_shape=(2, 2, 1), seed=0), batch_size=8, seed=3, shuffle=shuffle))
        runs[-1].fit(inputs, targets, progress=False)
    assert_same(*runs)


def test_distorted_batches_are_those_of_rows_in_memory(tmp_path):
    def shake(x, rng):
        return x + rng.normal(size=x.shape)

    x, y = problem()
    data = shards(tmp_path)
    order = order_of(data, (3, 0))
    of_shards, in_memory = trainer(augment=shake), trainer(augment=shake, shuffle=False)
    of_shards.fit(data.x, data.y, progress=False)
    in_memory.fit(x[order], y[order], progress=False)
    assert_same(of_shards, in_memory)


@pytest.mark.parametrize("ending", [".npy", ".csv"])
@pytest.mark.parametrize("step", [1, 7, 8, 11, 15])
def test_a_run_goes_on_in_the_middle_of_an_epoch_to_the_same_bits(tmp_path, ending, step):
    data = shards(tmp_path / "data", ending=ending, buffer=2)
    whole = trainer(None, Dropout(0.2), BatchNorm())
    whole.fit(data.x, data.y, epochs=3, progress=False)
    first = trainer(None, Dropout(0.2), BatchNorm())
    stop = FunctionCallback(lambda run: run.stop() if run.step == step else None, moment="on_batch_end")
    first.fit(data.x, data.y, epochs=3, callbacks=[stop], progress=False)
    assert first.step == step
    first.save(tmp_path / "run.npz")

    second, data = (
        Trainer.load(tmp_path / "run.npz"),
        Shards(tmp_path / "data", target="label" if data.columns else None, buffer=2),
    )
    second.fit(data.x, data.y, epochs=3 - second.epoch, progress=False)
    assert_same(second, whole)


def test_what_a_run_has_done_is_not_read_again(tmp_path):
    data = shards(tmp_path / "data", buffer=1)
    first = trainer()
    stop = FunctionCallback(lambda run: run.stop() if run.step == 6 else None, moment="on_batch_end")
    first.fit(data.x, data.y, callbacks=[stop], progress=False)
    row = first.position.row
    done = {*np.repeat(range(len(SIZES)), SIZES)[order_of(data, (3, 0))[:row]].tolist()}
    left = {*np.repeat(range(len(SIZES)), SIZES)[order_of(data, (3, 0))[row:]].tolist()}
    data = Shards(tmp_path / "data", buffer=1)
    reads = watch(data)
    first.fit(data.x, data.y, progress=False)
    assert {number for number, _ in reads} == left
    assert done - left


@pytest.mark.parametrize("options", [{"buffer": 3}, {"sizes": [*SIZES[1:], SIZES[0]]}, {"in_memory": True}], ids=str)
def test_in_another_order_of_rows_an_interrupted_epoch_starts_again(tmp_path, options):
    data, rows = shards(tmp_path / "data", buffer=2), sum(SIZES)
    first = trainer()
    stop = FunctionCallback(lambda run: run.stop() if run.step == 11 else None, moment="on_batch_end")
    first.fit(data.x, data.y, epochs=3, callbacks=[stop], progress=False)
    assert (first.epoch, first.position.row) == (1, 24)
    first.save(tmp_path / "run.npz")

    second, in_memory = Trainer.load(tmp_path / "run.npz"), options.pop("in_memory", False)
    assert second.position.layout == [2, *SIZES]
    data = shards(tmp_path / "others", **{"buffer": 2} | options)
    x = data.x[...] if in_memory else data.x
    seen, taken = [], type(data.x.shards).__getitem__

    class Noted(type(data.x.shards)):
        def __getitem__(self, index):
            if second._fit is not None:
                seen.append(np.arange(rows)[index])
            return taken(self, index)

    data.x.shards.__class__ = Noted
    second.fit(x, data.y, progress=False)
    assert (second.epoch, second.position.row, second.step) == (2, 0, 11 + 8)
    if not in_memory:
        np.testing.assert_array_equal(np.sort(np.concatenate(seen)), np.arange(rows))  # each once


# Several processes


@pytest.mark.parametrize("size", [2, 3])
@pytest.mark.parametrize("shuffle", [True, False])
def test_several_processes_are_one_and_read_their_own_rows_alone(tmp_path, size, shuffle):
    def begin(communicator=None):
        return trainer(communicator, BatchNorm(), Dropout(0.2), shuffle=shuffle)

    data = shards(tmp_path, buffer=2)
    whole = begin()
    whole.fit(data.x, data.y, epochs=3, validation_data=(data.x, data.y), progress=False)

    def work(communicator):
        own = Shards(tmp_path, buffer=2)
        run, rows, taken = begin(communicator), [], type(own.x.shards).__getitem__

        class Noted(type(own.x.shards)):
            def __getitem__(self, index):
                if run.epoch == 1 and run.position.row < run.position.rows and run._fit is not None:
                    rows.append(np.arange(len(own))[index])
                return taken(self, index)

        own.x.shards.__class__ = Noted
        run.fit(own.x, own.y, epochs=2, progress=False)
        trained = np.concatenate(rows)
        own.x.shards.__class__ = Noted.__base__
        run.fit(own.x, own.y, epochs=1, validation_data=(own.x, own.y), progress=False)
        return run, trained

    results = together(work, size)
    for run, _ in results:
        np.testing.assert_array_equal(run.model.parameters, results[0][0].model.parameters)
        np.testing.assert_allclose(run.history["loss"], whole.history["loss"], rtol=1e-9)
        np.testing.assert_allclose(run.history["val_loss"][-1], whole.history["val_loss"][-1], rtol=1e-9)
    together_read = np.concatenate([rows for _, rows in results])
    np.testing.assert_array_equal(np.sort(together_read), np.arange(len(data)))  # each row by one process


def test_each_of_several_processes_reads_all_files(tmp_path):
    shards(tmp_path)

    def work(communicator):
        own = Shards(tmp_path)
        reads = watch(own)
        begin = FunctionCallback(lambda run: reads.clear(), moment="on_train_begin")
        trainer(communicator).fit(own.x, own.y, callbacks=[begin], progress=False)
        return sorted(number for number, _ in reads)

    assert together(work) == [[*range(len(SIZES))]] * 2


def test_validation_rows_of_a_process_are_read_in_blocks(tmp_path):
    data = shards(tmp_path, sizes=[100] * 5)

    def work(communicator):
        own = Shards(tmp_path)
        run, largest, run_of_rows = trainer(communicator), [], own.x.shards._run
        run.model.rows_at_once = 16

        def noted(start, stop):
            largest.append(stop - start)
            return run_of_rows(start, stop)

        own.x.shards._run = noted
        run.evaluate(own.x, own.y)
        return max(largest)

    assert max(together(work)) <= 32
    assert len(data) == 500


def test_processes_with_other_files_are_told_where_they_differ(tmp_path):
    for rank, sizes in enumerate(([30, 31], [31, 30])):
        shards(tmp_path / str(rank), sizes=sizes)

    def work(communicator):
        own = Shards(tmp_path / str(communicator.Get_rank()))
        with pytest.raises(ArgumentError, match="process 1 differs from process 0 in the rows of each file"):
            trainer(communicator).fit(own.x, own.y, progress=False)

    assert together(work) == [None, None]


# Hints


def test_inputs_that_are_scaled_twice_are_found_in_a_few_files(tmp_path):
    x = np.random.default_rng(0).random((60, FEATURES))
    write(tmp_path, x, np.arange(60) % 3, sizes=[3] * 20)
    data = Shards(tmp_path)
    reads = watch(data)
    with pytest.warns(DataWarning, match=r"x is already in \[0, 1\]"):
        trainer().fit(data.x, data.y, callbacks=[lambda run: None], epochs=1, progress=False)
    assert len(reads) <= 20 + 4


@pytest.mark.parametrize("size", [1, 10, 61, 1000])
def test_a_sample_has_about_so_many_rows_of_a_few_files(tmp_path, size):
    rows = shards(tmp_path).x.shards.sample(size)
    assert len({*rows.tolist()}) == len(rows)
    files = {*np.searchsorted(np.cumsum(SIZES), rows, side="right").tolist()}
    assert 1 <= len(files) <= 4
    assert min(size, 20) / 2 <= len(rows) <= max(2 * size, 4)


# Errors


def test_numbers_that_are_not_finite_are_named_by_file_and_row(tmp_path):
    x, y = problem()
    x[sum(SIZES[:4]) + 2, 3] = np.nan
    write(tmp_path, x, y)
    data = Shards(tmp_path)
    with pytest.raises(DataError, match=r"x_4\.npy: x holds NaN at row 2, entry 3: remove or fill"):
        trainer().fit(data.x, data.y, progress=False)
    with pytest.raises(DataError, match=r"x_4\.npy: x holds NaN at row 2"):
        trainer().model.predict(data.x)


def test_missing_values_of_a_parquet_file_are_named(tmp_path):
    for number, values in enumerate(([1, 2, 3], [1, None, 3])):
        table = pd.DataFrame({"a": pd.array(values, "Int64"), "y": [0, 1, 0]})
        table.to_parquet(tmp_path / f"{number}.parquet")
    data = Shards(tmp_path, target="y")
    with pytest.raises(DataError, match=r"1\.parquet: x holds NaN at row 1, entry 0"):
        data.x[...]


def test_targets_are_checked_before_anything_trains(tmp_path):
    x, y = problem()
    y[40] = 3
    write(tmp_path, x, y)
    data, run = Shards(tmp_path), trainer()
    with pytest.raises(DataError, match="40"):
        run.fit(data.x, data.y, progress=False)
    assert run.step == 0


@pytest.mark.parametrize("ending", [".npy", ".csv"])
def test_a_file_that_goes_or_shrinks_is_named_and_the_run_goes_on_once_it_is_back(tmp_path, ending):
    data = shards(tmp_path, ending=ending, buffer=1)
    path = tmp_path / f"x_2{ending}"
    content = path.read_bytes()
    path.unlink()
    with pytest.raises(MissingFileError, match=r"x_2\.\w+ does not exist \(any more\): restore it"):
        trainer().fit(data.x, data.y, progress=False)
    x, _ = problem(13)
    np.save(path, x) if ending == ".npy" else pd.DataFrame(x).add_prefix("c").assign(label=0).to_csv(path, index=False)
    with pytest.raises(DataError, match=r"x_2\.\w+ has the shape \(13, 4\), but had \(14, 4\) before: make new Shards"):
        trainer().fit(data.x, data.y, progress=False)
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises((FileFormatError, DataError), match=r"x_2\.\w+ "):
        trainer().fit(data.x, data.y, progress=False)
    path.write_bytes(content)
    trainer().fit(data.x, data.y, progress=False)


def test_a_file_that_becomes_one_of_another_type_is_named(tmp_path):
    data = shards(tmp_path, dtype=np.uint8)
    np.save(tmp_path / "x_2.npy", problem(14)[0])
    with pytest.raises(DataError, match=r"x_2\.npy holds float64, but held uint8 before: make new Shards of it"):
        data.x[...]


DIFFERENT = {
    "the shape of a row": (np.ones((2, 3)), np.zeros(2), r"the shape of a row: \(3,\), and not \(4,\)"),
    "the type": (np.ones((2, 4), np.float32), np.zeros(2), "the type: float32, and not float64"),
    "the targets": (np.ones((2, 4)), np.zeros((2, 2)), r"the shape of a target: \(2,\), and not \(\)"),
    "the number of targets": (np.ones((2, 4)), np.zeros(3), r"has 2 rows of x, but targets of shape \(3,\)"),
    "numbers": (np.ones((2, 4), complex), np.zeros(2), "holds x of shape .* and type complex128: give rows of numbers"),
}


@pytest.mark.parametrize("name", DIFFERENT)
def test_a_file_that_is_not_like_the_first_is_named(tmp_path, name):
    x, y, message = DIFFERENT[name]
    shards(tmp_path)
    np.save(tmp_path / "x_5.npy", x)
    np.save(tmp_path / "y_5.npy", y)
    with pytest.raises(DataError, match=rf"x_5\.npy .*{message}") as caught:
        Shards(tmp_path)
    assert len(str(caught.value)) <= 300


def test_a_file_whose_targets_are_missing_is_named(tmp_path):
    shards(tmp_path)
    (tmp_path / "y_5.npy").unlink()
    with pytest.raises(DataError, match=r"x_5\.npy differs from x_0\.npy in the shape of a target: none, and not"):
        Shards(tmp_path)


def test_a_file_whose_inputs_are_missing_is_named(tmp_path):
    shards(tmp_path)
    (tmp_path / "x_5.npy").unlink()
    with pytest.raises(MissingFileError, match=r"y_5\.npy has no x_5\.npy: give both, or leave these targets out"):
        Shards(tmp_path)


def test_inputs_never_include_the_target(tmp_path):
    write(tmp_path, *problem(), ".parquet")
    with pytest.raises(ArgumentError, match=r"x_0\.parquet: columns= includes the target 'label'; x must not hold it"):
        Shards(tmp_path, columns=["c1", "label"], target="label")


@pytest.mark.parametrize("values", [["Rome"], pd.Categorical(["Rome"]), [pd.Timestamp("2020-01-01")]], ids=type)
@pytest.mark.parametrize("ending", [".parquet", ".csv"])
def test_a_later_file_with_a_column_of_something_else_is_named_with_the_column(tmp_path, ending, values):
    options = write(tmp_path, *problem(dtype=np.float32), ending)
    frame = pd.DataFrame({"c0": [1.0], "c1": values, "c2": [1.0], "c3": [1.0], "label": [0]})
    path = tmp_path / f"x_3{ending}"
    frame.to_parquet(path) if ending == ".parquet" else frame.to_csv(path, index=False)
    with pytest.raises(DataError, match=r"x_3\.\w+: .*column 'c1'.*row 0; give numbers only"):
        Shards(tmp_path, **options)


@pytest.mark.parametrize("ending", [".parquet", ".csv"])
def test_a_file_with_other_columns_is_named(tmp_path, ending):
    options = write(tmp_path, *problem(), ending)
    frame = pd.DataFrame({"c0": [1.0], "c1": [1.0], "c2": [1.0], "d": [1.0], "label": [0]})
    path = tmp_path / f"x_3{ending}"
    frame.to_parquet(path) if ending == ".parquet" else frame.to_csv(path, index=False)
    with pytest.raises(DataError, match=r"x_3\.\w+ differs from x_0\.\w+ in columns: \['d'\], and not \['c3'\]"):
        Shards(tmp_path, **options)


def test_what_are_no_files_is_an_error_that_says_what_to_give(tmp_path):
    with pytest.raises(FileFormatError, match=r"has no files \.npy"):
        Shards(tmp_path)
    with pytest.raises(FileFormatError, match="the list has no files"):
        Shards([])
    with pytest.raises(MissingFileError, match="nowhere is not a folder: give one, or a list of files"):
        Shards(tmp_path / "nowhere")
    with pytest.raises(MissingFileError, match=r"a\.npy is not a file"):
        Shards([tmp_path / "a.npy"])
    np.save(tmp_path / "x_1.npy", np.zeros((0, 3)))
    with pytest.raises(DataError, match="holds no rows of x"):
        Shards(tmp_path)


def test_arguments_that_cannot_work_are_refused(tmp_path):
    shards(tmp_path)
    with pytest.raises(ArgumentError, match="buffer is 0"):
        Shards(tmp_path, buffer=0)
    with pytest.raises(ArgumentTypeError, match="target is 3; give the name"):
        Shards(tmp_path, target=3)
    with pytest.raises(ArgumentTypeError, match="columns is 'a'; give a list"):
        Shards(tmp_path, columns="a")


def test_shards_in_the_place_of_their_x_are_an_error_that_says_so(tmp_path):
    data = shards(tmp_path)
    for use in (lambda: trainer().fit(data, data.y), lambda: trainer().model.predict(data)):
        with pytest.raises(
            DataError, match=r"x is not a table of numbers: Shards are .* as in trainer\.fit\(data\.x, data\.y"
        ):
            use()


USES = {
    "a row": lambda data: data.x[0],
    "a row by NumPy's number": lambda data: data.x[np.int64(1)],
    "an array": lambda data: np.asarray(data.x),
    "two axes": lambda data: data.x[[[0], [1]]],
    "columns": lambda data: data.x[:, 0],
    "a split": lambda data: train_validation_split(data.x, data.y),
}


@pytest.mark.parametrize("name", USES)
def test_what_would_make_an_array_of_all_rows_is_refused_with_what_to_do(tmp_path, name):
    with pytest.raises(ArgumentTypeError, match=r"read by slices or lists, such as x\[3:4\]; .* make Shards of other"):
        USES[name](shards(tmp_path))


def test_targets_that_there_are_not_are_asked_for(tmp_path):
    write(tmp_path / "a", *problem(), ".csv")
    with pytest.raises(ArgumentError, match="have no targets: give target=, one of c0, c1, c2, c3, label"):
        _ = Shards(tmp_path / "a").y
    shards(tmp_path / "b")
    for path in (tmp_path / "b").glob("y_*"):
        path.unlink()
    unlabelled = Shards(tmp_path / "b")
    with pytest.raises(ArgumentError, match="have no targets: give y beside x"):
        _ = unlabelled.y
    np.testing.assert_array_equal(trainer().model.predict(unlabelled.x), trainer().model.predict(problem()[0]))


def test_several_targets_of_a_regression_are_an_array(tmp_path):
    x, _ = problem()
    targets = x[:, :2] / 40
    write(tmp_path, x / 40, targets)
    data = Shards(tmp_path)
    model = Sequential([Dense(2), MeanSquaredError()], seed=0)
    run = Trainer(model, Adam(0.1), batch_size=8, seed=0)
    run.fit(data.x, data.y, epochs=20, progress=False)
    assert run.history["loss"][-1] < 0.01
