"""``pubsubkit contract``: the verdict on the command line."""

import json
import os
import pty
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from pubsubkit.cli.app import application

COMMAND = [sys.executable, "-m", "pubsubkit.cli", "contract"]
A_FEW = "--only=ack,term"


def run(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    env = {name: value for name, value in os.environ.items() if name != "PUBSUBKIT_URL"} | environment
    return subprocess.run(
        [*COMMAND, *arguments], cwd=folder, capture_output=True, text=True, timeout=120, check=False, env=env
    )


def test_a_good_backend(tmp_path: Path):
    """A backend that conforms: exit code 0, one line that says so, and the reports that were asked for."""
    done = run(tmp_path, "memory://", "--json=r.json", "--html=r.html", "--markdown=r.md")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    assert done.stdout.splitlines()[-1].startswith("memory conforms to pubsubkit contract 1.0 (")
    assert json.loads((tmp_path / "r.json").read_text())["targets"][0]["verdict"] == "conformant"
    assert "memory conforms" in (tmp_path / "r.md").read_text()
    assert "<html" in (tmp_path / "r.html").read_text()


def test_a_bad_backend(tmp_path: Path):
    """A backend that does not: exit code 1, the case with its rule as it happens, and its name in the verdict."""
    (tmp_path / "bad.py").write_text(
        """
from pubsubkit import register_backend
from pubsubkit_contract import Harness
from pubsubkit_memory import MemoryDriver, MemoryHarness
from pubsubkit_memory.delivery import MemoryDelivery
class BadHarness(MemoryHarness):
    async def start(self):
        async def settle(self, settlement): pass
        MemoryDelivery.settle, MemoryDelivery.settle_now = settle, lambda *_: False
""".replace("MemoryDriver, MemoryHarness", "MemoryDriver\nfrom pubsubkit_memory.testing import MemoryHarness")
    )
    done = run(tmp_path, "bad:BadHarness", A_FEW, "--time-scale=0.2", PYTHONPATH=str(tmp_path))
    assert done.returncode == 1, done.stdout + done.stderr
    assert "FAIL      ack.final: " in done.stdout
    assert "rule: An acked message does not come back" in done.stdout
    assert "memory does NOT conform to pubsubkit contract 1.0: it breaks ack.final" in done.stdout.splitlines()[-1]


def test_a_backend_that_blocks_the_loop(tmp_path: Path):
    """A backend that never lets the event loop go fails its cases; the run goes on and ends."""
    (tmp_path / "bad.py").write_text(
        """
from pubsubkit_memory.delivery import MemoryDelivery
from pubsubkit_memory.testing import MemoryHarness
async def settle(self, settlement):
    while True:
        pass
class BadHarness(MemoryHarness):
    async def start(self):
        MemoryDelivery.settle, MemoryDelivery.settle_now = settle, lambda *_: False
"""
    )
    done = run(tmp_path, "bad:BadHarness", "--only=term", "--time-scale=0.02", PYTHONPATH=str(tmp_path))
    assert done.returncode == 1, done.stdout + done.stderr
    assert "blocked the event loop for 0.2 s" in done.stdout, done.stdout
    assert "memory does NOT conform" in done.stdout


@pytest.mark.parametrize(
    ("sabotage", "words"),
    [
        ("requested.targets = None", "TypeError"),
        ("plugin.pytest_collection_modifyitems = lambda config, items: 1 / 0", "ZeroDivisionError"),
    ],
)
def test_an_error_of_the_run_itself(tmp_path: Path, sabotage: str, words: str):
    """It is shown, and is no interruption."""
    (tmp_path / "bad.py").write_text(
        f"""
from pubsubkit_contract import plugin, requested
from pubsubkit_memory.testing import MemoryHarness
class BadHarness(MemoryHarness): pass
{sabotage}
"""
    )
    done = run(tmp_path, "bad:BadHarness", A_FEW, PYTHONPATH=str(tmp_path))
    assert (done.returncode, words in done.stdout) == (1, True), done.stdout + done.stderr


def test_the_url_of_the_environment(tmp_path: Path):
    """Without an argument it is PUBSUBKIT_URL, or --url; without any it says what to do."""
    assert run(tmp_path, A_FEW, PUBSUBKIT_URL="memory://").returncode == 0
    assert run(tmp_path, A_FEW, "--url=memory://").returncode == 0
    done = run(tmp_path, A_FEW)
    assert (done.returncode, "no broker given" in done.stderr) == (2, True)


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ("nosuch://", "no backend for scheme 'nosuch'"),
        ("nats://u:hunter2@h?tokn=hunter2", "did you mean 'token'"),
        ("nosuch.module:Harness", "No module named"),
    ],
)
def test_a_target_that_cannot_be_opened(tmp_path: Path, target: str, words: str):
    """A wrong target is one line on stderr without secrets, and exit code 2."""
    done = run(tmp_path, target)
    assert (done.returncode, done.stdout) == (2, "")
    assert len(done.stderr.splitlines()) == 1
    assert words in done.stderr
    assert "hunter2" not in done.stderr


