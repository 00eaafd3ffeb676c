"""What ``pubsubkit doctor`` looks at on this machine: Python, distributions, entry points, extras."""

from __future__ import annotations

import platform
import re
import sys
from importlib.metadata import PackageNotFoundError, entry_points, requires, version
from typing import TYPE_CHECKING

from pubsubkit.cli.failure import one_line
from pubsubkit.driver import Finding
from pubsubkit.errors import ConfigurationError
from pubsubkit.hooks import PLUGINS, check_plugin, plugins_disabled
from pubsubkit.registry import find_backend, installed_backends
from pubsubkit.url import BackendURL

if TYPE_CHECKING:
    from collections.abc import Iterator
    from importlib.metadata import EntryPoint

    from pubsubkit.registry import BackendInfo

__all__ = ["installation"]

_OLDEST = (3, 11)
_COMPANIONS = {
    "pubsubkit-memory": "for memory://",
    "pubsubkit-nats": "for nats://",
    "pubsubkit-contract-tests": "for pubsubkit contract",
}


def installation() -> Iterator[Finding]:
    """Look at what is installed, without any I/O but that of imports."""
    yield _python()
    yield from _distributions()
    yield from _backends()
    yield from _plugins()
    yield from _extras()


def _python() -> Finding:
    found = f"{platform.python_implementation()} {platform.python_version()} on {platform.system()}"
    if sys.version_info >= _OLDEST:
        return Finding("Python", found)
    return Finding("Python", found, f"use Python {'.'.join(map(str, _OLDEST))} or later", "mend")


def _distributions() -> Iterator[Finding]:
    """The versions of the project's own distributions, which are released together."""
    ours = version("pubsubkit")
    yield Finding("pubsubkit", ours)
    for name, purpose in _COMPANIONS.items():
        found = _version(name)
        if found is None:
            yield Finding(name, "not installed", f"{purpose}: pip install {name}")
        elif found != ours:
            upgrade = f"pip install --upgrade pubsubkit {name}"
            yield Finding(name, f"{found}, but pubsubkit is {ours}", f"have both of one version: {upgrade}", "mend")
        else:
            yield Finding(name, found)


def _backends() -> Iterator[Finding]:
    known = installed_backends()
    if not known:
        yield Finding("backends", "none is installed", "pip install pubsubkit-memory pubsubkit-nats", "mend")
    for scheme, info in known.items():
        yield _backend(scheme, info)


def _backend(scheme: str, info: BackendInfo) -> Finding:
    check = f"backend {scheme}"
    base, *modifiers = scheme.split("+")
    try:
        find_backend(BackendURL(scheme=base, modifiers=tuple(modifiers)))
    except ConfigurationError as error:
        advice = f"reinstall or remove {info.distribution}" if info.distribution and not info.rivals else ""
        return Finding(check, one_line(error), advice, "mend")
    return Finding(check, f"{info} ({info.target})")


def _plugins() -> Iterator[Finding]:
    if plugins_disabled():
        yield Finding("plugins", "left out, by PUBSUBKIT_DISABLE_PLUGINS=1")
        return
    found = sorted(entry_points(group=PLUGINS), key=lambda entry: entry.name)
    if not found:
        yield Finding("plugins", "none is installed")
    yield from map(_plugin, found)


def _plugin(entry: EntryPoint) -> Finding:
    check = f"plugin {entry.name}"
    distribution = f"{entry.dist.name} {entry.dist.version}" if entry.dist else "an unknown distribution"
    try:
        check_plugin(entry.load(), entry.name)
    except Exception as error:  # noqa: BLE001 - a plugin may fail in any way, and that is what is looked for
        found = f"{distribution} ({entry.value}) is left out: {type(error).__name__}: {one_line(error)}"
        advice = "mend or remove it; PUBSUBKIT_DISABLE_PLUGINS=1 leaves all plugins out"
        return Finding(check, found, advice, "mend")
    return Finding(check, f"{distribution} ({entry.value})")


def _extras() -> Iterator[Finding]:
    """Each extra of the core with the versions of what it needs."""
    needs: dict[str, list[str]] = {}
    for requirement in requires("pubsubkit") or ():
        wanted = re.match(r"([\w.-]+).*;.*extra\s*==\s*['\"]([\w-]+)['\"]", requirement)
        if wanted:
            needs.setdefault(wanted[2], []).append(wanted[1])
    for extra, names in sorted(needs.items()):
        check, missing = f"extra {extra}", [name for name in names if _version(name) is None]
        if missing:
            yield Finding(check, f"{', '.join(missing)} not installed", f"if wanted: pip install 'pubsubkit[{extra}]'")
        else:
            yield Finding(check, ", ".join(f"{name} {_version(name)}" for name in names))


def _version(distribution: str) -> str | None:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None
