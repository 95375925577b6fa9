"""The example of sentences, in a short run."""

import contextlib
import io
import json
import re
import runpy
import sys

import numpy as np
import pandas as pd
import pytest
from scripts import ROOT, run_here

from minidl.errors import ArgumentError

MODELS = ["TF-IDF, linear", "mean", "Conv1D", "bidirectional GRU"]
LIBRARIES = ["Python", "NumPy", "SciPy", "scikit-learn", "pandas"]


@pytest.fixture(scope="module")
def example():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(ROOT / "examples")
        yield runpy.run_path(str(ROOT / "examples" / "texts.py"))
        patch.delitem(sys.modules, "example_options")


@pytest.fixture(scope="module")
def table(example):
    return example["load_sentences"]()


@pytest.fixture(scope="module")
def short_run(example, table, tmp_path_factory):
    output = tmp_path_factory.mktemp("runs") / "texts"
    out, main = io.StringIO(), example["main"]
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(out):
        patch.setitem(main.__globals__, "load_sentences", lambda: table)  # not once more
        main(["--sentences", "400", "--epochs", "2", "--seeds", "2", "--output", str(output)])
    return out.getvalue(), output, json.loads((output / "report.json").read_text())


def test_the_table_shows_mean_and_deviation_of_the_accuracies_in_the_report(short_run):
    out, _, report = short_run
    assert list(report["metrics"]) == MODELS
    assert report["sentences"] == {"train": 2000, "validation": 500, "test": 500}
    for name, parts in report["metrics"].items():
        validation, test = ([metrics["accuracy"] for metrics in parts[part]] for part in ("validation", "test"))
        assert len(test) == (1 if name == MODELS[0] else 2)
        texts = [
            f"{np.mean(values):.1%}" + (f" +- {np.std(values, ddof=1):.1%}" if len(values) > 1 else "")
            for values in (validation, test)
        ]
        (line,) = re.findall(rf"^{re.escape(name)} +[\d,]+ +(\S.*\S) +\d\.\d+$", out, re.MULTILINE)
        assert re.split(" {2,}", line) == texts
        # Each library has as many sentences, so that the accuracy is the mean of what is found of each.
        for metrics in parts["test"]:
            assert list(metrics["found"]) == LIBRARIES
            assert metrics["accuracy"] == pytest.approx(np.mean(list(metrics["found"].values())))
    assert max(map(len, out.splitlines())) <= 120


def test_the_models_learn_but_the_answer_is_not_given_away(short_run):
    _, _, report = short_run
    for parts in report["metrics"].values():
        # Of five, 0.2 by chance. The libraries' names alone would give far more than 0.8.
        assert all(0.25 < metrics["accuracy"] < 0.8 for metrics in parts["test"])


def test_the_kept_epoch_is_the_best_of_the_validation(short_run):
    _, _, report = short_run
    for name in MODELS[1:]:
        best = [max(history["val_accuracy"]) for history in report["histories"][name]]
        assert [metrics["accuracy"] for metrics in report["metrics"][name]["validation"]] == pytest.approx(best)


def test_sentences_that_are_right_and_wrong_are_shown_with_words_that_speak_for_each(short_run):
    out, _, _ = short_run
    words, shown = out.split("strongest words")[1].split("test sentences")
    for library in LIBRARIES:
        assert re.search(rf"^  {library} +\S+, ", words, re.MULTILINE)
    right, wrong = shown.split("wrong:")
    found = re.findall(r"^    (\S+) \(\d+%\)$", right, re.MULTILINE)
    assert found == [library for library in LIBRARIES if library in found]
    assert len(found) > 1
    mistaken = re.findall(r"^    (\S+) \(\d+%\), and not (\S+)$", wrong, re.MULTILINE)
    assert [truth for _, truth in mistaken] == LIBRARIES
    assert all(predicted != truth for predicted, truth in mistaken)


def test_there_are_pictures_of_mistakes_and_training(short_run):
    _, output, _ = short_run
    assert {path.name for path in output.iterdir()} == {"curves.png", "mistakes.png", "report.json"}
    for name in ("curves.png", "mistakes.png"):
        assert (output / name).read_bytes().startswith(b"\x89PNG")


def test_no_name_of_a_library_and_no_code_is_left(table):
    words = {word for text in table["words"] for word in text.split()}
    assert not words & {"python", "numpy", "np", "scipy", "sklearn", "pandas", "pd", "ndarray", "dataframe", "series"}
    assert {word for word in words if not re.fullmatch(r"[a-z]+('[a-z]+)?", word)} == {"<code>", "<name>", "<number>"}
    assert table["words"].is_unique
    assert table["words"].str.split().str.len().between(5, 24).all()


