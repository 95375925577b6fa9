"""The journal: a search that is stopped, killed or called again goes on to the same bits; damaged files are errors."""

import functools
import json
import os
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pytest
from searches import NOISE, assert_same, brief, by_hand, classifier, line, look, network, regression, x, y
from sklearn.model_selection import KFold
from sklearn.preprocessing import MinMaxScaler, StandardScaler

from minidl import LBFGS, Dense, Lookahead, MeanSquaredError, ReLU, Sequential, SoftmaxCrossEntropy, Tanh, Trainer
from minidl.errors import ArgumentError, FileFormatError
from minidl.training.history import History
from minidl.training.journal import FoldRun, Journal, Progress
from minidl.training.parameter_search import _Keeper, _Runner
from minidl.training.parameter_space import Candidate


def test_a_journal_changes_nothing_and_a_search_that_is_over_trains_nothing_more(tmp_path, monkeypatch):
    options = {"epochs": 4, "halving": 3}
    first = look(**options, journal=tmp_path)
    assert_same(first, look(**options))
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(
        ["search.json", *(f"candidate_000{number}.{end}" for number in range(1, 7) for end in ("json", "npz"))]
    )
    monkeypatch.setattr(_Runner, "train", None)
    again = look(**options, journal=str(tmp_path), jobs=2)
    assert_same(first, again)
    pd.testing.assert_frame_equal(first.table, again.table, check_exact=True)  # with the seconds


def test_a_search_over_folds_that_is_over_trains_nothing_more(tmp_path, monkeypatch):
    # By "max" the first candidate goes on, and has less than the other then: what it had at the cut still counts.
    space = [{"units": [8], "rate": [0.01]}, {"units": [4], "rate": [0.001]}]
    options = {"epochs": 3, "halving": 2, "folds": 3, "mode": "max", "journal": tmp_path}
    options["transformer"] = StandardScaler()
    first = look(space=space, **options)
    assert first.table["val_loss"].is_monotonic_increasing
    monkeypatch.setattr(_Runner, "train", None)
    again = look(space=space, **options)
    assert_same(first, again)
    pd.testing.assert_frame_equal(first.table, again.table, check_exact=True)  # with the seconds


def progress_of(*losses, **state):
    history = History()
    for loss in losses:
        history.append({"loss": loss, "val_loss": 2 * loss})
    return Progress(history, **state)


def test_a_candidate_is_as_far_as_the_last_of_its_folds_and_has_their_mean():
    both = Progress.together([progress_of(1, 3, reached=2, seconds=0.5), progress_of(2, 5, reached=2, seconds=1.25)])
    assert dict(both.history) == {"loss": [1.5, 4], "val_loss": [3, 8]}
    assert (both.history.epochs, both.reached, both.seconds, both.diverged) == (2, 2, 1.75, False)
    # Where an optimizer ended a fold, its last metrics stay; where a fold diverged, there is no mean from there on.
    ended = Progress.together([progress_of(1, 3, 8, reached=4), progress_of(2, reached=4, ended=True)])
    assert ended.history["loss"] == [1.5, 2.5, 5]
    diverged = Progress.together([progress_of(1, 3, 8, reached=2), progress_of(2, reached=0, diverged=True)])
    assert (diverged.history["loss"], diverged.reached, diverged.diverged) == ([1.5], 0, True)
    assert Progress.together([progress_of(1), progress_of(diverged=True)]).history.epochs == 0


def copy_before_writes(monkeypatch, journal):
    """Before each write, copy the journal as it is then, which is what a kill at that moment would leave."""
    copies = []

    def copied(write):
        def wrapped(self, *arguments, **options):
            copies.append(shutil.copytree(journal, journal.with_name(f"stopped_{len(copies)}")))
            return write(self, *arguments, **options)

        return wrapped

    monkeypatch.setattr(Trainer, "save", copied(Trainer.save))
    monkeypatch.setattr(Journal, "write", copied(Journal.write))
    return copies


def full_batch(units, seed):
    model = Sequential([Dense(units), Tanh(), Dense(1), MeanSquaredError()], seed=seed)
    return Trainer(model, LBFGS(), batch_size=None, seed=seed)


