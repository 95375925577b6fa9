"""Pages that show the source: one for each module, and for each other file of the repository that a page links to.

Documents link to files of the repository, as ../minidl/model.py. On a git host these links lead to the file; here they
lead to its page. A link to a package leads to its part of the reference, and a link to an example leads to its page of
the gallery. The pages contributing, security and changelog show the files of these names in the repository's root.
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Iterator
from html import escape
from pathlib import Path
from typing import Any

from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import get_lexer_for_filename, guess_lexer
from sphinx.application import Sphinx
from sphinx.errors import ExtensionError

ROOT = Path(__file__).parents[2]
LINK = re.compile(
    r"\[([^\]]*)\]\((?:\.\./)+((?:minidl|examples|benchmarks|tests)\b[^)#]*|[A-Z]+(?:\.md)?|setup\.cfg)\)"
)
"""A Markdown link out of docs/."""
ROOT_PAGES = {name: f"{name.upper()}.md" for name in ("contributing", "security", "changelog")}
"""Pages that show files in the root of the repository."""
CHILDREN: dict[str, list[str] | None] = {"howto": None, "tutorials": None}
"""Pages that have pages below them. None means the pages that their lists link to."""
CHILDREN["guide"] = ["estimators", "optimizers", "schedules", "regularization", "augmentation", "recipes"]
CHILDREN["guide"] += ["parameter_search", "prediction", "deployment", "distributed", "language_models", "extending"]
DIAGRAM = re.compile(r"```mermaid\nsequenceDiagram\n(.*?)```", re.DOTALL)
PARTS = {"minidl/metrics": "metrics", "minidl/optimizers": "optimizers", "minidl/losses": "losses"}
PARTS |= {"minidl/layers": "layers", "minidl/prediction": "prediction"}
"""Packages, and the pages of the reference that have their names."""


def adapt_links(app: Sphinx, name: str, source: list[str]) -> None:
    """Let links out of docs/ lead to pages of the site."""
    up = "../" * name.count("/")

    def adapted(link: re.Match[str]) -> str:
        text, path = link[1], link[2].rstrip("/")
        if not (ROOT / path).exists():
            raise ExtensionError(f"{name}: the link to {path} leads to no file")
        if path in ROOT_PAGES.values():
            return f"[{text}]({up}{path.lower()})"
        if path in PARTS:
            return f"[{text}]({up}api/{PARTS[path]}.rst)"
        if path.startswith("examples/") and f"gallery/{Path(path).stem}" in app.env.found_docs:
            return f"[{text}]({up}gallery/{Path(path).stem}.rst)"
        if path == "examples":
            return f"[{text}]({up}gallery/index.rst)"
        if (ROOT / path).is_dir():
            return text
        app.env.metadata[name].setdefault("sources", set()).add(path)
        return f'<a class="reference internal" href="{up}sources/{path}.html">{text}</a>'

    if name in ROOT_PAGES:
        root_file = ROOT / ROOT_PAGES[name]
        app.env.note_dependency(str(root_file))
        text = root_file.read_text(encoding="utf-8")
        source[0] = re.sub(r"\]\((?!https?:)(docs/)?", lambda link: "](" if link[1] else "](../", text)
    if not name.startswith(("api/", "gallery/")):
        if name in CHILDREN:
            pages = CHILDREN[name] or re.findall(r"(?m)^- \[[^\]]*\]\(([\w/]+)\.md\)", source[0])
            source[0] += "\n".join(["\n```{toctree}", ":hidden:", "", *pages, "```", ""])
        source[0] = DIAGRAM.sub(steps, LINK.sub(adapted, source[0]))


def steps(diagram: re.Match[str]) -> str:
    """Write a diagram of messages as a list. Git hosts draw such diagrams, but browsers cannot."""
    messages = re.findall(r"(\w+)->>(\w+): (.*)", diagram[1])
    return "\n".join(
        f"1. **{who} → {whom}**: {what}" if who != whom else f"1. **{who}**: {what}" for who, whom, what in messages
    )


def source_pages(app: Sphinx) -> Iterator[tuple[str, dict[str, Any], str]]:
    """Make a page for each module, and for each other file that a page links to."""
    linked = {path for metadata in app.env.metadata.values() for path in metadata.get("sources", ())}
    modules = {str(path.relative_to(ROOT).as_posix()) for path in (ROOT / "minidl").rglob("*.py")}
    formatter = HtmlFormatter(lineanchors="line", wrapcode=True)
    for path in sorted(linked | modules):
        text = (ROOT / path).read_text(encoding="utf-8")
        lexer = get_lexer_for_filename(path) if "." in Path(path).name else guess_lexer(text)
        body = f"<h1>{escape(path)}</h1>{highlight(text, lexer, formatter)}"
        yield f"sources/{path}", {"title": path, "body": body, "parents": []}, "page.html"


def linkcode_resolve(domain: str, info: dict[str, str]) -> str | None:
    """Return the link from the page of a public name, in api/generated, to its source."""
    item: Any = sys.modules.get(info["module"])
    for part in info["fullname"].split("."):
        item = getattr(item, part, None)
    item = inspect.unwrap(item.fget if isinstance(item, property) else item)
    try:
        path, (_, line) = Path(inspect.getsourcefile(item) or ""), inspect.getsourcelines(item)
    except (TypeError, OSError):  # a constant
        return None
    if not path.is_relative_to(ROOT / "minidl"):
        return None
    return f"../../sources/{path.relative_to(ROOT).as_posix()}.html#line-{line}"


def setup(app: Sphinx) -> dict[str, bool]:
    app.setup_extension("sphinx.ext.linkcode")
    app.config.linkcode_resolve = linkcode_resolve
    app.connect("source-read", adapt_links)
    app.connect("html-collect-pages", source_pages)
    return {"parallel_read_safe": True}
