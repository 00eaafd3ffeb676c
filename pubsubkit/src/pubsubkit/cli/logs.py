"""Logging of the command line: warnings as one line each, and everything with ``--verbose``."""

from __future__ import annotations

import logging
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

from pubsubkit.cli.failure import one_line
from pubsubkit.logs import JsonFormatter, TraceFilter
from pubsubkit.redaction import redact

if TYPE_CHECKING:
    from collections.abc import Generator

__all__ = ["log_as_json", "records_hidden", "set_up_logging"]


class _OneLine(logging.Formatter):
    """A record as one line without traceback."""

    def format(self, record: logging.LogRecord) -> str:
        error = record.exc_info[1] if record.exc_info else None
        return f"pubsubkit: {one_line(record.getMessage())}" + (f": {one_line(error)}" if error else "")


class _Full(logging.Formatter):
    """A record with time, logger and traceback, without secrets."""

    def format(self, record: logging.LogRecord) -> str:
        return redact(super().format(record))


def set_up_logging(*, verbose: bool) -> None:
    """Send the records of pubsubkit and the backends to stderr: warnings only, or all of them."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Full("%(asctime)s %(levelname)-7s %(name)s: %(message)s") if verbose else _OneLine())
    logging.basicConfig(handlers=[handler], level=logging.INFO if verbose else logging.WARNING, force=True)
    logging.getLogger("pubsubkit").setLevel(logging.DEBUG if verbose else logging.NOTSET)


def log_as_json() -> None:
    """Make each record a line of JSON from here on, on stderr as before."""
    for handler in logging.getLogger().handlers:
        handler.setFormatter(JsonFormatter())
        handler.addFilter(TraceFilter())


@contextmanager
def records_hidden(*, below: int = logging.ERROR) -> Generator[None]:
    """Hide records below a level, unless all are shown: what is about to be raised or reported says the same."""
    handlers = [each for each in logging.getLogger().handlers if isinstance(each.formatter, _OneLine)]
    for handler in handlers:
        handler.setLevel(below)
    try:
        yield
    finally:
        for handler in handlers:
            handler.setLevel(logging.NOTSET)
