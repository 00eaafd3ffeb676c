"""References in docstrings: ``:class:`Message``` is found wherever it is documented."""

from __future__ import annotations

import re
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from docutils import nodes
from sphinx.util import logging
from sphinx.util.nodes import find_pending_xref_condition

if TYPE_CHECKING:
    from sphinx.addnodes import pending_xref
    from sphinx.application import Sphinx
    from sphinx.environment import BuildEnvironment

SNAPSHOT = Path(__file__).parents[1] / "reference" / "public-api.txt"
"""Names the public modules, each in a line that is not indented."""
logger = logging.getLogger(__name__)


def resolve(app: Sphinx, env: BuildEnvironment, node: pending_xref, content: nodes.Element) -> nodes.Node | None:
    """Look for a Python name in all modules; in an annotation, one that is not documented here is plain text."""
    if node["refdomain"] != "py":
        return None
    node["refspecific"] = True
    domain = env.domains["py"]
    found = domain.resolve_xref(env, node["refdoc"], app.builder, node["reftype"], node["reftarget"], node, content)
    if found or "refexplicit" in node:
        return found
    short = find_pending_xref_condition(node, "resolved")  # an annotation
    return nodes.Text((short or content).astext())


def complete(_app: Sphinx, env: BuildEnvironment) -> None:
    """Warn of what a public module exports and no page documents."""
    documented = {name.rpartition(".")[2] for name in env.domains["py"].objects}
    for module in re.findall(r"^\w\S*$", SNAPSHOT.read_text(encoding="utf-8"), re.MULTILINE):
        for name in sorted(set(import_module(module).__all__) - documented):
            logger.warning("%s.%s is public, and no page documents it", module, name)


def setup(app: Sphinx) -> dict[str, Any]:
    """Register with Sphinx."""
    app.connect("missing-reference", resolve)
    app.connect("env-check-consistency", complete)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
