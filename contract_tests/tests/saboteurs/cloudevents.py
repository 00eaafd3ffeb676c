"""Broken ways to carry CloudEvents."""

import json
from datetime import UTC, datetime

from pubsubkit import attributes, cloudevents, envelope
from saboteurs.saboteur import breaks


@breaks(cloudevents, "_binary", "ce.binary")
def decodes_binary_data(original, event, body):
    """Binary data are taken for text."""
    headers, payload = original(event, body)
    return headers, payload.decode("utf-8", "replace").encode()


@breaks(attributes, "_whole_minutes", "ce.binary", "ce.structured")
def rounds_the_time(original, moment):
    """The time of an event has no fraction of a second."""
    return original(moment).replace(microsecond=0)


@breaks(cloudevents, "_binary", "ce.binary")
def drops_empty_attributes(original, event, body):
    """In binary mode an attribute with an empty value is left out."""
    headers, payload = original(event, body)
    return {name: value for name, value in headers.items() if value}, payload


@breaks(cloudevents, "_event", "ce.binary", "ce.structured")
def adds_the_time_of_now(original, sdk, given, data):
    """An event without a time gets one."""
    return sdk.event(dict(given), data)


@breaks(cloudevents, "_structured", "ce.structured")
def sends_binary_data_as_text(original, sdk, event, body):
    """In structured mode binary data are put into JSON as text."""
    headers, payload = original(sdk, event, body)
    document = json.loads(payload)
    if document.get("datacontenttype", "").endswith("octet-stream"):
        document.pop("data_base64", None)
        document["data"] = body.decode("latin-1")
    return headers, json.dumps(document).encode()


@breaks(envelope, "_data", "ce.foreign")
def parses_json_data(original, member, content_type):
    """JSON data within an envelope are parsed and written again."""
    found = original(member, content_type)
    return json.dumps(member.value).encode() if envelope.is_json(content_type) else found


@breaks(envelope, "_encoded", "ce.structured")
def has_one_charset(original, content, content_type):
    """Text within an envelope is taken for Latin-1."""
    return content.encode("latin-1", "replace")


@breaks(cloudevents, "text", "ce.types")
def writes_python(original, value):
    """In binary mode a boolean is written as Python writes it."""
    return str(value) if isinstance(value, bool) else original(value)


@breaks(cloudevents, "incoming", "ce.types")
def guesses_types(original, given):
    """Extensions that look like numbers become numbers."""
    found = original(given)
    numbers = {name: int(value) for name, value in found.items() if name == "number"}
    return {**found, **numbers}


@breaks(cloudevents, "_binary", "ce.wire_binary")
def has_a_prefix_of_its_own(original, event, body):
    """The headers have another prefix, which the reader takes as well."""
    headers, payload = original(event, body)
    return {name.replace("ce-", "CE-"): value for name, value in headers.items()}, payload


@breaks(cloudevents, "encode", "ce.wire_binary")
def encodes_all_that_it_can(original, plain):
    """Signs that need no encoding are encoded too."""
    return original(plain).replace("/", "%2F")


@breaks(cloudevents, "_structured", "ce.wire_structured")
def sends_structured_events_in_another_type(original, sdk, event, body):
    """The content type of structured mode is that of its data."""
    headers, payload = original(sdk, event, body)
    return dict.fromkeys(headers, "application/json"), payload


@breaks(cloudevents, "_can_be_inline", "ce.wire_structured")
def sends_all_data_in_base64(original, sdk, event):
    """In structured mode JSON data are sent in base64."""
    return False


@breaks(cloudevents, "_fields", "ce.foreign")
def knows_one_case_only(original, headers):
    """Headers are recognised in lower case only."""
    return original({name: value for name, value in headers.items() if name == name.lower() or name == "CE-Id"})


@breaks(cloudevents, "decode", "ce.foreign")
def keeps_quotes(original, value):
    """A value in quotes keeps them."""
    return original(value.replace('"', "%22"))


@breaks(cloudevents, "_fields", "ce.foreign")
def takes_all_headers_for_attributes(original, headers):
    """A header of somebody else becomes an attribute."""
    found = original(headers)
    others = {name: value for name, value in headers.items() if name == "traceparent"}
    return {**found, **{f"ce-{name}": value for name, value in others.items()}} if found else found


@breaks(cloudevents, "_read", "ce.foreign")
def needs_a_content_type(original, message):
    """JSON without a content type is taken for an event in binary mode."""
    if not message.headers and message.data.startswith(b"{"):
        raise ValueError("no headers")
    return original(message)


@breaks(cloudevents, "encode", "ce.id_dedup")
def joins_source_and_id_carelessly(original, plain):
    """Two pairs of source and id may give the same message id."""
    return (
        original(plain).replace("%2520", "%20").replace("%20", " ") if plain in ("b c", "/a%20b") else original(plain)
    )


@breaks(cloudevents, "to_message", "ce.id_dedup")
def never_sets_an_id(original, event, **options):
    """deduplicate=True has no effect."""
    return original(event, **options)._replace(message_id=None)


@breaks(cloudevents, "_read", "ce.malformed")
def takes_anything_for_an_event(original, message):
    """A message that is no event becomes an empty one."""
    try:
        return original(message)
    except ValueError:
        return {"specversion": "1.0", "id": "1", "source": "/", "type": "t"}, message.data


@breaks(cloudevents, "incoming", "ce.malformed")
def fills_in_what_is_missing(original, given):
    """A missing id is made up."""
    return original({"id": "made up", **given})


@breaks(attributes, "_time", "ce.malformed")
def takes_the_present_for_a_bad_time(original, value):
    """A time that cannot be read is that of now."""
    try:
        return original(value)
    except ValueError:
        return datetime.now(UTC)


@breaks(cloudevents, "incoming", "ce.malformed")
def raises_its_own_errors(original, given):
    """What is wrong with an event raises an error of the program."""
    if "id" not in given:
        raise KeyError("id")
    return original(given)


@breaks(cloudevents, "outgoing", "ce.refused")
def sends_events_unchecked(original, given):
    """An event that was changed since it was made is not checked."""
    return {name: value for name, value in given.items() if value is not None}


@breaks(attributes, "_whole_minutes", "ce.refused")
def takes_any_time_for_utc(original, moment):
    """A time without a zone is taken for UTC."""
    return original(moment if moment.tzinfo else moment.replace(tzinfo=UTC))