def soon_over(units, seed):
    model = Sequential([Dense(units), Dense(1), MeanSquaredError()], dtype="float64", seed=seed)
    return Trainer(model, LBFGS(tolerance=0.5), batch_size=None, seed=seed)


FEW, MANY = np.arange(30), np.arange(30, 100)


@pytest.mark.parametrize(
    "run",
    [
        functools.partial(look, epochs=3, halving=3, candidates=3),
        functools.partial(look, regression, {"rate": [1e9, 1e-3]}, line, line, epochs=4, halving=2),
        functools.partial(look, full_batch, {"units": [2, 3]}, line, line**2, epochs=4, halving=2),
        functools.partial(look, soon_over, {"units": [2, 3]}, epochs=64, halving=2, first_epochs=32),
        functools.partial(look, epochs=3, halving=3, candidates=3, folds=2, transformer=StandardScaler()),
        functools.partial(
            look, regression, {"rate": [1e9, 1e-3]}, line, line, epochs=4, halving=2, folds=[(FEW, MANY), (MANY, FEW)]
        ),
        functools.partial(look, soon_over, {"units": [2, 3]}, epochs=64, halving=2, first_epochs=32, folds=KFold(2)),
    ],
    ids=[
        "mini-batches",
        "diverging",
        "full batch",
        "full batch, soon over",
        "folds",
        "folds, diverging",
        "folds, full batch, soon over",
    ],
)
def test_stopped_before_any_of_its_writes_it_goes_on_to_the_same_bits(run, tmp_path, monkeypatch):
    undisturbed = run()
    with monkeypatch.context() as patch:
        copies = copy_before_writes(patch, tmp_path / "undisturbed")
        run(journal=tmp_path / "undisturbed")
    assert len(copies) >= 6
    for journal in copies:
        assert_same(run(journal=journal), undisturbed)


PROGRAM = """
import sys
import numpy as np
from sklearn.preprocessing import StandardScaler
from minidl import Adam, Dense, Dropout, Sequential, SoftmaxCrossEntropy, Trainer, search

x = np.random.default_rng(0).normal(size=(600, 5))

def build(units, rate, seed):
    layers = [Dense(units), Dropout(0.1), Dense(2), SoftmaxCrossEntropy()]
    return Trainer(Sequential(layers, seed=seed), Adam(rate), batch_size=8, seed=seed)

def look(journal, jobs, epochs=9, folds=None):
    space = {"units": [4, 8, 16], "rate": [0.01, 0.1, 0.001]}
    options = {"epochs": epochs, "halving": 3, "jobs": jobs, "journal": journal, "progress": False}
    transformer = StandardScaler() if folds else None
    return search(build, space, x, (x[:, 0] > 0).astype(int), folds=folds, transformer=transformer, **options)

if __name__ == "__main__":
    try:
        look(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]) or None)
    except KeyboardInterrupt as interrupt:
        print(interrupt, flush=True)
"""


