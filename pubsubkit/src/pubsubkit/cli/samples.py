"""Twelve invented events in the shape of GitHub's webhooks, for the demo and for trying things out."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from pubsubkit.driver import OutgoingMessage

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["sample_events"]

_REPOSITORY = {"id": 4711, "full_name": "tidewater/lighthouse", "private": False, "default_branch": "main"}
_EVENTS: tuple[tuple[str, str, dict[str, Any]], ...] = (
    ("push", "ines", {"ref": "refs/heads/main", "commits": [{"id": "9f2c41d", "message": "Dim the lamp at dawn"}]}),
    ("issues.opened", "kofi", {"issue": {"number": 31, "title": "Lamp flickers below -10 °C", "labels": []}}),
    ("issues.labeled", "ines", {"issue": {"number": 31}, "label": {"name": "bug", "color": "d73a4a"}}),
    ("issue_comment.created", "mara", {"issue": {"number": 31}, "comment": {"body": "Seen here too. 🧊"}}),
    ("pull_request.opened", "mara", {"number": 32, "pull_request": {"title": "Warm the ballast", "draft": False}}),
    ("check_run.completed", "ci-bot", {"check_run": {"name": "tests", "conclusion": "success"}}),
    ("pull_request_review.submitted", "ines", {"review": {"state": "approved", "body": None}}),
    ("pull_request.closed", "ines", {"number": 32, "pull_request": {"merged": True, "additions": 14}}),
    ("issues.closed", "ines", {"issue": {"number": 31, "state_reason": "completed"}}),
    ("create", "ines", {"ref": "v2.4.0", "ref_type": "tag"}),
    ("release.published", "ines", {"release": {"tag_name": "v2.4.0", "prerelease": False}}),
    ("star.created", "noor", {"starred_at": "2026-03-14T15:09:26Z"}),
)


def sample_events() -> Iterator[OutgoingMessage]:
    """Give out the events under subjects such as ``github.issues.opened``, the payloads as JSON."""
    for kind, login, details in _EVENTS:
        _, _, action = kind.partition(".")
        event = {"action": action} if action else {}
        document = {**event, **details, "repository": _REPOSITORY, "sender": {"login": login}}
        data = json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode()
        yield OutgoingMessage(f"github.{kind}", data, {"X-GitHub-Event": kind.partition(".")[0]})
