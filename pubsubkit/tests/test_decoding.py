"""Payloads as the type that a handler's parameter has."""

import inspect
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Annotated, Any, Dict, Generic, List, Literal, TypeVar  # noqa: UP035 - they are in use

import msgspec
import pydantic
import pytest
from cloudevents.core.v1.event import CloudEvent
from typing_extensions import TypeAliasType, TypedDict  # those of Python 3.12, as pydantic needs them

from pubsubkit import ConfigurationError, DecodeError, MalformedEventError, Message
from pubsubkit.cloudevents import to_message
from pubsubkit.decoding import decoder

T = TypeVar("T")


class Order(pydantic.BaseModel):
    id: int
    tags: list[str] = []


class Created(msgspec.Struct, tag=True):
    id: int


class Cancelled(msgspec.Struct, tag=True):
    reason: str


class Box(msgspec.Struct, Generic[T]):
    content: T


@dataclass
class Point:
    x: int


class Row(TypedDict):
    name: str


Alias = TypeAliasType("Alias", Created | Cancelled)  # as "type Alias = ..." of Python 3.12


def message(data: bytes, headers: Mapping[str, str] | None = None) -> Message:
    delivery = SimpleNamespace(subject="s.x", data=data, headers=headers or {})
    return Message(delivery, None)  # type: ignore[arg-type]


@pytest.mark.parametrize("annotation", [inspect.Parameter.empty, Any, object, Message])
def test_the_message_itself(annotation: object):
    """A parameter without a narrower type gets the message, whatever is in it."""
    given = message(b"\xff")
    assert decoder(annotation)(given) is given


@pytest.mark.parametrize(
    ("annotation", "data", "value"),
    [
        (bytes, b"\xff\x00", b"\xff\x00"),
        (str, "Grüße 😀".encode(), "Grüße 😀"),
        (str, b"", ""),
        (dict, b'{"a": [1]}', {"a": [1]}),
        (dict[str, Any], b"{}", {}),
        (Dict[str, Any], b'{"a": 1}', {"a": 1}),  # noqa: UP006
        (Mapping[str, object], b'{"a": 1}', {"a": 1}),
        (list, b"[1, null]", [1, None]),
        (List[Any], b"[]", []),  # noqa: UP006
        (Sequence[Any], b"[]", []),
        (Order, b'{"id": 1}', Order(id=1)),
        (Order | None, b"null", None),
        (list[Order], b'[{"id": 1}]', [Order(id=1)]),
        (Created, b'{"type": "Created", "id": 1}', Created(1)),
        (Created | Cancelled, b'{"type": "Cancelled", "reason": "x"}', Cancelled("x")),
        (Alias, b'{"type": "Cancelled", "reason": "x"}', Cancelled("x")),
        (list[Created], b'[{"type": "Created", "id": 1}]', [Created(1)]),
        (Box[int], b'{"content": 1}', Box(1)),
        (Point, b'{"x": 1}', Point(1)),
        (Row, b'{"name": "n"}', {"name": "n"}),
        (dict[int, str], b'{"1": "a"}', {1: "a"}),
        (list[int], b"[1, 2]", [1, 2]),
        (int, b"5", 5),
        (datetime, b'"2026-01-01T00:00:00Z"', datetime(2026, 1, 1, tzinfo=UTC)),
        (Annotated[Order, "note"], b'{"id": 1}', Order(id=1)),
    ],
)
def test_values(annotation: Any, data: bytes, value: object):
    """The payload becomes a value of the type."""
    found = decoder(annotation)(message(data))
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize("mode", ["binary", "structured"])
def test_events(mode: Literal["binary", "structured"]):
    """A CloudEvent is read in either mode."""
    sent = to_message(CloudEvent({"type": "t", "source": "/s", "id": "1"}, b"\xff"), mode=mode)
    event: Any = decoder(CloudEvent)(message(sent.data, sent.headers))
    assert (event.get_id(), event.get_data()) == ("1", b"\xff")


class Strict(msgspec.Struct, forbid_unknown_fields=True):
    """Takes nothing else."""


