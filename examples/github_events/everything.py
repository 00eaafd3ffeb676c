"""Receiver and both workers in one process, which is what ``memory://`` needs: ``uvicorn everything:app``."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import archive
import notify
import receiver
from fastapi import FastAPI

app = receiver.app


@asynccontextmanager
async def workers(app: FastAPI) -> AsyncGenerator[None]:
    """Run the workers as long as the receiver."""
    async with receiver.publisher(app), archive.worker, notify.worker:
        yield


app.router.lifespan_context = workers
