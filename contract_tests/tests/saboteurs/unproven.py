"""Cases that are the only ones to catch no saboteur, with the reason why they are kept."""

_PLAIN = "the plainest form of a promise that richer cases build on: they fail with it, and this one names it"
_WEAK = "what catches the same needs more capabilities; of a backend without them only this case tells"
_MODEL = "a random history finds the same on a backend with many capabilities; this case says what it is, on any"

UNPROVEN: dict[str, str] = {
    "ack.not_implicit": _PLAIN,
    "ack.only_that_one": _PLAIN,
    "ack.out_of_order": _PLAIN,
    "cmp.everyone_works": _WEAK,
    "cmp.join": _WEAK,
    "cmp.stay": "shut.drain_unseen and model.history see the same; kept for a member that is stopped while others work",
    "core.batch": _PLAIN,
    "core.history": _PLAIN,
    "core.live": _PLAIN,
    "core.no_loss_no_extra": _PLAIN,
    "core.publish_confirms": _PLAIN,
    "core.roundtrip": _PLAIN,
    "dur.ack_survives_close": "con.close_while_reading sees the same; kept for the plain stop right after an ack",
    "dur.delay_survives_close": _MODEL,
    "dur.deleted": "prov.missing sees the same; kept for a durable that is opened again under its old name",
    "dur.names_not_leaked": "can.close and shut.concurrent see the same; kept for what the broker lists afterwards",
    "dur.published_while_away": _MODEL,
    "dur.reopen_many": "con.open_close_storm sees the same; kept for one durable that is opened again and again",
    "dur.resume": _MODEL,
    "dur.unacked_counted": _WEAK,
    "dur.unacked_kept": _PLAIN,
    "fan.ack_isolated": _WEAK,
    "fan.ephemeral": _WEAK,
    "fan.independent": _PLAIN,
    "fan.nak_isolated": _MODEL,
    "flt.half_open": "to a client a frozen broker looks like the silent connection of flt.blackhole",
    "flt.slow_link": "core.batch_large sees the same; kept for a broker that is far away",
    "nak.counts": _PLAIN,
    "nak.redelivers": _PLAIN,
    "ord.fifo": _PLAIN,
    "redel.other_member": "dur.acks_singly and dur.held_long see the same; kept for a member on another connection",
    "rst.acks": _MODEL,
    "rst.dedup_window": _MODEL,
    "rst.in_flight": _MODEL,
}
