"""Portable options ↔ JetStream's configuration JSON.

The JSON is built and read here rather than through nats-py's dataclasses, which drop the fields they do not know and
would reset them in an update.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from pubsubkit.driver import ConsumerInfo, ConsumerSpec, StreamInfo
from pubsubkit.native import merged
from pubsubkit.options import Storage, StreamOptions

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pubsubkit.options import DeliverFrom

__all__ = [
    "changed_consumer",
    "consumer_config",
    "consumer_info",
    "header_text",
    "nanoseconds",
    "raised_consumer",
    "stream_config",
    "stream_info",
    "timestamp",
]

_ASKED = "pubsubkit-max-deliver"
"""Consumer metadata: the ``max_deliver`` that the application asked for.  The configuration's own may be higher, see
:mod:`pubsubkit_nats.pull`."""
_RAISED = "pubsubkit-max-deliver-raised"
"""Consumer metadata: to what the configuration's ``max_deliver`` was raised; another number is an operator's."""
_FIXED = {"deliver_policy", "opt_start_seq", "opt_start_time", "ack_policy"}

_EPHEMERAL_SECONDS = 300
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def nanoseconds(seconds: float) -> int:
    """Seconds → nanoseconds, JetStream's unit."""
    return round(seconds * 1_000_000_000)


