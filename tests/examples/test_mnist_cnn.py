"""The example of convolutional networks, run as a user runs it."""

import json
import re
import sys

import numpy as np
import pytest
from scripts import run_here

from minidl import Checkpoint, Sequential
from minidl.data import load_mnist
from minidl.data.augment import Translation
from minidl.prediction import AugmentedPrediction

NETWORK = "28x28-c8-c24-128-10"


def train(*options):
    result = run_here("examples/mnist_cnn", *options)
    assert result.returncode == 0, result.stderr
    return result.stdout


def the_entry(folder):
    (entry,) = json.loads((folder / "report.json").read_text())
    return entry


def test_the_default_learns_digits_and_leaves_a_model_a_report_and_pictures(mnist_folder, tmp_path):
    data = load_mnist(mnist_folder, flatten=False)
    output = tmp_path / "run"
    out = train("--data", mnist_folder, "--output", output, "--epochs", 4, "--page")
    entry = the_entry(output)
    assert (entry["recipe"], entry["network"], entry["train_rows"]) == ("fast", NETWORK, len(data.y_train))
    assert entry["history"].keys() == {"loss", "accuracy"}  # the test images have no part in the training
    model = Sequential.load(output / f"{NETWORK}.npz")
    right = (model.predict(data.x_test) == data.y_test).mean()
    assert right > 0.9
    assert entry["test"]["accuracy"] == pytest.approx(right)
    assert re.search(rf"train +test\nnetwork .* accuracy +accuracy\n{NETWORK} .* {right:.2%}", out)
    kinds = ("confusion", "curves", "evidence", "features", "kernels", "mistakes")
    names = {f"{NETWORK}.npz", f"{NETWORK}.html", "report.json", "settings.json"}
    names |= {f"{NETWORK}_{kind}.png" for kind in kinds}
    assert {path.name for path in output.iterdir()} == names

    shown = run_here("examples/predict_digit", output / f"{NETWORK}.npz", "--data", mnist_folder, "--index", 3)
    assert shown.returncode == 0, shown.stderr
    assert f"prediction {model.predict(data.x_test[3:4])[0]} " in shown.stdout


def test_few_images_get_more_epochs_unless_their_number_is_given(mnist_folder, monkeypatch, tmp_path):
    seen = []

    def stop(self, *data, epochs, **others):
        seen.append(epochs)
        raise KeyboardInterrupt

    monkeypatch.setattr("minidl.Trainer.fit", stop)
    run_here("examples/mnist_cnn", "--data", mnist_folder, "--output", tmp_path / "a")
    run_here("examples/mnist_cnn", "--data", mnist_folder, "--output", tmp_path / "b", "--epochs", 2)
    assert seen == [30, 2]  # of 8 steps, so that there are 240


@pytest.fixture
def photographs(tmp_path):
    """An .npz file of few images like CIFAR-10's: each class has a colour."""
    rng = np.random.default_rng(0)
    y = np.arange(120) % 10
    colours = rng.integers(0, 256, (10, 1, 1, 3))
    x = np.clip(colours[y] + rng.normal(0, 20, (120, 32, 32, 3)), 0, 255).astype(np.uint8)
    np.savez(tmp_path / "cifar10.npz", x_train=x[:100], y_train=y[:100], x_test=x[100:], y_test=y[100:])
    return tmp_path / "cifar10.npz"


@pytest.mark.parametrize("place", ["file", "folder", "variable"])
def test_photographs_have_a_recipe_of_their_own(photographs, monkeypatch, tmp_path, place):
    if place == "folder":  # of the binary version
        arrays = np.load(photographs)
        for number in range(1, 7):
            kind, part = ("train", slice(20 * number - 20, 20 * number)) if number < 6 else ("test", slice(None))
            x, y = arrays[f"x_{kind}"][part], arrays[f"y_{kind}"][part]
            records = np.hstack([y[:, None].astype(np.uint8), x.transpose(0, 3, 1, 2).reshape(20, -1)])
            name = f"data_batch_{number}.bin" if number < 6 else "test_batch.bin"
            (tmp_path / name).write_bytes(records.tobytes())
    options = ["--data", {"file": photographs, "folder": tmp_path}.get(place)]
    if place == "variable":
        monkeypatch.setenv("MINIDL_DATA", str(photographs))
        options = []
    monkeypatch.setitem(sys.modules, "matplotlib", None)  # no pictures, which is faster
    out = train(*options, "--epochs", 1, "--output", tmp_path / "run")
    assert "CIFAR-10" in out
    entry = the_entry(tmp_path / "run")
    assert (entry["recipe"], entry["train_rows"], entry["test_rows"]) == ("color", 100, 20)
    assert entry["network"].startswith("32x32-")
    assert "HorizontalFlip(" in entry["augment"]


