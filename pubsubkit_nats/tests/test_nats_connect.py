"""Opening a connection: addresses, credentials, TLS, and what bad ones get."""

import asyncio
import time
from collections.abc import Callable
from pathlib import Path

import nkeys
import pytest
from nats.aio.client import Client
from operators import Operator

from pubsubkit import (
    ConfigurationError,
    ConsumerOptions,
    PermissionDeniedError,
    PublisherOptions,
    TransientError,
    connect,
    open_backend,
)
from pubsubkit.url import BackendURL
from pubsubkit_nats.settings import NatsOptions, connect_arguments
from pubsubkit_nats.testing import NatsServer, find_server

SECRET = "hunter2-s3cret"


async def roundtrip(url: str, **options: object) -> None:
    async with connect(url, **options) as backend:
        async with backend.publisher(PublisherOptions(stream_name="s")) as publisher:
            await publisher.publish("s.x", b"x")
        async with backend.consumer(ConsumerOptions(stream_name="s")).subscribe() as messages:
            assert (await anext(messages)).data == b"x"


async def refused(url: str, kind: type[Exception], words: str, **options: object) -> None:
    started = time.monotonic()
    with pytest.raises(kind, match=words) as caught:
        await open_backend(url, **options)
    assert time.monotonic() - started < 5
    assert SECRET not in str(caught.value)
    cause = caught.value.__cause__
    assert SECRET not in repr(cause)


async def test_refused_connection_is_transient_and_quick(unused_tcp_port: int):
    """A port where nobody listens is a TransientError that names the address, well before the connect timeout."""
    await refused(f"nats://u:{SECRET}@127.0.0.1:{unused_tcp_port}", TransientError, f"127.0.0.1:{unused_tcp_port}")


@pytest.mark.parametrize("url", ["nats://", "nats://?name=me", "nats+tls://", "nats://secret@"])
def test_without_a_host_it_is_localhost(url: str):
    """As every client of NATS takes it."""
    arguments = connect_arguments(BackendURL.parse(url), NatsOptions())
    assert [server.rpartition("//")[2] for server in arguments["servers"]] == ["localhost:4222"]


