"""Phrases that this project does not write: CONTRIBUTING.md says why."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PHRASES = [
    r"stands? in",
    "surer than",
    "by heart",
    "for want of",
    "but for",
    "no table of numbers",
    "those which",
    "whatsoever",
    "whereof",
    "thereof",
    "as ever",
    "holds all of it right",
    r"(?:initial|memor|normal|regular|standard|summar)is(?:e|ing|ation)\w*",  # spelled with a z, as in the API
]
PATTERN = re.compile(
    r"\b(" + "|".join(phrase.replace(" ", r"\s+(?:#\s*)?") for phrase in PHRASES) + r")\b", re.IGNORECASE
)
GENERATED = [ROOT / "docs/api/generated", ROOT / "docs/gallery"]
"""Folders that the build of the site writes."""
TEXTS = [
    *(path for folder in ("minidl", "examples", "benchmarks", "tools") for path in (ROOT / folder).rglob("*.py")),
    *(path for kind in ("html", "js") for path in (ROOT / "minidl/page").glob(f"*.{kind}")),
    *(
        path
        for kind in ("py", "md", "rst")
        for path in (ROOT / "docs").rglob(f"*.{kind}")
        if not any(folder in path.parents for folder in GENERATED)
    ),
    *(ROOT / name for name in ("README.md", "CHANGELOG.md", "SECURITY.md")),
]
"""All but CONTRIBUTING.md, which quotes such phrases."""


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_text_has_a_phrase_that_readers_stumble_over(path):
    text = path.read_text(encoding="utf-8")
    found = [f"line {text.count(chr(10), 0, match.start()) + 1}: {match[0]!r}" for match in PATTERN.finditer(text)]
    assert not found, f"{path.name}: {found}; say it plainly"


def test_the_phrases_are_found_also_over_the_end_of_a_line():
    assert [match[1] for match in PATTERN.finditer("It Stands\n    in a file, but\n# for one.")] == [
        "Stands\n    in",
        "but\n# for",
    ]
