"""``shelf://name``: a small broker of lists and dicts in this process, and two drivers that break one promise each."""

from pubsubkit_shelf.broken import ForgetfulDriver, LyingDriver
from pubsubkit_shelf.driver import ShelfDriver

__all__ = ["ForgetfulDriver", "LyingDriver", "ShelfDriver"]
