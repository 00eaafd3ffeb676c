"""What a soak does to the server and to the network; each fault is over when its function returns."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from random import Random

    from pubsubkit_contract.proxy import Proxy
    from pubsubkit_nats.testing import NatsServer


@dataclass(frozen=True)
class World:
    """The server, and the way to it."""

    server: NatsServer
    proxy: Proxy
    random: Random

    async def while_it_lasts(self, longest: float) -> None:
        """Wait some seconds."""
        await asyncio.sleep(self.random.uniform(0.0, longest))


async def kill(world: World) -> None:
    """``kill -9``, and a new process after up to 3 s."""
    await world.server.stop(crash=True)
    await world.while_it_lasts(3)
    await world.server.start()


async def restart(world: World) -> None:
    """SIGTERM, and a new process after up to 3 s."""
    await world.server.stop()
    await world.while_it_lasts(3)
    await world.server.start()


async def cut(world: World) -> None:
    """Every connection is reset."""
    await world.proxy.cut()


async def refuse(world: World) -> None:
    """Every connection is reset, and new ones are refused for up to 4 s."""
    await world.proxy.refuse()
    await world.while_it_lasts(4)
    await world.proxy.accept()


async def black_hole(world: World) -> None:
    """No byte passes for up to 8 s; then those that were held arrive."""
    world.proxy.blackhole()
    await world.while_it_lasts(8)
    world.proxy.flow()


async def mute(world: World) -> None:
    """What the server says is swallowed for up to 5 s; then connections that lost something are reset."""
    world.proxy.mute()
    await world.while_it_lasts(5)
    world.proxy.flow()


async def latency(world: World) -> None:
    """200 ms in each direction for up to 5 s."""
    world.proxy.delay(0.2)
    await world.while_it_lasts(5)
    world.proxy.delay(0)


async def freeze(world: World) -> None:
    """The server's process stands still for up to 6 s."""
    world.server.pause()
    try:
        await world.while_it_lasts(6)
    finally:
        world.server.resume()


FAULTS: tuple[Callable[[World], Awaitable[None]], ...] = (kill, restart, cut, refuse, black_hole, mute, latency, freeze)
