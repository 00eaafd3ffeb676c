"""Reports for the tests of their forms: two backends, every outcome, text that needs escaping."""

from pubsubkit_contract.outcome import Level, Outcome, Verdict
from pubsubkit_contract.report.model import GROUPS, CaseRecord, Package, Report, Suite, Target

EVIL = "<script>alert('evidence')</script> & \"quotes\" | pipes ` ticks\nsecond line \udcff"

NAMES = ("first", "second")


def case(name: str, outcome: Outcome = Outcome.PASS, reason: str = "", **fields) -> CaseRecord:
    given = {
        "id": name,
        "rule": f"The rule of {name} is kept.",
        "why": "Applications count on it.",
        "level": Level.MUST,
        "since": "1.0",
        "needs": (),
        "outcome": outcome,
        "seconds": 0.1,
        "reason": reason,
        "evidence": ("received b'acked' (delivery 1, sequence 1)", "acked"),
    }
    return CaseRecord(**given | fields)


def target(name: str, verdict: Verdict, cases, **fields) -> Target:
    given = {
        "name": name,
        "harness": f"pubsubkit_{name}.testing:Harness",
        "address": f"{name}://somewhere",
        "backend": Package(f"pubsubkit-{name}", "0.1.0"),
        "broker": f"{name}-server 2.15.1",
        "seed": 12345,
        "declared": ("ack_wait", "nak", "headers"),
        "withheld": ("headers",),
        "proved": ("ack_wait", "nak"),
        "unproved": (),
        "verdict": verdict,
        "summary": f"{name} is {verdict}: because",
        "cases": tuple(cases),
    }
    return Target(**given | fields)


def report(*targets: Target, **fields) -> Report:
    given = {"suite": Suite("0.1.0", "1.0"), "time": "2026-11-25T14:00:00Z", "python": "3.11.7", "platform": "Linux"}
    return Report(**given | fields, targets=targets)


def example() -> Report:
    """Two targets with 42 cases each, one of them not conformant, with each outcome."""
    names = [f"{group}.{name}" for group in list(GROUPS)[:21] for name in NAMES]
    good = target("memory", Verdict.CONFORMANT, map(case, names))
    changed = {
        "ack.first": case("ack.first", Outcome.FAIL, EVIL, evidence=(EVIL, "then " * 60), why=EVIL, rule=f"A {EVIL}"),
        "dlq.second": case("dlq.second", Outcome.DEVIATION, "issue 12, expires 2027-01-01", level=Level.SHOULD),
        "rst.first": case("rst.first", Outcome.NOT_RUN, "the harness has no restart knob", evidence=()),
        "nak.first": case("nak.first", Outcome.NOT_APPLICABLE, "nak_delay is not claimed", needs=("nak_delay",)),
        "nak.second": case("nak.second", Outcome.NOT_APPLICABLE, "nak_delay is not claimed", needs=("nak_delay",)),
    }
    cases = [changed.get(name) or case(name) for name in names]
    bad = target("nats", Verdict.NOT_CONFORMANT, cases, unproved=("nak",), proved=("ack_wait",))
    return report(good, target("nats", bad.verdict, bad.cases, unproved=("nak",)))
