"""What must never be sent, and settings that nats-py would choke on."""

import asyncio
import json
from pathlib import Path
from typing import Self

import nkeys
import pytest

from pubsubkit import ConfigurationError, connect, open_backend
from pubsubkit_nats import NatsBackend, NatsOptions
from pubsubkit_nats.private import NoTLSError, tls_only
from pubsubkit_nats.testing import NatsServer

SEED = bytes(nkeys.encode_seed(b"x" * 32, nkeys.PREFIX_BYTE_USER)).decode()
INFO = {"server_id": "x", "version": "2.15.1", "headers": True, "max_payload": 1048576, "auth_required": True}


class PlainServer:
    """Speaks enough of the protocol to be sent credentials, without TLS, and keeps what it gets."""

    def __init__(self, port: int = 0) -> None:
        self.port = port
        self.got = b""
        self.calls = 0
        self.called = asyncio.Event()

    async def __aenter__(self) -> Self:
        self.server = await asyncio.start_server(self.serve, "127.0.0.1", self.port)
        self.port = self.server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self.server.close()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"INFO " + json.dumps({**INFO, "nonce": "abc"}).encode() + b"\r\n")
        while data := await reader.read(4096):
            self.got += data
            writer.write(b"PONG\r\n")
        self.calls += 1
        if self.calls == 2:
            self.called.set()
        writer.close()


@pytest.mark.parametrize("user", ["joe:hunter2@", "hunter2@", "joe:@", ""])
async def test_tls_is_never_left_out(user: str):
    """nats+tls:// sends nothing, credentials least of all, to a server that does not begin TLS."""
    async with PlainServer() as server:
        with pytest.raises(ConfigurationError, match="does not speak TLS"):
            await open_backend(f"nats+tls://{user}127.0.0.1:{server.port}")
        assert server.got == b""


async def test_tls_is_never_left_out_with_an_nkey(tmp_path: Path):
    """The same holds for NKeys and for credentials files."""
    creds = tmp_path / "c.creds"
    creds.write_text(f"-----BEGIN NATS USER JWT-----\njwt\n---\n-----BEGIN USER NKEY SEED-----\n{SEED}\n---\n")
    for options in ({"nkey_seed": SEED}, {"creds": str(creds)}):
        async with PlainServer() as server:
            with pytest.raises(ConfigurationError, match="does not speak TLS"):
                await open_backend(f"nats+tls://127.0.0.1:{server.port}", **options)
            assert server.got == b""


async def test_tls_is_never_left_out_on_a_reconnect(tmp_path: Path, certificates: dict[str, Path]):
    """A plain server in the place of the one with TLS is sent nothing either."""
    config = f'tls {{ cert_file: "{certificates["server"]}", key_file: "{certificates["server_key"]}" }}'
    real = NatsServer(tmp_path / "nats", config + "\nauthorization { user: joe, password: hunter2 }")
    async with real:
        url = f"nats+tls://joe:hunter2@{real.address}?reconnect_wait=20ms&tls_ca={certificates['ca']}"
        async with connect(url) as backend:
            await real.stop()
            async with PlainServer(int(real.address.rpartition(":")[2])) as plain, asyncio.timeout(5):
                await plain.called.wait()
            assert plain.got == b""
            assert not (await backend.health()).connected


def test_without_the_private_part_nothing_counts_as_encrypted():
    """When nats-py changes inside, nats+tls:// refuses to connect."""
    with pytest.raises(NoTLSError):
        tls_only(object(), {"token": "t"})["token"]()  # type: ignore[arg-type]


@pytest.mark.parametrize("seed", ["SUAAAA", SEED[:-1] + "=", "UABC"])
def test_a_bad_seed_is_refused_before_connecting(seed: str):
    """A damaged NKey seed is a ConfigurationError that does not show it."""
    with pytest.raises(ConfigurationError, match="expected a seed") as caught:
        connect("nats://h", nkey_seed=seed)
    assert seed not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", "no user JWT"),
        (f"-----BEGIN USER NKEY SEED-----\n{SEED}\n---", "no user JWT"),
        ("-----BEGIN NATS USER JWT-----\njwt\n---", "no user NKey seed"),
        ("-----BEGIN NATS USER JWT-----\njwt\n---\n-----BEGIN USER NKEY SEED-----", "no user NKey seed"),
        ("-----BEGIN NATS USER JWT-----\njwt\n---\n-----BEGIN USER NKEY SEED-----\nSUAA\n", "no user NKey seed"),
    ],
)
def test_an_incomplete_credentials_file(tmp_path: Path, content: str, words: str):
    """A credentials file without its JWT or its seed is a ConfigurationError, where nats-py would hang for ever."""
    (tmp_path / "c.creds").write_text(content)
    with pytest.raises(ConfigurationError, match=words) as caught:
        connect("nats://h", creds=str(tmp_path / "c.creds"))
    assert SEED not in str(caught.value)


@pytest.mark.parametrize("name", ["heartbeat", "request_timeout", "connect_timeout", "ping_interval"])
def test_times_are_above_zero(name: str):
    """A time of 0 is a ConfigurationError, in the URL and around a client of the caller's."""
    with pytest.raises(ConfigurationError, match=name):
        connect(f"nats://h?{name}=0s")
    with pytest.raises(ConfigurationError, match=name):
        NatsBackend(None, **{name: 0})  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match=name):
        NatsBackend(None, **{name: "5s"})  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=name):
        NatsOptions(**{name: -1.0})


def test_ipv6_in_messages():
    """An IPv6 address is shown in brackets."""
    assert connect("nats://[::1]:4222").address == "nats://[::1]:4222"


async def test_a_frozen_server_leaves_time_for_the_next(tmp_path: Path):
    """One frozen server of two costs half of the connect timeout at the most."""
    async with NatsServer(tmp_path / "a") as one, NatsServer(tmp_path / "b") as two:
        one.pause()
        try:
            for _ in range(3):
                async with connect(f"nats://{one.address},{two.address}?connect_timeout=400ms"):
                    pass
        finally:
            one.resume()
