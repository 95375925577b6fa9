"""The examples, run as a user runs them."""

import json
import re
import runpy
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from PIL import Image, ImageSequence
from scripts import ROOT, run, run_here

import minidl
from minidl import Sequential, Trainer
from minidl.data import center_digit, load_mnist
from minidl.data.augment import Translation
from minidl.errors import ArgumentError
from minidl.prediction import AugmentedPrediction


@pytest.fixture(scope="module")
def trained(mnist_folder, tmp_path_factory):
    output = tmp_path_factory.mktemp("runs") / "new" / "folder"
    options = ["--network", "784-10-10", "--network", "784-32-16-10", "--epochs", 30, "--batch-size", 16]
    options += ["--learning-rate", 0.05, "--output", output]
    result = run("examples/mnist_mlp", "--data", mnist_folder, *options)
    assert result.returncode == 0, result.stderr
    return result.stdout, output


def test_a_run_ends_with_the_table_and_the_confusion_matrices(trained):
    out, output = trained
    lines = [line.split() for line in out.splitlines()]
    table = lines.index(["network", "parameters", "seconds", "loss", "accuracy", "accuracy"])
    assert lines[table - 1] == ["train", "validation"]
    report = json.loads((output / "report.json").read_text())
    for line, entry, parameters in zip(lines[table + 1 : table + 3], report, ("7,960", "25,818"), strict=True):
        assert line[:2] == [entry["network"], parameters]
        assert line[3] == f"{entry['history']['loss'][-1]:.4f}"
        assert line[4] == f"{entry['history']['accuracy'][-1]:.2%}"
        assert line[5] == f"{entry['validation']['accuracy']:.2%}"
    for entry in report:
        first = entry["confusion_matrix"][0]
        assert ["0", *(str(count or ".") for count in first)] in lines


def test_the_table_fits_80_columns_also_with_large_networks_and_losses():
    entry = {"network": "784-1024-1024-1024-512-10", "parameters": 12_345_678, "kept_epoch": 1, "epochs": 1}
    entry |= {"seconds": 99_999.9, "history": {"loss": [1e300], "accuracy": [1.0]}, "stopped_early": False}
    entry |= {"evaluated_on": "validation", "validation": {"accuracy": 1.0}}
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(ROOT / "examples")
        table = runpy.run_path(str(ROOT / "examples" / "mnist_training.py"))["table"]
    lines = table([entry, entry | {"network": "784-10", "evaluated_on": "validation"}]).splitlines()
    assert len(lines) == 4
    assert max(map(len, lines)) <= 80
    assert lines[2].split() == [entry["network"], "12,345,678", "99999.9", "1.0e+300", "100.00%", "100.00%"]


def test_the_report_holds_what_was_measured(trained, mnist_folder):
    _, output = trained
    report = json.loads((output / "report.json").read_text())
    assert [entry["network"] for entry in report] == ["784-10-10", "784-32-16-10"]
    for entry, held_out in zip(report, (1000, 288), strict=True):
        assert str(mnist_folder) in entry["data"]
        assert (entry["train_rows"], entry["validation_rows"]) == (1437 - held_out, held_out)
        assert entry["seconds"] > 0
        assert entry["history"].keys() == {"loss", "accuracy", "val_loss", "val_accuracy"}
        assert all(len(column) == 30 for column in entry["history"].values())
        matrix = np.array(entry["confusion_matrix"])
        assert matrix.shape == (10, 10)
        assert matrix.sum() == held_out
        assert matrix.trace() / held_out == pytest.approx(entry["validation"]["accuracy"])
        assert entry["validation"]["loss"] == pytest.approx(entry["history"]["val_loss"][-1])
    assert report[1]["validation"]["accuracy"] > 0.9


def test_a_run_leaves_models_and_pictures(trained, mnist_folder):
    _, output = trained
    names = {path.name for path in output.iterdir()}
    pictures = {f"{{}}_{kind}.png" for kind in ("curves", "confusion", "mistakes", "weights")}
    for network in ("784-10-10", "784-32-16-10"):
        assert {f"{network}.npz", *(name.format(network) for name in pictures)} <= names
    model = Sequential.load(output / "784-32-16-10.npz")
    data = load_mnist(mnist_folder)
    assert (model.predict(data.x_test) == data.y_test).mean() > 0.8


