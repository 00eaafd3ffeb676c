"""``pubsubkit contract``: proves a backend with the contract suite, which is a distribution of its own."""

from __future__ import annotations

import importlib
import logging
import os
from pathlib import Path
from typing import Any

import click

from pubsubkit.cli.common import Settings, common_options, complete_url
from pubsubkit.cli.failure import CommandError
from pubsubkit.cli.logs import records_hidden
from pubsubkit.cli.pipes import standard_stream
from pubsubkit.url import BackendURL

__all__ = ["contract"]

_WRONG_SETUP = 2


class _Report(click.Path):
    """A file to write when the run is over."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """See before the run that it can be written."""
        path = Path(os.fsdecode(super().convert(value, param, ctx)))
        if not path.exists() and not os.access(path.parent, os.W_OK):
            self.fail(f"cannot write a file in {str(path.parent)!r}", param, ctx)
        return path


_FILE = _Report(dir_okay=False, writable=True)


@click.command()
@click.argument("targets", nargs=-1, metavar="[HARNESS_OR_URL]...", shell_complete=complete_url)
@click.option("--only", metavar="GROUP,...", help="Run only these groups, e.g. ack,nak; the verdict is then partial.")
@click.option("--seed", type=int, metavar="N", help="Repeat the random histories of the run that reported this seed.")
@click.option(
    "--time-scale",
    type=click.FloatRange(0, min_open=True),
    default=1.0,
    show_default=True,
    help="Wait longer, on a slow machine.",
)
@click.option("--json", "json_file", type=_FILE, help="Write how each case ended, with the evidence, as JSON.")
@click.option("--html", "html_file", type=_FILE, help="Write the matrix and the evidence as a page.")
@click.option("--markdown", "markdown_file", type=_FILE, help="Write the matrix as Markdown.")
@common_options
def contract(
    settings: Settings,
    targets: tuple[str, ...],
    only: str | None,
    seed: int | None,
    time_scale: float,
    **files: Path | None,
) -> int:
    """Prove that a backend keeps its promises.

    Runs every case of the contract on a URL, or on a harness that can also restart and break the broker, and says in
    one line whether the backend conforms.  It makes streams of its own and deletes them.  With several targets the
    reports show them side by side.  It needs the distribution pubsubkit-contract-tests.

    \b
      pubsubkit contract memory://
      pubsubkit contract pubsubkit_nats.testing:NatsHarness --html nats.html
      pubsubkit contract nats://localhost:4222 --only ack,nak

    Exit codes: 0 it conforms (with --only: what was run was kept), 1 it does not or the verdict is open, 2 a target
    cannot be opened, and then no case is run.  Ctrl-C lets the case that runs clean up; a second one ends it at once,
    also where the backend blocks the event loop.
    """  # noqa: D301 - \b is a mark for click
    standard_stream("stdout")  # where the verdict goes
    suite = _import("pubsubkit_contract.command")
    with records_hidden(below=logging.CRITICAL + 1):
        named = targets or (BackendURL.parse(settings.need_url()).reveal(),)
        collected, code = suite.run(named, only=only, seed=seed, time_scale=time_scale)
    if collected is not None:
        collected.write(files["json_file"], files["html_file"], files["markdown_file"])
    return int(code)


def _import(module: str) -> Any:
    """The core does not depend on the suite, so it is imported by its name."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        text = "the contract suite is not installed; install it with: pip install pubsubkit-contract-tests"
        raise CommandError(text, _WRONG_SETUP) from error
