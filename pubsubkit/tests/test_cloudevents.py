"""CloudEvents as messages: both modes of the NATS binding, and what is no event."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from enum import Enum
from itertools import combinations
from typing import Any, Literal

import pytest
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v03.event import CloudEvent as OldCloudEvent
from cloudevents.core.v1.event import CloudEvent

from pubsubkit import (
    ConfigurationError,
    ConsumerOptions,
    InvalidArgumentError,
    MalformedEventError,
    OutgoingMessage,
    PublisherOptions,
    connect,
)
from pubsubkit import cloudevents as module
from pubsubkit.cloudevents import from_message, to_message
from pubsubkit.payload import check_headers, check_message_id

Mode = Literal["binary", "structured"]

TIME = datetime(2026, 3, 1, 12, 30, 5, 123456, tzinfo=UTC)
REQUIRED = {"specversion": "1.0", "id": "1", "source": "/s", "type": "t"}
HEADERS = {f"ce-{name}": value for name, value in REQUIRED.items()}
both = pytest.mark.parametrize("mode", ["binary", "structured"])


def event(data: Any = None, **attributes: Any) -> CloudEvent:
    return CloudEvent({**REQUIRED, "time": TIME} | attributes, data)


def there_and_back(sent: CloudEvent, mode: Mode) -> CloudEvent:
    message = to_message(sent, mode=mode)
    check_headers(message.headers or {})
    return from_message(message)


def message(data: bytes = b"", **headers: str) -> OutgoingMessage:
    return OutgoingMessage("a.b", data, {name.replace("_", "-"): value for name, value in headers.items()})


def envelope(text: str = "", **members: Any) -> OutgoingMessage:
    document = json.dumps(REQUIRED | members)
    return OutgoingMessage("a.b", (document[:-1] + text + "}").encode())


ATTRIBUTES: list[tuple[str, Any, str, Any]] = [
    ("subject", "plain", "plain", "plain"),
    ("subject", "two words", "two%20words", "two words"),
    ("subject", " at both ends ", "%20at%20both%20ends%20", " at both ends "),
    ("subject", '"quoted"', "%22quoted%22", '"quoted"'),
    ("subject", "100%", "100%25", "100%"),
    ("subject", "%41 is no A", "%2541%20is%20no%20A", "%41 is no A"),
    ("subject", "Euro € 😀", "Euro%20%E2%82%AC%20%F0%9F%98%80", "Euro € 😀"),
    ("subject", "\u00a0\u2028", "%C2%A0%E2%80%A8", "\u00a0\u2028"),
    ("subject", "a\r\nb\x7f\x00", "a%0D%0Ab%7F%00", "a\r\nb\x7f\x00"),
    ("subject", "!#$&'()*+,-./:;<=>?@[\\]^_`{|}~", "!#$&'()*+,-./:;<=>?@[\\]^_`{|}~", None),
    ("source", "https://example.com/a?b=c#d", "https://example.com/a?b=c#d", None),
    ("type", "com.example.ä", "com.example.%C3%A4", "com.example.ä"),
    ("dataschema", "https://example.com/schema", "https://example.com/schema", None),
    ("datacontenttype", 'text/plain; charset="utf-8"', "text/plain;%20charset=%22utf-8%22", None),
    ("ext", "", "", ""),
    ("ext1", "x y", "x%20y", "x y"),
    ("traceparent", "00-0af7651916cd43dd-b7ad6b71-01", "00-0af7651916cd43dd-b7ad6b71-01", None),
    ("flag", True, "true", "true"),
    ("flag", False, "false", "false"),
    ("count", -(2**31), "-2147483648", "-2147483648"),
    ("count", 2**31 - 1, "2147483647", "2147483647"),
    ("raw", b"\x00\xff>", "AP8+", "AP8+"),
    ("when", TIME, "2026-03-01T12:30:05.123456Z", "2026-03-01T12:30:05.123456Z"),
    ("time", TIME, "2026-03-01T12:30:05.123456Z", TIME),
    ("time", TIME.replace(microsecond=0), "2026-03-01T12:30:05Z", TIME.replace(microsecond=0)),
    ("time", TIME.replace(microsecond=10), "2026-03-01T12:30:05.000010Z", TIME.replace(microsecond=10)),
    ("time", TIME.replace(tzinfo=timezone(timedelta(hours=-3, minutes=-30))), "2026-03-01T12:30:05.123456-03:30", None),
    ("time", TIME.replace(tzinfo=timezone(timedelta(seconds=61))), "2026-03-01T12:29:04.123456Z", None),
    ("time", TIME.replace(year=1), "0001-03-01T12:30:05.123456Z", TIME.replace(year=1)),
]


@both
@pytest.mark.parametrize(("name", "value", "header", "received"), ATTRIBUTES)
def test_attributes(name: str, value: Any, header: str, received: Any, mode: Mode):
    """An attribute has its canonical text in a header, strictly percent-encoded, and arrives alike in both modes."""
    sent = event(**{name: value})
    if mode == "binary":
        assert (to_message(sent).headers or {})[f"ce-{name}"] == header
    got = there_and_back(sent, mode)
    assert got.get_attributes() == REQUIRED | {"time": TIME} | {name: value if received is None else received}


@both
def test_only_the_attributes_that_are_set(mode: Mode):
    """No attribute is invented: an event without a time has none afterwards; None means not set."""
    sent = event(ext=None)
    del sent.get_attributes()["time"]
    got = there_and_back(sent, mode)
    assert got.get_attributes() == REQUIRED
    assert got.get_time() is None
    assert there_and_back(got, mode).get_attributes() == REQUIRED


@both
def test_the_event_is_not_changed(mode: Mode):
    """Sending leaves the event as it was, and what is received shares nothing with it."""
    sent = event({"a": 1}, count=1)
    before = dict(sent.get_attributes())
    got = there_and_back(sent, mode)
    got.get_attributes()["id"] = "2"
    assert (sent.get_attributes(), sent.get_data()) == (before, {"a": 1})


def test_native_values_in_the_envelope():
    """Structured mode keeps integers and booleans as JSON has them, and the SDK reads the document."""
    sent = event(b"\x00", flag=True, count=5, raw=b"x", when=TIME)
    written = to_message(sent, mode="structured")
    document = json.loads(written.data)
    assert (document["flag"], document["count"], document["raw"]) == (True, 5, "eA==")
    assert (document["time"], document["when"]) == ("2026-03-01T12:30:05.123456Z",) * 2
    assert written.headers == {"content-type": "application/cloudevents+json"}
    assert JSONFormat().read(None, written.data).get_data() == b"\x00"


class Kind(str, Enum):  # noqa: UP042  a StrEnum would hide that str() of it is another text
    CREATED = "order.created"


@both
def test_subclasses_of_str(mode: Mode):
    """A member of an enumeration is sent as its value."""
    sent = event(type=Kind.CREATED, ext=Kind.CREATED)
    assert there_and_back(sent, mode).get_attributes() == event(type="order.created", ext="order.created")._attributes


JSON_TYPE, TEXT, LATIN = "application/json", "text/plain", "text/plain; charset=iso-8859-1"
DATA: list[tuple[Any, str | None, bytes, str | None]] = [
    (b"", None, b"", None),
    (bytes(range(256)), None, bytes(range(256)), None),
    (b'{"a": 1.10}', None, b'{"a": 1.10}', None),
    (b'{"a": 1.10}', JSON_TYPE, b'{"a": 1.10}', JSON_TYPE),
    (b"not json", JSON_TYPE, b"not json", JSON_TYPE),
    (b"\xff", TEXT, b"\xff", TEXT),
    (bytearray(b"x"), None, b"x", None),
    (memoryview(b"x"), "application/json", b"x", "application/json"),
    ("héllo", None, "héllo".encode(), None),
    ("héllo", TEXT, "héllo".encode(), TEXT),
    ("héllo", LATIN, b"h\xe9llo", LATIN),
    ('"text of JSON"', JSON_TYPE, b'"text of JSON"', JSON_TYPE),
    ("<a/>", "application/xml", b"<a/>", "application/xml"),
    ({"a": ["é", 1.5, None]}, JSON_TYPE, {"a": ["é", 1.5, None]}, JSON_TYPE),
    ({"a": 1}, None, {"a": 1}, JSON_TYPE),
    ({"a": 1}, "Application/Vnd.x+JSON ; v=1", {"a": 1}, "Application/Vnd.x+JSON ; v=1"),
    ({"a": 1}, "model/gltf+json", {"a": 1}, "model/gltf+json"),
    ([1, 2], JSON_TYPE, [1, 2], JSON_TYPE),
    (0, None, 0, JSON_TYPE),
]


@both
@pytest.mark.parametrize(("data", "content_type", "received", "received_type"), DATA)
def test_data(data: Any, content_type: str | None, received: Any, received_type: str | None, mode: Mode):
    """Data arrive as bytes in both modes: bytes are never touched, and nothing is guessed from them."""
    attributes = {"datacontenttype": content_type} if content_type else {}
    sent = to_message(event(data, **attributes), mode=mode)
    got = from_message(sent)
    body = got.get_data()
    assert type(body) is bytes
    assert (body if isinstance(received, bytes) else json.loads(body)) == received
    assert got.get_datacontenttype() == received_type
    if mode == "binary":
        assert sent.data == body


def test_no_data():
    """A structured event without data has None; in binary mode no data and empty data are the same payload."""
    assert there_and_back(event(), "structured").get_data() is None
    assert there_and_back(event(b""), "structured").get_data() == b""
    assert there_and_back(event(), "binary").get_data() == b""


def test_readable_envelopes():
    """JSON and text stand as such in the envelope; bytes are in data_base64, also those of JSON."""
    for data, content_type in (({"a": 1}, JSON_TYPE), ("hi", TEXT)):
        document = json.loads(to_message(event(data, datacontenttype=content_type), mode="structured").data)
        assert document["data"] == data
    document = json.loads(to_message(event(b"{}", datacontenttype=JSON_TYPE), mode="structured").data)
    assert (document["data_base64"], "data" in document) == ("e30=", False)


@pytest.mark.parametrize(
    ("written", "content_type", "data", "received_type"),
    [
        ('{ "a" : 1.10, "b":1e400, "a":12345678901234567890.123 }', JSON_TYPE, None, JSON_TYPE),
        ('"text \\u00e9"', JSON_TYPE, None, JSON_TYPE),
        ("[ ]", None, None, JSON_TYPE),
        ("null", None, None, JSON_TYPE),
        ('"caf\\u00e9"', TEXT, "café".encode(), TEXT),
        ('"caf\\u00e9"', LATIN, b"caf\xe9", LATIN),
        ("null", TEXT, "absent", TEXT),
    ],
)
def test_data_of_others(written: str, content_type: str | None, data: Any, received_type: str):
    """JSON data of an envelope are the bytes that stood there; a text has the charset of its content type."""
    attributes = {"datacontenttype": content_type} if content_type else {}
    got = from_message(envelope(f', "data" :  {written} ', **attributes))
    expected = {None: written.encode(), "absent": None}.get(data, data)
    assert (got.get_data(), got.get_datacontenttype()) == (expected, received_type)


def test_what_others_write():
    """A null attribute is not set, other types become text, and a null beside data_base64 is no data."""
    got = from_message(envelope(subject=None, time=None, n=5, flag=False, data=None, data_base64="AA=="))
    assert got.get_attributes() == REQUIRED | {"n": "5", "flag": "false"}
    assert got.get_data() == b"\x00"


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("2026-03-01T12:30:05Z", TIME.replace(microsecond=0)),
        ("2026-03-01t12:30:05z", TIME.replace(microsecond=0)),
        ("2026-03-01T12:30:05.123456789Z", TIME),
        ("2026-03-01T14:30:05.123456+02:00", TIME),
    ],
)
def test_times_of_others(written: str, read: datetime):
    """All of RFC 3339 is read; what is finer than microseconds is cut off."""
    assert from_message(message(**HEADERS, ce_time=written)).get_time() == read
    assert from_message(envelope(time=written)).get_time() == read


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("Euro%20%e2%82%ac", "Euro €"),
        ("%41%2F/", "A//"),
        ('"two words"', "two words"),
        (r'"a \"b\" \\ %20"', 'a "b" \\  '),
        ('"open', '"open'),
        ("%2541", "%41"),
        ("raw é", "raw é"),
    ],
)
def test_header_values_of_others(value: str, text: str):
    """Too much encoding, lower-case digits and quoted strings of older senders are read, decoded once."""
    assert from_message(message(**HEADERS, ce_ext=value)).get_extension("ext") == text


@pytest.mark.parametrize("change", [str.upper, str.title, str.lower])
def test_case_of_header_names(change: Any):
    """Headers are found whatever their case; attribute names are in lower case."""
    headers = {change(name): value for name, value in (HEADERS | {"ce-ext": "X"}).items()}
    assert from_message(OutgoingMessage("a", b"", headers)).get_attributes() == REQUIRED | {"ext": "X"}
    structured = OutgoingMessage("a", envelope().data, {change("content-type"): "Application/CloudEvents+JSON"})
    assert from_message(structured).get_attributes() == REQUIRED


@pytest.mark.parametrize(
    "headers",
    [
        None,
        {},
        {"traceparent": "00-1"},
        {"content-type": "application/json"},
        {"Content-Type": "application/cloudevents"},
        {"content-type": "application/cloudevents+json; charset=utf-8", "ce-id": "not looked at"},
    ],
)
def test_structured_messages(headers: dict[str, str] | None):
    """A message is structured by its content type, or as in the binding 1.0.2 because no ce-* header is there."""
    got = from_message(OutgoingMessage("a", envelope(ext="x").data, headers))
    assert got.get_attributes() == REQUIRED | {"ext": "x"}


def test_other_headers_are_no_attributes():
    """Headers of the application and of tracing stay out of the event."""
    got = from_message(message(**HEADERS, traceparent="00-1", Content_Type="text/plain"))
    assert got.get_attributes() == REQUIRED


def without(name: str) -> dict[str, str]:
    return {key: value for key, value in HEADERS.items() if key != f"ce-{name}"}


DEEP = "[" * 100_000 + "]" * 100_000
MALFORMED: dict[str, OutgoingMessage] = {
    **{f"no {name}": message(**without(name)) for name in REQUIRED},
    **{f"empty {name}": message(**HEADERS | {f"ce-{name}": ""}) for name in REQUIRED},
    **{f"null {name}": envelope(**{name: None}) for name in REQUIRED},
    **{f"number as {name}": envelope(**{name: 1}) for name in (*REQUIRED, "time", "subject", "datacontenttype")},
    **{f"version {version}": message(**HEADERS | {"ce-specversion": version}) for version in ("0.3", "1.1", "2", "1")},
    **{
        f"time {time}": message(**HEADERS, ce_time=time)
        for time in (
            "yesterday",
            "",
            "2026-03-01",
            "2026-03-01T12:30:05",
            "20260301T123005Z",
            "2026-03-01T12:30Z",
            "2026-03-01T12:30:05,1Z",
            "2026-13-01T12:30:05Z",
            "2026-03-01T24:00:00Z",
            "2026-03-01T12:30:05+1000",
            "2026-03-01T12:30:05+10:99",
            "\uff12026-03-01T12:30:05Z",
        )
    },
    **{
        f"value {value}": message(**HEADERS, ce_ext=value)
        for value in ("%", "100%", "%4", "%4g", "%zz", "%C0%A0", "%FF", "%ED%A0%80", "%C3é", "\ud800", '"%"')
    },
    "empty subject": message(**HEADERS, ce_subject=""),
    "name with a dash": message(**HEADERS, ce_my_ext="x"),
    "no name": message(**HEADERS, ce_="x"),
    "name with a line break": envelope(**{"ext\n": "x"}),
    "capitals in a name": envelope(Ext="x"),
    "an attribute named data": message(**HEADERS, ce_data="x"),
    "two headers": OutgoingMessage("a", b"", HEADERS | {"CE-ID": "2"}),
    "batch": message(envelope().data, content_type="application/cloudevents-batch+json"),
    "avro": message(envelope().data, content_type="application/cloudevents+avro"),
    "structured by header, but binary": message(**HEADERS, content_type="application/cloudevents+json"),
    **{
        f"payload {payload[:20]!r}": OutgoingMessage("a", payload)
        for payload in (
            b"",
            b"x",
            b"[]",
            b"1",
            b"null",
            b"{}",
            b"{",
            b'{"a"',
            b'{"a" 1}',
            b'{"a": 1,}',
            b"{,}",
            b"\xff",
        )
    },
    "no UTF-8": OutgoingMessage("a", json.dumps(REQUIRED | {"x": "é"}, ensure_ascii=False).encode("latin-1")),
    "text after the object": OutgoingMessage("a", envelope().data + b"{}"),
    "trailing comma": envelope(","),
    "names that are no strings": envelope(", 1: 2"),
    "two ids": envelope(', "id": "2"'),
    "NaN": envelope(', "data": NaN'),
    "half a surrogate pair": envelope(', "ext": "\\ud800"'),
    "half a surrogate pair as text": envelope(', "data": "\\ud800"', datacontenttype=TEXT),
    "number as text": envelope(data=1, datacontenttype=TEXT),
    "unknown charset": envelope(data="x", datacontenttype="text/plain; charset=klingon"),
    "text beyond its charset": envelope(data="€", datacontenttype=LATIN),
    "extension of no type": envelope(ext=1.5),
    "object as an extension": envelope(ext={}),
    "data twice": envelope(data=1, data_base64="AA=="),
    "no base64": envelope(data_base64="A"),
    "base64 with a line break": envelope(data_base64="AAAA\nAAAA"),
    "number as base64": envelope(data_base64=1),
    "too deep": envelope(f', "data": {DEEP}'),
}


@pytest.mark.parametrize("name", MALFORMED)
def test_malformed(name: str):
    """Whatever is wrong with a message, it is one error, which says that it is the message."""
    with pytest.raises(MalformedEventError, match=r"no CloudEvent: .+"):
        from_message(MALFORMED[name])


def test_malformed_says_what():
    """The error names what is missing and is a ValueError as well."""
    with pytest.raises(ValueError, match="missing specversion, id"):
        from_message(message(ce_type="t", ce_source="/s"))


class Nowhere(tzinfo):
    def utcoffset(self, dt: datetime | None) -> None:
        return None


def changed(**attributes: Any) -> CloudEvent:
    made = event()
    made.get_attributes().update(attributes)
    return made


LOOP: list[Any] = []
LOOP.append(LOOP)
UNSENDABLE: dict[str, Any] = {
    "a dict": REQUIRED,
    "version 0.3": OldCloudEvent({"id": "1", "source": "/s", "type": "t", "specversion": "0.3"}),
    "None": None,
    "large integer": event(n=2**31),
    "small integer": event(n=-(2**31) - 1),
    "float": event(n=1.5),
    "object": event(n={}),
    "half a surrogate pair": event(ext="\ud800"),
    "no offset": event(time=TIME.replace(tzinfo=Nowhere())),
    "no offset in an extension": event(when=datetime(2026, 1, 1)),  # noqa: DTZ001
    "before the first year": event(time=datetime(1, 1, 1, tzinfo=timezone(timedelta(seconds=1)))),
    "name with a line break": event(**{"ext\n": "x"}),
    "id changed": changed(id=""),
    "id taken away": changed(id=None),
    "time changed": changed(time="now"),
    "number as subject": changed(subject=1),
    "data for another type": event({"a": 1}, datacontenttype="text/plain"),
    "unknown charset": event("x", datacontenttype="text/plain; charset=klingon"),
    "text beyond its charset": event("€", datacontenttype=LATIN),
    "surrogates in text": event("\ud800"),
    "surrogates in JSON": event({"a": "\ud800"}),
    "NaN": event({"a": float("nan")}),
    "set": event({"a": {1}}),
    "endless": event(LOOP),
}


@both
@pytest.mark.parametrize("name", UNSENDABLE)
def test_unsendable(name: str, mode: Mode):
    """What cannot be sent as it is gets refused, also when the event was changed after it was checked."""
    with pytest.raises(InvalidArgumentError):
        to_message(UNSENDABLE[name], mode=mode)


def test_unknown_mode():
    """There are two modes."""
    with pytest.raises(InvalidArgumentError, match="'batch'"):
        to_message(event(), mode="batch")  # type: ignore[arg-type]


@both
def test_message_ids(mode: Mode):
    """An event has a message id only when asked for, the same each time, that every backend carries."""
    assert to_message(event(), mode=mode).message_id is None
    sent = event(source="/ sö\n", id=" 1% ")
    first, second = (to_message(sent, mode=mode, deduplicate=True).message_id for _ in range(2))
    assert first == second == "/%20s%C3%B6%0A %201%25%20"
    assert check_message_id(first or "") == first


def test_message_ids_do_not_collide():
    """Two events have the same message id only when both source and id are the same."""
    parts = [
        "a",
        "b",
        "a b",
        "b c",
        "a%20b",
        " a",
        "a ",
        " ",
        "  ",
        "/",
        "a/b",
        "b/",
        "A",
        "á",
        "a\u0301",
        '"',
        "\n",
        "%",
    ]
    pairs = [(source, unique) for source in parts for unique in parts]
    ids = [to_message(event(source=s, id=i), deduplicate=True).message_id or "" for s, i in pairs]
    assert not [pair for pair in combinations(zip(ids, pairs, strict=True), 2) if pair[0][0] == pair[1][0]]
    assert ids == [check_message_id(each) for each in ids]


def test_the_subject_is_the_message_s_own():
    """The subject of the message and that of the event are two things."""
    sent = to_message(event(subject="order/7"), subject="orders.created")
    assert (sent.subject, (sent.headers or {})["ce-subject"]) == ("orders.created", "order/7")


@both
async def test_through_a_backend(mode: Mode):
    """An event published twice with its message id is stored once and is read from the received message."""
    sent = event(b"\x00\r\n", subject=" 100% sö ", ext="")
    async with connect("memory://") as backend:
        async with backend.publisher(PublisherOptions(stream_name="s")) as publisher:
            for duplicate in (False, True):
                receipt = await publisher.publish_event(sent, subject="s.a", mode=mode, deduplicate=True)
                assert receipt.duplicate is duplicate
        async with backend.consumer(ConsumerOptions(stream_name="s")).subscribe() as messages:
            received = await anext(messages)
    got = received.event()
    assert received.subject == "s.a"
    assert (got.get_attributes(), got.get_data()) == (sent.get_attributes(), sent.get_data())


async def test_the_subject_is_the_type():
    """Without a subject an event goes to its type, below the publisher's prefix, one by one and many at a time."""
    first, second = event(b"1", type="orders.created"), event(b"2", type="orders.paid")
    options = PublisherOptions(stream_name="shop", subject_prefix="shop")
    async with connect("memory://") as backend, backend.publisher(options) as publisher:
        await publisher.publish_event(first)
        await publisher.publish_many(to_message(each) for each in (first, second))
        async with backend.consumer(ConsumerOptions(stream_name="shop")).subscribe() as messages:
            seen = [await anext(messages) for _ in range(3)]
    assert [each.subject for each in seen] == ["shop.orders.created", "shop.orders.created", "shop.orders.paid"]
    assert [each.event().get_data() for each in seen] == [b"1", b"1", b"2"]


