"""CloudEvents 1.0 as messages, and back: the NATS protocol binding, on every backend that carries headers.

::

    event = CloudEvent({"type": "orders.created", "source": "/shop"}, b"...")  # of cloudevents.core.v1.event
    await publisher.publish_event(event, deduplicate=True)
    await publisher.publish_many(to_message(event) for event in events)
    ...
    event = message.event()

The event is the SDK's, installed by ``pip install 'pubsubkit[cloudevents]'`` and imported with the first call; without
it all of these raise :class:`ConfigurationError`.

Binary mode puts every attribute into a header ``ce-<name>`` and sends the data as they are; it is defined by the
binding's draft 1.0.3 only.  Structured mode is one JSON document, which a reader of the released binding 1.0.2
understands as well.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol

from pubsubkit.attributes import decode, encode, incoming, outgoing, text
from pubsubkit.driver import OutgoingMessage
from pubsubkit.envelope import JSON, data_bytes, is_json, read
from pubsubkit.errors import ConfigurationError, InvalidArgumentError, MalformedEventError
from pubsubkit.subjects import check_subject

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cloudevents.core.exceptions import CloudEventValidationError
    from cloudevents.core.formats.json import JSONFormat
    from cloudevents.core.v1.event import CloudEvent

__all__ = ["Carrier", "Mode", "from_message", "to_message"]

Mode = Literal["binary", "structured"]
"""How an event is put into a message: attributes as headers and data as payload, or all of it as one JSON document."""

_PREFIX = "ce-"
_CONTENT_TYPE = "content-type"
_MEDIA_TYPE = "application/cloudevents"
_BYTES = bytes | bytearray | memoryview


class Carrier(Protocol):
    """What an event is read from: a :class:`~pubsubkit.Message`, an :class:`~pubsubkit.OutgoingMessage`, or alike."""

    @property
    def data(self) -> bytes:
        """The payload."""
        ...

    @property
    def headers(self) -> Mapping[str, str] | None:
        """The headers; None is the same as none."""
        ...


class _Sdk(NamedTuple):
    event: type[CloudEvent]
    format: JSONFormat
    invalid: type[CloudEventValidationError]


def to_message(
    event: CloudEvent, *, subject: str | None = None, mode: Mode = "binary", deduplicate: bool = False
) -> OutgoingMessage:
    """Return the message that carries *event*, for :meth:`Publisher.publish_many`.

    Data that are bytes are sent byte for byte (structured: as ``data_base64``), a text in the charset of
    ``datacontenttype`` or else UTF-8, any other value as JSON; the last sets a missing ``datacontenttype`` to
    ``application/json``.  An attribute that is None is left out.

    :param subject: where to publish it; None for the event's ``type``.  The event's own ``subject`` is another thing.
    :param mode: ``"structured"`` for readers that know only the released binding 1.0.2.
    :param deduplicate: make a message id of ``source`` and ``id``, which together identify an event: publishing it
        twice within the stream's duplicate window stores it once.
    :raises InvalidArgumentError: it is no CloudEvent 1.0, its attributes or data cannot be sent, or its type is taken
        for the subject and is none.
    :raises ConfigurationError: the SDK is not installed.
    """
    sdk = _sdk()
    if not isinstance(event, sdk.event):
        raise InvalidArgumentError(f"expected a cloudevents.core.v1.event.CloudEvent, got {type(event).__qualname__}")
    if mode not in {"binary", "structured"}:
        raise InvalidArgumentError(f"mode={mode!r}: expected 'binary' or 'structured'")
    try:
        checked, body = _checked(sdk, event)
        headers, payload = _binary(checked, body) if mode == "binary" else _structured(sdk, checked, body)
    except (ValueError, TypeError, OverflowError, RecursionError, sdk.invalid) as error:
        raise InvalidArgumentError(f"the event cannot be sent: {error}") from error
    # No encoded part has a space, so that two pairs never give the same id.
    unique = f"{encode(checked.get_source())} {encode(checked.get_id())}" if deduplicate else None
    return OutgoingMessage(_subject(checked) if subject is None else subject, payload, headers, unique)


def from_message(message: Carrier) -> CloudEvent:
    """Return the event that a message carries.

    It is in structured mode when its ``Content-Type`` says so, or when it has no header ``ce-*`` (binding 1.0.2), else
    in binary mode; case matters in no header's name.  The result does not depend on the mode: data are bytes as they
    were sent, never decoded (None when a structured event has none), and extensions are text.

    :raises MalformedEventError: the message is no valid CloudEvent 1.0.
    :raises ConfigurationError: the SDK is not installed.
    """
    sdk = _sdk()
    try:
        attributes, data = _read(message)
        return _event(sdk, incoming(attributes), data)
    except (ValueError, RecursionError, sdk.invalid) as error:
        raise MalformedEventError(f"the message is no CloudEvent: {error}") from error


@cache
def _sdk() -> _Sdk:
    try:
        from cloudevents.core.exceptions import CloudEventValidationError
        from cloudevents.core.formats.json import JSONFormat
        from cloudevents.core.v1.event import CloudEvent
    except ImportError as error:
        raise ConfigurationError(
            "CloudEvents need the package cloudevents, 2.2 or later: pip install 'pubsubkit[cloudevents]'"
        ) from error
    return _Sdk(CloudEvent, JSONFormat(), CloudEventValidationError)


def _subject(event: CloudEvent) -> str:
    try:
        return check_subject(event.get_type())
    except InvalidArgumentError as error:
        raise InvalidArgumentError(f"{error}; it is the event's type: pass subject= for such an event") from None


def _event(sdk: _Sdk, attributes: Mapping[str, object], data: Any) -> CloudEvent:
    """Make an event of exactly these attributes: the SDK would add the time of now to one without a time."""
    event = sdk.event(dict(attributes), data)
    if "time" not in attributes:
        del event.get_attributes()["time"]
    return event


def _checked(sdk: _Sdk, event: CloudEvent) -> tuple[CloudEvent, bytes]:
    """Return a copy that is valid also when the original was changed since it was made, and its data as bytes."""
    attributes, data = outgoing(event.get_attributes()), event.get_data()
    if not isinstance(data, _BYTES | str | None):
        attributes.setdefault("datacontenttype", JSON)
    checked = _event(sdk, attributes, data)
    return checked, data_bytes(data, checked.get_datacontenttype())


def _binary(event: CloudEvent, body: bytes) -> tuple[dict[str, str], bytes]:
    return {_PREFIX + name: encode(text(value)) for name, value in event.get_attributes().items()}, body


def _structured(sdk: _Sdk, event: CloudEvent, body: bytes) -> tuple[dict[str, str], bytes]:
    if not _can_be_inline(sdk, event):
        event = _event(sdk, event.get_attributes(), body)
    return {_CONTENT_TYPE: sdk.format.get_content_type()}, sdk.format.write(event)


def _can_be_inline(sdk: _Sdk, event: CloudEvent) -> bool:
    """Whether the SDK writes these data as a readable member from which a reader gets the same bytes."""
    data, content_type = event.get_data(), event.get_datacontenttype() or ""
    if isinstance(data, str):
        return bool(content_type) and not is_json(content_type)
    return data is None or (
        not isinstance(data, _BYTES) and bool(sdk.format.JSON_CONTENT_TYPE_PATTERN.match(content_type))
    )


def _read(message: Carrier) -> tuple[dict[str, Any], bytes | None]:
    fields = _fields(message.headers or {})
    media_type = fields.pop(_CONTENT_TYPE, "").partition(";")[0].strip().lower()
    structured = media_type.startswith(_MEDIA_TYPE)
    if structured and media_type not in {_MEDIA_TYPE, f"{_MEDIA_TYPE}+json"}:
        raise ValueError(f"content type {media_type!r}: over messages there is only {_MEDIA_TYPE}+json")
    if structured or not fields:
        return read(message.data)
    return {name.removeprefix(_PREFIX): decode(value) for name, value in fields.items()}, message.data


def _fields(headers: Mapping[str, str]) -> dict[str, str]:
    """Return the headers that matter, their names in lower case."""
    found: dict[str, str] = {}
    for name, value in headers.items():
        lower = name.lower()
        if lower == _CONTENT_TYPE or lower.startswith(_PREFIX):
            if lower in found:
                raise ValueError(f"there is more than one header {lower!r}")
            found[lower] = value
    return found
