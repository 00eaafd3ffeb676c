"""``shelf://`` keeps the contract."""

from pubsubkit_shelf.testing import ShelfHarness

from pubsubkit_contract import ContractSuite


class TestShelf(ContractSuite):
    """The whole contract."""

    harness = ShelfHarness
