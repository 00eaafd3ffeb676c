"""How Sphinx builds the site.

``python3 -m uv run --group docs sphinx-build -W --keep-going -b html docs docs/_build``
"""

import importlib.metadata
import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE / "_ext"))

project = "pubsubkit"
author = "the pubsubkit authors"
project_copyright = author
release = importlib.metadata.version("pubsubkit")
version = release

extensions = ["myst_parser", "repository_links"]
exclude_patterns = ["_build", "tests", "examples"]
nitpicky = True

myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 3

html_theme = "furo"
html_title = f"pubsubkit {release}"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_copy_source = False
