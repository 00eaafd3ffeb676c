"""What the cases with a restart of the broker have in common."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from pubsubkit.driver import Capability
from pubsubkit_contract.harness import Knob

if TYPE_CHECKING:
    from pubsubkit_contract.kit import Kit

__all__ = ["RESTART", "go_down", "restart"]

RESTART = {Knob.RESTART}
_POLL_SECONDS = 0.005


async def restart(kit: Kit, *, crash: bool = False) -> None:
    """Stop the case's broker and start it again."""
    await go_down(kit, crash=crash)
    await kit.harness.come_up()


async def go_down(kit: Kit, *, crash: bool = False) -> None:
    """Stop the case's broker, and see that it is down: else the case would prove nothing."""
    await kit.harness.go_down(crash=crash)
    if Capability.REMOTE in kit.backend.capabilities:
        await kit.within(_lost(kit), "the connection to the stopped broker")
    kit.note("the broker crashed" if crash else "the broker stopped")


async def _lost(kit: Kit) -> None:
    while (await kit.backend.health()).connected:  # noqa: ASYNC110 - there is no event of a loss
        await asyncio.sleep(_POLL_SECONDS)
