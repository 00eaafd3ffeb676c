"""Payloads as what a handler's parameter is annotated with.

Pydantic and msgspec are never needed here: they are used when an annotation is theirs, and pydantic also for types that
need its validation.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, MutableMapping, MutableSequence, Sequence
from inspect import Parameter
from typing import TYPE_CHECKING, Any, NoReturn, get_args, get_origin

from pubsubkit.cloudevents import from_message
from pubsubkit.errors import ConfigurationError, DecodeError
from pubsubkit.message import Message

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pydantic import ValidationError

__all__ = ["Decoder", "decoder"]

Decoder = Callable[[Message], object]
"""Returns what a message holds, or raises :class:`DecodeError`."""

_WHOLE: tuple[object, ...] = (Parameter.empty, Any, object, Message)
_ANYTHING: tuple[object, ...] = (Any, object)
_KEYS = ((), (str,))
_JSON_TYPES: dict[object, type] = {
    dict: dict,
    Mapping: dict,
    MutableMapping: dict,
    list: list,
    Sequence: list,
    MutableSequence: list,
}
_quoted = re.compile("'.*'")
_TELLING = frozenset({"union_tag_invalid", "value_error", "assertion_error"})
"""Faults in whose texts pydantic, or a validator of the application, may show values."""
_unknown = re.compile("unknown field `.*`")
_POSSIBLE = (
    "a handler can take Message, bytes, str, dict and list (JSON), CloudEvent, msgspec Structs, pydantic models and "
    "what else pydantic validates, such as dataclasses, TypedDicts and list[int]"
)


def decoder(annotation: object) -> Decoder:
    """Return the function that makes a value of *annotation* of a message.

    No annotation, ``Any``, ``object`` and :class:`Message` stand for the message itself, ``bytes`` for its payload,
    ``str`` for that as UTF-8, ``dict``, ``list`` and alike (``dict[str, Any]``, ``Mapping``) for JSON of this kind, a
    ``CloudEvent`` for the event in either mode.  A ``msgspec.Struct``, or what has one in it (``list[Order]``,
    ``Created | Cancelled``), is decoded by msgspec from JSON; any other type by pydantic's ``TypeAdapter`` from JSON.

    The function raises :class:`DecodeError` for a message that holds no such value, with a text that does not show the
    payload, and lets through what code of the model raises and its library does not take for a validation error.

    :param annotation: a type.  An annotation that is a text, as ``from __future__ import annotations`` makes them, is
        for the caller to resolve by :func:`typing.get_type_hints`.
    :raises ConfigurationError: no value of this type can be made of a message, or pydantic, which it needs, is not
        installed.
    """
    annotation = getattr(annotation, "__value__", annotation)  # of a "type" statement
    if annotation in _WHOLE:
        return _message
    if annotation is bytes:
        return _payload
    if annotation is str:
        return _text
    kind = _json_type(annotation)
    if kind is not None:
        return _json(kind)
    if _is(annotation, "cloudevents.core.v1.event", "CloudEvent"):
        return from_message
    if any(_is(base, "msgspec", "Struct") for part in _parts(annotation) for base in getattr(part, "__mro__", ())):
        return _msgspec(annotation)
    return _pydantic(annotation)


def _message(message: Message) -> Message:
    return message


def _payload(message: Message) -> bytes:
    return message.data


def _text(message: Message) -> str:
    try:
        return message.data.decode()
    except UnicodeDecodeError as error:
        raise DecodeError(f"the payload is no UTF-8: {error.reason} at byte {error.start}") from error


def _json_type(annotation: object) -> type | None:
    """Return the kind of JSON that needs no look inside; None for any other annotation."""
    origin, arguments = get_origin(annotation) or annotation, get_args(annotation)
    if not isinstance(origin, type) or (arguments and arguments[-1] not in _ANYTHING) or arguments[:-1] not in _KEYS:
        return None
    return _JSON_TYPES.get(origin)


def _json(kind: type) -> Decoder:
    name = "object" if kind is dict else "array"

    def decode(message: Message) -> object:
        try:
            value = json.loads(message.data.decode(), parse_constant=_refuse)
        except (ValueError, RecursionError) as error:
            raise DecodeError(f"the payload is no JSON: {error}") from error
        if not isinstance(value, kind):
            raise DecodeError(f"the payload is no JSON {name}")
        return value

    return decode


def _refuse(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")


def _is(annotation: object, module: str, name: str) -> bool:
    return (getattr(annotation, "__module__", ""), getattr(annotation, "__qualname__", "")) == (module, name)


def _parts(annotation: object) -> Iterator[object]:
    """All types that an annotation is made of."""
    yield get_origin(annotation) or annotation
    for argument in get_args(annotation):
        yield from _parts(argument)


def _msgspec(annotation: object) -> Decoder:
    import msgspec

    try:
        decode_json = msgspec.json.Decoder(annotation).decode
    except (TypeError, NameError) as error:
        raise _impossible(annotation, error) from error

    def decode(message: Message) -> object:
        try:
            return decode_json(message.data)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise DecodeError(f"the payload is no {_name(annotation)}: {_without_values(str(error))}") from error

    return decode


def _without_values(text: str) -> str:
    """What msgspec found, without what it quotes of the payload."""
    found, at, place = text.rpartition(" - at ")
    found = _quoted.sub("'…'", found if at else text)
    return _unknown.sub("unknown field", found) + at + (place if at else "")


def _pydantic(annotation: Any) -> Decoder:
    if isinstance(annotation, str):
        raise ConfigurationError(f"the annotation {annotation!r} is a text: resolve it with typing.get_type_hints")
    try:
        from pydantic import PydanticUndefinedAnnotation, PydanticUserError, TypeAdapter, ValidationError
    except ImportError as error:
        raise ConfigurationError(
            f"cannot make {_name(annotation)} of a message without pydantic: pip install 'pubsubkit[pydantic]'; "
            f"{_POSSIBLE}"
        ) from error
    try:
        adapter = TypeAdapter[object](annotation)
        adapter.rebuild()  # else a name that is missing shows only when the first message comes
        fields = frozenset(_properties(adapter.json_schema()))
    except (PydanticUserError, PydanticUndefinedAnnotation, TypeError) as error:
        raise _impossible(annotation, error) from error

    def decode(message: Message) -> object:
        try:
            return adapter.validate_json(message.data)
        except ValidationError as error:
            raise DecodeError(f"the payload is no {_name(annotation)}: {_faults(error, fields)}") from error

    return decode


def _properties(schema: Any) -> Iterator[str]:
    """The names of all fields in a JSON schema."""
    if isinstance(schema, dict):
        parts: dict[str, Any] = schema  # pyright: ignore[reportUnknownVariableType]
        yield from parts.get("properties", {})
        schema = list(parts.values())
    if isinstance(schema, list):
        each: list[Any] = schema  # pyright: ignore[reportUnknownVariableType]
        for part in each:
            yield from _properties(part)


def _faults(error: ValidationError, fields: frozenset[str]) -> str:
    """What pydantic found and where, without anything of the payload: of its names only those of *fields*."""
    found: list[str] = []
    for fault in error.errors(include_url=False, include_context=False, include_input=False):
        place = ".".join(str(part) if isinstance(part, int) or part in fields else "…" for part in fault["loc"])
        what = fault["type"] if fault["type"] in _TELLING else fault["msg"]
        found.append(f"{place}: {what}" if place else what)
    return "; ".join(found)


def _impossible(annotation: object, error: Exception) -> ConfigurationError:
    reason = str(error).partition("\n")[0]
    return ConfigurationError(f"cannot make {_name(annotation)} of a message ({reason}); {_POSSIBLE}")


def _name(annotation: object) -> str:
    return annotation.__qualname__ if isinstance(annotation, type) and not get_args(annotation) else str(annotation)
