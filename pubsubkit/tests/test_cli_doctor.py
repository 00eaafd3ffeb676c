"""``pubsubkit doctor``: what it finds on this machine and on a broker."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, ClassVar

import pytest
from click.testing import CliRunner, Result
from commands import running

from pubsubkit import PermissionDeniedError, connect
from pubsubkit.cli.app import application
from pubsubkit.cli.doctor import _check
from pubsubkit.cli.stopping import Stop, Stopped
from pubsubkit.driver import Finding
from pubsubkit.registry import refresh, register_backend, unregister_backend
from pubsubkit_memory import MemoryDriver
from pubsubkit_nats.testing import NatsServer

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

pytestmark = pytest.mark.usefixtures("command_line")

SECRET = "hunter2"


def doctor(*arguments: str) -> Result:
    result = CliRunner().invoke(application, ["doctor", *arguments], prog_name="pubsubkit")
    assert "Traceback" not in result.output
    assert SECRET not in result.output
    return result


def checks(*arguments: str) -> dict[str, dict[str, str]]:
    result = doctor(*arguments, "--json")
    document = json.loads(result.stdout)
    assert set(document) == {"ok", "checks"}
    assert all(set(each) == {"check", "found", "advice", "state"} for each in document["checks"])
    assert result.exit_code == (0 if document["ok"] else 1)
    return {each["check"]: each for each in document["checks"]}


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Writes the metadata of a distribution that comes before all others."""
    monkeypatch.syspath_prepend(str(tmp_path))

    def write(name: str, version: str, entries: str = "") -> None:
        folder = tmp_path / f"{name.replace('-', '_')}-{version}.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        (folder / "entry_points.txt").write_text(entries)
        refresh()

    yield write
    refresh()


@contextmanager
def backend_of(**members: Any) -> Iterator[str]:
    """Offer a memory driver with other members, and give its URL."""
    kind = type("OddDriver", (MemoryDriver,), members)
    register_backend("odd", kind)
    try:
        yield "odd://"
    finally:
        unregister_backend("odd")


def test_a_sound_installation() -> None:
    """Everything that is installed is ok, and without a URL it says what was not looked at and how it is."""
    result = doctor()
    assert result.exit_code == 0
    assert result.stderr == ""
    lines = result.stdout.splitlines()
    assert [line.split()[0] for line in lines[:7]] == ["ok"] * 7
    assert any(line.startswith("ok   backend nats: pubsubkit-nats 0.") for line in lines)
    assert any(line.startswith("ok   extra cli: click 8.") for line in lines)
    assert lines[-4].startswith("?    broker: none given")
    assert "PUBSUBKIT_URL" in lines[-3]
    assert lines[-1] == "nothing to mend, 1 not checked"


def test_distributions_out_of_lockstep(install: Any) -> None:
    """A distribution of another version than the core's is to be mended, with the command that does it."""
    install("pubsubkit-nats", "9.9")
    found = checks()["pubsubkit-nats"]
    assert found["state"] == "mend"
    assert found["found"].startswith("9.9, but pubsubkit is 0.")
    assert found["advice"].endswith("pip install --upgrade pubsubkit pubsubkit-nats")


def test_what_is_not_installed_is_a_hint(monkeypatch: pytest.MonkeyPatch) -> None:
    """A missing extra or companion is no fault: it says how to get it."""
    from pubsubkit.cli import installation

    real = installation._version
    absent = {"click", "pubsubkit-contract-tests"}
    monkeypatch.setattr(installation, "_version", lambda name: None if name in absent else real(name))
    result = doctor()
    assert result.exit_code == 0
    assert "-    pubsubkit-contract-tests: not installed\n     -> for pubsubkit contract: pip install" in result.stdout
    assert "-    extra cli: click not installed\n     -> if wanted: pip install 'pubsubkit[cli]'" in result.stdout