def test_the_same_command_twice_gives_the_same_bits(mnist_folder, tmp_path):
    options = ["--network", "784-10-10", "--epochs", 3, "--optimizer", "adam", "--batch-size", 32]
    for name, runner in (("a", run), ("b", run_here)):
        result = runner("examples/mnist_mlp", "--data", mnist_folder, *options, "--output", tmp_path / name)
        assert result.returncode == 0, result.stderr
    models = [(tmp_path / name / "784-10-10.npz").read_bytes() for name in ("a", "b")]
    assert models[0] == models[1]
    histories = [json.loads((tmp_path / name / "report.json").read_text())[0]["history"] for name in ("a", "b")]
    assert histories[0] == histories[1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--network", "784"], "'784' is not a network: give sizes joined by '-'"),
        (["--network", "784-x-10"], "is not a network"),
        (["--network", "100-10"], "the network 100-10 does not fit the data: they have 784 pixels and labels 0 to 9"),
        (["--network", "100-8-10"], "labels 0 to 9; give 784-8-10"),
        (["--network", "784-9"], "the network 784-9 does not fit the data"),
        (["--optimizer", "sdg"], "invalid choice: 'sdg'"),
        (["--initializer", "he_norma"], "did you mean 'he_normal'?"),
        (["--batch-size", "0"], "'0' is not a number of rows of 1 or more"),
        (["--validation", "half"], "not a fraction"),
        (["--validation", "0"], "'0' holds out no rows to evaluate networks on"),
        (["--validation", "0.0"], "'0.0' holds out no rows"),
        (["--validation", "1.5"], "'1.5' is neither a fraction between 0 and 1"),
        (["--validation", "nan"], "'nan' is neither a fraction"),
        (["--validation", "1500"], "cannot hold out 1,500 of 1,437 rows with every digit on both sides"),
        (["--validation", "3"], "cannot hold out 3 of 1,437 rows with every digit on both sides"),
        (["--epochs", "0"], "argument --epochs: '0' is not a number of epochs of 1 or more"),
        (["--epochs", "-3"], "argument --epochs: '-3' is not a number of epochs of 1 or more"),
        (["--learning-rate", "-1"], "'-1' does not fit: give a number above 0"),
        (["--learning-rate", "inf"], "'inf' does not fit: give a number above 0"),
        (["--dropout", "1"], "argument --dropout: '1' does not fit: give a number from 0 to below 1"),
        (["--l2", "-1"], "argument --l2: '-1' does not fit: give a number of 0 or more"),
        (["--early-stopping", "0"], "'0' is not a number of epochs of 1 or more"),
        (
            ["--optimizer", "lbfgs", "--learning-rate", "0.1"],
            "--learning-rate 0.1: lbfgs chooses the length of its steps",
        ),
        (
            ["--optimizer", "lbfgs", "--schedule", "cosine"],
            "--schedule cosine: lbfgs has no learning rate: leave it out",
        ),
        (["--optimizer", "lbfgs", "--batch-size", "64"], "--batch-size 64: lbfgs takes all rows in each step"),
        (["--optimizer", "lbfgs", "--batch-size", "64"], "leave it out, or give --batch-size full"),
        (["--optimizer", "lbfgs", "--dropout", "0.2"], "--dropout 0.2: lbfgs needs the same loss at each evaluation"),
        (["--optimizer", "lbfgs", "--max-norm", "3"], "--max-norm 3.0: lbfgs cannot limit weights"),
        (["--network", "784-10", "--dropout", "0.2"], "--dropout 0.2: 784-10 has no hidden layer: remove the option"),
        (["--network", "784-10", "--normalization", "batch"], "--normalization batch: 784-10 has no hidden layer"),
        (["--recipe", "fast", "--optimizer", "sgd"], "--optimizer: leave out with --recipe fast"),
        (["--output", __file__], "argument --output: "),
        (["--output", __file__], "test_examples.py is a file: give a folder"),
        (["--seed", "-1"], "'-1' is not a seed"),
        (["--rows", "0"], "'0' is not a number of rows"),
        (["--data", "/nowhere"], "/nowhere"),
    ],
)
def test_a_wrong_option_is_one_plain_line_and_leaves_nothing(mnist_folder, tmp_path, arguments, message):
    result = run_here("examples/mnist_mlp", "--data", mnist_folder, "--output", tmp_path / "out", *arguments)
    assert result.returncode != 0
    assert message in result.stderr
    assert result.stderr.count("\n") == 1
    assert not (tmp_path / "out" / "report.json").exists()


@pytest.mark.parametrize(
    "options", [["--network", "784-10"], ["--network", "784-10", "--validation", 20], ["--recipe", "fast"]]
)
def test_too_few_rows_to_hold_some_out_are_answered_with_what_the_command_can_change(tmp_path, options):
    digits = [0, *(1 + np.arange(49) % 9)]
    table = np.column_stack([digits, np.random.default_rng(0).integers(0, 256, (50, 784))])
    header = ",".join(["label", *(f"pixel{index}" for index in range(784))])
    np.savetxt(tmp_path / "few.csv", table, fmt="%d", delimiter=",", header=header, comments="")
    result = run_here("examples/mnist_mlp", "--data", tmp_path / "few.csv", "--output", tmp_path / "out", *options)
    assert result.returncode != 0
    assert "with every digit on both sides, as the rarest is in 1 of them: give more rows, or" in result.stderr
    assert ("--validation" in result.stderr) == ("--recipe" not in options)
    assert "stratify" not in result.stderr
    assert "validation_size" not in result.stderr


def test_a_digit_is_predicted_shown_and_saved(trained, mnist_folder, tmp_path):
    _, output = trained
    model = output / "784-32-16-10.npz"
    shown = run_here("examples/predict_digit", model, "--data", mnist_folder, "--index", 3)
    data = load_mnist(mnist_folder)
    probabilities = Sequential.load(model).predict_proba(data.x_test[3:4])[0]
    truth, prediction = int(data.y_test[3]), int(probabilities.argmax())
    verdict = "right" if truth == prediction else "wrong"
    assert f"prediction {prediction}   confidence {probabilities.max():.1%}   label {truth} ({verdict})" in shown.stdout
    assert "@" in shown.stdout
    saved = run_here(
        "examples/predict_digit", model, "--data", mnist_folder, "--index", 3, "--save", tmp_path / "digit.png"
    )
    assert saved.returncode == 0, saved.stderr
    assert (tmp_path / "digit.png").read_bytes().startswith(b"\x89PNG")
    assert "@" not in saved.stdout


def test_a_digit_of_a_csv_file_without_labels_is_predicted(trained, mnist_folder, tmp_path):
    _, output = trained
    pixels = load_mnist(mnist_folder).x_test[:2]
    header = ",".join(f"pixel{index}" for index in range(784))
    np.savetxt(tmp_path / "test.csv", pixels, fmt="%d", delimiter=",", header=header, comments="")
    result = run_here(
        "examples/predict_digit", output / "784-32-16-10.npz", "--data", tmp_path / "test.csv", "--index", 1
    )
    assert "label unknown" in result.stdout, result.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nothing.npz"], "there is no file"),
        (["{model}", "--index", "360"], "--index 360: there are 360 images, 0 to 359"),
        (["{model}", "--index", "-1"], "--index -1"),
        (["{model}", "--data", "/nowhere"], "/nowhere"),
        (["{model}", "--save", "no/such/digit.png"], "is not a .png file in an existing folder"),
        (["{model}", "--save", "digit.xyz"], "is not a .png file"),
    ],
)
def test_a_wrong_digit_or_file_is_one_plain_line(trained, mnist_folder, arguments, message):
    _, output = trained
    given = [argument.format(model=output / "784-10-10.npz") for argument in arguments]
    result = run_here("examples/predict_digit", *([] if "--data" in given else ["--data", mnist_folder]), *given)
    assert result.returncode != 0
    assert message in result.stderr
    assert "Traceback" not in result.stderr


