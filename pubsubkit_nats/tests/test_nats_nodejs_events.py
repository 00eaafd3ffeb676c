"""The npm package ``cloudevents`` reads the events that are written here, and the other way round.

Only that package and the binding are at work, no server; ``test_nats_nodejs.py`` sends events through one.
"""

import json
from base64 import b64decode, b64encode
from datetime import UTC, datetime, timedelta, timezone
from typing import Any, NamedTuple

import pytest
from cloudevents.core.v1.event import CloudEvent
from node import Node

from pubsubkit import MalformedEventError, OutgoingMessage
from pubsubkit.cloudevents import Mode, from_message, to_message

pytestmark = [pytest.mark.nodejs, pytest.mark.timeout(180)]

REQUIRED = {"specversion": "1.0", "id": "1", "source": "/s", "type": "t"}
TIME = datetime(2026, 11, 25, 18, 30, 1, 250_000, tzinfo=UTC)
INDIA = timezone(timedelta(hours=5, minutes=30))
BYTES = bytes(range(256))
VALUE = {"größe": [1, 2.5, None, True, -(2**53)], "text": 'a "b" \\ 😀\u2028', "": {}}

ATTRIBUTES: dict[str, dict[str, Any]] = {
    "only what is required": {},
    "every attribute": {
        "id": "7",
        "source": "https://example.com/shop",
        "type": "com.example.order.created",
        "subject": "order/7",
        "time": TIME,
        "dataschema": "https://example.com/schema.json#order",
        "extension": "value",
    },
    "quotes, blanks, percent": {"subject": 'with "quotes", two  blanks and 100%', "id": "a b%"},
    "nothing but blanks": {"subject": "  ", "ext": " "},
    "quotes at both ends": {"subject": '"quoted"', "ext": '"'},
    "what looks encoded": {"subject": "%41 %2541 %C3%A4 %zz", "ext": "a+b=c&d"},
    "backslashes": {"subject": '\\ \\" \\\\', "ext": "a\\"},
    "printable ASCII": {"subject": "".join(map(chr, range(0x20, 0x7F)))},
    "control characters": {"subject": "a\r\nb\tc\x00\x01\x7f\x80\x85"},
    "letters beyond ASCII": {"subject": "Grüße, Ελλάδα, 東京, עברית", "id": "ß", "type": "com.example.größe"},
    "astral characters": {"subject": "😀👩‍👩‍👧\U0001d518", "ext": "\U0010ffff"},
    "composed and decomposed": {"subject": "é", "ext": "e\u0301"},
    "odd spaces": {"subject": "\u00a0\u2028\u2029\u200b\ufeff\u3000"},
    "long": {"subject": "ä" * 5000, "ext": "x" * 20_000},
    "source with everything": {"source": "https://user@example.com:8080/a%20b?c=d&e=%C3%A9#f"},
    "source as urn": {"source": "urn:uuid:6e8bc430-9c3a-11d9-9669-0800200c9a66"},
    "source as mail address": {"source": "mailto:someone@example.com"},
    "relative source": {"source": "1-555-123-4567"},
    "empty extension": {"ext": ""},
    "names of extensions": {"a": "1", "0": "2", "x9": "3", "aratherlongnameofanextension": "4"},
    "text that looks like another type": {"a": "true", "b": "007", "c": "null", "d": "1e3", "e": "{}"},
    "true and false": {"yes": True, "no": False},
    "integers": {"zero": 0, "small": -(2**31), "large": 2**31 - 1},
    "bytes": {"raw": b"\x00\xff>?"},
    "time as an extension": {"when": TIME},
    "URI as an extension": {"link": "https://example.com/?q=%22#x"},
    "tracing": {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "tracestate": "a=b,c=d"},
    "whole second": {"time": TIME.replace(microsecond=0)},
    "milliseconds": {"time": TIME.replace(microsecond=7000)},
    "offset": {"time": TIME.replace(tzinfo=INDIA)},
    "leap day": {"time": datetime(2024, 2, 29, 23, 59, 59, 999_000, tzinfo=UTC)},
    "long ago": {"time": datetime(1, 1, 1, tzinfo=UTC)},
    "far ahead": {"time": datetime(9999, 12, 31, 23, 59, 59, 999_000, tzinfo=UTC)},
}
DATA: dict[str, tuple[str | None, Any]] = {
    "every byte": ("application/octet-stream", BYTES),
    "bytes that are text": ("application/octet-stream", b"text"),
    "empty": ("application/octet-stream", b""),
    "text": ("text/plain", "Grüße 😀\r\n"),
    "text with a charset": ('text/plain; charset="utf-8"', "é"),
    "XML": ("application/xml", "<a b='c'>é</a>"),
    "JSON": ("application/json", VALUE),
    "JSON with a charset": ("application/json; charset=utf-8", VALUE),
    "JSON array": ("application/json", [1, "a", None]),
    "JSON text as bytes": ("application/json", b'"\xc3\xa9"'),
    "JSON of its own type": ("application/vnd.example+json", {"a": 1}),
    "JSON without a type": (None, {"a": 1}),
    "JSON as bytes": ("application/json", b'{"a": [1, "\xc3\xa9"]}'),
}


