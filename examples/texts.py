"""Classify sentences of documentation by their library, and see whether the order of words helps.

    python examples/texts.py                             # half a minute
    python examples/texts.py --sentences 300 --seeds 1   # a few seconds, and worse predictions

The sentences come from the docstrings of Python's standard library, NumPy, SciPy, scikit-learn and pandas. All are
installed with minidl. Each library gives 1,800 training sentences. With other versions the metrics differ a little.

A network gets a row of 24 numbers for each sentence: its word numbers, then zeros. An Embedding turns numbers into
vectors and masks the zeros. Then the three networks differ: one takes the mean, and so ignores the order; one looks for
the most informative sequences of three words; one reads the sentence from both ends with a GRU. A linear model counts
words and pairs of words (TF-IDF and logistic regression).

Four things would leak the answer, or make the task look too easy:

- Code: text in backquotes, or with digits, underscores or capitals inside, becomes one word, <code>. A number becomes
  <number>.
- Names: the names of the libraries, also "sklearn" or "pd", and of their main types, "ndarray", "series" and
  "dataframe", become one word, <name>. Subject and style remain: "estimator" may point to scikit-learn.
- Repeated sentences count once, and not at all if two libraries share them.
- All sentences of a file are in the same part: training, validation or test. Docstrings are often copied: a held-out
  sentence is dropped if more than half of its triples of words are in a single training sentence.

Settings and epochs are chosen by the accuracy on the validation sentences. With 9,000 training sentences, the words
alone are enough: networks that know their order are no better than the mean, and the linear model is about as good.
Pictures and report.json go to the folder --output.
"""

from __future__ import annotations

import argparse
import inspect
import json
import re
import sysconfig
import textwrap
from collections import Counter
from collections.abc import Iterator
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from example_options import Parser, output_folder, pictures_possible, run_program, whole_number

from minidl import (
    GRU,
    Adam,
    Bidirectional,
    Conv1D,
    Dense,
    Dropout,
    EarlyStopping,
    Embedding,
    GlobalAveragePool1D,
    GlobalMaxPool1D,
    ReLU,
    Sequential,
    SoftmaxCrossEntropy,
    Trainer,
)
from minidl.errors import ArgumentError
from minidl.typing import Array

LIBRARIES = ["Python", "NumPy", "SciPy", "scikit-learn", "pandas"]
LENGTH = 24
PADDING, UNKNOWN = 0, 1
LINEAR = "TF-IDF, linear"
NAMES = {"python", "numpy", "np", "scipy", "scikit", "sklearn", "pandas", "pd"}
NAMES |= {"ndarray", "ndarrays", "series", "dataframe", "dataframes"}

# Tests are not documentation; the other folders have copies of other projects' code.
LEFT_OUT = {
    "tests",
    "test",
    "site-packages",
    "dist-packages",
    "externals",
    "_vendor",
    "_external",
    "extern",
    "distutils",
}
LEFT_OUT |= {"array_api_compat", "array_api_extra", "pydoc_data", "lib2to3", "_bundled"}

DOCSTRING = re.compile(r'^ *[rR]?"""(.*?)"""', re.DOTALL | re.MULTILINE)
NO_PROSE = re.compile(r"^\s*(>>>|\.\. |[|:]|[-=~^*#+]{3})", re.MULTILINE)
PARAMETER = re.compile(r"^\s*[\w*`, ]+ ?: .*$", re.MULTILINE)
END_OF_SENTENCE = re.compile(r'(?<=[a-z)`"\'][.!?]) +(?=[A-Z`"])')
CODE = re.compile(r"(:[\w:]+:)?`+[^`]*`+_*|\[[\w*]+\]_")


def sources(library: str) -> Iterator[tuple[str, str]]:
    """Yield the name and the text of each Python file of a library."""
    if library == "Python":
        root = Path(sysconfig.get_path("stdlib"))
    else:
        spec = find_spec({"scikit-learn": "sklearn"}.get(library, library.lower()))
        root = Path(str(spec and spec.origin)).parent
    for path in sorted(root.rglob("*.py")):
        name = path.relative_to(root)
        if not LEFT_OUT & set(name.parts):
            yield name.as_posix(), path.read_text(encoding="utf-8", errors="replace")