def photographed(folder, digits, monkeypatch):
    """Photographs of digits in files, and what is on each."""
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    from drawn_digits import draw_digit

    rng = np.random.default_rng(0)
    paths = [folder / f"{place}.jpg" for place in range(len(digits))]
    for path, digit in zip(paths, digits, strict=True):
        path.write_bytes(draw_digit(digit, rng).jpeg)
    return paths


def test_photographs_are_shown_as_the_network_sees_them_with_a_table(trained, tmp_path, monkeypatch):
    model = trained[1] / "784-32-16-10.npz"
    paths = photographed(tmp_path, [3, 8, 1], monkeypatch)
    seen = np.stack([center_digit(Image.open(path).convert("L")) for path in paths])
    probabilities = Sequential.load(model).predict_proba(seen.reshape(3, 784))
    shown = run_here("examples/predict_digit", model, *paths)
    assert shown.returncode == 0, shown.stderr
    *_, header, first, second, third = shown.stdout.splitlines()
    assert header.split() == ["photograph", "prediction", "confidence", "second", "guess"]
    for line, path, chances in zip((first, second, third), paths, probabilities, strict=True):
        best, next_best = np.argsort(chances)[:-3:-1]
        ends = [f"{chances[best]:.1%}", str(next_best), f"({chances[next_best]:.1%})"]
        assert line.split() == [path.name, str(best), *ends]
        assert str(path) in shown.stdout
    assert shown.stdout.count("@@") > 30
    seen = tmp_path / "seen.png"
    for arguments in ([model, tmp_path, "--save", seen], [model, "--save", seen, *paths]):
        saved = run_here("examples/predict_digit", *arguments)
        assert saved.returncode == 0, saved.stderr
        assert saved.stdout.splitlines()[1:] == [header, first, second, third]
        assert seen.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["{folder}/notes.txt"], "notes.txt is not an image that can be read"),
        (
            ["{folder}/0.jpg", "{folder}/empty.png"],
            "empty.png: the image is empty: no digit differs clearly from its paper",
        ),
        (["{folder}/0.jpg", "--index", "3"], "--data and --index choose a digit of a data set"),
        (["{folder}/nowhere.jpg"], "nowhere.jpg does not exist"),
    ],
)
def test_a_photograph_that_cannot_be_read_is_one_plain_line(trained, tmp_path, monkeypatch, arguments, message):
    photographed(tmp_path, [7], monkeypatch)
    (tmp_path / "notes.txt").write_text("a seven")
    Image.new("L", (400, 300), 200).save(tmp_path / "empty.png")
    given = [argument.format(folder=tmp_path) for argument in arguments]
    result = run_here("examples/predict_digit", trained[1] / "784-10-10.npz", *given)
    assert result.returncode != 0
    assert message in result.stderr
    assert result.stderr.count("\n") == 1


def test_photographs_need_a_model_of_28_by_28_pixels(tmp_path, monkeypatch):
    minidl.Sequential([minidl.Dense(10), minidl.SoftmaxCrossEntropy()], input_shape=64).save(tmp_path / "small.npz")
    result = run_here("examples/predict_digit", tmp_path / "small.npz", *photographed(tmp_path, [7], monkeypatch))
    assert "the model takes (64,), not MNIST's 28 x 28 pixels: train it on MNIST" in result.stderr


@pytest.fixture(scope="module")
def regressed(tmp_path_factory):
    output = tmp_path_factory.mktemp("runs") / "regression"
    result = run_here("examples/regression", "--folds", 3, "--seeds", 2, "--epochs", 15, "--output", output)
    assert result.returncode == 0, result.stderr
    return result.stdout, output


def test_the_regression_is_compared_with_ridge_on_the_same_folds(regressed):
    out, output = regressed
    report = json.loads((output / "report.json").read_text())
    assert len(report["histories"]) == 6
    ours, theirs = report["figures"]["10-32-16-1"], report["figures"]["ridge"]
    for figure in ("R^2", "mean absolute error"):
        assert len(ours[figure]) == len(theirs[figure]) == 6
        for values in (ours[figure], theirs[figure], np.subtract(ours[figure], theirs[figure])):
            assert f"{np.mean(values):.3f} +- {np.std(values, ddof=1):.3f}" in out
    # What the network reports is measured on the rows held out; ridge is the linear model of textbooks on these data.
    assert ours["mean absolute error"] == pytest.approx(
        [history["val_mean_absolute_error"][-1] for history in report["histories"]], rel=1e-4
    )
    assert 0.4 < np.mean(theirs["R^2"]) < 0.55
    assert 0.3 < np.mean(ours["R^2"]) < 0.55


def test_the_regression_says_which_rows_each_r2_is_of(regressed, monkeypatch, tmp_path):
    from matplotlib.figure import Figure

    out, _ = regressed
    assert "6 runs (3 folds, 2 seeds). Each run is evaluated on its held-out rows" in out
    assert "predictions.png shows the R^2 of all 442 patients together, from the first seed's runs" in out
    titles = []
    monkeypatch.setattr(Figure, "savefig", lambda self, path: titles.append(self.get_suptitle()))
    assert (
        run_here("examples/regression", "--folds", 2, "--seeds", 1, "--epochs", 1, "--output", tmp_path).returncode == 0
    )
    assert titles == ["10-32-16-1: 2 runs", "all 442 patients, each predicted by the run of seed 0 that held it out"]


