"""Cases that are the only ones to catch no saboteur, with the reason why they are kept."""

UNPROVEN: dict[str, str] = {
    "flt.half_open": "it fails where flt.blackhole does; kept as a real broker that stands still goes on accepting",
}
