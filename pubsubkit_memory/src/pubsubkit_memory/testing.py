"""The harness that runs the contract on ``memory://``."""

from __future__ import annotations

import secrets

from pubsubkit_contract.harness import Harness, Knob
from pubsubkit_memory.broker import Broker

__all__ = ["MemoryHarness"]


class MemoryHarness(Harness):
    """A broker of this process, of a name that nobody else has; its restart is the loss of everything.

    :param url: ``memory://``, with parameters if need be, or a named broker.
    """

    knobs: frozenset[Knob] = frozenset({Knob.RESTART})
    shortest_ack_wait: float = 0.05

    def __init__(self, url: str = "memory://") -> None:
        scheme, _, rest = (url or "memory://").partition("://")
        name, mark, query = rest.partition("?")
        super().__init__(f"{scheme}://{name or f'contract-{secrets.token_hex(6)}'}{mark}{query}")

    @property
    def broker(self) -> str:
        """It has no version of its own."""
        return "in this process"

    async def stop(self) -> None:
        """Forget what the broker holds."""
        self._contents().clear()

    def private(self) -> MemoryHarness:
        """A broker of another name."""
        return MemoryHarness()

    async def go_down(self, *, crash: bool = False) -> None:  # noqa: ARG002 - memory is lost either way
        """Lose everything, as the end of the process would."""
        self._contents().clear()

    async def come_up(self) -> None:
        """It is there."""

    def _contents(self) -> Broker:
        return Broker.named(self.url().partition("://")[2].partition("?")[0])