@pytest.mark.parametrize("name", ["order created", "orders..created", "orders.*", "a" * 2000])
async def test_a_type_that_is_no_subject(name: str):
    """An event whose type is no subject is refused, and published when a subject is given."""
    async with connect("memory://") as backend:
        async with backend.publisher(PublisherOptions(stream_name="s")) as publisher:
            with pytest.raises(InvalidArgumentError, match="it is the event's type: pass subject="):
                await publisher.publish_event(event(type=name))
            with pytest.raises(InvalidArgumentError, match="invalid subject ''"):
                await publisher.publish_event(event(type=name), subject="")
            receipt = await publisher.publish_event(event(type=name), subject="s.x")
    assert receipt.sequence == 1


async def test_malformed_events_do_not_stop_the_stream():
    """A message that is no event is one error, after which it can be terminated and the next one is read."""
    async with connect("memory://") as backend:
        async with backend.publisher(PublisherOptions(stream_name="s")) as publisher:
            await publisher.publish_many([("s.x", b"{"), ("s.x", b"{}"), to_message(event(b"good"), subject="s.x")])
        options = ConsumerOptions(stream_name="s", consumer_name="d")
        async with backend.consumer(options).subscribe() as messages:
            for _ in range(2):
                bad = await anext(messages)
                with pytest.raises(MalformedEventError):
                    bad.event()
                assert await bad.term("no event")
            assert (await anext(messages)).event().get_data() == b"good"


def test_the_sdk_is_imported_late():
    """Importing the module does not import the SDK; the first call does."""
    code = (
        "import sys, pubsubkit.cloudevents as c; assert 'cloudevents' not in sys.modules, 'too early'\n"
        "from pubsubkit import OutgoingMessage, MalformedEventError\n"
        "try: c.from_message(OutgoingMessage('a', b''))\n"
        "except MalformedEventError: pass\n"
        "assert 'cloudevents' in sys.modules"
    )
    path = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, env=path)
    assert (found.returncode, found.stderr) == (0, "")


@pytest.fixture
def no_sdk(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in [name for name in sys.modules if name.partition(".")[0] == "cloudevents"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "cloudevents", None)
    module._sdk.cache_clear()
    yield
    module._sdk.cache_clear()


@pytest.mark.usefixtures("no_sdk")
def test_without_the_sdk():
    """Without the SDK both functions say what to install."""
    for call in (lambda: to_message(event()), lambda: from_message(envelope())):
        with pytest.raises(ConfigurationError, match=r"pip install 'pubsubkit\[cloudevents\]'"):
            call()
