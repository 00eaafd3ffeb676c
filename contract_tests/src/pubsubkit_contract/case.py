"""Makes an async case a plain test method, so that it runs whatever async plugin is installed."""

from __future__ import annotations

import asyncio
import functools
from typing import TYPE_CHECKING, Any

from pubsubkit_contract.kit import Kit

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    import pytest

__all__ = ["case"]

_CASE_SECONDS = 45.0


def case(case_id: str) -> Callable[[Callable[[Any, Kit], Awaitable[None]]], Callable[..., None]]:
    """Declare a case by its stable id, ``group.name``."""

    def wrap(function: Callable[[Any, Kit], Awaitable[None]]) -> Callable[..., None]:
        async def run(suite: Any, url: str) -> None:
            __tracebackhide__ = True  # pytest would show the URL with its secrets
            async with asyncio.timeout(_CASE_SECONDS), Kit(url) as kit:
                await function(suite, kit)

        @functools.wraps(function)
        def test(self: Any, request: pytest.FixtureRequest) -> None:
            __tracebackhide__ = True
            asyncio.run(run(self, self.contract_url(request)))

        del test.__wrapped__  # pytest would read the arguments of the wrapped function
        test.case_id = case_id  # type: ignore[attr-defined]
        return test

    return wrap
