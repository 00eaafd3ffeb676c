"""What the semantic conventions say of an operation, in names of few values."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from pubsubkit.labels import Templates, group_name, type_name

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    Attributes = Mapping[str, str | int]

__all__ = ["ERROR_TYPE", "Operation", "Operations"]

ERROR_TYPE = "error.type"
_TYPES = {"publish": "send", "receive": "receive", "process": "process"}


class Operation(NamedTuple):
    """One kind of operation on one kind of destination."""

    span_name: str
    attributes: Attributes
    """Of metrics."""
    span_attributes: Attributes
    """Of spans, which have some more."""

    def ended(self, error: BaseException | None) -> Attributes:
        """The attributes of one that has ended, with *error* when it failed."""
        return {**self.attributes, ERROR_TYPE: type_name(error)} if error is not None else self.attributes


class Operations:
    """The operations that occurred, each described once.

    :param templates: patterns that stand for the subjects which they select; the stream's name stands for the others.
    """

    def __init__(self, templates: Iterable[str]) -> None:
        self._templates = Templates(templates)
        self._known: dict[tuple[str, ...], Operation] = {}

    def of(self, name: str, address: str, stream: str, subject: str, consumer: str = "") -> Operation:
        """The operation *name*: ``publish``, ``receive``, ``process`` or a verdict."""
        template, durable = self._templates.of(subject) or stream, group_name(consumer)
        key = (name, address, stream, template, durable)
        found = self._known.get(key)
        if found is None:
            found = self._known[key] = _describe(*key)
        return found


def _describe(name: str, address: str, stream: str, template: str, durable: str) -> Operation:
    scheme, _, place = address.partition("://")
    system = scheme.partition("+")[0]
    attributes: dict[str, str | int] = {
        "messaging.system": system,
        "messaging.operation.name": name,
        "messaging.destination.template": template,
    }
    host, _, port = place.rpartition(":")
    if host and port.isdecimal() and "," not in host:
        attributes |= {"server.address": host.strip("[]"), "server.port": int(port)}
    more = {"messaging.operation.type": _TYPES.get(name, "settle"), f"messaging.{system}.stream": stream}
    if durable:
        attributes["messaging.consumer.group.name"] = durable
        more["messaging.destination.subscription.name"] = durable
    return Operation(f"{name} {template}", attributes, {**attributes, **more})
