"""What ``pubsubkit doctor`` can find out of a NATS server, without changing anything on it."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from nats.errors import NoRespondersError

from pubsubkit.driver import Finding
from pubsubkit.errors import PubSubError
from pubsubkit_nats.private import encryption
from pubsubkit_nats.versions import keeps_metadata

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from pubsubkit_nats.link import Link

__all__ = ["diagnose"]

_WHO_AM_I = "$SYS.REQ.USER.INFO"
_LOCAL = ("localhost", "127.0.0.1", "::1")
_NEARLY_FULL = 0.9
_UNITS = ("B", "KiB", "MiB", "GiB")


async def diagnose(link: Link) -> list[Finding]:
    """Look at the server, the connection, the account and the clock."""
    return [
        Finding("client", f"nats-py {version('nats-py')}"),
        _server(link),
        _encryption(link),
        *await _jetstream(link),
        await _clock(link),
    ]


def _server(link: Link) -> Finding:
    url = link.client.connected_url
    found = f"nats-server {_version(link)}" + (f" at {url.hostname}:{url.port}" if url and url.port else "")
    if keeps_metadata(link.server_version):
        return Finding("server", found)
    return Finding("server", found, "install nats-server 2.10 or later: some options are refused on this one", "mend")


def _version(link: Link) -> str:
    found = link.client.connected_server_version
    try:
        return f"{found.major}.{found.minor}.{found.patch}" + (f"-{found.dev}" if found.dev else "")
    except ValueError:  # a build without a version number
        return "of an unknown version"


def _encryption(link: Link) -> Finding:
    tls, url = encryption(link.client), link.client.connected_url
    if tls is not None:
        return Finding("encryption", f"{tls.version()}, {(tls.cipher() or ('an unknown cipher',))[0]}")
    local = url is not None and url.hostname in _LOCAL
    return Finding("encryption", "none", "" if local else "on a network that others may read, use nats+tls://")


async def _jetstream(link: Link) -> list[Finding]:
    try:
        account = await link.ask("INFO", None, "ask for the account's limits")
    except PubSubError as error:
        return [Finding("account limits", f"not told: {error}", state="unchecked")]
    domain = account.get("domain")
    tiers: Mapping[str, Any] = account.get("tiers") or {"": account}
    return [
        Finding("JetStream", "on" + (f", domain {domain}" if domain else "")),
        *(_limits(name, usage) for name, usage in tiers.items()),
    ]


def _limits(tier: str, usage: Mapping[str, Any]) -> Finding:
    check = "account limits" + (f" {tier}" if tier else "")
    uses = list(_uses(usage))
    found = ", ".join(f"{what} {_amount(what, used)} of {_limit(what, most)}" for what, used, most in uses)
    full = [what for what, used, most in uses if 0 < most <= used / _NEARLY_FULL]
    if not full:
        return Finding(check, found)
    advice = f"raise the account's limit of {' and '.join(full)}, or delete what is not needed"
    return Finding(check, found, advice, "mend")


def _uses(usage: Mapping[str, Any]) -> Iterator[tuple[str, int, int]]:
    """What there is a limit of, how much is in use, and the limit: -1 for none."""
    limits = usage.get("limits", {})
    for what, used, most in (
        ("memory", "memory", "max_memory"),
        ("file", "storage", "max_storage"),
        ("streams", "streams", "max_streams"),
        ("consumers", "consumers", "max_consumers"),
    ):
        yield what, usage.get(used, 0), limits.get(most, -1)


def _limit(what: str, most: int) -> str:
    return "unlimited" if most < 0 else _amount(what, most)


def _amount(what: str, value: float) -> str:
    if what not in ("memory", "file"):
        return f"{value:g}"
    power = 0
    while value >= 1024 and power < len(_UNITS) - 1:
        value, power = value / 1024, power + 1
    return f"{value:.4g} {_UNITS[power]}"


async def _clock(link: Link) -> Finding:
    """Compare the clocks by the server's answer to a question that every user may ask."""
    before = datetime.now(UTC)
    try:
        answer = json.loads((await link.request(_WHO_AM_I, b"")).data)
    except (PubSubError, NoRespondersError) as error:
        return Finding("clock", f"not told: {error}", state="unchecked")
    after = datetime.now(UTC)
    told = answer.get("server", {}).get("time")
    if not told:
        return Finding("clock", "the server does not tell its time", state="unchecked")
    return Finding.of_clock(before, datetime.fromisoformat(told), after)
