"""The hooks of pubsubkit, for plugins that log, count or trace.

A plugin is any object, module or class instance with functions marked by :data:`hookimpl` and named as below; each may
take any subset of the arguments.  Install it for everybody by an entry point of the group ``pubsubkit.plugins``, or
give it to one connection: ``connect(url, plugins=[MyPlugin()])``.

Hooks are synchronous observers: they get values, never live objects, must not block, and what they raise is logged
with the plugin's name and goes no further.  ``PUBSUBKIT_DISABLE_PLUGINS=1`` leaves installed plugins out.  The
*address* that each may take is the broker's, as in ``Backend.address``.

Plugins are called in their order: the installed ones, then those of the connection as they were given;
``@hookimpl(tryfirst=True)`` and ``trylast=True`` put one before or after the others.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pluggy

if TYPE_CHECKING:
    from collections.abc import Mapping
    from contextlib import AbstractContextManager

    from pubsubkit.driver import ConnectionState, Verdict

__all__ = [
    "hookimpl",
    "pubsubkit_before_send",
    "pubsubkit_connection_changed",
    "pubsubkit_processing",
    "pubsubkit_published",
    "pubsubkit_received",
    "pubsubkit_retrying",
    "pubsubkit_settled",
]

hookimpl: pluggy.HookimplMarker = pluggy.HookimplMarker("pubsubkit")
"""Marks a function as the implementation of the hook of its name."""

_hookspec = pluggy.HookspecMarker("pubsubkit")


@_hookspec
def pubsubkit_before_send(
    stream: str, subject: str, headers: Mapping[str, str], address: str
) -> Mapping[str, str] | None:
    """Return headers to add to a message before it is sent, once per message, not per attempt.

    Headers that the publisher set are kept: a plugin cannot replace them.  Of two plugins the later one decides.
    """


@_hookspec
def pubsubkit_published(
    stream: str,
    subject: str,
    size: int,
    message_id: str | None,
    headers: Mapping[str, str],
    error: BaseException | None,
    latency: float,
    address: str,
) -> None:
    """A publish has ended: stored when *error* is None.  *size* is the payload in bytes, *latency* in seconds.

    *headers* are those that were sent, or were to be sent: with what plugins have added and what is the broker's own.
    A message that was refused before any plugin was asked for headers has none here.
    """


@_hookspec
def pubsubkit_retrying(stream: str, subject: str, error: Exception, attempt: int, delay: float, address: str) -> None:
    """Attempt number *attempt* failed and will be repeated in *delay* seconds."""


@_hookspec
def pubsubkit_received(
    stream: str, subject: str, consumer: str, size: int, num_delivered: int, headers: Mapping[str, str], address: str
) -> None:
    """A message was handed to the application."""


@_hookspec
def pubsubkit_processing(
    stream: str, subject: str, consumer: str, num_delivered: int, headers: Mapping[str, str], address: str
) -> AbstractContextManager[None] | None:
    """Return a context manager that is entered around the handler of a message, by whoever runs handlers.

    It is entered and left in the handler's own task, so that it may set context variables.  It sees the handler's
    exception and cannot stop it: what ``__exit__`` returns counts for nothing.
    """


@_hookspec
def pubsubkit_settled(
    stream: str,
    subject: str,
    consumer: str,
    verdict: Verdict,
    num_delivered: int,
    headers: Mapping[str, str],
    delay: float,
    reason: str,
    error_type: str,
    error: Exception | None,
    latency: float,
    address: str,
) -> None:
    """The application gave its verdict; *error* when it did not reach the broker.

    *latency* is the seconds that handing it over took, *headers* are those of the message.  *delay* is that of a nak in
    seconds.  *reason* and *error_type*, those of a nak or term, are what a dead letter tells; empty when not given.
    """


@_hookspec
def pubsubkit_connection_changed(address: str, state: ConnectionState, error: Exception | None) -> None:
    """The connection came up, was lost or ended."""
