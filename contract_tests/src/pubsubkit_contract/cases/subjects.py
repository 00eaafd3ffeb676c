"""Subjects and filters: one grammar, the same on every backend."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pubsubkit import InvalidArgumentError, NotFoundError, UnsupportedError
from pubsubkit.driver import Capability
from pubsubkit.subjects import MAX_SUBJECT_BYTES
from pubsubkit_contract.base import Cases
from pubsubkit_contract.case import case
from pubsubkit_contract.kit import payloads

if TYPE_CHECKING:
    from pubsubkit_contract.kit import Kit

__all__ = ["SubjectCases"]

_SUBJECTS = ("a", "a.b", "a.b.c", "ab", "a.c", "b", "b.b", "Aa", "aa", "A", "c.b.a", "a.b.c.d")
_FILTERS = {
    ">": _SUBJECTS,
    "*": ("a", "ab", "b", "Aa", "aa", "A"),
    "a": ("a",),
    "ab": ("ab",),
    "Aa": ("Aa",),
    "a.b": ("a.b",),
    "a.*": ("a.b", "a.c"),
    "*.b": ("a.b", "b.b"),
    "*.*": ("a.b", "a.c", "b.b"),
    "a.>": ("a.b", "a.b.c", "a.c", "a.b.c.d"),
    "a.*.>": ("a.b.c", "a.b.c.d"),
    "*.b.>": ("a.b.c", "c.b.a", "a.b.c.d"),
    "a.*.c": ("a.b.c",),
    "*.*.*": ("a.b.c", "c.b.a"),
}
_INVALID_SUBJECTS = ("", "a.", ".a", "a..b", "a b", "a.*", "a.>", "*", "a\n", "\ta", "a\x00", "a\x7f", "a\ud800")
_INVALID_FILTERS = ("a.>.b", "a..b", "a b", "a.b*", ">.a", "a.", "a>", "a.**")


class SubjectCases(Cases):
    """Who gets a message is decided by its subject alone."""

    @case(
        "subj.match_table",
        why="A wildcard that means something else on one backend sends messages to the wrong service.",
        needs={Capability.FANOUT, Capability.WILDCARDS},
    )
    async def test_subj_match_table(self, kit: Kit) -> None:
        """Filters select exactly the subjects of the grammar: * is one token, > is one or more, case counts."""
        publisher = await kit.publisher()
        members = {
            pattern: await kit.subscription("", filter_subject=kit.subject(f"t.{pattern}")) for pattern in _FILTERS
        }
        sentinels = tuple(wanted[0] for wanted in _FILTERS.values())
        for subject in (*_SUBJECTS, *sentinels):
            await publisher.publish(kit.subject(f"t.{subject}"), subject.encode())
        for pattern, wanted in _FILTERS.items():
            expected = sorted(subject.encode() for subject in (*wanted, *(end for end in sentinels if end in wanted)))
            got = payloads(await kit.read(members[pattern], len(expected)))
            assert sorted(got) == expected, pattern

    @case("subj.exact_not_prefix", why="orders must not get what is published to orders-test.")
    async def test_subj_exact_not_prefix(self, kit: Kit) -> None:
        """A filter without wildcards selects one subject: no prefix of it, no subject below it."""
        publisher = await kit.publisher()
        member = await kit.subscription("", filter_subject=kit.subject("ab"))
        for tail in ("a", "ab", "abc", "ab.c", "ab"):
            await publisher.publish(kit.subject(tail), tail.encode())
        assert payloads(await kit.read(member, 2)) == [b"ab", b"ab"]

    @case("subj.case", why="Identifiers differ by case, in Base64 for example.")
    async def test_subj_case(self, kit: Kit) -> None:
        """Subjects that differ only in upper and lower case are different subjects."""
        wide = Capability.UNICODE_SUBJECTS in kit.backend.capabilities
        publisher = await kit.publisher()
        for mine, other in (("Aa.b", "aa.b"), ("ab", "AB"), *([("É", "é")] if wide else [])):
            member = await kit.subscription("", filter_subject=kit.subject(mine), deliver_from="new")
            for tail in (other, mine, other, mine):
                await publisher.publish(kit.subject(tail), tail.encode())
            assert payloads(await kit.read(member, 2)) == [mine.encode()] * 2
            await member.aclose()

    @case("subj.invalid_publish", why="What one broker stores, another refuses and a third never delivers.")
    async def test_subj_invalid_publish(self, kit: Kit) -> None:
        """A subject that is empty, has empty tokens, blanks, control characters or wildcards is refused, unstored."""
        publisher = await kit.publisher()
        for subject in _INVALID_SUBJECTS:
            with kit.raises(InvalidArgumentError):
                await publisher.publish(subject, b"x")
            with kit.raises(InvalidArgumentError):
                await publisher.publish(f"{kit.stream}.{subject}", b"x")
        assert (await kit.stream_info()).messages == 0

    @case("subj.invalid_filter", why="A filter that can never match looks like an idle system.")
    async def test_subj_invalid_filter(self, kit: Kit) -> None:
        """A filter with misplaced wildcards, empty tokens or blanks is refused before anything is created."""
        for pattern in _INVALID_FILTERS:
            with kit.raises(InvalidArgumentError):
                await kit.subscription(filter_subject=pattern)
        with kit.raises(NotFoundError):
            await kit.stream_info()

    @case("subj.outside_stream", why="A message that no stream holds is lost, and nobody is told.")
    async def test_subj_outside_stream(self, kit: Kit) -> None:
        """Publishing outside of the stream's subjects is NotFoundError; a hopeless filter InvalidArgumentError."""
        publisher = await kit.publisher()
        with kit.raises(NotFoundError, "does not hold"):
            await publisher.publish("elsewhere.x", b"x")
        with kit.raises(InvalidArgumentError, "can match nothing"):
            await kit.subscription(filter_subject="elsewhere.x")
        assert (await kit.stream_info()).messages == 0

    @case(
        "subj.unicode",
        why="Names of customers and places are subjects too.",
        needs={Capability.UNICODE_SUBJECTS},
    )
    async def test_subj_unicode(self, kit: Kit) -> None:
        """Unicode subjects arrive unchanged, and normalisation forms stay distinct."""
        twins = ["é", "e\u0301"]
        member = await kit.subscription(filter_subject=kit.subject(f"{twins[1]}.中.😀"))
        publisher = await kit.publisher()
        for twin in (*twins, twins[1]):
            await publisher.publish(kit.subject(f"{twin}.中.😀"), twin.encode())
        messages = await kit.read(member, 2)
        assert payloads(messages) == [twins[1].encode()] * 2
        assert {message.subject for message in messages} == {kit.subject(f"{twins[1]}.中.😀")}

    @case("subj.long", why="Subjects are made from data, and data is long.")
    async def test_subj_long(self, kit: Kit) -> None:
        """A subject of the longest length arrives; one byte more is refused."""
        longest = "x" * (MAX_SUBJECT_BYTES - len(kit.subject("")))
        subscription = await kit.subscription()
        publisher = await kit.publisher()
        await publisher.publish(kit.subject(longest), b"x")
        assert (await kit.receive(subscription)).subject == kit.subject(longest)
        with kit.raises(InvalidArgumentError, "bytes"):
            await publisher.publish(kit.subject(longest + "x"), b"x")

    @case("subj.prefix", why="Several applications share a stream by giving each a prefix.")
    async def test_subj_prefix(self, kit: Kit) -> None:
        """subject_prefix and a dot go before the subject; the stream, the filter and the message have all of it."""
        publisher = await kit.publisher(subject_prefix=kit.subject("pre"))
        subscription = await kit.subscription(filter_subject=kit.subject("pre.a.b"))
        for tail in ("b", "a.b"):
            await publisher.publish(tail, tail.encode())
        message = await kit.receive(subscription)
        assert (message.subject, message.data) == (kit.subject("pre.a.b"), b"a.b")
        assert (await kit.stream_info()).options.subjects == (kit.subject("pre.>"),)

    @case(
        "subj.unsupported_wildcards",
        why="A wildcard that is taken for a name selects nothing, for ever.",
        absent={Capability.WILDCARDS},
    )
    async def test_subj_unsupported_wildcards(self, kit: Kit) -> None:
        """Without wildcards a filter that has one is refused."""
        for pattern in ("*", ">"):
            with kit.raises(UnsupportedError, "wildcards"):
                await kit.subscription(filter_subject=kit.subject(pattern))

    @case(
        "subj.unsupported_unicode",
        why="A subject that is altered on its way reaches nobody.",
        absent={Capability.UNICODE_SUBJECTS},
    )
    async def test_subj_unsupported_unicode(self, kit: Kit) -> None:
        """Without Unicode subjects one that is not ASCII is refused, for publishing and as a filter."""
        publisher = await kit.publisher()
        with kit.raises(UnsupportedError, "unicode"):
            await publisher.publish(kit.subject("é"), b"x")
        with kit.raises(UnsupportedError, "unicode"):
            await kit.subscription(filter_subject=kit.subject("é"))
