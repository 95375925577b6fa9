"""The example of a character model, in short runs."""

import collections
import json
import math
import re
import runpy
import sys

import numpy as np
import pytest
from scripts import ROOT, run_here

from minidl import (
    GRU,
    LSTM,
    Dense,
    Embedding,
    LayerNorm,
    MultiHeadAttention,
    PositionEmbedding,
    Sequential,
    SoftmaxCrossEntropy,
    TiedEmbedding,
    TransformerBlock,
    generate,
)

SHORT = ["--length", 30, "--samples", 1]


@pytest.fixture(scope="module")
def example():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(ROOT / "examples")
        names = runpy.run_path(str(ROOT / "examples" / "characters.py"))
        sys.modules.pop("example_options", None)
    return names


@pytest.fixture(scope="module")
def zen(tmp_path_factory):
    output = tmp_path_factory.mktemp("runs") / "new" / "characters"
    result = run_here("examples/characters", "--steps", 40, "--temperature", 0, 1, *SHORT, "--output", output)
    assert result.returncode == 0, result.stderr
    return result.stdout, output, json.loads((output / "report.json").read_text(encoding="utf-8"))


def test_the_zen_of_python_is_read_and_not_printed(example, capfd, monkeypatch):
    monkeypatch.delitem(sys.modules, "this", raising=False)
    text = example["zen_of_python"]()
    assert capfd.readouterr().out == ""
    assert len(text) == 856
    assert text.startswith("The Zen of Python, by Tim Peters\n\nBeautiful is better than ugly.\n")
    assert text.endswith("\nNamespaces are one honking great idea -- let's do more of those!")


def test_a_network_learns_the_zen_and_its_losses_stand_beside_a_table(zen):
    out, _, report = zen
    assert "The Zen of Python: 856 characters, 45 different ones; the last 85 are held out" in out
    assert f"transformer: {report['parameters']:,} parameters, 1 epoch of 45 steps" in out
    bigram, history = report["bigram loss"], report["history"]
    assert f"of the table of pairs: {bigram:.3f} nats ({bigram / math.log(2):.3f} bits)" in out
    assert history["loss"][0] < math.log(45)
    assert report["steps"] == 45
    best = min(history["val_loss"])
    assert f"lowest, after epoch {report['best epoch']}: {best:.3f} nats ({best / math.log(2):.3f} bits)" in out


def test_it_writes_with_what_is_remembered_what_it_writes_anew(zen):
    out, _, report = zen
    assert report["writing"]["characters"] == 48
    assert report["writing"]["same text"]
    largest, difference = (report["writing"][f"largest {each}"] for each in ("score", "difference by largest score"))
    assert 0 <= difference < 1e-5
    wanted = "the texts are the same; the largest difference of scores, divided by the largest score, "
    assert f"{wanted}{largest:.1f}, is {difference:.1e}\n" in out


# Here each layer remembers something else: states, a state and a cell, keys and values and the number of positions.
WRITERS = {
    "gru": lambda: [GRU(8, return_sequences=True)],
    "lstm": lambda: [LSTM(8, return_sequences=True)],
    "learned positions": lambda: [PositionEmbedding(), TransformerBlock(8, 2, causal=True), LayerNorm()],
    "rotary positions": lambda: [TransformerBlock(8, 2, causal=True, rotary=True), LayerNorm()],
}


# Rounding is 6e-8 in float32 and 1e-16 in float64, of the largest numbers. The layers amplify it by less than 100.
@pytest.mark.parametrize(("dtype", "limit"), [("float32", 1e-5), ("float64", 1e-12)])
@pytest.mark.parametrize("tied", [False, True], ids=["two arrays", "tied"])
@pytest.mark.parametrize("layers", WRITERS)
def test_both_ways_to_write_differ_only_by_rounding(example, layers, tied, dtype, limit):
    first, between = Embedding(20, 8), WRITERS[layers]()
    stack = [TiedEmbedding(first, between, use_bias=True)] if tied else [first, *between, Dense(20)]
    model = Sequential([*stack, SoftmaxCrossEntropy()], input_shape=64, seed=0, dtype=dtype)
    model.parameters += np.random.default_rng(0).normal(size=model.parameters.size)  # far from the first values
    ways = example["compare_ways_to_write"](model, np.arange(16) % 20, 0)
    assert ways["same text"]
    assert ways["largest score"] > 1
    assert ways["largest difference by largest score"] < limit


def test_a_larger_difference_than_by_rounding_ends_the_example_with_an_error(example, monkeypatch, tmp_path):
    monkeypatch.setitem(example["main"].__globals__, "ROUNDING", -1)
    with pytest.raises(SystemExit, match=r"error: rounding may change scores by -1 of the largest score, not by \d"):
        example["main"]([*map(str, ("--steps", 1, *SHORT, "--output", tmp_path))])


