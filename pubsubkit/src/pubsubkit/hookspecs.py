"""The hooks of pubsubkit, for plugins that log, count or trace.

A plugin is any object, module or class instance with functions marked by :data:`hookimpl` and named as below; each may
take any subset of the arguments.  Install it for everybody by an entry point of the group ``pubsubkit.plugins``, or
give it to one connection: ``connect(url, plugins=[MyPlugin()])``.

Hooks are synchronous observers: they get values, never live objects, must not block, and what they raise is logged
with the plugin's name and goes no further.  ``PUBSUBKIT_DISABLE_PLUGINS=1`` leaves installed plugins out.

Plugins are called in their order: the installed ones, then those of the connection as they were given;
``@hookimpl(tryfirst=True)`` and ``trylast=True`` put one before or after the others.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pluggy

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pubsubkit.driver import ConnectionState, Verdict

__all__ = [
    "hookimpl",
    "pubsubkit_before_send",
    "pubsubkit_connection_changed",
    "pubsubkit_published",
    "pubsubkit_received",
    "pubsubkit_retrying",
    "pubsubkit_settled",
]

hookimpl = pluggy.HookimplMarker("pubsubkit")
"""Marks a function as the implementation of the hook of its name."""

_hookspec = pluggy.HookspecMarker("pubsubkit")


@_hookspec
def pubsubkit_before_send(stream: str, subject: str, headers: Mapping[str, str]) -> Mapping[str, str] | None:
    """Return headers to add to a message before it is sent, once per message, not per attempt.

    Headers that the publisher set are kept: a plugin cannot replace them.  Of two plugins the later one decides.
    """


@_hookspec
def pubsubkit_published(
    stream: str, subject: str, size: int, message_id: str | None, error: BaseException | None, latency: float
) -> None:
    """A publish has ended: stored when *error* is None.  *size* is the payload in bytes, *latency* in seconds."""


@_hookspec
def pubsubkit_retrying(stream: str, subject: str, error: Exception, attempt: int, delay: float) -> None:
    """Attempt number *attempt* failed and will be repeated in *delay* seconds."""


@_hookspec
def pubsubkit_received(
    stream: str, subject: str, consumer: str, size: int, num_delivered: int, headers: Mapping[str, str]
) -> None:
    """A message was handed to the application."""


@_hookspec
def pubsubkit_settled(
    stream: str, subject: str, consumer: str, verdict: Verdict, num_delivered: int, error: Exception | None
) -> None:
    """The application gave its verdict; *error* when it did not reach the broker."""


@_hookspec
def pubsubkit_connection_changed(address: str, state: ConnectionState, error: Exception | None) -> None:
    """The connection came up, was lost or ended."""
