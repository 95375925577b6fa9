"""Draw images side by side in one axes, each with a caption below."""

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
"""The caption of a wrong prediction begins with this: every font has the sign, and it needs no colour."""

# Lengths in units of an image's width.
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

    Images may have several sizes; all are drawn in the size of the first. An image without pixels leaves its place
    empty. In a new figure each image is at least `least_width` inches wide, and the figure is `margin` inches wider
    than the images. `wide` captions begin at the left of their image and may be as wide as the row. `style` goes to
    ``imshow``.
    """
    count, (height, width) = len(images), images[0].shape[:2]
    if columns is None:  # nearly square, with the fewest empty places in the last row
        least = math.ceil(math.sqrt(count))
        columns = min(range(least, least + least // 2 + 1), key=lambda columns: -count % columns)
    columns = min(columns, count)
    rows = math.ceil(count / columns)
    tall = height / width
    across = 1 + _GAP
    inches = max(least_width, 2.6 / columns)
    line = _CAPTION_LINE
    if ax is None:  # in a new figure, captions keep their size for large and small images
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
    """Raise ArgumentError for a number below 1, ArgumentTypeError if it is not a whole number; None is allowed."""
    for name, value in counts.items():
        if value is not None:
            as_whole_number(value, name, 1)
