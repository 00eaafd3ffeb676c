"""Native settings: what JetStream has beyond the portable options, and which server it takes.

Settings of streams and consumers go to the server as they are, so that those of future servers work.  A server that
does not know one says so, or leaves it out of its answer, which the caller compares.  Headers go by the list below: a
server keeps a header that it does not know and does nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pubsubkit.errors import InvalidArgumentError, UnsupportedError
from pubsubkit.native import differences

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["check", "lossy"]

_SINCE: Mapping[str, tuple[int, int]] = {
    **dict.fromkeys(("compression", "consumer_limits", "first_seq", "metadata", "subject_transform"), (2, 10)),
    **dict.fromkeys(("allow_msg_ttl", "subject_delete_marker_ttl", "pause_until"), (2, 11)),
    **dict.fromkeys(("allow_atomic", "allow_msg_counter", "allow_msg_schedules", "persist_mode"), (2, 12)),
    "allow_batched": (2, 14),
}
"""The first server that has a setting; what is not here is older, or not known yet."""

_HEADERS: Mapping[str, tuple[int, int]] = {
    "Nats-Expected-Last-Msg-Id": (2, 9),
    "Nats-Expected-Last-Sequence": (2, 9),
    "Nats-Expected-Last-Subject-Sequence": (2, 9),
    "Nats-Expected-Stream": (2, 9),
    "Nats-Rollup": (2, 9),
    "Nats-TTL": (2, 11),
    "Nats-Schedule": (2, 12),
    "Nats-Schedule-Target": (2, 12),
    "Nats-Schedule-TTL": (2, 12),
    "Nats-Schedule-Rollup": (2, 14),
    "Nats-Schedule-Source": (2, 14),
    "Nats-Schedule-Time-Zone": (2, 14),
}
_ONCE = "@at "
_REPEATED: tuple[int, int] = (2, 14)

_PULLS = "consumers are pulled from, with explicit acks and in no priority group"
_START = "use deliver_from"
_FILTER = "use filter_subject; several filters are several consumers"
_REFUSED: Mapping[str, Mapping[str, str]] = {
    "stream": {
        **{name: f"use {name}" for name in ("name", "subjects", "storage", "discard", "max_bytes", "max_age")},
        "max_msgs": "use max_messages",
        "max_msg_size": "use max_message_size",
        "duplicate_window": "use duplicate_window",
        "num_replicas": "use replicas",
        "no_ack": "every publish is confirmed",
    },
    "consumer": {
        **dict.fromkeys(("name", "durable_name"), "use consumer_name"),
        **dict.fromkeys(("filter_subject", "filter_subjects"), _FILTER),
        **dict.fromkeys(("deliver_policy", "opt_start_seq", "opt_start_time"), _START),
        **dict.fromkeys(("ack_policy", "deliver_subject", "deliver_group", "flow_control", "idle_heartbeat"), _PULLS),
        **dict.fromkeys(("priority_groups", "priority_policy", "priority_timeout"), _PULLS),
        "ack_wait": "use ack_wait",
        "max_deliver": "use max_deliver",
        "max_ack_pending": "use max_in_flight",
        "backoff": "use backoff, which nak() applies; the server's would replace ack_wait and make delayed naks late",
    },
    "message": {"Nats-Msg-Id": "use message_id"},
}


def check(kind: str, settings: Mapping[str, Any], version: tuple[int, int]) -> None:
    """Refuse what the portable options say, headers that no server knows, and what *version* does not have.

    :raises InvalidArgumentError: it is to be said otherwise, or not at all; all problems in one error.
    :raises UnsupportedError: the server is too old; the message says which is needed.
    """
    problems = [f"{name}: {_REFUSED[kind][name]}" for name in settings if name in _REFUSED[kind]]
    if kind == "message":
        unknown = settings.keys() - _HEADERS.keys() - _REFUSED[kind].keys()
        problems += [f"no header {name!r}; there are {', '.join(_HEADERS)}" for name in sorted(unknown)]
    if problems:
        raise InvalidArgumentError(f"native settings of a {kind}: {'; '.join(problems)}")
    needed = [_needed(kind, name, value) for name, value in settings.items()]
    missing = [f"{what} needs {_text(since)}" for what, since in needed if (0, 0) < version < since]
    if missing:
        raise UnsupportedError(f"nats-server {_text(version)} is too old: {', '.join(missing)}")


def lossy(wanted: Mapping[str, Any], config: Mapping[str, Any]) -> list[str]:
    """Those differences that could delete messages of an existing stream, as lines ``setting: is -> wanted``."""
    risky = {name: wanted[name] for name in ("retention", "first_seq") if name in wanted}
    most, held = wanted.get("max_msgs_per_subject"), config.get("max_msgs_per_subject", -1)
    if isinstance(most, int) and most > 0 and not 0 < held <= most:
        risky["max_msgs_per_subject"] = most
    return differences(risky, config)


def _needed(kind: str, name: str, value: object) -> tuple[str, tuple[int, int]]:
    if name == "Nats-Schedule" and not str(value).startswith(_ONCE):
        return "a Nats-Schedule without @at", _REPEATED
    return name, (_HEADERS if kind == "message" else _SINCE).get(name, (0, 0))


def _text(version: tuple[int, int]) -> str:
    return f"{version[0]}.{version[1]}"
