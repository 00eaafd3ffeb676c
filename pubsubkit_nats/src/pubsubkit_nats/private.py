"""The uses of private parts of nats-py, and why.

:func:`stop_delivery`: to close an inbox without losing what is on its way, the server must be told to stop while the
client still listens.  nats-py's ``Subscription.drain()`` is meant for that, but 2.16 writes its PING past the buffer in
which the UNSUB still waits: the PONG can come before the last message, which is then dropped and lies with us until
``ack_wait``.  ``unsubscribe()`` stops listening first.  Without the private method the function does nothing, and a
message that arrives in that moment comes back after ``ack_wait``.

:func:`encryption` and :func:`tls_only`: nats-py begins TLS only when the server asks for it, and sends the credentials
in any case.  Without the private attributes no connection counts as encrypted.

:func:`reply_inbox`: a refused subscription is reported by its subject only.  Without the private attribute a call that
can get no answer fails when its time is over.

:func:`hang_up`: an attempt to reconnect that got through to a server and no further is left open by nats-py for the
garbage collector.  Without the private attribute it stays so.

:func:`abandon`: nats-py is closed before it has flushed and let go of its subscriptions, which it does not do when the
server is away.  Without the private attributes they stay.

:func:`wants_certificate`: a server that gets no client certificate ends the connection, often without a word.  Without
the private attribute the error is that of a lost connection.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nats.errors import SecureConnWantedError

if TYPE_CHECKING:
    from collections.abc import Callable
    from ssl import SSLObject

    from nats.aio.client import Client
    from nats.aio.subscription import Subscription

__all__ = [
    "NoTLSError",
    "abandon",
    "encryption",
    "hang_up",
    "reply_inbox",
    "stop_delivery",
    "tls_only",
    "wants_certificate",
]


class NoTLSError(SecureConnWantedError):
    """The server did not begin TLS on a connection that must have it."""

    def __str__(self) -> str:
        return "the server does not speak TLS, so nothing was sent to it; turn TLS on there, or use nats://"


async def stop_delivery(client: Client, subscription: Subscription) -> None:
    """Tell the server to send no more to *subscription*, and go on listening."""
    send: Any = getattr(client, "_send_unsubscribe", None)
    number: int | None = getattr(subscription, "_id", None)
    if send is not None and number is not None:
        await send(number)


def hang_up(client: Client) -> None:
    """Close the socket of *client*, which is of no use to it any more, and forget what was not sent yet."""
    transport: Any = getattr(client, "_transport", None)
    writer = getattr(transport, "_io_writer", None)
    if writer is not None:
        writer.transport.abort()
    elif transport is not None:
        transport.close()


async def abandon(client: Client) -> None:
    """Let go of what a closed *client* may still hold, as its closing failed half-way: tasks, and its socket."""
    subscriptions: dict[int, Any] = getattr(client, "_subs", {})
    for subscription in subscriptions.values():
        if (task := getattr(subscription, "_wait_for_msgs_task", None)) is not None:
            task.cancel()
    subscriptions.clear()
    hang_up(client)
    session: Any = getattr(getattr(client, "_transport", None), "_client", None)
    if session is not None:
        await session.close()


def reply_inbox(client: Client) -> str:
    """The subject on which *client* listens for the answers to its requests; empty when it is not known."""
    prefix: bytearray | None = getattr(client, "_resp_sub_prefix", None)
    return f"{prefix.decode()}*" if prefix else ""


def wants_certificate(client: Client) -> bool:
    """Whether the server that *client* tried last demands a client certificate."""
    info: dict[str, Any] = getattr(client, "_server_info", {})
    return bool(info.get("tls_verify"))


def encryption(client: Client) -> SSLObject | None:
    """The TLS of the present connection of *client*; None when it is not encrypted."""
    transport: Any = getattr(client, "_transport", None)
    stream = getattr(transport, "_io_writer", None) or getattr(transport, "_ws", None)
    look: Callable[[str], SSLObject | None] | None = getattr(stream, "get_extra_info", None)
    return look("ssl_object") if look is not None else None


def tls_only(client: Client, arguments: dict[str, Any]) -> dict[str, Any]:
    """Return *arguments* for ``connect`` with which *client* never sends CONNECT over an unencrypted connection.

    nats-py asks for the user and password, or else for the token, when it composes CONNECT, at every connection.
    Both hold for credentials files and NKeys too, and for connections without credentials.
    """

    def guarded(value: str) -> Callable[[], str]:
        def give() -> str:
            _require_encryption(client)
            return value

        return give

    names = ("user", "password") if "user" in arguments else ("token",)
    return {**arguments, **{name: guarded(arguments.get(name, "")) for name in names}}


def _require_encryption(client: Client) -> None:
    if encryption(client) is None:
        transport: Any = getattr(client, "_transport", None)
        if transport is not None:
            transport.close()  # nats-py would leave it to the garbage collector
        raise NoTLSError
