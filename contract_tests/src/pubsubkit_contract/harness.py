"""What the suite needs to know of a backend and its broker: the part that the author of a backend writes.

::

    class RedisHarness(Harness):
        knobs = frozenset({Knob.RESTART, Knob.PROXY})

        async def start(self) -> None: ...
        async def stop(self) -> None: ...
        def url(self) -> str: ...

Without a harness a URL is enough; what needs the broker stopped, frozen or reached by another address is then not run,
and the verdict is incomplete.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass, replace
from enum import StrEnum
from types import MappingProxyType
from typing import TYPE_CHECKING, Self

from pubsubkit import ConfigurationError
from pubsubkit.registry import create_driver, find_backend
from pubsubkit.url import BackendURL, Host

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from datetime import date
    from types import TracebackType

    from pubsubkit.driver import Capability

__all__ = ["Deviation", "Harness", "Knob", "load_harness", "make_harness"]


class Knob(StrEnum):
    """Something that the harness can do to the broker; no promise of the backend."""

    RESTART = "restart"
    """:meth:`Harness.private` gives a broker of its own that :meth:`Harness.restart`, :meth:`Harness.go_down` and
    :meth:`Harness.come_up` stop and start on the same storage."""
    FREEZE = "freeze"
    """:meth:`Harness.private` gives a broker of its own that :meth:`Harness.freeze` stops without closing anything."""
    PROXY = "proxy"
    """:meth:`Harness.address` and :meth:`Harness.url_at` let the suite put a TCP proxy before the broker; on Windows
    the suite has none."""
    SIGNAL = "signal"
    """A process can be told to end by SIGTERM; that is so everywhere but on Windows, whatever the harness."""


@dataclass(frozen=True, kw_only=True)
class Deviation:
    """A rule that a backend is known to break; its case must fail, and is reported as a deviation."""

    reason: str
    issue: str = ""
    """Where it is tracked."""
    expires: date | None = None
    """After this day the deviation counts as a failure."""


class Harness:
    """A backend with its broker, for one run of the suite.  Nothing is started before :meth:`start`.

    All methods run in one event loop.  ``async with`` starts and stops it.

    :param url: a broker that runs already; empty for one that the harness brings.
    """

    withheld: frozenset[Capability] = frozenset()
    """Capabilities that the backend claims and this broker does not have: they are withheld from every connection of
    the suite, which then checks that they are refused, and the report says so."""
    knobs: frozenset[Knob] = frozenset()
    """What this harness can do."""
    deviations: Mapping[str, Deviation] = MappingProxyType({})
    """Case id → why it fails."""
    imports: Sequence[str] = ()
    """Modules that a child process of the suite imports first: for a backend that is registered by code."""
    shortest_ack_wait: float = 0.15
    """Seconds of the shortest ``ack_wait`` that the broker keeps well."""

    def __init__(self, url: str = "") -> None:
        self._url = url

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    @property
    def name(self) -> str:
        """What the report calls the backend; the scheme of its URL."""
        return self.url().partition(":")[0]

    @property
    def broker(self) -> str:
        """Name and version of the broker, for the report; valid once started."""
        return "unknown"

    async def start(self) -> None:
        """Start the broker, or see that it is there; called once per run.  What it raises fails every case."""

    async def stop(self) -> None:
        """Stop what :meth:`start` started; also called when that failed."""

    def url(self) -> str:
        """The URL to open; all connections to it reach the same broker."""
        return self._url

    def private(self) -> Harness:
        """Another harness of this kind with a broker of its own, not started."""
        raise NotImplementedError

    async def restart(self, *, crash: bool) -> None:
        """Stop the broker, by ``kill -9`` with *crash*, and start it on the same address and storage."""
        await self.go_down(crash=crash)
        await self.come_up()

    async def go_down(self, *, crash: bool = False) -> None:
        """Stop the broker and keep its storage."""
        raise NotImplementedError

    async def come_up(self) -> None:
        """Start it again on the same address and storage; return when it is ready."""
        raise NotImplementedError

    def freeze(self) -> None:
        """Stop the broker's process without closing its connections."""
        raise NotImplementedError

    def thaw(self) -> None:
        """Let a frozen broker go on."""
        raise NotImplementedError

    def address(self) -> tuple[str, int]:
        """Host and port of the broker; here those of the URL."""
        host = BackendURL.parse(self.url()).hosts[0]
        assert host.port is not None
        return host.name, host.port

    def url_at(self, host: str, port: int) -> str:
        """The URL of this broker reached at another address, with parameters that notice a dead connection soon."""
        return replace(BackendURL.parse(self.url()), hosts=(Host(host, port),)).reveal()


class UrlHarness(Harness):
    """A broker that runs already, known by its URL alone: nothing can be done to it."""


def load_harness(named: str) -> Harness:
    """Return the harness for ``package.module:Class`` or for a URL.

    A backend's driver class may name a harness of its own for its URLs in ``HARNESS``.

    :raises ConfigurationError: there is no such class, it cannot be made, or the URL cannot be opened.
    """
    __tracebackhide__ = True  # pytest would show the URL with its secrets
    if "://" not in named:
        return make_harness(_import(named))
    create_driver(named, {})  # tells all that is wrong with the URL
    own = getattr(find_backend(BackendURL.parse(named)), "HARNESS", "")
    return make_harness(_import(own), named) if own else UrlHarness(named)


def make_harness(kind: Callable[..., Harness], *arguments: str) -> Harness:
    """Return what *kind* makes.

    :raises ConfigurationError: it raised.
    """
    __tracebackhide__ = True
    try:
        return kind(*arguments)
    except Exception as error:
        name = f"{kind.__module__}:{getattr(kind, '__qualname__', kind)}"
        raise ConfigurationError(f"harness {name} cannot be made: {type(error).__name__}: {error}") from error


def _import(target: str) -> type[Harness]:
    module, colon, name = target.partition(":")
    if not (module and colon and name):
        raise ConfigurationError(f"{target!r} is neither a URL nor a harness: expected package.module:Class")
    try:
        found = getattr(importlib.import_module(module), name)
    except Exception as error:
        raise ConfigurationError(f"harness {target!r}: {type(error).__name__}: {error}") from error
    if not (isinstance(found, type) and issubclass(found, Harness)):
        raise ConfigurationError(f"harness {target!r} is no subclass of pubsubkit_contract.Harness")
    return found