def start(folder, jobs, epochs=9, folds=None):
    program = folder / "program.py"
    program.write_text(PROGRAM)
    return subprocess.Popen(
        [sys.executable, program, folder / "journal", str(jobs), str(epochs), str(folds or 0)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def wait_for(path, process):
    end = time.monotonic() + 60
    while not path.exists():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end
        time.sleep(0.002)


@pytest.mark.skipif(not hasattr(os, "killpg"), reason="needs the signals of POSIX")
@pytest.mark.parametrize(
    ("folds", "file", "files"), [(None, "candidate_0004", 9), (3, "candidate_0003_fold_2", 28)], ids=["", "folds"]
)
def test_killed_and_started_again_a_search_ends_in_the_same_bits(folds, file, files, tmp_path):
    process = start(tmp_path, 2, folds=folds)
    wait_for(tmp_path / "journal" / f"{file}.json", process)
    process.send_signal(signal.SIGKILL)  # to the first process alone; those that it started find that out
    process.wait()
    process.stdout.close()
    process.stderr.close()
    program = {"__name__": "program"}
    exec(PROGRAM, program)
    undisturbed = program["look"](None, 1, folds=folds)
    journal = tmp_path / "journal"
    assert len(list(journal.glob("candidate_*.npz"))) < files
    assert_same(program["look"](journal, 2, folds=folds), undisturbed)
    assert len(list(journal.glob("candidate_*.npz"))) == files


@pytest.mark.skipif(not hasattr(os, "killpg"), reason="needs the process groups of POSIX")
@pytest.mark.parametrize(("folds", "files"), [(None, ["0001", "0002"]), (2, ["0001_fold_1", "0001_fold_2"])])
def test_ctrl_c_ends_all_processes_and_says_how_to_go_on(folds, files, tmp_path):
    process = start(tmp_path, 2, epochs=10**6, folds=folds)
    try:
        for file in files:  # by then both processes run: one that still starts prints how it was interrupted
            wait_for(tmp_path / "journal" / f"candidate_{file}.json", process)
        os.killpg(process.pid, signal.SIGINT)
        # Output ends only when no process is left that holds its end of the pipe.
        out, errors = process.communicate(timeout=60)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        out, errors = process.communicate()
    assert out == f"call search again with journal={str(tmp_path / 'journal')!r} to continue it\n", errors
    assert "Traceback" not in errors


def test_ctrl_c_without_a_journal_is_let_through_and_leaves_no_file(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))

    def interrupt(self, path):
        assert list(tmp_path.iterdir())
        raise KeyboardInterrupt("by hand")

    monkeypatch.setattr(Trainer, "save", interrupt)
    with pytest.raises(KeyboardInterrupt, match="by hand"):
        look()
    assert not list(tmp_path.iterdir())
    with pytest.raises(KeyboardInterrupt, match=r"call search again with journal='.*here' to continue it"):
        look(journal=tmp_path / "here")


def test_without_a_journal_no_file_is_left(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    look(epochs=4, halving=2)
    assert not list(tmp_path.iterdir())


def test_a_process_whose_search_was_killed_ends_its_run(tmp_path, monkeypatch):
    keeper = _Keeper(
        home=Journal(tmp_path),
        run=FoldRun(Candidate(1, {"units": 4})),
        before=Progress(),
        searcher=os.getpid(),
        keeps_epochs=False,
    )
    by_hand(classifier(4), 1, callbacks=[keeper])
    monkeypatch.setattr("os.getpid", lambda: 1234)
    monkeypatch.setattr("os.getppid", lambda: 1)
    with pytest.raises(KeyboardInterrupt, match="the search that this process worked for is over"):
        by_hand(classifier(4), 1, callbacks=[keeper])


def wider(units, rate=0.01, seed=0):
    return classifier(2 * units, rate, seed)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"space": {"units": [4, 8, 16]}}, "its number of candidates is 2, here it is 3"),
        (
            {"space": {"units": [4, 9]}},
            "its candidate 2 is 'units=8', here it is 'units=9'",
        ),
        ({"epochs": 3}, "its epochs is 1, here it is 3"),
        ({"monitor": "val_accuracy"}, "its monitor is 'val_loss'"),
        ({"mode": "max"}, "its mode is 'min'"),
        ({"seed": 1}, "its seed is 0"),
        ({"optimizer": "sgd", "build_model": network}, r"its optimizer is 'Adam\("),
        ({"batch_size": 8, "build_model": network}, "its batch_size is 32"),
        (
            {"augment": NOISE, "build_model": network},
            r"its augment is None, here it is .PixelNoise\(standard_deviation=0.5, image_shape=\(2, 2\)",
        ),
        (
            {"metrics": ["top_2_accuracy"], "build_model": network},
            r"its metrics is None, here .*\[TopKAccuracy\(k=2",
        ),
        ({"clip_norm": 2, "build_model": network}, "its clip_norm is None, here it is 2"),
        ({"clip_value": 0.5, "build_model": network}, "its clip_value is None, here it is 0.5"),
        ({"average": Lookahead(), "build_model": network}, r"its average is None, here it is .Lookahead\(steps=5"),
        ({"x": x + 1}, "its training data"),
        ({"sample_weight": np.ones(150)}, "its training data"),
        ({"class_weight": "balanced"}, "its class_weight is None, here it is \"'balanced'\""),
        ({"validation": 31}, "its training data"),
        ({"folds": 3, "validation": None}, "its number of folds is None, here it is 3"),
        ({"transformer": StandardScaler()}, r"its transformer is None, here it is 'StandardScaler\(\)'"),
        ({"build_model": wider}, "its trainer that build_model makes of candidate 1"),
    ],
)
def test_the_journal_of_another_search_is_refused_with_what_differs(options, message, tmp_path, monkeypatch):
    brief(journal=tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    monkeypatch.setattr(_Runner, "train", None)
    with pytest.raises(
        ArgumentError, match=f"belongs to another search: {message}.* Call search as before to continue, or"
    ):
        brief(**{"journal": tmp_path} | options)
    assert before == {path: path.read_bytes() for path in tmp_path.iterdir()}


def test_other_folds_or_another_transformer_are_another_search(tmp_path):
    options = {"folds": KFold(3, shuffle=True, random_state=0), "transformer": StandardScaler(), "journal": tmp_path}
    brief(**options)
    names = ["candidate_0001_fold_3.json", "candidate_0002_fold_1.npz"]
    assert {*names, "search.json"} < {path.name for path in tmp_path.iterdir()}
    assert len(list(tmp_path.glob("candidate_000?_all_rows.*"))) == 2
    others = {
        r"its training data of fold 1 \(fingerprint\) is": {"folds": KFold(3, shuffle=True, random_state=1)},
        "its number of folds is 3, here it is 4": {"folds": 4},
        "its number of folds is 3, here it is None": {"folds": None},
        "its transformer is 'StandardScaler.*here it is 'MinMaxScaler": {"transformer": MinMaxScaler()},
    }
    for message, changed in others.items():
        with pytest.raises(ArgumentError, match=message):
            brief(**options | changed)


def test_a_transformer_of_ones_own_that_gives_other_numbers_is_another_search(tmp_path):
    class Scale(StandardScaler):
        factor = 1.0

        def transform(self, x):
            return self.factor * super().transform(x)

    brief(transformer=Scale(), journal=tmp_path)
    Scale.factor = 2.0
    with pytest.raises(ArgumentError, match=r"its training data \(fingerprint\) is"):
        brief(transformer=Scale(), journal=tmp_path)


def test_other_rows_to_validate_with_are_another_search(tmp_path):
    brief(journal=tmp_path, validation_data=(x, y))
    with pytest.raises(ArgumentError, match=r"its validation data \(fingerprint\) is"):
        brief(journal=tmp_path, validation_data=(x + 1, y))


def test_functions_and_objects_in_the_space_are_known_again(tmp_path):
    def build(activation, seed):
        return Sequential([Dense(4), activation(), Dense(3), SoftmaxCrossEntropy()], seed=seed)

    class Plain:  # its repr has an address
        def __call__(self):
            return Tanh()

    one, two = (
        look(build, {"activation": [ReLU, lambda: Dense(4, initializer="zeros"), Plain()]}, journal=tmp_path)
        for _ in range(2)
    )
    assert one.table["val_loss"].tolist() == two.table["val_loss"].tolist()


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("search.json", b"{", r"search.json is damaged: .*Delete the search's folder"),
        ("search.json", b"[]", "search.json is damaged: it holds no description"),
        ("search.json", b"{}", "search.json is not a description of a search that this minidl reads"),
        (
            "candidate_0002.json",
            b"\xff",
            r"candidate_0002.json is damaged: .*Delete the file to compute its content",
        ),
        ("candidate_0002.json", b"{}", "candidate_0002.json is damaged: 'history'"),
        (
            "candidate_0002.json",
            b'{"history": {"loss": []}, "epochs": 2, "reached": 1}',
            "candidate_0002.json is damaged",
        ),
        ("candidate_0002.json", b'{"history": {}, "epochs": true}', "epochs is True; it must be a whole number"),
        (
            "candidate_0002.npz",
            b"PK",
            r"candidate 2 \(units=8\): .*npz.* Delete the file to train the candidate",
        ),
    ],
)
def test_a_damaged_file_is_an_error_that_names_it_and_the_cure(name, content, message, tmp_path):
    whole = brief(journal=tmp_path)
    path = tmp_path / name
    record = path.with_suffix(".json")
    if path.suffix == ".npz":
        record.write_text(json.dumps(json.loads(record.read_text()) | {"reached": 0}))  # it was killed in between
    path.write_bytes(content)
    with pytest.raises(FileFormatError, match=message):
        brief(journal=tmp_path)
    path.unlink()
    if name != "search.json":
        assert_same(brief(journal=tmp_path), whole)
    else:
        with pytest.raises(FileFormatError, match=r"holds candidate_0001.json, but no search.json"):
            brief(journal=tmp_path)


