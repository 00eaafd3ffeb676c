"""The file: one connection, which lives in a thread of its own because SQLite blocks."""

from __future__ import annotations

import asyncio
import os
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TYPE_CHECKING, TypeVar

from pubsubkit import ConfigurationError, TransientError
from pubsubkit.subjects import matches

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

__all__ = ["Database", "FileGoneError"]

_T = TypeVar("_T")
_SCHEMA = """
CREATE TABLE IF NOT EXISTS streams (
    name TEXT PRIMARY KEY, options TEXT NOT NULL,
    last INTEGER NOT NULL DEFAULT 0, messages INTEGER NOT NULL DEFAULT 0, bytes INTEGER NOT NULL DEFAULT 0);
CREATE TABLE IF NOT EXISTS messages (
    stream TEXT NOT NULL, sequence INTEGER NOT NULL, subject TEXT NOT NULL, data BLOB NOT NULL, headers TEXT,
    message_id TEXT, stored_ns INTEGER NOT NULL, size INTEGER NOT NULL, PRIMARY KEY (stream, sequence));
CREATE TABLE IF NOT EXISTS ids (
    stream TEXT NOT NULL, message_id TEXT NOT NULL, sequence INTEGER NOT NULL, stored_ns INTEGER NOT NULL,
    PRIMARY KEY (stream, message_id)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS consumers (
    id INTEGER PRIMARY KEY, stream TEXT NOT NULL, name TEXT NOT NULL, spec TEXT NOT NULL,
    delivered INTEGER NOT NULL, scanned INTEGER NOT NULL, UNIQUE (stream, name));
CREATE TABLE IF NOT EXISTS deliveries (
    consumer INTEGER NOT NULL, sequence INTEGER NOT NULL, count INTEGER NOT NULL, due REAL NOT NULL,
    PRIMARY KEY (consumer, sequence)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS deliveries_due ON deliveries (consumer, due);
"""


class FileGoneError(TransientError):
    """The file is not there, so that nothing was done."""


class Database:
    """A file that any number of connections share.  Nothing is opened before the first :meth:`run`.

    :param busy_timeout: seconds to wait for another writer.
    :param synchronous: SQLite's pragma; what each level survives says the README.
    """

    def __init__(self, path: Path, busy_timeout: float, synchronous: str) -> None:
        self._path = path
        self._busy_timeout = busy_timeout
        self._synchronous = synchronous
        self._connection: sqlite3.Connection | None = None
        self._file: tuple[int, int] | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="pubsubkit-sqlite")

    @property
    def connection(self) -> sqlite3.Connection | None:
        """SQLite's own connection, which belongs to the thread; None until it is open."""
        return self._connection

    async def run(self, job: Callable[[sqlite3.Connection], _T]) -> _T:
        """Run *job* in a transaction.  One that is cancelled is committed or not, as a whole.

        :raises FileGoneError: the file was moved away.
        :raises TransientError: it was moved away or replaced while the transaction ran.
        :raises sqlite3.Error: as SQLite says.
        """
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._transact, job)

    async def version(self) -> int:
        """A number that is another one when another connection has changed the file."""

        def read() -> int:
            return int(self._current().execute("PRAGMA data_version").fetchone()[0])

        return await asyncio.get_running_loop().run_in_executor(self._thread, read)

    async def close(self) -> None:
        """Close the connection once what is under way has ended."""
        await asyncio.get_running_loop().run_in_executor(self._thread, self._drop)
        self._thread.shutdown(wait=False)

    def _transact(self, job: Callable[[sqlite3.Connection], _T]) -> _T:
        connection = self._current()
        connection.execute("BEGIN IMMEDIATE")
        try:
            result = job(connection)
            connection.execute("COMMIT")
        except BaseException:
            with suppress(sqlite3.Error):
                connection.execute("ROLLBACK")
            raise
        if self._identity() != self._file:
            raise TransientError(f"{self._path} was moved or replaced meanwhile; what was written may be lost")
        return result

    def _current(self) -> sqlite3.Connection:
        """The connection to the file that is at the path now: a file that was moved away must not take messages."""
        found = self._identity()
        if found != self._file:
            if found is None:
                raise FileGoneError(f"{self._path} is gone; put it back")
            self._drop()
        if self._connection is None:
            self._connection = self._connect()
            self._file = self._identity()
        return self._connection

    def _connect(self) -> sqlite3.Connection:
        if not self._path.parent.is_dir():
            raise ConfigurationError(f"the folder {self._path.parent} does not exist; create it")
        connection = sqlite3.connect(self._path, timeout=self._busy_timeout, isolation_level=None)
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute(f"PRAGMA synchronous = {self._synchronous}")
            connection.create_function("matches", 2, matches, deterministic=True)
            connection.executescript(_SCHEMA)
        except BaseException:
            connection.close()
            raise
        return connection

    def _identity(self) -> tuple[int, int] | None:
        try:
            found = os.stat(self._path)  # noqa: PTH116 - twice per transaction, and half as dear
        except OSError:
            return None
        return found.st_dev, found.st_ino

    def _drop(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None
