"""The command ``pubsubkit``: publish, subscribe and look at backends from a shell.

It needs the extra ``cli`` (click).  This module imports nothing but the standard library, so that a missing click gets
a clear line instead of a traceback.
"""

from __future__ import annotations

import sys

__all__ = ["main"]


def main() -> None:
    """Run the command line with the arguments of this process and exit with its code."""
    try:
        from pubsubkit.cli.app import application
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "click":
            raise
        sys.stderr.write("pubsubkit: the command line needs click; install it with: pip install 'pubsubkit[cli]'\n")
        sys.exit(2)
    application(prog_name="pubsubkit")
