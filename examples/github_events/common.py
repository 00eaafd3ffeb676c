"""What receiver and workers agree on."""

import os

from pubsubkit import Storage, StreamOptions

URL = os.environ.get("PUBSUBKIT_URL", "memory://github")
"""``memory://github`` carries events inside one process, ``nats://…`` between any number of them."""

STREAM = StreamOptions(name="github", storage=Storage.FILE)
"""Holds the subjects ``github.>``."""
