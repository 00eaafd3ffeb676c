"""Use the installed contract suite in every form, and check exit codes and verdicts: contract_forms.py GROUP.

Each form runs in an empty folder of its own, two at a time.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

SHELF = "--pubsubkit-contract=pubsubkit_shelf.testing:ShelfHarness"
SUBCLASS = """
from pubsubkit_contract import ContractSuite
from pubsubkit_shelf.testing import ShelfHarness

class TestShelf(ContractSuite):
    harness = ShelfHarness
"""
FOREIGN = """
import sys

def test_foreign():
    ours = {name for name in sys.modules if name.startswith("pubsubkit")}
    assert ours == {"pubsubkit_contract", "pubsubkit_contract.plugin"}
    assert "nats" not in sys.modules
"""
ASYNC = """
import asyncio
import pytest

@pytest.mark.asyncio
async def test_of_ones_own():
    await asyncio.sleep(0)
"""
AUTO = """[pytest]
asyncio_mode = auto
asyncio_default_fixture_loop_scope = function
filterwarnings = error
"""
ANYIO = """
import anyio
import pytest

pytestmark = pytest.mark.anyio

@pytest.fixture
def anyio_backend():
    return "asyncio"

async def test_of_ones_own():
    await anyio.sleep(0)
"""

GROUPS: dict[str, list[Callable[[Path], None]]] = {"alone": [], "beside-plugins": []}


def form(group: str) -> Callable[[Callable[[Path], None]], Callable[[Path], None]]:
    def declare(function: Callable[[Path], None]) -> Callable[[Path], None]:
        GROUPS[group].append(function)
        return function

    return declare


def run(folder: Path, command: str, *arguments: str, code: int = 0, **environment: str) -> str:
    """Run an installed command in *folder*; return its output when the exit code is *code*."""
    done = subprocess.run(  # noqa: S603 - our own command lines
        [str(Path(sys.executable).with_name(command)), *arguments],
        cwd=folder,
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=150,
        check=False,
    )
    end = "\n".join(done.stdout.splitlines()[-100:])
    assert done.returncode == code, f"exit code {done.returncode}, expected {code}\n{end}"
    return done.stdout


def conforms(output: str, name: str) -> None:
    assert output.count(f"{name} conforms to pubsubkit contract") == 1, output
    assert "failed" not in output, output


def breaks(output: str, name: str) -> None:
    assert output.count(f"{name} does NOT conform to pubsubkit contract") == 1, output


def target(folder: Path, name: str = "r.json") -> dict[str, object]:
    (found,) = json.loads((folder / name).read_text(encoding="utf-8"))["targets"]
    return found


@form("alone")
def nats_by_its_harness(folder: Path) -> None:
    conforms(run(folder, "pytest", "--pubsubkit-contract=pubsubkit_nats.testing:NatsHarness"), "nats")


@form("alone")
def memory_by_its_url(folder: Path) -> None:
    conforms(run(folder, "pytest", "--pubsubkit-contract=memory://"), "memory")


@form("alone")
def a_foreign_harness(folder: Path) -> None:
    conforms(run(folder, "pytest", SHELF, "--pubsubkit-report=r.json"), "shelf")
    found = target(folder)
    assert found["verdict"] == "conformant"
    assert found["proved"] == found["declared"]
    assert found["backend"] == {"distribution": "pubsubkit-shelf", "version": "0.1.0"}


@form("alone")
def a_foreign_url_without_entry_points_of_plugins(folder: Path) -> None:
    alone = {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    asked = ("-p", "pubsubkit_contract.plugin", "--pubsubkit-contract=shelf://x")
    conforms(run(folder, "pytest", *asked, **alone), "shelf")
    for environment in (alone, {}):
        asked = ("-p", "pubsubkit_contract.plugin", "--pubsubkit-contract=shelf://x", "--pubsubkit-only=core")
        assert "shelf: only a part of pubsubkit contract" in run(folder, "pytest", *asked, **environment)


@form("alone")
def a_claim_that_is_not_kept(folder: Path) -> None:
    output = run(folder, "pytest", "--pubsubkit-contract=lying://x", "--pubsubkit-time-scale=0.1", code=1)
    breaks(output, "lying")
    assert "it breaks term.settled (" in output


@form("alone")
def a_message_that_is_lost(folder: Path) -> None:
    command = ("pytest", "--pubsubkit-contract=forgetful://x", "--pubsubkit-time-scale=0.05")
    breaks(run(folder, *command, "--pubsubkit-report=r.json", code=1), "forgetful")
    failed = {case["id"] for case in target(folder)["cases"] if case["outcome"] == "fail"}
    assert "nak.repeat" in failed


@form("alone")
def two_at_once(folder: Path) -> None:
    output = run(folder, "pytest", SHELF, "--pubsubkit-contract=lying://x", "--pubsubkit-only=core,term", code=1)
    assert "shelf: only a part of pubsubkit contract" in output
    breaks(output, "lying")


@form("alone")
def a_subclass(folder: Path) -> None:
    (folder / "test_shelf.py").write_text(SUBCLASS)
    conforms(run(folder, "pytest"), "shelf")


@form("alone")
def the_command(folder: Path) -> None:
    files = ("--json", "r.json", "--html", "r.html", "--markdown", "r.md")
    conforms(run(folder, "pubsubkit", "contract", "memory://", *files), "memory")
    assert target(folder)["verdict"] == "conformant"
    for name in ("r.html", "r.md"):
        assert "memory conforms to pubsubkit contract" in (folder / name).read_text(encoding="utf-8"), name
    breaks(run(folder, "pubsubkit", "contract", "lying://x", "--only", "term", code=1), "lying")
    assert "no backend for scheme" in run(folder, "pubsubkit", "contract", "nosuch://", code=2)


@form("alone")
def a_run_that_is_not_ours(folder: Path) -> None:
    (folder / "test_foreign.py").write_text(FOREIGN)
    assert "1 passed" in run(folder, "pytest")
    fixtures = run(folder, "pytest", "--fixtures", "-q", "--no-header")
    without = run(folder, "pytest", "--fixtures", "-q", "--no-header", "-p", "no:pubsubkit_contract.plugin")
    assert fixtures.splitlines()[:-1] == without.splitlines()[:-1], "all but the time it took"
    assert "cache" in fixtures


@form("beside-plugins")
def spread_over_processes(folder: Path) -> None:
    conforms(run(folder, "pytest", "-n", "2", SHELF, "--pubsubkit-report=r.json"), "shelf")
    assert target(folder)["verdict"] == "conformant"
    output = run(folder, "pytest", "-n", "2", "--pubsubkit-contract=lying://x", "--pubsubkit-only=core,term", code=1)
    breaks(output, "lying")


def beside(folder: Path, name: str, source: str, *options: str) -> None:
    (folder / "test_shelf.py").write_text(SUBCLASS)
    (folder / name).write_text(source)
    output = run(folder, "pytest", *options, "--junitxml=r.xml")
    conforms(output, "shelf")
    assert f'classname="{Path(name).stem}" name="test_of_ones_own' in (folder / "r.xml").read_text()


@form("beside-plugins")
def asyncio_plugin_in_auto_mode(folder: Path) -> None:
    (folder / "pytest.ini").write_text(AUTO)
    beside(folder, "test_mine.py", ASYNC.replace("@pytest.mark.asyncio\n", ""), "-n", "2")


@form("beside-plugins")
def asyncio_plugin_in_strict_mode(folder: Path) -> None:
    beside(folder, "test_mine.py", ASYNC, "-o", "asyncio_mode=strict")


@form("beside-plugins")
def anyio_plugin(folder: Path) -> None:
    beside(folder, "test_mine.py", ANYIO, "-p", "no:asyncio")


def check(function: Callable[[Path], None]) -> bool:
    """Run one form; tell how it went."""
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        try:
            function(Path(folder))
            failure = ""
        except Exception as error:  # noqa: BLE001 - whatever it is, the others are still tried
            failure = f"{type(error).__name__}: {error}\n"
    name = function.__name__.replace("_", " ")
    word = "FAILED" if failure else "ok"
    sys.stdout.write(f"{word}: {name} ({time.monotonic() - started:.1f} s)\n{failure}")
    sys.stdout.flush()
    return not failure


with ThreadPoolExecutor(2) as pool:
    good = list(pool.map(check, GROUPS[sys.argv[1]]))
sys.exit(not all(good))
