"""The events for runs on real input: the file that ``PUBSUBKIT_EVENTS`` names, or else a small sample."""

import json
import os
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
REAL = Path(os.environ.get("PUBSUBKIT_EVENTS", ROOT.parent / "shared" / "data" / "github-webhooks.jsonl"))
SAMPLE = HERE / "events_sample.jsonl"
SOURCE = REAL if REAL.exists() else SAMPLE

Event = tuple[str, bytes]


def read_events() -> list[Event]:
    """Subjects and payloads, in the order of the file."""
    rows = [json.loads(line) for line in SOURCE.read_text(encoding="utf-8").splitlines()]
    return [(row["subject"], json.dumps(row["data"]).encode()) for row in rows]