def test_of_a_write_that_was_killed_the_half_is_removed(tmp_path):
    whole = brief(journal=tmp_path)
    for name in ("search.json", "candidate_0001.npz", "candidate_12345.json"):
        (tmp_path / f".{name}.0badcafe.tmp").write_bytes(b"half")
    assert_same(brief(journal=tmp_path), whole)
    assert not list(tmp_path.glob(".*"))


def test_files_of_the_user_in_the_journals_folder_stay(tmp_path):
    names = (".thesis.tmp", ".search.json.tmp", ".thesis.json.0badcafe.tmp", "candidate_list.csv", "candidate_1.json")
    for name in names:
        (tmp_path / name).write_text("mine")
    for _ in range(2):
        brief(journal=tmp_path)
        assert [(tmp_path / name).read_text() for name in names] == ["mine"] * len(names)


def test_in_a_folder_that_is_refused_nothing_is_removed(tmp_path):
    brief(journal=tmp_path)
    half = tmp_path / ".candidate_0001.npz.0badcafe.tmp"  # which a search that runs now may be writing
    half.write_bytes(b"half")
    with pytest.raises(ArgumentError, match="belongs to another search"):
        brief(journal=tmp_path, epochs=3)
    (tmp_path / "search.json").unlink()
    with pytest.raises(FileFormatError, match=r"holds candidate_0001.json, but no search.json"):
        brief(journal=tmp_path)
    assert half.read_bytes() == b"half"


