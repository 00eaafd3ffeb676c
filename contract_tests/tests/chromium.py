"""Chromium without a window."""

import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import NamedTuple

import pytest

FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
)


def browser() -> str:
    """The path of Chromium; fails where there is none, because a page that nobody looked at is not tested."""
    for name in (os.environ.get("CHROMIUM"), "chromium", "chromium-browser"):
        if name and (found := shutil.which(name)):
            return found
    return pytest.fail("Chromium is needed: install it (apt-get install chromium), or name it in CHROMIUM")


class Visit(NamedTuple):
    """What Chromium said."""

    output: str
    console: list[str]
    """What scripts have logged, and what the browser did not like."""


def visit(url: str, folder: Path, *flags: str) -> Visit:
    """Open *url* with a new profile in *folder*."""
    profile = tempfile.mkdtemp(prefix="profile", dir=folder)
    command = [browser(), *FLAGS, f"--user-data-dir={profile}", "--enable-logging=stderr", *flags, url]
    done = subprocess.run(command, capture_output=True, text=True, timeout=50, check=False, encoding="utf-8")
    assert done.returncode == 0, done.stderr
    return Visit(done.stdout, [line for line in done.stderr.splitlines() if ":CONSOLE" in line])