SECRET = b"hunter2"


@pytest.mark.parametrize(
    ("annotation", "data", "text"),
    [
        (str, SECRET + b"\xff", r"no UTF-8: invalid start byte at byte 7"),
        (dict, SECRET, "no JSON: Expecting value"),
        (dict, b"", "no JSON"),
        (dict, b"\xff\xfe{\x00}\x00", "no JSON"),
        (dict, b'{"a": NaN}', "NaN is no JSON"),
        (dict, b"[" * 100_000, "no JSON"),
        (dict, b'["hunter2"]', "no JSON object"),
        (list[Any], b'"hunter2"', "no JSON array"),
        (Order, b'{"id": "hunter2", "tags": [1]}', r"no Order: id: Input .* integer.*; tags\.0: Input .* string"),
        (Order, SECRET, "no Order: Invalid JSON"),
        (Order, b"\xff", "no Order: Invalid JSON"),
        (list[int], b'["hunter2"]', r"no list\[int\]: 0: Input should be a valid integer"),
        (Created, b'{"type": "Created", "id": "hunter2"}', r"no Created: Expected `int`, got `str` - at `\$\.id`"),
        (Created, SECRET, "no Created: JSON is malformed"),
        (Created, b'{"type": "\xff"}', "no Created: "),
        (Box[Any], b'{"content": ' + b"[" * 100_000, "no .*Box"),
        (CloudEvent, SECRET, "no CloudEvent"),
        (dict[str, int], b'{"hunter2": "x"}', "…: Input should be a valid integer"),
        (Created, b'{"type": "hunter2", "id": 1}', "Invalid value '…'"),
        (Strict, b'{"hunter2": 1}', "unknown field"),
    ],
)
def test_undecodable(annotation: Any, data: bytes, text: str):
    """What the message does not hold is one error that says what is wrong and does not show the payload."""
    with pytest.raises(DecodeError, match=text) as caught:
        decoder(annotation)(message(data))
    assert "hunter2" not in str(caught.value)
    assert isinstance(caught.value, ValueError)


def test_malformed_events_are_undecodable():
    """Who handles DecodeError handles malformed events as well."""
    assert issubclass(MalformedEventError, DecodeError)


class Plain:
    pass


class Unfinished(pydantic.BaseModel):
    later: "Missing"  # type: ignore[name-defined] # noqa: F821


class Unready(msgspec.Struct):
    later: "Missing"  # type: ignore[name-defined] # noqa: F821


@pytest.mark.parametrize(
    ("annotation", "text"),
    [
        (Plain, "cannot make Plain of a message .*a handler can take Message, bytes"),
        (Message | None, "cannot make .*Message"),
        (Unfinished, "cannot make Unfinished"),
        (Unready, "cannot make Unready .*Missing"),
        (Created | Order, "cannot make .*Created"),
        (5, "cannot make 5"),
        ("Order", "'Order' is a text: resolve it with typing.get_type_hints"),
    ],
)
def test_impossible(annotation: Any, text: str):
    """A type that no message can become is refused before there is a message."""
    with pytest.raises(ConfigurationError, match=text):
        decoder(annotation)


def test_without_pydantic(monkeypatch: pytest.MonkeyPatch):
    """Only what needs pydantic fails without it, and says how to install it."""
    monkeypatch.setitem(sys.modules, "pydantic", None)
    assert decoder(dict[str, Any])(message(b"{}")) == {}
    assert decoder(Created)(message(b'{"type": "Created", "id": 1}')) == Created(1)
    for annotation in (Point, list[int]):
        with pytest.raises(ConfigurationError, match=r"without pydantic: pip install 'pubsubkit\[pydantic\]'"):
            decoder(annotation)


def test_plain_types_import_nothing(monkeypatch: pytest.MonkeyPatch):
    """Types of the standard library and events need neither pydantic nor msgspec."""
    for name in ("pydantic", "msgspec"):
        monkeypatch.setitem(sys.modules, name, None)
    for annotation in (Message, bytes, str, dict, list[Any], CloudEvent):
        decoder(annotation)
