"""Frozen dataclasses from parsed JSON, checked against their annotations."""

from __future__ import annotations

import math
from dataclasses import fields, is_dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, TypeVar, cast, get_args, get_origin, get_type_hints

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["decode"]

T = TypeVar("T")

NAMES: Mapping[type[Any], str] = {
    dict: "an object",
    list: "a list",
    str: "text",
    int: "a whole number",
    float: "a number",
}


def decode(kind: type[T], value: object, place: str = "") -> T:
    """A *kind* from *value*; *place* is where it stands in the whole.

    A *kind* is ``str``, ``int``, ``float``, a ``StrEnum``, or a dataclass or a ``tuple[kind, ...]`` of these.
    Names that the dataclass does not have are ignored.  Raises ``ValueError``, which tells the place.
    """
    if is_dataclass(kind):
        return cast("T", _dataclass(kind, value, place))
    if get_origin(kind) is tuple:
        items = cast("Sequence[object]", _checked(list, value, place))
        return cast("T", tuple(decode(get_args(kind)[0], item, f"{place}[{at}]") for at, item in enumerate(items)))
    if issubclass(kind, StrEnum):
        return _member(kind, _checked(str, value, place), place)
    if kind is float and type(value) is int:
        return cast("T", float(value))
    return cast("T", _checked(kind, value, place))


def _dataclass(kind: type[Any], value: object, place: str) -> object:
    found = cast("Mapping[str, object]", _checked(dict, value, place))
    hints = get_type_hints(kind)
    decoded: dict[str, object] = {}
    for field in fields(kind):
        inner = f"{place}.{field.name}".lstrip(".")
        if field.name not in found:
            raise ValueError(f"{inner} is missing")
        decoded[field.name] = decode(hints[field.name], found[field.name], inner)
    return kind(**decoded)


def _checked(kind: type[Any], value: object, place: str) -> Any:
    if type(value) is not kind or (isinstance(value, float) and not math.isfinite(value)):
        raise ValueError(f"{place or 'it'} is not {NAMES[kind]}")
    return value


def _member(kind: type[T], value: str, place: str) -> T:
    try:
        return kind(value)  # type: ignore[call-arg]
    except ValueError:
        known = ", ".join(cast("Sequence[str]", list(cast("Any", kind))))
        raise ValueError(f"{place} is {value!r}, not one of {known}") from None
