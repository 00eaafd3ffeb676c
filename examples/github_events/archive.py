"""Writes every event into a SQLite file: ``pubsubkit run archive:worker``."""

import os
import sqlite3
from contextlib import closing

from cloudevents.core.v1.event import CloudEvent
from common import STREAM, URL, plugins

from pubsubkit import Worker

DATABASE = os.environ.get("ARCHIVE", "events.sqlite")

worker = Worker(URL, plugins=plugins())


@worker.handler(stream=STREAM, durable="archive", concurrency=4)
def archive(event: CloudEvent) -> None:
    """Store an event.  It may come twice, so that the same one again changes nothing."""
    with closing(sqlite3.connect(DATABASE)) as database, database:
        database.execute(
            "CREATE TABLE IF NOT EXISTS events (source TEXT, id TEXT, type TEXT, data BLOB, PRIMARY KEY (source, id))"
        )
        row = (event.get_source(), event.get_id(), event.get_type(), event.get_data())
        database.execute("INSERT OR IGNORE INTO events VALUES (?, ?, ?, ?)", row)
