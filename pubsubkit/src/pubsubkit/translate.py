"""Native exceptions → portable errors, once for all drivers."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from pubsubkit.errors import PubSubError
from pubsubkit.redaction import redact

if TYPE_CHECKING:
    from collections.abc import Generator

    from pubsubkit.driver import Driver

__all__ = ["portable", "translating"]


def portable(error: Exception, driver: Driver, doing: str) -> PubSubError:
    """Return *error* as a portable one with *error* as its cause; a portable error is returned as it is.

    :param doing: what failed, to begin the message with: ``"publish to 'a.b'"``.
    """
    if isinstance(error, PubSubError):
        return error
    table = driver.error_table
    kind = next((table[base] for base in type(error).__mro__ if base in table), PubSubError)
    translated = kind(f"{doing} on {driver.address}: {redact(str(error)) or type(error).__name__}")
    translated.__cause__ = error
    return translated


@contextmanager
def translating(driver: Driver, doing: str) -> Generator[None]:
    """Raise every native exception of the block as its portable one; cancellation passes."""
    try:
        yield
    except PubSubError:
        raise
    except Exception as error:
        raise portable(error, driver, doing) from error
