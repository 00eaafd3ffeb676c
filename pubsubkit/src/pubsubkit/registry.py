"""Which backend serves a URL: found by its scheme among the installed distributions, imported when it is needed.

A distribution offers a driver class in the entry-point group ``pubsubkit.backends``, under the scheme as the name::

    [project.entry-points."pubsubkit.backends"]
    redis = "pubsubkit_redis:RedisDriver"

:func:`register_backend` does the same for a class of this process and decides between two that claim one scheme.
"""

from __future__ import annotations

import dataclasses
import re
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Protocol

from pubsubkit.driver import API_VERSION
from pubsubkit.errors import ConfigurationError
from pubsubkit.params import bind, describe, did_you_mean
from pubsubkit.redaction import plain
from pubsubkit.url import read_url

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pubsubkit.driver import Driver
    from pubsubkit.url import BackendURL

__all__ = [
    "GROUP",
    "SUPPORTED_API_VERSION",
    "BackendInfo",
    "DriverFactory",
    "create_driver",
    "find_backend",
    "installed_backends",
    "refresh",
    "register_backend",
    "unregister_backend",
]

GROUP = "pubsubkit.backends"
"""The entry-point group of backends."""
SUPPORTED_API_VERSION = API_VERSION
"""The version of the driver interface that a backend must have been written for."""

_HINTS = {"memory": "pubsubkit-memory", "nats": "pubsubkit-nats"}


class DriverFactory(Protocol):
    """What a backend offers: a driver class, seen from the registry."""

    @property
    def API_VERSION(self) -> int:  # noqa: N802
        """The version of the driver interface it was written for."""
        ...

    @property
    def OPTIONS(self) -> type[Any]:  # noqa: N802
        """The frozen dataclass of its parameters; see :mod:`pubsubkit.params`."""
        ...

    @property
    def MODIFIERS(self) -> frozenset[str]:  # noqa: N802
        """What may follow the scheme after a ``+``."""
        ...

    def from_url(self, url: BackendURL, options: Any) -> Driver:
        """Make a driver, without I/O, from a URL and an instance of :attr:`OPTIONS`."""
        ...


@dataclass(frozen=True, kw_only=True)
class BackendInfo:
    """Where a backend comes from."""

    scheme: str
    distribution: str
    """The distribution's name; empty when the class was registered in this process."""
    version: str
    """The distribution's version, or empty."""
    target: str
    """Module and class, as in ``pubsubkit_nats:NatsDriver``."""
    rivals: tuple[BackendInfo, ...] = ()
    """Others that claim the scheme; as long as there are any, it cannot be used."""

    def __str__(self) -> str:
        return f"{self.distribution} {self.version}".strip() or f"{self.target}, registered in this process"


_registered: dict[str, DriverFactory] = {}


def register_backend(scheme: str, factory: DriverFactory, *, replace: bool = False) -> None:
    """Serve *scheme* by *factory* in this process.

    :param scheme: in any case, without ``://``.
    :param factory: a driver class.
    :param replace: take the scheme over from who has it now; this also decides between two that claim it.
    :raises ConfigurationError: the name is no scheme, or is taken and *replace* is not set.
    """
    known = scheme.lower()
    if not re.fullmatch(r"[a-z][a-z0-9_.-]*(\+[a-z0-9_.-]+)*", known):
        raise ConfigurationError(f"bad scheme {scheme!r}: expected a name such as 'redis', without '://'")
    holder = installed_backends().get(known)
    if holder is not None and not replace and _registered.get(known) is not factory:
        raise ConfigurationError(f"scheme {known!r} is taken by {holder}; use register_backend(..., replace=True)")
    _registered[known] = factory


def unregister_backend(scheme: str) -> None:
    """Undo :func:`register_backend`; does nothing when *scheme* was not registered."""
    _registered.pop(scheme.lower(), None)


def refresh() -> None:
    """Look at the installed distributions again, when one was installed while the process runs."""
    _claims.cache_clear()


def installed_backends() -> Mapping[str, BackendInfo]:
    """Return the backends by scheme, sorted, without importing any; a registered one hides an installed one."""
    known = dict(_claims()) | {scheme: _describe_class(scheme, factory) for scheme, factory in _registered.items()}
    return MappingProxyType(dict(sorted(known.items())))


def find_backend(url: BackendURL) -> DriverFactory:
    """Return the driver class for the scheme and modifiers of *url*, and import it if that was not done yet.

    :raises ConfigurationError: none is installed, two claim the scheme, it cannot be imported, it was written for
        another version of the driver interface, or it does not know a modifier.
    """
    factory, problems = _resolve(url)
    if problems:
        raise url.fail(problems)
    return factory


