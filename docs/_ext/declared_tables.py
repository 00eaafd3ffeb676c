"""Tables of parameters and options, made of what the code declares.

``.. url-parameters:: nats`` lists what the URL of a backend may say, as ``pubsubkit backends show nats`` does.  The
``:param …:`` of a documented dataclass become a table with the types and defaults of its fields.
"""

from __future__ import annotations

import dataclasses
import re
from enum import Enum
from typing import TYPE_CHECKING, Any

from click.testing import CliRunner
from docutils.parsers.rst import Directive
from docutils.statemachine import StringList

from pubsubkit.cli.app import application
from pubsubkit.params import describe

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from docutils import nodes
    from sphinx.application import Sphinx


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    """The lines of a table in reStructuredText."""
    yield from (".. list-table::", "   :header-rows: 1", "")
    for row in (heads, *rows):
        yield from (
            f"   {'-' if number else '* -'} {cell}".replace("   -", "     -") for number, cell in enumerate(row)
        )
    yield ""


class UrlParameters(Directive):
    """``.. url-parameters:: SCHEME``."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """Let the command line print the parameters, and make its table one of the page."""
        shown = CliRunner().invoke(application, ["backends", "show", self.arguments[0]], catch_exceptions=False).output
        example, _, listing = shown.partition("Example: ")[2].partition("\n\n")
        heads, *rows = (re.split(r"  +", line.strip(), maxsplit=3) for line in listing.strip().splitlines())
        if heads != ["PARAMETER", "TYPE", "DEFAULT", "MEANING"]:
            raise self.error(f"no table of parameters: {shown}")
        cells = ((f"``{name}``", kind, f"``{default}``", meaning) for name, kind, default, meaning in rows)
        lines = [f"For example ``{example.strip()}``.", "", *table([head.lower() for head in heads], cells)]
        return self.parse(lines)

    def parse(self, lines: list[str]) -> list[nodes.Node]:
        """The nodes that the lines stand for."""
        from docutils import nodes

        parent = nodes.Element()
        self.state.nested_parse(StringList(lines, source=self.block_text), self.content_offset, parent)
        return parent.children


def options(_app: Sphinx, kind: str, _name: str, found: Any, _options: Any, lines: list[str]) -> None:
    """Make a table of the parameters of a dataclass, in place."""
    if kind != "class" or not has_table(found):
        return
    text = "\n".join(lines)
    documented = dict(re.findall(r"^:param (\w+): (.*(?:\n +.*)*)", text, re.MULTILINE))
    fields = {field.name: field for field in dataclasses.fields(found) if field.init}
    rows = [
        (f"``{name}``", f"``{fields[name].type}``", default(fields[name]), " ".join(doc.split()))
        for name, doc in documented.items()
    ]
    before, _, after = re.sub(r"^:param (\w+): .*(?:\n +.*)*\n?", "\0", text, flags=re.MULTILINE).partition("\0")
    lines[:] = [*before.splitlines(), "", *table(("option", "type", "default", "meaning"), rows)]
    lines += after.replace("\0", "").splitlines()


def default(field: dataclasses.Field[Any]) -> str:
    """How a default is written, or that there is none."""
    if field.default_factory is not dataclasses.MISSING:
        return f"``{field.default_factory()!r}``"
    value = field.default
    if value is dataclasses.MISSING:
        return "required"
    if isinstance(value, Enum):
        return f"``{type(value).__name__}.{value.name}``"
    if dataclasses.is_dataclass(value):
        return f"``{type(value).__name__}()``"
    return f"``{getattr(value, '__qualname__', repr(value))}``"


def without_options(_app: Sphinx, kind: str, _name: str, found: Any, *_: Any) -> tuple[str, None] | None:
    """Leave out of a signature what the table says."""
    return ("", None) if kind == "class" and (has_table(found) or of_url(found)) else None


def has_table(found: Any) -> bool:
    """Whether the options of a class are documented as parameters."""
    return dataclasses.is_dataclass(found) and ":param " in (found.__doc__ or "")


def of_url(found: Any) -> bool:
    """Whether a class declares the parameters of a URL, which have a page of their own."""
    return dataclasses.is_dataclass(found) and isinstance(found, type) and bool(describe(found))


def setup(app: Sphinx) -> dict[str, Any]:
    """Register with Sphinx."""
    app.add_directive("url-parameters", UrlParameters)
    app.connect("autodoc-process-docstring", options)
    app.connect("autodoc-process-signature", without_options)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
