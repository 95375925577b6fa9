"""The gallery: each script of examples/ as a page with its output and its pictures, and as a notebook.

The scripts stay as they are. Copies of them get a title and the command that the page shows, and run in build/gallery.
A copy that has not changed is not run again. A copy changes, too, if what its example imports or uses changes.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import sys
from hashlib import sha256
from pathlib import Path
from typing import Any
from zipfile import ZipFile

from notebooks import (
    EXAMPLES,
    IN_ORDER,
    MODEL,
    TEACHER,
    docstring_and_code,
    extras_in_words,
    needed_files,
    notebook,
    script_of,
    used_modules,
)
from sphinx.application import Sphinx
from sphinx_gallery.scrapers import figure_rst

ROOT = Path(__file__).parents[2]
COPIES, PAGES = ROOT / "build" / "gallery", ROOT / "docs" / "gallery"


def with_title(name: str) -> str:
    """Return the script. Its docstring gets a title, commands as code, and the command whose output the page shows.

    A comment has the digest of all else that the output depends on: the imported modules, and the example that trains
    the model, with its options.
    """
    example, (description, code) = IN_ORDER[name], docstring_and_code(name)
    markup = re.compile(r"(`[^`]+`)|([*|<]|_(?!\w))")
    paragraphs = []
    for paragraph in description.split("\n\n"):
        if paragraph.startswith("    "):
            paragraphs.append(f".. code-block:: sh\n\n{paragraph}")
        else:
            paragraphs.append(markup.sub(lambda match: match[1] or f"\\{match[2]}", paragraph))
    command = shlex.join(["python", f"examples/{name}.py", *example.arguments])
    made_from = b"".join(path.read_bytes() for path in used_modules(script_of(name)))
    if example.model:
        made_from += with_title(example.model_example).encode()
    head = [example.title, "=" * len(example.title), "", *"\n\n".join(paragraphs).splitlines(), ""]
    source = f"The output and the pictures come from ``{command}``. They need {extras_in_words(example, '``')}."
    head += [source, "", f".. made from: {sha256(made_from).hexdigest()}"]
    return 'r"""\n' + "\n".join(head) + '\n"""' + code


def write_copies() -> None:
    """Write the copies, and delete copies of former examples. If a model is missing, its example runs again."""
    COPIES.mkdir(parents=True, exist_ok=True)
    (COPIES / "GALLERY_HEADER.rst").write_text(HEADER, encoding="utf-8")
    for name in IN_ORDER:
        (COPIES / f"{name}.py").write_text(with_title(name), encoding="utf-8")
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

Each example is a script in the folder ``examples``. It needs no data of your own. Its page shows what it prints and
draws, and says which extras of minidl it needs. The script and a notebook are at the end of the page. The notebook also
contains the other files that it needs.
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
        title, shown = IN_ORDER[Path(script["src_file"]).stem].title, []
        for picture in sorted(new, key=lambda path: (path.stat().st_mtime_ns, path)):
            place = Path(next(script["image_path_iterator"])).with_suffix(picture.suffix)
            shutil.copyfile(picture, place)
            alternative_text = f"{title}: {picture.stem.replace('_', ' ')}"
            shown.append(figure_rst([str(place)], configuration["src_dir"], alternative_text))
        return "\n\n".join(shown)


def _get_sg_image_scraper() -> SavedPictures:
    return SavedPictures()


def write_notebooks(app: Sphinx) -> None:
    """Replace the notebooks and the archives of sphinx-gallery, which lack the other files that an example needs."""
    for name in IN_ORDER:
        path, text = PAGES / f"{name}.ipynb", json.dumps(notebook(name), indent=1)
        if path.read_text(encoding="utf-8") == text:
            continue
        path.write_text(text, encoding="utf-8")
        with ZipFile(path.with_suffix(".zip"), "w") as archive:
            for file in [script_of(name), path, *needed_files(name)]:
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
    app.connect("builder-inited", write_notebooks, priority=900)  # after sphinx-gallery has made them
    return {"parallel_read_safe": True}
