"""Options: defaults, validation, short forms."""

import dataclasses
from datetime import UTC, datetime

import pytest

from pubsubkit import Backoff, ConsumerOptions, InvalidArgumentError, PublisherOptions, Storage, StreamOptions


def test_defaults_of_the_publisher():
    """The publisher's options have the documented defaults."""
    options = PublisherOptions(stream_name="S")
    assert (options.subject_prefix, options.retry_attempts, options.storage) == ("", 0, Storage.MEMORY)
    assert (options.on_publish, options.manage, options.window) == (None, "create", 256)
    assert options.stream_options == StreamOptions(name="S", subjects=("S.>",), storage=Storage.MEMORY)


def test_defaults_of_the_consumer():
    """The consumer's options have the documented defaults."""
    options = ConsumerOptions(stream_name="S")
    assert (options.consumer_name, options.filter_subject, options.channel_buf_size) == ("", "", 100)
    assert (options.storage, options.ack_wait, options.max_deliver) == (Storage.MEMORY, 30.0, None)
    assert (options.deliver_from, options.max_in_flight, options.backoff) == ("all", 1000, ())


def test_prefix_shapes_the_stream():
    """A publisher's stream holds its prefix; a prefix is not part of the stream's name."""
    options = PublisherOptions(stream_name="S", subject_prefix="a.b", storage=Storage.FILE)
    assert options.stream_options == StreamOptions(name="S", subjects=("a.b.>",), storage=Storage.FILE)


def test_stream_options_replace_the_short_form():
    """stream= takes the place of stream_name and storage, and names the stream."""
    stream = StreamOptions(name="S", subjects=("x.>",), max_messages=5)
    for kind in (PublisherOptions, ConsumerOptions):
        options = kind(stream=stream)
        assert options.stream_name == "S"
        assert options.stream_options is stream
    with pytest.raises(InvalidArgumentError, match="differ"):
        PublisherOptions(stream_name="T", stream=stream)


def test_plain_values_are_taken():
    """Storage may be given by its word, subjects as one string or a list, backoff as a list."""
    assert PublisherOptions(stream_name="S", storage="file").storage is Storage.FILE  # type: ignore[arg-type]
    assert StreamOptions(name="S", subjects="a.>").subjects == ("a.>",)  # type: ignore[arg-type]
    assert StreamOptions(name="S", subjects=["a", "b"]).subjects == ("a", "b")  # type: ignore[arg-type]
    assert ConsumerOptions(stream_name="S", backoff=[1, 2]).backoff == (1, 2)  # type: ignore[arg-type]


def test_options_are_frozen_and_keyword_only():
    """Options cannot be changed after their check, and every argument is named."""
    with pytest.raises(dataclasses.FrozenInstanceError):
        PublisherOptions(stream_name="S").stream_name = "T"  # type: ignore[misc]
    with pytest.raises(TypeError):
        ConsumerOptions("S")  # type: ignore[misc]


