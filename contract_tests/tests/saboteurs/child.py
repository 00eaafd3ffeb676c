"""Puts the saboteur of the parent process to work in a child process of the suite, which imports this module first."""

import importlib
import os

from saboteurs.saboteur import ALL, IN_CHILD

_module, _, _name = os.environ.get(IN_CHILD, "").partition(":")
if _module:
    importlib.import_module(_module)
    _at_work = ALL[_name].at_work()  # kept, as it would end with its last reference
    _at_work.__enter__()
