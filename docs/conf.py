"""Sphinx's settings. ``sphinx-build docs docs/_build`` makes the site, which needs no network."""

import sys
from pathlib import Path

_DOCS = Path(__file__).resolve().parent
sys.path[:0] = [str(_DOCS.parent), str(_DOCS / "_ext")]

import fastconv  # noqa: E402 - found by the line above

project = "fastconv"
author = "The fastconv developers"
copyright = author  # noqa: A001 - Sphinx's name
version = release = fastconv.__version__

extensions = [
    "myst_parser",
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx_click",
    "sphinx_copybutton",
    # In _ext: formulas as MathML, pictures made of the library's own numbers.
    "mathml",
    "pictures",
]
myst_enable_extensions = ["deflist", "dollarmath"]
myst_heading_anchors = 3
exclude_patterns = ["_build"]

# Names in the docstrings' single backticks are looked up, and one that leads nowhere is an error.
nitpicky = True
default_role = "py:obj"
autodoc_typehints = "none"  # numpydoc's sections tell the types in words
autodoc_member_order = "bysource"
autosummary_generate = False
numpydoc_show_class_members = False

html_theme = "furo"
html_title = f"fastconv {version}"
html_static_path = ["_static"]
html_css_files = ["fastconv.css"]
html_show_sphinx = False
html_copy_source = False
html_show_sourcelink = False
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True
copybutton_only_copy_prompt_lines = True
