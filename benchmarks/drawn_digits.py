"""Make photographs of handwritten and printed digits, to test how well a network reads them.

Each photograph is random. The digit is rotated by up to 15 degrees, is anywhere on the paper, is written with a pen or
printed in a font of matplotlib or Pillow, and is dark on light or light on dark. The light decreases to one side or has
the edge of a shadow. There is noise, and the file is a JPEG of quality 40. `benchmarks/handwriting.py` and the tests
use these photographs.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from minidl.typing import Array

HEIGHT, WIDTH = 300, 400
"""The size of a photograph in pixels."""

FINER = 2
"""Digits are drawn larger by this factor and then made smaller, for smooth edges."""

FONTS = (
    "DejaVuSans",
    "DejaVuSans-Oblique",
    "DejaVuSerif-Italic",
    "STIXGeneral",
    "STIXGeneralItalic",
    "cmss10",
    "cmr10",
)
"""Fonts of matplotlib, without fonts that have a dot in the zero: people do not write it like that."""

PILLOWS_FONT = "Pillow's own"

# How people write: each digit has several forms. A form is a list of strokes, and a stroke is a list of points (right,
# down) in a box of height 1. The pen rounds off corners, except at points that are given twice.
STROKES: dict[int, list[list[list[tuple[float, float]]]]] = {
    0: [
        [[(0.35, 0), (0.1, 0.1), (0, 0.5), (0.1, 0.85), (0.33, 1), (0.5, 0.85), (0.66, 0.5), (0.5, 0.1), (0.33, 0)]],
        [[(0.4, 0.02), (0.1, 0.1), (0, 0.55), (0.2, 1), (0.55, 0.9), (0.7, 0.45), (0.5, 0.02), (0.3, 0.06)]],
    ],
    1: [
        [[(0.1, 0), (0.1, 1)]],
        [[(0, 0.25), (0.25, 0), (0.25, 0), (0.25, 1)]],
        [[(0.2, 0), (0.05, 1)]],
    ],
    2: [
        [[(0, 0.25), (0.1, 0.05), (0.4, 0), (0.6, 0.2), (0.5, 0.5), (0, 1), (0, 1), (0.65, 1)]],
        [[(0.05, 0.2), (0.3, 0), (0.6, 0.15), (0.5, 0.5), (0.15, 0.9), (0, 0.9), (0.1, 0.8), (0.35, 0.95), (0.7, 0.9)]],
    ],
    3: [
        [
            [(0, 0.12), (0.3, 0), (0.58, 0.12), (0.5, 0.38), (0.2, 0.48), (0.2, 0.48)],
            [(0.2, 0.48), (0.55, 0.55), (0.62, 0.8), (0.35, 1), (0, 0.9)],
        ],
        [[(0, 0.08), (0.4, 0), (0.55, 0.2), (0.18, 0.45), (0.18, 0.45), (0.6, 0.6), (0.55, 0.9), (0.25, 1), (0, 0.9)]],
    ],
    4: [
        [[(0.12, 0), (0, 0.55), (0, 0.55), (0.65, 0.55)], [(0.5, 0.05), (0.48, 1)]],
        [[(0.1, 0.02), (0.05, 0.5), (0.3, 0.58), (0.55, 0.5)], [(0.58, 0), (0.5, 1)]],
        [[(0.5, 1), (0.5, 0), (0.5, 0), (0, 0.65), (0, 0.65), (0.7, 0.65)]],
    ],
    5: [
        [[(0.1, 0), (0.05, 0.4), (0.05, 0.4), (0.4, 0.38), (0.6, 0.65), (0.4, 1), (0, 0.9)], [(0.1, 0), (0.6, 0.02)]],
        [[(0.6, 0), (0.12, 0.02), (0.12, 0.02), (0.08, 0.45), (0.45, 0.42), (0.6, 0.7), (0.35, 1), (0, 0.95)]],
    ],
    6: [
        [[(0.45, 0), (0.12, 0.3), (0, 0.7), (0.2, 1), (0.5, 0.95), (0.55, 0.65), (0.3, 0.55), (0.03, 0.75)]],
        [[(0.3, 0), (0.08, 0.35), (0, 0.75), (0.25, 1), (0.55, 0.8), (0.35, 0.58), (0.1, 0.68), (0.05, 0.8)]],
    ],
    7: [
        [[(0, 0.02), (0.6, 0), (0.6, 0), (0.25, 1)]],
        [[(0, 0.12), (0.02, 0.02), (0.02, 0.02), (0.62, 0.02), (0.62, 0.02), (0.4, 0.5), (0.3, 1)]],
        [[(0, 0), (0.6, 0), (0.6, 0), (0.22, 1)], [(0.15, 0.5), (0.6, 0.47)]],
    ],
    8: [
        [
            [
                (0.5, 0.12), (0.3, 0), (0.08, 0.1), (0.12, 0.35), (0.48, 0.62), (0.55, 0.85), (0.3, 1), (0.02, 0.85),
                (0.1, 0.62), (0.45, 0.38), (0.52, 0.15), (0.4, 0.02),
            ]
        ],
        [
            [(0.3, 0), (0.08, 0.2), (0.3, 0.46), (0.52, 0.2), (0.3, 0)],
            [(0.3, 0.46), (0, 0.75), (0.3, 1), (0.6, 0.75), (0.3, 0.46)],
        ],
    ],
    9: [
        [[(0.52, 0.2), (0.3, 0), (0.02, 0.18), (0.15, 0.45), (0.45, 0.4), (0.55, 0.15), (0.55, 0.15), (0.48, 1)]],
        [[(0.5, 0.1), (0.2, 0.02), (0, 0.25), (0.2, 0.48), (0.5, 0.3), (0.54, 0.1), (0.5, 0.7), (0.3, 1), (0.05, 0.9)]],
    ],
}  # fmt: skip


@dataclass(frozen=True)
class DrawnDigit:
    """A photograph: its digit, "pen" or the name of the font, and the bytes of the JPEG file."""

    digit: int
    drawn_with: str
    jpeg: bytes


def drawn_digits(count: int, seed: int, printed: float = 0.25) -> list[DrawnDigit]:
    """Draw `count` digits, from 0 to 9 in turn; each is printed with the probability `printed`, or else written."""
    rng = np.random.default_rng(seed)
    return [draw_digit(index % 10, rng, printed=rng.random() < printed) for index in range(count)]


def draw_digit(digit: int, rng: np.random.Generator, printed: bool = False) -> DrawnDigit:
    name = str(rng.choice([*FONTS, PILLOWS_FONT])) if printed else "pen"
    height = rng.uniform(90, 200)
    ink = print_digit(digit, name, height) if printed else write_digit(digit, height, rng)
    ink = ink.crop(ink.getbbox()).rotate(rng.uniform(-15, 15), Image.Resampling.BILINEAR, expand=True)
    ink = ink.crop(ink.getbbox())
    cover = ink.resize((max(ink.width // FINER, 1), max(ink.height // FINER, 1)), Image.Resampling.BOX)
    return DrawnDigit(digit, name, photograph(cover, rng))


def print_digit(digit: int, name: str, height: float) -> Image.Image:
    """Return the digit in a font, as ink from 0 (none) to 255."""
    size = height * FINER / 0.7  # digits have 0.7 of a font's size
    font: ImageFont.FreeTypeFont | ImageFont.ImageFont
    font = ImageFont.load_default(size) if name == PILLOWS_FONT else ImageFont.truetype(font_file(name), size)
    ink = Image.new("L", (round(2 * size), round(2 * size)))
    ImageDraw.Draw(ink).text((size / 2, size / 2), str(digit), 255, font)
    return ink


def font_file(name: str) -> str:
    import matplotlib

    return str(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / f"{name}.ttf")


def write_digit(digit: int, height: float, rng: np.random.Generator) -> Image.Image:
    """Return the digit as ink from 0 to 255, written with a random pen width, slant and shaking hand."""
    forms = STROKES[digit]
    strokes = forms[rng.integers(len(forms))]
    scale = height * FINER * np.array([rng.uniform(0.85, 1.2), 1])
    slant, pen = rng.uniform(-0.1, 0.2), height * FINER * rng.uniform(0.025, 0.11)
    margin = pen + 0.3 * height * FINER
    ink = Image.new("L", (round(1.2 * scale[0] + 2 * margin), round(1.1 * scale[1] + 2 * margin)))
    brush = ImageDraw.Draw(ink)
    for stroke in strokes:
        points = rounded(np.array(stroke) + rng.normal(0, 0.018, (len(stroke), 2)))
        points[:, 0] += slant * (1 - points[:, 1])
        places = points * scale + margin
        brush.line([*map(tuple, places)], 255, round(pen))
        for right, down in places:  # a round pen
            brush.ellipse((right - pen / 2, down - pen / 2, right + pen / 2, down + pen / 2), 255)
    return ink


def rounded(points: Array) -> Array:
    """Cut the corners of a polyline three times, by Chaikin's rule; its ends do not move."""
    for _ in range(3):
        first, second = points[:-1], points[1:]
        between = np.stack([0.75 * first + 0.25 * second, 0.25 * first + 0.75 * second], axis=1).reshape(-1, 2)
        points = np.concatenate([points[:1], between, points[-1:]])
    return points


