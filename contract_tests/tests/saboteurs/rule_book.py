"""Writes the rule book from the cases, with the saboteurs as examples: ``python -m saboteurs.rule_book``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pubsubkit.driver import Capability
from pubsubkit_contract.case import CONTRACT_VERSION, anchor
from pubsubkit_contract.proofs import PROOFS
from pubsubkit_contract.report.model import GROUPS
from pubsubkit_contract.suite import ContractSuite, cases_of
from saboteurs.trial import load_all
from saboteurs.unproven import UNPROVEN

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pubsubkit_contract.case import Case

PAGE = Path(__file__).parents[3] / "docs" / "reference" / "contract.md"

_HEAD = f"""\
# The contract, version {CONTRACT_VERSION}

<!-- Generated from the cases by `python -m saboteurs.rule_book`; a test compares. -->

What every backend promises, rule by rule. Each rule is a case of the suite in `pubsubkit-contract-tests`; run all of
them with `pubsubkit contract URL` or `pytest --pubsubkit-contract=HARNESS_OR_URL`. Under *needs* are the capabilities
that a backend must claim for the rule to apply; *without* means that the rule applies when one of them is withheld.
*Knobs* are what the harness must be able to do to the broker. The broken backends are the project's own saboteurs: each
replaces one method, and the tests show that the rule's case catches it.

* **MUST**: a backend that breaks it does not conform. **SHOULD**: the report says so, and the verdict stays.
* A capability that is withheld makes a rule *not applicable*; a missing knob leaves it *not run* and the verdict
  *incomplete*; a capability that is claimed and that no case could prove means *not conformant*.
"""


def render() -> str:
    """The whole page."""
    cases = cases_of(ContractSuite)
    groups = {name: [case for case in cases.values() if case.group == name] for name in GROUPS}
    parts = [_HEAD, _capabilities(cases.values())]
    parts += [f"## {title}\n\n" + "\n".join(map(_rule, groups[name])) for name, title in GROUPS.items() if groups[name]]
    return "\n".join(parts)


def _capabilities(cases: Iterable[Case]) -> str:
    rows = ["## Capabilities\n", "| capability | proved by one of | refused honestly, shown by |", "|---|---|---|"]
    for each in sorted(Capability):
        proved = ", ".join(f"[{case_id}](#{anchor(case_id)})" for case_id in PROOFS[each])
        refused = ", ".join(f"[{case.id}](#{anchor(case.id)})" for case in cases if each in case.absent) or "-"
        rows.append(f"| `{each}` | {proved} | {refused} |")
    return "\n".join(rows) + "\n"


def _rule(case: Case) -> str:
    facts = [case.level.value, f"since {case.since}"]
    facts += [f"needs {_names(case.needs)}"] if case.needs else []
    facts += [f"without {_names(case.absent)}"] if case.absent else []
    facts += [f"knobs {_names(case.knobs)}"] if case.knobs else []
    broken = [f"  * `{each.name}`: {each.broken}" for each in load_all().values() if case.id in each.caught_by]
    lines = [f"### {case.id}\n", f"{case.rule}\n", f"* {', '.join(facts)}", f"* Why: {case.why}"]
    alone = [f"* Other cases catch these too: {UNPROVEN[case.id]}."] if case.id in UNPROVEN else []
    return "\n".join([*lines, "* Broken backends that it catches:", *broken, *alone]) + "\n"


def _names(items: Iterable[str]) -> str:
    return ", ".join(f"`{item}`" for item in sorted(items))


if __name__ == "__main__":
    PAGE.parent.mkdir(parents=True, exist_ok=True)
    PAGE.write_text(render(), encoding="utf-8")
