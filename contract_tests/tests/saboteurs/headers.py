"""Broken ways to carry headers."""

from collections.abc import Mapping
from dataclasses import dataclass

from pubsubkit import publisher as portable_publisher
from pubsubkit.driver import Capability
from pubsubkit.publisher import Publisher
from pubsubkit_memory.delivery import MemoryDelivery
from pubsubkit_memory.driver import MemoryDriver
from saboteurs.saboteur import breaks


@dataclass
class _Last:
    headers: Mapping[str, str] | None = None


_last = _Last()


def _resent(original, self, messages, timeout, change):
    return original(self, [change(message) for message in messages], timeout)


@breaks(MemoryDriver, "send", "hdr.roundtrip", "hdr.own", "hdr.empty_payload", "hdr.redelivered")
async def drops_headers(original, self, messages, timeout):
    """Headers are not stored."""
    return await _resent(original, self, messages, timeout, lambda each: each._replace(headers=None))


@breaks(MemoryDelivery, "headers", "hdr.roundtrip")
def folds_header_names(original, self):
    """Header names arrive in their canonical form, as HTTP has it."""
    names = {"case": "Case", "CASE": "Case", "traceparent": "Traceparent"}
    return {names.get(name, name): value for name, value in original(self).items()}


@breaks(MemoryDelivery, "headers", "hdr.roundtrip")
def drops_empty_header_values(original, self):
    """A header with an empty value is left out, when it is not alone."""
    found = original(self)
    return {name: value for name, value in found.items() if value or len(found) < 3}


@breaks(MemoryDelivery, "headers", "hdr.roundtrip")
def keeps_only_64_headers(original, self):
    """Of more than 64 headers the last ones are lost."""
    return dict(list(original(self).items())[:64])


@breaks(MemoryDriver, "send", "hdr.own")
async def keeps_headers_of_the_message_before(original, self, messages, timeout):
    """A message without headers gets those of the one before it."""

    def change(message):
        _last.headers = message.headers or (_last.headers if message.data == b"x" else None)
        return message._replace(headers=_last.headers)

    return await _resent(original, self, messages, timeout, change)


@breaks(MemoryDriver, "send", "hdr.empty_payload")
async def empties_have_no_headers(original, self, messages, timeout):
    """The only header of an empty message is lost."""

    def change(message):
        return message if message.data or len(message.headers or ()) != 1 else message._replace(headers=None)

    return await _resent(original, self, messages, timeout, change)


@breaks(portable_publisher, "check_headers", "hdr.exact_or_refused")
def trims_header_values(original, headers):
    """Blanks at the ends of a value are cut off instead of refused."""
    trimmed = {name: value.strip() if isinstance(value, str) else value for name, value in dict(headers).items()}
    return original(trimmed if isinstance(headers, Mapping) else headers)


@breaks(portable_publisher, "check_headers", "hdr.exact_or_refused")
def folds_line_breaks(original, headers):
    """Line breaks in a value become blanks."""
    if not isinstance(headers, Mapping):
        return original(headers)
    folded = {name: " ".join(v.split("\n")) if isinstance(v, str) else v for name, v in headers.items()}
    return original({name: v.replace("\r", "") if isinstance(v, str) else v for name, v in folded.items()})


@breaks(portable_publisher, "check_headers", "hdr.types", "hdr.exact_or_refused")
def converts_header_values(original, headers):
    """Values of other types are converted to text."""
    return original({name: str(value) for name, value in dict(headers).items()})


@breaks(portable_publisher, "check_headers", "hdr.types")
def takes_pairs_as_headers(original, headers):
    """A list of pairs is taken for a mapping."""
    return original(dict(headers) if isinstance(headers, list) else headers)


@breaks(portable_publisher, "check_headers", "hdr.reserved")
def lets_reserved_headers_through(original, headers):
    """The broker's own headers can be set by anybody."""
    if not isinstance(headers, Mapping):
        return original(headers)
    mine = {name: value for name, value in headers.items() if not str(name).lower().startswith("nats-")}
    return {**original(mine), **headers}


@breaks(portable_publisher, "check_headers", "hdr.reserved")
def reserves_one_spelling(original, headers):
    """Reserved names are recognised in one spelling only."""
    if not isinstance(headers, Mapping):
        return original(headers)
    forged = {name: value for name, value in headers.items() if name == "nats-msg-id"}
    return {**original({name: value for name, value in headers.items() if name not in forged}), **forged}


@breaks(MemoryDelivery, "headers", "hdr.none_added")
def leaks_the_message_id(original, self):
    """The message id shows among the headers of a message that has no others."""
    unique = self.message.message_id
    return original(self) or ({"Message-Id": unique} if unique else {})


@breaks(MemoryDelivery, "headers", "hdr.none_added")
def adds_a_redelivery_header(original, self):
    """A redelivery without headers of its own is marked by one."""
    return original(self) or ({"Redelivered": "true"} if self.num_delivered > 1 else {})


@breaks(MemoryDelivery, "headers", "hdr.redelivered")
def redelivers_without_headers(original, self):
    """The third delivery of a message has no headers."""
    return original(self) if self.num_delivered < 3 else {}


@breaks(Publisher, "_headers", "hdr.unsupported", withheld={Capability.HEADERS})
def drops_headers_that_are_not_supported(original, self, subject, headers):
    """Where the backend has no headers they are dropped silently."""
    known = Capability.HEADERS in self._connection.driver.capabilities
    return original(self, subject, headers) if known else None
