"""The promises that every pubsubkit backend keeps, as tests.

Run them on a URL: ``pytest --pubsubkit-contract=memory://``, or subclass :class:`ContractSuite` in a test file and set
``url``.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pubsubkit_contract.kit import Kit
    from pubsubkit_contract.suite import ContractSuite

__all__ = ["ContractSuite", "Kit"]

_HOMES = {"ContractSuite": "pubsubkit_contract.suite", "Kit": "pubsubkit_contract.kit"}


def __getattr__(name: str) -> object:
    """Import the suite on first use: pytest loads this package in every run of everybody."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
