import copy
import dataclasses
import itertools
import pickle
import subprocess
import sys
from types import SimpleNamespace

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import sklearn.metrics
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.axes import Axes
from matplotlib.colors import to_hex, to_rgb
from matplotlib.patches import Rectangle
from matplotlib.text import Text

from minidl import (
    GRU,
    L2,
    BatchNorm,
    Bidirectional,
    CosineDecay,
    CrossValidation,
    Dense,
    Dropout,
    Embedding,
    Ensemble,
    Flatten,
    FunctionCallback,
    History,
    LeakyReLU,
    MeanSquaredError,
    OneCycle,
    RateSearch,
    ReLU,
    Rescale,
    Residual,
    Search,
    Sequential,
    Sigmoid,
    SigmoidCrossEntropy,
    SoftmaxCrossEntropy,
    StepDecay,
    Tanh,
    Trainer,
    plots,
)
from minidl.errors import (
    ArgumentError,
    ArgumentTypeError,
    DataError,
    MissingDependencyError,
    NotReadyError,
    ShapeError,
)
from minidl.functional import softmax
from minidl.layers import Conv2D, MaxPool2D
from minidl.metrics import expected_calibration_error, reliability_table
from minidl.plots import evidence
from minidl.plots.canvas import VERMILION
from minidl.training.cross_validation import Run
from minidl.training.parameter_search import SearchRun

nan = float("nan")


@pytest.fixture(autouse=True)
def no_figure_survives_a_test():
    yield
    plt.close("all")


def random(seed=0):
    return np.random.default_rng(seed)


def a_history(epochs=20, rate=1.0, validation_every=1):
    number = np.arange(1, epochs + 1)
    loss = 2 * np.exp(-rate * number / epochs)
    validation = np.where(number % validation_every == 0, loss + 0.1, nan)
    return {
        "loss": loss.tolist(),
        "accuracy": (1 - loss / 3).tolist(),
        "val_loss": validation.tolist(),
        "val_accuracy": (1 - validation / 3).tolist(),
    }


def a_cross_validation(epochs=(4, 3, 5)):
    """One of three runs, the first with losses 1, 2, 3, ..., the second with twice those, and so on."""
    runs = []
    for fold, length in enumerate(epochs, start=1):
        history = History()
        for epoch in range(1, length + 1):
            history.append({"loss": fold * epoch, "accuracy": epoch / 10, "val_loss": 10 * fold * epoch})
        values = {name: column[-1] for name, column in history.items()}
        runs.append(Run(0, fold, np.array([fold - 1]), history, values, np.zeros((1, 2))))
    return CrossValidation(runs, len(epochs), SoftmaxCrossEntropy())


def halves(scale=1.0, loss=None, sign=1.0):
    """A model of two classes, whose boundary is the line x_1 = 0.5: the second class is on the right."""
    weight = [[0, sign * scale], [0, 0]] if loss is None else [[sign * scale], [0]]
    layer = Dense(len(weight[0]))
    model = Sequential([layer, loss or SoftmaxCrossEntropy()], input_shape=2)
    layer.weight.value[:] = weight
    layer.bias.value[-1] = -sign * scale / 2
    return model


def drawn_texts(figure):
    """The texts that a reader sees: not those of ticks out of view or of axes switched off."""
    figure.draw_without_rendering()
    unseen = set()
    for ax in figure.findobj(Axes):
        for axis in (ax.xaxis, ax.yaxis):
            low, high = sorted(axis.get_view_interval())
            if not ax.axison:
                unseen.update(axis.findobj(Text))
            for tick in axis.get_major_ticks():
                if not low <= tick.get_loc() <= high:
                    unseen.update(tick.findobj(Text))
    return [text for text in figure.findobj(Text) if text.get_visible() and text.get_text() and text not in unseen]


def assert_legible(figure, *, overlap=False):
    """No text leaves the figure, and none touches another."""
    texts = drawn_texts(figure)
    low, high = np.array([text.get_window_extent().get_points() for text in texts]).reshape(-1, 2, 2).swapaxes(0, 1)
    inside = ((low >= figure.bbox.min) & (high <= figure.bbox.max)).all(axis=1)
    assert inside.all(), f"{texts[inside.argmin()]} leaves the figure"
    # Width and height that two texts share; a figure may have hundreds of texts, and tens of thousands of pairs.
    shared = np.minimum(high[:, np.newaxis], high) - np.maximum(low[:, np.newaxis], low)
    touching = [] if overlap else np.argwhere(np.triu((shared >= 1).all(axis=2), k=1))
    assert len(touching) == 0, f"{texts[touching[0][0]]} touches {texts[touching[0][1]]}"


def captions(ax):
    return [text.get_text() for text in ax.texts]


def legend_of(ax):
    legend = ax.get_legend()
    names = [text.get_text() for text in legend.get_texts()]
    return dict(zip(names, legend.get_lines(), strict=True))


def y_values(line):
    return line.get_ydata().tolist()


# What all of them share


def test_importing_the_plots_imports_no_drawing_and_no_other_heavy_library():
    heavy = "{'matplotlib', 'sklearn', 'pandas'}"
    program = f"import sys, minidl.plots; sys.exit(bool({heavy} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_without_matplotlib_the_error_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'minidl\[plots\]'"):
        plots.plot_history(a_history())


def a_rate_search():
    return RateSearch(np.geomspace(1e-4, 1, 9), np.array([3, 3, 2.9, 2.5, 1.5, 1.0, 0.9, 1.5, 4.0]))


def a_network(layers=None, **options):
    """A classifier of three classes and four inputs."""
    layers = layers or [Dense(8), BatchNorm(), ReLU(), Dropout(0.5), Dense(3)]
    return Sequential([*layers, SoftmaxCrossEntropy()], seed=0, **{"input_shape": 4} | options)


def a_convolutional_network(channels=1, loss=None, outputs=3, **options):
    layers = [Rescale(1 / 255), Conv2D(5, 3, padding="same"), MaxPool2D(2), ReLU(), Dropout(0.5), Conv2D(12, 3)]
    layers += [BatchNorm(), ReLU(), Flatten(), Dense(outputs), loss or SoftmaxCrossEntropy()]
    return Sequential(layers, seed=0, **{"input_shape": (8, 8, channels)} | options)


def pixels_for(count, channels=1):
    return random().integers(0, 256, (count, 8, 8, channels), np.uint8)


def rows_for(count):
    return random().normal(size=(count, 4))


DRAWINGS = {
    "history": lambda **where: plots.plot_history(a_history(), **where),
    "confusion": lambda **where: plots.plot_confusion_matrix([0, 1, 1], [0, 1, 0], **where),
    "images": lambda **where: plots.plot_images(np.eye(9).reshape(9, 3, 3), targets=range(9), **where),
    "mistakes": lambda **where: plots.plot_mistakes(np.ones((2, 4)), [0, 1], [[0.2, 0.8], [0.9, 0.1]], **where),
    "no mistakes": lambda **where: plots.plot_mistakes(np.ones((2, 4)), [1, 0], [[0.2, 0.8], [0.9, 0.1]], **where),
    "schedule": lambda **where: plots.plot_schedule({"one cycle": OneCycle(0.1, steps=50), "flat": 0.05}, 60, **where),
    "rate search": lambda **where: plots.plot_rate_search(a_rate_search(), **where),
    "weights": lambda **where: plots.plot_weights(np.eye(9), **where),
    "cross-validation": lambda **where: plots.plot_cross_validation(a_cross_validation(), **where),
    "reliability": lambda **where: plots.plot_reliability([0, 1, 1], [0.2, 0.9, 0.4], **where),
    "reliabilities": lambda **where: plots.plot_reliability([0, 1], {"a": [0.2, 0.9], "b": [0.4, 0.6]}, **where),
    "weight distributions": lambda **where: plots.plot_weight_distributions(a_network(), **where),
    "activation distributions": lambda **where: plots.plot_activation_distributions(a_network(), rows_for(9), **where),
    "gradient distributions": lambda **where: plots.plot_gradient_distributions(
        a_network(), rows_for(9), [0, 1, 2] * 3, **where
    ),
    "kernels": lambda **where: plots.plot_kernels(a_convolutional_network(), **where),
    "kernels of channels": lambda **where: plots.plot_kernels(random().normal(size=(3, 3, 40, 50)), limit=20, **where),
    "feature maps": lambda **where: plots.plot_feature_maps(a_convolutional_network(), pixels_for(1), limit=2, **where),
    "evidence": lambda **where: plots.plot_evidence(a_convolutional_network(), pixels_for(5), limit=4, **where),
    "boundary": lambda **where: plots.plot_decision_boundary(halves(), [[0, 0], [1, 1]], [0, 1], **where),
}


@pytest.mark.parametrize("draw", DRAWINGS.values(), ids=DRAWINGS)
def test_a_drawing_goes_into_the_axes_given_and_opens_no_figure(draw):
    figure, grid = plt.subplots(2, 2, layout="constrained")
    for ax in grid.flat:
        assert draw(ax=ax) is ax
    assert plt.get_fignums() == [figure.number]
    assert_legible(figure)


@pytest.mark.parametrize("draw", DRAWINGS.values(), ids=DRAWINGS)
def test_a_drawing_without_axes_opens_one_legible_figure_that_pyplot_knows(draw, tmp_path):
    settings = matplotlib.rcParams.copy()
    ax = draw()
    assert plt.gcf() is ax.figure
    assert len(plt.get_fignums()) == 1
    assert_legible(ax.figure)
    ax.figure.savefig(tmp_path / "picture.png")
    assert matplotlib.rcParams == settings


@pytest.mark.parametrize("draw", DRAWINGS.values(), ids=DRAWINGS)
def test_a_drawing_fits_a_subfigure(draw):
    left, _ = plt.figure(layout="constrained", figsize=(9, 4)).subfigures(1, 2)
    ax = left.subplots()
    assert draw(ax=ax) is ax
    assert_legible(left.figure)


# Histories


def test_curves_hold_the_values_of_the_history_over_epochs_from_one():
    history = a_history(5)
    ax = plots.plot_history(history)
    training, validation = ax.get_lines()
    assert training.get_xdata().tolist() == [1, 2, 3, 4, 5]
    assert y_values(training) == history["loss"]
    assert y_values(validation) == history["val_loss"]
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("epoch", "loss")


def test_training_is_solid_and_validation_dashed_in_one_colour_and_the_legend_says_so():
    ax = plots.plot_history(a_history())
    training, validation = ax.get_lines()
    assert (training.get_linestyle(), validation.get_linestyle()) == ("-", "--")
    assert training.get_color() == validation.get_color()
    legend = legend_of(ax)
    assert list(legend) == ["training", "validation"]
    for drawn, shown in zip(ax.get_lines(), legend.values(), strict=True):
        assert drawn.get_linestyle() == shown.get_linestyle()
        assert drawn.get_color() == shown.get_color()


