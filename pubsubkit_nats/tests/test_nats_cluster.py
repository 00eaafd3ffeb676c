"""A cluster of three: leaders that change, nodes that are lost, and all of them away."""

import asyncio
import re
import shutil
from collections import Counter
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import pytest_asyncio
from nats.aio.client import Client

from pubsubkit import (
    Backend,
    ConfigurationError,
    ConflictError,
    ConnectionState,
    ConsumerOptions,
    PublisherOptions,
    PublishReceipt,
    Storage,
    StreamOptions,
    connect,
)
from pubsubkit.hookspecs import hookimpl
from pubsubkit_nats.testing import NatsCluster, NatsServer

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.xdist_group("cluster")]

QUICK = "?reconnect_wait=20ms&heartbeat=300ms&ping_interval=500ms"
CONNECTED, LOST, CLOSED = ConnectionState.CONNECTED, ConnectionState.DISCONNECTED, ConnectionState.CLOSED
SECONDS = 30
SKIPPED = 10


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[NatsCluster]:
    config = "lame_duck_grace_period: 100ms, lame_duck_duration: 30s\ninclude tags.conf"
    directory = tmp_path_factory.mktemp("cluster")
    for name in ("n1", "n2", "n3"):
        (directory / name).mkdir()
        (directory / name / "tags.conf").write_text(f"server_tags: ['disk-of-{name}']")
    async with NatsCluster(directory, config) as cluster:
        yield cluster


@pytest_asyncio.fixture(loop_scope="module")
async def cluster(shared: NatsCluster) -> NatsCluster:
    """The cluster of this module, with all of its nodes."""
    await shared.start()
    return shared


class Watch:
    def __init__(self) -> None:
        self.states: list[ConnectionState] = []

    @hookimpl
    def pubsubkit_connection_changed(self, state: ConnectionState) -> None:
        self.states.append(state)


class Traffic:
    """A publisher and a consumer at work on a stream with three replicas, and the account of what became of it.

    Every tenth message is left without a verdict when it comes first, so that it has to come again.
    """

    def __init__(self, backend: Backend, stream: str, watch: Watch) -> None:
        options = StreamOptions(name=stream, storage=Storage.FILE, replicas=3)
        self.backend = backend
        self.stream = stream
        self.states = watch.states
        self.publisher = backend.publisher(PublisherOptions(stream=options, retry_attempts=10_000, timeout=1))
        self.consumer = ConsumerOptions(stream=options, consumer_name="d", ack_wait=0.5)
        self.subscription = backend.consumer(self.consumer).subscribe()
        self.published = 0
        self.receipts: list[PublishReceipt] = []
        self.deliveries: Counter[int] = Counter()
        self.returned: set[int] = set()
        self.acked: set[int] = set()
        self._ending = False

    @property
    def client(self) -> Client:
        assert isinstance(self.backend.native, Client)
        return self.backend.native

    async def publish(self) -> None:
        self.receipts = await self.publisher.publish_many(self.source(), window=50)

    async def source(self) -> AsyncIterator[tuple[str, bytes]]:
        while not self._ending:
            yield f"{self.stream}.x", b"%d" % self.published
            self.published += 1
            await asyncio.sleep(0.001)

    async def consume(self) -> None:
        async for message in self.subscription:
            number = int(message.data)
            self.deliveries[number] += 1
            if message.metadata.num_delivered > 1:
                self.returned.add(number)
            elif number % SKIPPED == 0:
                continue
            await message.ack()
            self.acked.add(number)

    async def goes_on(self) -> None:
        """Return when a hundred messages that are published from now on were acked."""
        wanted = set(range(self.published + 1, self.published + 101))
        await until(lambda: wanted - set(range(0, self.published + 1, SKIPPED)) <= self.acked)

    async def served(self) -> None:
        async with asyncio.timeout(SECONDS):
            while True:
                health = await self.backend.health()
                if health.connected and health.consuming:
                    return
                await asyncio.sleep(0.02)

    async def account(self, publishing: asyncio.Task[None]) -> None:
        """End both; nothing that was confirmed is missing or stored twice, and nothing was left without a verdict."""
        self._ending = True
        await publishing
        await until(lambda: len(self.acked) == self.published)
        async with asyncio.timeout(SECONDS):
            while (await self.backend.consumer_info(self.stream, "d")).num_ack_pending:
                await asyncio.sleep(0.02)
        info = await self.backend.stream_info(self.stream)
        consumer = await self.backend.consumer_info(self.stream, "d")
        everything = set(range(self.published))
        assert len({receipt.sequence for receipt in self.receipts}) == len(self.receipts) == self.published
        assert info.messages == info.last_sequence == self.published
        assert set(self.deliveries) == self.acked == everything
        assert set(range(0, self.published, SKIPPED)) <= self.returned
        assert consumer.num_pending == 0


