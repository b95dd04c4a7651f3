"""How Sphinx makes the site: ``make docs``, then open docs/_build/index.html."""

import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from segmentation import __version__

project = "Nuclei segmentation"
release = __version__
html_title = f"{project} {release}"
html_theme = "furo"
html_show_copyright = False
extensions = ["myst_parser", "sphinx.ext.autodoc", "numpydoc"]
numpydoc_show_class_members = False
exclude_patterns = ["_build"]
myst_heading_anchors = 3
autodoc_typehints = "none"  # the descriptions give shapes and ranges, which types do not
autodoc_member_order = "bysource"
# Files of the repository outside docs/ are links to nowhere on the site.
suppress_warnings = ["myst.xref_missing"]
