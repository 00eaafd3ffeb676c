"""Which cases prove a capability: one of them must have passed before it counts as proved.

Other cases may need it on the way and pass, although it does nothing.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

from pubsubkit.driver import Capability

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["PROOFS"]

PROOFS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        Capability.HISTORY: (
            "core.history",
            "ord.backlog",
        ),
        Capability.DURABLE: ("dur.resume",),
        Capability.SURVIVES_RESTART: ("rst.messages",),
        Capability.SURVIVES_CRASH: (
            "rst.crash_no_loss",
            "rst.crash_publishing",
        ),
        Capability.ACK_WAIT: ("redel.ack_wait",),
        Capability.NAK: ("nak.redelivers",),
        Capability.NAK_DELAY: ("nak.delay_lower",),
        Capability.TERM: (
            "term.final",
            "term.settled",
            "term.counts_once",
        ),
        Capability.IN_PROGRESS: ("extend.works",),
        Capability.CONFIRMED_ACK: ("ack.confirm",),
        Capability.DELIVERY_COUNT: (
            "nak.counts",
            "redel.counts",
            "dur.unacked_counted",
        ),
        Capability.MAX_DELIVER: (
            "redel.max_deliver",
            "redel.max_deliver_nak",
        ),
        Capability.MAX_IN_FLIGHT: ("bp.max_in_flight",),
        Capability.COMPETE: ("cmp.each_once",),
        Capability.FANOUT: (
            "fan.independent",
            "fan.ephemeral",
        ),
        Capability.ORDERING: ("ord.fifo",),
        Capability.WILDCARDS: ("subj.match_table",),
        Capability.HEADERS: ("hdr.roundtrip",),
        Capability.UNICODE_SUBJECTS: ("subj.unicode",),
        Capability.DEDUPLICATION: ("core.dedup",),
        Capability.CROSS_PROCESS: (
            "dur.process_restart",
            "flt.publisher_killed",
        ),
        Capability.REMOTE: (
            "flt.cut",
            "flt.cut_no_dedup",
            "flt.publish_down",
        ),
    }
)
"""Capability → ids of the cases that show it."""
