"""The whole contract in one class."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pubsubkit_contract.delivery import DeliveryCases
from pubsubkit_contract.durability import DurabilityCases
from pubsubkit_contract.provisioning import ProvisioningCases
from pubsubkit_contract.settlement import SettlementCases
from pubsubkit_contract.shutdown import ShutdownCases

if TYPE_CHECKING:
    import pytest

__all__ = ["ContractSuite"]


class ContractSuite(DeliveryCases, SettlementCases, DurabilityCases, ShutdownCases, ProvisioningCases):
    """Subclass it in a test file as ``class TestMyBackend(ContractSuite)`` and set :attr:`url`."""

    url: str = ""
    """The backend's URL; or override :meth:`contract_url`."""

    def contract_url(self, request: pytest.FixtureRequest) -> str:  # noqa: ARG002 - for those who override it
        """The URL to run on."""
        assert self.url, f"set {type(self).__name__}.url to the backend's URL"
        return self.url