def test_another_halving_is_another_search(tmp_path):
    brief(journal=tmp_path, epochs=2)
    with pytest.raises(ArgumentError, match="belongs to another search: its halving is None, here it is 2"):
        brief(journal=tmp_path, epochs=2, halving=2)


@pytest.mark.parametrize("end", ["json", "npz"])
@pytest.mark.parametrize("name", ["_fold_1", "_all_rows", ""])
def test_a_fold_of_which_a_file_is_gone_is_trained_anew_where_that_is_needed(name, end, tmp_path):
    options = {"epochs": 2, "halving": 2, "folds": 2}
    whole = brief(journal=tmp_path, **options)
    for path in tmp_path.glob(f"candidate_*{name}.{end}"):
        path.unlink()
    assert_same(brief(journal=tmp_path, **options), whole)


def test_the_half_of_a_folds_write_that_was_killed_is_removed(tmp_path):
    brief(journal=tmp_path, folds=2)
    for name in ("candidate_0001_fold_12.npz", "candidate_0002_all_rows.json"):
        (tmp_path / f".{name}.0badcafe.tmp").write_bytes(b"half")
    brief(journal=tmp_path, folds=2)
    assert not list(tmp_path.glob(".*"))


@pytest.mark.parametrize("end", ["json", "npz"])
def test_a_candidate_of_which_a_file_is_gone_is_trained_anew_where_that_is_needed(end, tmp_path):
    options = {"epochs": 2, "halving": 2}
    whole = brief(journal=tmp_path, **options)
    for path in tmp_path.glob(f"candidate_*.{end}"):
        path.unlink()
    assert_same(brief(journal=tmp_path, **options), whole)


def test_a_file_in_place_of_the_folder_is_refused(tmp_path):
    path = tmp_path / "journal"
    path.write_text("mine")
    with pytest.raises(ArgumentError, match=r"journal is a file; give a folder"):
        look(journal=path)
    assert path.read_text() == "mine"
