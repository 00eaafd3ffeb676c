"""The subject grammar."""

import pytest

from pubsubkit import InvalidArgumentError
from pubsubkit.subjects import MAX_SUBJECT_BYTES, check_filter, check_subject, covers, matches, overlap

LONGEST = "x" * MAX_SUBJECT_BYTES


@pytest.mark.parametrize("subject", ["a", "a.b.c", "é.中.😀", "a-b_c/d", "$x", "1", LONGEST, "A.a"])
def test_valid_subjects(subject: str):
    """Anything but blanks, control characters, empty tokens and wildcards is a subject."""
    assert check_subject(subject) == subject
    assert check_filter(subject) == subject


@pytest.mark.parametrize(
    ("subject", "why"),
    [
        ("", "it is empty"),
        ("a.", "empty token"),
        (".a", "empty token"),
        ("a..b", "empty token"),
        ("a b", "white space"),
        ("a\tb", "white space"),
        ("a\n", "white space"),
        ("a\u00a0b", "white space"),
        ("a\x00", "control character"),
        ("a\x7f", "control character"),
        ("a.*", "wildcards are for filters"),
        (">", "wildcards are for filters"),
        ("a.b>", "wildcards are for filters"),
        ("\ud800", "cannot be encoded"),
        (LONGEST + "x", f"more than the {MAX_SUBJECT_BYTES}"),
        (None, "expected str, got NoneType"),
        (b"a", "expected str, got bytes"),
    ],
)
def test_invalid_subjects(subject: str, why: str):
    """A refused subject is shown with the reason."""
    with pytest.raises(InvalidArgumentError, match=why):
        check_subject(subject)


@pytest.mark.parametrize("pattern", ["*", ">", "a.*", "*.b", "a.*.>", "*.*", "a.>"])
def test_valid_filters(pattern: str):
    """* stands for a token anywhere, > at the end."""
    assert check_filter(pattern) == pattern


@pytest.mark.parametrize("pattern", ["a.>.b", ">.a", "a*", "a.b>", "**", "a..>", "", "a .>", LONGEST + ".>", 7])
def test_invalid_filters(pattern: str):
    """A wildcard that is only a part of a token, or > before the end, is refused."""
    with pytest.raises(InvalidArgumentError):
        check_filter(pattern)


@pytest.mark.parametrize(
    ("pattern", "subject", "expected"),
    [
        ("a", "a", True),
        ("a", "A", False),
        ("a", "a.b", False),
        ("*", "a", True),
        ("*", "a.b", False),
        (">", "a", True),
        (">", "a.b", True),
        ("a.>", "a", False),
        ("a.>", "a.b.c", True),
        ("a.*", "a.b", True),
        ("a.*", "a.b.c", False),
        ("*.b", "a.b", True),
        ("a.*.>", "a.b", False),
        ("a.*.>", "a.b.c.d", True),
        ("é", "e\u0301", False),
    ],
)
def test_matches(pattern: str, subject: str, expected: bool):
    """A filter selects whole tokens, case and Unicode form included."""
    assert matches(pattern, subject) is expected


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ("a.>", "a.b.>", True),
        ("a.b.>", "a.>", False),
        ("a.*", "a.b", True),
        ("a.b", "a.*", False),
        ("*.*", "a.*", True),
        (">", "a.>", True),
        ("a.*", "a.>", False),
        ("*", "*", True),
    ],
)
def test_covers(one: str, other: str, expected: bool):
    """One filter covers another when it selects all that the other selects."""
    assert covers(one, other) is expected


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ("a.>", "*.b", True),
        ("a.*", "*.b", True),
        ("a.b", "a.c", False),
        ("a.>", "b.>", False),
        ("a.>", "a", False),
        ("a.*.c", "a.b.*", True),
        ("a.*", "a.b.c", False),
        (">", "x", True),
    ],
)
def test_overlap(one: str, other: str, expected: bool):
    """Two filters overlap, in either order, when some subject is selected by both."""
    assert overlap(one, other) is overlap(other, one) is expected
