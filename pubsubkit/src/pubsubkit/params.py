"""Connection parameters: declared once per backend, used for URLs, keywords, the command line and the docs.

::

    @dataclass(frozen=True, kw_only=True)
    class Options:
        stream: str = param(doc="the stream to use")                                # required
        connect_timeout: float = param(2.0, doc="how long to wait", parse=duration)
        token: str | None = param(None, doc="sent to the server", secret=True)

    options, problems = bind(Options, [("stream", "orders"), ("connect-timeout", "500ms")], {})
"""

from __future__ import annotations

import os
import re
import sys
from dataclasses import MISSING, dataclass, field, fields
from typing import TYPE_CHECKING, Any, TypeVar, overload

from pubsubkit.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

__all__ = ["Parameter", "bind", "boolean", "describe", "did_you_mean", "duration", "integer", "param", "size", "text"]

_T = TypeVar("_T")
_DURATION = "expected a duration such as 500ms, 30s or 5m"
_SIZE = "expected a size such as 64KiB, 10MB or a number of bytes"
_BOOLEAN = "expected true or false (also yes, no, on, off, 1, 0)"
_INTEGER = "expected a whole number such as 10"
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_BYTES: dict[str, int] = {
    "b": 1,
    **{f"{letter}b": 1000**power for power, letter in enumerate("kmgt", 1)},
    **{f"{letter}ib": 1024**power for power, letter in enumerate("kmgt", 1)},
}
_TRUTH = {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}


def duration(value: str) -> float:
    """Return the seconds that *value* stands for: ``500ms``, ``30s``, ``5m``, ``2h``, ``1d`` or a number of seconds.

    :raises ValueError: it is no duration, negative or too large for a float.
    """
    found = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)(ms|s|m|h|d)?", value.strip())
    if found is None:
        raise ValueError(_DURATION)
    return float(_TYPED[duration](float(found[1]) * _SECONDS[found[2] or "s"]))


def size(value: str) -> int:
    """Return the bytes that *value* stands for: ``64KiB`` (1024), ``10MB`` (1000) or a number of bytes.

    Units up to ``TB`` and ``TiB``, in upper or lower case.

    :raises ValueError: it is no such size.
    """
    found = re.fullmatch(r"([0-9]{1,18})([a-z]*)", value.strip().lower())
    if found is None or (found[2] or "b") not in _BYTES:
        raise ValueError(_SIZE)
    return int(found[1]) * _BYTES[found[2] or "b"]


def boolean(value: str) -> bool:
    """Return True for ``true``, ``yes``, ``on``, ``1`` and False for ``false``, ``no``, ``off``, ``0``, in any case.

    :raises ValueError: it is none of them.
    """
    truth = _TRUTH.get(value.strip().lower())
    if truth is None:
        raise ValueError(_BOOLEAN)
    return truth


def integer(value: str) -> int:
    """Return *value* as a whole number, which may have a sign and up to 18 digits.

    :raises ValueError: it is no such number.
    """
    if not re.fullmatch(r"[+-]?[0-9]{1,18}", value.strip()):
        raise ValueError(_INTEGER)
    return int(value)


def text(value: str) -> str:
    """Return *value* as it is."""
    return value


@dataclass(frozen=True)
class _Typed:
    """What a keyword that is not text must be, for one parser."""

    expected: str
    types: type[Any] | tuple[type[Any], ...]
    convert: Callable[[Any], Any]
    lowest: float | None = None

    def __call__(self, value: Any) -> Any:
        good = isinstance(value, self.types) and isinstance(value, bool) == (self.types is bool)
        if not good or (self.lowest is not None and not self.lowest <= value <= sys.float_info.max):
            raise ValueError(self.expected)
        return self.convert(value)


_TYPED: Mapping[Callable[[str], Any], Callable[[Any], Any]] = {
    duration: _Typed(_DURATION, (int, float), float, 0),
    size: _Typed(_SIZE, int, int, 0),
    boolean: _Typed(_BOOLEAN, bool, bool),
    integer: _Typed(_INTEGER, int, int),
    text: _Typed("expected text", os.PathLike, os.fsdecode),
}


@dataclass(frozen=True, kw_only=True)
class Parameter:
    """What a backend declares of one parameter."""

    name: str
    kind: str
    """What a value looks like: ``duration``, ``size``, ``boolean``, ``integer``, ``text`` or the parser's own name."""
    default: object
    """The value when it is not given; None also when it is required."""
    doc: str
    secret: bool
    """Whether the value must not be shown."""
    required: bool


def _keep(value: Any) -> Any:
    return value


@dataclass(frozen=True)
class _Declared:
    parameter: Parameter
    parse: Callable[[str], Any]

    def convert(self, value: object) -> Any:
        """Return what *value* stands for; raise ValueError with a text that does not show a secret."""
        if value is None and self.parameter.default is None and not self.parameter.required:
            return None
        convert: Callable[[Any], Any] = self.parse if isinstance(value, str) else _TYPED.get(self.parse, _keep)
        try:
            return convert(value)
        except ValueError as error:
            silent = self.parameter.secret and self.parse not in _TYPED
            raise ValueError(f"not a valid {self.parameter.kind}" if silent else str(error)) from None

    def show(self, value: object) -> str:
        if self.parameter.secret:
            return f"{self.parameter.name}=***"
        shown = repr(value) if value is None or isinstance(value, str | int | float) else f"<{type(value).__name__}>"
        return f"{self.parameter.name}={shown}"


