"""The contract on example://."""

from pubsubkit_contract import ContractSuite


class TestContract(ContractSuite):
    """Every case of the suite, as a test."""

    harness = "pubsubkit_example.testing:ExampleHarness"