def test_a_wrong_group(tmp_path: Path):
    """A misspelt group is exit code 2, with the groups that there are."""
    done = run(tmp_path, "memory://", "--only=akc")
    assert (done.returncode, "there are: ack, " in done.stderr) == (2, True), done.stderr


@pytest.mark.parametrize("form", ["--json", "--html", "--markdown"])
def test_a_report_that_cannot_be_written(form: str):
    """It is told before the run, with exit code 2."""
    result = CliRunner().invoke(application, ["contract", "nosuch://", form, "nosuch/report"])
    assert (result.exit_code, result.stdout) == (2, "")
    assert "cannot write a file in 'nosuch'" in result.stderr


def test_a_broker_that_is_not_there(tmp_path: Path):
    """An unreachable broker is one line on stderr without secrets and exit code 2, and no case runs on any target."""
    done = run(tmp_path, "memory://", "nats://u:hunter2@127.0.0.1:1", A_FEW)
    assert (done.returncode, done.stdout) == (2, "")
    assert len(done.stderr.splitlines()) == 1
    assert "Connect call failed" in done.stderr
    assert "hunter2" not in done.stderr


def test_nothing_of_the_place_interferes(tmp_path: Path):
    """Configuration, conftest and plugins of the folder where it runs do not change the verdict."""
    (tmp_path / "pytest.ini").write_text("[pytest]\naddopts = --nonsense\n")
    (tmp_path / "conftest.py").write_text("raise SystemExit('conftest was loaded')\n")
    done = run(tmp_path, "memory://", A_FEW, PYTEST_ADDOPTS="--nonsense", PYTEST_PLUGINS="nosuch")
    assert done.returncode == 0, done.stdout + done.stderr


def test_progress_on_a_terminal(tmp_path: Path):
    """On a terminal one line tells the case that runs, and is gone at the end."""
    screen, terminal = pty.openpty()
    process = subprocess.Popen([*COMMAND, "memory://", A_FEW], cwd=tmp_path, stdout=terminal, stderr=terminal)
    os.close(terminal)
    shown = b""
    try:
        while chunk := os.read(screen, 4096):
            shown += chunk
    except OSError:
        pass  # the end, on Linux
    os.close(screen)
    assert process.wait(60) == 0
    text = shown.decode()
    assert "ack.final  An acked message" in text
    assert text.rpartition("\r\x1b[K")[2].lstrip().startswith("memory  (in this process")


def test_ctrl_c(tmp_path: Path):
    """Ctrl-C ends it with 130, without a traceback, and stops the broker that it started."""
    command = [*COMMAND, "pubsubkit_nats.testing:NatsHarness"]
    process = subprocess.Popen(
        command,
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "TMPDIR": str(tmp_path)},
    )
    assert process.stdout is not None
    assert "cases" in process.stdout.readline()
    while not list(tmp_path.glob("pubsubkit-nats-*/*.ports")):
        assert process.poll() is None
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, out + err
    assert "Traceback" not in out + err
    assert list(tmp_path.glob("pubsubkit-nats-*")) == []


@pytest.mark.timeout(30)  # much less than a case may take
@pytest.mark.parametrize("where", ["in_the_loop", "in_a_task"])
def test_ctrl_c_in_a_case(tmp_path: Path, where: str):
    """Ctrl-C while a case waits ends it with 130 and without a word, whatever runs at that moment; the case cleans up
    before the harness is stopped.
    """
    (tmp_path / "slow.py").write_text(
        f"""
import asyncio, os, signal
from pubsubkit_memory.delivery import MemoryDelivery
from pubsubkit_memory.testing import MemoryHarness
def note(text):
    with open("order", "a") as file:
        print(text, file=file)
def in_the_loop():
    asyncio.get_running_loop().call_soon(os.kill, os.getpid(), signal.SIGINT)
def in_a_task():
    async def strike():
        os.kill(os.getpid(), signal.SIGINT)
    global striking
    striking = asyncio.ensure_future(strike())
settling = MemoryDelivery.settle
async def settle(self, settlement):
    MemoryDelivery.settle = settling
    {where}()
    try:
        await asyncio.sleep(60)
    finally:
        await asyncio.sleep(0.01)
        note("case")
class SlowHarness(MemoryHarness):
    async def start(self):
        MemoryDelivery.settle, MemoryDelivery.settle_now = settle, lambda *_: False
    async def stop(self):
        note("harness")
"""
    )
    done = run(tmp_path, "slow:SlowHarness", "--only=ack", PYTHONPATH=str(tmp_path))
    assert (done.returncode, done.stderr) == (130, ""), done.stdout + done.stderr
    assert "Traceback" not in done.stdout
    assert (tmp_path / "order").read_text().split() == ["case", "harness"]
