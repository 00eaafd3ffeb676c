"""Cases that are the only ones to catch no saboteur, with the reason why they are kept."""

UNPROVEN: dict[str, str] = {}
