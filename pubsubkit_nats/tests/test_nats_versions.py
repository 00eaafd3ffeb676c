"""What is refused on older servers; ``.ci/server_versions`` runs the whole contract on real ones."""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import replace

import pytest

from pubsubkit import Backend, ConsumerOptions, PublisherOptions, UnsupportedError, connect
from pubsubkit_nats.testing import NatsServer

OPTIONS = ConsumerOptions(stream_name="s", consumer_name="d")
ADVISORY = "$JS.EVENT.ADVISORY.CONSUMER.MSG_TERMINATED.>"


@asynccontextmanager
async def claiming(server: NatsServer, version: str) -> AsyncIterator[str]:
    """The URL of a relay to *server* that gives it another version in what it says first."""

    async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            while data := await reader.read(65536):
                writer.write(data)
        writer.close()

    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        from_server, to_server = await asyncio.open_connection("127.0.0.1", int(server.address.rpartition(":")[2]))
        info, found = re.subn(rb'"version":"[^"]*"', b'"version":"%s"' % version.encode(), await from_server.readline())
        assert found == 1
        writer.write(info)
        await asyncio.gather(copy(reader, to_server), copy(from_server, writer))

    async with await asyncio.start_server(relay, "127.0.0.1", 0) as listening:
        yield f"nats://127.0.0.1:{listening.sockets[0].getsockname()[1]}"


@pytest.fixture
def at(server: NatsServer) -> Callable[[str], object]:
    """Opens a backend on the server as if it were of a given version."""

    @asynccontextmanager
    async def opened(version: str) -> AsyncIterator[Backend]:
        async with claiming(server, version) as url, connect(url) as backend:
            async with backend.publisher(PublisherOptions(stream_name="s")) as publisher:
                await publisher.publish("s.x", b"x")
            yield backend

    return opened


@pytest.mark.parametrize("version", ["2.8.4", "2.2.0", "1.4.1"])
async def test_too_old_for_everything(server: NatsServer, version: str):
    """A server below 2.9 is refused as it is opened, with the versions that are needed."""
    async with claiming(server, version) as url:
        with pytest.raises(UnsupportedError, match=r"2\.9 is the oldest that works, and 2\.10"):
            async with connect(url):
                pass


async def test_max_deliver_needs_metadata(at):
    """Before 2.10 max_deliver is refused, also for a consumer that exists; with dead letters it works."""
    limited = replace(OPTIONS, max_deliver=3)
    async with at("2.9.10") as backend:
        for options in (limited, replace(limited, manage="update")):
            with pytest.raises(UnsupportedError, match=r"max_deliver .* needs nats-server 2\.10, this is .* 2\.9"):
                async with backend.consumer(options):
                    pass
            async with backend.consumer(OPTIONS):
                pass
        async with backend.consumer(replace(limited, dead_letter="dead")).subscribe() as messages:
            assert (await anext(messages)).data == b"x"


async def test_another_filter_needs_a_newer_server(at):
    """Before 2.10 a consumer's filter is never changed, but everything else is."""
    async with at("2.9.10") as backend:
        async with backend.consumer(OPTIONS):
            pass
        with pytest.raises(UnsupportedError, match="another filter for consumer s/d"):
            async with backend.consumer(replace(OPTIONS, filter_subject="s.x", manage="update")):
                pass
        async with backend.consumer(replace(OPTIONS, ack_wait=7, manage="update")):
            assert (await backend.consumer_info("s", "d")).spec.ack_wait == 7


@pytest.mark.parametrize(("version", "reason"), [("2.10.3", None), ("2.11.0", "bad"), ("own build", "bad")])
async def test_reason_of_a_term(at, version: str, reason: str | None):
    """A server that would ignore a TERM with a reason gets it without; one without a version number counts as new."""
    async with at(version) as backend:
        advisories: asyncio.Queue = asyncio.Queue()
        await backend.native.subscribe(ADVISORY, cb=advisories.put)
        async with backend.consumer(OPTIONS).subscribe() as messages:
            assert await (await anext(messages)).term("bad")
        async with asyncio.timeout(5):
            told = json.loads((await advisories.get()).data)
        assert told.get("reason") == reason
