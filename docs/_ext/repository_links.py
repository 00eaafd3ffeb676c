"""Links from a page to a file or folder of the repository that is no page: each gets a page that shows the source.

The pages are read on the site and in the repository, so they link as the repository lies, ``../../examples/shop.py``.
A link to a file that is included into a page, as a README is, leads to that page.  MyST warns of what does not exist.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from pygments.lexers import find_lexer_class_for_filename
from sphinx import addnodes
from sphinx.transforms import SphinxTransform
from sphinx.util.nodes import make_refnode

if TYPE_CHECKING:
    from collections.abc import Iterator

    from docutils import nodes
    from sphinx.application import Sphinx
    from sphinx.environment import BuildEnvironment

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "docs" / "examples"
TYPE = "repository"


class RepositoryLinks(SphinxTransform):
    """Marks links to what lies outside of the site, before their files are copied into it."""

    default_priority = 400

    def apply(self, **_: Any) -> None:
        """Replace what MyST made of such a link: a download, or a reference to something that it does not know."""
        for kind in (addnodes.download_reference, addnodes.pending_xref):
            for node in [each for each in self.document.findall(kind) if each["reftype"] == "myst"]:
                path = self.target(node)
                of_site = path.is_relative_to(self.env.srcdir) and not path.is_relative_to(EXAMPLES)
                if path.exists() and path.is_relative_to(ROOT) and not of_site:
                    name = path.relative_to(ROOT).as_posix()
                    marked = {"refdomain": "", "reftype": TYPE, "reftarget": name, "refdoc": self.env.docname}
                    node.replace_self(addnodes.pending_xref("", *node.children, refexplicit=True, **marked))

    def target(self, node: nodes.Element) -> Path:
        """Return what is linked to; Markdown has lost its ending."""
        if node.get("refdomain") == "doc":
            return Path(self.env.srcdir, f"{node['reftarget']}.md")
        return Path(self.env.relfn2path(node["reftarget"])[1]).resolve()


def resolve(app: Sphinx, env: BuildEnvironment, node: addnodes.pending_xref, content: nodes.Node) -> nodes.Node | None:
    """Let a marked link lead to the page that includes the file, or else to one that shows it."""
    if node["reftype"] != TYPE:
        return None
    path = node["reftarget"]
    for name, files in env.dependencies.items():
        if path.endswith(".md") and ROOT / path in {(Path(env.srcdir) / file).resolve() for file in files}:
            return make_refnode(app.builder, node["refdoc"], name, "", content)
    shown(env).add(path)
    return make_refnode(app.builder, node["refdoc"], f"source/{path}", "", content)


def shown(env: BuildEnvironment) -> set[str]:
    """The files and folders that get a page."""
    return env.__dict__.setdefault("repository_sources", set())


def pages(app: Sphinx) -> Iterator[tuple[str, dict[str, Any], str]]:
    """Make the pages: a folder is shown as all of its files."""
    for name in sorted(shown(app.env)):
        path = ROOT / name
        body = f"<h1>{name}</h1>"
        for file in [path] if path.is_file() else sorted(path.rglob("*.*")):
            if file.suffix != ".pyc" and file.is_file():
                body += f"<h2>{file.relative_to(path)}</h2>" if file != path else ""
                body += source(app, file)
        yield f"source/{name}", {"title": name, "body": body, "parents": []}, "page.html"


def source(app: Sphinx, path: Path) -> str:
    """One file in HTML."""
    lexer = find_lexer_class_for_filename(path.name)
    language = lexer.aliases[0] if lexer else "text"
    return app.builder.highlighter.highlight_block(path.read_text(encoding="utf-8"), language)


def setup(app: Sphinx) -> dict[str, Any]:
    """Register with Sphinx."""
    app.add_transform(RepositoryLinks)
    app.connect("missing-reference", resolve)
    app.connect("html-collect-pages", pages)
    return {"parallel_read_safe": True, "parallel_write_safe": False}
