"""``pubsubkit new-backend``: writes a distribution to fill in."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path

import click

from pubsubkit.cli.common import verbose_option
from pubsubkit.cli.failure import DONE, WRONG_INPUT, CommandError
from pubsubkit.errors import ConflictError
from pubsubkit.registry import installed_backends
from pubsubkit.scaffold import write_backend

__all__ = ["new_backend"]


@click.command("new-backend")
@click.argument("name")
@click.option(
    "--path",
    type=click.Path(path_type=Path),
    metavar="FOLDER",
    help="Where to; pubsubkit-NAME in the current folder when left out.",
)
@click.option("--json", "as_json", is_flag=True, help="Print a line of JSON.")
@verbose_option
def new_backend(name: str, path: Path | None, *, as_json: bool) -> int:
    """Write a new backend: a distribution that installs, and says what is to be filled in.

    NAME is the scheme of its URLs.  The distribution has a driver with the methods to write, its parameters, a
    harness, the contract as its tests, a workflow for CI and a README that says where to begin.

    \b
      pubsubkit new-backend redis
      cd pubsubkit-redis
      pip install -e '.[testing]'
      pytest                                 every promise that is not kept yet, case by case
      pubsubkit contract pubsubkit_redis.testing:RedisHarness --only core
    """  # noqa: D301 - \b is a mark for click
    folder = path or Path(f"pubsubkit-{name}")
    taken = installed_backends().get(name)
    if taken is None and _is_module(f"pubsubkit_{name}"):
        raise click.BadParameter(f"pubsubkit_{name} is the module of another distribution here", param_hint="NAME")
    if taken is not None:
        click.echo(f"note: the scheme {name!r} is served by {taken} here; two cannot be used", err=True)
    try:
        written = write_backend(name, folder)
    except ConflictError as error:
        raise CommandError(str(error), WRONG_INPUT) from error
    if as_json:
        click.echo(json.dumps({"folder": str(folder), "files": [str(file) for file in written]}))
    else:
        click.echo("\n".join(map(str, written)))
    click.echo(f"\nNext:\n  cd {folder}\n  pip install -e '.[testing]'\n  pytest\n", err=True)
    return DONE


def _is_module(name: str) -> bool:
    return name.isidentifier() and find_spec(name) is not None
