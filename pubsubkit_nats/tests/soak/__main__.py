"""A soak: publish and consume for long, on a private server with random faults, and account for every message.

It ends with 1 when a confirmed message is not in the stream or was never acked by a handler, when one was stored twice,
when an error came that no fault explains, or when publishing or consuming did not go on after a fault.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import shutil
import sys
import tempfile
import time
from pathlib import Path
from random import Random, randrange

from account import Account
from faults import FAULTS, World
from workers import Member, Producers, Watch

from pubsubkit import Backend, ConsumerOptions, connect
from pubsubkit_contract.proxy import Proxy
from pubsubkit_nats.testing import NatsServer

_MEMBERS = 3
_STALL_SECONDS = 60
_DRAIN_SECONDS = 180
_LONGEST_PEACE = 10.0
_SOON = "heartbeat=1s&ping_interval=1s&reconnect_wait=50ms&request_timeout=2s"


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="soak", description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--minutes", type=float, default=30, help="how long faults go on (default: 30)")
    parser.add_argument("--rate", type=float, default=300, help="messages per second in peace (default: 300)")
    parser.add_argument(
        "--seed", type=int, default=randrange(10**6), help="which faults, when and for how long (default: random)"
    )
    return parser.parse_args()


async def soak(options: argparse.Namespace, folder: Path, account: Account) -> None:
    random = Random(options.seed)
    producers = Producers(account, Random(random.random()), options.rate)
    members = [Member(account, Random(random.random())) for _ in range(_MEMBERS)]
    async with NatsServer(folder) as server:
        host, port = server.address.split(":")
        async with Proxy(host, int(port)) as proxy:
            url = f"nats://{proxy.host}:{proxy.port}?{_SOON}"
            watch = Watch(account)
            async with connect(url, plugins=[watch]) as one, connect(url, plugins=[watch]) as other:
                async with asyncio.TaskGroup() as group:
                    producing = group.create_task(producers.run(one))
                    for member, backend in zip(members, (one, other, other), strict=True):
                        group.create_task(member.run(backend))
                    await break_things(World(server, proxy, random), account, options.minutes)
                    producers.stopping.set()
                    await producing
                    await settled(server.url, account)
                    for member in members:
                        member.stopping.set()
        async with connect(server.url) as backend:
            await read_all(backend, account)


async def break_things(world: World, account: Account, minutes: float) -> None:
    """One fault after the other; each must be over, and everything going on again, before the next."""
    started = time.monotonic()
    while (passed := time.monotonic() - started) < minutes * 60:
        await asyncio.sleep(world.random.uniform(0.5, _LONGEST_PEACE))
        fault = world.random.choice(FAULTS)
        name = fault.__name__.replace("_", " ")
        progress(f"{passed / 60:5.1f} min, {account.published} published, {name}")
        logging.getLogger("soak").warning("fault: %s", name)
        await fault(world)
        account.faults[name] += 1
        account.slowest[name] = max(account.slowest.get(name, 0.0), await recovered(account, name))


async def recovered(account: Account, name: str) -> float:
    """Wait until a publish was confirmed and a message delivered after now; the seconds that it took."""
    healed = time.monotonic()
    while min(account.last_confirmed, account.last_delivered) <= healed:
        if time.monotonic() - healed > _STALL_SECONDS:
            stalled = "publishing" if account.last_confirmed <= healed else "consuming"
            account.surprise(f"{stalled} did not go on within {_STALL_SECONDS} s after: {name}")
            break
        await asyncio.sleep(0.02)
    return time.monotonic() - healed


async def settled(url: str, account: Account) -> None:
    """Wait until the consumer has nothing left."""
    give_up = time.monotonic() + _DRAIN_SECONDS
    async with connect(url) as backend:
        while (info := await backend.consumer_info("soak", "soak")).num_pending or info.num_ack_pending:
            progress(
                f"waiting for the rest: {info.num_pending} not delivered, {info.num_ack_pending} without a verdict"
            )
            if time.monotonic() > give_up:
                account.surprise(f"messages were left after {_DRAIN_SECONDS} s")
                return
            await asyncio.sleep(1)


async def read_all(backend: Backend, account: Account) -> None:
    """Read what the stream holds, past every fault."""
    left = (await backend.stream_info("soak")).messages
    options = ConsumerOptions(stream_name="soak", channel_buf_size=500)
    async with backend.consumer(options).subscribe() as messages:
        while left:
            async with asyncio.timeout(_STALL_SECONDS):
                message = await anext(messages)
            account.stored(message.data)
            await message.ack()
            left -= 1


def progress(text: str) -> None:
    """Show how far it is, on one line of a terminal."""
    start, end = ("\r\x1b[K", "") if sys.stderr.isatty() else ("", "\n")
    sys.stderr.write(start + text + end)
    sys.stderr.flush()


def main() -> int:
    options = arguments()
    folder = Path(tempfile.mkdtemp(prefix="pubsubkit-soak-"))
    logging.basicConfig(filename=folder / "client.log", format="%(asctime)s %(name)s %(levelname)s %(message)s")
    account = Account()
    progress(f"seed {options.seed}, {options.minutes:g} minutes, {options.rate:g} messages per second")
    asyncio.run(soak(options, folder, account))
    rows = account.rows()
    width = max(len(name) for name, _ in rows)
    lines = [f"{name:{width}} {number:>9,}" for name, number in rows]
    if account.good:
        shutil.rmtree(folder)
        lines.append(f"nothing was lost (seed {options.seed}, {options.minutes:g} minutes)")
    else:
        lines.append(f"NOT GOOD (seed {options.seed}); the store and the logs are in {folder}")
    sys.stdout.write("\n".join(["", *lines, ""]))
    return 0 if account.good else 1


if __name__ == "__main__":
    sys.exit(main())
