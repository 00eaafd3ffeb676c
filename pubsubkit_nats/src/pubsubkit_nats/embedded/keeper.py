"""The process that starts the server of a store, and ends it when nobody uses the store any more.

It runs as a script, on the standard library alone so that it starts at once::

    python -I -S keeper.py STORE COMMAND...

It returns when it has the locks, and goes on in the background.  Its exit code is :data:`BUSY` when there is a keeper.
"""

# Importing pathlib would make the start a third longer.
# ruff: noqa: PTH105, PTH108, PTH123, PTH207

from __future__ import annotations

import fcntl
import glob
import json
import os
import signal
import sys
import threading
from contextlib import suppress
from typing import IO

__all__ = ["BUSY", "CONFIG", "KEEPER", "LOG", "OPENING", "PORTS", "SERVER", "USER", "USERS", "open_lock", "try_lock"]

BUSY = 3
OPENING, USERS, KEEPER, SERVER = "opening.lock", "users.lock", "keeper.lock", "server.lock"
CONFIG = "server.conf"
LOG = "server.log"
PORTS = "nats-server_{}.ports"
"""The server writes it when it is ready; with its process id."""
USER = "pubsubkit"

_STOP_SECONDS = 30.0


def open_lock(path: str) -> IO[str]:
    """Open, and make if need be, a file that other users of the machine can neither read nor lock."""
    return open(path, "a+", opener=lambda name, flags: os.open(name, flags, 0o600))


def try_lock(file: IO[str], kind: int) -> bool:
    """Take a lock, ``LOCK_SH`` or ``LOCK_EX``, if that is possible at once."""
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _main(store: str, *command: str) -> int:
    os.umask(0o077)
    os.chdir(store)
    with open_lock(KEEPER) as keeper:
        if not try_lock(keeper, fcntl.LOCK_EX):
            return BUSY
        mine = _server_lock()
        if os.fork():
            os._exit(0)  # the one who started this process need not wait for the other
        pid = _running() if mine is None else _start(mine, command)
        threading.Thread(target=_end_when_unused, args=(pid,), daemon=True).start()
        with open(SERVER) as server:
            fcntl.flock(server, fcntl.LOCK_SH)  # when the server has ended
        os._exit(0)


def _server_lock() -> IO[str] | None:
    """Return the lock for a server to be started, or None when there is one, whose keeper was killed.

    It is a new file each time: as long as it is locked, what it says is said by the server that has it.
    """
    with open_lock(SERVER) as last:
        if not try_lock(last, fcntl.LOCK_SH):  # shared: others look in the same way
            return None
        for old in glob.glob(PORTS.format("*")):
            os.unlink(old)
        with open(f"{CONFIG}.new", "w") as file:
            json.dump({"authorization": {"user": USER, "password": os.urandom(24).hex()}}, file)
        os.replace(f"{CONFIG}.new", CONFIG)
        mine = open(f"{SERVER}.new", "w")  # noqa: SIM115
        fcntl.flock(mine, fcntl.LOCK_EX)
        os.replace(f"{SERVER}.new", SERVER)
        return mine


def _start(lock: IO[str], command: tuple[str, ...]) -> int:
    """Start the server, which keeps *lock* for as long as it lives; return its process id."""
    pid = os.fork()
    if pid == 0:
        os.set_inheritable(lock.fileno(), True)
        lock.write(str(os.getpid()))
        lock.flush()
        try:
            os.execv(command[0], ["nats-server", *command[1:]])  # noqa: S606
        except OSError as error:
            sys.stderr.write(f"cannot run {command[0]}: {error.strerror}\n")
            sys.stderr.flush()
        os._exit(1)
    lock.close()
    return pid


def _running() -> int:
    with open(SERVER) as file:
        return int(file.read())


def _end_when_unused(server: int) -> None:
    """Wait until no user is left, and end the server; who opens the store now waits until this process has ended."""
    with open_lock(USERS) as users:
        fcntl.flock(users, fcntl.LOCK_EX)
        for number in (signal.SIGTERM, signal.SIGKILL):
            with suppress(ProcessLookupError):
                os.kill(server, number)
            threading.Event().wait(_STOP_SECONDS)


if __name__ == "__main__":
    sys.exit(_main(*sys.argv[1:]))
