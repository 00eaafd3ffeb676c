"""Starts the command ``pubsubkit``; outside the package, so that Ctrl-C while that is imported shows no traceback."""

from __future__ import annotations

import sys

__all__ = ["main"]


def main() -> None:
    """Run the command line and exit with its code."""
    try:
        from pubsubkit.cli import main as run

        run()
    except KeyboardInterrupt:
        sys.exit(130)