def test_the_regression_leaves_pictures(regressed):
    _, output = regressed
    for name in ("curves.png", "predictions.png"):
        assert (output / name).read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--network", "10"], "'10' is not a network: give sizes joined by '-'"),
        (
            ["--network", "9-8-1"],
            "9 inputs and 1 output, but the data have 10 measurements and one progression: give 10-8-1",
        ),
        (["--network", "10-8-2"], "10 inputs and 2 outputs, but the data have 10 measurements"),
        (["--epochs", "0"], "argument --epochs: '0' is not a whole number of 1 or more"),
        (["--epochs", "-3"], "'-3' is not a whole number of 1 or more"),
        (["--folds", "1"], "'1' is not a whole number of 2 or more"),
        (["--folds", "222"], "--folds 222: R^2 needs two patients in each fold: give at most 221"),
        (["--seeds", "0"], "argument --seeds: '0' is not a whole number"),
        (["--jobs", "0"], "'0' is not a number of processes: give 1 or more, or -1"),
        (["--jobs", "-2"], "'-2' is not a number of processes"),
        (["--learning-rate", "-1"], "'-1' does not fit: give a number above 0"),
        (["--batch-size", "x"], "'x' is not a whole number of 1 or more"),
        (["--output", __file__], "test_examples.py is a file: give a folder"),
    ],
)
def test_a_wrong_option_of_the_regression_is_one_plain_line(tmp_path, arguments, message):
    result = run_here("examples/regression", "--output", tmp_path / "out", *arguments)
    assert result.returncode != 0
    assert message in result.stderr
    assert result.stderr.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_the_spirals_are_told_apart_and_the_animation_shows_how(tmp_path):
    result = run_here("examples/spirals", "--frames", 4, "--speed", 5, "--epochs", 60, "--output", tmp_path)
    assert result.returncode == 0, result.stderr
    held_out = re.search(r"2-32-32-3 after 60 epochs: .* and ([0-9.]+)% on the held-out rows", result.stdout)
    assert float(held_out[1]) > 95
    with Image.open(tmp_path / "spirals.gif") as animation:
        durations = []
        for frame in ImageSequence.Iterator(animation):
            durations.append(frame.info["duration"])
    assert durations == [200, 200, 200, 200, 2000]
    assert {path.name for path in tmp_path.iterdir()} == {"spirals.gif", "spirals.png"}


def test_two_spirals_can_be_had_as_pictures(tmp_path):
    options = ["--arms", 2, "--network", "2-8-2", "--format", "png", "--frames", 2, "--epochs", 2]
    result = run_here("examples/spirals", *options, "--output", tmp_path / "new" / "folder")
    assert result.returncode == 0, result.stderr
    folder = tmp_path / "new" / "folder"
    assert {path.name for path in folder.iterdir()} == {
        "frame_000.png",
        "frame_001.png",
        "frame_002.png",
        "spirals.png",
    }

    (folder / "frame_of_my_own.png").touch()
    assert run_here("examples/spirals", *options, "--frames", 1, "--output", folder).returncode == 0
    assert {path.name for path in folder.iterdir()} == {
        "frame_000.png",  # and no older ones beside the new
        "frame_001.png",
        "frame_of_my_own.png",
        "spirals.png",
    }


def test_interrupted_spirals_promise_no_pictures_that_there_are_not(tmp_path, monkeypatch):
    def press_ctrl_c(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("minidl.data.train_validation_split", press_ctrl_c)
        early = run_here("examples/spirals", "--output", tmp_path)
    assert early.stderr == "interrupted: before the first picture\n"
    assert not list(tmp_path.iterdir())
    monkeypatch.setattr("minidl.Trainer._run_epoch", press_ctrl_c)
    late = run_here("examples/spirals", "--output", tmp_path)
    assert late.stderr.endswith("interrupted: the pictures show the training up to this point\n")
    assert (tmp_path / "spirals.png").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--arms", "1"], "'1' is not a whole number of 2 or more"),
        (["--network", "2-x"], "'2-x' is not a network"),
        (["--network", "2-8-2"], "--network 2-8-2 has 2 outputs, but there are 3 spirals: give 2-8-3, or --arms 2"),
        (["--network", "2-8-1"], "has 1 output, but there are 3 spirals: give 2-8-3\n"),
        (["--network", "3-8-3"], "--network 3-8-3 has 3 inputs, but a point has 2 coordinates: give 2-8-3"),
        (["--noise", "-1"], "'-1' does not fit: give a number of 0 or more"),
        (["--noise", "nan"], "'nan' does not fit"),
        (["--noise", "much"], "'much' does not fit"),
        (["--format", "mp4"], "invalid choice: 'mp4'"),
        (["--learning-rate", "0"], "'0' does not fit: give a number above 0"),
        (["--output", f"{__file__}/new"], "test_examples.py is a file: give a folder"),
        (["--frames", "0"], "'0' is not a whole number of 1 or more"),
    ],
)
def test_a_wrong_option_of_the_spirals_is_one_plain_line(tmp_path, arguments, message):
    result = run_here("examples/spirals", "--output", tmp_path / "out", *arguments)
    assert result.returncode != 0
    assert message in result.stderr
    assert result.stderr.count("\n") == 1
    assert not list(tmp_path.rglob("spirals.*"))


@pytest.mark.parametrize("name", ["mnist_cnn", "mnist_mlp", "predict_digit", "regression", "spirals"])
def test_each_example_has_help(name):
    result = run_here(f"examples/{name}", "--help")
    assert result.returncode == 0
    assert f"python examples/{name}.py" in result.stdout


