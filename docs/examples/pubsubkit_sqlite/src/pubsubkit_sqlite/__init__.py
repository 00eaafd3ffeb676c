"""``sqlite:///path/events.db``: pub/sub in one file, for the processes of one machine."""

from pubsubkit_sqlite.driver import SqliteDriver

__all__ = ["SqliteDriver"]
