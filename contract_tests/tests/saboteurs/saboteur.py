"""What a saboteur is, and how it is applied."""

from __future__ import annotations

import inspect
import os
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

from pubsubkit_contract.harness import load_harness

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable

    from pubsubkit.driver import Capability
    from pubsubkit_contract.harness import Harness

ALL: dict[str, Saboteur] = {}
IN_CHILD = "PUBSUBKIT_SABOTEUR"
"""The environment variable that tells a child process of the suite of its saboteur: ``module:name``."""

_HARNESSES = {
    "memory": "pubsubkit_memory.testing:MemoryHarness",
    "nats": "pubsubkit_nats.testing:NatsHarness",
}


@dataclass(frozen=True, kw_only=True)
class Saboteur:
    """One broken promise."""

    name: str
    broken: str
    """What the broken backend does, in a sentence."""
    caught_by: tuple[str, ...]
    """The cases that must fail."""
    owner: Any
    """The class or module whose attribute is replaced."""
    attribute: str
    replacement: Callable[..., Any]
    backend: str
    """``memory`` or ``nats``: what the cases run on."""
    withheld: frozenset[Capability]
    """What the harness withholds, for cases of honest absence."""

    def harness(self) -> Harness:
        """A new harness for its cases, whose child processes import what puts the saboteur to work there."""
        harness = load_harness(_HARNESSES[self.backend])
        harness.withheld = self.withheld
        harness.imports = ("saboteurs.child",)
        return harness

    @contextmanager
    def at_work(self) -> Generator[None]:
        """Replace the attribute, for the block; also in child processes, see :meth:`harness`."""
        with _environment({IN_CHILD: f"{self.replacement.__module__}:{self.name}", "PYTHONPATH": _path()}):
            yield from self._replaced()

    def _replaced(self) -> Generator[None]:
        original = inspect.getattr_static(self.owner, self.attribute)
        replacements = {self.attribute: _replaced(original, self.replacement)}
        if hasattr(self.owner, f"{self.attribute}_now"):
            replacements[f"{self.attribute}_now"] = lambda *_: None  # no shortcut past it
        with patch.multiple(self.owner, **replacements):
            yield


def breaks(
    owner: Any, attribute: str, *caught_by: str, backend: str = "memory", withheld: Iterable[Capability] = ()
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Declare a saboteur: the function, called with the original and its arguments, takes the original's place.

    Its docstring says what is broken.  For a property the function gets the getter and the object.
    """

    def declare(function: Callable[..., Any]) -> Callable[..., Any]:
        name = f"{function.__module__.rpartition('.')[2]}.{function.__name__}"
        assert name not in ALL, name
        ALL[name] = Saboteur(
            name=name,
            broken=" ".join((function.__doc__ or "").split()),
            caught_by=caught_by,
            owner=owner,
            attribute=attribute,
            replacement=function,
            backend=backend,
            withheld=frozenset(withheld),
        )
        return function

    return declare


@contextmanager
def _environment(values: dict[str, str]) -> Generator[None]:
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _path() -> str:
    """Where a child process finds this package."""
    here = str(Path(__file__).parents[1])
    return os.pathsep.join(filter(None, (here, os.environ.get("PYTHONPATH"))))


def _replaced(original: Any, replacement: Callable[..., Any]) -> Any:
    if isinstance(original, property):
        return property(lambda self: replacement(original.fget, self))
    if isinstance(original, classmethod):
        return classmethod(lambda cls, *args, **kwargs: replacement(original.__func__, cls, *args, **kwargs))
    if isinstance(original, staticmethod):
        return staticmethod(lambda *args, **kwargs: replacement(original.__func__, *args, **kwargs))
    if inspect.iscoroutinefunction(original):

        async def coroutine(*args: Any, **kwargs: Any) -> Any:
            return await replacement(original, *args, **kwargs)

        return coroutine
    if callable(original):

        def function(*args: Any, **kwargs: Any) -> Any:
            return replacement(original, *args, **kwargs)

        return function
    return replacement(original)
