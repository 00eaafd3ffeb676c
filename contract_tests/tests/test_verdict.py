"""What is said of a backend: the verdict and its grounds."""

import pytest

from pubsubkit.driver import Capability
from pubsubkit_contract import verdict
from pubsubkit_contract.outcome import Level, Outcome, Verdict
from pubsubkit_contract.proofs import PROOFS
from pubsubkit_contract.report.model import CaseRecord
from pubsubkit_contract.suite import ContractSuite, cases_of
from pubsubkit_contract.verdict import Judgement, judge


@pytest.fixture(autouse=True)
def proofs(monkeypatch: pytest.MonkeyPatch):
    """Two capabilities, each shown by a case of its own."""
    monkeypatch.setattr(verdict, "PROOFS", {"a": ("g.a",), "b": ("g.b",)})


def record(name: str, outcome: Outcome, *needs: str, level: Level = Level.MUST, reason: str = "") -> CaseRecord:
    return CaseRecord(name, "rule", "why", level, "1.0", needs, outcome, 0.1, reason, ())


def judged(*cases: CaseRecord, declared: str = "a", withheld: str = "", complete: bool = True) -> Judgement:
    return judge("it", declared.split(), withheld.split(), cases, complete=complete)


GOOD = record("g.a", Outcome.PASS, "a")


def test_it_conforms():
    """Every case that applies has passed and every claim is proved."""
    found = judged(GOOD, record("g.b", Outcome.NOT_APPLICABLE, "b"))
    assert (found.verdict, found.proved, found.unproved) == (Verdict.CONFORMANT, ("a",), ())
    assert found.summary == "it conforms to pubsubkit contract 1.0"


@pytest.mark.parametrize("outcome", [Outcome.NOT_APPLICABLE, Outcome.DEVIATION])
def test_a_claim_that_nothing_proves(outcome: Outcome):
    """A capability that is claimed and that no case has proved is a claim too many."""
    found = judged(GOOD, record("g.b", outcome, "a", "b"), declared="a b")
    assert found.verdict is Verdict.NOT_CONFORMANT
    assert found.unproved == ("b",)
    assert "it claims b, and no case could prove that" in found.summary


def test_a_claim_that_is_broken_once():
    """A capability of which one case has failed is not proved by others that passed."""
    found = judged(GOOD, record("g.b", Outcome.FAIL, "a"))
    assert (found.verdict, found.unproved) == (Verdict.NOT_CONFORMANT, ("a",))
    assert "it breaks g.b" in found.summary


def test_what_was_not_run_leaves_it_open():
    """A case that could not be run makes the verdict incomplete, also when it alone could prove a claim."""
    found = judged(GOOD, record("g.b", Outcome.NOT_RUN, "b"), declared="a b")
    assert found.verdict is Verdict.INCOMPLETE
    assert "1 cases could not be run: g.b" in found.summary


def test_a_failure_counts_more_than_what_is_open():
    """A broken rule decides, whatever was not run or not asked for."""
    cases = (GOOD, record("g.b", Outcome.NOT_RUN), record("g.c", Outcome.FAIL))
    assert judged(*cases).verdict is Verdict.NOT_CONFORMANT
    assert judged(*cases, complete=False).verdict is Verdict.NOT_CONFORMANT


def test_a_part_is_no_verdict():
    """Of a part of the cases nothing is said but that it was a part."""
    assert judged(GOOD, complete=False).verdict is Verdict.PARTIAL


def test_advice_and_deviations():
    """Advice that is not followed, and a declared deviation, are named in the verdict and do not change it."""
    found = judged(GOOD, record("g.b", Outcome.FAIL, level=Level.SHOULD), record("g.c", Outcome.DEVIATION))
    assert found.verdict is Verdict.CONFORMANT
    assert found.summary.startswith("it conforms to pubsubkit contract 1.0 EXCEPT for declared deviations: g.c")
    assert found.summary.endswith("; it does not follow the advice of g.b")


def test_what_is_withheld_is_no_claim():
    """The harness withholds a capability: nothing has to prove it."""
    assert judged(GOOD, declared="a b", withheld="b").verdict is Verdict.CONFORMANT


def test_many_failures_are_told_shortly():
    """One reason for all is told once; of many cases the first are named."""
    same = [record(f"g.{number}", Outcome.FAIL, reason="no server") for number in range(40)]
    assert judged(*same).summary == "it does NOT conform to pubsubkit contract 1.0: no server"
    assert "it breaks g.0, g.1, " in judged(GOOD, *same).summary, "where something works the cases tell more"
    other = [record(f"g.{number}", Outcome.FAIL, reason=str(number)) for number in range(40)]
    assert "g.11 and 28 more" in judged(*other).summary


def test_needing_is_no_proof():
    """A case that needs a capability on the way and passes does not prove it: only those that are about it do."""
    found = judged(GOOD, record("g.c", Outcome.PASS, "a", "b"), declared="a b")
    assert (found.verdict, found.unproved) == (Verdict.NOT_CONFORMANT, ("b",))


def test_every_capability_has_its_proof():
    """Each capability is proved by cases that exist and need it."""
    cases = cases_of(ContractSuite)
    assert PROOFS.keys() == set(Capability)
    for capability, ids in PROOFS.items():
        assert ids
        assert all(capability in cases[case_id].needs for case_id in ids), capability