def first_outgoing_port() -> int:
    return int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])


async def until(condition, seconds: float = SECONDS) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.01)


@asynccontextmanager
async def traffic(nodes: Iterable[NatsServer], stream: str) -> AsyncIterator[Traffic]:
    """Let it flow while the block does its damage; then let it go on, and draw up the account."""
    watch = Watch()
    async with connect(f"nats://{','.join(node.address for node in nodes)}{QUICK}", plugins=[watch]) as backend:
        flow = Traffic(backend, stream, watch)
        async with flow.publisher, flow.subscription:
            publishing = asyncio.create_task(flow.publish())
            consuming = asyncio.create_task(flow.consume())
            await flow.goes_on()
            health = await backend.health()
            assert (health.connected, health.consuming) == (True, True)
            yield flow
            await flow.goes_on()
            await flow.served()
            await flow.account(publishing)
        await consuming
    assert watch.states[-1] is CLOSED


async def lead(cluster: NatsCluster, stream: str, node: NatsServer) -> None:
    """Make *node* lead the stream and its consumer."""
    for consumer in ("", "d"):
        async with asyncio.timeout(SECONDS):
            await cluster.in_step(stream, consumer)
            while await cluster.leader(stream, consumer) is not node:
                await cluster.step_down(stream, consumer, to=node)
                await asyncio.sleep(0.02)


async def test_what_is_not_there(cluster: NatsCluster):
    """A stream that does not exist has no leader, and a client without a connection no node."""
    with pytest.raises(RuntimeError, match="stream not found"):
        await cluster.leader("none")
    with pytest.raises(LookupError, match="connected to none"):
        cluster.node_of(Client())


async def test_no_outgoing_connection_takes_a_route(cluster: NatsCluster):
    """The ports of the routes are none that the system gives out, so a node that is down finds its own again."""
    routes = re.findall(r"nats://127\.0\.0\.1:(\d+)", (cluster.nodes[0].directory / "server.conf").read_text())
    assert len(set(routes)) == 3
    assert all(int(port) < first_outgoing_port() for port in routes)


async def test_placement_and_replicas(cluster: NatsCluster):
    """A stream lies where its tags say, an update moves it and adds replicas, and what no node has is refused."""

    def placed(name: str, tag: str) -> StreamOptions:
        return StreamOptions(name=name, native={"placement": {"tags": [tag]}})

    async with connect(cluster.url) as backend:
        with pytest.raises(ConfigurationError, match="no suitable peers for placement, tags not matched"):
            await backend.ensure_stream(placed("nowhere", "no-such-tag"))
        await backend.ensure_stream(placed("moved", "disk-of-n2"))
        assert (await cluster.leader("moved")).directory.name == "n2"
        elsewhere = placed("moved", "disk-of-n3")
        with pytest.raises(ConflictError, match=r"- placement\.tags: \['disk-of-n2'\] -> \['disk-of-n3'\]"):
            await backend.ensure_stream(elsewhere)
        async with backend.publisher(PublisherOptions(stream_name="moved")) as publisher:
            await publisher.publish("moved.x", b"x")
        await backend.ensure_stream(elsewhere, manage="update")
        async with asyncio.timeout(SECONDS):
            while (await cluster.leader("moved")).directory.name != "n3":
                await asyncio.sleep(0.02)
        assert (await backend.stream_info("moved")).messages == 1
        await backend.ensure_stream(StreamOptions(name="wide"))
        await backend.ensure_stream(StreamOptions(name="wide", replicas=3), manage="update")
        assert (await backend.stream_info("wide")).options.replicas == 3


