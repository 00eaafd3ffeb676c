"""The pytest plugin in runs of its own, outside of this repository."""

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from pubsubkit_contract.outcome import Level, Outcome
from pubsubkit_contract.records import Collected, case_record
from pubsubkit_contract.runner import Result
from pubsubkit_contract.suite import ContractSuite, cases_of

MEMORY = "--pubsubkit-contract=memory://"
A_FEW = "--pubsubkit-only=ack,term"


def run(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *arguments]
    env = {**os.environ, **environment}
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120, check=False, env=env)


def suite(folder: Path, body: str) -> None:
    """Write a test file that has a subclass of the suite."""
    source = "from pubsubkit_contract import *\nfrom pubsubkit_contract import ContractSuite\n" + body
    (folder / "test_it.py").write_text(source)


def record(result: Result) -> str:
    """What a test of a made-up target leaves in its report."""
    target = {"name": "it", "harness": "it:It", "suite": "TestIt", "place": "f::TestIt", "overridden": []}
    target |= {"address": "it://", "backend": {"distribution": "it", "version": "1"}, "broker": "it", "seed": 1}
    target |= {"declared": [], "withheld": []}
    return json.dumps({"target": target, "case": dataclasses.asdict(case_record(result))})


def report(folder: Path) -> dict[str, Any]:
    """The only target of the report that was written."""
    [target] = json.loads((folder / "report.json").read_text())["targets"]
    return target


def test_a_url_is_enough(tmp_path: Path):
    """In an empty directory a URL runs the whole contract, in two processes as well; all ends in one verdict."""
    done = run(tmp_path, MEMORY, "-n", "2", "--pubsubkit-report=report.json", "--junitxml=junit.xml")
    assert done.returncode == 0, done.stdout
    assert "memory conforms to pubsubkit contract 1.0" in done.stdout
    target = report(tmp_path)
    assert (target["verdict"], target["unproved"]) == ("conformant", [])
    assert set(target["proved"]) == set(target["declared"])
    outcomes = {case["id"]: case["outcome"] for case in target["cases"]}
    assert (outcomes["ack.final"], outcomes["settle.unsupported"]) == ("pass", "not_applicable")
    assert all(case["evidence"] for case in target["cases"] if case["outcome"] == "pass")
    properties = ET.parse(tmp_path / "junit.xml").iter("property")
    assert len([each for each in properties if each.get("name") == "pubsubkit_contract"]) == len(target["cases"])


def test_a_part_of_it(tmp_path: Path):
    """Some groups, or whatever pytest selects, give no verdict on the whole; a wrong group is a usage error."""
    done = run(tmp_path, MEMORY, A_FEW)
    assert done.returncode == 0, done.stdout
    assert "only a part of pubsubkit contract 1.0 was run" in done.stdout
    assert "Acknowledgement" in done.stdout
    assert "Core delivery" not in done.stdout
    wrong = run(tmp_path, MEMORY, "--pubsubkit-only=akc")
    assert (wrong.returncode, "no group akc; there are: ack" in wrong.stderr) == (4, True)


def test_several_targets(tmp_path: Path):
    """Several targets stand side by side in one report."""
    done = run(tmp_path, MEMORY, "--pubsubkit-contract=pubsubkit_nats.testing:NatsHarness", A_FEW)
    assert done.returncode == 0, done.stdout
    assert "pubsubkit contract 1.0: memory" in done.stdout
    assert "pubsubkit contract 1.0: nats" in done.stdout


def test_beside_tests_of_ones_own(tmp_path: Path):
    """Files that are named on the command line run beside the contract."""
    (tmp_path / "test_mine.py").write_text("def test_mine(): pass\n")
    done = run(tmp_path, "test_mine.py", MEMORY, "-k", "test_mine or core_receipt")
    assert done.returncode == 0, done.stdout
    assert "2 passed" in done.stdout


@pytest.mark.parametrize("extra", [(), ("-p", "no:asyncio"), ("-o", "asyncio_mode=auto"), ("-n", "2")])
def test_a_subclass(tmp_path: Path, extra: tuple[str, ...]):
    """A subclass with a harness runs the contract from a test file, whatever async plugin is there."""
    suite(tmp_path, "class TestIt(ContractSuite):\n    harness = 'pubsubkit_memory.testing:MemoryHarness'\n")
    done = run(tmp_path, *extra, A_FEW)
    assert done.returncode == 0, done.stdout
    assert "passed" in done.stdout


