"""The harness: brings the broker on which the contract is run, and stops and starts it."""

from __future__ import annotations

from pubsubkit_contract import Harness

__all__ = ["ExampleHarness"]


class ExampleHarness(Harness):
    """A broker of its own.

    What the harness cannot do to it is left out of ``knobs``; the cases that need it are then not run, and the verdict
    stays incomplete.

    :param url: a broker that runs already; empty for one that :meth:`start` brings.
    """

    # knobs = frozenset({Knob.RESTART, Knob.PROXY})  # noqa: ERA001 - when go_down, come_up and private work

    def __init__(self, url: str = "") -> None:
        super().__init__(url or "example://localhost")

    @property
    def broker(self) -> str:
        """Name and version of the broker, for the report."""
        return "unknown"

    async def start(self) -> None:
        """Start the broker on a free port and in a temporary folder."""

    async def stop(self) -> None:
        """Stop it and remove what it left."""

    def private(self) -> ExampleHarness:
        """Another broker, which a case may stop and break."""
        raise NotImplementedError("ExampleHarness.private is to be written")

    async def go_down(self, *, crash: bool = False) -> None:
        """Stop the broker, by ``kill -9`` with *crash*, and keep its storage."""
        raise NotImplementedError("ExampleHarness.go_down is to be written")

    async def come_up(self) -> None:
        """Start it again on the same address and storage."""
        raise NotImplementedError("ExampleHarness.come_up is to be written")
