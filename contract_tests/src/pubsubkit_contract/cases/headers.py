"""Headers: carried exactly or refused, the publisher's and nobody else's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pubsubkit import InvalidArgumentError, UnsupportedError
from pubsubkit.driver import Capability
from pubsubkit_contract.base import Cases
from pubsubkit_contract.case import case

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pubsubkit import Message
    from pubsubkit_contract.kit import Kit

__all__ = ["HeaderCases"]

_HEADERS = {
    "Case": "a",
    "case": "b",
    "CASE": "c",
    "unicode": "é 中 😀",
    "forms": "e\u0301 \u00e9",
    "empty": "",
    "long": "x" * 1024,
    "colon": "a: b:c",
    "percent": "100%25 %zz +",
    "quotes": "\"double\" 'single' \\ back",
    "list": "a, b,c;d=e",
    "blanks": "two  inner   blanks\tand a tab",
    "number": "007",
    "Content-Type": "text/plain; charset=utf-8",
    "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    "!#$%&'*+-.^_`|~": "token",
}
_DOUBTFUL: tuple[dict[Any, Any], ...] = (
    {"a": "x\r\ny"},
    {"a": "x\ny"},
    {"a": "x\ry"},
    {"a": "x\x00y"},
    {"a": " x"},
    {"a": "x "},
    {"a": "x\t"},
    {"a": "\u00a0x"},
    {"a": "x\ud800"},
    {"a b": "x"},
    {"a:": "x"},
    {"a\r\nb": "x"},
    {" a": "x"},
    {"": "x"},
    {"é": "x"},
    {"a": 1},
    {"a": b"x"},
    {"a": None},
    {"a": ["x", "y"]},
    {1: "x"},
)
_RESERVED = ("Nats-Msg-Id", "nats-msg-id", "NATS-Expected-Stream", "Nats-Rollup", "Nats-TTL")


class HeaderCases(Cases):
    """Text to text, from the publisher to every consumer."""

    @case("hdr.roundtrip", why="Trace contexts and content types travel in headers.", needs={Capability.HEADERS})
    async def test_hdr_roundtrip(self, kit: Kit) -> None:
        """Names and values arrive exactly: case, Unicode, empty and long values, punctuation; all of a hundred."""
        many = {f"name-{number}": f"value {number}" for number in range(100)}
        assert await _sent(kit, _HEADERS) == _HEADERS
        assert await _sent(kit, many) == many

    @case("hdr.own", why="A header of another message is a wrong tenant or a wrong type.", needs={Capability.HEADERS})
    async def test_hdr_own(self, kit: Kit) -> None:
        """Each message has its own headers, and one without headers has none, also within a batch."""
        subscription = await kit.subscription()
        publisher = await kit.publisher()
        wanted: list[dict[str, str]] = [{"n": "0"}, {}, {"m": "2"}, {}, {"n": "4"}, {}]
        for headers in wanted[:4]:
            await publisher.publish(kit.subject("x"), b"x", headers=headers)
        await publisher.publish_many((kit.subject("x"), b"x", headers) for headers in wanted[4:])
        got = await kit.read(subscription, len(wanted))
        in_order = sorted(got, key=lambda message: message.metadata.sequence)
        assert [dict(message.headers) for message in in_order] == wanted

    @case("hdr.empty_payload", why="A message that is all headers is still a message.", needs={Capability.HEADERS})
    async def test_hdr_empty_payload(self, kit: Kit) -> None:
        """Headers arrive with an empty payload too."""
        subscription = await kit.subscription()
        await (await kit.publisher()).publish(kit.subject("x"), b"", headers={"a": "b"})
        message = await kit.receive(subscription)
        assert (message.data, dict(message.headers)) == (b"", {"a": "b"})

    @case(
        "hdr.exact_or_refused",
        why="A value that is trimmed or folded on its way breaks signatures, and a line break in one injects headers.",
        needs={Capability.HEADERS},
    )
    async def test_hdr_exact_or_refused(self, kit: Kit) -> None:
        """A header that cannot be carried exactly is refused by InvalidArgumentError and nothing is stored; it is
        never altered.
        """
        subscription = await kit.subscription()
        publisher = await kit.publisher()
        for headers in _DOUBTFUL:
            try:
                await publisher.publish(kit.subject("x"), b"doubtful", headers=headers)
            except InvalidArgumentError:
                continue
            assert dict((await kit.receive(subscription)).headers) == headers
        await publisher.publish(kit.subject("x"), b"after", headers={"a": "b"})
        message = await kit.receive(subscription)
        assert (message.data, dict(message.headers)) == (b"after", {"a": "b"})

    @case("hdr.types", why="A value of another type is a bug of the caller that a conversion would hide.")
    async def test_hdr_types(self, kit: Kit) -> None:
        """Headers that are no mapping of text to text are refused by InvalidArgumentError."""
        publisher = await kit.publisher()
        wrong: tuple[Any, ...] = ([("a", "b")], "a: b", 1, {"a": 1}, {"a": b"b"}, {"a": None}, {b"a": "b"})
        for headers in wrong:
            with kit.raises(InvalidArgumentError, "header"):
                await publisher.publish(kit.subject("x"), b"x", headers=headers)
        assert (await kit.stream_info()).messages == 0

    @case(
        "hdr.reserved",
        why="Whoever can forge the broker's own headers can make it drop or overwrite messages.",
        needs={Capability.HEADERS},
    )
    async def test_hdr_reserved(self, kit: Kit) -> None:
        """The names that brokers use for themselves are refused."""
        publisher = await kit.publisher()
        for name in _RESERVED:
            with kit.raises(InvalidArgumentError, name):
                await publisher.publish(kit.subject("x"), b"x", headers={name: "x"})
        assert (await kit.stream_info()).messages == 0

    @case(
        "hdr.none_added", why="What the broker adds differs from one to the next; a portable handler sees none of it."
    )
    async def test_hdr_none_added(self, kit: Kit) -> None:
        """A message that was published without headers has none, with a message id, a retry or a redelivery too."""
        claimed = kit.backend.capabilities
        subscription = await kit.subscription()
        publisher = await kit.publisher(retry_attempts=2)
        await publisher.publish(kit.subject("x"), b"retry")
        if Capability.DEDUPLICATION in claimed:
            await publisher.publish(kit.subject("x"), b"id", message_id="one")
        messages = await kit.read(subscription, 1 + (Capability.DEDUPLICATION in claimed), ack=False)
        if Capability.NAK in claimed:
            await messages[-1].nak()
            messages.append(await kit.receive(subscription))
        assert [dict(message.headers) for message in messages] == [{}] * len(messages)

    @case(
        "hdr.redelivered",
        why="The second attempt needs the trace context as much as the first.",
        needs={Capability.HEADERS, Capability.NAK},
    )
    async def test_hdr_redelivered(self, kit: Kit) -> None:
        """Every delivery has the headers that were published."""
        subscription = await kit.subscription()
        await (await kit.publisher()).publish(kit.subject("x"), b"x", headers={"a": "b", "A": ""})
        for _ in range(3):
            message = await kit.receive(subscription)
            assert dict(message.headers) == {"a": "b", "A": ""}
            await message.nak()

    @case(
        "hdr.unsupported",
        why="Headers that are silently dropped are noticed in production.",
        absent={Capability.HEADERS},
    )
    async def test_hdr_unsupported(self, kit: Kit) -> None:
        """Without headers a message that has any is refused, nothing is stored, and empty ones are none."""
        subscription = await kit.subscription()
        publisher = await kit.publisher()
        with kit.raises(UnsupportedError, "headers"):
            await publisher.publish(kit.subject("x"), b"refused", headers={"a": "b"})
        await publisher.publish(kit.subject("x"), b"taken", headers={})
        message = await kit.receive(subscription)
        assert (message.data, dict(message.headers)) == (b"taken", {})


async def _sent(kit: Kit, headers: Mapping[str, str]) -> dict[str, str]:
    """Publish *headers* and return what arrives."""
    subscription = await kit.subscription("", deliver_from="new")
    await (await kit.publisher()).publish(kit.subject("x"), b"x", headers=headers)
    message: Message = await kit.receive(subscription)
    await subscription.aclose()
    return dict(message.headers)
