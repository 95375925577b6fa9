"""What is shown of a network: the table of a notebook; the summary is tested with the models and blocks it shows."""

from html.parser import HTMLParser

import numpy as np
import pytest

from minidl import (
    BatchNorm,
    Concatenate,
    Dense,
    MeanSquaredError,
    ReLU,
    Residual,
    Sequential,
    SoftmaxCrossEntropy,
    Tanh,
)


class Table(HTMLParser):
    """The cells of each line, and all colours; fails where a tag is not closed."""

    def __init__(self, text):
        super().__init__()
        self.rows, self.open, self.styles = [], [], []
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag, attributes):
        self.styles.append(dict(attributes).get("style", ""))
        if tag == "br":
            self.rows[-1][-1] += "\n"
            return
        self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
        elif tag in {"td", "th"}:
            self.rows[-1].append("")

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.rows[-1][-1] += data


def rows_of(model):
    return Table(model._repr_html_()).rows


def test_a_notebook_gets_a_table_of_layers_settings_shapes_and_parameters():
    rows = rows_of(Sequential([Dense(3), BatchNorm(), ReLU(), Dense(2), SoftmaxCrossEntropy()], input_shape=4))
    assert rows == [
        ["#", "layer", "settings", "output shape", "parameters"],
        ["", "input", "", "(N, 4)", ""],
        ["1", "dense_1", "Dense(units=3, initializer='he_normal', use_bias=True)", "(N, 3)", "15"],
        ["2", "batch_norm_1", "BatchNorm(momentum=0.9, epsilon=1e-05)", "(N, 3)", "6"],
        ["3", "relu_1", "ReLU()", "(N, 3)", "0"],
        ["4", "dense_2", "Dense(units=2, initializer='he_normal', use_bias=True)", "(N, 2)", "8"],
        ["loss: SoftmaxCrossEntropy(label_smoothing=0.0)\nparameters: 29 of float32, 0.1 KiB"],
    ]


def test_the_table_shows_the_layers_inside_blocks_and_what_is_frozen():
    model = Sequential([Residual([Dense(4), Tanh()]), Concatenate([Dense(3), Dense(2)])], input_shape=4)
    model["residual_1"].trainable = False
    cells = [row[:3] for row in rows_of(model)[2:-1]]
    assert [number for number, *_ in cells] == ["1", "1.1", "1.1.1", "1.1.2", "2", "2.1", "2.1.1", "2.2", "2.2.1"]
    assert [name for _, name, _ in cells][:5] == [
        "residual_1frozen",
        "layersfrozen",
        "dense_1frozen",
        "tanh_1",
        "concatenate_1",
    ]
    assert [kind for *_, kind in cells][:2] == ["Residual", "Sequential"]
    assert "20 frozen, 25 trained" in rows_of(model)[-1][0]


def test_the_table_of_a_model_without_shapes_says_so(capsys):
    model = Sequential([Dense(3), MeanSquaredError()])
    rows = rows_of(model)
    assert [row[-2:] for row in rows[1:3]] == [["?", ""], ["?", "?"]]
    assert "the input shape comes with the first data" in rows[-1][0]
    assert model.input_shape is None
    model.summary()
    assert capsys.readouterr().out.splitlines()[1].split()[-2:] == ["?", "?"]


@pytest.mark.parametrize("name", ["<script>alert(1)</script>".replace("/", ""), "a & b", 'x" onclick="y'])
def test_names_and_settings_are_escaped(name):
    model = Sequential([Dense(3, name=name)], input_shape=np.int64(4))
    assert rows_of(model)[2][1] == name
    assert "<script" not in model._repr_html_()


def test_the_table_sets_no_colour_that_a_dark_page_would_hide():
    styles = " ".join(Table(Sequential([Dense(3)], input_shape=4)._repr_html_()).styles)
    assert "#" not in styles
    assert styles.count("color: inherit") == 1
    assert set(styles.replace("rgba(128, 128, 128, 0.5)", "grey").split("rgb")) == {
        styles.replace("rgba(128, 128, 128, 0.5)", "grey")
    }