def create_driver(url_text: str, keywords: Mapping[str, object]) -> Driver:
    """Make the driver that *url_text* and *keywords* describe; it is not connected.

    :param keywords: parameters of the backend, in addition to those of the URL.
    :raises ConfigurationError: as :func:`find_backend`, or something is wrong with the URL or the parameters; the
        message lists all problems.
    """
    __tracebackhide__ = True  # pytest would show the URL with its secrets
    reading = read_url(url_text)
    if reading.url is None or not reading.url.scheme:
        raise reading.fail(reading.problems)
    try:
        factory, unknown = _resolve(reading.url)
    except ConfigurationError as error:
        if not reading.problems:
            raise
        raise reading.fail([*reading.problems, str(error)]) from error
    # A misspelt parameter may be a secret one, so only the values of known ones are shown.
    shown = {each.name for each in describe(factory.OPTIONS) if not each.secret}
    secrets = {plain(name) for name, _ in reading.url.query} | {plain(name) for name in reading.unread}
    secrets = (secrets | {each.name for each in describe(factory.OPTIONS)}) - shown
    url = reading.url.hiding(secrets)
    options, wrong = bind(factory.OPTIONS, [*url.query, *((name, None) for name in reading.unread)], keywords)
    problems = [*reading.problems, *unknown, *wrong]
    if problems:
        raise reading.fail(problems, secrets) if reading.problems else url.fail(problems)
    return factory.from_url(url, options)


def _resolve(url: BackendURL) -> tuple[DriverFactory, list[str]]:
    """Return the class for *url* and what is wrong with the modifiers."""
    whole = "+".join((url.scheme, *url.modifiers))
    known = installed_backends()
    if whole in known:
        return _load(known[whole]), []
    if url.scheme not in known:
        raise ConfigurationError(_why_missing(url.scheme, known))
    factory = _load(known[url.scheme])
    return factory, [
        _why_unknown(modifier, url, factory) for modifier in url.modifiers if modifier not in factory.MODIFIERS
    ]


def _load(info: BackendInfo) -> DriverFactory:
    if info.rivals:
        claimants = " and ".join(f"{each} ({each.target})" for each in (info, *info.rivals))
        remedy = f"uninstall one or call register_backend({info.scheme!r}, ..., replace=True)"
        raise ConfigurationError(f"scheme {info.scheme!r} is claimed by {claimants}: {remedy}")
    factory = _registered.get(info.scheme) or _import(info)
    lacking = [name for name in ("API_VERSION", "OPTIONS", "MODIFIERS", "from_url") if not hasattr(factory, name)]
    if lacking or not dataclasses.is_dataclass(factory.OPTIONS):
        why = f"it lacks {', '.join(lacking)}" if lacking else "its OPTIONS is no dataclass"
        raise ConfigurationError(f"backend {info.scheme!r} ({info}): {info.target} is not a driver class: {why}")
    if factory.API_VERSION != SUPPORTED_API_VERSION:
        raise ConfigurationError(_why_incompatible(info, factory.API_VERSION))
    return factory


def _import(info: BackendInfo) -> DriverFactory:
    from importlib.metadata import EntryPoint

    try:
        factory: DriverFactory = EntryPoint(name=info.scheme, value=info.target, group=GROUP).load()
    except Exception as error:
        what = f"{type(error).__name__}: {error}"
        raise ConfigurationError(f"backend {info.scheme!r} ({info}) failed to import: {what}") from error
    return factory


@lru_cache(maxsize=1)
def _claims() -> Mapping[str, BackendInfo]:
    from importlib.metadata import entry_points  # slow to import, and only needed here

    found: dict[str, dict[tuple[str, str], BackendInfo]] = {}
    for entry in entry_points(group=GROUP):
        name = (entry.dist and entry.dist.name) or "an unknown distribution"
        version = (entry.dist and entry.dist.version) or ""
        info = BackendInfo(scheme=entry.name.lower(), distribution=name, version=version, target=entry.value)
        # The first one on sys.path counts, as for imports.
        found.setdefault(info.scheme, {}).setdefault((re.sub(r"[-_.]+", "-", name).lower(), entry.value), info)
    return {scheme: _with_rivals(list(infos.values())) for scheme, infos in found.items()}


def _with_rivals(infos: list[BackendInfo]) -> BackendInfo:
    first, *rest = sorted(infos, key=lambda info: (info.distribution.lower(), info.target))
    return dataclasses.replace(first, rivals=tuple(rest))


def _describe_class(scheme: str, factory: DriverFactory) -> BackendInfo:
    kind = factory if isinstance(factory, type) else type(factory)
    return BackendInfo(scheme=scheme, distribution="", version="", target=f"{kind.__module__}:{kind.__qualname__}")


def _why_missing(scheme: str, known: Mapping[str, BackendInfo]) -> str:
    text = f"no backend for scheme {scheme!r}; installed: {', '.join(known) or 'none'}"
    if scheme in _HINTS:
        return f"{text}. Install it with: pip install {_HINTS[scheme]}"
    suggestion = did_you_mean(scheme, {**known, **_HINTS})
    return text + (suggestion or ". Install the distribution that offers it, or call register_backend()")


def _why_unknown(modifier: str, url: BackendURL, factory: DriverFactory) -> str:
    known = sorted(factory.MODIFIERS)
    listed = f"it has: {', '.join(known)}" if known else "it has none"
    return f"backend {url.scheme!r} does not have the modifier {modifier!r}; {listed}{did_you_mean(modifier, known)}"


def _why_incompatible(info: BackendInfo, version: object) -> str:
    newer = isinstance(version, int) and version > SUPPORTED_API_VERSION
    remedy = "pubsubkit" if newer else info.distribution
    advice = f"pip install --upgrade {remedy}" if remedy else f"adapt {info.target}"
    ours = f"driver interface {version!r}, and this pubsubkit has {SUPPORTED_API_VERSION}"
    return f"backend {info.scheme!r} ({info}) was written for {ours}: {advice}"
