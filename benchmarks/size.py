"""Count the lines of code in the core, by file, without docstrings, comments and blank lines.

    python benchmarks/size.py [--limit 3200]

The core is the code that builds, trains, saves and loads a network: layers, losses, optimizers, model, trainer, and
their parts. It does not include metrics, hints, the progress bar, search and prediction. A line counts if it contains a
token of code or a part of one. A string that is a separate statement is documentation.
"""

from __future__ import annotations

import argparse
import ast
import io
import sys
import tokenize
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1] / "minidl"
CORE = [
    "arrays.py",
    "blocks.py",
    "errors.py",
    "files.py",
    "functional.py",
    "initializers.py",
    "lazy_rows.py",
    "model.py",
    "regularizers.py",
    "schedules.py",
    "serialization.py",
    "settings.py",
    "tables.py",
    "layers",
    "losses",
    "optimizers",
    "training/averages.py",
    "training/callbacks.py",
    "training/gradients.py",
    "training/history.py",
    "training/interruption.py",
    "training/prefetching.py",
    "training/rows.py",
    "training/run_file.py",
    "training/trainer.py",
]
FAMILIES = {
    "layers of images": ["layers/convolution.py", "layers/pooling.py", "layers/windows.py"],
    "layers of sequences": ["sequences", "layers/parameter_rows.py", "training/row_steps.py"],
    "work on two cores": ["threads.py", "training/replica.py"],
    "products in parts": ["products.py"],
    "the normal distribution": ["normal.py"],
    "weights of classes": ["training/class_weights.py"],
    "subnormal numbers": ["training/subnormal.py"],
}
"""Files that a reader of the core does not need, counted separately."""

NO_CODE = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER}


def count_lines(path: Path) -> int:
    """Return the number of lines of code in a file."""
    text = path.read_text(encoding="utf-8")
    lines: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type not in NO_CODE:
            lines.update(range(token.start[0], token.end[0] + 1))
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            lines.difference_update(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    return len(lines)


def core_files() -> list[Path]:
    """Return the files of the core, in the order of the list."""
    apart = {PACKAGE / name for names in FAMILIES.values() for name in names}
    return [path for name in CORE for path in files_of(name) if path not in apart]


def files_of(name: str) -> list[Path]:
    """Return a file, or the files of a folder."""
    return sorted((PACKAGE / name).glob("*.py")) if "." not in name else [PACKAGE / name]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--limit", type=int, default=None, help="exit with 1 if the core has more lines")
    options = parser.parse_args()
    total = 0
    for path in core_files():
        lines = count_lines(path)
        total += lines
        print(f"{lines:5,}  {path.relative_to(PACKAGE.parent)}")
    print(f"{total:5,}  in all")
    for family, names in FAMILIES.items():
        print(f"{sum(count_lines(path) for name in names for path in files_of(name)):5,}  more: {family}")
    sys.exit(options.limit is not None and total > options.limit)


if __name__ == "__main__":
    main()