def sentences(docstring: str) -> Iterator[str]:
    """Yield the sentences of a docstring, without code, tables, headings, and the names and types of parameters."""
    for paragraph in re.split(r"\n\s*\n", inspect.cleandoc(docstring)):
        if not NO_PROSE.search(paragraph):
            text = " ".join(PARAMETER.sub("", paragraph).split())
            for sentence in END_OF_SENTENCE.split(text):
                if re.match(r"[A-Z`].*[.!?]$", sentence):
                    yield sentence


@cache
def as_word(piece: str) -> str:
    """Return a word in lower case, or <code>, <name> or <number>; return "" if there is only punctuation."""
    word = piece.strip("()[]{},;:.!?\"'*")
    if word.lower() in NAMES:
        return "<name>"
    if re.fullmatch(r"[A-Z]?[a-z]+('[a-z]+)?|A|I", word):
        return word.lower()
    if re.fullmatch(r"[\d.,%]+", word):
        return "<number>"
    return "<code>" if re.search(r"\w", word) else ""


def as_words(sentence: str) -> list[str]:
    """Return the words of a sentence."""
    words = (as_word(piece) for piece in re.split(r"[\s/-]+", CODE.sub(" <code> ", sentence)))
    return [word for word in words if word]


def load_sentences() -> pd.DataFrame:
    """Return each sentence of 5 to 24 words once: its words joined by spaces, its library, its file, and its text."""
    rows = []
    for library in LIBRARIES:
        for file, source in sources(library):
            for docstring in DOCSTRING.findall(source):
                for text in sentences(docstring):
                    words = as_words(text)
                    plain = sum(word[0] != "<" for word in words)
                    if 5 <= len(words) <= LENGTH and 2 * plain > len(words):
                        rows.append((" ".join(words), library, f"{library}/{file}", text))
    table = pd.DataFrame(rows, columns=["words", "library", "file", "text"])
    shared = table.groupby("words")["library"].transform("nunique") > 1
    return table[~shared].drop_duplicates("words", ignore_index=True)


def triples(words: str) -> set[str]:
    """Return all sequences of three words."""
    each = words.split()
    return {" ".join(each[start : start + 3]) for start in range(len(each) - 2)}


def without_copies(held_out: pd.DataFrame, train: pd.DataFrame) -> pd.DataFrame:
    """Drop sentences that share more than half of their triples of words with one training sentence."""
    from sklearn.feature_extraction.text import HashingVectorizer

    vectorizer = HashingVectorizer(analyzer=triples, norm=None, alternate_sign=False)
    in_common = vectorizer.transform(held_out["words"]) @ vectorizer.transform(train["words"]).T
    most = in_common.max(axis=1).toarray().ravel()
    return held_out[most <= held_out["words"].map(triples).map(len) / 2]