def test_colour_images_are_there_without_a_network_connection(monkeypatch, tmp_path):
    monkeypatch.delenv("MINIDL_DATA", raising=False)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    out = train("--recipe", "color", "--epochs", 1, "--output", tmp_path)
    assert "scikit-learn's photographs" in out
    entry = the_entry(tmp_path)
    assert (entry["train_rows"], entry["test_rows"], len(entry["confusion_matrix"])) == (1350, 550, 2)


def test_colour_images_get_no_page_which_is_said_before_the_training(monkeypatch, tmp_path):
    monkeypatch.delenv("MINIDL_DATA", raising=False)
    result = run_here("examples/mnist_cnn", "--recipe", "color", "--output", tmp_path, "--page")
    assert result.returncode == 1
    assert "--page: drawings on a page are gray, and these are colour images; leave it out" in result.stderr
    assert not list(tmp_path.iterdir())


def test_a_stopped_run_goes_on_to_the_same_bits(mnist_folder, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    options = ["--data", mnist_folder, "--epochs", 2]
    train(*options, "--output", tmp_path / "whole")
    own = Checkpoint.on_epoch_end

    def press_ctrl_c(self, trainer):
        own(self, trainer)
        if trainer.epoch == 1:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Checkpoint, "on_epoch_end", press_ctrl_c)
        stopped = run_here("examples/mnist_cnn", *options, "--output", tmp_path / "stopped")
    assert stopped.stderr.endswith("interrupted: run the same command with --resume to continue\n")
    again = run_here("examples/mnist_cnn", *options, "--output", tmp_path / "stopped")
    assert again.returncode == 1
    assert "contains a stopped run: add --resume" in again.stderr
    train(*options, "--output", tmp_path / "stopped", "--resume")
    models = [(tmp_path / name / f"{NETWORK}.npz").read_bytes() for name in ("whole", "stopped")]
    assert models[0] == models[1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--recipe", "best"], "invalid choice: 'best'"),
        (["--epochs", "0"], "argument --epochs: '0' is not a number of epochs of 1 or more"),
        (["--seed", "-1"], "'-1' is not a seed"),
        (["--data", "none"], "there is no file or folder none"),
        (["--data", "none.tar.gz"], "there is no file or folder none.tar.gz"),
    ],
)
def test_a_wrong_option_is_one_plain_line_and_leaves_nothing(tmp_path, arguments, message):
    result = run_here("examples/mnist_cnn", "--output", tmp_path / "out", *arguments)
    assert result.returncode != 0
    assert message in result.stderr
    assert result.stderr.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_the_recipe_conv_predicts_shifted_copies_too(small_mnist_folder, tmp_path):
    out = train("--recipe", "conv", "--epochs", 2, "--data", small_mnist_folder, "--output", tmp_path / "run")
    entry = the_entry(tmp_path / "run")
    data = load_mnist(small_mnist_folder, flatten=False)
    model = Sequential.load(tmp_path / "run" / f"{entry['network']}.npz")
    right = (model.predict(data.x_test) == data.y_test).mean()
    assert entry["test"]["accuracy"] == pytest.approx(right)
    assert entry["averaged"]["accuracy"] == pytest.approx(np.trace(entry["confusion_matrix"]) / len(data.y_test))
    copies = AugmentedPrediction(model, Translation(0.05), repeats=16).predict_scores(data.x_test)
    assert entry["averaged"]["loss"] == pytest.approx(model.loss(copies, data.y_test)[0])
    assert entry["averaged"]["loss"] != entry["test"]["loss"]
    line = f"{entry['network']}: {entry['averaged']['accuracy']:.2%} by the mean over shifted copies"
    assert f"\n{line}\n" in out
    assert len(line) <= 80
    assert "columns predicted ones, by the mean over copies\n" in out
