"""``pubsubkit backends``: what is installed and which parameters a URL may have."""

from __future__ import annotations

import inspect
import json
import re
from typing import TYPE_CHECKING, Any

import click

from pubsubkit.cli.common import verbose_option
from pubsubkit.cli.failure import DONE, one_line
from pubsubkit.cli.table import table
from pubsubkit.driver import Capability
from pubsubkit.errors import ConfigurationError
from pubsubkit.params import describe
from pubsubkit.registry import find_backend, installed_backends
from pubsubkit.url import BackendURL

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pubsubkit.params import Parameter
    from pubsubkit.registry import DriverFactory

__all__ = ["backends"]

_UNITS = ((1024**3, "GiB"), (1024**2, "MiB"), (1024, "KiB"))
_JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


def _schemes(_context: click.Context, _parameter: click.Parameter, typed: str) -> list[str]:
    return [scheme for scheme in installed_backends() if scheme.startswith(typed)]


@click.group(invoke_without_command=True)
@_JSON
@verbose_option
@click.pass_context
def backends(context: click.Context, as_json: bool) -> int:
    """List the installed backends.

    \b
      pubsubkit backends
      pubsubkit backends show nats
      pubsubkit backends --json | jq -r '.[].scheme'
    """  # noqa: D301 - \b is a mark for click
    if context.invoked_subcommand is None:
        rows = [_summary(scheme) for scheme in installed_backends()]
        click.echo(_to_json(rows) if as_json else _overview(rows))
    return DONE


@backends.command()
@click.argument("scheme", shell_complete=_schemes)
@_JSON
@verbose_option
def show(scheme: str, as_json: bool) -> int:
    """Show the parameters of a backend's URL.

    \b
      pubsubkit backends show nats
    """  # noqa: D301 - \b is a mark for click
    scheme = scheme.partition("://")[0].lower()
    if not re.fullmatch(r"[a-z][a-z0-9_.+-]*", scheme):
        raise click.BadParameter(f"{scheme!r} is no scheme; expected a name such as nats")
    factory = _find(scheme)
    parameters = describe(factory.OPTIONS)
    if as_json:
        listed = [_parameter(each) for each in parameters]
        click.echo(_to_json({**_summary(scheme), "example": _example(scheme, factory), "parameters": listed}))
    else:
        click.echo(_details(scheme, factory, parameters))
    return DONE


def _find(scheme: str) -> DriverFactory:
    base, *modifiers = scheme.split("+")
    return find_backend(BackendURL(scheme=base, modifiers=tuple(modifiers)))


def _summary(scheme: str) -> dict[str, Any]:
    info = installed_backends().get(scheme) or installed_backends()[scheme.partition("+")[0]]
    row = {"scheme": scheme, "distribution": info.distribution, "version": info.version, "target": info.target}
    try:
        return {**row, "modifiers": sorted(_find(scheme).MODIFIERS), "problem": None}
    except ConfigurationError as error:
        return {**row, "modifiers": [], "problem": one_line(error)}


def _overview(rows: Sequence[dict[str, Any]]) -> str:
    if not rows:
        return "no backend is installed; try: pip install pubsubkit-memory pubsubkit-nats"
    lines = [
        (row["scheme"], row["distribution"] or "(this process)", row["version"] or "-", _state(row)) for row in rows
    ]
    return table(("SCHEME", "DISTRIBUTION", "VERSION", "MODIFIERS"), lines)


def _state(row: dict[str, Any]) -> str:
    return f"does not load: {row['problem']}" if row["problem"] else ", ".join(row["modifiers"]) or "-"


def _details(scheme: str, factory: DriverFactory, parameters: Sequence[Parameter]) -> str:
    row = _summary(scheme)
    title = f"{scheme}: {row['distribution']} {row['version']}".rstrip() + f" ({row['target']})"
    about = " ".join((inspect.getdoc(factory.OPTIONS) or "").replace("``", "").split())
    forms = ", ".join(f"{scheme}+{each}://" for each in row["modifiers"])
    lines = [(each.name, _kind(each), _default(each), each.doc) for each in parameters]
    listing = table(("PARAMETER", "TYPE", "DEFAULT", "MEANING"), lines) if lines else "It has no parameters."
    example = f"Example: {_example(scheme, factory)}"
    return "\n\n".join(filter(None, (title, about, f"Also: {forms}" if forms else "", example, listing)))


def _example(scheme: str, factory: DriverFactory) -> str:
    """Return a URL with some of the parameters at their defaults."""
    remote = Capability.REMOTE in getattr(factory, "capabilities", ())
    given = [
        f"{each.name}={_default(each)}"
        for each in describe(factory.OPTIONS)
        if not each.secret and each.default not in (None, "")
    ]
    required = [f"{each.name}=..." for each in describe(factory.OPTIONS) if each.required]
    query = "&".join([*required, *given[:2]])
    return f"{scheme}://{'localhost' if remote else ''}" + (f"?{query}" if query else "")


def _parameter(parameter: Parameter) -> dict[str, Any]:
    return {
        "name": parameter.name,
        "type": parameter.kind,
        "default": None if parameter.secret else parameter.default,
        "required": parameter.required,
        "secret": parameter.secret,
        "doc": parameter.doc,
    }


def _kind(parameter: Parameter) -> str:
    return f"{parameter.kind} (secret)" if parameter.secret else parameter.kind


def _default(parameter: Parameter) -> str:
    value = parameter.default
    if parameter.required:
        return "required"
    if value is None or value == "":
        return "-"
    if parameter.secret:
        return "***"
    if isinstance(value, bool):
        return str(value).lower()
    if parameter.kind == "duration" and isinstance(value, int | float):
        return f"{value:g}s" if value >= 1 or not value else f"{value * 1000:g}ms"
    if parameter.kind == "size" and isinstance(value, int):
        power, unit = next((each for each in _UNITS if value and value % each[0] == 0), (1, ""))
        return f"{value // power}{unit}"
    return str(value)


def _to_json(value: object) -> str:
    return json.dumps(value, indent=2, default=str)
