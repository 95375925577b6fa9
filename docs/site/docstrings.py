"""The reference: it formats the docstrings, and shows only the public parts of classes.

A public name of minidl in `backquotes` becomes a link; everything else in backquotes is code. An asterisk, a bar and an
underscore outside of backquotes belong to formulas such as ``dx = sum_n dy_n * |w|``, not to the markup of Sphinx.
"""

from __future__ import annotations

import importlib
import re
import sys
from collections.abc import Iterator
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx

API = Path(__file__).parents[1] / "api"
ENTRY = re.compile(r"^ +(minidl\.[\w.]+)$", re.MULTILINE)


@cache
def documented() -> dict[str, str]:
    """Return the full names in the reference, by the names that a docstring may use."""
    names = [name for page in sorted(API.glob("*.rst")) for name in ENTRY.findall(page.read_text(encoding="utf-8"))]
    short: dict[str, list[str]] = {}
    for name in names:
        short.setdefault(name.rpartition(".")[2], []).append(name)
    clear = {key: full[0] for key, full in short.items() if len(full) == 1 and key[0].isupper()}
    return {**clear, **{name: name for name in names}, **{name.removeprefix("minidl."): name for name in names}}


def public_name(role: str, raw: str, text: str, line: int, inliner: Any, options: Any = None, content: Any = ()) -> Any:
    """Make a link from a public name, and code from anything else."""
    full = documented().get(text.removesuffix("()"))
    if full is None:
        return [nodes.literal(raw, text)], []
    link = addnodes.pending_xref(
        raw, nodes.literal(raw, text), refdomain="py", reftype="obj", reftarget=full, refexplicit=True, refwarn=True
    )
    link["refdoc"] = inliner.document.settings.env.docname
    return [link], []


MARKUP = re.compile(r"(``.*?``|:\w+:`.*?`|`[^`]+`)|([*|]|_(?!\w))")
"""First group: code or a name, which stays. Second group: what reStructuredText would take for markup."""


SECTION = re.compile(r"(Parameters|Attributes|Returns|Yields|Raises)$")
ENTRY_OF_SECTION = re.compile(r"[\w*, .]+ : |\w+$")


def head_notes(app: Sphinx, what: str, name: str, item: object, options: Any, lines: list[str]) -> None:
    """Give a heading to a paragraph after the parameters, such as the shapes, because it is not a parameter."""
    in_section, heads = False, []
    for number, line in enumerate(lines):
        if lines[number + 1 : number + 2] and re.fullmatch("-{3,}", lines[number + 1]):
            in_section = bool(SECTION.match(line))
        elif in_section and line[:1].strip() and not lines[number - 1] and not ENTRY_OF_SECTION.match(line):
            heads.append(number)
            in_section = False
    for number in heads[:1]:
        lines[number:number] = ["Notes", "-----"]


def escape_formulas(app: Sphinx, what: str, name: str, item: object, options: Any, lines: list[str]) -> None:
    """Put a backslash before what reStructuredText would take for markup, except in blocks of code."""
    code_below: int | None = None
    for number, line in enumerate(lines):
        indent = len(line) - len(line.lstrip())
        if code_below is not None and (not line.strip() or indent > code_below):
            continue
        code_below = indent if line.endswith("::") else None
        if not line.lstrip().startswith(">>>"):
            lines[number] = MARKUP.sub(lambda match: match[1] or f"\\{match[2]}", line)


@cache
def documented_objects() -> frozenset[int]:
    """Return the identities of the objects in the reference."""
    places = [name.rpartition(".") for name in {*documented().values()}]
    return frozenset(id(getattr(importlib.import_module(module), name)) for module, _, name in places)


def public_bases(app: Sphinx, name: str, item: type, options: Any, bases: list[Any]) -> None:
    """Show the nearest bases in the reference instead of private bases and bases from other libraries."""

    def nearest(cls: type) -> Iterator[type]:
        for base in cls.__bases__:
            yield from [base] if id(base) in documented_objects() else nearest(base)

    bases[:] = dict.fromkeys(nearest(item)) or [object]


def is_shown_elsewhere(app: Sphinx, what: str, name: str, item: Any, skip: bool, options: Any) -> bool | None:
    """Leave out members that another class of the reference shows, and members from other libraries."""
    function = getattr(item, "fget", item)
    if not callable(function):
        return None
    home = getattr(function, "__module__", None) or getattr(getattr(item, "__objclass__", None), "__module__", "minidl")
    if isinstance(item, np.ufunc) or home.split(".")[0] != "minidl":
        return True
    owner = getattr(sys.modules[home], getattr(function, "__qualname__", "").split(".")[0], None)
    try:
        page = app.env.docname
    except KeyError:  # no page is being read: these are autosummary's own classes
        page = ""
    is_shown_here = owner is not None and page.endswith(f".{owner.__name__}")
    return True if id(owner) in documented_objects() and not is_shown_here else None


def setup(app: Sphinx) -> dict[str, bool]:
    code = sha256(b"".join(path.read_bytes() for path in sorted(Path(__file__).parent.glob("*.py")))).hexdigest()
    app.add_config_value("code_of_the_site", code, "env")  # if it changes, all pages are made again
    app.connect("autodoc-process-docstring", head_notes, priority=90)
    app.connect("autodoc-process-docstring", escape_formulas, priority=100)  # before numpydoc, at 500
    app.connect("autodoc-process-bases", public_bases)
    app.connect("autodoc-skip-member", is_shown_elsewhere)
    app.add_role("public_name", public_name)
    return {"parallel_read_safe": True}
