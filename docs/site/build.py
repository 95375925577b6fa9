"""Build the documentation into build/site: files that any web server shows, and any browser opens without a network.

    pip install -e '.[docs]' && python docs/site/build.py
    python docs/site/build.py --quick             # the examples with short settings: do they run?
    python docs/site/build.py --external-links    # also asks every other site whether its pages are still there

Warnings are errors, and every link within the site must lead to an existing page and place. A second build does only
what has changed, and runs only examples that have changed; --fresh starts from the beginning.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

HERE, DOCS, ROOT = Path(__file__).parent, Path(__file__).parents[1], Path(__file__).parents[2]
GENERATED = [DOCS / "api" / "generated", DOCS / "gallery", ROOT / "build" / "gallery"]


class Page(HTMLParser):
    """The links of a page, and the places in it that links can lead to."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.links: set[str] = set()
        self.places: set[str] = set()
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name == "id" or (name == "name" and tag == "a"):
                self.places.add(value or "")
            elif name in {"href", "src"} and value:
                self.links.add(value)


def broken_links(site: Path) -> Iterator[str]:
    """Yield a message for each link to a file or a place that the site does not have."""
    pages = {path: Page(path) for path in site.rglob("*.html") if "_static" not in path.relative_to(site).parts}
    for path, page in pages.items():
        for link in sorted(page.links):
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            place = unquote(parts.fragment)
            if not target.exists():
                yield f"{path.relative_to(site)}: {link} leads to no file"
            elif place and target in pages and place not in pages[target].places:
                yield f"{path.relative_to(site)}: {link} leads to no place of the page"


def build(output: Path, fresh: bool, quick: bool, external_links: bool) -> int:
    """Build and check; return 0, or 1 if something is wrong."""
    from docstrings import documented
    from sphinx.cmd.build import build_main

    os.environ["MINIDL_DOCS_QUICK"] = str(int(quick))
    if fresh:
        for folder in [output, *GENERATED]:
            shutil.rmtree(folder, ignore_errors=True)
    for page in GENERATED[0].glob("*.rst"):
        if page.stem.removesuffix("-function") not in documented():
            page.unlink()
    options = ["-q", "-W", "--keep-going", "-c", str(HERE), "-d", str(output.parent / f"{output.name}_doctrees")]
    try:
        failed = build_main([*options, str(DOCS), str(output)])
    except SystemExit as exit_of_example:
        print(f"an example has ended: {exit_of_example}", file=sys.__stderr__)
        return 1
    broken = list(broken_links(output.resolve()))
    print(*broken, sep="\n", file=sys.stderr)
    if external_links:
        failed |= build_main([*options, "-b", "linkcheck", str(DOCS), str(output.parent / f"{output.name}_links")])
    if failed or broken:
        return 1
    print(f"open {output / 'index.html'}")
    return 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=ROOT / "build" / "site", metavar="DIR")
    parser.add_argument("--fresh", action="store_true", help="use nothing of an earlier build")
    parser.add_argument("--external-links", action="store_true", help="check links to other sites; needs a network")
    parser.add_argument("--quick", action="store_true", help="run the examples for seconds only")
    options = parser.parse_args()
    return build(options.output, options.fresh, options.quick, options.external_links)


if __name__ == "__main__":
    sys.exit(main())
