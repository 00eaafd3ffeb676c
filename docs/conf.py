"""How Sphinx builds the site.

``python3 -m uv run --group docs sphinx-build -E -W --keep-going -b html docs docs/_build``
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

extensions = ["myst_parser", "sphinx.ext.autodoc", "api_references", "declared_tables", "repository_links"]
exclude_patterns = ["_build", "tests", "examples"]
nitpicky = True
nitpick_ignore_regex = [
    ("py:.*", r"(collections|datetime|typing|urllib)\..*"),  # the standard library: no page is fetched from elsewhere
    ("py:class", r"(pydantic|pydantic_settings)\..*|pubsubkit\.settings\._.*"),  # what the type BrokerURL is made of
]

myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 100
add_module_names = False

html_theme = "furo"
pygments_dark_style = "github-dark"
html_title = f"pubsubkit {release}"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_copy_source = False