def timestamp(nanos: int) -> datetime:
    """Nanoseconds since the epoch → aware datetime in UTC, cut to microseconds."""
    return _EPOCH + timedelta(microseconds=nanos // 1000)


def header_text(value: str | list[str]) -> str:
    """A header's value, the last one when there are several: with fast-mail-parser nats-py makes lists."""
    return value if isinstance(value, str) else value[-1]


def stream_config(options: StreamOptions) -> dict[str, Any]:
    """What *options* say of a stream's configuration; what is None is left as it is, or to the server."""
    config: dict[str, Any] = {
        "name": options.name,
        "subjects": list(options.subjects),
        "storage": options.storage.value,
        "num_replicas": options.replicas,
        "discard": options.discard,
        "max_msgs": options.max_messages or -1,
        "max_bytes": options.max_bytes or -1,
        "max_msg_size": options.max_message_size or -1,
        "max_age": nanoseconds(options.max_age or 0),
    }
    if options.duplicate_window is not None:
        config["duplicate_window"] = nanoseconds(options.duplicate_window)
    return {**config, **options.native}


def stream_info(answer: Mapping[str, Any]) -> StreamInfo:
    """Read the answer to STREAM.INFO."""
    config, state = answer["config"], answer["state"]
    options = StreamOptions(
        name=config["name"],
        subjects=tuple(config.get("subjects") or ()),
        storage=Storage(config["storage"]),
        max_messages=_limit(config, "max_msgs"),
        max_bytes=_limit(config, "max_bytes"),
        max_age=_seconds(config, "max_age"),
        max_message_size=_limit(config, "max_msg_size"),
        duplicate_window=_seconds(config, "duplicate_window"),
        replicas=config.get("num_replicas", 1),
        discard=config.get("discard", "old"),
    )
    if not config.get("subjects"):
        # A mirror, say: publishing to it must not seem possible, and StreamOptions would fill in a default.
        object.__setattr__(options, "subjects", ())
    return StreamInfo(
        options=options,
        messages=state["messages"],
        bytes=state["bytes"],
        first_sequence=state["first_seq"],
        last_sequence=state["last_seq"],
        native=config,
    )


def consumer_config(spec: ConsumerSpec) -> dict[str, Any]:
    """The configuration to create a consumer with."""
    config: dict[str, Any] = {
        "name": spec.name,
        "ack_policy": "explicit",
        "ack_wait": nanoseconds(spec.ack_wait),
        "max_deliver": spec.max_deliver or -1,
        "max_ack_pending": spec.max_in_flight,
        **_start(spec.deliver_from),
    }
    if spec.durable:
        config["durable_name"] = spec.name
    else:
        config["inactive_threshold"] = nanoseconds(_EPHEMERAL_SECONDS)
    if spec.filter_subject:
        config["filter_subject"] = spec.filter_subject
    if spec.max_deliver:
        config["metadata"] = {_ASKED: str(spec.max_deliver)}
    return merged(config, spec.native)


def changed_consumer(config: Mapping[str, Any], spec: ConsumerSpec) -> dict[str, Any]:
    """*config* with what *spec* says; a ``max_deliver`` that was raised stays when the number asked for is the same."""
    wanted = {name: value for name, value in consumer_config(spec).items() if name not in _FIXED}
    metadata: dict[str, str] = dict(config.get("metadata") or {})
    if _max_deliver(config) == spec.max_deliver:
        wanted["max_deliver"] = config.get("max_deliver", -1)
    else:
        metadata = {name: value for name, value in metadata.items() if name not in (_ASKED, _RAISED)}
    kept = {name: value for name, value in config.items() if name not in ("filter_subject", "filter_subjects")}
    return {**kept, **wanted, "metadata": {**metadata, **wanted.get("metadata", {})}}


def raised_consumer(config: Mapping[str, Any], count: int) -> dict[str, Any] | None:
    """*config* with a ``max_deliver`` of at least *count*, beside the application's own; None when it has that."""
    if not 0 < config.get("max_deliver", -1) < count:
        return None
    current: dict[str, str] = config.get("metadata") or {}
    metadata = {**current, _ASKED: str(_max_deliver(config)), _RAISED: str(count)}
    return {**config, "max_deliver": count, "metadata": metadata}


def consumer_info(answer: Mapping[str, Any]) -> ConsumerInfo:
    """Read the answer to CONSUMER.INFO."""
    config = answer["config"]
    spec = ConsumerSpec(
        stream=answer["stream_name"],
        name=answer["name"],
        durable=bool(config.get("durable_name")),
        filter_subject=config.get("filter_subject") or ",".join(config.get("filter_subjects") or ()),
        ack_wait=config.get("ack_wait", 0) / 1e9,
        max_deliver=_max_deliver(config),
        max_in_flight=config.get("max_ack_pending", 0),
        deliver_from=_deliver_from(config),
    )
    return ConsumerInfo(
        spec=spec,
        num_pending=answer["num_pending"],
        num_ack_pending=answer["num_ack_pending"],
        num_redelivered=answer.get("num_redelivered"),
        num_deliveries=answer.get("delivered", {}).get("consumer_seq"),
        native=config,
    )


def _limit(config: Mapping[str, Any], name: str) -> int | None:
    value = config.get(name, -1)
    return value if value > 0 else None


def _seconds(config: Mapping[str, Any], name: str) -> float | None:
    return config.get(name, 0) / 1e9 or None


def _max_deliver(config: Mapping[str, Any]) -> int | None:
    metadata: Mapping[str, str] = config.get("metadata") or {}
    actual, asked = _limit(config, "max_deliver"), metadata.get(_ASKED, "")
    return int(asked) if asked.isdigit() and metadata.get(_RAISED) == str(actual) else actual


def _start(deliver_from: DeliverFrom) -> dict[str, Any]:
    if isinstance(deliver_from, datetime):
        return {"deliver_policy": "by_start_time", "opt_start_time": deliver_from.isoformat()}
    if isinstance(deliver_from, int):
        return {"deliver_policy": "by_start_sequence", "opt_start_seq": deliver_from}
    return {"deliver_policy": deliver_from}


def _deliver_from(config: Mapping[str, Any]) -> DeliverFrom:
    policy = config.get("deliver_policy", "all")
    if policy == "by_start_sequence":
        return int(config["opt_start_seq"])
    if policy == "by_start_time":
        return datetime.fromisoformat(config["opt_start_time"])
    return policy if policy in ("new", "last") else "all"
