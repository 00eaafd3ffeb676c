"""Options that stand before or after the name of a command."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import click
from click.core import ParameterSource

from pubsubkit.cli.logs import set_up_logging
from pubsubkit.registry import installed_backends

__all__ = ["Settings", "common_options", "complete_url", "url_argument", "url_option", "verbose_option"]

_Command = Callable[..., Any]
_VARIABLE = "PUBSUBKIT_URL"


@dataclass
class Settings:
    """What holds for all commands."""

    url: str | None = None
    """What ``--url`` said."""

    def need_url(self) -> str:
        """Return the URL; a placeholder for that of the environment, which the library never shows when it is none.

        :raises UsageError: none was given.
        """
        url = self.url_or_none()
        if url is None:
            raise click.UsageError(
                "no broker given: use --url, as in --url nats://localhost:4222, or set PUBSUBKIT_URL"
            )
        return url

    def url_or_none(self) -> str | None:
        """Return the same, or None when none was given."""
        return f"${{{_VARIABLE}}}" if self.url is None and _VARIABLE in os.environ else self.url


def _set_url(context: click.Context, parameter: click.Parameter, value: str | None) -> None:
    if context.get_parameter_source(parameter.name or "") is ParameterSource.COMMANDLINE:
        context.ensure_object(Settings).url = value


def complete_url(_context: click.Context, _parameter: click.Parameter, typed: str) -> list[str]:
    """Complete the scheme of a URL from what is installed."""
    return [f"{scheme}://" for scheme in installed_backends() if f"{scheme}://".startswith(typed)]


def _set_verbose(_context: click.Context, _parameter: click.Parameter, value: bool) -> None:
    if value:
        set_up_logging(verbose=True)


def url_argument(function: _Command) -> _Command:
    """Give a command the URL as an argument, for which ``--url`` does as well."""
    return click.argument(
        "argument_url",
        metavar="[URL]",
        required=False,
        expose_value=False,
        callback=_set_url,
        shell_complete=complete_url,
    )(function)


def url_option(*, show_variable: bool = False) -> Callable[[_Command], _Command]:
    """Return the option ``--url``; its help may name the variable of the environment as well."""
    return click.option(
        "--url",
        metavar="URL",
        envvar=_VARIABLE if show_variable else None,
        show_envvar=True,
        expose_value=False,
        callback=_set_url,
        shell_complete=complete_url,
        help="The broker, as nats://user:${NATS_PASSWORD}@host:4222; ${NAME} is taken from the environment.",
    )


def verbose_option(function: _Command) -> _Command:
    """Give a command the option ``--verbose``."""
    return click.option(
        "-v",
        "--verbose",
        is_flag=True,
        expose_value=False,
        callback=_set_verbose,
        help="Log what happens to stderr.",
    )(function)


def common_options(function: _Command) -> _Command:
    """Give a command the options that the group has as well, and its settings as the first argument."""
    return url_option()(verbose_option(click.pass_obj(function)))
