"""The promises that every pubsubkit backend keeps, as tests.

Run them on a URL: ``pytest --pubsubkit-contract=memory://``, or subclass :class:`ContractSuite` in a test file and set
``url``.
"""

from pubsubkit_contract.kit import Kit
from pubsubkit_contract.suite import ContractSuite

__all__ = ["ContractSuite", "Kit"]
