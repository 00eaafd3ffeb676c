"""A handler: a function of the application, and what it takes."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any, final

from pubsubkit.decoding import decoder
from pubsubkit.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable

    from pubsubkit.decoding import Decoder
    from pubsubkit.worker.policy import Policy

__all__ = ["Handler"]

_ONE = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)
_ANY_NUMBER = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


@final
class Handler:
    """A function with its policy.

    :raises ConfigurationError: the function does not take one argument, or no message can be made what it takes.
    """

    def __init__(self, function: Callable[..., Any], policy: Policy) -> None:
        if not callable(function):
            raise ConfigurationError(f"a handler must be a function, not {function!r}")
        if any(map(_is_generator, (function, getattr(function, "__call__", None)))):  # noqa: B004 - the method itself
            raise ConfigurationError(f"a handler must not yield, as {function!r} does: calling it runs nothing")
        self.function = function
        self.policy = policy
        self.name: str = str(getattr(function, "__name__", type(function).__name__))
        self.is_async: bool = any(map(inspect.iscoroutinefunction, (function, getattr(function, "__call__", None))))  # noqa: B004 - the method itself is looked at
        try:
            self.decode: Decoder = decoder(_annotation(function))
        except ConfigurationError as error:
            raise ConfigurationError(f"handler {self.name}: {error}") from error


def _is_generator(function: object) -> bool:
    return inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function)


def _annotation(function: Callable[..., Any]) -> object:
    """What the function's first parameter is annotated with."""
    try:
        first, *others = inspect.signature(function, eval_str=True).parameters.values()
    except NameError as error:
        raise ConfigurationError(
            f"its annotations cannot be read, import at run time what they name: {error}"
        ) from error
    except ValueError as error:
        raise ConfigurationError("it must take one argument, the message or what is in it") from error
    needed = [each for each in others if each.default is each.empty and each.kind not in _ANY_NUMBER]
    if first.kind not in _ONE or needed:
        raise ConfigurationError("it must take one argument, the message or what is in it")
    return first.annotation