def test_each_run_of_several_has_its_name_and_its_colour():
    runs = {"plain": a_history(30), 0.1: a_history(40, rate=2), "fast": a_history(20, rate=3)}
    ax = plots.plot_history(runs)
    lines = ax.get_lines()
    assert [y_values(line) for line in lines[::2]] == [run["loss"] for run in runs.values()]
    colours = [line.get_color() for line in lines[::2]]
    assert len(set(colours)) == 3
    assert [line.get_color() for line in lines[1::2]] == colours
    legend = legend_of(ax)
    assert list(legend) == ["plain", "0.1", "fast", "training", "validation"]
    assert [legend[name].get_color() for name in ("plain", "0.1", "fast")] == colours
    assert ax.get_xlim() == (0.5, 40.5)


def test_a_list_of_histories_is_numbered_and_many_runs_still_differ_in_colour():
    ax = plots.plot_history([a_history(3) for _ in range(12)])
    assert list(legend_of(ax))[:2] == ["run 1", "run 2"]
    assert len({to_hex(line.get_color()) for line in ax.get_lines()}) == 12


def test_two_metrics_at_once_are_refused():
    with pytest.raises(ArgumentTypeError, match="give the name of one metric, such as 'loss', for each plot"):
        plots.plot_history(a_history(), ["loss", "accuracy"])
    assert not plt.get_fignums()


def test_a_data_frame_is_a_history_alone_and_among_others():
    history = a_history(4)
    frame = pd.DataFrame(history)
    assert y_values(plots.plot_history(frame).get_lines()[0]) == history["loss"]
    assert len(plots.plot_history({"one": frame, "other": history}).get_lines()) == 4


def test_a_single_epoch_shows_as_points_that_differ_and_one_tick():
    ax = plots.plot_history(a_history(1), "accuracy")
    training, validation = ax.get_lines()
    assert training.get_marker() == validation.get_marker() == "o"
    assert training.get_markerfacecolor() != validation.get_markerfacecolor()
    assert [tick for tick in ax.get_xticks() if 0.5 <= tick <= 1.5] == [1]
    assert_legible(ax.figure)


@pytest.mark.parametrize("epochs", [1, 2, 3, 7, 20, 500])
def test_ticks_stand_at_whole_epochs(epochs):
    ax = plots.plot_history(a_history(epochs))
    ticks = [tick for tick in ax.get_xticks() if 0.5 <= tick <= epochs + 0.5]
    assert ticks
    assert all(tick == round(tick) >= 1 for tick in ticks)


def test_epochs_without_validation_are_skipped_and_their_neighbours_joined():
    ax = plots.plot_history(a_history(10, validation_every=5))
    assert ax.get_lines()[1].get_xdata().tolist() == [5, 10]
    assert ax.get_lines()[1].get_marker() == "o"


def test_a_history_without_any_validation_says_training_only():
    never = a_history(5) | {"val_loss": [nan] * 5}
    assert list(legend_of(plots.plot_history(never))) == ["training"]
    assert list(legend_of(plots.plot_history({"loss": [2, 1]}))) == ["training"]


@pytest.mark.parametrize("metric", ["top_5", "val_top_5"])
def test_a_metric_of_the_validation_alone_is_drawn_dashed(metric):
    ax = plots.plot_history({"loss": [1, 2], "val_top_5": [0.5, 0.6]}, metric)
    (line,) = ax.get_lines()
    assert line.get_linestyle() == "--"
    assert list(legend_of(ax)) == ["validation"]
    assert ax.get_ylabel() == "top 5"


def test_accuracies_are_percentages_and_losses_are_not():
    ax = plots.plot_history(a_history(), "accuracy")
    tick = ax.yaxis.get_major_formatter()
    assert [tick(0.975), tick(0.29), tick(1.0)] == ["97.5%", "29%", "100%"]
    assert "%" not in "".join(text.get_text() for text in drawn_texts(plots.plot_history(a_history()).figure))


@pytest.mark.parametrize("epochs", [1, 20, 500])
@pytest.mark.parametrize("runs", [1, 3, 9])
def test_the_legend_covers_no_curve_and_a_title_stands_above_it(runs, epochs):
    ax = plots.plot_history({f"learning rate 1e-{n}": a_history(epochs, rate=n + 1) for n in range(runs)})
    title = ax.set_title("a title of the user's")
    assert_legible(ax.figure)
    legend = ax.get_legend().get_window_extent()
    assert legend.y0 >= ax.get_window_extent().y1 - 1
    assert legend.x0 >= 0
    assert legend.x1 <= ax.figure.bbox.x1
    assert title.get_window_extent().y0 >= legend.y1 - 1


def test_a_legend_of_names_too_long_for_its_axes_has_one_column():
    _, grid = plt.subplots(1, 2)
    ax = plots.plot_history({"a very long name " * 4: a_history(3)}, ax=grid[0])
    assert ax.get_legend()._ncols == 1


def test_several_histories_fit_a_grid_of_axes():
    figure, grid = plt.subplots(2, 2, layout="constrained")
    for ax in grid.flat:
        plots.plot_history({"one": a_history(), "other": a_history(10)}, "accuracy", ax=ax)
    assert_legible(figure)


@pytest.mark.parametrize("known", [a_history(3), {"run": a_history(3)}, [a_history(3)], pd.DataFrame(a_history(3))])
def test_an_unknown_metric_is_refused_with_the_closest_and_all(known):
    with pytest.raises(ArgumentError, match=r"no metric 'acuracy'; did you mean 'accuracy'.* loss, accuracy, val_loss"):
        plots.plot_history(known, "acuracy")
    assert not plt.get_fignums()


def test_an_error_of_one_run_among_several_names_it():
    with pytest.raises(ArgumentError, match="history 'second' has no metric 'loss'"):
        plots.plot_history({"first": a_history(3), "second": {"accuracy": [1]}})


@pytest.mark.parametrize("nothing", [{}, [], {"loss": []}, {"loss": [nan, nan]}, {"run": {}}])
def test_a_history_without_a_value_is_refused(nothing):
    with pytest.raises(DataError, match=r"train first|no history"):
        plots.plot_history(nothing)


def test_columns_of_different_lengths_are_refused():
    with pytest.raises(DataError, match="2 epochs of 'loss' but 1 of 'val_loss'"):
        plots.plot_history({"loss": [1, 2], "val_loss": [1]})


@pytest.mark.parametrize("other", [3, "loss", [1.0, 2.0], {"run": a_history(2), "loss": [1.0]}, None])
def test_what_is_no_history_is_refused(other):
    with pytest.raises(ArgumentTypeError, match="takes a history"):
        plots.plot_history(other)


# Schedules


def test_a_schedule_is_drawn_at_the_steps_that_are_taken():
    (line,) = plots.plot_schedule(CosineDecay(0.5, steps=30), 40).lines
    assert line.get_xdata().tolist() == list(range(40))
    assert y_values(line) == [CosineDecay(0.5, steps=30)(step) for step in range(40)]
    assert line.axes.get_legend() is None
    assert line.axes.get_ylim()[0] == 0


def test_several_schedules_have_their_names_and_their_colours():
    ax = plots.plot_schedule({"cosine": CosineDecay(0.5, steps=30), "flat": 0.1, "own": lambda step: 0.2}, 30)
    lines = legend_of(ax)
    assert set(lines) == {"cosine", "flat", "own"}
    assert len({line.get_color() for line in ax.lines}) == 3
    assert [y_values(line)[-1] for line in ax.lines[1:]] == [0.1, 0.2]
    listed = plots.plot_schedule(
        [CosineDecay(0.5, steps=30), StepDecay(0.5, every=10), StepDecay(0.5, every=20), 0.1], 30
    )
    assert set(legend_of(listed)) == {
        "CosineDecay",
        "StepDecay(rate=0.5, every=10, factor=0.1)",
        "StepDecay(rate=0.5, every=20, factor=0.1)",
        "0.1",
    }
    assert_legible(listed.figure)
    many = plots.plot_schedule([StepDecay(0.5, every=every) for every in range(1, 9)], 30)
    assert len({(to_hex(line.get_color()), line.get_linestyle()) for line in many.lines}) == 8


def test_of_a_long_run_not_every_step_is_asked_for_but_the_ends_are():
    asked = []
    (line,) = plots.plot_schedule(lambda step: float(asked.append(step) or step), 1_000_000).lines
    assert asked[0] == 0
    assert asked[-1] == 999_999
    assert len(asked) == len(set(asked)) == 5_000
    assert {type(step) for step in asked} == {int}
    assert line.get_xdata().tolist() == asked


def test_a_single_step_shows_as_a_point():
    assert plots.plot_schedule(0.1, 1).lines[0].get_marker() == "o"


@pytest.mark.parametrize(
    ("schedule", "steps", "error", "message"),
    [
        ("cosine", 10, ArgumentTypeError, "takes a Schedule, another function of the step .* not 'cosine'"),
        (None, 10, ArgumentTypeError, "takes a Schedule"),
        ([], 10, DataError, "no schedule to draw"),
        ({}, 10, DataError, "no schedule to draw"),
        (0.1, 0, ArgumentError, "steps is 0; it must be a whole number, 1 or more"),
        (0.1, 2.5, ArgumentTypeError, "steps is 2.5; it must be a whole number"),
        (lambda step: 1.0 - step, 10, ArgumentError, "the schedule at step 2 is -1.0"),
        ({"bad": lambda step: "x"}, 10, ArgumentTypeError, "bad at step 0 is 'x'"),
    ],
)
def test_what_is_no_schedule_is_refused(schedule, steps, error, message):
    with pytest.raises(error, match=message):
        plots.plot_schedule(schedule, steps)


# Confusion matrices


def cell_texts(ax):
    count = len(ax.get_xticks())
    cells = np.empty((count, count), dtype=object)
    for text in ax.texts:
        column, row = text.get_position()
        cells[row, column] = text.get_text()
    return cells


def some_predictions(classes, rows=2000, accuracy=0.95):
    targets = random().integers(classes, size=rows)
    other = random(1).integers(classes, size=rows)
    return targets, np.where(random(2).random(rows) < accuracy, targets, other)


@pytest.mark.parametrize("classes", [2, 10, 20])
def test_the_cells_hold_the_counts_of_scikit_learn_and_are_legible(classes):
    targets, predictions = some_predictions(classes)
    ax = plots.plot_confusion_matrix(targets, predictions)
    expected = sklearn.metrics.confusion_matrix(targets, predictions)
    assert cell_texts(ax).astype(int).tolist() == expected.tolist()
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("predicted", "true")
    assert ax.get_title() == f"{np.trace(expected):,} of 2,000 right"
    assert_legible(ax.figure)
    assert min(text.get_fontsize() for text in ax.texts) >= 8


def test_the_counts_of_many_classes_shrink_to_fit_small_axes():
    figure, grid = plt.subplots(2, 2, layout="constrained", figsize=(8, 8))
    plots.plot_confusion_matrix(*some_predictions(20), ax=grid[0, 0])
    plots.plot_confusion_matrix(*some_predictions(10, rows=20000), ax=grid[1, 1])
    assert_legible(figure)


