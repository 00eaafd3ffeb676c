"""``pubsubkit run``."""

from __future__ import annotations

import asyncio
import importlib
import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pubsubkit.cli import reload
from pubsubkit.cli.common import Settings, common_options
from pubsubkit.cli.failure import WRONG_INPUT, CommandError, one_line
from pubsubkit.cli.logs import log_as_json
from pubsubkit.cli.values import seconds
from pubsubkit.errors import PubSubError
from pubsubkit.worker import Worker

if TYPE_CHECKING:
    from types import ModuleType

__all__ = ["run"]

_worker_logger = logging.getLogger("pubsubkit.worker")


@click.command()
@click.argument("target", metavar="MODULE:WORKER")
@click.option(
    "--grace", type=seconds, metavar="DURATION", help="How long handlers may finish.  [default: the worker's]"
)
@click.option("--health-port", type=click.IntRange(0, 65535), metavar="PORT", help="Serve /live and /ready over HTTP.")
@click.option("--health-host", metavar="HOST", help="The address to serve them on.  [default: the worker's, 127.0.0.1]")
@click.option("--reload", "reloading", is_flag=True, help="For development: start anew when a file here changes.")
@click.option("--json", "as_json", is_flag=True, help="Log on stderr in lines of JSON, with what each is about.")
@common_options
def run(settings: Settings, target: str, *, reloading: bool, as_json: bool, **overrides: Any) -> int:
    """Run the worker WORKER of the Python module MODULE, which is looked for in the current directory first.

    --url comes before the URL that the worker was made with, and PUBSUBKIT_URL after it.

    Ctrl-C and SIGTERM end it gracefully: it takes nothing more, running handlers finish within --grace, the rest is
    given back at once.  A second one cuts the handlers off.

    \b
      pubsubkit run service:worker --url nats://localhost:4222
      pubsubkit run shop.billing:worker --health-port 8080
      pubsubkit run service:worker --reload
      pubsubkit run service:worker --json 2> worker.log
    """  # noqa: D301 - \b is a mark for click
    if reloading:
        return reload.run(Path.cwd())
    if as_json:
        log_as_json()
    worker = _find(target)
    for name, value in overrides.items():
        if value is not None:
            setattr(worker, name, value)
    if not _worker_logger.isEnabledFor(logging.INFO):
        _worker_logger.setLevel(logging.INFO)
    return asyncio.run(worker.run(url=settings.url))


def _find(target: str) -> Worker:
    name, colon, attribute = target.partition(":")
    if not (name and colon and attribute):
        raise click.UsageError(f"{target!r}: expected MODULE:WORKER, as in service:worker")
    found: object = _import(name)
    for part in attribute.split("."):
        try:
            found = getattr(found, part)
        except AttributeError:
            raise CommandError(f"module {name} has no {attribute}", WRONG_INPUT) from None
    if not isinstance(found, Worker):
        raise CommandError(f"{target} is no Worker but {type(found).__name__}", WRONG_INPUT)
    return found


def _import(name: str) -> ModuleType:
    sys.path.insert(0, str(Path.cwd()))
    try:
        return importlib.import_module(name)
    except PubSubError as error:
        raise CommandError(f"cannot import {name}: {one_line(error)}", WRONG_INPUT) from error
    except ModuleNotFoundError as error:
        missing = error.name or ""
        if name == missing or name.startswith(f"{missing}."):
            raise CommandError(f"there is no module {missing} in {Path.cwd()} or installed", WRONG_INPUT) from error
        raise CommandError(f"cannot import {name}: it needs {missing}, which is not installed", WRONG_INPUT) from error
    except Exception as error:
        text = f"cannot import {name}: {type(error).__name__}: {one_line(str(error))}; --verbose shows where"
        raise CommandError(text, WRONG_INPUT) from error