def test_each_file_is_in_one_part_and_no_sentence_is_a_copy_of_one_trained_on(example, table):
    parts = example["split"](table, 400)
    files = {name: set(part["file"]) for name, part in parts.items()}
    assert not files["train"] & files["validation"]
    assert not files["train"] & files["test"]
    assert not files["validation"] & files["test"]
    for part in parts.values():
        assert part["library"].value_counts().nunique() == 1

    def three(text):
        words = text.split()
        return set(zip(words, words[1:], words[2:], strict=False))

    trained = [three(text) for text in parts["train"]["words"]]
    for text in parts["test"]["words"][::25]:
        own = three(text)
        assert max(len(own & other) for other in trained) <= len(own) / 2


def test_a_copied_sentence_is_dropped(example):
    train = pd.DataFrame({"words": ["return the sum of all the values", "one more that is not alike"]})
    held_out = pd.DataFrame({"words": ["return the sum of all the numbers", "return the sum of what is given here"]})
    assert example["without_copies"](held_out, train)["words"].tolist() == ["return the sum of what is given here"]


def test_more_sentences_than_there_are_is_an_error_and_fewer_are_the_default(example):
    rows = [
        (" ".join(f"{letter}{row}{library}" for letter in "abcde"), library, f"{library}/{row}", "")
        for library in LIBRARIES
        for row in range(50)
    ]
    few = pd.DataFrame(rows, columns=["words", "library", "file", "text"])
    with pytest.raises(ArgumentError, match="--sentences 50: not all libraries have so many: give 30 or fewer"):
        example["split"](few, 50)
    parts = example["split"](few, None)
    assert {name: len(part) for name, part in parts.items()} == {"train": 150, "validation": 35, "test": 35}


@pytest.mark.parametrize(
    ("sentence", "words"),
    [
        ("Return a copy of the ndarray.", "return a copy of the <name>"),
        ("Use `np.sum`, or :func:`~numpy.sum`_, in NumPy 2.0!", "use <code> or <code> in <name> <number>"),
        ("See [1]_ for scikit-learn's fit_transform (k-means).", "see <code> for <name> learn's <code> k means"),
        ("I don't take 50% of a DataFrame -- a PCA.", "i don't take <number> of a <name> a <code>"),
    ],
)  # fmt: skip
def test_words_are_lower_case_without_code_names_and_numbers(example, sentence, words):
    assert " ".join(example["as_words"](sentence)) == words


def test_sentences_are_prose_alone(example):
    docstring = """Sum the values. They may be missing.

        Title
        -----
        axis : int, default 0
            The axis to sum along. Not
            more than one!

        >>> total([1, 2])
        3

        .. note:: This is left out.

        not a sentence
        """
    expected = ["Sum the values.", "They may be missing."]
    assert list(example["sentences"](docstring)) == expected
    parameter = "Title.\n\naxis : int, default 0\n    The axis to sum along. Not\n    more than one!"
    assert list(example["sentences"](parameter)) == ["Title.", "The axis to sum along.", "Not more than one!"]


def test_numbers_of_words_are_padded_and_rare_words_are_one(example):
    texts = pd.Series(["a b a c", "b a", "rare a"])
    vocabulary = example["make_vocabulary"](texts)
    assert vocabulary == {"a": 2, "b": 3}
    numbers = example["as_numbers"](texts, vocabulary)
    assert numbers.shape == (3, 24)
    assert numbers[:, :5].tolist() == [[2, 3, 2, 1, 0], [3, 2, 0, 0, 0], [1, 2, 0, 0, 0]]
    assert not numbers[:, 5:].any()


@pytest.mark.parametrize(
    ("accuracies", "expected"),
    [
        ((0.6, 0.6, 0.61, 0.59), ["words in their order is no better", "best network is no better"]),
        ((0.6, 0.6, 0.66, 0.59), ["order is better than their mean, by 6.0%", "better than the linear model, by 6.0%"]),
        ((0.7, 0.6, 0.55, 0.5), ["order is worse than their mean, by 5.0%", "worse than the linear model, by 10.0%"]),
    ],
)
def test_the_verdict_follows_from_the_accuracies(example, accuracies, expected):
    lines = example["verdict"](dict(zip(MODELS, accuracies, strict=True)), 0.01).splitlines()
    assert all(part in line for part, line in zip(expected, lines, strict=True))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--sentences", "3"], "argument --sentences: '3' is not a whole number of 4 or more"),
        (["--epochs", "0"], "argument --epochs: '0' is not a whole number of 1 or more"),
        (["--output", __file__], "test_texts.py is a file: give a folder"),
    ],
)
def test_a_wrong_option_of_the_texts_is_one_plain_line(arguments, message):
    result = run_here("examples/texts", *arguments)
    assert result.returncode != 0
    assert message in result.stderr
    assert result.stderr.count("\n") == 1