@pytest.mark.parametrize("normalize", ["true", "pred", "all"])
def test_normalized_cells_hold_the_percentages_of_scikit_learn(normalize):
    targets, predictions = some_predictions(4)
    ax = plots.plot_confusion_matrix(targets, predictions, normalize=normalize)
    expected = 100 * sklearn.metrics.confusion_matrix(targets, predictions, normalize=normalize)
    np.testing.assert_allclose(cell_texts(ax).astype(float), expected, atol=0.0501)
    assert "\n% of" in ax.get_title()
    assert_legible(ax.figure)


def cell_colour(ax, row, column):
    (colour,) = [
        image.to_rgba(image.get_array())[row, column, :3]
        for image in ax.get_images()
        if not np.ma.getmaskarray(image.get_array())[row, column]
    ]
    return colour


def test_the_many_right_ones_do_not_hide_which_mistake_is_more_frequent():
    targets = np.repeat([0, 1, 2], 1000)
    predictions = targets.copy()
    predictions[:10] = 1
    predictions[10:12] = 2
    ax = plots.plot_confusion_matrix(targets, predictions)
    right, ten, two = (cell_colour(ax, 0, column) for column in range(3))
    assert right[2] > right[0]  # blue
    assert ten[0] > ten[2]  # orange
    assert two.sum() - ten.sum() > 0.1  # visibly paler
    assert 3 - two.sum() > 0.1  # and visibly not white


def contrast(one, other):
    """The contrast ratio of the Web Content Accessibility Guidelines, from 1 to 21."""

    def luminance(colour):
        linear = np.where(np.asarray(colour) <= 0.04045, colour / 12.92, ((colour + 0.055) / 1.055) ** 2.4)
        return linear @ (0.2126, 0.7152, 0.0722)

    low, high = sorted([luminance(np.asarray(one)), luminance(np.asarray(other))])
    return (high + 0.05) / (low + 0.05)


def test_the_counts_stand_out_from_the_colour_behind_them():
    targets, predictions = some_predictions(10, accuracy=0.6)
    ax = plots.plot_confusion_matrix(targets, predictions)
    for text in ax.texts:
        column, row = text.get_position()
        if text.get_text() != "0":
            assert contrast(to_rgb(text.get_color()), cell_colour(ax, row, column)) > 3


def test_names_stand_for_the_classes_in_order_and_long_ones_are_turned():
    targets, predictions = some_predictions(10)
    names = [f"rather long {letter}" for letter in "abcdefghij"]
    ax = plots.plot_confusion_matrix(targets, predictions, labels=names)
    assert [label.get_text() for label in ax.get_xticklabels()] == names
    assert [label.get_text() for label in ax.get_yticklabels()] == names
    assert {label.get_rotation() for label in ax.get_xticklabels()} == {45}
    assert_legible(ax.figure, overlap=True)  # the boxes around turned labels meet, the labels do not
    assert cell_texts(ax)[9, 9] == str(np.sum((targets == 9) & (predictions == 9)))


def test_labels_of_the_kind_of_the_targets_give_the_order():
    ax = plots.plot_confusion_matrix(["cat", "dog", "dog"], pd.Series(["dog", "dog", "dog"]), labels=["dog", "cat"])
    assert cell_texts(ax).tolist() == [["2", "0"], ["1", "0"]]
    ax = plots.plot_confusion_matrix([3, 5], [3.0, 3.0], labels=[5, 3])
    assert cell_texts(ax).tolist() == [["0", "1"], ["0", "1"]]


def test_probabilities_and_one_hot_rows_count_as_their_largest_entry():
    ax = plots.plot_confusion_matrix(np.eye(2)[[0, 1, 1]], [[0.9, 0.1], [0.8, 0.2], [0.3, 0.7]])
    assert cell_texts(ax).tolist() == [["1", "0"], ["1", "1"]]
    ax = plots.plot_confusion_matrix([[0], [1], [1]], [[0], [0], [1]])
    assert cell_texts(ax).tolist() == [["1", "0"], ["1", "1"]]


def test_predictions_that_are_all_wrong_are_drawn_too():
    ax = plots.plot_confusion_matrix([0, 1], [1, 0])
    assert cell_texts(ax).tolist() == [["0", "1"], ["1", "0"]]
    assert_legible(ax.figure)


def test_a_single_class_is_drawn_with_the_hint_of_scikit_learn_to_name_the_others():
    with pytest.warns(UserWarning, match="use the 'labels' parameter"):
        ax = plots.plot_confusion_matrix([1, 1], [1, 1])
    assert cell_texts(ax).tolist() == [["2"]]


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (([0, 1], [0]), ShapeError, "1 predictions for 2 rows"),
        (([], []), DataError, "no rows"),
        ((np.zeros((2, 2, 2)), [0, 1]), ShapeError, r"targets must have shape \(N,\) or \(N, K\)"),
        (([0, 1], [0.2, 0.9]), DataError, r"predictions must be classes, not 0\.2"),
        (([0, nan], [0, 1]), DataError, "targets must be classes, not nan"),
        (([0, float("inf")], [0, 1]), DataError, "targets must be classes, not inf"),
        (([0, 1], ["a", "b"]), DataError, "cannot be compared"),
    ],
)
def test_what_cannot_be_counted_is_refused_before_a_figure_opens(arguments, error, message):
    with pytest.raises(error, match=message):
        plots.plot_confusion_matrix(*arguments)
    assert not plt.get_fignums()


def test_a_class_without_a_label_and_an_unknown_normalization_are_refused():
    with pytest.raises(DataError, match="class 2 is not among the 2 labels"):
        plots.plot_confusion_matrix([0, 2], [0, 1], labels=["no", "yes"])
    with pytest.raises(ArgumentError, match=r"normalize must be .* not 'rows'"):
        plots.plot_confusion_matrix([0], [0], normalize="rows")


# Images


@pytest.mark.parametrize("shape", [(2, 784), (2, 28, 28), (2, 28, 28, 1), (2, 28, 28, 3), (2, 20, 30)], ids=str)
def test_images_of_every_layout_are_drawn_as_they_are(shape):
    images = random().integers(256, size=shape).astype(np.uint8)
    ax = plots.plot_images(images)
    drawn = [image.get_array() for image in ax.get_images()]
    np.testing.assert_allclose(np.reshape(drawn, shape), images / 255)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0, 51, 102, 255], [0, 0.2, 0.4, 1]),
        ([0.0, 0.2, 0.4, 0.8], [0, 0.2, 0.4, 0.8]),
        ([0.0, 51.0, 102.0, 204.0], [0, 0.2, 0.4, 0.8]),
        ([-1.0, 0.0, 2.0, 3.0], [0, 0.25, 0.75, 1]),
        ([0, 1000, 500, 250], [0, 1, 0.5, 0.25]),
        ([0, 0, 0, 0], [0, 0, 0, 0]),
        ([-3.0, -3.0, -3.0, -3.0], [0, 0, 0, 0]),
    ],
)
def test_values_go_from_black_to_white_over_the_range_they_come_in(values, expected):
    ax = plots.plot_images([values])
    (image,) = ax.get_images()
    np.testing.assert_allclose(image.get_array().ravel(), expected)
    assert image.get_clim() == (0, 1)


def test_captions_give_prediction_and_confidence_and_of_wrong_ones_the_truth():
    ax = plots.plot_images(
        np.zeros((3, 4)), predictions=[7, 3, 1], targets=pd.Series([7, 5, 1]), confidences=[0.98, 0.6, 1]
    )
    assert captions(ax) == ["7 (98%)", "\N{MULTIPLICATION SIGN} 3 (60%)\ntrue 5", "1 (100%)"]


@pytest.mark.parametrize(
    ("given_columns", "expected"),
    [
        ({}, ""),
        ({"targets": ["cat"]}, "cat"),
        ({"predictions": [4.0]}, "4"),
        ({"predictions": [[0.1, 0.9]]}, "1"),
        ({"confidences": [0.5]}, "(50%)"),
    ],
)
def test_captions_hold_what_is_known(given_columns, expected):
    assert captions(plots.plot_images(np.zeros((1, 4)), **given_columns)) == [expected]


def test_a_wrong_image_differs_in_the_colour_of_its_caption_and_in_its_frame():
    ax = plots.plot_images(np.zeros((2, 4)), predictions=[0, 1], targets=[0, 0])
    right, wrong = ax.texts
    assert right.get_color() == "black"
    assert wrong.get_color() not in ("black", "white")
    frames = [patch for patch in ax.patches if isinstance(patch, Rectangle)]
    assert frames[1].get_linewidth() > frames[0].get_linewidth()
    assert to_hex(frames[1].get_edgecolor()) == to_hex(wrong.get_color())


def images_per_row(ax):
    tops = [image.get_extent()[3] for image in ax.get_images()]
    return [len(list(group)) for _, group in itertools.groupby(tops)]


@pytest.mark.parametrize(
    ("count", "columns", "rows"),
    [
        (1, None, [1]),
        (7, None, [4, 3]),
        (10, None, [5, 5]),
        (25, None, [5] * 5),
        (60, None, [10] * 6),
        (7, 3, [3, 3, 1]),
        (2, 5, [2]),
    ],
)
def test_images_fill_a_grid_row_by_row_and_stay_legible(count, columns, rows):
    labels = np.arange(count)
    ax = plots.plot_images(
        np.zeros((count, 16)),
        predictions=labels,
        targets=labels + labels % 2,
        confidences=np.full(count, 0.987),
        columns=columns,
    )
    assert images_per_row(ax) == rows
    assert_legible(ax.figure)
    assert min(text.get_fontsize() for text in ax.texts) >= 8


def test_long_captions_are_made_small_enough_not_to_meet():
    ax = plots.plot_images(np.zeros((6, 4)), targets=["a rather long name of a class"] * 6)
    assert_legible(ax.figure)


def test_captions_stand_between_their_image_and_the_next():
    ax = plots.plot_images(np.zeros((4, 4)), predictions=[1] * 4, targets=[0] * 4, columns=1)
    ax.figure.draw_without_rendering()
    for text, above, below in zip(ax.texts[:3], ax.get_images()[:3], ax.get_images()[1:], strict=True):
        box = text.get_window_extent()
        assert above.get_window_extent().y0 > box.y1
        assert box.y0 > below.get_window_extent().y1


def test_more_images_than_the_limit_are_cut_and_the_title_says_so():
    ax = plots.plot_images(np.zeros((1200, 4)), targets=np.arange(1200), limit=10)
    assert captions(ax) == [str(number) for number in range(10)]
    assert ax.get_title() == "the first 10 of 1,200 images"
    assert plots.plot_images(np.zeros((10, 4)), limit=10).get_title() == ""


