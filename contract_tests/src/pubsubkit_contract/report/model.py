"""What a contract run says of the backends that it tried, and its JSON form."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from types import MappingProxyType

from pubsubkit_contract.outcome import Level, Outcome, Verdict
from pubsubkit_contract.report.decode import decode

__all__ = [
    "FORMAT",
    "GROUPS",
    "CaseRecord",
    "Package",
    "Report",
    "Suite",
    "Target",
    "from_json",
    "grouped",
    "merge",
    "to_json",
]

FORMAT = 1
"""The version of the JSON form; it changes when a reader would have to."""

GROUPS: Mapping[str, str] = MappingProxyType(
    {
        "core": "Core delivery",
        "subj": "Subjects",
        "ord": "Ordering",
        "ack": "Acknowledgement",
        "nak": "Negative acknowledgement",
        "term": "Termination",
        "settle": "Settlement",
        "extend": "Lease extension",
        "redel": "Redelivery",
        "dlq": "Dead letter",
        "dur": "Durability",
        "rst": "Broker restart",
        "cmp": "Competing consumers",
        "fan": "Fan-out",
        "bp": "Flow control",
        "con": "Concurrency",
        "can": "Cancellation",
        "shut": "Shutdown",
        "flt": "Faults",
        "err": "Errors",
        "pay": "Payload",
        "hdr": "Headers",
        "meta": "Metadata",
        "ce": "CloudEvents",
        "prov": "Provisioning",
        "lim": "Limits",
        "hook": "Hooks",
        "model": "Model",
    }
)
"""The title of each group of cases by its name, in the order in which they are shown."""


@dataclass(frozen=True)
class CaseRecord:
    """What one case came to."""

    id: str
    """``group.name``; stable."""
    rule: str
    """What every backend must do, in a sentence."""
    why: str
    """Why an application depends on it."""
    level: Level
    since: str
    """The version of the contract that has it first."""
    needs: tuple[str, ...]
    """The capabilities without which the rule does not apply."""
    outcome: Outcome
    seconds: float
    reason: str
    """Why it did not pass; empty when it did."""
    evidence: tuple[str, ...]
    """What was observed, in order."""

    @property
    def group(self) -> str:
        """The name of its group."""
        return self.id.partition(".")[0]


@dataclass(frozen=True)
class Package:
    """A distribution and its version."""

    distribution: str
    version: str


@dataclass(frozen=True)
class Suite:
    """The version of the suite, and of the contract that it checks."""

    version: str
    contract: str


@dataclass(frozen=True)
class Target:
    """One backend that was tried, and all that was found."""

    name: str
    harness: str
    """``module:Class``, or empty for a plain URL."""
    address: str
    """The URL, without secrets."""
    backend: Package
    broker: str
    """What it was connected to, with its version."""
    seed: int
    declared: tuple[str, ...]
    """The capabilities that the backend claims."""
    withheld: tuple[str, ...]
    """Those that its harness does not let the suite use."""
    proved: tuple[str, ...]
    """Those of the declared that a case has proved."""
    unproved: tuple[str, ...]
    """Those of the declared that no case has proved."""
    verdict: Verdict
    summary: str
    """The verdict and its reason in a line, without the numbers."""
    cases: tuple[CaseRecord, ...]

    @property
    def seconds(self) -> float:
        """How long its cases took together."""
        return sum(case.seconds for case in self.cases)


@dataclass(frozen=True)
class Report:
    """The result of one or more runs."""

    suite: Suite
    time: str
    """When it was made, in UTC, as ISO 8601."""
    python: str
    platform: str
    targets: tuple[Target, ...]


@dataclass(frozen=True)
class _Header:
    format: int


def grouped(cases: Iterable[CaseRecord]) -> dict[str, list[CaseRecord]]:
    """*cases* by the name of their group, in the order of :data:`GROUPS`; unknown groups come last, in theirs."""
    found: dict[str, list[CaseRecord]] = {name: [] for name in GROUPS}
    for case in cases:
        found.setdefault(case.group, []).append(case)
    return {name: members for name, members in found.items() if members}


def to_json(report: Report) -> str:
    """*report* as JSON text, in ASCII, with a line break at the end."""
    return json.dumps({"format": FORMAT, **asdict(report)}, indent=1, allow_nan=False) + "\n"


def from_json(text: str) -> Report:
    """The report in *text*.  Names that this version does not know are ignored.

    Raises ``ValueError`` for anything else than a report of :data:`FORMAT`, and says where it differs.
    """
    try:
        found: object = json.loads(text)
        version = decode(_Header, found).format
        if version != FORMAT:
            raise ValueError(f"its format is {version}, not {FORMAT}")
        return decode(Report, found)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"not a pubsubkit report: {error}") from error


def merge(reports: Iterable[Report]) -> Report:
    """One report with the targets of all; of two targets of one name and harness, the later one.

    The versions of Python, platform and suite are listed when they differ.  Raises ``ValueError`` for no report at
    all, and for reports of different versions of the contract, which cannot be compared.
    """
    merged = tuple(reports)
    contracts = _distinct(report.suite.contract for report in merged)
    if len(contracts) != 1:
        raise ValueError(f"cannot merge reports of contract {' and '.join(contracts)}" if merged else "no report")
    targets = {(target.name, target.harness): target for report in merged for target in report.targets}
    return Report(
        suite=Suite(", ".join(_distinct(report.suite.version for report in merged)), contracts[0]),
        time=max(report.time for report in merged),
        python=", ".join(_distinct(report.python for report in merged)),
        platform=", ".join(_distinct(report.platform for report in merged)),
        targets=tuple(targets.values()),
    )


def _distinct(values: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(values))