async def test_leaders_step_down(cluster: NatsCluster):
    """Another leader of the stream, and of the consumer, is not even a lost connection."""
    async with traffic(cluster.nodes, "steps") as flow:
        for node in cluster.nodes:
            await lead(cluster, "steps", node)
            await flow.goes_on()
        assert flow.states == [CONNECTED]


async def test_a_node_that_leads_is_killed(cluster: NatsCluster):
    """Whoever is connected to it goes on at another; whoever is not learns from health that nobody leads."""
    async with traffic(cluster.nodes, "here") as here:
        node = cluster.node_of(here.client)
        async with traffic([other for other in cluster.nodes if other is not node], "there") as there:
            for flow in (here, there):
                await lead(cluster, flow.stream, node)
            await node.stop(crash=True)
            async with asyncio.timeout(SECONDS):
                while (health := await there.backend.health()).consuming:
                    assert health.connected
                    await asyncio.sleep(0.02)
            assert health.connected
            await until(lambda: here.states == [CONNECTED, LOST, CONNECTED])
            assert cluster.node_of(here.client) is not node
            for flow in (here, there):
                await flow.goes_on()
                await flow.served()
                assert await cluster.leader(flow.stream) is not node
            assert there.states == [CONNECTED]
            await node.start()
    assert here.states == [CONNECTED, LOST, CONNECTED, CLOSED]


async def test_the_node_of_an_unnamed_consumer_is_killed(cluster: NatsCluster):
    """A consumer without a name has the replicas of its stream, also in memory, and goes on at another node."""
    options = StreamOptions(name="unnamed", storage=Storage.MEMORY, replicas=3)
    keen = PublisherOptions(stream=options, retry_attempts=10_000, timeout=1)
    async with connect(cluster.url + QUICK) as backend, backend.publisher(keen) as publisher:
        async with backend.consumer(ConsumerOptions(stream=options)).subscribe() as messages:
            await publisher.publish(f"{options.name}.x", b"before")
            message = await anext(messages)
            await message.ack(confirm=True)
            await cluster.in_step(options.name, message.metadata.consumer)
            node = await cluster.leader(options.name, message.metadata.consumer)
            await node.stop(crash=True)
            await publisher.publish(f"{options.name}.x", b"after")
            async with asyncio.timeout(SECONDS):
                assert (await anext(messages)).data == b"after"
            assert (await backend.stream_info(options.name)).messages == 2
            await node.start()


async def test_lame_duck(cluster: NatsCluster):
    """A node that is shut down for maintenance sends its clients away; they go on at another."""
    async with traffic(cluster.nodes, "lame") as flow:
        node = cluster.node_of(flow.client)
        await lead(cluster, "lame", node)
        await node.lame_duck()
        await until(lambda: flow.states == [CONNECTED, LOST, CONNECTED])
        assert cluster.node_of(flow.client) is not node
        await flow.goes_on()
        await node.start()
    assert flow.states == [CONNECTED, LOST, CONNECTED, CLOSED]


async def test_a_disk_is_lost(cluster: NatsCluster):
    """A node that comes back with an empty store is filled by the others, and can lead with all that was confirmed."""
    async with traffic(cluster.nodes, "disk") as flow:
        node, other, _ = cluster.nodes
        await lead(cluster, "disk", other)
        await node.stop(crash=True)
        shutil.rmtree(node.directory / "store")
        await flow.goes_on()
        await node.start()
        await lead(cluster, "disk", node)


async def test_all_nodes_are_away(cluster: NatsCluster):
    """All nodes are killed and away for many attempts to reconnect; they come back with all that was confirmed."""
    async with traffic(cluster.nodes, "away") as flow:
        await cluster.stop(crash=True)
        await until(lambda: flow.states == [CONNECTED, LOST])
        for _ in range(5):
            health = await flow.backend.health()
            assert (health.connected, health.consuming) == (False, False)
            assert health.error
            await asyncio.sleep(0.2)
        await cluster.start()
    assert flow.states == [CONNECTED, LOST, CONNECTED, CLOSED]
