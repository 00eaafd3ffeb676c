"""Another process that publishes or consumes for a case.

The parent writes one line of JSON to its standard input (so that no URL shows in a process list); the child answers in
lines: ``ready`` when it has started, ``stored N`` after each publish, ``got DATA`` after each message.  It ends when
its work is done, or when its standard input is closed.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import signal
import sys
import tempfile
from typing import TYPE_CHECKING, Any, Self

from pubsubkit import Backend, ConsumerOptions, PublisherOptions, Storage, Subscription, connect
from pubsubkit.redaction import redact

if TYPE_CHECKING:
    from types import TracebackType

    from pubsubkit_contract.kit import Kit

__all__ = ["Child", "main"]


class Child:
    """The parent's side; an async context manager that kills the process at its end."""

    def __init__(self, kit: Kit, role: str, parameters: dict[str, object]) -> None:
        self._kit = kit
        self._order = {"url": kit.harness.url(), "imports": list(kit.harness.imports), "role": role, **parameters}
        self._process: asyncio.subprocess.Process | None = None
        self._complaints = tempfile.TemporaryFile()  # noqa: SIM115 - no pipe, which it could fill

    async def __aenter__(self) -> Self:
        pipe = asyncio.subprocess.PIPE
        command = (sys.executable, "-m", "pubsubkit_contract.child")
        self._process = await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe, stderr=self._complaints)
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(self._order).encode() + b"\n")
        await self.process.stdin.drain()
        try:
            await self._started()
        except BaseException:
            await self.__aexit__(None, None, None)
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.process.returncode is None:
            self.process.kill()
        await self.process.communicate()
        self._complaints.close()

    @property
    def process(self) -> asyncio.subprocess.Process:
        """The running process."""
        assert self._process is not None
        return self._process

    async def _started(self) -> None:
        """Wait until its modules are imported: how long that takes is not the backend's matter."""
        assert self.process.stdout is not None
        async with asyncio.timeout(self._kit.timing.case):
            if await self.process.stdout.readline() != b"ready\n":
                raise AssertionError(f"the child ended at its start: {self._complaint()}")

    async def line(self) -> str:
        """The next line that it printed; empty when it has ended.

        :raises AssertionError: none came within the cap.
        """
        assert self.process.stdout is not None
        line: bytes = await self._kit.within(self.process.stdout.readline(), "the child's next line")
        text = line.decode().strip()
        self._kit.note(f"child: {text or 'end'}")
        return text

    async def kill(self) -> None:
        """``kill -9``, and wait until it is dead."""
        self.process.kill()
        await self.process.wait()
        self._kit.note("child killed")

    async def ended(self) -> int:
        """Wait for its end; return the exit code, and show what it complained of when that is not 0."""
        code = await self._kit.within(self.process.wait(), "the child")
        self._kit.note(f"child ended with {code}" + (f": {self._complaint()}" if code else ""))
        return int(code)

    def _complaint(self) -> str:
        """The end of what it wrote to its standard error."""
        self._complaints.seek(0)
        return redact(self._complaints.read().decode(errors="replace")[-400:])


def main() -> None:
    """Do what the first line of standard input says."""
    order = json.loads(sys.stdin.readline())
    for module in order["imports"]:
        importlib.import_module(module)
    _say("ready")
    asyncio.run(_play(order))


async def _play(order: dict[str, Any]) -> None:
    async with connect(order["url"]) as backend:
        if order["role"] == "publish":
            await _publish(backend, order)
            return
        options = ConsumerOptions(
            stream_name=order["stream"], consumer_name="d", ack_wait=order.get("ack_wait", 30.0), channel_buf_size=1
        )
        async with backend.consumer(options).subscribe() as messages:
            await {"read": _read, "hold": _hold, "serve": _serve}[order["role"]](messages, order)


async def _publish(backend: Backend, order: dict[str, Any]) -> None:
    options = PublisherOptions(stream_name=order["stream"], storage=Storage.FILE)
    async with backend.publisher(options) as publisher:
        for number in range(order["count"]):
            await publisher.publish(f"{order['stream']}.x", b"%d" % number)
            _say(f"stored {number}")


async def _read(messages: Subscription, order: dict[str, Any]) -> None:
    for _ in range(order["count"]):
        message = await anext(messages)
        await message.ack()
        _say(f"got {message.data.decode()}")


async def _hold(messages: Subscription, order: dict[str, Any]) -> None:
    """Take messages and give no verdict, until killed."""
    held = [await anext(messages) for _ in range(order["count"])]
    for message in held:
        _say(f"got {message.data.decode()}")
    await asyncio.to_thread(sys.stdin.read)


async def _serve(messages: Subscription, order: dict[str, Any]) -> None:  # noqa: ARG001 - as the other roles
    """A service whose handler is at work when SIGTERM comes."""
    asked = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, asked.set)
    message = await anext(messages)
    _say(f"got {message.data.decode()}")
    await asked.wait()
    draining = asyncio.ensure_future(messages.drain())
    await asyncio.sleep(0)  # the drain has begun
    acked = await message.ack()
    await draining
    _say(f"acked {acked}")


def _say(text: str) -> None:
    print(text, flush=True)  # noqa: T201 - the protocol


if __name__ == "__main__":
    main()
