"""Names of few values for what has many."""

import asyncio

import pytest

from pubsubkit import TransientError, labels
from pubsubkit.labels import Templates, group_name, type_name


def test_templates(monkeypatch: pytest.MonkeyPatch):
    """The first pattern that selects a subject stands for it, and what is remembered of subjects is bounded."""
    monkeypatch.setattr(labels, "_SUBJECTS_KEPT", 3)
    templates = Templates(["a.*.x", "a.>", "b"])
    for _ in range(2):
        found = [templates.of(subject) for subject in ("a.1.x", "a.1", "b", "b.1", "a.2.x")]
        assert found == ["a.*.x", "a.>", "b", "", "a.*.x"]
        assert len(templates._found) <= 3


def test_names():
    """Ephemeral consumers have no name; classes of errors have their full one."""
    assert group_name("ephemeral-0123456789abcdef") == ""
    assert group_name("ephemeral-orders") == "ephemeral-orders"
    assert [type_name(each) for each in (KeyError(), TransientError(), asyncio.CancelledError())] == [
        "KeyError",
        "pubsubkit.errors.TransientError",
        "asyncio.exceptions.CancelledError",
    ]
