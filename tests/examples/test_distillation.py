"""The example of distillation, run as a user runs it."""

import importlib
import json
import re
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scripts import ROOT, run_here

from minidl import Dense, FunctionCallback, Sequential, SoftmaxCrossEntropy, Trainer
from minidl.data import load_mnist

TEACHER, STUDENT = "28x28-c16-c32-32-c64-64-64-10", "784-128-64-10"


def distil(*options):
    result = run_here("examples/distillation", *options)
    assert result.returncode == 0, result.stderr
    return result.stdout


@pytest.fixture(scope="module")
def trained(small_mnist_folder, tmp_path_factory):
    output = tmp_path_factory.mktemp("distillation") / "run"
    return output, distil("--data", small_mnist_folder, "--output", output, "--epochs", 21)


def test_a_teacher_teaches_a_student(trained, small_mnist_folder):
    output, out = trained
    teacher, student = json.loads((output / "report.json").read_text())
    assert (teacher["network"], student["network"], student["epochs"]) == (TEACHER, STUDENT, 21)
    data = load_mnist(small_mnist_folder)
    model = Sequential.load(output / f"{STUDENT}.npz")
    right = (model.predict(data.x_test) == data.y_test).mean()
    assert student["test"]["accuracy"] == pytest.approx(right)
    assert re.search(rf"^{STUDENT} .* {right:.2%}$", out, re.MULTILINE)
    assert (output / f"{STUDENT}_mistakes.png").exists()


@pytest.fixture
def example(monkeypatch):
    """The example as a module."""
    monkeypatch.syspath_prepend(ROOT / "examples")
    before = set(sys.modules)
    yield importlib.import_module("distillation")
    for name in set(sys.modules) - before:
        if (path := getattr(sys.modules[name], "__file__", None)) and Path(path).parent == ROOT / "examples":
            del sys.modules[name]


def test_a_student_learns_the_probabilities_and_gets_their_sharpness(example, trained, small_mnist_folder):
    output, _ = trained
    data = load_mnist(small_mnist_folder)
    images, labels = data.x_train, data.y_train
    teacher = Sequential.load(output / f"{TEACHER}.npz")
    recipe = replace(example.STUDENT, epochs=42, batch_size=20, learning_rate=0.005, teacher=teacher)
    trainer, seen = recipe.trainer((784,), len(images), 10, 0), []

    def note(run):
        seen.append((run.history["loss"][-1], run.model.layers[-1].weight.value.copy()))

    callback = FunctionCallback(note, moment="on_epoch_end")
    recipe.fit(trainer, images, labels, callbacks=[callback], progress=False)
    np.testing.assert_array_equal(trainer.model.layers[-1].weight.value, seen[-1][1] * np.float32(recipe.temperature))
    assert seen[-1][0] < 0.5 * seen[0][0]

    softened = np.sqrt(teacher.predict_proba(images.reshape(-1, 28, 28, 1)))
    softened /= softened.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(recipe.targets(images, labels), 0.7 * softened + 0.3 * np.eye(10)[labels], atol=1e-6)


def test_a_trained_teacher_is_taken(trained, small_mnist_folder, tmp_path):
    output, _ = trained
    options = ["--data", small_mnist_folder, "--output", tmp_path / "run", "--epochs", 21]
    distil("--teacher", output / f"{TEACHER}.npz", *options)
    (student,) = json.loads((tmp_path / "run" / "report.json").read_text())
    assert student["history"] == json.loads((output / "report.json").read_text())[1]["history"]


def test_a_model_of_other_images_is_no_teacher(trained, small_mnist_folder, tmp_path):
    Sequential([Dense(10), SoftmaxCrossEntropy()], input_shape=5).save(tmp_path / "other.npz")
    result = run_here(
        "examples/distillation", "--data", small_mnist_folder, "--teacher", tmp_path / "other.npz", "--output", tmp_path
    )
    assert result.returncode != 0
    assert "other.npz: it takes (5,) numbers per image and returns (10,); these images have 784 pixels" in result.stderr
    assert "give a classifier of such images" in result.stderr


def test_a_run_does_not_continue_with_another_teacher(trained, small_mnist_folder, tmp_path, monkeypatch):
    output, _ = trained
    teacher = tmp_path / "teacher.npz"
    teacher.write_bytes((output / f"{TEACHER}.npz").read_bytes())
    options = ["--data", small_mnist_folder, "--output", tmp_path / "run", "--epochs", 8, "--teacher", teacher]
    with monkeypatch.context() as patched:
        patched.setattr("minidl.Trainer.fit", stopping_after(3))
        assert run_here("examples/distillation", *options).returncode != 0
    model = Sequential.load(teacher)
    model.parameters *= 0.5
    model.save(teacher)
    result = run_here("examples/distillation", *options, "--resume")
    assert result.returncode != 0
    assert "had --teacher 'another file, " in result.stderr


@pytest.mark.parametrize("epoch", [1, 4, 21])
def test_a_stopped_run_continues_to_the_same_result(trained, small_mnist_folder, tmp_path, monkeypatch, epoch):
    output, _ = trained
    teacher = output / f"{TEACHER}.npz"
    options = ["--data", small_mnist_folder, "--output", tmp_path / "run", "--epochs", 21, "--teacher", teacher]

    with monkeypatch.context() as patched:
        patched.setattr("minidl.Trainer.fit", stopping_after(epoch))
        assert run_here("examples/distillation", *options).returncode != 0
    distil(*options, "--resume")
    models = [Sequential.load(folder / f"{STUDENT}.npz") for folder in (output, tmp_path / "run")]
    np.testing.assert_array_equal(models[0].parameters, models[1].parameters)


def stopping_after(epoch):
    """Return a `fit` that Ctrl-C stops after this epoch."""
    fit = Trainer.fit

    def stop(trainer):
        if trainer.epoch == epoch:
            raise KeyboardInterrupt

    def stopped(self, *data, callbacks, **options):
        return fit(self, *data, callbacks=[*callbacks, FunctionCallback(stop, moment="on_epoch_end")], **options)

    return stopped
