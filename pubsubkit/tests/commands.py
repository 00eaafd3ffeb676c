"""Commands as processes of their own."""

import asyncio
import os
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

DEADLINE = 40.0


@asynccontextmanager
async def running(url: str, *arguments: str, **options: Any) -> AsyncIterator[Process]:
    """Start ``pubsubkit`` on the broker at *url* and make sure that it does not outlive the test."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "pubsubkit.cli", *arguments),
        **{"stdin": PIPE, "stdout": PIPE, "stderr": PIPE, **options},
        env={**os.environ, "PUBSUBKIT_URL": url, "PYTHONDONTWRITEBYTECODE": "1"},
    )
    try:
        async with asyncio.timeout(DEADLINE):
            yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()