def test_a_killed_run_is_resumed_to_the_same_model(mnist_folder, tmp_path):
    options = ["--data", mnist_folder, "--network", "784-16-10", "--optimizer", "adamw", "--schedule", "one-cycle"]
    options += ["--normalization", "batch", "--dropout", 0.2, "--l2", 1e-5, "--max-norm", 3, "--label-smoothing", 0.1]
    options += ["--epochs", 40, "--early-stopping", 30, "--learning-rate", 0.01]
    assert run_here("examples/mnist_mlp", *options, "--output", tmp_path / "whole").returncode == 0

    command = [sys.executable, ROOT / "examples" / "mnist_mlp.py", *options, "--output", tmp_path / "killed"]
    process = subprocess.Popen(list(map(str, command)), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while not list((tmp_path / "killed").glob("*_checkpoints/step_*.npz")) and process.poll() is None:
        time.sleep(0.001)
    process.kill()
    assert process.wait() != 0
    assert not (tmp_path / "killed" / "784-16-10.npz").exists()

    anew = run_here("examples/mnist_mlp", *options, "--output", tmp_path / "killed")
    assert "contains a stopped run: add --resume to continue it" in anew.stderr
    other = run_here("examples/mnist_mlp", *options, "--seed", 1, "--output", tmp_path / "killed", "--resume")
    assert "had --seed 0: resume it with the options it had" in other.stderr
    fewer = run_here("examples/mnist_mlp", *options, "--rows", 1000, "--output", tmp_path / "killed", "--resume")
    assert "had --rows 42000 and other --data" in fewer.stderr
    longer = run_here("examples/mnist_mlp", *options, "--epochs", 50, "--output", tmp_path / "killed", "--resume")
    assert "had --epochs 40: resume it with the options it had" in longer.stderr  # on which one-cycle depends
    stopped = Trainer.load(tmp_path / "killed" / "784-16-10_checkpoints")
    ((_, watched),) = [each for each in stopped.callback_states if each[0] == "Stopwatch"]
    assert 0 < watched["seconds"] < 600
    watched["seconds"] += 1000
    stopped.save(tmp_path / "killed" / "784-16-10_checkpoints" / f"step_{stopped.step:010}.npz")
    resumed = run_here("examples/mnist_mlp", *options, "--output", tmp_path / "killed", "--resume")
    assert resumed.returncode == 0, resumed.stderr
    assert re.search(r"resumed after \d+ of 40 epochs, at step \d+", resumed.stdout)
    (entry,) = json.loads((tmp_path / "killed" / "report.json").read_text())
    assert 1000 < watched["seconds"] < entry["seconds"] < 1600  # those before the stop, and those after it
    assert f" {entry['seconds']:.1f} " in resumed.stdout
    assert not list((tmp_path / "killed").glob("*_checkpoints"))
    models = [(tmp_path / name / "784-16-10.npz").read_bytes() for name in ("whole", "killed")]
    assert models[0] == models[1]
    histories = [json.loads((tmp_path / n / "report.json").read_text())[0]["history"] for n in ("whole", "killed")]
    assert histories[0] == histories[1]


@pytest.mark.parametrize("optimizer", ["lbfgs", "lion"])
def test_other_optimizers_run_with_settings_that_suit_them(mnist_folder, tmp_path, optimizer):
    options = ["--network", "784-16-10", "--optimizer", optimizer, "--epochs", 10, "--normalization", "layer"]
    result = run_here("examples/mnist_mlp", "--data", mnist_folder, *options, "--output", tmp_path)
    assert result.returncode == 0, result.stderr
    report = json.loads((tmp_path / "report.json").read_text())[0]
    assert report["history"]["loss"][-1] < report["history"]["loss"][0]
    assert (report["batch_size"] is None) == (optimizer == "lbfgs")


def idx_folder(folder, x_train, y_train, x_test, y_test):
    folder.mkdir()
    for name, array in {
        "train-images-idx3-ubyte": x_train,
        "train-labels-idx1-ubyte": y_train,
        "t10k-images-idx3-ubyte": x_test,
        "t10k-labels-idx1-ubyte": y_test,
    }.items():
        header = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes()
        (folder / name).write_bytes(header + array.astype(np.uint8).tobytes())
    return folder


def test_a_recipe_trains_on_all_training_images_and_is_evaluated_on_the_test_images(mnist_folder, tmp_path):
    data = load_mnist(mnist_folder)
    result = run_here(
        "examples/mnist_mlp", "--recipe", "best", "--epochs", 3, "--data", mnist_folder, "--output", tmp_path / "run"
    )
    assert result.returncode == 0, result.stderr
    (entry,) = json.loads((tmp_path / "run" / "report.json").read_text())
    assert (entry["recipe"], entry["network"], entry["train_rows"]) == ("best", "784-128-64-10", len(data.y_train))
    assert entry["history"].keys() == {"loss", "accuracy"}  # the test images have no part in the training
    model = Sequential.load(tmp_path / "run" / "784-128-64-10.npz")
    right = (model.predict(data.x_test) == data.y_test).mean()
    assert entry["test"]["accuracy"] == pytest.approx(right)
    assert f"{right:.2%}" in result.stdout
    assert re.search(r" train +test\nnetwork .* accuracy +accuracy\n784-128-64-10 ", result.stdout)
    assert "Rotation(" in entry["augment"]


def test_a_recipe_runs_on_other_images_with_other_classes(tmp_path):
    rng = np.random.default_rng(0)
    y = np.arange(600) % 12
    x = rng.integers(0, 60, (600, 28, 28)) + 150 * (np.arange(28) // 2 == y[:, None])[:, None, :]
    folder = idx_folder(tmp_path / "letters", x[:500], y[:500], x[500:], y[500:])
    result = run_here("examples/mnist_mlp", "--recipe", "fast", "--data", folder, "--output", tmp_path / "run")
    assert result.returncode == 0, result.stderr
    (entry,) = json.loads((tmp_path / "run" / "report.json").read_text())
    assert entry["network"].endswith("-12")
    assert entry["data"] == f"IDX folder {folder}"
    assert (entry["train_rows"], entry["test_rows"], np.shape(entry["confusion_matrix"])) == (500, 100, (12, 12))


def test_a_recipe_holds_rows_out_where_there_are_no_test_images(mnist_folder, tmp_path):
    data = load_mnist(mnist_folder)
    table = np.column_stack([data.y_train[:350], data.x_train[:350]])
    header = ",".join(["label", *(f"pixel{index}" for index in range(784))])
    np.savetxt(tmp_path / "train.csv", table, fmt="%d", delimiter=",", header=header, comments="")
    options = ["--recipe", "fast", "--epochs", 1, "--data", tmp_path / "train.csv"]
    result = run_here("examples/mnist_mlp", *options, "--output", tmp_path / "run")
    assert result.returncode == 0, result.stderr
    assert "the data have no test images: 50 of 350 rows are held out instead" in result.stdout
    (entry,) = json.loads((tmp_path / "run" / "report.json").read_text())
    assert (entry["evaluated_on"], entry["train_rows"], entry["held-out_rows"]) == ("held-out", 300, 50)
    assert re.search(r" train +held-out\nnetwork .* accuracy +accuracy\n784-128-64-10 ", result.stdout)


def test_a_recipe_takes_no_options_that_it_sets(mnist_folder, tmp_path):
    options = ["--recipe", "best", "--l2", 0.1, "--network", "784-10", "--output", tmp_path / "run"]
    result = run_here("examples/mnist_mlp", "--data", mnist_folder, *options)
    assert result.returncode != 0
    assert "--l2, --network: leave out with --recipe best, which sets this itself" in result.stderr
    assert not (tmp_path / "run").exists()


@pytest.fixture
def ctrl_c_at(monkeypatch):
    """Press Ctrl-C before the first, or after a later step of the network of so many parameters."""

    def at(step, parameters, moment="on_batch_end"):
        own = getattr(minidl.Checkpoint, moment)

        def press(self, trainer):
            own(self, trainer)
            if trainer.model.parameters.size == parameters and trainer.step == step:
                signal.raise_signal(signal.SIGINT)

        monkeypatch.setattr(minidl.Checkpoint, moment, press)

    return at


TINY, SMALL = "784-2-10", "784-4-10"
TINY_PARAMETERS, SMALL_PARAMETERS = 784 * 2 + 2 + 2 * 10 + 10, 784 * 4 + 4 + 4 * 10 + 10


def train(mnist_folder, output, *options, pictures=False):
    """Run the example; without pictures, as where there is no matplotlib, which is faster."""
    with pytest.MonkeyPatch.context() as patch:
        if not pictures:
            patch.setitem(sys.modules, "matplotlib", None)
        return run_here("examples/mnist_mlp", "--data", mnist_folder, "--output", output, *options)


def test_without_matplotlib_there_are_no_pictures_but_all_else(mnist_folder, tmp_path):
    result = train(mnist_folder, tmp_path, "--network", TINY, "--epochs", 1)
    assert result.returncode == 0
    assert "no pictures: they need matplotlib, pip install -e '.[plots]'" in result.stderr
    assert {path.name for path in tmp_path.iterdir()} == {f"{TINY}.npz", "report.json", "settings.json"}


def test_a_network_that_is_named_twice_is_trained_once(mnist_folder, tmp_path):
    result = train(mnist_folder, tmp_path, "--network", TINY, "--network", TINY, "--epochs", 1)
    assert result.returncode == 0, result.stderr
    assert len(json.loads((tmp_path / "report.json").read_text())) == 1


@pytest.mark.parametrize(
    ("options", "batch_size", "epochs", "held_out"),
    [
        (["--network", "784-10-10"], None, 500, 1000),
        (["--network", "784-64-10"], None, 500, 1000),
        (["--network", "784-128-64-10"], 64, 20, 288),
        (["--network", "784-10-10", "--optimizer", "adam"], 64, 20, 288),
        (["--network", "784-10-10", "--optimizer", "momentum"], 64, 20, 288),
        (["--network", "784-10-10", "--optimizer", "lbfgs"], None, 100, 288),
        (["--network", "784-128-64-10", "--optimizer", "lbfgs"], None, 100, 288),
        (["--network", "784-10-10", "--optimizer", "adam", "--batch-size", "full"], None, 20, 288),
        (["--network", "784-10-10", "--batch-size", "32", "--epochs", "7", "--validation", "200"], 32, 7, 200),
    ],
)
def test_full_batches_are_for_those_that_make_something_of_them(
    mnist_folder, tmp_path, monkeypatch, options, batch_size, epochs, held_out
):
    def see(self, x, y, *, epochs, validation_data, callbacks):
        seen.update(batch_size=self.batch_size, epochs=epochs, held_out=len(validation_data[1]))
        raise ArgumentError("seen")

    seen = {}
    monkeypatch.setattr(Trainer, "fit", see)
    assert "error: seen" in train(mnist_folder, tmp_path, *options).stderr
    assert seen == {"batch_size": batch_size, "epochs": epochs, "held_out": held_out}


def test_adam_learns_with_every_network_in_the_epochs_that_it_is_given(mnist_folder, tmp_path):
    options = ["--network", "784-10-10", "--optimizer", "adam", "--epochs", 40]
    result = train(mnist_folder, tmp_path, *options)
    assert "40 epochs, batches of 64" in result.stdout
    (entry,) = json.loads((tmp_path / "report.json").read_text())
    assert entry["validation"]["accuracy"] > 0.8


def test_a_run_that_is_complete_is_not_trained_again(mnist_folder, tmp_path):
    options = ["--network", TINY, "--network", SMALL, "--epochs", 2]
    first = train(mnist_folder, tmp_path, *options)
    files = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir() if path.name != "settings.json"}
    again = train(mnist_folder, tmp_path, *options, "--resume")
    assert again.returncode == 0, again.stderr
    assert f"the run in {tmp_path} is complete: nothing is left to train" in again.stdout
    assert "rows to train" not in again.stdout
    assert files == {path: path.stat().st_mtime_ns for path in tmp_path.iterdir() if path.name != "settings.json"}
    table = first.stdout[first.stdout.index("784-2-10: rows are true digits") : first.stdout.index("\nmodels")]
    assert table in again.stdout

    other = train(mnist_folder, tmp_path, "--network", TINY, "--epochs", 2, "--resume")
    assert "had --network 784-2-10 --network 784-4-10: resume it with the options it had" in other.stderr
    longer = train(mnist_folder, tmp_path, *options, "--epochs", 3, "--resume")
    assert "had --epochs 2, and trained 784-2-10 and 784-4-10 with it" in longer.stderr
    left = tmp_path / f"{TINY}_checkpoints"  # of a run that was killed when all was done, but this deletion
    left.mkdir()
    (left / "step_0000000036.npz").touch()
    anew = train(mnist_folder, tmp_path, "--network", TINY, "--epochs", 1)
    assert anew.returncode == 0, anew.stderr
    assert len(json.loads((tmp_path / "report.json").read_text())) == 1


def test_each_network_gets_a_page_also_when_it_was_trained_before(mnist_folder, tmp_path):
    options = ["--network", TINY, "--network", SMALL, "--epochs", 1]
    first = train(mnist_folder, tmp_path, *options)
    assert not list(tmp_path.glob("*.html"))
    assert first.returncode == 0, first.stderr
    again = train(mnist_folder, tmp_path, *options, "--resume", "--page")
    assert again.returncode == 0, again.stderr
    for network in (TINY, SMALL):
        path = tmp_path / f"{network}.html"
        assert f"open in a browser: {path}\n" in again.stdout
        assert f"<title>Draw a digit for {network}</title>" in path.read_text(encoding="utf-8")


def test_where_there_is_nothing_to_resume_the_run_begins(mnist_folder, tmp_path):
    result = train(mnist_folder, tmp_path / "new", "--network", TINY, "--epochs", 1, "--resume")
    assert result.returncode == 0, result.stderr
    assert "there is nothing to resume" in result.stdout


def test_what_is_complete_stays_where_a_later_network_was_stopped(mnist_folder, tmp_path, ctrl_c_at, monkeypatch):
    options = ["--network", TINY, "--network", SMALL, "--epochs", 3, "--optimizer", "adam"]
    assert train(mnist_folder, tmp_path / "whole", *options).returncode == 0
    output = tmp_path / "stopped"
    ctrl_c_at(20, SMALL_PARAMETERS)
    stopped = train(mnist_folder, output, *options)
    assert stopped.stderr.endswith("interrupted: run the same command with --resume to continue\n")
    monkeypatch.undo()
    model, report = output / f"{TINY}.npz", json.loads((output / "report.json").read_text())
    changed = model.stat().st_mtime_ns

    anew = train(mnist_folder, output, *options)
    assert "contains a stopped run: add --resume" in anew.stderr
    longer = train(mnist_folder, output, *options, "--epochs", 4, "--resume")
    assert "had --epochs 3, and trained 784-2-10 with it" in longer.stderr
    resumed = train(mnist_folder, output, *options, "--resume")
    assert resumed.returncode == 0, resumed.stderr
    assert f"\n{TINY}: 1" not in resumed.stdout
    assert "resumed after 1 of 3 epochs, at step 20" in resumed.stdout
    assert model.stat().st_mtime_ns == changed
    first, second = json.loads((output / "report.json").read_text())
    assert [first] == report
    assert second["network"] == SMALL
    for network in (TINY, SMALL):
        assert (output / f"{network}.npz").read_bytes() == (tmp_path / "whole" / f"{network}.npz").read_bytes()
    assert not list(output.glob("*_checkpoints"))


def test_a_stopped_run_with_a_constant_rate_can_be_made_longer(mnist_folder, tmp_path, ctrl_c_at, monkeypatch):
    options = ["--network", TINY, "--optimizer", "adam"]
    assert train(mnist_folder, tmp_path / "whole", *options, "--epochs", 5).returncode == 0
    output = tmp_path / "stopped"
    ctrl_c_at(40, TINY_PARAMETERS)
    assert train(mnist_folder, output, *options, "--epochs", 3).returncode != 0
    monkeypatch.undo()
    forgotten = train(mnist_folder, output, *options, "--resume")
    assert "had --epochs 3: resume it with the options it had" in forgotten.stderr
    shorter = train(mnist_folder, output, *options, "--epochs", 2, "--resume")
    assert f"{TINY} was stopped in epoch 3: give --epochs 3 or more" in shorter.stderr
    longer = train(mnist_folder, output, *options, "--epochs", 5, "--resume")
    assert longer.returncode == 0, longer.stderr
    assert "resumed after 2 of 5 epochs" in longer.stdout
    assert (output / f"{TINY}.npz").read_bytes() == (tmp_path / "whole" / f"{TINY}.npz").read_bytes()


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ("minidl.data.load_mnist", "before the run began"),
        ("minidl.Trainer._run_epoch", "nothing of this run is saved yet"),
        ("minidl.plots.plot_mistakes", "run the same command with --resume to continue"),
    ],
)
def test_after_ctrl_c_the_message_says_what_there_is_to_go_on_with(mnist_folder, tmp_path, monkeypatch, place, message):
    def press_ctrl_c(*_, **__):
        raise KeyboardInterrupt

    options = ["--network", TINY, "--epochs", 2]
    with monkeypatch.context() as patch:
        patch.setattr(place, press_ctrl_c)
        stopped = train(mnist_folder, tmp_path, *options, pictures="plots" in place)
    assert stopped.returncode != 0
    assert stopped.stderr.endswith(f"interrupted: {message}\n")
    resumed = train(mnist_folder, tmp_path, *options, "--resume")
    assert resumed.returncode == 0, resumed.stderr
    assert ("there is nothing to resume" in resumed.stdout) == ("to continue" not in message)


