"""How a command fails: one line on stderr and an exit code."""

from __future__ import annotations

from pubsubkit.errors import ConfigurationError, InvalidArgumentError, PubSubError
from pubsubkit.redaction import redact

__all__ = ["BROKER_FAILED", "DONE", "WRONG_INPUT", "CommandError", "exit_code", "one_line"]

DONE = 0
BROKER_FAILED = 1
WRONG_INPUT = 2

_ADVICE = {
    "open with manage='none' to use it as it is": "leave the option out",
    "Set subject_prefix, or widen the stream's subjects": "Give another subject, or another --stream",
    ", or give the stream's subjects with stream=StreamOptions(...)": "",
    ", or call register_backend()": "",
}
"""What the library advises a program → what the command line has for it."""


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
    of it.  What may repeat an argument is redacted here.  Advice is given in terms of the command line.
    """
    first, *more = str(error).split("\n- ")
    text = first + (" " + "; ".join(more) if more else "")
    for ours, theirs in _ADVICE.items():
        text = text.replace(ours, theirs)
    return " ".join((text if _is_clean(error) else redact(text)).split()) or type(error).__name__


def _is_clean(error: BaseException | str) -> bool:
    return isinstance(error, CommandError | PubSubError) and not isinstance(error, InvalidArgumentError)