@overload
def param(default: _T, *, doc: str, parse: Callable[[str], Any] = ..., secret: bool = ...) -> _T: ...
@overload
def param(*, doc: str, parse: Callable[[str], _T], secret: bool = ...) -> _T: ...
@overload
def param(*, doc: str, secret: bool = ...) -> str: ...
def param(default: Any = MISSING, *, doc: str, parse: Callable[[str], Any] = text, secret: bool = False) -> Any:
    """Declare a field of an options dataclass as a connection parameter.

    :param default: the value when it is not given; without it the parameter is required.  With a default of None the
        keyword may be None too.
    :param doc: what it means, in one sentence, for the command line and the reference docs.
    :param parse: turns the text of the URL into the value; raises ``ValueError`` saying what was expected.
    :param secret: keep the value out of ``repr``, errors and everything else that is shown.
    """
    return field(default=default, repr=not secret, metadata={__name__: (doc, parse, secret)})


def describe(options_class: type[Any]) -> tuple[Parameter, ...]:
    """Return the parameters that the dataclass *options_class* declares, in their order."""
    return tuple(declared.parameter for declared in _declarations(options_class).values())


def bind(
    options_class: type[_T], query: Sequence[tuple[str, str | None]], keywords: Mapping[str, object]
) -> tuple[_T | None, list[str]]:
    """Make an *options_class* from the query of a URL and from keywords, or say all that is wrong with them.

    ``-`` and ``_`` in names are equal.  A keyword that is text is parsed like a value of the query.  A ``ValueError``
    or ``ConfigurationError`` of the class's ``__post_init__`` is a problem as well.

    :param query: names and values; a value of None could not be read, which its reader has reported already.
    :returns: the options and an empty list, or None and the problems, one line each; no options either when a value
        could not be read.
    """
    binding = _Binding(options_class)
    for name, value in query:
        binding.take(name, value, "in the URL")
    for name, keyword in keywords.items():
        binding.take(name, keyword, "as a keyword")
    binding.check_missing()
    return binding.finish(options_class), binding.problems


class _Binding:
    """The state of one :func:`bind`."""

    def __init__(self, options_class: type[Any]) -> None:
        self.problems: list[str] = []
        self._declared = _declarations(options_class)
        self._places: dict[str, list[str]] = {}
        self._values: dict[str, Any] = {}

    def take(self, name: str, value: object, place: str) -> None:
        known = name.replace("-", "_")
        declared = self._declared.get(known)
        if declared is None:
            self.problems.append(f"unknown parameter {name!r}{did_you_mean(known, self._declared)}")
            return
        places = self._places.setdefault(known, [])
        places.append(place)
        if len(places) == 2:
            both = ", in the URL and as a keyword" if places[0] != place else ""
            self.problems.append(f"parameter {known!r} is given twice{both}")
        elif len(places) == 1 and (value is not None or place != "in the URL"):
            self._convert(declared, value)

    def _convert(self, declared: _Declared, value: object) -> None:
        try:
            self._values[declared.parameter.name] = declared.convert(value)
        except ValueError as error:
            self.problems.append(f"{declared.show(value)}: {error}")

    def check_missing(self) -> None:
        for name, declared in self._declared.items():
            if declared.parameter.required and name not in self._places:
                self.problems.append(f"missing parameter {name!r}")

    def finish(self, options_class: type[_T]) -> _T | None:
        unread = self._places.keys() - self._values.keys()
        if self.problems or unread:
            return None
        try:
            return options_class(**self._values)
        except (ValueError, ConfigurationError) as error:
            self.problems.append(self._without_secrets(str(error)))
            return None

    def _without_secrets(self, shown: str) -> str:
        for name, value in self._values.items():
            if self._declared[name].parameter.secret and value not in (None, ""):
                shown = shown.replace(str(value), "***")
        return shown


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return ``; did you mean 'x'?`` with the nearest of *known*, or nothing when none is near."""
    import difflib  # only errors need it

    near = difflib.get_close_matches(name.lower(), known, n=1)
    return f"; did you mean {near[0]!r}?" if near else ""


def _declarations(options_class: type[Any]) -> dict[str, _Declared]:
    found: dict[str, _Declared] = {}
    for each in fields(options_class):
        if __name__ not in each.metadata:
            continue
        doc, parse, secret = each.metadata[__name__]
        required = each.default is MISSING
        kind = str(getattr(parse, "__name__", type(parse).__name__)).strip("_").replace("_", " ")
        default = None if required else each.default
        parameter = Parameter(name=each.name, kind=kind, default=default, doc=doc, secret=secret, required=required)
        found[each.name] = _Declared(parameter, parse)
    return found