def test_ctrl_c_while_a_complete_run_is_shown_loses_nothing(mnist_folder, tmp_path, monkeypatch):
    options = ["--network", TINY, "--epochs", 1]
    assert train(mnist_folder, tmp_path, *options).returncode == 0

    def press_ctrl_c(text="", **where):
        if "rows are true digits" in text:
            raise KeyboardInterrupt
        show(text, **where)

    show = print
    monkeypatch.setattr("builtins.print", press_ctrl_c)
    result = train(mnist_folder, tmp_path, *options, "--resume")
    assert result.stderr == f"interrupted: all networks are trained and saved in {tmp_path}\n"


def test_files_of_another_program_are_refused_in_one_line(mnist_folder, tmp_path):
    options = ["--network", TINY, "--epochs", 1]
    (tmp_path / "settings.json").write_text('{"theme": "dark"}')
    result = train(mnist_folder, tmp_path, *options)
    assert f"{tmp_path / 'settings.json'} cannot be read (KeyError('options')): give another --output" in result.stderr
    (tmp_path / "settings.json").unlink()
    (tmp_path / f"{TINY}_checkpoints").mkdir()
    (tmp_path / f"{TINY}_checkpoints" / "step_0000000001.npz").touch()
    for more in ([], ["--resume"]):
        result = train(mnist_folder, tmp_path, *options, *more)
        assert (
            "contains checkpoints without the settings of their run: give another --output, or delete" in result.stderr
        )


