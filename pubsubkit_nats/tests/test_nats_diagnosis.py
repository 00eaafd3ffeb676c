"""What a NATS server tells ``pubsubkit doctor``."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from pubsubkit import StreamOptions, connect
from pubsubkit_nats import diagnosis
from pubsubkit_nats.testing import NatsServer

if TYPE_CHECKING:
    from pathlib import Path

    from pubsubkit import Finding

LIMITED = """
accounts {
  A {
    jetstream: { max_mem: 1MB, max_streams: 1 }
    users: [
      { user: all, password: p }
      { user: few, password: p, permissions: { publish: ["$JS.API.STREAM.INFO.>"], subscribe: ["_INBOX.>"] } }
    ]
  }
}
"""


async def findings(url: str) -> dict[str, Finding]:
    async with connect(url) as backend:
        return {finding.check: finding for finding in await backend.diagnose()}


async def test_an_open_server(tmp_path: Path):
    """Versions, JetStream, limits and the clock are told and fine, and on this machine encryption is not missed."""
    async with NatsServer(tmp_path / "nats") as server:
        found = await findings(server.url)
    assert {finding.state for finding in found.values()} == {"ok"}
    assert list(found) == ["client", "server", "encryption", "JetStream", "account limits", "clock"]
    assert found["server"].found.startswith("nats-server 2.")
    assert found["server"].found.endswith(server.address)
    assert found["encryption"] == ("encryption", "none", "", "ok")
    assert found["account limits"].found.startswith("memory 0 B of unlimited, ")


async def test_a_limit_that_is_nearly_reached(tmp_path: Path):
    """What is nearly used up is named and to be mended; what has room is not."""
    async with NatsServer(tmp_path / "nats", LIMITED) as server:
        url = server.url.replace("//", "//all:p@")
        assert (await findings(url))["account limits"].state == "ok"
        async with connect(url) as backend:
            await backend.ensure_stream(StreamOptions(name="one"))
        limits = (await findings(url))["account limits"]
    assert (limits.state, limits.found.split(", ")[2]) == ("mend", "streams 1 of 1")
    assert "limit of streams," in limits.advice


async def test_a_user_who_may_not_ask(tmp_path: Path):
    """What the user may not see is unchecked, with the subject that is missing, and no error."""
    async with NatsServer(tmp_path / "nats", LIMITED) as server:
        found = await findings(server.url.replace("//", "//few:p@"))
    assert found["account limits"].state == found["clock"].state == "unchecked"
    assert "'$JS.API.INFO'" in found["account limits"].found
    assert "'$SYS.REQ.USER.INFO'" in found["clock"].found


async def test_an_encrypted_connection(tmp_path: Path, certificates: dict[str, Path]):
    """The TLS version and cipher are those of the connection."""
    config = f'tls {{ cert_file: "{certificates["server"]}", key_file: "{certificates["server_key"]}" }}'
    async with NatsServer(tmp_path / "nats", config) as server:
        found = await findings(f"nats+tls://{server.address}?tls_ca={certificates['ca']}")
    assert found["encryption"].found.startswith("TLSv1.3, TLS_")


async def test_a_clock_that_is_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The server's clock is compared with this machine's."""

    class Late(datetime):
        @classmethod
        def now(cls, tz=None):
            return datetime.now(tz) - timedelta(minutes=1)

    monkeypatch.setattr(diagnosis, "datetime", Late)
    async with NatsServer(tmp_path / "nats") as server:
        clock = (await findings(server.url))["clock"]
    assert clock.state == "mend"
    assert " s ahead" in clock.found
    assert 59 < float(clock.found.split()[3]) < 61


@pytest.mark.parametrize(("amount", "shown"), [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (2**41, "2048 GiB")])
def test_amounts(amount: int, shown: str):
    """Sizes are shown in the largest unit that leaves a figure above 1."""
    assert diagnosis._amount("memory", amount) == shown
