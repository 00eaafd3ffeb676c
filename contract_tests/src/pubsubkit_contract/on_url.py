"""What ``--pubsubkit-contract=URL`` collects."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pubsubkit_contract.suite import ContractSuite

if TYPE_CHECKING:
    import pytest

__all__ = ["TestContract"]


class TestContract(ContractSuite):
    """The whole contract, on the URL of the option."""

    def contract_url(self, request: pytest.FixtureRequest) -> str:
        """The URL that was given on the command line."""
        return str(request.config.getoption("--pubsubkit-contract"))
