"""One user's hold on the server of a store."""

from __future__ import annotations

import fcntl
import json
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import IO, TYPE_CHECKING

from pubsubkit.errors import ClosedError, ConfigurationError, TransientError
from pubsubkit_nats.embedded import keeper
from pubsubkit_nats.embedded.keeper import open_lock, try_lock

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

__all__ = ["Address", "Store"]

_LOG_BYTES = 1024 * 1024
_POLL_SECONDS = 0.002
_STOP_SECONDS = 8.0
_STARTS = 2
"""Once more, in case that somebody killed the first; a server that cannot start fails as well the second time."""


@dataclass(frozen=True)
class Address:
    """Where the server listens on 127.0.0.1, and what it asks for."""

    port: int
    password: str = field(repr=False)
    user: str = keeper.USER


class Store:
    """A folder with the data of an embedded server, its log and the locks.  The methods block: call them in a thread.

    :param folder: an absolute path; it is made when it is missing.
    :param binary: path of ``nats-server``.
    """

    def __init__(self, folder: Path, binary: str) -> None:
        self.folder = folder
        self._binary = binary
        self._users: IO[str] | None = None
        self._released = False
        self._changing = threading.Lock()

    def acquire(self, seconds: float) -> Address:
        """Say that the server is needed, start it if there is none, and return its address.

        To be called again when the connection was lost: the server may have ended, and may be at another address.

        :raises ConfigurationError: the folder cannot be used, or the server ended at its start.
        :raises TransientError: it was not ready within *seconds*.
        :raises ClosedError: :meth:`release` was called meanwhile.
        """
        deadline = time.monotonic() + seconds
        with self._changing:
            try:
                if self._users is None:
                    self._prepare()
                with self._locked(keeper.OPENING, deadline):
                    self._use(deadline)
                    return self._server(deadline)
            except OSError as error:
                raise ConfigurationError(
                    f"cannot keep an embedded server in {str(self.folder)!r}: {error.strerror or error}; "
                    "give a folder that you may write to"
                ) from error

    def release(self) -> bool:
        """Say that it is needed no more; return when it has ended if nobody else needs it, after 8 seconds at most.

        Whether it has ended is the result.
        """
        self._released = True
        with self._changing:
            users, self._users = self._users, None
            if users is None:
                return False
            with users:
                fcntl.flock(users, fcntl.LOCK_UN)  # also for a forked child, which has a copy of the descriptor
                deadline = time.monotonic() + _STOP_SECONDS
                while self._serving() and time.monotonic() < deadline and not self._used(users):
                    if not self._kept():
                        self._start_keeper(deadline)
                    time.sleep(_POLL_SECONDS)
                return not self._serving()

    def _prepare(self) -> None:
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if self.folder.stat().st_mode & 0o002:
            raise ConfigurationError(
                f"cannot keep an embedded server in {str(self.folder)!r}: everybody may write to it; "
                "give a folder of your own"
            )

    def _use(self, deadline: float) -> None:
        """Have a share in the users' lock; waits while the server of the last user ends."""
        if self._users is None:
            users = open_lock(self._path(keeper.USERS))
            try:
                while not try_lock(users, fcntl.LOCK_SH):
                    self._wait(deadline)
            except BaseException:
                users.close()
                raise
            self._users = users

    def _server(self, deadline: float) -> Address:
        starts = 0
        while True:
            address, kept = self._address(), self._kept()
            if address and kept:
                return address
            if not kept and starts == _STARTS:
                raise ConfigurationError(f"the embedded server did not start: {self._last_words()}")
            if not kept:
                starts += self._start_keeper(deadline)
            self._wait(deadline)

    def _address(self) -> Address | None:
        """Where the server is; None when there is none, or it is not ready."""
        try:
            with (self.folder / keeper.SERVER).open() as lock:
                ports = json.loads((self.folder / keeper.PORTS.format(lock.read())).read_text())
                config = json.loads((self.folder / keeper.CONFIG).read_text())
                if _is_free(lock):
                    return None
            return Address(int(ports["nats"][0].rpartition(":")[2]), config["authorization"]["password"])
        except (FileNotFoundError, ValueError):
            return None

    def _serving(self) -> bool:
        with open_lock(self._path(keeper.SERVER)) as lock:
            return not _is_free(lock)

    def _kept(self) -> bool:
        with open_lock(self._path(keeper.KEEPER)) as lock:
            return not _is_free(lock)

    def _used(self, users: IO[str]) -> bool:
        """Whether there are other users; the keeper, which ends the server, is none."""
        if try_lock(users, fcntl.LOCK_EX) or not try_lock(users, fcntl.LOCK_SH):
            fcntl.flock(users, fcntl.LOCK_UN)
            return False
        fcntl.flock(users, fcntl.LOCK_UN)
        return True

    def _start_keeper(self, deadline: float) -> bool:
        """Start a keeper, which starts the server unless one runs; False when there is a keeper, or it was killed."""
        folder = str(self.folder)
        self._rotate()
        server = [self._binary, "-c", self._path(keeper.CONFIG), "-a", "127.0.0.1", "-p", "-1", "-js", "-sd", folder]
        files = ["--ports_file_dir", folder, "-l", self._path(keeper.LOG)]
        with open_lock(self._path(keeper.LOG)) as log:
            try:
                done = subprocess.run(  # noqa: S603 - our own script
                    [sys.executable, "-I", "-S", keeper.__file__, folder, *server, *files],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,  # an interrupt at the terminal is not for the server
                    timeout=max(deadline - time.monotonic(), 0),
                    check=False,
                )
            except subprocess.TimeoutExpired as error:
                raise self._late() from error
        if done.returncode > 0 and done.returncode != keeper.BUSY:
            raise ConfigurationError(f"the keeper of the embedded server did not start: {self._last_words()}")
        return done.returncode == 0

    def _rotate(self) -> None:
        log = self.folder / keeper.LOG
        if log.exists() and log.stat().st_size > _LOG_BYTES:
            log.replace(f"{log}.old")

    def _last_words(self) -> str:
        log = self.folder / keeper.LOG
        lines = log.read_text(errors="replace").split("\n")
        last = next((line for line in reversed(lines) if line.strip()), "no reason given")
        return f"{last.strip()} (see {log})"

    @contextmanager
    def _locked(self, name: str, deadline: float) -> Generator[None]:
        with open_lock(self._path(name)) as lock:
            while not try_lock(lock, fcntl.LOCK_EX):
                self._wait(deadline)
            try:
                yield
            finally:
                fcntl.flock(lock, fcntl.LOCK_UN)  # also for a child that was forked meanwhile

    def _wait(self, deadline: float) -> None:
        if self._released:
            raise ClosedError("the backend was closed while it was opened")
        if time.monotonic() > deadline:
            raise self._late()
        time.sleep(_POLL_SECONDS)

    def _late(self) -> TransientError:
        return TransientError(f"the embedded server in {str(self.folder)!r} was not ready within connect_timeout")

    def _path(self, name: str) -> str:
        return str(self.folder / name)


def _is_free(lock: IO[str]) -> bool:
    """Whether nobody has the lock for himself; the share is given back at once, also for a child forked meanwhile."""
    free = try_lock(lock, fcntl.LOCK_SH)
    if free:
        fcntl.flock(lock, fcntl.LOCK_UN)
    return free
