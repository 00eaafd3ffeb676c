"""The harness of the contract suite for ``shelf://``."""

from __future__ import annotations

import secrets

from pubsubkit_contract import Harness, Knob
from pubsubkit_shelf.broker import shelf

__all__ = ["ShelfHarness"]


class ShelfHarness(Harness):
    """A broker of a new name, or the one of a URL."""

    knobs = frozenset({Knob.RESTART})

    def __init__(self, url: str = "") -> None:
        super().__init__(url or f"shelf://contract-{secrets.token_hex(4)}")

    @property
    def broker(self) -> str:
        """There is none but in this process."""
        return "lists and dicts in this process"

    def private(self) -> ShelfHarness:
        """A broker of another name."""
        scheme, _, name = self.url().partition("://")
        return ShelfHarness(f"{scheme}://{name}-{secrets.token_hex(4)}")

    async def go_down(self, *, crash: bool = False) -> None:
        """Lose everything."""
        broker = shelf(self.url().partition("://")[2])
        for name in list(broker.streams):
            broker.remove(name)

    async def come_up(self) -> None:
        """It is always there."""