def test_broken_entry_points(install: Any) -> None:
    """A backend or plugin that does not load is named with its distribution and the reason."""
    install("broken-backend", "1.0", "[pubsubkit.backends]\nbroken = no_such_module:Driver\n")
    install("broken-plugin", "2.0", "[pubsubkit.plugins]\nabsent = no_such_plugin\nhookless = json\n")
    found = checks()
    assert found["backend broken"]["state"] == found["plugin absent"]["state"] == "mend"
    assert "broken-backend 1.0" in found["backend broken"]["found"]
    assert "No module named 'no_such_module'" in found["backend broken"]["found"]
    assert "broken-plugin 2.0" in found["plugin absent"]["found"]
    assert "No module named 'no_such_plugin'" in found["plugin absent"]["found"]
    assert "no hook that could be called" in found["plugin hookless"]["found"]


@pytest.mark.parametrize(
    ("url", "found", "advice"),
    [
        (f"nats://user:{SECRET}@127.0.0.1:1", "127.0.0.1:1", "is the broker running"),
        (f"nats://user:{SECRET}@127.0.0.1?strem=1", "unknown parameter 'strem'", ""),
        (f"nast://user:{SECRET}@127.0.0.1", "did you mean 'nats'?", ""),
        ("", "", ""),
    ],
)
def test_a_broker_that_cannot_be_opened(url: str, found: str, advice: str) -> None:
    """A wrong URL, and a broker that is not there, are findings like others: exit code 1 and what to do."""
    check = checks(url)["broker"]
    assert check["state"] == "mend"
    assert found in check["found"]
    assert advice in check["advice"]


def test_url_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """PUBSUBKIT_URL is looked at where no URL is given, and an argument comes before it."""
    monkeypatch.setenv("PUBSUBKIT_URL", "memory://")
    assert checks()["broker"]["found"].startswith("memory://, opened in ")
    assert checks("nast://x")["broker"]["state"] == "mend"


def test_writing_is_asked_for() -> None:
    """Without --write nothing is tried, and it says so; with it every step is, and nothing is left behind."""
    untried = checks("memory://")["create, publish, consume, delete"]
    assert (untried["state"], untried["advice"].split()[0]) == ("unchecked", "--write")
    found = checks("memory://", "--write")
    steps = ("create a stream", "publish", "consume", "delete a stream")
    assert [found[step]["state"] for step in steps] == ["ok"] * 4


@pytest.mark.parametrize(
    ("method", "step"),
    [("create_stream", "create a stream"), ("send", "publish"), ("subscribe", "consume")],
)
def test_what_is_not_allowed(method: str, step: str) -> None:
    """The step that is refused is named, with the broker's word; later ones are not claimed."""

    async def refuse(*_: object) -> None:
        raise PermissionDeniedError("not for you")

    with backend_of(**{method: refuse}) as url:
        found = checks(url, "--write")
    assert found[step]["state"] == "mend"
    assert "not for you" in found[step]["found"]
    assert "delete a stream" not in found


def test_a_stream_that_cannot_be_deleted() -> None:
    """When the stream has to be left, its name is told."""

    async def refuse(*_: object) -> None:
        raise PermissionDeniedError("not for you")

    with backend_of(delete_stream=refuse) as url:
        result = doctor(url, "--write")
    assert result.exit_code == 1
    assert "mend delete a stream: not for you" in result.stdout
    assert "pubsubkit: stream pubsubkit-doctor-" in result.stderr


def test_what_the_backend_tells() -> None:
    """The driver's own findings are shown as they are; a broker that fails meanwhile is a finding too."""

    async def tell(_: object) -> Sequence[Finding]:
        return [Finding("quota", "9 of 10", "buy more", "mend"), Finding("mood", "fine")]

    async def fail(_: object) -> Sequence[Finding]:
        raise ConnectionResetError("gone")

    with backend_of(diagnose=tell) as url:
        found = checks(url)
        assert "mend quota: 9 of 10\n     -> buy more\nok   mood: fine\n" in doctor(url).stdout
    assert found["quota"] == {"check": "quota", "found": "9 of 10", "advice": "buy more", "state": "mend"}
    with backend_of(diagnose=fail) as url:
        assert checks(url)["details"]["state"] == "mend"


