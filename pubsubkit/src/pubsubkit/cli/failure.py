"""How a command fails: one line on stderr and an exit code."""

from __future__ import annotations

from pubsubkit.errors import ConfigurationError, InvalidArgumentError, PubSubError
from pubsubkit.redaction import redact

__all__ = ["BROKER_FAILED", "DONE", "WRONG_INPUT", "CommandError", "exit_code", "one_line"]

DONE = 0
BROKER_FAILED = 1
WRONG_INPUT = 2


class CommandError(Exception):
    """A command failed; the message is one line for the user.

    :param code: the exit code.
    """

    def __init__(self, message: str, code: int = BROKER_FAILED) -> None:
        super().__init__(message)
        self.code = code


def exit_code(error: BaseException) -> int:
    """Return the exit code for an error of the library or of a command."""
    if isinstance(error, CommandError):
        return error.code
    return WRONG_INPUT if isinstance(error, InvalidArgumentError | ConfigurationError) else BROKER_FAILED


def one_line(error: BaseException | str) -> str:
    """Return what *error* says in one line without secrets; a list of problems is joined by semicolons.

    The library's errors about URLs hide secrets themselves; doing it again would take what follows a URL for a part
    of it.  What may repeat an argument is redacted here.
    """
    first, *more = str(error).split("\n- ")
    text = first + (" " + "; ".join(more) if more else "")
    return " ".join((text if _is_clean(error) else redact(text)).split()) or type(error).__name__


def _is_clean(error: BaseException | str) -> bool:
    return isinstance(error, CommandError | PubSubError) and not isinstance(error, InvalidArgumentError)