def test_without_autoload(tmp_path: Path):
    """With plugin autoload disabled -p brings the plugin, and failures still show what was compared."""
    suite(
        tmp_path,
        """
class TestIt(ContractSuite):
    url = 'memory://'
import pubsubkit_memory.delivery as delivery
async def settle(self, settlement): pass
delivery.MemoryDelivery.settle, delivery.MemoryDelivery.settle_now = settle, lambda *_: False
""",
    )
    done = run(tmp_path, "-p", "pubsubkit_contract.plugin", A_FEW, PYTEST_DISABLE_PLUGIN_AUTOLOAD="1")
    assert done.returncode == 1
    assert "rule ack.final: An acked message does not come back" in done.stdout
    assert "received b'acked'" in done.stdout
    assert "does NOT conform" in done.stdout


def test_a_missing_knob_leaves_the_verdict_open():
    """What the harness cannot do is not run, which is no pass: the exit code says so, also when all else has passed."""
    for level, code in ((Level.MUST, 1), (Level.SHOULD, 0)):
        collected = Collected()
        for number, case in enumerate(cases_of(ContractSuite).values()):
            outcome = Outcome.NOT_RUN if number == 0 else Outcome.PASS
            result = Result(case=dataclasses.replace(case, level=level), outcome=outcome, seconds=0.1)
            target = {"name": "it", "harness": "it:It", "suite": "TestIt", "place": "f::TestIt", "overridden": []}
            target |= {"address": "it://", "backend": {"distribution": "it", "version": "1"}, "broker": "it", "seed": 1}
            value = {
                "target": {**target, "declared": [], "withheld": []},
                "case": dataclasses.asdict(case_record(result)),
            }
            collected.add(json.dumps(value))
        assert collected.exit_code() == code
        assert ("INCOMPLETE" in collected.report().targets[0].summary) is bool(code)


def test_all_skipped_is_no_success(tmp_path: Path):
    """A run in which no case passed fails."""
    done = run(tmp_path, MEMORY, "--pubsubkit-only=flt", "-k", "blackhole")
    assert (done.returncode, "1 skipped" in done.stdout) == (1, True), done.stdout


def test_a_replaced_case_is_a_deviation(tmp_path: Path):
    """A method that hides a case is reported, whatever it does."""
    suite(
        tmp_path,
        """
class TestIt(ContractSuite):
    url = 'memory://'
    def test_ack_final(self): pass
""",
    )
    done = run(tmp_path, "-n", "2", "--pubsubkit-report=report.json")
    assert done.returncode == 0, done.stdout
    assert "EXCEPT for declared deviations: ack.final" in done.stdout
    [row] = [case for case in report(tmp_path)["cases"] if case["outcome"] == "deviation"]
    assert (row["id"], row["reason"]) == ("ack.final", "replaced by a method of TestIt")


def test_deviations_and_withheld_capabilities(tmp_path: Path):
    """What the harness withholds and declares is in the report; a deviation that passes fails the run."""
    suite(
        tmp_path,
        """
from pubsubkit import Capability
from pubsubkit_memory.testing import MemoryHarness
class Mine(MemoryHarness):
    withheld = frozenset({Capability.TERM})
    deviations = {"ack.idempotent": Deviation(reason="a known fault", issue="#7")}
class TestIt(ContractSuite):
    harness = Mine
""",
    )
    done = run(tmp_path, "--pubsubkit-only=ack,term,settle", "--pubsubkit-report=report.json")
    assert done.returncode == 1, done.stdout
    assert "it passes, but is declared a deviation: a known fault (#7)" in done.stdout
    target = report(tmp_path)
    outcomes = {case["id"]: case["outcome"] for case in target["cases"]}
    assert outcomes["term.final"] == "not_applicable"
    assert outcomes["settle.unsupported"] == "pass"
    assert target["withheld"] == ["term"]


def test_an_unknown_capability_is_an_error(tmp_path: Path):
    """A capability that does not exist cannot be withheld by a slip of the pen."""
    suite(tmp_path, "from pubsubkit import Capability\nCapability.NACK\n")
    assert "NACK" in run(tmp_path).stdout