def test_samples_continue_the_text_held_out_at_each_temperature(zen):
    out, output, report = zen
    written = out.split("\nheld-out loss after ")[0]
    samples = re.findall(r"  temperature (.*):\n((?:    .*\n?)+)", written)
    assert [temperature for temperature, _ in samples] == ["0", "1"] * 2
    texts = [re.sub("^    ", "", sample, flags=re.MULTILINE).rstrip("\n") for _, sample in samples]
    assert all(text.startswith(" may be a good i") for text in texts)
    model, characters = Sequential.load(output / "transformer.npz"), report["characters"]
    prompt = [characters.index(each) for each in " may be a good i"]
    again = "".join(characters[each] for each in generate(model, prompt, 30, temperature=0))
    assert texts[2] == (" may be a good i" + again).rstrip("\n")


def test_a_run_leaves_a_model_and_pictures(zen):
    _, output, _ = zen
    assert {path.name for path in output.iterdir()} == {"attention.png", "losses.png", "report.json", "transformer.npz"}
    for name in ("attention.png", "losses.png"):
        assert (output / name).read_bytes().startswith(b"\x89PNG")
    attention = [
        each for each in Sequential.load(output / "transformer.npz").walk() if type(each) is MultiHeadAttention
    ]
    assert [(each.heads, each.causal) for each in attention] == [(4, True)] * 2


def test_a_recurrent_network_learns_a_text_of_ones_own(tmp_path):
    text = "Zwölf Boxkämpfer jagen Eva quer über den Sylter Deich.\n" * 14
    (tmp_path / "text.txt").write_text(text, encoding="utf-8")
    options = ["--text", tmp_path / "text.txt", "--model", "gru", "--tied", "--learning-rate", 0.01, "--steps", 80]
    output = tmp_path / "out"
    result = run_here("examples/characters", *options, "--temperature", 0, *SHORT, "--output", output)
    assert result.returncode == 0, result.stderr
    assert {path.name for path in output.iterdir()} == {"gru.npz", "losses.png", "report.json", "states.png"}
    report = json.loads((output / "report.json").read_text(encoding="utf-8"))
    assert report["writing"]["same text"]
    assert report["writing"]["largest difference by largest score"] < 1e-5
    assert report["history"]["val_loss"][-1] < report["bigram loss"]  # a text that repeats itself
    assert type(Sequential.load(output / "gru.npz").layers[0]) is TiedEmbedding


def test_the_table_of_pairs_is_counted(example):
    rng = np.random.default_rng(0)
    ids, before, after = rng.integers(0, 5, 60), rng.integers(0, 5, (3, 4)), rng.integers(0, 5, (3, 4))
    counts = collections.Counter(zip(ids[:-1].tolist(), ids[1:].tolist(), strict=True))
    losses = []
    for first, second in zip(before.ravel().tolist(), after.ravel().tolist(), strict=True):
        total = sum(counts[first, other] + 0.1 for other in range(5))
        losses.append(-math.log((counts[first, second] + 0.1) / total))
    assert example["bigram_loss"](ids, 5, before, after) == pytest.approx(np.mean(losses))


@pytest.mark.parametrize(("length", "most", "rows"), [(65, 500, 1), (90, 500, 26), (1000, 50, 47), (5000, 3, 78)])
def test_windows_are_spread_evenly_and_miss_next_to_nothing(example, length, most, rows):
    ids = np.arange(length)
    x, y = example["pairs"](ids, most)
    assert x.shape == y.shape == (rows, 64)
    np.testing.assert_array_equal(y, x + 1)
    assert len({*np.diff(x[:, 0]).tolist()}) <= 1
    assert {*y.ravel().tolist()} >= {*range(1, length - 64)}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--text", "{folder}/none.txt"], "none.txt"),
        (["--text", "{folder}/short.txt"], "short.txt has 12 characters, too few to hold some out: give 650 or more"),
        (["--text", "{folder}/one.txt"], "one.txt repeats 'a'; give a text with at least two different characters"),
        (["--text", "{folder}/latin.txt"], "latin.txt is not in UTF-8: byte 1 is invalid. Save it as UTF-8"),
        (["--model", "lstm"], "invalid choice: 'lstm'"),
        (["--steps", "0"], "'0' is not a whole number of 1 or more"),
        (["--temperature", "1", "-1"], "'-1' does not fit: give a number of 0 or more"),
        (["--temperature"], "expected at least one argument"),
        (["--learning-rate", "0"], "'0' does not fit: give a number above 0"),
        (["--output", __file__], "test_characters.py is a file: give a folder"),
    ],
)
def test_a_wrong_option_or_text_is_one_plain_line(tmp_path, arguments, message):
    (tmp_path / "short.txt").write_text("A short text")
    (tmp_path / "one.txt").write_text("a" * 700)
    (tmp_path / "latin.txt").write_bytes("Köln ".encode("latin-1") * 400)
    given = [argument.format(folder=tmp_path) for argument in arguments]
    result = run_here("examples/characters", "--output", tmp_path / "out", *given)
    assert result.returncode != 0
    assert message in result.stderr
    assert result.stderr.count("\n") == 1
    assert not (tmp_path / "out").exists()
