"""The gallery: each script of examples/ as a page with its output and its pictures, and as a notebook.

The scripts stay as they are. Copies of them get a title and the command that the page shows, and run in build/gallery.
A copy that has not changed is not run again.
"""

from __future__ import annotations

import ast
import json
import os
import re
import shlex
import shutil
import sys
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any
from zipfile import ZipFile

from sphinx.application import Sphinx
from sphinx_gallery.scrapers import figure_rst

ROOT = Path(__file__).parents[2]
EXAMPLES, COPIES, PAGES = ROOT / "examples", ROOT / "build" / "gallery", ROOT / "docs" / "gallery"
QUICK = os.environ.get("MINIDL_DOCS_QUICK") == "1"


@dataclass(frozen=True)
class Example:
    """An example: its title, and its options for a quick build, which only shows that it runs, and for the page."""

    title: str
    quick: str
    options: str = ""

    @property
    def arguments(self) -> list[str]:
        """The options of this build."""
        return shlex.split(self.quick if QUICK else self.options)


MODEL = "runs/mnist_mlp/784-128-64-10.npz"
TEACHER = "runs/mnist_cnn/28x28-c8-c24-128-10.npz"
TAUGHT = f"--teacher {TEACHER}"
SHOW = f"{MODEL} --index 7 --save runs/digit.png"
IN_ORDER = {
    "mnist_mlp": Example("Handwritten digits", "--rows 4000 --network 784-128-64-10 --epochs 2"),
    "predict_digit": Example("One digit, and your own", SHOW, SHOW),
    "mnist_cnn": Example("Images: a convolutional network", "--epochs 1"),
    "distillation": Example("A large network teaches a small one", f"{TAUGHT} --epochs 2", TAUGHT),
    "tabular": Example("A table with categories and gaps", "--folds 2 --epochs 5"),
    "regression": Example("A regression beside a linear model", "--folds 3 --seeds 1 --epochs 5"),
    "series": Example("A time series", "--epochs 1 --seeds 1"),
    "texts": Example("Sentences", "--sentences 300 --seeds 1"),
    "characters": Example("A network that writes", "--steps 60 --samples 1"),
    "spirals": Example("Watch a network learn", "--epochs 12 --frames 6"),
}
"""The examples. Some use a model that an earlier one trains."""


def used_modules(script: Path) -> list[Path]:
    """Find the modules of examples/ that a script imports, directly or through other modules, each once."""
    found: dict[Path, None] = {}
    for node in ast.walk(ast.parse(script.read_text(encoding="utf-8"))):
        names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        for name in names:
            if (path := EXAMPLES / f"{name}.py").is_file():
                found |= dict.fromkeys([*used_modules(path), path])
    return list(found)


def with_title(script: Path) -> str:
    """Return the script. Its docstring gets a title, commands as code, and the command whose output the page shows."""
    example, source = IN_ORDER[script.stem], script.read_text(encoding="utf-8")
    description = ast.get_docstring(ast.parse(source)) or ""
    rest = source.split('"""', 2)[2]
    markup = re.compile(r"(`[^`]+`)|([*|<]|_(?!\w))")
    paragraphs = []
    for paragraph in description.split("\n\n"):
        if paragraph.startswith("    "):
            paragraphs.append(f".. code-block:: sh\n\n{paragraph}")
        else:
            paragraphs.append(markup.sub(lambda match: match[1] or f"\\{match[2]}", paragraph))
    command = shlex.join(["python", f"examples/{script.name}", *example.arguments])
    digest = sha256(b"".join(path.read_bytes() for path in used_modules(script))).hexdigest()
    head = [example.title, "=" * len(example.title), "", *"\n\n".join(paragraphs).splitlines(), ""]
    head += [f"Output and pictures are those of ``{command}``.", "", f".. modules: {digest}"]
    return 'r"""\n' + "\n".join(head) + '\n"""' + rest


def write_copies() -> None:
    """Write the copies, and delete copies of former examples. If a model is missing, its example runs again."""
    COPIES.mkdir(parents=True, exist_ok=True)
    (COPIES / "GALLERY_HEADER.rst").write_text(HEADER, encoding="utf-8")
    for name in IN_ORDER:
        (COPIES / f"{name}.py").write_text(with_title(EXAMPLES / f"{name}.py"), encoding="utf-8")
    for copy in {*COPIES.glob("*.py")} - {COPIES / f"{name}.py" for name in IN_ORDER}:
        copy.unlink()
    # If there is a folder with MNIST, examples find it under a name that reveals nothing about this machine.
    mnist, link = (
        Path(os.environ.get("MINIDL_DATA") or ROOT.parent / "shared" / "data" / "mnist"),
        COPIES.parent / "mnist",
    )
    if mnist.is_dir():
        link.unlink(missing_ok=True)
        link.symlink_to(mnist.resolve(), target_is_directory=True)
        os.environ["MINIDL_DATA"] = f"../{link.name}"
    for model in (MODEL, TEACHER):
        if not (COPIES / model).exists():
            (PAGES / f"{Path(model).parent.name}.py.md5").unlink(missing_ok=True)


