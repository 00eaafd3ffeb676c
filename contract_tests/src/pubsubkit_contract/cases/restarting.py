"""What the cases with a restart of the broker have in common."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from pubsubkit.driver import Capability
from pubsubkit_contract.harness import Knob

if TYPE_CHECKING:
    from pubsubkit import Backend, Subscription
    from pubsubkit_contract.kit import Kit

__all__ = ["RESTART", "reopened", "restart"]

RESTART = {Knob.RESTART}
_POLL_SECONDS = 0.005


async def restart(kit: Kit, *, crash: bool = False) -> None:
    """Stop the case's broker and start it again."""
    await go_down(kit, crash=crash)
    await kit.harness.come_up()


async def reopened(kit: Kit, before: Backend, *, crash: bool = False, **options: Any) -> Subscription:
    """Stop the broker under *before*, and open its durable consumer on another connection to the restarted one.

    The old connection is closed while the broker is away, so that nothing can be given back.
    """
    await go_down(kit, crash=crash)
    await before.aclose()
    await kit.harness.come_up()
    return await kit.subscription(backend=await kit.connect(), **options)


async def go_down(kit: Kit, *, crash: bool = False) -> None:
    """Stop the case's broker, and see that it is down: else the case would prove nothing."""
    await kit.harness.go_down(crash=crash)
    if kit.backend.capabilities & {Capability.REMOTE, Capability.SURVIVES_RESTART, Capability.SURVIVES_CRASH}:
        await kit.within(_lost(kit), "the connection to the stopped broker")
    kit.note("the broker crashed" if crash else "the broker stopped")


async def _lost(kit: Kit) -> None:
    while (await kit.backend.health()).connected:  # noqa: ASYNC110 - there is no event of a loss
        await asyncio.sleep(_POLL_SECONDS)
