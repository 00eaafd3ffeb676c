"""Payloads: every byte, every size up to the limit, and an honest refusal above it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pubsubkit import InvalidArgumentError
from pubsubkit.driver import Capability
from pubsubkit_contract.base import Cases
from pubsubkit_contract.case import case
from pubsubkit_contract.kit import payloads

if TYPE_CHECKING:
    from pubsubkit_contract.kit import Kit

__all__ = ["PayloadCases"]

_BINARY = (
    b"\x00",
    b"\x00leading and trailing\x00",
    b" blanks \t",
    b"\r\n",
    b"line\r\n",
    b"\xef\xbb\xbfbyte order mark",
    b"\xff\xfe\xfd",
    "e\u0301 \u00e9".encode(),
    b'{"json":  1}',
    b"aGVsbG8=",
    b"%41+%20",
    b"\x1f\x8b\x08 not compressed",
    b"+OK\r\n",
    bytes(range(256)),
)
_SIZES = (1, 127, 128, 255, 256, 4095, 4096, 4097, 65_535, 65_536, 65_537, 262_144)


class PayloadCases(Cases):
    """A payload is bytes, and they are nobody's business."""

    @case("pay.empty", why="An event may say everything by its subject alone.")
    async def test_pay_empty(self, kit: Kit) -> None:
        """An empty payload is a message: it arrives, and can be settled."""
        subscription = await kit.feed(b"", b"next", b"")
        messages = await kit.read(subscription, 3)
        assert sorted(payloads(messages)) == [b"", b"", b"next"]
        assert all(type(message.data) is bytes and message.settled for message in messages)

    @case("pay.binary", why="Bytes that look like text, JSON or a protocol are where well-meant conversions show.")
    async def test_pay_binary(self, kit: Kit) -> None:
        """Payloads that look like text, numbers, encodings or frames of a protocol arrive byte for byte."""
        subscription = await kit.feed(*_BINARY)
        assert sorted(payloads(await kit.read(subscription, len(_BINARY)))) == sorted(_BINARY)

    @case("pay.same", why="Two equal orders are two orders.")
    async def test_pay_same(self, kit: Kit) -> None:
        """Equal messages without a message id are as many messages."""
        subscription = await kit.feed(b"same", b"same", b"same", b"sentinel")
        assert sorted(payloads(await kit.read(subscription, 4))) == [b"same", b"same", b"same", b"sentinel"]

    @case("pay.sizes", why="Frames, buffers and length fields break at round numbers.")
    async def test_pay_sizes(self, kit: Kit) -> None:
        """Payloads at and around the sizes of buffers and length fields arrive whole."""
        subscription = await kit.subscription()
        publisher = await kit.publisher()
        wanted = [kit.random.randbytes(size) for size in _SIZES if size <= kit.backend.max_payload]
        for data in wanted:
            await publisher.publish(kit.subject("x"), data)
        got = payloads(await kit.read(subscription, len(wanted)))
        assert sorted(map(len, got)) == sorted(map(len, wanted))
        assert sorted(got) == sorted(wanted)

    @case("pay.max", why="The stated limit is what applications split their data by.")
    async def test_pay_max(self, kit: Kit) -> None:
        """A payload of exactly Backend.max_payload bytes arrives unchanged."""
        subscription = await kit.subscription()
        publisher = await kit.publisher()
        data = kit.random.randbytes(kit.backend.max_payload)
        await publisher.publish(kit.subject("x"), data)
        message = await kit.receive(subscription)
        assert len(message.data) == len(data)
        assert message.data == data

    @case("pay.over", why="A message that is dropped, cut, or ends the connection because of its size is lost.")
    async def test_pay_over(self, kit: Kit) -> None:
        """One byte more is refused by InvalidArgumentError, which names both sizes; nothing is stored, and the
        publisher goes on.
        """
        subscription = await kit.subscription()
        publisher, limit = await kit.publisher(), kit.backend.max_payload
        for size in (limit + 1, 2 * limit):
            with kit.raises(InvalidArgumentError, f"{size}.*{limit}"):
                await publisher.publish(kit.subject("x"), b"m" * size)
        await publisher.publish(kit.subject("x"), b"after")
        assert (await kit.receive(subscription)).data == b"after"
        assert (await kit.stream_info()).messages == 1

    @case(
        "pay.over_headers",
        why="Brokers count headers too, and say so by closing the connection.",
        needs={Capability.HEADERS},
    )
    async def test_pay_over_headers(self, kit: Kit) -> None:
        """Headers count toward max_payload: a payload that would fit without them is refused, a smaller one arrives."""
        subscription = await kit.subscription()
        publisher, limit = await kit.publisher(), kit.backend.max_payload
        headers = {"a": "b", "unicode": "é" * 100}
        with kit.raises(InvalidArgumentError, f"{limit}"):
            await publisher.publish(kit.subject("x"), b"m" * (limit - 200), headers=headers)
        await publisher.publish(kit.subject("x"), b"m" * (limit - 512), headers=headers)
        message = await kit.receive(subscription)
        assert (len(message.data), dict(message.headers)) == (limit - 512, headers)
        assert (await kit.stream_info()).messages == 1

    @case(
        "pay.over_id",
        why="The id of a retried publish must not be what makes a large message fail for ever.",
        needs={Capability.DEDUPLICATION},
    )
    async def test_pay_over_id(self, kit: Kit) -> None:
        """A message id counts toward max_payload as well."""
        subscription = await kit.subscription()
        publisher, limit = await kit.publisher(), kit.backend.max_payload
        unique = "i" * 100
        with kit.raises(InvalidArgumentError, f"{limit}"):
            await publisher.publish(kit.subject("x"), b"m" * limit, message_id=unique)
        receipt = await publisher.publish(kit.subject("x"), b"m" * (limit - 512), message_id=unique)
        assert not receipt.duplicate
        assert len((await kit.receive(subscription)).data) == limit - 512

    @case("pay.type", why="Text has no encoding until somebody chooses one.")
    async def test_pay_type(self, kit: Kit) -> None:
        """bytes, bytearray and any memoryview are taken, also one with gaps; text and all else are refused."""
        subscription = await kit.subscription()
        publisher = await kit.publisher()
        view = memoryview(b"s-p-a-c-e-d")[::2]
        for data in (b"bytes", bytearray(b"array"), memoryview(b"view"), view):
            await publisher.publish(kit.subject("x"), data)
        refused: tuple[Any, ...] = ("text", None, 1, [1, 2], {"a": 1})
        for value in refused:
            with kit.raises(InvalidArgumentError, "bytes"):
                await publisher.publish(kit.subject("x"), value)
        assert sorted(payloads(await kit.read(subscription, 4))) == [b"array", b"bytes", b"spaced", b"view"]
        assert (await kit.stream_info()).messages == 4