async def test_the_memory_backend_tells_nothing() -> None:
    """A backend need not have anything to tell."""
    async with connect("memory://") as backend:
        assert await backend.diagnose() == ()


@pytest.mark.parametrize(("off", "state"), [(0.0, "ok"), (-0.9, "ok"), (2.0, "mend"), (-3600.0, "mend")])
def test_the_clock(off: float, state: str) -> None:
    """A clock is compared with the middle of the round trip, and is to be mended when it is off by over a second."""
    before = datetime.now(UTC)
    finding = Finding.of_clock(before, before + timedelta(seconds=0.1 + off), before + timedelta(seconds=0.2))
    assert finding.state == state
    assert f"{abs(off):.3f} s {'ahead' if off > 0 else 'behind'} (within 0.100 s)" in finding.found


def test_a_slow_answer_does_not_accuse_the_clock() -> None:
    """What a slow answer leaves open is not held against the clock."""
    before = datetime.now(UTC)
    assert Finding.of_clock(before, before, before + timedelta(seconds=10)).state == "ok"


async def test_a_real_server(tmp_path: Path) -> None:
    """On NATS it tells client, server, JetStream, limits and clock, and leaves no stream behind."""
    async with NatsServer(tmp_path / "nats") as server:
        async with running(server.url, "doctor", "--write", "--json") as process:
            out, _ = await process.communicate()
        found = {each["check"]: each for each in json.loads(out)["checks"]}
        async with connect(server.url) as backend:
            answer = json.loads((await backend.native.request("$JS.API.STREAM.NAMES", b"")).data)  # type: ignore[attr-defined]
    names = ("broker", "client", "server", "JetStream", "account limits", "clock", "consume", "delete a stream")
    assert [found[name]["state"] for name in names] == ["ok"] * len(names)
    assert found["client"]["found"].startswith("nats-py 2.")
    assert answer["total"] == 0


def test_plugins_that_are_left_out(install: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """What PUBSUBKIT_DISABLE_PLUGINS leaves out is not looked at."""
    install("broken", "1", "[pubsubkit.plugins]\nbad = no_such_module:plugin\n")
    assert doctor().exit_code == 1
    monkeypatch.setenv("PUBSUBKIT_DISABLE_PLUGINS", "1")
    assert checks()["plugins"]["found"] == "left out, by PUBSUBKIT_DISABLE_PLUGINS=1"


class SlowDriver(MemoryDriver):
    """Never joins a consumer, and takes its time to delete a stream."""

    joining: ClassVar[asyncio.Event]
    deleted: ClassVar[list[str]] = []

    async def subscribe(self, spec: Any, buffer: int) -> Any:
        self.joining.set()
        await asyncio.Event().wait()

    async def delete_stream(self, name: str) -> bool:
        await asyncio.sleep(0.3)  # longer than what is cancelled is waited for
        self.deleted.append(name)
        return await super().delete_stream(name)


async def test_a_stop_leaves_no_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C while something is tried ends it, and the stream is deleted, however long that takes."""
    monkeypatch.setattr("pubsubkit.cli.stopping._CANCEL_SECONDS", 0.05)
    SlowDriver.joining, stop = asyncio.Event(), Stop()
    register_backend("slow", SlowDriver)
    try:
        work = asyncio.ensure_future(_check(stop, "slow://", write=True, tell=False))
        async with asyncio.timeout(10):
            await SlowDriver.joining.wait()
            stop.ask()
            with pytest.raises(Stopped):
                await work
    finally:
        unregister_backend("slow")
    assert len(SlowDriver.deleted) == 1


def test_a_reader_that_goes_away_leaves_no_stream(tmp_path: Path) -> None:
    """What nobody reads any more is cleaned up all the same."""
    url = f"sqlite://{tmp_path}/events.db"
    command = f"{sys.executable} -m pubsubkit.cli doctor {url} --write | sed '/create a stream/q'"
    subprocess.run(["bash", "-c", command], capture_output=True, timeout=40, check=True)
    listed = CliRunner().invoke(application, ["--url", url, "streams"], prog_name="pubsubkit")
    assert listed.stdout == "no streams\n"
