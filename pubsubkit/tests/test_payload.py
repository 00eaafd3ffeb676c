"""What a message may carry."""

import pytest

from pubsubkit import InvalidArgumentError
from pubsubkit.payload import check_data, check_headers, check_message_id, check_size


@pytest.mark.parametrize("data", [b"x", bytearray(b"x"), memoryview(b"x")])
def test_bytes_like_data(data: bytes):
    """Bytes-like data become bytes of their own."""
    assert check_data(data) == b"x"
    assert type(check_data(data)) is bytes


@pytest.mark.parametrize("data", ["text", None, 7, {"a": 1}])
def test_other_data(data: object):
    """Anything else is refused with its type; text gets a hint."""
    with pytest.raises(InvalidArgumentError, match=f"got {type(data).__name__}"):
        check_data(data)
    with pytest.raises(InvalidArgumentError, match="encode"):
        check_data("text")


def test_headers_are_copied():
    """Changing the dict afterwards does not change the message."""
    given = {"a": "b"}
    taken = check_headers(given)
    given["a"] = "c"
    assert taken == {"a": "b"}


@pytest.mark.parametrize("name", ["", "a b", "a:b", "é", "a\n", "Nats-Msg-Id", "nats-x", None, b"a"])
def test_bad_header_names(name: str):
    """A name that is no token, or is the broker's own, is refused."""
    with pytest.raises(InvalidArgumentError, match="header"):
        check_headers({name: "x"})


@pytest.mark.parametrize("value", [" x", "x ", "x\r\ny", "x\ny", "\x00", "\u00a0x", "\ud800", None, 1, b"x"])
def test_bad_header_values(value: str):
    """A value that a broker would alter is refused."""
    with pytest.raises(InvalidArgumentError, match="'a'"):
        check_headers({"a": value})


@pytest.mark.parametrize("message_id", ["", " a", "a\n", None, 7])
def test_bad_message_ids(message_id: str):
    """A message id is text as for a header's value, and not empty."""
    with pytest.raises(InvalidArgumentError, match="message id"):
        check_message_id(message_id)


def test_sizes_count_headers_and_id():
    """Payload alone may fill the limit; headers and the message id count as on the wire of NATS."""
    check_size(b"x" * 100, None, None, 100)
    for headers, message_id in (({"a": "b"}, None), (None, "id")):
        wire = 12 + (6 if headers else 0) + (len("Nats-Msg-Id: id\r\n") if message_id else 0)
        check_size(b"x" * (100 - wire), headers, message_id, 100)
        with pytest.raises(InvalidArgumentError, match="101 bytes"):
            check_size(b"x" * (101 - wire), headers, message_id, 100)
