"""How Sphinx builds the documentation: `python docs/site/build.py` calls it.

The pages are docs/*.md, which people also read on a git host, and whose code blocks are tests; and docs/api/*.rst,
whose content comes from the docstrings.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parents[1])]  # the extensions beside this file, and minidl of this tree

import gallery  # noqa: E402

import minidl  # noqa: E402

project = "minidl"
author = "the authors of minidl"
version = release = minidl.__version__

extensions = [
    "myst_parser",
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.mathjax",
    "sphinx-mathjax-offline",
    "sphinx_copybutton",
    "sphinx_gallery.gen_gallery",
    "docstrings",
    "gallery",
    "source_pages",
]
exclude_patterns = ["site", "images"]
templates_path = [str(HERE / "templates")]
nitpicky = True
linkcheck_timeout = 15
root_doc = "index"
smartquotes = False  # options such as --page have two dashes

# Markdown as git hosts read it: $formulas$, ```math, and headings as anchors.
myst_enable_extensions = ["dollarmath"]
myst_fence_as_directive = ["math"]
myst_heading_anchors = 4

# One page for each public name. A name without its own docstring has the docstring of its base class.
autosummary_generate = True
autosummary_filename_map = {"minidl.search": "minidl.search-function"}  # not the file of minidl.Search on all systems
autodoc_typehints = "none"  # the docstrings say the types
autodoc_member_order = "bysource"
numpydoc_show_class_members = False
numpydoc_class_members_toctree = False
default_role = "public_name"

sphinx_gallery_conf = gallery.settings()
os.environ["TQDM_DISABLE"] = "1"

html_theme = "pydata_sphinx_theme"
html_context = {"default_mode": "auto"}
html_title = f"minidl {release}"
html_static_path = ["static"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_sourcelink = False
ALONE = ["why", "install", "quickstart", "mathematics", "architecture", "testing", "performance"]
ALONE += ["contributing", "security", "changelog"]
html_sidebars = {page: [] for page in ALONE}
html_theme_options = {
    "logo": {"text": f"minidl {release}"},
    "navbar_end": ["theme-switcher"],
    "navbar_persistent": ["search-button"],
    "header_links_before_dropdown": 6,
    "show_toc_level": 2,
    "footer_start": ["copyright"],
    "footer_end": ["theme-version"],
    "show_prev_next": True,
    "navigation_with_keys": False,
}
project_copyright = "the authors of minidl; MIT licence"

# If several versions are published, the address of their list turns the version into a menu:
# https://pydata-sphinx-theme.readthedocs.io/en/stable/user_guide/version-dropdown.html
if os.environ.get("MINIDL_DOCS_VERSIONS"):
    html_theme_options["switcher"] = {"json_url": os.environ["MINIDL_DOCS_VERSIONS"], "version_match": release}
    html_theme_options["navbar_end"] = ["version-switcher", "theme-switcher"]
    html_theme_options["check_switcher"] = False
