"""The harness that runs the contract on a file of its own."""

from __future__ import annotations

import asyncio
import os
import shutil
import sqlite3
import sys
import tempfile
from contextlib import closing
from pathlib import Path

from pubsubkit_contract import Harness, Knob

__all__ = ["SqliteHarness"]

_PARTS = ("", "-wal", "-shm")


class SqliteHarness(Harness):
    """A file in a temporary folder.  Without it nothing works, so to move it away is to stop the broker.

    A crash is what the kernel keeps of a file whose users were killed: the database and the log of transactions as
    they are, without the shared memory and without anybody who closes them.

    :param url: a file that the caller has chosen; it is used and left.
    """

    knobs = frozenset({Knob.RESTART})

    def __init__(self, url: str = "") -> None:
        super().__init__(url)
        self._folder: str | None = None

    @property
    def broker(self) -> str:
        """The library that does the work."""
        return f"SQLite {sqlite3.sqlite_version}"

    async def start(self) -> None:
        """Make the folder."""
        if not self._url:
            self._folder = tempfile.mkdtemp(prefix="pubsubkit-sqlite-")
            self._url = f"sqlite://{self._folder}/events.db?synchronous=off&poll=5ms"

    async def stop(self) -> None:
        """Remove it."""
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)

    def private(self) -> SqliteHarness:
        """A file in another folder."""
        return SqliteHarness()

    async def go_down(self, *, crash: bool = False) -> None:
        """Move the file away."""
        for part in _PARTS:
            if self._path(part).exists():
                self._path(part).rename(self._path(f".away{part}"))
        if crash:
            await self._copy()

    async def come_up(self) -> None:
        """Move it back."""
        for part in _PARTS:
            if self._path(f".away{part}").exists():
                self._path(f".away{part}").rename(self._path(part))

    async def _copy(self) -> None:
        """Put a copy in the file's place, which nobody has open.

        Another process copies it, because closing a file gives up the locks that this one has on it.
        """
        away = self._path(".away")
        with closing(sqlite3.connect(away, isolation_level=None)) as file:
            file.execute("BEGIN IMMEDIATE")  # what is being committed is committed
            for part in _PARTS[:2]:
                copy = f"import shutil; shutil.copy({f'{away}{part}'!r}, {f'{away}{part}.copy'!r})"
                process = await asyncio.create_subprocess_exec(sys.executable, "-c", copy)
                if await process.wait():
                    raise OSError(f"{away}{part} cannot be copied")
            file.execute("ROLLBACK")
        for part in _PARTS[:2]:
            os.replace(f"{away}{part}.copy", f"{away}{part}")  # noqa: PTH105 - texts
        self._path(".away-shm").unlink(missing_ok=True)

    def _path(self, part: str) -> Path:
        return Path(self.url().removeprefix("sqlite://").partition("?")[0] + part)
