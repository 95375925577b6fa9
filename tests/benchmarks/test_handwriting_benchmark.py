"""Photographs of digits are read by a network, if they are centered; and the benchmark prints how many."""

import re

import numpy as np
import pytest
from PIL import Image
from scripts import ROOT

from minidl import Adam, Dense, ReLU, Rescale, Sequential, SoftmaxCrossEntropy, Trainer
from minidl.data import center_digit
from minidl.data.augment import Compose, Rotation, Scaling, Shear
from minidl.data.digits import load_digits_as_mnist


@pytest.fixture(scope="module")
def benchmark():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(ROOT / "benchmarks")
        import handwriting

        yield handwriting


@pytest.fixture(scope="module")
def model():
    """A network that learned from 600 of scikit-learn's digits, which other people wrote than the photographs' pens."""
    digits = load_digits_as_mnist()
    x = np.stack([center_digit(np.pad(image, 14)) for image in digits.x_train[:600]]).reshape(-1, 784)
    model = Sequential([Rescale(1 / 255), Dense(64), ReLU(), Dense(10), SoftmaxCrossEntropy()], seed=0)
    distortions = Compose([Rotation(10), Scaling(0.1, keep_aspect=False), Shear(10)], image_shape=(28, 28))
    trainer = Trainer(model, Adam(3e-3), batch_size=64, seed=0, augment=distortions)
    trainer.fit(x, digits.y_train[:600], epochs=40, progress=False)
    return model


def test_centered_digits_are_read_and_those_made_smaller_are_not(benchmark, model):
    digits = benchmark.drawn_digits(80, seed=2, printed=0.2)
    table = benchmark.shares_right(digits, benchmark.read(model, digits))
    assert table.loc["all", benchmark.PLAIN] < 0.3
    assert table.loc["all", benchmark.CENTERED] > 0.8  # a network of MNIST's 60,000 reads 98 of 100
    assert table.loc["pen", "photographs"] + table.loc["printed", "photographs"] == 80


def test_the_photographs_are_what_they_are_said_to_be(benchmark):
    digits = benchmark.drawn_digits(20, seed=0)
    assert [each.jpeg for each in digits] == [each.jpeg for each in benchmark.drawn_digits(20, seed=0)]
    assert [each.digit for each in digits] == [*range(10)] * 2
    assert "pen" in {each.drawn_with for each in digits}
    photographs = [benchmark.opened(each) for each in digits]
    assert {(each.format, each.size, each.mode) for each in photographs} == {("JPEG", (400, 300), "RGB")}
    brightness = np.array([np.median(np.asarray(each.convert("L"))) for each in photographs])
    assert 0.5 < (brightness > 90).mean() < 1  # dark on light, and light on dark


def test_it_prints_its_table_and_puts_it_and_a_picture_into_the_document(benchmark, model, tmp_path, capsys):
    model.save(tmp_path / "small.npz")
    document = tmp_path / "deployment.md"
    document.write_text("<!-- handwriting -->\n\n```text\n```\n", encoding="utf-8")
    benchmark.main([str(tmp_path / "small.npz"), "--count", "24", "--document", str(tmp_path)])
    printed = capsys.readouterr().out
    assert printed.startswith("small, 24 photographs")
    assert printed in document.read_text(encoding="utf-8")
    assert re.search(r"^all +24 +\d+\.\d% +\d+\.\d%$", printed, re.MULTILINE)
    with Image.open(tmp_path / "images" / "handwriting.png") as picture:
        assert picture.width > 1_000
    assert (tmp_path / "images" / "handwriting.png").stat().st_size < 100_000


def test_a_digit_that_is_not_found_is_black_and_counts_as_a_mistake(benchmark):
    import drawn_digits

    empty = drawn_digits.photograph(Image.new("L", (40, 40)), np.random.default_rng(0))
    assert not benchmark.centered(drawn_digits.DrawnDigit(1, "pen", empty)).any()


def test_the_document_has_a_place_for_the_table():
    text = (ROOT / "docs" / "deployment.md").read_text(encoding="utf-8")
    assert "<!-- handwriting -->\n\n```text\n784-128-64-10, " in text