def text(value: object) -> str:
    """The canonical text of a value, by another hand than that of pubsubkit."""
    if isinstance(value, bytes):
        return b64encode(value).decode()
    if isinstance(value, datetime):
        return value.isoformat().removesuffix("+00:00") + ("" if value.utcoffset() else "Z")
    return json.dumps(value) if isinstance(value, int) else str(value)


class Case(NamedTuple):
    attributes: dict[str, Any]
    data: Any
    mode: Mode

    @property
    def event(self) -> CloudEvent:
        made = CloudEvent(REQUIRED | self.attributes, self.data)
        if "time" not in self.attributes:
            del made.get_attributes()["time"]
        return made

    @property
    def wanted(self) -> dict[str, Any]:
        """All attributes, extensions as text."""
        given = {name: value if name == "time" else text(value) for name, value in self.attributes.items()}
        if isinstance(self.data, dict):
            given.setdefault("datacontenttype", "application/json")
        return REQUIRED | given

    def same_data(self, found: bytes | None) -> bool:
        if isinstance(self.data, dict | list):
            return json.loads(found or b"") == self.data
        body = self.data.encode() if isinstance(self.data, str) else self.data
        if self.attributes["datacontenttype"] == "application/json":  # JavaScript takes it apart
            return json.loads(found or b"") == json.loads(body)
        return (found or b"") == body


CASES = {
    f"{name}, {mode}": Case(attributes, data, mode)
    for mode in ("binary", "structured")
    for name, attributes, data in (
        *((name, {**given, "datacontenttype": "application/octet-stream"}, b"x") for name, given in ATTRIBUTES.items()),
        *((name, {"datacontenttype": kind} if kind else {}, data) for name, (kind, data) in DATA.items()),
    )
}
DATA_TWICE = "empty, structured"
"""Node.js makes an event of this with both ``data`` and ``data_base64``, which is no valid one."""


@pytest.fixture(scope="module")
def read_by_node(nodejs: Node) -> dict[str, dict[str, Any]]:
    """What Node.js reads of the messages that are written here."""
    messages = (to_message(case.event, mode=case.mode, subject="s.x") for case in CASES.values())
    lines = [{"headers": message.headers, "data": b64encode(message.data).decode()} for message in messages]
    return dict(zip(CASES, nodejs.run_now(lines, "events.mjs"), strict=True))


@pytest.fixture(scope="module")
def written_by_node(nodejs: Node) -> dict[str, OutgoingMessage]:
    """The messages that Node.js makes of the same events."""
    lines = [{"event": in_javascript(case), "mode": case.mode} for case in CASES.values()]
    messages = nodejs.run_now(lines, "events.mjs")
    made = (OutgoingMessage("s.x", b64decode(message["data"]), message["headers"]) for message in messages)
    return dict(zip(CASES, made, strict=True))


def in_javascript(case: Case) -> dict[str, Any]:
    """The event as the arguments of JavaScript's constructor; numbers and booleans stay what they are."""
    attributes = {
        name: value if isinstance(value, int) else text(value) for name, value in (REQUIRED | case.attributes).items()
    }
    if isinstance(case.data, bytes):
        return {"attributes": attributes, "data": b64encode(case.data).decode()}
    return {"attributes": attributes, "value": case.data}


@pytest.mark.parametrize("name", CASES)
def test_node_reads_what_is_written_here(read_by_node: dict[str, dict[str, Any]], name: str):
    """Attributes, extensions and data of our message are the same in Node.js, which finds the event valid."""
    case, found = CASES[name], read_by_node[name]
    attributes = found["attributes"]
    time = attributes.pop("time")  # JavaScript sets a missing one
    wanted = case.wanted
    if "time" in wanted:
        assert datetime.fromisoformat(time) == wanted.pop("time")
    assert {key: text(value) for key, value in attributes.items()} == wanted
    assert case.same_data(b64decode(found["data"]) if "data" in found else None)


@pytest.mark.parametrize("name", [name for name in CASES if name != DATA_TWICE])
def test_what_node_writes_is_read_here(written_by_node: dict[str, OutgoingMessage], name: str):
    """Attributes, extensions and data of Node.js's message are the same here."""
    case, found = CASES[name], from_message(written_by_node[name])
    attributes, wanted = found.get_attributes(), case.wanted
    if "time" not in wanted:
        del attributes["time"]  # JavaScript has set it
    if "datacontenttype" not in case.attributes and case.mode == "binary":
        del wanted["datacontenttype"]  # JavaScript sends none
    assert attributes == wanted
    assert case.same_data(found.get_data())


def test_data_twice(written_by_node: dict[str, OutgoingMessage]):
    """An event with two values for its data is refused, not guessed at."""
    with pytest.raises(MalformedEventError, match="not together with data"):
        from_message(written_by_node[DATA_TWICE])
