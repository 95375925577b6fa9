"""How a network is shown: the lines of its summary, and a table for notebooks."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from minidl.layers import Layer

if TYPE_CHECKING:
    from minidl.model import Sequential


class _Row(NamedTuple):
    """The displayed data of a layer; ``depth`` counts the blocks around it."""

    depth: int
    number: str
    name: str
    layer: Layer
    shape: str
    parameters: str
    is_frozen: bool


def _rows(network: Layer) -> list[_Row]:
    """Return a row for each layer inside, in the order of the parameters. Layers in blocks follow their block."""
    rows = []
    numbers: list[int] = []  # numbers of the layer and of the blocks around it
    for path, layer in network.named_layers()[1:]:
        depth = path.count("/") - 1
        numbers[depth:] = [numbers[depth] + 1 if depth < len(numbers) else 1]
        count = layer.count_parameters()
        is_frozen = count > 0 and not layer.trainable
        number, name = ".".join(map(str, numbers)), path.split("/")[-2]
        parameters = "?" if layer.output_shape is None else f"{count:,}"
        rows.append(_Row(depth, number, name, layer, _shape(layer.output_shape), parameters, is_frozen))
    return rows


def _shape(shape: tuple[int, ...] | None) -> str:
    return "?" if shape is None else f"(N, {', '.join(map(str, shape))})"


def _notes(model: Sequential) -> list[str]:
    """Return the notes about the whole model: its loss, and its number of parameters."""
    notes = [f"loss: {model.loss!r}"] if model.loss else []
    if model.input_shape is None:
        return [*notes, "parameters: not yet known, the input shape comes with the first data"]
    size = model.count_parameters()
    trained = sum(part.stop - part.start for part in model.parts(lambda layer, _: layer.own_trainable))
    frozen = f"; {size - trained:,} frozen, {trained:,} trained" if trained < size else ""
    return [*notes, f"parameters: {size:,} of {model.dtype}, {size * model.dtype.itemsize / 1024:,.1f} KiB{frozen}"]


def print_summary(model: Sequential) -> None:
    """Print the layers with their output shapes and numbers of parameters, and mark frozen layers."""
    table = [("#", "layer", "output shape", "parameters")]
    for row in _rows(model):
        frozen = ", frozen" if row.is_frozen else ""
        table.append((row.number, f"{row.name} ({type(row.layer).__name__}){frozen}", row.shape, row.parameters))
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    for number, layer, shape, count in table:
        print(f"{number:>{widths[0]}}  {layer:<{widths[1]}}  {shape:<{widths[2]}}  {count:>{widths[3]}}")
    print(*_notes(model), sep="\n")


# The only colour is a transparent grey, so the table is readable on white and on black.
_BORDER = "1px solid rgba(128, 128, 128, 0.5)"
_FROZEN = f"margin-left: 0.6em; padding: 0 0.4em; border: {_BORDER}; border-radius: 0.6em; font-size: 85%"


def html(model: Sequential) -> str:
    """Return the network as a table for notebooks: layers with their settings, output shapes, numbers of parameters.

    Layers in a block are indented. Styles are attributes, because some notebooks drop style sheets.
    """
    from html import escape  # few programs need it, and loading takes time

    lines = [_line("th", "#", "layer", "settings", "output shape", "parameters")]
    lines.append(_line("td", "", "input", "", _shape(model.input_shape), ""))
    for row in _rows(model):
        badge = f'<span style="{_FROZEN}">frozen</span>' if row.is_frozen else ""
        name = f'<span style="padding-left: {1.5 * row.depth:g}em">{escape(row.name)}</span>{badge}'
        kind = type(row.layer).__name__ if row.layer.sublayers() else repr(row.layer)
        lines.append(_line("td", row.number, name, f"<code>{escape(kind)}</code>", row.shape, row.parameters))
    notes = "<br>".join(map(escape, _notes(model)))
    lines.append(f'<tr style="background: none"><td colspan="5" style="{_style("left")}">{notes}</td></tr>')
    return f'<table style="border-collapse: collapse; color: inherit">{"".join(lines)}</table>'


def _line(tag: str, *cells: str) -> str:
    """Return a line of the table. Its last cell holds a number."""
    sides = ["left"] * (len(cells) - 1) + ["right"]
    texts = [f'<{tag} style="{_style(side)}">{cell}</{tag}>' for cell, side in zip(cells, sides, strict=True)]
    return f'<tr style="background: none">{"".join(texts)}</tr>'


def _style(side: str) -> str:
    return f"padding: 0.2em 0.8em; text-align: {side}; vertical-align: top; border-bottom: {_BORDER}"
