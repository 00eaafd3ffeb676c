"""The pytest plugin in runs of its own, outside of this repository."""

import subprocess
import sys
from pathlib import Path


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120, check=False)


def test_a_url_is_enough(tmp_path: Path):
    """--pubsubkit-contract=URL runs the whole contract in an empty directory."""
    done = run(tmp_path, "--pubsubkit-contract=memory://")
    assert done.returncode == 0, done.stdout
    assert " passed" in done.stdout
    assert "test_roundtrip" in run(tmp_path, "--pubsubkit-contract=memory://", "-vv", "-k", "roundtrip").stdout


def test_beside_tests_of_ones_own(tmp_path: Path):
    """Files that are named on the command line run beside the contract."""
    (tmp_path / "test_mine.py").write_text("def test_mine(): pass\n")
    done = run(tmp_path, "test_mine.py", "--pubsubkit-contract=memory://", "-k", "mine or roundtrip")
    assert "2 passed" in done.stdout, done.stdout


def test_a_subclass(tmp_path: Path):
    """A subclass with a url runs the contract from a test file, with or without an asyncio plugin."""
    source = "from pubsubkit_contract import ContractSuite\nclass TestIt(ContractSuite):\n    url = 'memory://'\n"
    (tmp_path / "test_it.py").write_text(source)
    for extra in ((), ("-p", "no:asyncio")):
        done = run(tmp_path, *extra, "-k", "roundtrip or resume")
        assert "2 passed" in done.stdout, done.stdout


def test_a_broken_backend_fails(tmp_path: Path):
    """A backend that drops every seventh message fails the contract."""
    source = """
import itertools
from pubsubkit import register_backend
from pubsubkit.receipt import PublishReceipt
from pubsubkit_contract import ContractSuite
from pubsubkit_memory import MemoryDriver

count = itertools.count(1)

class Drops(MemoryDriver):
    async def send(self, messages, timeout):
        kept = [message for message in messages if next(count) % 7]
        return [*await super().send(kept, timeout), *[PublishReceipt("s", 1)] * (len(messages) - len(kept))]

register_backend("drops", Drops)

class TestDrops(ContractSuite):
    url = "drops://"
"""
    (tmp_path / "test_drops.py").write_text(source)
    done = run(tmp_path, "-k", "no_loss")
    assert done.returncode == 1, done.stdout
    assert "1 failed" in done.stdout


def test_a_url_without_backend_fails(tmp_path: Path):
    """A URL that no backend takes is a usage error in one line, without its secrets; nothing is skipped."""
    for url, words in (
        ("nosuch://", "no backend for scheme"),
        ("", "empty"),
        ("nats://u:hunter2@h?tokn=hunter2", "token"),
    ):
        done = run(tmp_path, f"--pubsubkit-contract={url}")
        assert done.returncode == 4
        assert words in done.stderr
        assert "hunter2" not in done.stdout + done.stderr


def test_failures_show_no_secrets(tmp_path: Path):
    """A broker that cannot be reached fails the cases; pytest's tracebacks do not show the URL's password."""
    done = run(tmp_path, "--pubsubkit-contract=nats://u:hunter2@127.0.0.1:1", "-k", "roundtrip")
    assert "1 failed" in done.stdout
    assert "hunter2" not in done.stdout + done.stderr


def test_nothing_is_left_behind(tmp_path: Path):
    """The suite deletes every stream that it made, also in cases that close their backend."""
    source = """
import asyncio, pytest
from pubsubkit_contract import ContractSuite
from pubsubkit_memory import Broker

class TestIt(ContractSuite):
    url = "memory://left-behind"

def test_zz_clean():
    assert "streams=[]" in repr(Broker.named("left-behind"))
"""
    (tmp_path / "test_it.py").write_text(source)
    done = run(tmp_path)
    assert done.returncode == 0, done.stdout


def test_other_runs_are_left_alone(tmp_path: Path):
    """Without the option the plugin collects nothing and imports nothing but itself."""
    (tmp_path / "test_mine.py").write_text(
        "import sys\ndef test_mine():\n"
        "    assert not {'pubsubkit', 'nats', 'pubsubkit_contract.kit'} & set(sys.modules)\n"
    )
    assert "1 passed" in run(tmp_path).stdout
