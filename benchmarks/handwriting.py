"""Measure how many photographs of digits an MNIST network reads correctly, with and without `center_digit`.

    python examples/mnist_mlp.py --recipe best                                # trains the network
    python benchmarks/handwriting.py runs/mnist_mlp/784-128-64-10.npz         # the table
    python benchmarks/handwriting.py MODEL --document docs                    # updates the table and the picture there

`drawn_digits.py` makes the photographs, 300 x 400 pixels. Without `center_digit` they are only "made smaller": Pillow
resizes the whole photograph to 28 x 28, and dark digits on light paper are inverted, because MNIST's are light on dark.
"""

from __future__ import annotations

import argparse
import io
import sys
from pathlib import Path

import numpy as np
import pandas as pd
from drawn_digits import DrawnDigit, drawn_digits
from PIL import Image, ImageDraw, ImageFont
from reports import machine, number, put_into_document, table_text

from minidl import Sequential
from minidl.data import center_digit
from minidl.errors import DataError, MinidlError
from minidl.typing import Array

PLAIN, CENTERED = "made smaller", "center_digit"


def opened(drawn: DrawnDigit) -> Image.Image:
    return Image.open(io.BytesIO(drawn.jpeg))


def made_smaller(drawn: DrawnDigit) -> Array:
    small = np.asarray(opened(drawn).convert("L").resize((28, 28)))
    return 255 - small if np.median(small) > 127 else small


def centered(drawn: DrawnDigit) -> Array:
    try:
        return center_digit(opened(drawn))
    except DataError:  # no digit was found: counted as a mistake
        return np.zeros((28, 28), np.uint8)


WAYS = {PLAIN: made_smaller, CENTERED: centered}


def read(model: Sequential, digits: list[DrawnDigit]) -> dict[str, Array]:
    """Return the model's predictions, one array for each way."""
    assert model.input_shape is not None
    return {
        name: model.predict(np.stack([see(each) for each in digits]).reshape(len(digits), *model.input_shape))
        for name, see in WAYS.items()
    }


def shares_right(digits: list[DrawnDigit], predictions: dict[str, Array]) -> pd.DataFrame:
    """Return the share of digits that were read correctly: of all, and for the pen and each font."""
    truth, pens = np.array([each.digit for each in digits]), np.array([each.drawn_with for each in digits])
    groups = {"all": pens != "", "pen": pens == "pen", "printed": pens != "pen"}
    groups |= {name: pens == name for name in sorted({*pens.tolist()} - {"pen"})}
    rows = {
        name: {"photographs": int(group.sum())}
        | {way: float((found == truth)[group].mean()) for way, found in predictions.items()}
        for name, group in groups.items()
        if group.any()
    }
    return pd.DataFrame(rows).T.astype({"photographs": int})


def draw_sheet(digits: list[DrawnDigit], predictions: dict[str, Array], path: Path, columns: int = 6) -> None:
    """Draw photographs, each with the network's input and prediction in both ways."""
    width, height, small, gap = 132, 99, 56, 6
    shown = digits[: 3 * columns]
    rows = -(-len(shown) // columns)
    sheet = Image.new("L", (columns * (width + small + 2 * gap) + gap, rows * (2 * small + 2 * gap) + gap), 255)
    brush, font = ImageDraw.Draw(sheet), ImageFont.load_default(12)
    for index, drawn in enumerate(shown):
        left = gap + index % columns * (width + small + 2 * gap)
        top = gap + index // columns * (2 * small + 2 * gap)
        sheet.paste(opened(drawn).convert("L").resize((width, height)), (left, top))
        for place, see in enumerate(WAYS.values()):
            corner = (left + width + 2, top + place * (small + 2))
            sheet.paste(Image.fromarray(see(drawn)).resize((small, small), Image.Resampling.NEAREST), corner)
        plain, found = predictions[PLAIN][index], predictions[CENTERED][index]
        brush.text((left, top + height - 1), f"smaller {plain}, centered {found}", 0, font)
    path.parent.mkdir(parents=True, exist_ok=True)
    sheet.quantize(48).save(path, optimize=True)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("model", type=Path, help="a model file that mnist_mlp.py or mnist_cnn.py wrote")
    add("--count", type=number, default=2_000, help="number of photographs (default: %(default)s)")
    add("--seed", type=int, default=0, help="seed of the photographs (default: %(default)s)")
    add("--picture", type=Path, metavar="PNG", help="draw some photographs and the network's inputs")
    add("--document", type=Path, metavar="DIR", help="put the table and the picture into this folder of documents")
    options = parser.parse_args(arguments)

    model = Sequential.load(options.model)
    digits = drawn_digits(options.count, options.seed)
    predictions = read(model, digits)
    table = shares_right(digits, predictions)
    for way in WAYS:
        table[way] = table[way].map("{:.1%}".format)
    text = f"{options.model.stem}, {options.count:,} photographs\n{machine()}\n\n{table_text(table)}"
    print(text)
    if options.document:
        put_into_document(options.document / "deployment.md", "handwriting", text)
        options.picture = options.picture or options.document / "images" / "handwriting.png"
    if options.picture:
        draw_sheet(digits, predictions, options.picture)


if __name__ == "__main__":
    try:
        main()
    except (MinidlError, OSError) as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        sys.exit("interrupted")
