"""What ``--pubsubkit-contract`` collects: a suite for each target."""

from __future__ import annotations

import re

from pubsubkit_contract.requested import targets
from pubsubkit_contract.suite import ContractSuite

__all__: list[str] = []


def _class_name(named: str, number: int) -> str:
    word = re.split(r":|\+", named)[0] if "://" in named else named.rpartition(":")[2].removesuffix("Harness")
    return f"Test{word[:1].upper()}{word[1:]}{number or ''}"


for _number, _named in enumerate(targets()):
    _name = _class_name(_named, _number)
    globals()[_name] = type(_name, (ContractSuite,), {"harness": _named, "__module__": __name__})
