"""The contract on ``sqlite://``."""

from pubsubkit_contract import ContractSuite


class TestSqlite(ContractSuite):
    harness = "pubsubkit_sqlite.testing:SqliteHarness"
