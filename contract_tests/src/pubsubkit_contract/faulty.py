"""A backend that fails to order: for what the portable layer promises when something below it fails."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Never, cast

from pubsubkit.registry import create_driver

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from pubsubkit.driver import Driver
    from pubsubkit_contract.kit import Kit

__all__ = ["NativeError", "failing", "faulty", "hanging", "overlaid"]


class NativeError(Exception):
    """An exception that no driver knows."""


class _Overlay:
    """Something with some of its attributes replaced, and without the shortcuts past these."""

    def __init__(self, below: object, replaced: dict[str, Any]) -> None:
        self._below = below
        self.__dict__.update({f"{name}_now": _decline for name in replaced}, **replaced)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._below, name)


def _decline(*_: object) -> None:
    """Have the method called that this would be the shortcut of."""


def overlaid(below: Any, **replaced: Any) -> Any:
    """*below* with the attributes *replaced*."""
    return _Overlay(below, replaced)


def faulty(kit: Kit, **replaced: Any) -> Driver:
    """A new driver for the case's broker, of which some methods are *replaced*."""
    driver = create_driver(kit.harness.url(), {})
    driver.capabilities = driver.capabilities - kit.harness.withheld
    return cast("Driver", overlaid(driver, **replaced))


def failing(error: BaseException) -> Callable[..., Awaitable[Never]]:
    """A method that raises *error*."""

    async def fail(*_: object, **__: object) -> Never:
        raise error

    return fail


def hanging(entered: asyncio.Event) -> Callable[..., Awaitable[Never]]:
    """A method that sets *entered* and waits for ever."""

    async def hang(*_: object, **__: object) -> Never:
        entered.set()
        await asyncio.Event().wait()
        raise AssertionError

    return hang