def test_early_stopping_shows_the_figures_of_the_epoch_that_is_kept(mnist_folder, tmp_path):
    options = ["--network", "784-16-10", "--optimizer", "adam", "--learning-rate", 0.02, "--epochs", 60]
    result = train(mnist_folder, tmp_path, *options, "--early-stopping", 2)
    assert result.returncode == 0, result.stderr
    (entry,) = json.loads((tmp_path / "report.json").read_text())
    history = entry["history"]
    best = int(np.argmax(history["val_accuracy"]))
    assert (entry["kept_epoch"], entry["epochs"], entry["stopped_early"]) == (best + 1, best + 3, True)
    assert f"784-16-10: stopped after epoch {best + 3}; the model is from epoch {best + 1}\n" in result.stdout
    line = re.search(r"^784-16-10 .*", result.stdout, re.MULTILINE)[0].split()
    assert line[3:] == [
        f"{history['loss'][best]:.4f}",
        f"{history['accuracy'][best]:.2%}",
        f"{history['val_accuracy'][best]:.2%}",
    ]
    assert history["val_accuracy"][best] > history["val_accuracy"][-1]

    # The same run, but for its end: patience is not at its end where the epochs are.
    whole = train(mnist_folder, tmp_path, *options, "--epochs", best + 2, "--early-stopping", 2)
    assert f"784-16-10: the model is from epoch {best + 1} of {best + 2}\n" in whole.stdout
    (entry,) = json.loads((tmp_path / "report.json").read_text())
    assert (entry["kept_epoch"], entry["epochs"], entry["stopped_early"]) == (best + 1, best + 2, False)


