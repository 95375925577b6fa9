"""The examples that the site shows, and their notebooks.

A notebook needs no other files: its cells write the modules that the example imports, and train the model that it uses.
"""

from __future__ import annotations

import ast
import os
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

EXAMPLES = Path(__file__).parents[2] / "examples"
QUICK = os.environ.get("MINIDL_DOCS_QUICK") == "1"


@dataclass(frozen=True)
class Example:
    """An example: its title, and its options for a quick build, which only shows that it runs, and for the page."""

    title: str
    quick: str
    options: str = ""
    model: str = ""
    """The command of the example that trains the model it uses, as the notebook has it."""
    extras: tuple[str, ...] = ("plots",)
    """The extras of minidl that it needs to show what the page shows."""

    @property
    def arguments(self) -> list[str]:
        """The options of this build."""
        return shlex.split(self.quick if QUICK else self.options)

    @property
    def model_example(self) -> str:
        """The name of the example that trains the model it uses, or nothing."""
        return self.model.partition(".py")[0]


MODEL = "runs/mnist_mlp/784-128-64-10.npz"
TEACHER = "runs/mnist_cnn/28x28-c8-c24-128-10.npz"
TAUGHT = f"--teacher {TEACHER}"
SHOW = f"{MODEL} --index 7 --save runs/digit.png"
IN_ORDER = {
    "mnist_mlp": Example("Handwritten digits", "--rows 4000 --network 784-128-64-10 --epochs 2"),
    "predict_digit": Example("One digit, and your own", SHOW, SHOW, model="mnist_mlp.py --network 784-128-64-10"),
    "mnist_cnn": Example("Images: a convolutional network", "--epochs 1"),
    "distillation": Example(
        "A large network teaches a small one", f"{TAUGHT} --epochs 2", TAUGHT, model="mnist_cnn.py"
    ),
    "tabular": Example("A table with categories and gaps", "--folds 2 --epochs 5"),
    "regression": Example("A regression beside a linear model", "--folds 3 --seeds 1 --epochs 5"),
    "series": Example("A time series", "--epochs 1 --seeds 1", extras=("plots", "series")),
    "texts": Example("Sentences", "--sentences 300 --seeds 1"),
    "characters": Example("A network that writes", "--steps 60 --samples 1"),
    "spirals": Example("Watch a network learn", "--epochs 12 --frames 6"),
}
"""The examples. Some use a model that an earlier one trains."""


def script_of(name: str) -> Path:
    return EXAMPLES / f"{name}.py"


def docstring_and_code(name: str) -> tuple[str, str]:
    source = script_of(name).read_text(encoding="utf-8")
    return ast.get_docstring(ast.parse(source)) or "", source.split('"""', 2)[2]


def used_modules(script: Path) -> list[Path]:
    """Find the modules of examples/ that a script imports, directly or through other modules, each once."""
    found: dict[Path, None] = {}
    for node in ast.walk(ast.parse(script.read_text(encoding="utf-8"))):
        names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        for name in names:
            if (path := script_of(name)).is_file():
                found |= dict.fromkeys([*used_modules(path), path])
    return list(found)


def needed_files(name: str) -> list[Path]:
    """Find the other files of examples/ that an example needs: modules, and the script that trains its model."""
    files = used_modules(script_of(name))
    if other := IN_ORDER[name].model_example:
        files += [*used_modules(script_of(other)), script_of(other)]
    return list(dict.fromkeys(files))


DESCRIPTION = """\
# {title}

{docstring}

This notebook needs minidl with {extras}: `pip install -e '.[{names}]'` in the folder of minidl. It writes the other
files that it needs into its own folder. Its last cell shows the saved pictures.
"""

OPTIONS = """\
import sys
import time

started = time.time()
sys.argv = {arguments}  # as on a command line
"""

PICTURES = """\
from pathlib import Path

from IPython.display import Image, display

pictures = [path for path in Path("runs").rglob("*") if path.suffix in {".png", ".gif"}]
for path in sorted(pictures, key=lambda path: path.stat().st_mtime):
    if path.stat().st_mtime >= started:
        print(path)
        display(Image(path.read_bytes()))
"""


def extras_in_words(example: Example, code: str) -> str:
    names = [f"{code}{name}{code}" for name in example.extras]
    return f"the extra{'s' * (len(names) > 1)} {' and '.join(names)}"


def notebook(name: str) -> dict[str, Any]:
    """Return an example's notebook, in version 4 of the format."""
    example, (docstring, code) = IN_ORDER[name], docstring_and_code(name)
    extras, names = extras_in_words(example, "`"), ",".join(example.extras)
    description = DESCRIPTION.format(title=example.title, docstring=docstring, extras=extras, names=names)
    cells = [f"%%writefile {path.name}\n{path.read_text(encoding='utf-8')}" for path in needed_files(name)]
    if example.model:
        cells.append(f"%run {example.model}")
    cells += [OPTIONS.format(arguments=[f"{name}.py", *example.arguments]), code, PICTURES]
    return {
        "cells": [
            {"cell_type": "markdown", "metadata": {}, "source": description.strip()},
            *[
                {"cell_type": "code", "execution_count": None, "metadata": {}, "outputs": [], "source": cell.strip()}
                for cell in cells
            ],
        ],
        "metadata": {
            "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
            "language_info": {"name": "python"},
        },
        "nbformat": 4,
        "nbformat_minor": 4,
    }
