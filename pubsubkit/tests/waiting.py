"""What tests wait for."""

import asyncio

from pubsubkit import Backend

_POLL_SECONDS = 0.005


async def settled(backend: Backend, seconds: float) -> None:
    """Return when consumer ``d`` of stream ``s`` has nothing left; raise when that takes longer than *seconds*."""
    async with asyncio.timeout(seconds):
        while True:
            info = await backend.consumer_info("s", "d")
            if (info.num_pending, info.num_ack_pending) == (0, 0):
                return
            await asyncio.sleep(_POLL_SECONDS)
