"""CloudEvents: an event that goes through a broker is the same event."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

from pubsubkit import ConfigurationError, InvalidArgumentError, MalformedEventError
from pubsubkit.driver import Capability
from pubsubkit_contract.base import Cases
from pubsubkit_contract.case import case

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cloudevents.core.v1.event import CloudEvent

    from pubsubkit.cloudevents import Mode
    from pubsubkit_contract.kit import Kit

__all__ = ["CloudEventCases"]

_REQUIRED = {"specversion": "1.0", "id": "1", "source": "/shop", "type": "order.created"}
_WHOLE: dict[str, Any] = {
    "id": "a b/c%20\u00e9",
    "source": "https://example.org/shop?x=1&y=\u4e2d",
    "type": "org.example.order \U0001f600",
    "subject": 'with "quotes", blanks and 100%',
    "time": datetime(2026, 3, 1, 12, 30, 5, 123456, tzinfo=timezone(timedelta(hours=5, minutes=30))),
    "dataschema": "https://example.org/schema#1",
    "datacontenttype": "application/octet-stream",
    "extension1": "value",
    "empty": "",
}
_BYTES = bytes(range(256))
_MODES: tuple[Mode, ...] = ("binary", "structured")


class CloudEventCases(Cases):
    """What one service sends as an event another one gets as the same event."""

    @case(
        "ce.binary",
        why="Events cross companies; what is altered is rejected or, worse, believed.",
        needs={Capability.HEADERS},
    )
    async def test_ce_binary(self, kit: Kit) -> None:
        """In binary mode every attribute, extension and byte of data arrives, and what was absent stays absent."""
        await _same(kit, "binary", [(_WHOLE, _BYTES, _BYTES), ({}, None, b""), ({}, b"\xff", b"\xff")])

    @case("ce.structured", why="Readers of the older binding know only this mode.", needs={Capability.HEADERS})
    async def test_ce_structured(self, kit: Kit) -> None:
        """In structured mode every attribute, extension and byte of data arrives, and what was absent stays absent."""
        content = b'{"price":1.10,"name":"\xc3\xa9"}'
        text: dict[str, Any] = {"datacontenttype": "text/plain"}
        await _same(
            kit,
            "structured",
            [
                (_WHOLE, _BYTES, _BYTES),
                ({}, None, None),
                ({"datacontenttype": "application/json"}, content, content),
                (text, "text \u00e9", "text \u00e9".encode()),
            ],
        )

    @case("ce.types", why="A filter that looks for true never finds True.", needs={Capability.HEADERS})
    async def test_ce_types(self, kit: Kit) -> None:
        """Extensions that are no text arrive as their canonical text, the same in both modes."""
        subscription = await kit.subscription()
        given = {"flag": True, "off": False, "number": -7, "binary": b"\x00\xff", "moment": _WHOLE["time"]}
        wanted = {"flag": "true", "off": "false", "number": "-7", "binary": "AP8="}
        for mode in _MODES:
            await _publish(kit, _event(b"", **given), mode)
            found = (await kit.receive(subscription)).event().get_attributes()
            assert datetime.fromisoformat(found.pop("moment")) == given["moment"]
            assert found == {**_REQUIRED, **wanted}

    @case("ce.wire_binary", why="The other end may be written in another language.", needs={Capability.HEADERS})
    async def test_ce_wire_binary(self, kit: Kit) -> None:
        """In binary mode each attribute is a header ce-<name>, percent-encoded, and the payload is the data."""
        attributes = {
            "time": datetime(2026, 3, 1, 12, tzinfo=UTC),
            "datacontenttype": "text/plain",
            "subject": "a \u00e9%",
        }
        subscription = await kit.subscription()
        await _publish(kit, _event(b"data", **attributes))
        message = await kit.receive(subscription)
        assert message.data == b"data"
        assert dict(message.headers) == {
            **{f"ce-{name}": value for name, value in _REQUIRED.items()},
            "ce-time": "2026-03-01T12:00:00Z",
            "ce-datacontenttype": "text/plain",
            "ce-subject": "a%20%C3%A9%25",
        }

    @case("ce.wire_structured", why="The other end may be written in another language.", needs={Capability.HEADERS})
    async def test_ce_wire_structured(self, kit: Kit) -> None:
        """In structured mode the payload is one JSON object of the media type application/cloudevents+json."""
        subscription = await kit.subscription()
        event = _event({"price": 1}, time=datetime(2026, 3, 1, 12, tzinfo=UTC), number=7)
        await _publish(kit, event, "structured")
        message = await kit.receive(subscription)
        assert set(message.headers) == {"content-type"}
        assert message.headers["content-type"].partition(";")[0] == "application/cloudevents+json"
        assert json.loads(message.data) == {
            **_REQUIRED,
            "time": "2026-03-01T12:00:00Z",
            "datacontenttype": "application/json",
            "number": 7,
            "data": {"price": 1},
        }

    @case("ce.foreign", why="Not every sender is as strict as the specification.", needs={Capability.HEADERS})
    async def test_ce_foreign(self, kit: Kit) -> None:
        """Events of other senders are understood: header names in any case, quoted values, headers of others, and
        JSON without a content type, whose data keep their digits.
        """
        subscription = await kit.subscription()
        headers = {f"CE-{name.title()}": value for name, value in _REQUIRED.items()}
        headers |= {"ce-subject": '"a \\"b\\""', "traceparent": "00-1-2-01", "Ce-Time": "2026-03-01T12:00:00.5+01:00"}
        await _send(kit, b"\x00", headers)
        plain = json.dumps({**_REQUIRED, "id": "2"})[:-1] + ', "data": {"price": 1.10}}'
        await _send(kit, plain.encode())
        messages = sorted(await kit.read(subscription, 2), key=lambda message: len(message.data))
        first, second = (message.event() for message in messages)
        assert (first.get_id(), first.get_subject(), first.get_data()) == ("1", 'a "b"', b"\x00")
        assert first.get_time() == datetime(2026, 3, 1, 11, 0, 0, 500_000, tzinfo=UTC)
        assert set(first.get_attributes()) == {*_REQUIRED, "subject", "time"}
        assert (second.get_id(), second.get_data()) == ("2", b'{"price": 1.10}')

    @case(
        "ce.id_dedup",
        why="An event is identified by source and id; publishing it twice must not make two of it.",
        needs={Capability.HEADERS, Capability.DEDUPLICATION},
    )
    async def test_ce_id_dedup(self, kit: Kit) -> None:
        """With deduplicate=True an event is stored once, and another source or id is another event; without it each
        publish is stored.
        """
        publisher = await kit.publisher()
        duplicates: list[bool] = []
        events = [_event(b"1"), _event(b"1"), _event(b"2", source="/other"), _event(b"3", id="2")]
        # The pairs are chosen so that a careless join of source and id gives the same text.
        events += [_event(b"4", source="/a", id="b c"), _event(b"5", source="/a%20b", id="c")]
        events += [_event(b"6", source="/a/b", id="c"), _event(b"7", source="/a", id="b/c")]
        for event in events:
            receipt = await publisher.publish_event(event, subject=kit.subject("x"), deduplicate=True)
            duplicates.append(receipt.duplicate)
        assert duplicates == [False, True, *[False] * 6]
        await _publish(kit, _event(b"1"))
        assert (await kit.stream_info()).messages == 8

    @case("ce.malformed", why="One bad event must not stop all good ones behind it.", needs={Capability.HEADERS})
    async def test_ce_malformed(self, kit: Kit) -> None:
        """A message that is no event raises MalformedEventError where it is read; it can be settled, and the next one
        is read.
        """
        subscription = await kit.subscription()
        good = {f"ce-{name}": value for name, value in _REQUIRED.items()}
        structured = {"content-type": "application/cloudevents+json"}
        bad: list[tuple[bytes, dict[str, str]]] = [
            (b"", {name: value for name, value in good.items() if name != "ce-id"}),
            (b"", {**good, "ce-specversion": "0.3"}),
            (b"", {**good, "ce-time": "yesterday"}),
            (b"", {**good, "ce-subject": "%zz"}),
            (b"", {**good, "CE-Id": "twice"}),
            (b"not json", structured),
            (json.dumps({**_REQUIRED, "source": ""}).encode(), structured),
            (b"[]", structured),
            (b"", {"content-type": "application/cloudevents-batch+json"}),
            (b"neither", {}),
        ]
        for data, headers in (*bad, (b"good", good)):
            await _send(kit, data, headers)
        messages = sorted(await kit.read(subscription, len(bad) + 1), key=lambda message: message.metadata.sequence)
        for message in messages[:-1]:
            with kit.raises(MalformedEventError):
                message.event()
        assert messages[-1].event().get_data() == b"good"

    @case("ce.refused", why="An invalid event is found by its sender, or by everybody else.")
    async def test_ce_refused(self, kit: Kit) -> None:
        """What is no valid CloudEvent is refused by InvalidArgumentError before it is sent."""
        publisher = await kit.publisher()
        emptied = _event(b"")
        del emptied.get_attributes()["type"]
        naive = _event(b"")
        naive.get_attributes()["time"] = datetime(2026, 3, 1)  # noqa: DTZ001 - that is what is wrong with it
        large = _event(b"", number=2**31)
        listed = _event(b"")
        listed.get_attributes()["listed"] = ["a"]
        wrong: tuple[Any, ...] = (emptied, naive, large, listed, dict(_REQUIRED), "event", None)
        for event in wrong:
            for mode in _MODES:
                with kit.raises(InvalidArgumentError):
                    await publisher.publish_event(event, subject=kit.subject("x"), mode=mode)
        with kit.raises(InvalidArgumentError, "mode"):
            await publisher.publish_event(_event(b""), subject=kit.subject("x"), mode="other")  # type: ignore[arg-type]
        assert (await kit.stream_info()).messages == 0


def _event(data: Any, **attributes: Any) -> CloudEvent:
    try:
        from cloudevents.core.v1.event import CloudEvent
    except ImportError as error:
        raise ConfigurationError("the cases of CloudEvents need: pip install 'pubsubkit[cloudevents]'") from error
    event = CloudEvent({**_REQUIRED, **attributes}, data)
    if attributes.get("time") is None:
        del event.get_attributes()["time"]  # the SDK sets that of now
    return event


async def _publish(kit: Kit, event: CloudEvent, mode: Mode = "binary") -> None:
    await (await kit.publisher()).publish_event(event, subject=kit.subject("x"), mode=mode)


async def _send(kit: Kit, data: bytes, headers: dict[str, str] | None = None) -> None:
    """Publish what is to be read as an event."""
    await (await kit.publisher()).publish(kit.subject("x"), data, headers=headers)


async def _same(kit: Kit, mode: Mode, table: Sequence[tuple[dict[str, Any], Any, bytes | None]]) -> None:
    """Send an event of each row's attributes and data; it must arrive with the same, and with the row's bytes."""
    subscription = await kit.subscription()
    for attributes, data, received in table:
        await _publish(kit, _event(data, **attributes), mode)
        event = (await kit.receive(subscription)).event()
        wanted = {name: value for name, value in {**_REQUIRED, **attributes}.items() if value is not None}
        assert event.get_attributes() == wanted
        assert event.get_data() == received
        assert data is None or type(event.get_data()) is bytes
