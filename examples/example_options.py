"""Running the examples from a command line. A wrong option or an error gives one plain line that says what to do."""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

from minidl.errors import MinidlError, MissingDependencyError


class Parser(argparse.ArgumentParser):
    """A parser that shows the example's docstring as help, and an error as one line, without the list of options."""

    def __init__(self, description: str | None, **options: Any) -> None:
        super().__init__(description=description, formatter_class=argparse.RawDescriptionHelpFormatter, **options)

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"error: {message} (--help lists the options)\n")


def network_name(example: str) -> Callable[[str], str]:
    """Return a function that reads the sizes of a network."""

    def read(text: str) -> str:
        sizes = text.split("-")
        if len(sizes) < 2 or not all(size.isdecimal() and int(size) > 0 for size in sizes):
            raise argparse.ArgumentTypeError(f"{text!r} is not a network: give sizes joined by '-', such as {example}")
        return "-".join(str(int(size)) for size in sizes)

    return read


def resized(network: str, inputs: int, outputs: int) -> str:
    """Return the network with the same hidden layers, and these sizes of input and output."""
    _, *hidden, _ = network.split("-")
    return "-".join([str(inputs), *hidden, str(outputs)])


def whole_number(least: int, what: str = "whole number") -> Callable[[str], int]:
    """Return a function that reads a whole number of `least` or more."""

    def read(text: str) -> int:
        if not text.isdecimal() or int(text) < least:
            raise argparse.ArgumentTypeError(f"{text!r} is not a {what} of {least} or more")
        return int(text)

    return read


def number(wanted: str, fits: Callable[[float], bool]) -> Callable[[str], float]:
    """Return a function that reads a number for which `fits` is true; `wanted` describes it in words."""

    def read(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not (math.isfinite(value) and fits(value)):
            raise argparse.ArgumentTypeError(f"{text!r} does not fit: give a number {wanted}")
        return value

    return read


positive = number("above 0", lambda value: value > 0)
share = number("from 0 to below 1", lambda value: 0 <= value < 1)
not_negative = number("of 0 or more", lambda value: value >= 0)


def output_folder(text: str) -> Path:
    """Read the path of a folder that exists or can be made."""
    path = Path(text)
    for place in (path, *path.parents):
        if place.exists() and not place.is_dir():
            raise argparse.ArgumentTypeError(f"{place} is a file: give a folder")
    return path


def seed(text: str) -> int:
    if not text.isdecimal() or int(text) >= 2**32:
        raise argparse.ArgumentTypeError(f"{text!r} is not a seed: give a whole number from 0 to {2**32 - 1}")
    return int(text)


def add_run_options(parser: argparse.ArgumentParser, output: Path, resume: str) -> None:
    """Add the options of every training run: the seed, the folder, whether to resume, and whether to write a page."""
    parser.add_argument("--seed", type=seed, help="seed of weights, split and order (default: 0)")
    parser.add_argument("--output", type=output_folder, metavar="DIR", help=f"(default: {output})")
    parser.add_argument("--resume", action="store_true", default=False, help=resume)
    what = "also write an HTML file for each network, in which you draw digits and the network reads them"
    parser.add_argument("--page", action="store_true", default=False, help=what)


def pictures_possible() -> bool:
    """Set matplotlib to draw into files. Without matplotlib print how to install it, and return False."""
    try:
        import matplotlib
    except ImportError:
        print("no pictures: they need matplotlib, pip install -e '.[plots]'", file=sys.stderr)
        return False
    matplotlib.use("Agg")
    return True


@contextmanager
def needing(what: str, extra: str) -> Iterator[None]:
    """Raise MissingDependencyError if an import fails in this context: `what` needs which library, and its extra."""
    try:
        yield
    except ImportError as error:
        raise MissingDependencyError(f"{what}: pip install -e '.[{extra}]'") from error


def run_program(main: Callable[[], None], *, interrupted: str = "nothing is saved") -> None:
    """Run an example's main function. An error or Ctrl-C ends the program with one line.

    After Ctrl-C the line is the message of the KeyboardInterrupt, or `interrupted` if it has none.
    """
    try:
        main()
    except (MinidlError, OSError) as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt as interruption:
        sys.exit(f"interrupted: {str(interruption) or interrupted}")