async def test_silent_server_ends_in_the_connect_timeout():
    """A server that accepts and says nothing is a TransientError when the connect timeout is over."""

    async def silence(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    async with await asyncio.start_server(silence, "127.0.0.1", 0) as quiet:
        port = quiet.sockets[0].getsockname()[1]
        await refused(f"nats://127.0.0.1:{port}?connect_timeout=300ms", TransientError, "connect")


@pytest.mark.parametrize("greeting", [b"", b"220 mail ready\r\n"])
async def test_what_does_not_introduce_itself_is_transient(greeting: bytes):
    """A server that is going down hangs up before INFO; what is no NATS server begins otherwise."""

    async def hang_up(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(greeting)
        writer.close()

    async with await asyncio.start_server(hang_up, "127.0.0.1", 0) as other:
        port = other.sockets[0].getsockname()[1]
        await refused(f"nats://127.0.0.1:{port}", TransientError, "said nothing")


async def test_server_without_jetstream(tmp_path: Path):
    """A server without JetStream is a ConfigurationError that says how to turn it on."""
    async with NatsServer(tmp_path, jetstream=False) as server:
        await refused(server.url, ConfigurationError, "nats-server -js")


async def test_one_of_several_servers_is_enough(server: NatsServer, unused_tcp_port: int):
    """With several servers in the URL one that answers is enough."""
    await roundtrip(f"nats://127.0.0.1:{unused_tcp_port},{server.address}")


@pytest.fixture
def users() -> dict[str, str]:
    keys = nkeys.from_seed(nkeys_seed := new_seed())
    public = keys.public_key.decode()
    return {
        "password": f"authorization {{ user: joe, password: '{SECRET}' }}",
        "token": f"authorization {{ token: '{SECRET}' }}",
        "nkey": f"authorization {{ users: [ {{ nkey: {public} }} ] }}",
        "seed": nkeys_seed.decode(),
    }


def new_seed() -> bytes:
    import os

    return bytes(nkeys.encode_seed(os.urandom(32), nkeys.PREFIX_BYTE_USER))


async def test_password(tmp_path: Path, users: dict[str, str], monkeypatch: pytest.MonkeyPatch):
    """User and password work from the URL, also out of the environment; a wrong one is PermissionDeniedError."""
    monkeypatch.setenv("NATS_PASSWORD", SECRET)
    async with NatsServer(tmp_path, users["password"]) as server:
        await roundtrip(f"nats://joe:{SECRET}@{server.address}")
        await roundtrip(f"nats://joe:${{NATS_PASSWORD}}@{server.address}")
        await refused(f"nats://joe:{SECRET}x@{server.address}", PermissionDeniedError, "credentials")
        await refused(server.url, PermissionDeniedError, "credentials")


async def test_token(tmp_path: Path, users: dict[str, str]):
    """A user without a password is a token; the token parameter does the same."""
    async with NatsServer(tmp_path, users["token"]) as server:
        await roundtrip(f"nats://{SECRET}@{server.address}")
        await roundtrip(server.url, token=SECRET)
        await refused(f"nats://{SECRET}x@{server.address}", PermissionDeniedError, "credentials")


async def test_nkey(tmp_path: Path, users: dict[str, str]):
    """An NKey seed authenticates; another one is refused and never shown."""
    async with NatsServer(tmp_path, users["nkey"]) as server:
        await roundtrip(server.url, nkey_seed=users["seed"])
        other = new_seed().decode()
        with pytest.raises(PermissionDeniedError) as caught:
            await open_backend(server.url, nkey_seed=other)
        assert other not in str(caught.value)


async def test_credentials_file(tmp_path: Path, operator: Operator):
    """A credentials file with a JWT authenticates against an operator's server."""
    async with NatsServer(tmp_path / "nats", operator.config) as server:
        await roundtrip(f"{server.url}?creds={operator.credentials()}")
        await refused(server.url, PermissionDeniedError, "credentials")


async def test_tls(tmp_path: Path, certificates: dict[str, Path]):
    """nats+tls:// checks the server by the given CA and shows the client certificate; without either it says so."""
    config = (
        f'tls {{ cert_file: "{certificates["server"]}", key_file: "{certificates["server_key"]}", '
        f'ca_file: "{certificates["ca"]}", verify: true, timeout: 5 }}'
    )
    async with NatsServer(tmp_path / "nats", config) as server:
        client = f"tls_cert={certificates['client']}&tls_key={certificates['client_key']}"
        await roundtrip(f"nats+tls://{server.address}?tls_ca={certificates['ca']}&{client}")
        await refused(f"nats+tls://{server.address}?{client}", ConfigurationError, "certificate")
        await refused(
            f"nats+tls://{server.address}?tls_ca={certificates['ca']}", ConfigurationError, "client certificate"
        )
        port = server.address.rpartition(":")[2]
        elsewhere = f"nats+tls://localhost:{port}?tls_ca={certificates['ca']}&{client}"
        await roundtrip(f"{elsewhere}&tls_hostname=127.0.0.1")
        await refused(elsewhere, ConfigurationError, "certificate")


@pytest.mark.filterwarnings("ignore:parameter 'timeout' of type 'float' is deprecated:DeprecationWarning")  # nats-py's
@pytest.mark.parametrize("secure", [False, True], ids=["ws", "wss"])
async def test_websocket(tmp_path: Path, certificates: dict[str, Path], unused_tcp_port: int, secure: bool):
    """nats+ws:// and nats+wss:// speak to the server's websocket port."""
    secured = (
        f'tls {{ cert_file: "{certificates["server"]}", key_file: "{certificates["server_key"]}" }}'
        if secure
        else "no_tls: true"
    )
    config = f'websocket {{ host: "127.0.0.1", port: {unused_tcp_port}, {secured} }}'
    async with NatsServer(tmp_path / "nats", config):
        scheme, query = ("nats+wss", f"?tls_ca={certificates['ca']}") if secure else ("nats+ws", "")
        await roundtrip(f"{scheme}://127.0.0.1:{unused_tcp_port}{query}")


@pytest.mark.filterwarnings("ignore:parameter 'timeout' of type 'float' is deprecated:DeprecationWarning")  # nats-py's
async def test_websocket_to_the_port_for_clients(server: NatsServer):
    """It is said without what the server tells of itself, and what to do."""
    with pytest.raises(ConfigurationError) as caught:
        await open_backend(server.url.replace("nats://", "nats+ws://"))
    words = "the server does not speak websocket on this port; use nats://, or the port of its websocket block"
    assert str(caught.value).endswith(words)
    assert "\n" not in str(caught.value)


def no_file(folder: Path) -> str:
    return f"nats://h?creds={folder / 'missing.creds'}"


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (no_file, "no such file"),
        (lambda folder: f"nats+tls://h?tls_ca={folder / 'missing.pem'}", "cannot load the TLS files"),
        (lambda _: "nats+tls://h?tls_key=k", "tls_key needs tls_cert"),
        (lambda _: "nats://h?tls_ca=x", "need nats\\+tls"),
        (lambda _: f"nats://joe:{SECRET}@h?token={SECRET}", "several ways to authenticate: a user in the URL, token"),
        (lambda _: f"nats://h?nkey_seed={SECRET}", "expected a seed"),
        (lambda _: "nats://h/path", "path"),
        (lambda _: "nats+tsl://h", "did you mean 'tls'"),
        (lambda _: f"nats://joe:{SECRET}@h?pasword=1&conect_timeout=1s", r"(?s)pasword.*connect_timeout"),
        (lambda _: "nats://h?heartbeat=soon", "duration such as"),
    ],
)
def test_bad_urls(tmp_path: Path, make: Callable[[Path], str], words: str):
    """A URL that cannot be right is refused before anything is connected, with what is wrong and without secrets."""
    with pytest.raises(ConfigurationError, match=words) as caught:
        connect(make(tmp_path))
    assert SECRET not in str(caught.value)


