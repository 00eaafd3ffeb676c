"""The contract on example://."""

from typing import ClassVar

from pubsubkit_contract import ContractSuite


class TestContract(ContractSuite):
    """Every case of the suite, as a test."""

    harness: ClassVar[str] = "pubsubkit_example.testing:ExampleHarness"
