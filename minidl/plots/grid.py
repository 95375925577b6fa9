"""Images side by side in one axes, each over its caption."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from minidl.plots.canvas import VERMILION, new_axes
from minidl.settings import as_whole_number
from minidl.typing import Array

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.image import AxesImage

WRONG = "\N{MULTIPLICATION SIGN} "
"""How the caption of a wrong prediction begins: a sign that every font has and that needs no colour."""

# Lengths in the widths of an image.
_CAPTION_LINE = 0.19
_GAP = 0.08

_LARGEST_FONT = 11
_SMALLEST_FONT = 8
_SPACING = 1.25


def draw_grid(
    images: Array | Sequence[Array],
    captions: Sequence[str],
    columns: int | None,
    ax: Axes | None,
    *,
    margin: float = 0.0,
    least_width: float = 0.95,
    wide: bool = False,
    **style: Any,
) -> AxesImage:
    """Draw images of shape (N, h, w) or (N, h, w, 3) and return the last, which knows its axes and colours.

    They may be of several sizes, and are drawn in that of the first; the place of one without pixels stays empty. A new
    figure is `margin` inches wider than the images, each of `least_width` inches or more. `wide` captions begin at the
    left of their image, and may be as wide as the row. `style` goes to ``imshow``.
    """
    count, (height, width) = len(images), images[0].shape[:2]
    if columns is None:  # near a square, with the fewest places left empty in the last row
        least = math.ceil(math.sqrt(count))
        columns = min(range(least, least + least // 2 + 1), key=lambda columns: -count % columns)
    columns = min(columns, count)
    rows = math.ceil(count / columns)
    tall = height / width
    across = 1 + _GAP
    inches = max(least_width, 2.6 / columns)
    line = _CAPTION_LINE
    if ax is None:  # in a figure of our own, large images need no larger captions, and small ones no smaller
        smallest = _SMALLEST_FONT if wide else 0
        line = max(min(line, _LARGEST_FONT * _SPACING / 72 / inches), smallest * _SPACING / 72 / inches)
    down = tall + _GAP + line * max(len(caption.splitlines()) for caption in captions)
    if ax is None:
        ax = new_axes(max(columns * across * inches, 3.2) + margin, rows * down * inches + 0.35, frame=False)
    from matplotlib.patches import Rectangle

    box = ax.get_window_extent()
    pixels = min(box.width / (columns * across), box.height / (rows * down))
    fontsize = min(_LARGEST_FONT, line * pixels * 72 / ax.figure.dpi / _SPACING)
    texts = []
    for index, (image, caption) in enumerate(zip(images, captions, strict=True)):
        if not image.size:
            continue
        left, top = index % columns * across, index // columns * down
        drawn = ax.imshow(image, extent=(left, left + 1, top + tall, top), **style)
        colour, thickness = (VERMILION, 1.5) if caption.startswith(WRONG) else ("black", 0.3)
        ax.add_patch(Rectangle((left, top), 1, tall, fill=False, edgecolor=colour, linewidth=thickness))
        place, align = (left, "left") if wide else (left + 0.5, "center")
        text = ax.text(place, top + tall + _GAP / 2, caption, color=colour, ha=align, va="top")
        text.set(fontsize=fontsize, linespacing=1)
        texts.append(text)
    widest = max(text.get_window_extent().width for text in texts)
    space = pixels * (columns * across - _GAP if wide else 1)
    for text in texts:
        text.set_fontsize(fontsize * space / max(space, widest))
    half = _GAP / 2
    ax.set(xlim=(-half, columns * across - half), ylim=(rows * down - half, -half), aspect="equal")
    ax.set_axis_off()
    return drawn


def check_positive(**counts: int | None) -> None:
    """Raise ArgumentError for a number below 1, ArgumentTypeError for what is no whole number; None may stay."""
    for name, value in counts.items():
        if value is not None:
            as_whole_number(value, name, 1)