async def test_native_is_the_client(server: NatsServer):
    """Backend.native is the nats-py client, for what the portable API does not offer."""
    async with connect(server.url, name="my service") as backend:
        assert isinstance(backend.native, Client)
        assert backend.native.is_connected
        assert "nats-server" not in repr(backend)
        assert await backend.native.jetstream().account_info()
    assert backend.native.is_closed


def test_find_server_says_how_to_get_one(monkeypatch: pytest.MonkeyPatch):
    """Without a binary the error names the extra to install."""
    monkeypatch.delenv("NATS_SERVER_BIN", raising=False)
    monkeypatch.setattr("shutil.which", lambda *_, **__: None)
    with pytest.raises(FileNotFoundError, match="server"):
        find_server()


async def test_server_that_cannot_start_says_why(tmp_path: Path):
    """A server with a broken configuration fails with the end of its log."""
    with pytest.raises(RuntimeError, match="Parse error"):
        await NatsServer(tmp_path, "nonsense {").start()


async def test_cancelled_connect():
    """Cancelling the connection to a server that says nothing is prompt, every time, and leaves nothing behind."""

    async def silence(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    async with await asyncio.start_server(silence, "127.0.0.1", 0) as quiet:
        url = f"nats://127.0.0.1:{quiet.sockets[0].getsockname()[1]}"
        for number in range(20):
            before = asyncio.all_tasks()
            opening = asyncio.ensure_future(open_backend(url))
            await asyncio.wait([opening], timeout=0.002 * (number % 5))
            opening.cancel()
            async with asyncio.timeout(3):
                await asyncio.wait([opening])
            assert opening.cancelled()
            servers_side = {task for task in asyncio.all_tasks() - before if "silence" not in repr(task)}
            assert not servers_side


async def test_a_refused_connection_logs_nothing(tmp_path: Path, users: dict[str, str], caplog):
    """The error says that the credentials were refused; no warning says it again in other words."""
    async with NatsServer(tmp_path, users["password"]) as server:
        for _ in range(10):
            with pytest.raises(PermissionDeniedError):
                await open_backend(f"nats://joe:wrong@{server.address}")
    assert [record.getMessage() for record in caplog.records if record.name.startswith("pubsubkit")] == []