@pytest.fixture(scope="module")
def competition(mnist_folder, tmp_path_factory):
    """The two files of the Digit Recognizer competition, of scikit-learn's digits."""
    data, folder = load_mnist(mnist_folder), tmp_path_factory.mktemp("competition")
    pixels = [f"pixel{index}" for index in range(784)]
    for name, columns, table in (
        ("train", ["label", *pixels], np.column_stack([data.y_train, data.x_train])[:600]),
        ("test", pixels, data.x_test[:50]),
    ):
        np.savetxt(folder / f"{name}.csv", table, fmt="%d", delimiter=",", header=",".join(columns), comments="")
    return folder


COMPETE = ["--data", "train.csv", "--predict", "test.csv", "--submission", "submission.csv"]
COMPETE += ["--network", "784-2-10", "--network", "784-32-10"]
COMPETE += ["--epochs", "3", "--validation", "0.2", "--batch-size", "16", "--optimizer", "adam", "--output", "run"]


def test_the_best_network_predicts_the_images_of_a_competition(competition, mnist_folder, monkeypatch):
    monkeypatch.chdir(competition)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    result = run_here("examples/mnist_mlp", *COMPETE)
    assert result.returncode == 0, result.stderr
    assert "50 predictions of 784-32-10: submission.csv" in result.stdout
    submission = (competition / "submission.csv").read_text()
    assert submission.splitlines()[0] == "ImageId,Label"
    numbers, labels = np.loadtxt(competition / "submission.csv", int, delimiter=",", skiprows=1, unpack=True)
    assert numbers.tolist() == list(range(1, 51))
    images = load_mnist(mnist_folder)
    assert (labels == Sequential.load("run/784-32-10.npz").predict(images.x_test[:50])).all()
    assert (labels == images.y_test[:50]).mean() > 0.6

    (competition / "submission.csv").unlink()
    again = run_here("examples/mnist_mlp", *COMPETE, "--resume")
    assert again.returncode == 0, again.stderr
    assert "nothing is left to train" in again.stdout
    assert (competition / "submission.csv").read_text() == submission


def test_a_recipe_predicts_the_images_of_a_competition_in_its_own_way(competition, mnist_folder, monkeypatch, tmp_path):
    monkeypatch.chdir(competition)
    options = ["--data", "train.csv", "--predict", "test.csv", "--submission", tmp_path / "wide.csv"]
    result = run_here("examples/mnist_mlp", "--recipe", "wide", "--epochs", 1, *options, "--output", tmp_path / "run")
    assert result.returncode == 0, result.stderr
    labels = np.loadtxt(tmp_path / "wide.csv", int, delimiter=",", skiprows=1, usecols=1)
    model, images = Sequential.load(tmp_path / "run" / "784-1024-1024-10.npz"), load_mnist(mnist_folder).x_test[:50]
    shift = Translation(0.05, image_shape=(28, 28))
    np.testing.assert_array_equal(labels, AugmentedPrediction(model, shift, repeats=16).predict(images))
    assert (labels != model.predict(images)).any()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"--predict": "train.csv"}, "train.csv: it has 785 columns, one more than there are pixels"),
        ({"--predict": "small.csv"}, "small.csv: it has 3 columns, and the networks take 784 pixels"),
        ({"--predict": "missing.csv"}, "missing.csv"),
        ({"--data": "test.csv"}, "has no column 'label'"),
        ({"--submission": "nowhere/submission.csv"}, "is not a .csv file in an existing folder"),
        ({"--submission": "submission.txt"}, "is not a .csv file"),
    ],
)  # fmt: skip
def test_wrong_files_of_a_competition_are_refused_before_the_training(competition, monkeypatch, change, message):
    monkeypatch.chdir(competition)
    (competition / "small.csv").write_text("a,b,c\n1,2,3\n")
    options = dict(zip(COMPETE[:6:2], COMPETE[1:6:2], strict=True)) | change
    result = run_here("examples/mnist_mlp", *(text for pair in options.items() for text in pair), "--output", "none")
    assert result.returncode != 0
    assert message in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert "rows to train" not in result.stdout
    assert not (competition / "none").exists()


def test_a_submission_without_images_to_predict_is_refused(tmp_path):
    result = run_here("examples/mnist_mlp", "--submission", tmp_path / "submission.csv")
    assert result.returncode != 0
    assert "give the images to predict as well, such as --predict test.csv" in result.stderr