def test_a_broken_backend_fails(tmp_path: Path):
    """A backend that drops every seventh message does not conform, and the case says so."""
    suite(
        tmp_path,
        """
import itertools
from pubsubkit import register_backend
from pubsubkit.receipt import PublishReceipt
from pubsubkit_memory import MemoryDriver
count = itertools.count(1)
class Drops(MemoryDriver):
    async def send(self, messages, timeout):
        kept = [message for message in messages if next(count) % 7]
        return [*await super().send(kept, timeout), *[PublishReceipt("s", 1)] * (len(messages) - len(kept))]
register_backend("drops", Drops)
class TestDrops(ContractSuite):
    url = "drops://"
""",
    )
    done = run(tmp_path, "-k", "no_loss", "--pubsubkit-time-scale=0.1")
    assert done.returncode == 1, done.stdout
    assert "does NOT conform to pubsubkit contract 1.0: it breaks core.no_loss_no_extra" in done.stdout


def test_a_url_without_backend_fails(tmp_path: Path):
    """A target that cannot be had is a usage error in one line, without its secrets; nothing is skipped."""
    for target, words in (
        ("nosuch://", "no backend for scheme"),
        ("", "neither a URL nor a harness"),
        ("nosuch.module:Harness", "No module named"),
        ("nats://u:hunter2@h?tokn=hunter2", "token"),
    ):
        done = run(tmp_path, f"--pubsubkit-contract={target}")
        assert done.returncode == 4
        assert words in done.stderr
        assert "hunter2" not in done.stdout + done.stderr


def test_failures_show_no_secrets(tmp_path: Path):
    """A broker that cannot be reached fails every case at once; nowhere does the URL's password show."""
    target = "--pubsubkit-contract=nats://u:hunter2@127.0.0.1:1"
    done = run(tmp_path, target, "--pubsubkit-report=report.json", "--junitxml=junit.xml", "--showlocals")
    assert done.returncode == 1
    assert "nats does NOT conform" in done.stdout
    assert "passed" not in done.stdout
    written = [(tmp_path / name).read_text() for name in ("report.json", "junit.xml")]
    assert "hunter2" not in "".join([done.stdout, done.stderr, *written])


def test_nothing_is_left_behind(tmp_path: Path):
    """The suite deletes every stream that it made, also in cases that close their backend."""
    suite(
        tmp_path,
        """
from pubsubkit_memory import Broker
from pubsubkit_memory.testing import MemoryHarness
class Keeping(MemoryHarness):
    async def stop(self): pass
class TestIt(ContractSuite):
    harness = Keeping("memory://left-behind")
def test_zz_clean():
    assert "streams=[]" in repr(Broker.named("left-behind"))
""",
    )
    done = run(tmp_path)
    assert done.returncode == 0, done.stdout


def test_other_runs_are_left_alone(tmp_path: Path):
    """Without the option the plugin collects nothing, imports nothing but itself, and shows no fixture."""
    (tmp_path / "test_mine.py").write_text(
        "import sys\ndef test_mine():\n"
        "    ours = {name for name in sys.modules if name.startswith(('pubsubkit', 'nats'))}\n"
        "    assert ours == {'pubsubkit_contract', 'pubsubkit_contract.plugin'}\n"
    )
    done = run(tmp_path)
    assert "1 passed" in done.stdout, done.stdout
    assert "contract" not in done.stdout
    assert "pubsubkit" not in run(tmp_path, "--fixtures").stdout


def test_the_seed_is_told_and_can_be_repeated(tmp_path: Path):
    """The report has the seed, the same in all processes, and --pubsubkit-seed sets it."""
    run(tmp_path, MEMORY, A_FEW, "-n", "2", "--pubsubkit-report=report.json")
    assert isinstance(report(tmp_path)["seed"], int)
    run(tmp_path, MEMORY, A_FEW, "--pubsubkit-seed=42", "--pubsubkit-report=report.json")
    assert report(tmp_path)["seed"] == 42