def photograph(cover: Image.Image, rng: np.random.Generator) -> bytes:
    """Put ink at a random place on paper, light it, and return the photograph as a JPEG file."""
    ink = np.zeros((HEIGHT, WIDTH))
    down, right = (rng.integers(8, room - side - 8) for room, side in zip(ink.shape, cover.size[::-1], strict=True))
    ink[down : down + cover.height, right : right + cover.width] = np.asarray(cover) / 255
    dark_pen = rng.random() < 0.75
    paper = rng.uniform(190, 250) if dark_pen else rng.uniform(25, 60)
    pen = paper * rng.uniform(0.1, 0.45) if dark_pen else rng.uniform(170, 240)
    tint = 1 + rng.normal(0, 0.06, 3)  # the light's colour
    reflected = (paper + ink * (pen - paper))[..., np.newaxis] * light(rng)[..., np.newaxis] * tint
    noisy = reflected + rng.uniform(2, 9) * rng.standard_normal((HEIGHT, WIDTH, 3), np.float32)
    file = io.BytesIO()
    Image.fromarray(np.clip(noisy, 0, 255).astype(np.uint8)).save(file, "JPEG", quality=40)
    return file.getvalue()


def light(rng: np.random.Generator) -> Array:
    """Return the brightness of each pixel: it decreases in one direction, and often has the soft edge of a shadow."""
    down, right = np.mgrid[-1 : 1 : HEIGHT * 1j, -1 : 1 : WIDTH * 1j]
    angle, edge_angle = rng.uniform(0, 2 * np.pi, 2)
    along = (np.cos(angle) * right + np.sin(angle) * down) / np.sqrt(2)
    brightness = 1 - rng.uniform(0, 0.5) * (along + 1) / 2
    if rng.random() < 0.5:
        distance = np.cos(edge_angle) * right + np.sin(edge_angle) * down - rng.uniform(-0.6, 0.6)
        brightness *= 1 - rng.uniform(0.1, 0.45) / (1 + np.exp(-distance / rng.uniform(0.08, 0.3)))
    return brightness