@pytest.mark.parametrize(
    ("images", "options", "error", "message"),
    [
        (np.zeros((2, 800)), {}, ShapeError, r"rows of 800 pixels .* reshape them to \(N, height, width\)"),
        (np.zeros((2, 3, 3, 2)), {}, ShapeError, r"not \(2, 3, 3, 2\)"),
        (np.zeros(4), {}, ShapeError, r"not \(4,\)"),
        (5, {}, ShapeError, r"not \(\)"),
        (np.zeros((0, 784)), {}, DataError, "no image"),
        ([], {}, DataError, "no image"),
        ([[nan, 0, 0, 0]], {}, DataError, "nan or infinity"),
        (np.zeros((2, 4)), {"targets": [1]}, ShapeError, "1 targets for 2 rows"),
        (np.zeros((2, 4)), {"predictions": [1, 2, 3]}, ShapeError, "3 predictions for 2 rows"),
        (np.zeros((1, 4)), {"confidences": [[0.1, 0.9]]}, ShapeError, "confidences must have shape"),
        (np.zeros((1, 4)), {"confidences": [98]}, DataError, "between 0 and 1, not 98"),
        (np.zeros((1, 4)), {"confidences": [nan]}, DataError, "between 0 and 1, not nan"),
        (np.zeros((1, 4)), {"columns": 0}, ArgumentError, "columns is 0; it must be a whole number, 1 or more"),
        (np.zeros((1, 4)), {"limit": 0}, ArgumentError, "limit is 0; it must be a whole number, 1 or more"),
    ],
)
def test_images_that_cannot_be_drawn_are_refused_before_a_figure_opens(images, options, error, message):
    with pytest.raises(error, match=message):
        plots.plot_images(images, **options)
    assert not plt.get_fignums()


# Mistakes


@settings(max_examples=20)  # each draws a picture
@given(st.integers(0, 1000))
def test_mistakes_are_the_wrong_ones_and_the_most_certain_come_first(seed):
    generator = random(seed)
    probabilities = generator.dirichlet(np.ones(4), size=30)
    targets = generator.integers(4, size=30)
    ax = plots.plot_mistakes(np.arange(30 * 4).reshape(30, 4), targets, probabilities, count=5)

    wrong = [row for row in range(30) if max(probabilities[row]) != probabilities[row, targets[row]]]
    wrong.sort(key=lambda row: -max(probabilities[row]))
    assert ax.get_title() == f"5 of {len(wrong)} mistakes"
    expected = [f"{probabilities[row].argmax()} ({max(probabilities[row]):.0%})\ntrue {targets[row]}" for row in wrong]
    assert captions(ax) == [f"\N{MULTIPLICATION SIGN} {caption}" for caption in expected[:5]]
    plt.close(ax.figure)


def test_the_images_drawn_are_those_of_the_mistakes():
    images = np.arange(16).reshape(4, 4) / 16
    probabilities = [[0.9, 0.1], [0.4, 0.6], [0.3, 0.7], [0.2, 0.8]]
    ax = plots.plot_mistakes(images, [0, 0, 1, 0], probabilities)
    np.testing.assert_allclose([drawn.get_array().ravel() for drawn in ax.get_images()], images[[3, 1]])


def test_mistakes_are_called_by_the_names_of_their_classes():
    ax = plots.plot_mistakes(np.zeros((1, 4)), [[1, 0]], [[0.25, 0.75]], labels=["coat", "shirt"])
    assert captions(ax) == ["\N{MULTIPLICATION SIGN} shirt (75%)\ntrue coat"]


def test_mistakes_of_a_single_probability_are_those_of_two_classes():
    figure = plots.plot_mistakes(np.zeros((3, 4)), [0, 1, 1], [[0.9], [0.2], [0.7]]).figure
    captions = [text for text in map(Text.get_text, drawn_texts(figure)) if "true" in text]
    assert [caption.replace("\n", " ") for caption in captions] == [
        "\N{MULTIPLICATION SIGN} 1 (90%) true 0",
        "\N{MULTIPLICATION SIGN} 0 (80%) true 1",
    ]


def test_at_most_25_mistakes_are_drawn():
    ax = plots.plot_mistakes(np.zeros((40, 4)), np.zeros(40, int), np.tile([0.0, 1.0], (40, 1)))
    assert images_per_row(ax) == [5] * 5
    assert ax.get_title() == "25 of 40 mistakes"
    assert_legible(ax.figure)


def test_without_a_mistake_the_axes_say_so():
    ax = plots.plot_mistakes(np.zeros((1500, 4)), np.zeros(1500, int), np.tile([0.9, 0.1], (1500, 1)))
    assert captions(ax) == ["no mistakes in 1,500 images"]


@pytest.mark.parametrize(
    ("targets", "probabilities", "options", "error", "message"),
    [
        ([0, 1], [0.2, 0.8], {}, ShapeError, "pass what model.predict_proba returns"),
        ([0, 1], [0.2, 0.8], {}, ShapeError, "K > 1 classes"),
        ([0, 1], [[0.2, 0.8]], {}, ShapeError, "N = 2 images"),
        ([0], [[0.2, 0.8]] * 2, {}, ShapeError, "1 targets for 2 rows"),
        ([0, 2], [[0.2, 0.8]] * 2, {}, DataError, "target 2 is not one of the classes 0 to 1"),
        ([0, -1], [[0.2, 0.8]] * 2, {}, DataError, "target -1 is not one"),
        ([0, 1], [[-4.0, 8.0]] * 2, {}, DataError, r"between 0 and 1, not 8\.0"),
        ([0, 1], [[0.2, 0.8]] * 2, {"labels": ["one"]}, ShapeError, "labels must name 2 classes"),
        ([0, 1], [[0.2, 0.8]] * 2, {"count": 0}, ArgumentError, "count is 0; it must be a whole number, 1 or more"),
    ],
)
def test_mistakes_that_cannot_be_told_are_refused(targets, probabilities, options, error, message):
    with pytest.raises(error, match=message):
        plots.plot_mistakes(np.zeros((2, 4)), targets, probabilities, **options)
    assert not plt.get_fignums()


# Weights


def a_model(**values):
    parameters = {path.replace("__", "/"): SimpleNamespace(value=value) for path, value in values.items()}
    return SimpleNamespace(named_parameters=lambda: parameters)


def test_each_unit_is_an_image_of_its_weights_on_one_symmetric_scale():
    weight = random().normal(size=(784, 10))
    ax = plots.plot_weights(weight)
    images = ax.get_images()
    np.testing.assert_array_equal([image.get_array().ravel() for image in images], weight.T)
    bound = np.abs(weight).max()
    assert {image.get_clim() for image in images} == {(-bound, bound)}
    assert ax.get_title() == ""
    colorbar = ax.figure.axes[1]
    assert colorbar.get_ylabel() == "weight"
    assert colorbar.get_ylim() == (-bound, bound)
    assert_legible(ax.figure)


def test_of_a_model_the_first_matrix_that_is_a_weight_is_drawn():
    model = a_model(
        embedding__table=np.ones((4, 1)),
        conv__weight=np.ones((3, 3, 1, 4)),
        dense__bias=np.ones(2),
        dense__weight=np.arange(8.0).reshape(4, 2),
        dense_2__weight=np.ones((2, 2)),
    )
    ax = plots.plot_weights(model)
    assert [image.get_array().tolist() for image in ax.get_images()] == [[[0, 2], [4, 6]], [[1, 3], [5, 7]]]


def test_a_new_figure_has_a_size_that_suits_a_page():
    for ax in (plots.plot_weights(np.eye(16)), plots.plot_kernels(a_convolutional_network())):
        width, height = ax.figure.get_size_inches()
        assert 3 < width < 8
        assert 2 < height < 8


def test_units_beyond_the_limit_are_left_out_and_the_title_says_so():
    ax = plots.plot_weights(random().normal(size=(784, 128)))
    assert images_per_row(ax) == [10] * 10
    assert ax.get_title() == "the first 100 of 128 units"
    assert_legible(ax.figure)


@pytest.mark.parametrize("image_shape", [(2, 3), [2, 3], (2, 3, 1)])
def test_an_image_need_not_be_square(image_shape):
    ax = plots.plot_weights(np.arange(12).reshape(6, 2), image_shape=image_shape)
    assert ax.get_images()[1].get_array().tolist() == [[1, 3, 5], [7, 9, 11]]
    assert_legible(ax.figure)


def test_weights_that_are_all_zero_are_drawn():
    assert plots.plot_weights(np.zeros((4, 2))).get_images()[0].get_clim() == (-1, 1)


@pytest.mark.parametrize(
    ("weight", "options", "error", "message"),
    [
        (np.zeros((8, 2)), {}, ShapeError, r"the 8 inputs .* image of shape \(2, 2\): give image_shape="),
        (np.zeros((8, 2)), {"image_shape": (3, 3)}, ShapeError, r"image of shape \(3, 3\)"),
        (np.zeros((8, 2)), {"image_shape": (8,)}, ShapeError, r"image of shape \(8,\)"),
        (np.zeros((12, 2)), {"image_shape": (2, 2, 3)}, ShapeError, "weights of one channel"),
        (np.zeros(4), {}, ShapeError, r"must have shape \(inputs, units\), not \(4,\)"),
        (np.zeros((4, 0)), {}, DataError, "nothing to draw"),
        (np.full((4, 1), nan), {}, DataError, "the training diverged"),
        ("dense", {}, ArgumentTypeError, "a model or a weight array, not 'dense'"),
        (a_model(), {}, NotReadyError, "call set_up, or fit it, first"),
        (np.zeros((4, 2)), {"columns": 0}, ArgumentError, "columns is 0; it must be a whole number, 1 or more"),
        (np.zeros((4, 2)), {"limit": 2.5}, ArgumentTypeError, "limit is 2.5; it must be a whole number, 1 or more"),
    ],
)
def test_weights_that_cannot_be_drawn_are_refused_before_a_figure_opens(weight, options, error, message):
    with pytest.raises(error, match=message):
        plots.plot_weights(weight, **options)
    assert not plt.get_fignums()


# Kernels


def test_of_gray_images_each_filter_is_an_image_on_one_symmetric_scale():
    model = a_convolutional_network()
    weight = model["conv2d_1"].weight.value
    ax = plots.plot_kernels(model)
    np.testing.assert_array_equal([image.get_array() for image in ax.get_images()], weight[:, :, 0].transpose(2, 0, 1))
    bound = np.abs(weight).max()
    assert {image.get_clim() for image in ax.get_images()} == {(-bound, bound)}
    assert (ax.get_title(), ax.figure.axes[1].get_ylabel()) == ("", "weight")


def test_of_images_in_colours_each_filter_is_one_in_colours_around_gray():
    weight = random().normal(size=(2, 4, 3, 5))
    ax = plots.plot_kernels(weight, columns=5)
    expected = 0.5 + weight.transpose(3, 0, 1, 2) / np.abs(weight).max() / 2
    np.testing.assert_allclose([image.get_array() for image in ax.get_images()], expected)
    assert ax.get_title() == "gray is zero"
    assert plots.plot_kernels(weight, limit=2).get_title() == "the first 2 of 5 filters, gray is zero"


