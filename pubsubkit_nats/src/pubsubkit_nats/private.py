"""The one use of a private part of nats-py, and why.

To close a subscription without losing what is on its way, the server must be told to stop while the client still
listens.  nats-py's ``Subscription.drain()`` is meant for that, but 2.16 writes its PING past the buffer in which the
UNSUB still waits: the PONG can come before the last message, which is then dropped and lies with us until ``ack_wait``.
``unsubscribe()`` stops listening first.  Without the private method :func:`stop_delivery` does nothing, and a message
that arrives in that moment comes back after ``ack_wait``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nats.aio.client import Client
    from nats.aio.subscription import Subscription

__all__ = ["stop_delivery"]


async def stop_delivery(client: Client, subscription: Subscription) -> None:
    """Tell the server to send no more to *subscription*, and go on listening."""
    send: Any = getattr(client, "_send_unsubscribe", None)
    number: int | None = getattr(subscription, "_id", None)
    if send is not None and number is not None:
        await send(number)
