"""The contract on the project's own backends; NATS is a real server."""

from pubsubkit_contract import ContractSuite


class TestMemory(ContractSuite):
    harness = "pubsubkit_memory.testing:MemoryHarness"


class TestNats(ContractSuite):
    harness = "pubsubkit_nats.testing:NatsHarness"
