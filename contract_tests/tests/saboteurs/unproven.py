"""Cases that are the only ones to catch no saboteur, with the reason why they are kept."""

_PLAIN = "the plainest form of a promise that richer cases build on: they fail with it, and this one names it"
_WEAK = "what catches the same needs more capabilities; of a backend without them only this case tells"
_MODEL = "a random history finds the same on a backend with many capabilities; this case says what it is, on any"
_NEIGHBOUR = "another view of what its neighbours see too, kept for the situation that users meet"

UNPROVEN: dict[str, str] = {
    "ack.not_implicit": _PLAIN,
    "ack.only_that_one": _PLAIN,
    "ack.out_of_order": _PLAIN,
    "cmp.everyone_works": _WEAK,
    "cmp.join": _WEAK,
    "cmp.stay": _NEIGHBOUR,
    "core.batch": _PLAIN,
    "core.history": _PLAIN,
    "core.live": _PLAIN,
    "core.no_loss_no_extra": _PLAIN,
    "core.publish_confirms": _PLAIN,
    "core.roundtrip": _PLAIN,
    "dur.ack_survives_close": _NEIGHBOUR,
    "dur.delay_survives_close": _MODEL,
    "dur.deleted": _NEIGHBOUR,
    "dur.names_not_leaked": _NEIGHBOUR,
    "dur.published_while_away": _MODEL,
    "dur.reopen_many": _NEIGHBOUR,
    "dur.resume": _MODEL,
    "dur.unacked_counted": _WEAK,
    "dur.unacked_kept": _PLAIN,
    "fan.ack_isolated": _WEAK,
    "fan.ephemeral": _WEAK,
    "fan.independent": _PLAIN,
    "fan.nak_isolated": _MODEL,
    "flt.half_open": "to a client a frozen broker looks like the silent connection of flt.blackhole",
    "flt.slow_link": _NEIGHBOUR,
    "nak.counts": _PLAIN,
    "nak.redelivers": _PLAIN,
    "ord.fifo": _PLAIN,
    "redel.other_member": _NEIGHBOUR,
    "rst.acks": _MODEL,
    "rst.dedup_window": _MODEL,
    "rst.in_flight": _MODEL,
}
