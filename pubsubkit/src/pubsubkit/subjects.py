"""The subject grammar, the same on every backend.

A subject is one or more tokens joined by ``.``, for example ``orders.eu.created``.  A token is any text without
white space, control characters, ``.``, ``*`` and ``>``; case and Unicode normalisation matter.  A filter may also use
``*`` for exactly one token and ``>``, as its last token, for one or more tokens.

The grammar is NATS's (``docs.nats.io/nats-concepts/subjects``), made strict: what a broker would accept but never
match is refused.
"""

from __future__ import annotations

import re
from functools import lru_cache

from pubsubkit.errors import InvalidArgumentError

__all__ = ["MAX_SUBJECT_BYTES", "check_filter", "check_subject", "covers", "matches", "overlap"]

MAX_SUBJECT_BYTES = 1024
"""The longest subject or filter in bytes of UTF-8; it leaves room in the 4,096 bytes of a NATS control line."""

_WORD = r"[^\s.*>\x00-\x1f\x7f\ud800-\udfff]+"
_subject = re.compile(rf"{_WORD}(?:\.{_WORD})*").fullmatch
_filter = re.compile(rf"(?:(?:\*|{_WORD})\.)*(?:\*|>|{_WORD})").fullmatch


def check_subject(subject: str) -> str:
    """Return *subject* when a message may be published to it.

    :raises InvalidArgumentError: it is empty, has an empty token, white space, a control character or a wildcard,
        or is longer than :data:`MAX_SUBJECT_BYTES`.
    """
    if not isinstance(subject, str) or not _subject(subject):
        raise InvalidArgumentError(f"invalid subject {subject!r}: {_why(subject, wildcards=False)}")
    return _check_length(subject)


def check_filter(pattern: str) -> str:
    """Return *pattern* when it is a subject that may hold the wildcards ``*`` and ``>``.

    :raises InvalidArgumentError: as :func:`check_subject`, or a wildcard that is not a whole token, or a ``>`` that
        is not the last one.
    """
    if not isinstance(pattern, str) or not _filter(pattern):
        raise InvalidArgumentError(f"invalid filter {pattern!r}: {_why(pattern, wildcards=True)}")
    return _check_length(pattern)


def matches(pattern: str, subject: str) -> bool:
    """Tell whether the filter *pattern* selects *subject*; both must be valid."""
    return covers(pattern, subject)


def covers(pattern: str, narrower: str) -> bool:
    """Tell whether every subject that the filter *narrower* selects is selected by *pattern* too."""
    return _compare(pattern, narrower, mutual=False)


def overlap(one: str, other: str) -> bool:
    """Tell whether some subject is selected by both filters."""
    return _compare(one, other, mutual=True)


@lru_cache(maxsize=4096)
def _compare(pattern: str, other: str, *, mutual: bool) -> bool:
    left, right = pattern.split("."), other.split(".")
    for mine, its in zip(left, right, strict=False):
        if mine == ">" or (mutual and its == ">"):
            return True
        if its == ">" or not (mine in ("*", its) or (mutual and its == "*")):
            return False
    return len(left) == len(right)


def _check_length(text: str) -> str:
    size = len(text.encode())
    if size > MAX_SUBJECT_BYTES:
        raise InvalidArgumentError(f"the subject has {size} bytes, more than the {MAX_SUBJECT_BYTES} allowed")
    return text


def _why(text: object, *, wildcards: bool) -> str:
    if not isinstance(text, str):
        return f"expected str, got {type(text).__name__}"
    if not text:
        return "it is empty"
    if "" in text.split("."):
        return "it has an empty token (a dot at the start or the end, or two in a row)"
    if re.search(r"[\s\x00-\x1f\x7f]", text):
        return "it has white space or a control character"
    if "*" in text or ">" in text:
        if not wildcards:
            return "wildcards are for filters only; publish to one subject"
        return "a wildcard must be a whole token, and '>' must be the last one"
    return "it cannot be encoded as UTF-8"
