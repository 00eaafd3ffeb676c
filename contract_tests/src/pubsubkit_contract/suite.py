"""The whole contract in one class."""

from __future__ import annotations

from pubsubkit_contract.base import cases_of
from pubsubkit_contract.cases import AllCases

__all__ = ["ContractSuite", "cases_of"]


class ContractSuite(AllCases):
    """Subclass it in a test file as ``class TestMyBackend(ContractSuite)`` and set ``harness`` or ``url``."""
