"""The command group, and what becomes of its errors."""

from __future__ import annotations

import logging
import sys
from typing import Any

import click

from pubsubkit.cli.backends import backends
from pubsubkit.cli.bench import bench
from pubsubkit.cli.common import Settings, url_option, verbose_option
from pubsubkit.cli.completion import completion
from pubsubkit.cli.contract import contract
from pubsubkit.cli.demo import demo
from pubsubkit.cli.dlq import dlq
from pubsubkit.cli.doctor import doctor
from pubsubkit.cli.failure import BROKER_FAILED, DONE, WRONG_INPUT, CommandError, exit_code, one_line
from pubsubkit.cli.inventory import consumers, streams
from pubsubkit.cli.logs import set_up_logging
from pubsubkit.cli.look import bad, coloured
from pubsubkit.cli.new_backend import new_backend
from pubsubkit.cli.publish import pub
from pubsubkit.cli.run import run
from pubsubkit.cli.stopping import Stopped
from pubsubkit.cli.subscribe import sub
from pubsubkit.cli.top import top
from pubsubkit.errors import PubSubError

__all__ = ["application"]

logger: logging.Logger = logging.getLogger("pubsubkit.cli")

_INTERRUPTED = 130
_HelpAsError: type[click.UsageError] | tuple[()] = getattr(click.exceptions, "NoArgsIsHelpError", ())
"""How newer versions of click show the help of a group that was given no command."""
_EXIT_CODES = """\b
Exit codes, the same for all commands:
  0    done; also when Ctrl-C, SIGTERM or a reader that went away
       ended sub or top, or Ctrl-C or SIGTERM ended run
  1    the broker failed or refused, or a message was not stored;
       contract: does not conform; doctor: there is something to do
  2    wrong usage, URL, option, set-up or input; one line on stderr
       says what to change
  130  Ctrl-C came before the command was through
  143  SIGTERM came before the command was through
  With run the last two take a second signal.
\b
Environment:
  PUBSUBKIT_URL  the broker, where --url does not say
  NO_COLOR       no colours; FORCE_COLOR: also where no terminal is
"""


class _Application(click.Group):
    """A group whose errors are one line on stderr."""

    def main(self, *args: Any, **extra: Any) -> Any:
        """Run a command and exit with its code."""
        set_up_logging(verbose=False)
        extra = {"color": coloured(), **extra, "standalone_mode": False}
        try:
            code = super().main(*args, **extra)
        except (KeyboardInterrupt, click.Abort):
            code = _fail("stopped by SIGINT", _INTERRUPTED)
        except Exception as error:  # noqa: BLE001 - a user gets one line, and the traceback with --verbose
            code = _explain(error)
        sys.exit(code or DONE)


def _explain(error: Exception) -> int:
    logger.debug("the command failed", exc_info=error)
    if isinstance(error, _HelpAsError):
        click.echo(error.format_message(), err=True)
        return WRONG_INPUT
    if isinstance(error, click.ClickException):
        return _fail(_usage_text(error), WRONG_INPUT)
    if isinstance(error, Stopped):
        return _fail(str(error), 128 + (error.signal or 0))
    if isinstance(error, PubSubError | CommandError):
        return _fail(error, exit_code(error))
    if isinstance(error, OSError) and error.strerror:
        return _fail(f"{error.strerror}" + (f": {error.filename}" if error.filename else ""), BROKER_FAILED)
    return _fail(f"internal error, please report it: {type(error).__name__}: {error}", BROKER_FAILED)


def _usage_text(error: click.ClickException) -> str:
    text = error.format_message().rstrip(".")
    context = error.ctx if isinstance(error, click.UsageError) else None
    return f"{text} (see '{context.command_path} --help')" if context else text


def _fail(error: Exception | str, code: int) -> int:
    click.echo(f"{bad('pubsubkit:')} {one_line(error)}", err=True, color=coloured())
    return code


@click.group(
    cls=_Application,
    invoke_without_command=True,
    epilog=_EXIT_CODES,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@url_option(show_variable=True)
@verbose_option
@click.version_option(package_name="pubsubkit", message="pubsubkit %(version)s")
@click.pass_context
def application(context: click.Context) -> int:
    """Publish and subscribe from the shell; the backend is chosen by a URL.

    \b
      pubsubkit demo                                   see it work, without a server
      pubsubkit doctor                                 check the installation, and a broker
      pubsubkit backends                               what is installed
      export PUBSUBKIT_URL=nats://localhost:4222
      pubsubkit pub orders.created '{"id": 1}'         store a message
      pubsubkit sub 'orders.>' --durable billing       print and acknowledge messages
      pubsubkit pub --jsonl events.jsonl --storage file
      pubsubkit run service:worker                     handle messages by the functions of a Worker
      pubsubkit dlq list orders-dead                   what could not be handled
      pubsubkit bench nats://localhost:4222            how fast it is
      pubsubkit streams                                what the broker has; consumers, and top to watch
      pubsubkit contract                               prove that the broker keeps the promises
      pubsubkit new-backend redis                      write a backend of your own
    """  # noqa: D301 - \b is a mark for click
    context.ensure_object(Settings)
    if context.invoked_subcommand is None:
        click.echo(context.get_help())
    return DONE


for _command in (
    pub,
    sub,
    run,
    dlq,
    backends,
    contract,
    demo,
    new_backend,
    doctor,
    bench,
    completion,
    streams,
    consumers,
    top,
):
    application.add_command(_command)