HEADER = """\
Examples
========

Each example is a script in the folder ``examples``. It needs minidl, and no data of your own. Its page shows what it
prints and draws. The script and a notebook are at the end of the page. The notebook needs only minidl.
"""


class Order:
    """Sort examples as above."""

    def __init__(self, source: str) -> None:
        pass

    def __call__(self, name: str) -> int:
        return list(IN_ORDER).index(Path(name).stem)


def arguments_of(configuration: dict[str, Any], script: dict[str, Any]) -> list[str]:
    """Return the options of an example, after its folder is deleted: a stopped build may have left files in it."""
    shutil.rmtree(COPIES / "runs" / Path(script["src_file"]).stem, ignore_errors=True)
    script["started"] = {path: path.stat().st_mtime_ns for path in COPIES.glob("runs/**/*") if path.is_file()}
    return IN_ORDER[Path(script["src_file"]).stem].arguments


class SavedPictures:
    """Show the pictures that an example saved, oldest first."""

    def __repr__(self) -> str:
        return "SavedPictures"

    def __call__(self, block: tuple[Any, ...], script: dict[str, Any], configuration: dict[str, Any]) -> str:
        before = script.pop("started", {})
        new = [
            path
            for path in COPIES.glob("runs/**/*")
            if path.suffix in {".png", ".gif"} and path.stat().st_mtime_ns != before.get(path)
        ]
        shown = []
        for picture in sorted(new, key=lambda path: (path.stat().st_mtime_ns, path)):
            place = Path(next(script["image_path_iterator"])).with_suffix(picture.suffix)
            shutil.copyfile(picture, place)
            shown.append(str(place))
        return "\n\n".join(figure_rst([path], configuration["src_dir"]) for path in shown)


def _get_sg_image_scraper() -> SavedPictures:
    return SavedPictures()


def first_cells(name: str) -> list[str]:
    """Return the first cells of an example's notebook: they write the modules that it imports, and set its options."""
    modules = used_modules(EXAMPLES / f"{name}.py")
    cells = [f"%%writefile {module.name}\n{module.read_text(encoding='utf-8')}" for module in modules]
    arguments = [f"{name}.py", *IN_ORDER[name].arguments]
    return [*cells, f"import sys\n\nsys.argv = {arguments}  # as on a command line"]


def complete_notebooks(app: Sphinx) -> None:
    """Add the modules that a script imports to its notebook and its archive."""
    for name in IN_ORDER:
        path = PAGES / f"{name}.ipynb"
        notebook = json.loads(path.read_text(encoding="utf-8"))
        if notebook["metadata"].get("minidl"):
            continue
        notebook["cells"][1:1] = [  # after the description
            {"cell_type": "code", "execution_count": None, "metadata": {}, "outputs": [], "source": [cell]}
            for cell in first_cells(name)
        ]
        notebook["metadata"]["minidl"] = "complete"
        path.write_text(json.dumps(notebook, indent=1), encoding="utf-8")
        with ZipFile(path.with_suffix(".zip"), "w") as archive:
            for file in [EXAMPLES / f"{name}.py", path, *used_modules(EXAMPLES / f"{name}.py")]:
                archive.write(file, file.name)


def settings() -> dict[str, Any]:
    """Return the settings of sphinx-gallery, and write the copies that it reads."""
    write_copies()
    sys.path.append(str(EXAMPLES))  # what the scripts import is there
    return {
        "examples_dirs": [str(COPIES)],
        "gallery_dirs": ["gallery"],
        "filename_pattern": r"\.py$",
        "within_subsection_order": "gallery.Order",
        "reset_argv": "gallery.arguments_of",
        "image_scrapers": ("gallery",),
        "capture_repr": (),
        "download_all_examples": False,
        "nested_sections": False,
        "plot_gallery": "True",
        "show_memory": False,
        "show_signature": False,
        "write_computation_times": False,
    }


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("builder-inited", complete_notebooks, priority=900)  # after sphinx-gallery has made them
    return {"parallel_read_safe": True}