def test_of_more_channels_each_filter_is_a_row_of_them():
    model = a_convolutional_network()
    weight = model["conv2d_2"].weight.value
    ax = plots.plot_kernels(model["conv2d_2"])
    assert images_per_row(ax) == [5] * 12
    for index, image in enumerate(ax.get_images()):
        np.testing.assert_array_equal(image.get_array(), weight[:, :, index % 5, index // 5])
    assert ax.get_title() == "12 filters (rows), 5 channels (columns)"
    limited = plots.plot_kernels(random().normal(size=(3, 3, 40, 50)))
    assert images_per_row(limited) == [16] * 8
    assert limited.get_title() == "the first 8 of 50 filters (rows), 16 of 40 channels (columns)"


@pytest.mark.parametrize(
    ("weight", "options", "error", "message"),
    [
        (np.zeros((3, 3, 2)), {}, ShapeError, r"shape \(height, width, channels, filters\), not \(3, 3, 2\)"),
        (np.zeros((3, 3, 1, 0)), {}, DataError, "nothing to draw"),
        (np.full((3, 3, 1, 2), nan), {}, DataError, "the training diverged"),
        ("conv", {}, ArgumentTypeError, "plot_kernels takes a model or a weight array, not 'conv'"),
        (halves(), {}, NotReadyError, r"no weight of shape \(height, width, channels, filters\)"),
        (np.zeros((3, 3, 1, 2)), {"limit": 0}, ArgumentError, "limit is 0"),
    ],
)
def test_kernels_that_cannot_be_drawn_are_refused_before_a_figure_opens(weight, options, error, message):
    with pytest.raises(error, match=message):
        plots.plot_kernels(weight, **options)
    assert not plt.get_fignums()


# Feature maps


def test_each_layer_has_a_row_of_what_its_channels_make_of_the_image():
    model, image = a_convolutional_network(), pixels_for(1)
    outputs = model.activations(image)
    ax = plots.plot_feature_maps(model, image[0])
    times = "\N{MULTIPLICATION SIGN}"
    # No row for rescale_1, dropout_1 and a batch_norm_1 that has learned nothing, which change nothing to be seen.
    assert [caption for caption in captions(ax) if caption] == [
        f"the image: 8 {times} 8 {times} 1",
        f"conv2d_1: 8 {times} 8, 5 channels",
        f"max_pool2d_1: 4 {times} 4, 5 channels",
        f"relu_1: 4 {times} 4, 5 channels",
        f"conv2d_2: 2 {times} 2, the first 8 of 12 channels",
        f"relu_2: 2 {times} 2, the first 8 of 12 channels",
    ]
    assert images_per_row(ax) == [1, 5, 5, 5, 8, 8]
    drawn = [image.get_array() for image in ax.get_images()]
    np.testing.assert_allclose(drawn[0], image[0, :, :, 0] / 255)
    after_relu = outputs["relu_2"][0]
    for channel in range(8):
        np.testing.assert_allclose(drawn[-8 + channel], after_relu[..., channel] / after_relu.max(), rtol=1e-6)
    signed = outputs["conv2d_1"][0, ..., 0] / np.abs(outputs["conv2d_1"]).max()
    assert ((drawn[1][..., 0] < drawn[1][..., 2]) == (signed < 0)).all()  # negative ones are blue
    np.testing.assert_allclose(drawn[1].min(axis=2), 1 - np.abs(signed), atol=0.01)  # and the palette's ends have a 0


@pytest.mark.parametrize("channels", [2, 3, 4])
def test_images_in_colours_are_drawn_as_such_and_others_by_channel(channels):
    model, image = a_convolutional_network(channels), pixels_for(1, channels)
    ax = plots.plot_feature_maps(model, image, layers=["relu_1"], limit=3)
    drawn = [each.get_array() for each in ax.get_images()]
    expected = image / 255 if channels == 3 else image[0].transpose(2, 0, 1)[:3] / 255
    np.testing.assert_allclose(drawn[: len(expected)], expected)
    assert len(drawn) == len(expected) + 3


@pytest.mark.parametrize(
    ("draw", "error", "message"),
    [
        (lambda model: plots.plot_feature_maps([1], pixels_for(1)), ArgumentTypeError, "draws a Sequential model"),
        (lambda model: plots.plot_feature_maps(model, pixels_for(2)), ShapeError, r"one image, not 2: pass images\[:1"),
        (lambda model: plots.plot_feature_maps(model, pixels_for(1, 2)), ShapeError, r"expects input \(8, 8, 1\)"),
        (lambda model: plots.plot_feature_maps(model, pixels_for(1), layers=["dense_1"]), ArgumentError,
         r"the output of 'dense_1' is \(3,\), which is not an image"),
        (lambda model: plots.plot_feature_maps(model, pixels_for(1), layers=["dens"]), KeyError, "layer 'dens'"),
        (lambda model: plots.plot_feature_maps(model, pixels_for(1), limit=0), ArgumentError, "limit is 0"),
        (lambda model: plots.plot_feature_maps(a_network(), rows_for(1)), ArgumentError, "no layer of the model"),
        (lambda model: plots.plot_feature_maps(a_convolutional_network(input_shape=None), pixels_for(1)),
         NotReadyError, "call set_up"),
        (lambda model: plots.plot_evidence(a_convolutional_network(input_shape=None), pixels_for(1)), NotReadyError,
         "call set_up"),
        (lambda model: plots.plot_evidence(model, pixels_for(1), [3]), DataError, "target 3 is not one of the classes"),
        (lambda model: plots.plot_evidence(model, pixels_for(2), [1]), ShapeError, "1 targets for 2 rows"),
        (lambda model: plots.plot_evidence(model, pixels_for(1), patch=8), ShapeError, "8 pixels hides an image of 8"),
        (lambda model: plots.plot_evidence(model, pixels_for(1), patch=0), ArgumentError, "patch is 0"),
        (lambda model: plots.plot_evidence(model, pixels_for(1), labels=["a"]), ShapeError, "must name 3 classes"),
        (lambda model: plots.plot_evidence(Sequential([Dense(1), MeanSquaredError()], input_shape=4), rows_for(1)),
         ArgumentError, "no probabilities"),
    ],
)  # fmt: skip
def test_what_cannot_be_looked_into_is_refused_and_opens_no_figure(draw, error, message):
    with pytest.raises(error, match=message):
        draw(a_convolutional_network())
    assert not plt.get_fignums()


# Evidence


def test_looking_into_a_network_changes_nothing_about_it():
    model = a_convolutional_network()
    x, y = pixels_for(30), np.arange(30) % 3
    Trainer(model, seed=0).fit(x, y, epochs=1, progress=False)
    before = pickle.dumps(model)
    plots.plot_kernels(model)
    plots.plot_feature_maps(model, x[0])
    plots.plot_evidence(model, x[:2])
    assert pickle.dumps(model) == before


def test_each_image_has_its_class_and_both_kinds_of_evidence_beside_it():
    model, x = a_convolutional_network(), pixels_for(9)
    chances = model.predict_proba(x)
    ax = plots.plot_evidence(model, x, labels=["a", "b", "c"])
    assert images_per_row(ax) == [6, 6, 6]
    assert ax.get_title() == "the first 6 of 9 images; orange: for the class, blue: against it"
    for index in range(6):
        chosen = chances[index].argmax()
        assert captions(ax)[3 * index] == f"{'abc'[chosen]} ({chances[index, chosen]:.0%})"
        assert captions(ax)[3 * index + 1].startswith("occlusion\n± ")
        assert captions(ax)[3 * index + 2].startswith("gradient \N{MULTIPLICATION SIGN} input\n± ")
    asked = plots.plot_evidence(model, x[:2], [2, 0])
    assert [text.split()[0] for text in captions(asked)[::3]] == ["2", "0"]


def bright_spots():
    """A model and images of two classes: what is brighter, the pixels (1, 1), or (5, 6)."""
    model = Sequential([Flatten(), Dense(2), SoftmaxCrossEntropy()], input_shape=(8, 8, 1), seed=0)
    weight = np.zeros((8, 8, 2))
    weight[1, 1, 0] = weight[5, 6, 1] = 3
    model["dense_1"].weight.value = weight.reshape(64, 2)
    images = np.zeros((2, 8, 8, 1), np.float32)
    images[:, 1, 1], images[:, 5, 6] = 1, 0.5
    return model, images


def test_the_evidence_is_where_it_is_known_to_be():
    model, images = bright_spots()
    for target, place in ((0, (1, 1)), (1, (5, 6))):
        found = evidence.gradient_times_input(copy.deepcopy(model), images, np.array([target, target]))[..., 0]
        expected = np.zeros((2, 8, 8))
        expected[(slice(None), *place)] = 3 * images[0][place]
        np.testing.assert_allclose(found, expected, atol=1e-6)
        falls = evidence.occlusion(model, images[0], target, 1, (8, 8))
        assert np.unravel_index(falls.argmax(), falls.shape) == place
        assert falls[(5, 6) if target == 0 else (1, 1)] < 0


def test_occlusion_is_the_mean_fall_of_the_probability_over_the_patches_that_hide_a_pixel():
    model, image = a_convolutional_network(), pixels_for(1)[0]
    falls, counts = np.zeros((8, 8)), np.zeros((8, 8))
    before = model.predict_proba(image[np.newaxis])[0, 1]
    for top, left in np.ndindex(6, 6):
        hidden = image.copy()
        hidden[top : top + 3, left : left + 3] = np.rint(image.mean())
        falls[top : top + 3, left : left + 3] += before - model.predict_proba(hidden[np.newaxis])[0, 1]
        counts[top : top + 3, left : left + 3] += 1
    np.testing.assert_allclose(evidence.occlusion(model, image, 1, 3, (8, 8)), falls / counts, atol=1e-6)


@pytest.mark.parametrize(("loss", "outputs"), [(SoftmaxCrossEntropy(), 3), (SigmoidCrossEntropy(), 1)])
def test_the_gradient_is_that_of_the_score_in_inference_by_central_differences(loss, outputs):
    model = a_convolutional_network(loss=loss, outputs=outputs, dtype="float64")
    x = pixels_for(2).astype(float)
    Trainer(model, seed=0).fit(x, np.array([0, 1]), epochs=3, progress=False)  # running statistics are not the batch's
    targets = np.array([1, 0])
    scores = model.predict_scores(x)
    found = evidence.gradient_times_input(copy.deepcopy(model), x, targets)
    for row, target in enumerate(targets):
        sign, column = (1, target) if outputs > 1 else (2 * target - 1, 0)
        for place in [(2, 3, 0), (5, 5, 0), (7, 0, 0)]:
            ends = [x.copy(), x.copy()]
            ends[0][(row, *place)] += 1e-3
            ends[1][(row, *place)] -= 1e-3
            up, down = (model.predict_scores(end)[row, column] for end in ends)
            assert found[(row, *place)] == pytest.approx(sign * x[(row, *place)] * (up - down) / 2e-3, rel=1e-5)
    np.testing.assert_array_equal(model.predict_scores(x), scores)


def test_flat_images_have_evidence_too_and_colours_are_added_up():
    flat = a_network([Rescale(1 / 255), Dense(3)], input_shape=64)
    ax = plots.plot_evidence(flat, pixels_for(1).reshape(1, 64))
    assert [image.get_array().shape for image in ax.get_images()] == [(8, 8, 3)] * 3
    ax = plots.plot_evidence(a_convolutional_network(3), pixels_for(1, 3))
    assert [image.get_array().shape for image in ax.get_images()] == [(8, 8, 3)] * 3


# Cross-validations


def test_each_run_is_a_thin_curve_and_their_mean_a_thick_one_as_far_as_all_go():
    ax = plots.plot_cross_validation(a_cross_validation())
    training, validation = ax.get_lines()[:4], ax.get_lines()[4:]
    assert [y_values(line) for line in training[:3]] == [[1, 2, 3, 4], [2, 4, 6], [3, 6, 9, 12, 15]]
    assert y_values(training[3]) == [2, 4, 6]
    assert y_values(validation[3]) == [20, 40, 60]
    assert training[3].get_xdata().tolist() == [1, 2, 3]
    assert all(line.get_linewidth() < training[3].get_linewidth() for line in training[:3])
    assert ax.get_xlim() == (0.5, 5.5)
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("epoch", "loss")


def test_the_band_is_a_sample_deviation_wide_to_either_side():
    ax = plots.plot_cross_validation(a_cross_validation())
    training, validation = (band.get_paths()[0].get_extents() for band in ax.collections)
    # At epoch 3 the losses are 3, 6 and 9, with the mean 6 and the deviation 3; at epoch 1 they are 1, 2 and 3.
    assert (training.x0, training.x1, training.y0, training.y1) == pytest.approx((1, 3, 1, 9))
    assert (validation.y0, validation.y1) == pytest.approx((10, 90))


def test_training_and_validation_differ_in_colour_and_dashes_and_the_legend_says_so():
    legend = legend_of(plots.plot_cross_validation(a_cross_validation()))
    assert list(legend) == ["training, mean", "validation, mean"]
    training, validation = legend.values()
    assert (training.get_linestyle(), validation.get_linestyle()) == ("-", "--")
    assert training.get_color() != validation.get_color()


def test_a_metric_without_validation_and_a_validation_alone_are_drawn():
    ax = plots.plot_cross_validation(a_cross_validation(), "accuracy")
    assert list(legend_of(ax)) == ["training, mean"]
    ax = plots.plot_cross_validation(a_cross_validation(), "val_loss")
    assert list(legend_of(ax)) == ["validation, mean"]
    assert ax.get_ylabel() == "loss"


def test_a_single_run_has_no_band_and_a_single_epoch_is_a_point():
    assert not plots.plot_cross_validation(a_cross_validation([4])).collections
    ax = plots.plot_cross_validation(a_cross_validation([1, 1]))
    assert {line.get_marker() for line in ax.get_lines()} == {"o"}


def test_a_wrong_metric_or_result_is_refused():
    with pytest.raises(ArgumentError, match="seed 0, fold 1.* no metric 'los'; did you mean 'loss'"):
        plots.plot_cross_validation(a_cross_validation(), "los")
    with pytest.raises(ArgumentTypeError, match="takes the result of cross_validate"):
        plots.plot_cross_validation(a_history())
    assert not plt.get_fignums()


# Decision boundaries


@pytest.mark.parametrize("loss", [None, SigmoidCrossEntropy()])
def test_the_boundary_runs_where_the_most_probable_class_changes(loss):
    ax = plots.plot_decision_boundary(halves(20, loss), [[0, 0], [1, 1]], [0, 1])
    contours = [path.vertices for path in ax.collections[0].get_paths()]
    vertices = np.concatenate(contours)
    np.testing.assert_allclose(vertices[:, 0], 0.5, atol=1e-6)
    assert (vertices[:, 1].min(), vertices[:, 1].max()) == pytest.approx((-0.08, 1.08))


@pytest.mark.parametrize("loss", [None, SigmoidCrossEntropy()])
def test_a_region_has_the_colour_of_its_class_paler_and_doubt_is_a_mixture(loss):
    ax = plots.plot_decision_boundary(halves(200, loss), [[0, 0], [1, 1]], [0, 1], resolution=101)
    image = np.asarray(ax.images[0].get_array())
    first, second = (np.array(to_rgb(colour)) for colour in ax.collections[-1].get_facecolors()[:, :3])
    assert to_hex(first) == "#0072b2"
    for pixel, colour in ((image[50, 0], first), (image[50, -1], second)):
        np.testing.assert_allclose((1 - pixel) / (1 - colour), (1 - pixel[0]) / (1 - colour[0]), rtol=1e-3)
        assert (pixel > colour).all()
    np.testing.assert_allclose(image[50, 50], (image[50, 0] + image[50, -1]) / 2, atol=1e-3)


def test_the_image_is_not_upside_down():
    model = halves(200)
    model.layers[0].weight.value[:] = model.layers[0].weight.value[::-1].copy()  # the second class is above
    ax = plots.plot_decision_boundary(model, [[0, 0], [3, 1]], [0, 1])
    above, below = (ax.images[0].get_array()[row, 0] for row in (-1, 0))
    points = ax.collections[-1]
    assert points.get_offsets().tolist() == [[0, 0], [3, 1]]
    assert ax.images[0].origin == "lower"
    assert above[0] > below[0]  # vermilion has more red than blue
    assert points.get_facecolors()[1][0] > points.get_facecolors()[0][0]


def test_an_ensemble_has_a_boundary_too():
    ax = plots.plot_decision_boundary(Ensemble([halves(20), halves(10)]), [[0, 0], [1, 1]], [0, 1])
    contours = [path.vertices for path in ax.collections[0].get_paths()]
    np.testing.assert_allclose(np.concatenate(contours)[:, 0], 0.5, atol=1e-6)


def test_three_classes_meet_and_one_hot_rows_are_classes():
    model = Sequential([Dense(3), SoftmaxCrossEntropy()], input_shape=2, seed=0)
    ax = plots.plot_decision_boundary(model, random().normal(size=(9, 2)), np.eye(3)[[0, 1, 2] * 3])
    assert len({tuple(colour) for colour in ax.collections[-1].get_facecolors()}) == 3
    assert len(ax.collections) == 4  # a boundary of each class, and the points


def test_a_model_that_takes_all_for_one_class_has_no_boundary():
    ax = plots.plot_decision_boundary(halves(0), [[0, 0], [1, 1]], [0, 1])
    assert len(ax.collections) == 1


def test_many_classes_still_differ_in_colour():
    model = Sequential([Dense(9), SoftmaxCrossEntropy()], input_shape=2, seed=0)
    ax = plots.plot_decision_boundary(model, random().normal(size=(9, 2)), range(9))
    assert len({tuple(colour) for colour in ax.collections[-1].get_facecolors()}) == 9


@pytest.mark.parametrize(
    ("model", "x", "y", "error", "message"),
    [
        ("model", [[0, 0]], [0], ArgumentTypeError, "draws a Sequential model, not 'model'"),
        (halves(), [[0, 0, 0]], [0], ShapeError, r"x has shape \(1, 3\); it must"),
        (halves(), [0, 0], [0], ShapeError, r"x has shape \(2,\)"),
        (halves(), np.empty((0, 2)), [], DataError, "x is empty"),
        (halves(), [[0, nan]], [0], DataError, "x holds NaN"),
        (halves(), [[0, 0]], [0, 1], ShapeError, "there are 2 y for 1 row:"),
        (halves(), [[0, 0]], [0.5], DataError, "y must be classes, not 0.5"),
        (halves(), [[0, 0]], [2], ArgumentError, "y has the classes 2 to 2, the model 0 to 1"),
        (halves(), [[0, 0]], [-1], ArgumentError, "y has the classes -1 to -1"),
        (Sequential([Dense(2)], input_shape=2), [[0, 0]], [0], ArgumentError, "no loss"),
        (Sequential([Dense(1), MeanSquaredError()]), [[0, 0]], [0], ArgumentError, "gives no probabilities"),
        (Sequential([Dense(2), SigmoidCrossEntropy()]), [[0, 0]], [0], ArgumentError, "one class, not several labels"),
    ],
)
def test_what_has_no_boundary_in_a_plane_is_refused(model, x, y, error, message):
    with pytest.raises(error, match=message):
        plots.plot_decision_boundary(model, x, y)
    assert not plt.get_fignums()


def test_a_resolution_is_two_or_more():
    with pytest.raises(ArgumentError, match="resolution is 1; it must be a whole number, 2 or more"):
        plots.plot_decision_boundary(halves(), [[0, 0]], [0], resolution=1)


class TestReliability:
    rows = softmax(random(0).normal(size=(300, 4)) * 3)
    labels = random(1).integers(0, 4, 300)

    def test_points_are_the_accuracies_over_the_confidences_of_the_bins_that_have_rows(self):
        ax = plots.plot_reliability(self.labels, self.rows, bins=10)
        table = reliability_table(self.labels, self.rows, bins=10)
        there = table.rows > 0
        assert not there.all()
        _, curve = ax.get_lines()[:2]
        np.testing.assert_array_equal(curve.get_xdata(), table.confidence[there])
        np.testing.assert_array_equal(curve.get_ydata(), table.accuracy[there])
        assert curve.get_marker() == "o"
        assert (ax.get_xlim(), ax.get_ylim()) == ((0, 1), (0, 1))

    def test_the_diagonal_is_drawn_and_what_lies_between_it_and_the_curve_is_shaded(self):
        ax = plots.plot_reliability([0, 1, 0, 0], [[0.9, 0.1], [0.8, 0.2], [0.45, 0.55], [1.0, 0.0]], bins=4)
        diagonal = ax.get_lines()[0]
        assert diagonal.get_xdata().tolist() == diagonal.get_ydata().tolist() == [0, 1]
        (shade,) = ax.collections
        corners = {tuple(np.round(corner, 6)) for corner in shade.get_paths()[0].vertices}
        assert corners == {(0.55, 0), (0.55, 0.55), (0.9, 0.9), (0.9, 0.666667)}
        gaps = [line.get_ydata().tolist() for line in ax.get_lines()[2:]]
        np.testing.assert_allclose(gaps, [[0.55, 0], [0.9, 2 / 3]])

    def test_the_panel_beneath_counts_the_rows_of_each_bin(self):
        ax = plots.plot_reliability(self.labels, self.rows, bins=10)
        (spread,) = ax.child_axes
        counts, edges, _ = spread.patches[0].get_data()
        table = reliability_table(self.labels, self.rows, bins=10)
        np.testing.assert_array_equal(counts, table.rows)
        np.testing.assert_array_equal(edges, table.edges)
        assert (ax.get_ylabel(), spread.get_xlabel(), spread.get_ylabel()) == ("accuracy", "confidence", "rows")
        assert spread.get_xlim() == (0, 1)
        ax.figure.draw_without_rendering()
        assert spread.get_window_extent().y1 < ax.get_window_extent().y0

    def test_the_title_is_the_calibration_error_of_those_bins(self):
        ax = plots.plot_reliability(self.labels, self.rows, 7)
        error = expected_calibration_error(self.labels, self.rows, 7)
        assert ax.get_title() == f"expected calibration error {error:.4f}"
        assert ax.get_legend() is None

    def test_each_of_several_has_a_colour_dashes_and_its_error_in_the_legend(self):
        flat = np.full((300, 4), 0.25)
        ax = plots.plot_reliability(self.labels, {"before": self.rows, 2: flat})
        legend = legend_of(ax)
        errors = [expected_calibration_error(self.labels, rows) for rows in (self.rows, flat)]
        assert list(legend) == [f"before: ECE {errors[0]:.4f}", f"2: ECE {errors[1]:.4f}"]
        first, second = legend.values()
        assert first.get_color() != second.get_color()
        assert (first.get_linestyle(), second.get_linestyle()) == ("-", "--")
        assert ax.get_title() == ""
        assert_legible(ax.figure)

    def test_six_differ_and_no_text_is_cut_off(self):
        ax = plots.plot_reliability(self.labels, {f"model {number}": self.rows for number in range(6)})
        assert len({line.get_color() for line in legend_of(ax).values()}) == 6
        assert_legible(ax.figure)

    def test_a_single_row_is_a_point_that_shows(self):
        curve = plots.plot_reliability([1], [1.0]).get_lines()[1]
        assert (curve.get_xdata().tolist(), curve.get_ydata().tolist()) == ([1], [1])
        assert curve.get_marker() == "o"
        assert not curve.get_clip_on()

    @pytest.mark.parametrize(
        ("targets", "probabilities", "options", "error", "message"),
        [
            ([0], {}, {}, DataError, "draws 1 to 6 predictions, not 0"),
            ([0], {number: [0.5] for number in range(7)}, {}, DataError, "not 7"),
            ([0, 1], [0.5], {}, ShapeError, r"targets have shape \(2,\)"),
            ([0], {"a": [0.5], "b": [1.5]}, {}, DataError, "; row 0 has"),
            ([0], [0.5], {"bins": 0}, ArgumentError, "bins is 0"),
        ],
    )
    def test_what_has_no_diagram_is_refused_before_a_figure_opens(
        self, targets, probabilities, options, error, message
    ):
        with pytest.raises(error, match=message):
            plots.plot_reliability(targets, probabilities, **options)
        assert not plt.get_fignums()


class TestRateSearch:
    def test_the_curve_and_the_suggestion_are_drawn(self):
        search = a_rate_search()
        ax = plots.plot_rate_search(search)
        curve, suggestion = ax.lines
        np.testing.assert_array_equal(curve.get_xdata(), search.rates)
        np.testing.assert_array_equal(curve.get_ydata(), search.losses)
        assert suggestion.get_xdata()[0] == search.suggestion
        assert ax.get_xscale() == "log"
        assert ax.get_legend().get_texts()[0].get_text() == "suggested: 0.01"

    def test_what_is_no_search_is_refused(self):
        with pytest.raises(ArgumentTypeError, match="takes what find_learning_rate returned, not 0.1"):
            plots.plot_rate_search(0.1)
        with pytest.raises(ArgumentError, match="never falls"):
            plots.plot_rate_search(RateSearch(np.geomspace(1, 10, 4), np.array([1.0, 2, 3, 4])))


# Searches


def a_search(parameters, values, epochs=None, statuses=None, monitor="val_loss", mode="min"):
    """Of candidates that are given best first."""
    runs = []
    for number, (choice, value) in enumerate(zip(parameters, values, strict=True), start=1):
        history = History()
        for _ in range(epochs[number - 1] if epochs else 3):
            history.append({"loss": 1.0, monitor: value})
        runs.append(SearchRun(number, choice, history, statuses[number - 1] if statuses else "finished", 0.1))
    return Search(runs, monitor, mode, None)


def points_of(ax):
    """The points in a panel, by what the legend calls them."""
    return {line.get_label(): np.column_stack(line.get_data()).tolist() for line in ax.get_lines()}


def tick_labels(ax):
    ax.figure.draw_without_rendering()
    return [tick.get_text() for tick in ax.get_xticklabels()]


def many(count, **others):
    """So many candidates of six parameters."""
    rng = random()
    choices = [
        {
            "learning_rate": 10 ** rng.uniform(-4, -1),
            "units": [16, 32, 64, 128, 256][number % 5],
            "activation": [ReLU(), LeakyReLU(0.1), Tanh()][number % 3],
            "strength": [0.0, 1e-5, 1e-3][number // 2 % 3],
            "optimizer": ["adam", "momentum", None][number // 3 % 3],
            "shape": [(64,), (64, 64), (128, 64, 32)][number // 4 % 3],
        }
        for number in range(count)
    ]
    return a_search(choices, np.linspace(0.1, 2, count), **others)


def only(result, *names):
    """The same search with some of its parameters."""
    runs = [dataclasses.replace(run, parameters={name: run.parameters[name] for name in names}) for run in result.runs]
    return Search(runs, result.monitor, result.mode, None)


@pytest.mark.parametrize(("count", "diverged"), [(1, 0), (3, 3), (4, 0), (5, 3), (6, 0)])
def test_a_search_has_a_legible_panel_for_each_parameter_and_a_legend_outside(count, diverged):
    statuses = ["finished"] * 2 + ["stopped"] * (22 - diverged) + ["diverged"] * diverged
    result = many(24, epochs=[9, 9, *[3] * 6, *[1] * 16], statuses=statuses)
    names = list(result.runs[0].parameters)[:count]
    panels = plots.plot_search(only(result, *names))
    assert [ax.get_xlabel() for ax in panels] == names
    figure = panels[0].figure
    assert plt.get_fignums() == [figure.number]
    assert_legible(figure)
    (legend,) = figure.legends
    labels = [text.get_text() for text in legend.get_texts()]
    assert labels == ["1 epoch", "3 epochs", "9 epochs", "best"] + ["diverged"] * (diverged > 0)
    box = legend.get_window_extent()
    assert not any(box.overlaps(ax.get_window_extent()) for ax in panels)


def test_each_candidate_is_a_point_at_its_value_and_its_metric_in_the_colour_of_its_epochs():
    choices = [{"units": units} for units in (8, 4, 16, 2)]
    (ax,) = plots.plot_search(a_search(choices, [0.1, 0.2, 0.3, 0.4], epochs=[4, 4, 2, 2]))
    assert points_of(ax) == {
        "4 epochs": [[8, 0.1], [4, 0.2]],
        "2 epochs": [[16, 0.3], [2, 0.4]],
        "best": [[8, 0.1]],
    }
    first, second, _ = ax.get_lines()
    assert to_hex(first.get_color()) != to_hex(second.get_color())
    assert second.get_markersize() > first.get_markersize()
    assert tick_labels(ax) == ["2", "4", "8", "16"]
    assert (ax.get_xscale(), ax.get_ylabel()) == ("linear", "val loss")


def test_candidates_that_diverged_are_crosses_at_the_edge_of_bad_values():
    choices = [{"units": units} for units in (8, 4, 16)]
    statuses = ["finished", "diverged", "diverged"]
    for mode, edge in (("min", 0.97), ("max", 0.03)):
        result = a_search(choices, [0.1, nan, nan], statuses=statuses, monitor="val_accuracy", mode=mode)
        (ax,) = plots.plot_search(result)
        assert points_of(ax)["diverged"] == [[4, edge], [16, edge]]
        assert points_of(ax)["3 epochs"] == [[8, 0.1]]
        ax.figure.draw_without_rendering()
        assert all(label.get_text().endswith("%") for label in ax.get_yticklabels())


@pytest.mark.parametrize(
    ("values", "scale", "labels"),
    [
        ([0.1, 0.01, 0.001], "log", ["0.001", "0.01", "0.1"]),
        ([1.0, 2.0, 29.0], "linear", None),  # the first two would touch
        ([1, 2, 3], "linear", ["1", "2", "3"]),
        ([0.001, 0.0, 0.1], "linear", ["0.0", "0.001", "0.1"]),  # side by side
        ([-0.5, 0.0, 0.5], "linear", ["-0.5", "0", "0.5"]),
        (["b", "a", "c"], "linear", ["b", "a", "c"]),
        ([True, False, True], "linear", ["True", "False"]),
        ([32, None, 8], "linear", ["8", "32", "None"]),
        ([ReLU(), Tanh(), LeakyReLU(0.1)], "linear", ["ReLU", "Tanh", "LeakyReLU"]),
        ([LeakyReLU(0.1), LeakyReLU(0.3), Tanh()], "linear", ["LeakyReLU(negat...", "LeakyReLU(negat...", "Tanh()"]),
        (list(np.linspace(1, 2, 20)), "linear", None),
        (list(np.geomspace(1e-4, 1, 20)), "log", None),
        ([*range(20), 1000], "linear", None),
        ([1, 10**400, 2], "linear", ["1", "2", "100000000000000..."]),
        ([1.0, 1e308, -1e308], "linear", ["1.0", "1e+308", "-1e+308"]),
        ([1.0, float("inf"), nan], "linear", ["1.0", "inf", "nan"]),
    ],
)
def test_numbers_have_an_axis_that_suits_their_range_and_other_values_stand_side_by_side(values, scale, labels):
    (ax,) = plots.plot_search(a_search([{"value": value} for value in values], np.linspace(0.1, 0.2, len(values))))
    assert ax.get_xscale() == scale
    if labels is not None:
        assert tick_labels(ax) == labels
    assert_legible(ax.figure, overlap=labels is None)
    places = [x for x, _ in points_of(ax)["3 epochs"]]
    assert len(set(places)) == len(set(map(repr, values)))


def test_equal_numbers_of_different_types_are_one_value():
    def panels(*values):
        return plots.plot_search(a_search([{"value": value} for value in values], np.linspace(0.1, 0.2, len(values))))

    for same in ([1, 1.0], [2**53, 2**53 + 1], [0.0, -0.0]):  # an axis cannot tell these two large ones apart either
        with pytest.raises(ArgumentError, match="no parameter of the search has more than one value"):
            panels(*same)
    assert tick_labels(panels(1, 1.0, 2)[0]) == ["1", "2"]
    assert tick_labels(panels(1, 1.0, "a")[0]) == ["1", "a"]
    assert tick_labels(panels(1, True)[0]) == ["1", "True"]


def test_a_value_that_a_candidate_lacks_has_a_place_of_its_own():
    (ax,) = plots.plot_search(a_search([{"units": 8, "rate": 0.1}, {"units": 8}], [0.1, 0.2]))
    assert tick_labels(ax) == ["0.1", "-"]


def test_losses_that_span_decades_have_a_logarithmic_axis():
    choices = [{"units": units} for units in (1, 2, 3)]
    assert plots.plot_search(a_search(choices, [0.1, 1.0, 40.0]))[0].get_yscale() == "log"
    assert plots.plot_search(a_search(choices, [0.1, 1.0, 2.0]))[0].get_yscale() == "linear"
    assert plots.plot_search(a_search(choices, [-0.1, 1.0, 40.0]))[0].get_yscale() == "linear"
    assert plots.plot_search(a_search(choices, [nan, nan, nan]))[0].get_yscale() == "linear"


def test_a_search_is_drawn_into_a_figure_or_subfigure_that_is_given():
    page = plt.figure(layout="constrained", figsize=(12, 5))
    left, right = page.subfigures(1, 2)
    assert len(plots.plot_search(only(many(9), "units", "learning_rate"), figure=left)) == 2
    assert len(plots.plot_search(only(many(9), "units"), figure=right)) == 1
    assert plt.get_fignums() == [page.number]
    assert_legible(page)


def test_what_is_no_search_or_has_nothing_to_compare_is_refused():
    with pytest.raises(ArgumentTypeError, match="plot_search takes what search returned, not 3"):
        plots.plot_search(3)
    with pytest.raises(ArgumentError, match="no parameter of the search has more than one value"):
        plots.plot_search(a_search([{"units": 8}], [0.1]))
    assert not plt.get_fignums()


# Distributions


def bands_of(ax):
    """By name: the note beside the band, its colour, and the ends of what is drawn."""
    (notes,) = ax.child_axes
    texts = [label.get_text() for label in notes.get_yticklabels()][1:]
    found = {}
    for row, (name, note) in enumerate(zip(ax.get_yticklabels(), texts, strict=True)):
        drawn = [path.vertices for each in ax.collections for path in each.get_paths()]
        drawn += [np.array(line.get_xydata()) for line in ax.get_lines()]
        own = np.concatenate([points for points in drawn if abs(points[:, 1].mean() - row) < 0.5])
        colour = notes.get_yticklabels()[row + 1].get_color()
        found[name.get_text()] = (note.split(), to_hex(colour) == VERMILION.lower(), (own[:, 0].min(), own[:, 0].max()))
    return found


def test_weights_have_a_band_for_each_parameter_with_mean_and_deviation():
    model = a_network()
    bands = bands_of(plots.plot_weight_distributions(model))
    assert list(bands) == list(model.named_parameters())
    for path, parameter in model.named_parameters().items():
        (mean, _, deviation), is_wrong, (low, high) = bands[path]
        assert float(mean) == pytest.approx(parameter.value.mean(), rel=0.06)
        assert float(deviation) == pytest.approx(parameter.value.std(), rel=0.06)
        assert (low, high) == pytest.approx((parameter.value.min(), parameter.value.max()), abs=0.02)
        assert not is_wrong


def test_a_weight_whose_numbers_are_all_equal_is_orange_and_a_bias_that_is_0_is_not():
    bands = bands_of(plots.plot_weight_distributions(a_network([Dense(5, initializer="zeros"), Dense(3)])))
    assert [is_wrong for _, is_wrong, _ in bands.values()] == [True, False, False, False]


def test_one_band_far_away_does_not_make_the_others_lines():
    model = a_network([Dense(5), Dense(5), Dense(3)])
    model["dense_2"].bias.value[:] = -1000
    ax = plots.plot_weight_distributions(model)
    low, high = ax.get_xlim()
    assert high - low < 20
    (mean, *_), _, ends = bands_of(ax)["dense_2/bias"]
    assert float(mean) == -1000
    assert low <= ends[0] < 0.8 * low


def test_activations_tell_zeros_and_dead_units():
    model = a_network([Rescale(2.0), Dense(8), ReLU(), Dense(3)])
    model["dense_1"].bias.value[:4] = -100
    x = rows_for(50)
    bands = bands_of(plots.plot_activation_distributions(model, x))
    assert list(bands) == ["rescale_1", "dense_1", "relu_1", "dense_2"]
    zeros = (model.activations(x)["relu_1"] == 0).mean()
    assert bands["relu_1"][:2] == ([f"{zeros:.0%}", "50%"], True)
    assert bands["dense_1"][:2] == (["0%", "0%"], False)


def test_inputs_that_never_change_are_no_fault_of_a_layer():
    x = rows_for(20)
    x[:, :3] = 1
    bands = bands_of(plots.plot_activation_distributions(a_network([Rescale(1.0), Dense(3)]), x))
    assert bands["rescale_1"][:2] == (["0%", "75%"], False)


def test_layers_can_be_chosen_and_branches_of_blocks_are_left_out():
    model = a_network([Residual([Dense(4), Tanh()]), Dense(3)])
    drawn = list(bands_of(plots.plot_activation_distributions(model, rows_for(9))))
    assert drawn == ["residual_1", "residual_1/layers/dense_1", "residual_1/layers/tanh_1", "dense_1"]
    assert list(bands_of(plots.plot_activation_distributions(model, rows_for(9), ["residual_1/layers"]))) == [
        "residual_1/layers"
    ]


def test_padding_has_no_part_in_the_activations():
    """Rows without padding, and the same rows with padding: each layer has the same numbers beside its band."""

    def model(positions):
        layers = [Embedding(9, 4, padding_id=0), Bidirectional(GRU(3, return_sequences=True)), BatchNorm(), ReLU()]
        layers += [Residual([Dense(6), ReLU()]), Dense(3), SoftmaxCrossEntropy()]
        return Sequential(layers, input_shape=positions, seed=0, dtype="float64")

    short, long = model(5), model(9)
    x = np.random.default_rng(0).integers(1, 9, (30, 5))
    padded = np.concatenate([x, np.zeros((30, 4), int)], axis=1)
    notes, of_padded = (
        {name: band[:2] for name, band in bands_of(plots.plot_activation_distributions(*given)).items()}
        for given in ((short, x), (long, padded))
    )
    assert "bidirectional_1/backward" in notes
    assert of_padded == notes
    assert long.activations(padded)["dense_1"].shape == (30, 9, 3)
    with pytest.raises(DataError, match="x is all padding: there are no activations to draw"):
        plots.plot_activation_distributions(long, 0 * padded)


def test_gradients_are_those_of_a_training_step_with_penalties():
    x, y = rows_for(30), np.arange(30) % 3
    model = a_network([Dense(8, regularizer=L2(0.1)), Tanh(), Dense(3)])
    bands = bands_of(plots.plot_gradient_distributions(model, x, y))
    seen = {}

    def look(trainer):
        seen.update({path: each.gradient.copy() for path, each in trainer.model.named_parameters().items()})

    trainer = Trainer(model, batch_size=None, seed=0)
    trainer.fit(x, y, epochs=1, callbacks=[FunctionCallback(look, moment="on_gradients")], progress=False)
    assert list(bands) == list(seen)
    for path, gradient in seen.items():
        assert float(bands[path][0][0]) == pytest.approx(np.median(np.abs(gradient)), rel=0.5)
        assert bands[path][2][1] == pytest.approx(np.abs(gradient).max(), rel=0.05)


def test_gradients_that_vanish_towards_the_input_are_orange():
    layers = [layer for _ in range(8) for layer in (Dense(8, initializer="glorot_uniform"), Sigmoid())]
    bands = bands_of(plots.plot_gradient_distributions(a_network([*layers, Dense(3)]), rows_for(9), [0, 1, 2] * 3))
    assert bands["dense_1/weight"][1]
    assert not bands["dense_8/weight"][1]
    medians = [float(note[0]) for name, (note, *_) in bands.items() if "weight" in name]
    assert medians[0] < medians[3] / 10 < medians[8] / 100


def test_gradients_of_dead_units_are_zeros_and_frozen_layers_are_left_out():
    model = a_network([Dense(4), Dense(8), ReLU(), Dense(3)])
    model["dense_2"].bias.value[:6] = -100
    model["dense_1"].trainable = False
    bands = bands_of(plots.plot_gradient_distributions(model, rows_for(30), np.arange(30) % 3))
    assert list(bands) == ["dense_2/weight", "dense_2/bias", "dense_3/weight", "dense_3/bias"]
    assert bands["dense_2/weight"][:2] == (["0", "75%"], True)


def test_looking_at_distributions_changes_nothing_about_the_model():
    model = a_network()
    x, y = rows_for(40), np.arange(40) % 3
    Trainer(model, seed=0).fit(x, y, epochs=1, progress=False)
    before = pickle.dumps(model)
    plots.plot_weight_distributions(model)
    plots.plot_activation_distributions(model, pd.DataFrame(x))
    plots.plot_gradient_distributions(model, pd.DataFrame(x).add_prefix("column "), y)
    assert pickle.dumps(model) == before


def test_a_model_that_is_not_set_up_takes_its_shape_from_the_rows():
    model = a_network(input_shape=None)
    with pytest.raises(NotReadyError, match="input shape"):
        plots.plot_weight_distributions(model)
    plots.plot_gradient_distributions(model, rows_for(9), [0, 1, 2] * 3)
    assert model.input_shape == (4,)


@pytest.mark.parametrize(
    ("draw", "error", "message"),
    [
        (lambda: plots.plot_weight_distributions([1, 2]), ArgumentTypeError, "draws a Sequential model"),
        (lambda: plots.plot_weight_distributions(a_network([Rescale(1.0)])), DataError, "no parameters"),
        (lambda: plots.plot_activation_distributions(a_network(), rows_for(0)), DataError, "x is empty"),
        (lambda: plots.plot_activation_distributions(a_network(), rows_for(5), ["dens"]), KeyError, "layer 'dens'"),
        (lambda: plots.plot_gradient_distributions(a_network([Rescale(1.0)]), rows_for(4), [0, 1, 2, 0]), ArgumentError,
         "frozen, or none"),
        (lambda: plots.plot_gradient_distributions(Sequential([Dense(3)]), rows_for(3), [0, 1, 2]), ArgumentError,
         "the model has no loss"),
        (lambda: plots.plot_gradient_distributions(a_network(), rows_for(3), [0, 1, 3]), DataError, "3"),
    ],
)  # fmt: skip
def test_what_has_no_distribution_is_refused_and_opens_no_figure(draw, error, message):
    with pytest.raises(error, match=message):
        draw()
    assert not plt.get_fignums()


def test_numbers_that_are_not_finite_are_named():
    model = a_network()
    model["dense_2"].weight.value[0, 0] = nan
    with pytest.raises(DataError, match="dense_2/weight holds nan or infinity: the training diverged"):
        plots.plot_weight_distributions(model)


def test_many_layers_with_long_names_stay_legible():
    layers = [Dense(4, name=f"a_layer_with_a_long_name_{number}") for number in range(40)]
    assert_legible(plots.plot_gradient_distributions(a_network([*layers, Dense(3)]), rows_for(9), [0, 1, 2] * 3).figure)