@pytest.mark.parametrize(
    ("kind", "bad"),
    [
        (PublisherOptions, {"stream_name": name})
        for name in ("", "a.b", "a b", "a*", "a>", "a/b", "a\\b", "x" * 256, None, "a\n")
    ]
    + [
        (PublisherOptions, {"stream_name": "S", "retry_attempts": -1}),
        (PublisherOptions, {"stream_name": "S", "retry_attempts": True}),
        (PublisherOptions, {"stream_name": "S", "retry_attempts": 1.5}),
        (PublisherOptions, {"stream_name": "S", "storage": "disk"}),
        (PublisherOptions, {"stream_name": "S", "on_publish": 7}),
        (PublisherOptions, {"stream_name": "S", "subject_prefix": "a.>"}),
        (PublisherOptions, {"stream_name": "S", "subject_prefix": "a."}),
        (PublisherOptions, {"stream_name": "S", "manage": "delete"}),
        (PublisherOptions, {"stream_name": "S", "timeout": 0}),
        (PublisherOptions, {"stream_name": "S", "timeout": float("nan")}),
        (PublisherOptions, {"stream_name": "S", "window": 0}),
        (ConsumerOptions, {"stream_name": "S", "consumer_name": "a.b"}),
        (ConsumerOptions, {"stream_name": "S", "filter_subject": "a.>.b"}),
        (ConsumerOptions, {"stream_name": "S", "channel_buf_size": 0}),
        (ConsumerOptions, {"stream_name": "S", "ack_wait": 0}),
        (ConsumerOptions, {"stream_name": "S", "ack_wait": float("inf")}),
        (ConsumerOptions, {"stream_name": "S", "max_lease": 0}),
        (ConsumerOptions, {"stream_name": "S", "max_lease": "60"}),
        (ConsumerOptions, {"stream_name": "S", "ack_wait": 30, "max_lease": 30}),
        (ConsumerOptions, {"stream_name": "S", "max_deliver": 0}),
        (ConsumerOptions, {"stream_name": "S", "max_in_flight": 0}),
        (ConsumerOptions, {"stream_name": "S", "backoff": (-1,)}),
        (ConsumerOptions, {"stream_name": "S", "backoff": ("1",)}),
        (ConsumerOptions, {"stream_name": "S", "deliver_from": "first"}),
        (ConsumerOptions, {"stream_name": "S", "deliver_from": 0}),
        (ConsumerOptions, {"stream_name": "S", "deliver_from": datetime(2026, 1, 1)}),  # noqa: DTZ001
        (StreamOptions, {"name": "S", "subjects": ("a..b",)}),
        (StreamOptions, {"name": "S", "max_messages": 0}),
        (StreamOptions, {"name": "S", "max_age": -1}),
        (StreamOptions, {"name": "S", "discard": "none"}),
        (StreamOptions, {"name": "S", "replicas": 0}),
        (StreamOptions, {"name": "S", "max_age": 1, "duplicate_window": 2}),
        (StreamOptions, {"name": "S", "native": ["compression"]}),
        (StreamOptions, {"name": "S", "native": {"metadata": {"team": object()}}}),
        (ConsumerOptions, {"stream_name": "S", "native": {"pause": float("nan")}}),
    ],
)
def test_bad_values(kind: type, bad: dict[str, object]):
    """A value out of its range is refused with the field's name."""
    field = list(bad)[-1]
    with pytest.raises(InvalidArgumentError, match=f"bad {kind.__name__}: .*{field}"):
        kind(**bad)


def test_all_problems_come_at_once():
    """One error lists everything that is wrong."""
    with pytest.raises(InvalidArgumentError, match=r"consumer_name.*filter_subject.*ack_wait.*manage"):
        ConsumerOptions(stream_name="S", consumer_name="a b", filter_subject="..", ack_wait=-1, manage="x")  # type: ignore[arg-type]


def test_good_starts():
    """A consumer may start at a sequence or at a time with a zone."""
    for start in (1, 10**9, datetime(2026, 1, 1, tzinfo=UTC), "all", "new", "last"):
        assert ConsumerOptions(stream_name="S", deliver_from=start).deliver_from == start  # type: ignore[arg-type]


def test_backoff_grows_to_its_maximum():
    """Waits double up to the maximum; jitter takes a random share off."""
    plain = Backoff(initial=0.1, maximum=1, jitter=0)
    assert [plain.delay(attempt) for attempt in (1, 2, 3, 4, 5, 500)] == pytest.approx([0.1, 0.2, 0.4, 0.8, 1, 1])
    half = Backoff(initial=0.1, maximum=1, jitter=0.5, random=lambda: 1.0)
    assert half.delay(1) == pytest.approx(0.05)


@pytest.mark.parametrize("bad", [{"initial": 0}, {"initial": 5}, {"factor": 0.5}, {"jitter": 2}])
def test_bad_backoff(bad: dict[str, float]):
    """A backoff out of its range is refused."""
    with pytest.raises(InvalidArgumentError, match="Backoff"):
        Backoff(**bad)  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", [PublisherOptions, ConsumerOptions])
def test_storage_beside_a_stream_must_be_the_same(kind: type[PublisherOptions | ConsumerOptions]) -> None:
    """What stands beside stream= and says something else is refused, never ignored."""
    with pytest.raises(InvalidArgumentError, match="storage='file' is not that of stream="):
        kind(stream=StreamOptions(name="s"), storage=Storage.FILE)
    assert kind(stream=StreamOptions(name="s", storage=Storage.FILE), storage=Storage.FILE).stream is not None
