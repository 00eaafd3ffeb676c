"""The promises that every pubsubkit backend keeps, as tests.

Run them on a harness or a URL: ``pytest --pubsubkit-contract=memory://``, or subclass :class:`ContractSuite` in a test
file and set ``harness`` or ``url``.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pubsubkit_contract.harness import Deviation, Harness, Knob
    from pubsubkit_contract.kit import Kit
    from pubsubkit_contract.suite import ContractSuite

__all__ = ["ContractSuite", "Deviation", "Harness", "Kit", "Knob"]

_HOMES = {"ContractSuite": "suite", "Deviation": "harness", "Harness": "harness", "Kit": "kit", "Knob": "harness"}


def __getattr__(name: str) -> object:
    """Import the suite on first use: pytest loads this package in every run of everybody."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"pubsubkit_contract.{_HOMES[name]}"), name)
