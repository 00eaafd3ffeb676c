"""The first connection of a nats-py client, which by itself nats-py tries for ever."""

from __future__ import annotations

import asyncio
import ssl
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pubsubkit.errors import ConfigurationError, PermissionDeniedError, TransientError
from pubsubkit_nats.credentials import Credentials
from pubsubkit_nats.private import tls_only, wants_certificate

if TYPE_CHECKING:
    from nats.aio.client import Client

    from pubsubkit.errors import PubSubError
    from pubsubkit_nats.settings import NatsOptions

__all__ = ["FirstConnection", "explain", "is_refusal"]

_POLL_SECONDS = 0.01
_NO_INFO = "expecting INFO"
"""What nats-py says of a connection that ends, or begins otherwise than by ``INFO``."""

_NO_HTTP = "INFO {"
"""What aiohttp repeats of a server that introduces itself in place of answering the request for a websocket."""


class _GiveUp(Exception):  # noqa: N818 - never leaves this module
    """Carries the reason out of nats-py's loop of first attempts."""


class FirstConnection:
    """Tries each server once.

    :param arguments: for ``Client.connect``, without ``error_cb``: that callback must call :meth:`on_error`.
    """

    def __init__(self, client: Client, arguments: dict[str, Any]) -> None:
        self._client = client
        self._arguments = tls_only(client, arguments) if "tls" in arguments else arguments
        self._left = len(arguments["servers"])
        self._trying = False

    def on_error(self, error: Exception) -> None:
        """Count a failure; after the last server, or refused credentials, end the attempt."""
        if not self._trying:
            return
        self._left -= 1
        if is_refusal(error) or self._left <= 0:
            raise _GiveUp from error

    async def establish(self, timeout: float) -> None:
        """Connect within *timeout* seconds.

        :raises TransientError: no server answered in time.
        :raises PermissionDeniedError: the server refused the credentials.
        :raises Exception: what nats-py raised for the last server.
        """
        attempt = asyncio.ensure_future(self._client.connect(**self._arguments))
        self._trying = True
        try:
            # Not awaited itself: with Python 3.11 nats-py can swallow the cancellation of its connect.
            await asyncio.wait([attempt], timeout=timeout)
        finally:
            self._trying = False
            await _abandon(attempt)
        late = TransientError(f"no connection within {timeout:.3g} s: {self._client.last_error or 'no answer'}")
        if attempt.cancelled():
            raise late
        if (error := attempt.exception()) is not None:
            reason = error.__cause__ if isinstance(error, _GiveUp) and error.__cause__ else error
            if isinstance(reason, TimeoutError):
                raise late from reason
            if _NO_INFO in str(reason):
                raise TransientError(
                    "the server said nothing of itself: it is going down, or is no NATS server"
                ) from reason
            if is_refusal(reason):
                raise PermissionDeniedError(f"the server refused the credentials: {reason}") from reason
            raise reason


def explain(error: Exception, client: Client, options: NatsOptions) -> PubSubError | None:
    """A better error than *error*, with which the first connection failed, where more is known than the server says."""
    if isinstance(error, PermissionDeniedError) and options.creds:
        end = Credentials(Path(options.creds)).end
        if end is not None and end <= datetime.now(UTC):
            return PermissionDeniedError(f"{error}; the credentials in {options.creds!r} expired at {end:%F %T} UTC")
    if _NO_HTTP in str(error):
        return ConfigurationError(
            "the server does not speak websocket on this port; use nats://, or the port of its websocket block"
        )
    broken = isinstance(error, OSError) and not isinstance(error, ssl.SSLCertVerificationError)
    if broken and wants_certificate(client) and not options.tls_cert:
        return ConfigurationError("the server wants a client certificate: give tls_cert, and its key in tls_key")
    return None


async def _abandon(attempt: asyncio.Future[None]) -> None:
    """Cancel *attempt* until it ends."""
    while not attempt.done():
        attempt.cancel()
        await asyncio.wait([attempt], timeout=_POLL_SECONDS)


def is_refusal(error: BaseException) -> bool:
    """Whether the server refused the credentials, or accepts them no longer."""
    text = str(error).lower()
    return "authorization" in text or "authentication" in text or "credentials" in text