def test_two_suites_of_one_name_are_two(tmp_path: Path):
    """A suite in another file with the same name does not hide what the first one found."""
    body = """
from pubsubkit_contract import ContractSuite
from pubsubkit_memory.testing import MemoryHarness
class Here(MemoryHarness):
    async def start(self):
        if {broken}:
            raise FileNotFoundError("no such broker")
class TestContract(ContractSuite):
    harness = Here
"""
    for name, broken in (("a", True), ("b", False)):
        (tmp_path / f"test_{name}.py").write_text(body.format(broken=broken))
    done = run(tmp_path, "--pubsubkit-only=term", "--pubsubkit-report=report.json")
    assert done.returncode == 1
    targets = json.loads((tmp_path / "report.json").read_text())["targets"]
    found = {target["name"].partition(" ")[2]: target["verdict"] for target in targets}
    assert found == {"(test_a.py::TestContract)": "not conformant", "(test_b.py::TestContract)": "partial"}


def test_two_suites_of_one_harness_share_it(tmp_path: Path):
    """A harness that two suites have in common is started and stopped once."""
    body = """
from pubsubkit_memory.testing import MemoryHarness
class Here(MemoryHarness):
    async def start(self):
        print("START")
    async def stop(self):
        print("STOP")
here = Here()
class TestOne(ContractSuite):
    harness = here
class TestTwo(ContractSuite):
    harness = here
"""
    suite(tmp_path, body)
    done = run(tmp_path, "--pubsubkit-only=term", "-s")
    assert done.returncode == 0, done.stdout
    assert (done.stdout.count("START"), done.stdout.count("STOP")) == (1, 1)


def test_the_gravest_of_several_results_counts():
    """A case that failed and passed when it was run again has failed."""
    case = next(iter(cases_of(ContractSuite).values()))
    for order in ((Outcome.FAIL, Outcome.PASS), (Outcome.PASS, Outcome.FAIL)):
        collected = Collected()
        for outcome in order:
            result = Result(case=case, outcome=outcome, seconds=0.1)
            collected.add(record(result))
        assert collected.report().targets[0].cases[0].outcome is Outcome.FAIL


def test_a_faked_case_is_a_deviation(tmp_path: Path):
    """A case that is declared anew, or wrapped, stands for what it hides no more than any other method."""
    suite(
        tmp_path,
        """
import functools
from pubsubkit_contract.case import case
class TestIt(ContractSuite):
    url = 'memory://'
    @case("ack.final", why="x")
    async def test_ack_final(self, kit):
        '''It is fine.'''
        kit.note("fine")
    @functools.wraps(ContractSuite.test_term_final)
    def test_term_final(self): pass
""",
    )
    done = run(tmp_path, A_FEW, "--pubsubkit-report=report.json")
    outcomes = {case["id"]: (case["outcome"], case["rule"]) for case in report(tmp_path)["cases"]}
    assert outcomes["ack.final"][0] == outcomes["term.final"][0] == "deviation", done.stdout
    assert outcomes["ack.final"][1].startswith("An acked message")


@pytest.mark.parametrize(
    "body",
    [
        "import pytest\npytestmark = pytest.mark.skip('no broker')\nclass TestIt(ContractSuite):\n    url = 'memory://'\n",
        """
import pytest
from pubsubkit_memory.testing import MemoryHarness
class Absent(MemoryHarness):
    async def start(self):
        pytest.skip("no broker")
class TestIt(ContractSuite):
    harness = Absent
""",
    ],
    ids=["mark", "harness"],
)
def test_skipping_is_no_success(tmp_path: Path, body: str):
    """However a suite is skipped, the run fails, and a report of another day does not survive it."""
    suite(tmp_path, body)
    (tmp_path / "report.json").write_text("{}")
    for extra in ((), ("-n", "2")):
        done = run(tmp_path, A_FEW, "--pubsubkit-report=report.json", *extra)
        assert done.returncode == 1, done.stdout
        assert "no broker" in done.stdout or "were skipped before they ran" in done.stdout
    assert not (tmp_path / "report.json").exists() or report(tmp_path)["verdict"] == "not conformant"


@pytest.mark.parametrize(
    "option", ["--pubsubkit-time-scale=0", "--pubsubkit-time-scale=nan", "--pubsubkit-report=no/r"]
)
def test_a_bad_option_is_refused_at_once(tmp_path: Path, option: str):
    """A factor that is not above 0, or a report that cannot be written, is a usage error before anything runs."""
    done = run(tmp_path, MEMORY, f"--pubsubkit-{option}")
    assert (done.returncode, "passed" in done.stdout) == (4, False)
