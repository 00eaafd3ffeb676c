"""The contract on the backend of somebody else in third_party/, and on two that break a promise."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from installing import pretend_to_install

THIRD_PARTY = Path(__file__).with_name("third_party")


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that, on the path, makes the distribution look installed."""
    folder = tmp_path_factory.mktemp("installed")
    pretend_to_install(THIRD_PARTY, folder)
    return folder


class Suite:
    """Runs the contract on a target, outside of this repository."""

    def __init__(self, installed: Path, folder: Path):
        self._path = os.pathsep.join((str(THIRD_PARTY / "src"), str(installed)))
        self._folder = folder

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--pubsubkit-report=r.json"]
        environment = {**os.environ, "PYTHONPATH": self._path}
        return subprocess.run(
            [*command, *arguments], cwd=self._folder, env=environment, capture_output=True, text=True, check=False
        )

    @property
    def target(self):
        (target,) = json.loads((self._folder / "r.json").read_text())["targets"]
        return target

    @property
    def failed(self) -> set[str]:
        return {case["id"] for case in self.target["cases"] if case["outcome"] == "fail"}


@pytest.fixture
def suite(installed: Path, tmp_path: Path) -> Suite:
    return Suite(installed, tmp_path)


def test_an_honest_backend_conforms(suite: Suite):
    """A backend with few capabilities conforms; everything it claims is proved, and nothing is left open."""
    done = suite.run("--pubsubkit-contract=pubsubkit_shelf.testing:ShelfHarness")
    assert done.returncode == 0, done.stdout
    assert "shelf conforms to pubsubkit contract 1.0" in done.stdout
    target = suite.target
    assert target["backend"] == {"distribution": "pubsubkit-shelf", "version": "0.1.0"}
    assert (target["verdict"], target["unproved"]) == ("conformant", [])
    assert target["proved"] == target["declared"]
    assert {case["outcome"] for case in target["cases"]} == {"pass", "not_applicable"}


def test_its_own_test_file(suite: Suite):
    """The test file of the distribution runs the contract without a line more."""
    file = THIRD_PARTY / "tests" / "test_contract.py"
    done = suite.run(str(file), f"--rootdir={THIRD_PARTY}", "--pubsubkit-only=core,nak")
    assert done.returncode == 0, done.stdout
    assert (suite.target["verdict"], suite.failed) == ("partial", set())


def test_a_claim_that_is_not_kept(suite: Suite):
    """A backend that claims term, which does nothing, does not conform: term is not proved, and the case is named."""
    done = suite.run("--pubsubkit-contract=lying://x", "--pubsubkit-time-scale=0.1")
    assert done.returncode == 1, done.stdout
    assert "lying does NOT conform to pubsubkit contract 1.0: it breaks term.settled" in done.stdout
    assert suite.failed == {"term.settled"}
    assert "term" in suite.target["unproved"]


def test_a_message_that_is_lost(suite: Suite):
    """A backend that loses a message on its second nak does not conform, and the cases are named."""
    done = suite.run("--pubsubkit-contract=forgetful://x", "--pubsubkit-only=core,nak", "--pubsubkit-time-scale=0.1")
    assert done.returncode == 1, done.stdout
    assert "forgetful does NOT conform to pubsubkit contract 1.0" in done.stdout
    assert suite.failed == {"nak.repeat", "nak.counts"}