def split(table: pd.DataFrame, count: int | None) -> dict[str, pd.DataFrame]:
    """Return `count` training sentences per library, and a quarter as many each for validation and for the test.

    A file is in only one part. The default is 1,800, or as many as the library with the fewest sentences has.
    """
    from sklearn.model_selection import StratifiedGroupKFold

    folds = StratifiedGroupKFold(5, shuffle=True, random_state=0).split(table, table["library"], table["file"])
    test, validation, *rest = (table.iloc[held_out] for _, held_out in folds)
    train = pd.concat(rest)
    parts = {"train": train, "validation": without_copies(validation, train), "test": without_copies(test, train)}
    shares = {"train": 1, "validation": 4, "test": 4}
    fewest = {
        name: part["library"].value_counts().reindex(LIBRARIES, fill_value=0).min() for name, part in parts.items()
    }
    possible = min(share * fewest[name] for name, share in shares.items())
    if count is not None and count > possible:
        raise ArgumentError(f"--sentences {count}: not all libraries have so many: give {possible} or fewer")
    wanted = min(1800, possible) if count is None else count
    return {
        name: part.groupby("library").sample(wanted // shares[name], random_state=0).reset_index(drop=True)
        for name, part in parts.items()
    }


def make_vocabulary(texts: pd.Series) -> dict[str, int]:
    """Return the number of each word that occurs at least twice; 0 is padding, and 1 is any other word."""
    counts = Counter(word for text in texts for word in text.split())
    return {word: number for number, (word, count) in enumerate(counts.most_common(), start=2) if count > 1}


def as_numbers(texts: pd.Series, vocabulary: dict[str, int]) -> Array:
    """Return a row of word numbers for each text, with zeros at the end."""
    numbers = np.full((len(texts), LENGTH), PADDING, np.int32)
    for row, text in zip(numbers, texts, strict=True):
        words = [vocabulary.get(word, UNKNOWN) for word in text.split()]
        row[: len(words)] = words
    return numbers


def networks(words: int) -> dict[str, list[Any]]:
    """Return the layers of each network, between the words and the scores of the libraries."""
    embedding = Embedding(words, 32, padding_id=PADDING)
    return {
        "mean": [embedding, GlobalAveragePool1D(), Dropout(0.5)],
        "Conv1D": [embedding, Dropout(0.5), Conv1D(64, 3, padding="same"), ReLU(), GlobalMaxPool1D(), Dropout(0.5)],
        "bidirectional GRU": [
            embedding,
            Dropout(0.5),
            Bidirectional(GRU(16, return_sequences=True)),
            GlobalAveragePool1D(),
            Dropout(0.5),
        ],
    }


def train(layers: list[Any], data: dict[str, tuple[Array, Array]], epochs: int, seed: int) -> Trainer:
    """Train one network; keep the parameters of the epoch with the best validation accuracy."""
    model = Sequential([*layers, Dense(len(LIBRARIES)), SoftmaxCrossEntropy()], input_shape=LENGTH, seed=seed)
    trainer = Trainer(model, Adam(0.004), batch_size=128, seed=seed)
    trainer.fit(
        *data["train"],
        epochs=epochs,
        validation_data=data["validation"],
        callbacks=[EarlyStopping("val_accuracy", patience=epochs)],
        progress=False,
    )
    return trainer


def linear_model(parts: dict[str, pd.DataFrame], y: dict[str, Array]) -> tuple[Any, dict[str, list[Array]]]:
    """Return the linear model, with the penalty that is best on the validation data, and its probabilities."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression

    vectorizer = TfidfVectorizer(token_pattern=r"\S+", ngram_range=(1, 2), min_df=2, sublinear_tf=True)
    x = {"train": vectorizer.fit_transform(parts["train"]["words"])}
    x |= {name: vectorizer.transform(parts[name]["words"]) for name in ("validation", "test")}
    models = [LogisticRegression(C=c, max_iter=1000).fit(x["train"], y["train"]) for c in (1, 3, 10)]
    best = max(models, key=lambda model: model.score(x["validation"], y["validation"]))
    return best, {name: [best.predict_proba(x[name])] for name in ("validation", "test")}


def telling_words(model: Sequential, vocabulary: dict[str, int], texts: pd.Series, count: int) -> dict[str, list[str]]:
    """Return the strongest words for each library, of the words in at least 20 training sentences.

    A network that takes the mean adds up the effects of single words, like a linear model.
    """
    in_sentences = Counter(word for text in texts for word in set(text.split()))
    words = [word for word in vocabulary if in_sentences[word] >= 20]
    scores = model.layers[0].weight.value[[vocabulary[word] for word in words]] @ model.layers[-1].weight.value
    scores -= scores.mean(axis=1, keepdims=True)
    return {
        library: [words[place] for place in np.argsort(-column)[:count]]
        for library, column in zip(LIBRARIES, scores.T, strict=True)
    }


def evaluate(probabilities: list[Array], y: Array) -> list[dict[str, Any]]:
    """Return the metrics of each seed, including the recall of each library."""
    rows = np.arange(len(y))
    return [
        {
            "accuracy": float((each.argmax(axis=1) == y).mean()),
            "log loss": float(-np.log(each[rows, y]).mean()),
            "found": {
                library: float((each[y == number].argmax(axis=1) == number).mean())
                for number, library in enumerate(LIBRARIES)
            },
        }
        for each in probabilities
    ]


def table(results: dict[str, dict[str, list[dict[str, Any]]]], parameters: dict[str, int]) -> str:
    """Format means and standard deviations over the seeds."""
    lines = [f"{'':<19}{'':>10}{'validation':>20}{'test':>20}{'test':>9}"]
    lines.append(f"{'model':<19}{'parameters':>10}{'accuracy':>20}{'accuracy':>20}{'log loss':>9}")
    for name, parts in results.items():
        texts = []
        for part in ("validation", "test"):
            values = [metrics["accuracy"] for metrics in parts[part]]
            spread = f" +- {np.std(values, ddof=1):.1%}" if len(values) > 1 else ""
            texts.append(f"{np.mean(values):.1%}{spread}")
        loss = np.mean([metrics["log loss"] for metrics in parts["test"]])
        lines.append(f"{name:<19}{parameters[name]:>10,}{texts[0]:>20}{texts[1]:>20}{loss:9.3f}")
    return "\n".join(lines)


def verdict(accuracies: dict[str, Any], chance: float) -> str:
    """Say whether word order, or any network, changes the accuracy by more than two standard errors."""
    ordered = max(value for name, value in accuracies.items() if name not in (LINEAR, "mean"))
    lines = []
    for subject, gain, other in (
        ("Reading the words in their order", ordered - accuracies["mean"], "their mean"),
        ("The best network", max(ordered, accuracies["mean"]) - accuracies[LINEAR], "the linear model"),
    ):
        if abs(gain) <= 2 * chance:
            lines.append(f"{subject} is no better and no worse than {other}: the difference can be chance.")
        else:
            lines.append(f"{subject} is {'better' if gain > 0 else 'worse'} than {other}, by {abs(gain):.1%}.")
    return "\n".join(lines)


def show(test: pd.DataFrame, probabilities: Array, y: Array) -> str:
    """Format the correct and the wrong prediction with the highest confidence for each library."""
    predicted, confidence = probabilities.argmax(axis=1), probabilities.max(axis=1)
    lines = []
    for title, chosen in (("right", predicted == y), ("wrong", predicted != y)):
        lines.append(f"  {title}:")
        for number, library in enumerate(LIBRARIES):
            rows = np.flatnonzero(chosen & (y == number))
            for row in rows[np.argsort(-confidence[rows])][:1]:
                truth = "" if title == "right" else f", and not {library}"
                lines.append(f"    {LIBRARIES[predicted[row]]} ({confidence[row]:.0%}){truth}")
                lines.append(textwrap.shorten(test["text"][row], 78, initial_indent=" " * 6, placeholder=" ..."))
    return "\n".join(lines)


def draw(folder: Path, name: str, probabilities: Array, y: Array, results: dict[str, Any], histories: Any) -> None:
    """Save pictures of one network's mistakes, of each model's recall, and of the training."""
    import matplotlib.pyplot as plt

    from minidl.plots import plot_confusion_matrix

    libraries = np.array(LIBRARIES)
    figure, (confusion, found) = plt.subplots(1, 2, figsize=(13, 5.5), layout="constrained")
    plot_confusion_matrix(libraries[y], libraries[probabilities.argmax(axis=1)], ax=confusion)
    confusion.set_title(f"{name}, seed 0: {confusion.get_title()}")
    for number, (model, parts) in enumerate(results.items()):
        shares = pd.DataFrame([metrics["found"] for metrics in parts["test"]]).mean()
        found.bar(np.arange(len(libraries)) + 0.2 * (number - 1.5), shares, width=0.18, label=model)
    found.axhline(1 / len(libraries), color="0.5", linewidth=1)
    found.set(xticks=range(len(libraries)), xticklabels=libraries, ylim=(0, 1))
    found.set(ylabel="recall of a library's sentences", title="test; line: blind guesses")
    found.legend(ncols=2)
    figure.savefig(folder / "mistakes.png")

    figure, axes = plt.subplots(1, len(histories), figsize=(13, 4), sharey=True, layout="constrained")
    for ax, (network, seeds) in zip(axes, histories.items(), strict=True):
        for column, color, label in (("accuracy", "#0072B2", "training"), ("val_accuracy", "#D55E00", "validation")):
            for number, history in enumerate(seeds):
                epochs = range(1, len(history[column]) + 1)
                ax.plot(epochs, history[column], color=color, label=None if number else label)
        ax.set(xlabel="epoch", title=network)
        ax.xaxis.get_major_locator().set_params(integer=True)
        ax.grid(alpha=0.3)
    axes[0].set_ylabel("accuracy")
    axes[0].legend()
    figure.savefig(folder / "curves.png")
    plt.close("all")


def parse_arguments(arguments: list[str] | None) -> argparse.Namespace:
    parser = Parser(__doc__)
    count = whole_number(1)
    parser.add_argument(
        "--sentences",
        type=whole_number(4),
        help="training sentences per library (default: 1800, or fewer if there are fewer)",
    )
    parser.add_argument("--epochs", type=count, default=5, help="(default: %(default)s)")
    parser.add_argument(
        "--seeds", type=count, default=3, help="number of trainings of each network (default: %(default)s)"
    )
    parser.add_argument(
        "--output", type=output_folder, default=Path("runs/texts"), metavar="DIR", help="(default: %(default)s)"
    )
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> None:
    options = parse_arguments(arguments)
    sentence_table = load_sentences()
    parts = split(sentence_table, options.sentences)
    trained, tested = (len(parts[name]) // len(LIBRARIES) for name in ("train", "test"))
    print(
        f"{len(sentence_table):,} sentences; each of {len(LIBRARIES)} libraries has {trained:,} for training, {tested} "
        f"for validation, and {tested} for the test"
    )
    vocabulary = make_vocabulary(parts["train"]["words"])
    words = len(vocabulary) + 2
    y = {name: part["library"].map(LIBRARIES.index).to_numpy() for name, part in parts.items()}
    data = {name: (as_numbers(part["words"], vocabulary), y[name]) for name, part in parts.items()}
    unknown = (data["test"][0] == UNKNOWN).sum() / (data["test"][0] != PADDING).sum()
    print(f"vocabulary: {words:,} words; {unknown:.1%} of the words in the test are not in it\n")

    linear, of_linear = linear_model(parts, y)
    probabilities = {LINEAR: of_linear}
    parameters = {LINEAR: linear.coef_.size + linear.intercept_.size}
    histories, models = {}, {}
    for name in networks(words):
        trainers = [train(networks(words)[name], data, options.epochs, seed) for seed in range(options.seeds)]
        models[name] = trainers[0].model
        parameters[name] = models[name].parameters.size
        histories[name] = [dict(trainer.history) for trainer in trainers]
        probabilities[name] = {
            part: [trainer.model.predict_proba(data[part][0]) for trainer in trainers]
            for part in ("validation", "test")
        }
    results = {
        name: {part: evaluate(each, y[part]) for part, each in seeds.items()} for name, seeds in probabilities.items()
    }
    accuracies = {name: np.mean([metrics["accuracy"] for metrics in each["test"]]) for name, each in results.items()}
    chance = np.sqrt(accuracies[LINEAR] * (1 - accuracies[LINEAR]) / len(y["test"]))
    print(f"{table(results, parameters)}\n")
    print(
        f"With {len(y['test']):,} sentences, the standard error of an accuracy is at least {chance:.1%}; blind guesses "
        f"have an accuracy of {1 / len(LIBRARIES):.0%}.\n{verdict(accuracies, chance)}\n"
    )
    print("the strongest words for each library (mean, seed 0):")
    for library, most in telling_words(models["mean"], vocabulary, parts["train"]["words"], 7).items():
        print(f"  {library:<13}{', '.join(most)}")
    last = list(models)[-1]
    print(f"\ntest sentences that the {last} (seed 0) predicts with the highest confidence:")
    print(show(parts["test"], probabilities[last]["test"][0], y["test"]))

    options.output.mkdir(parents=True, exist_ok=True)
    report = {
        "sentences": {name: len(part) for name, part in parts.items()},
        "words": words,
        "penalty": float(linear.C),
        "metrics": results,
        "histories": histories,
    }
    (options.output / "report.json").write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    pictures = pictures_possible()
    if pictures:
        draw(options.output, last, probabilities[last]["test"][0], y["test"], results, histories)
    print(f"\nreport.json{' and pictures' if pictures else ''}: {options.output}")


if __name__ == "__main__":
    run_program(main)
