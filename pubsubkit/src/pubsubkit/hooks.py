"""Calls the hooks: one plain function per hook that has listeners, None for the others.

Asking pluggy on every message would cost about a microsecond even with no plugin installed, so the implementations
are looked up once, when a backend opens, and the message path tests an attribute for None.
"""

from __future__ import annotations

import inspect
import logging
import os
from collections.abc import Iterable, Mapping
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any

from pubsubkit.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import pluggy

    from pubsubkit.driver import Delivery, Verdict

__all__ = ["Hooks", "load_hooks", "report_received", "report_settled"]

logger = logging.getLogger("pubsubkit.hooks")

_GROUP = "pubsubkit.plugins"
_Implementation = tuple[str, "Callable[..., Any]", "tuple[str, ...]"]


class Hooks:
    """The compiled hooks of one backend; without a plugin all are None."""

    __slots__ = ("before_send", "connection_changed", "published", "received", "retrying", "settled")

    before_send: Callable[..., Mapping[str, str]] | None
    published: Callable[..., None] | None
    retrying: Callable[..., None] | None
    received: Callable[..., None] | None
    settled: Callable[..., None] | None
    connection_changed: Callable[..., None] | None

    def __init__(self, manager: pluggy.PluginManager | None = None) -> None:
        for name in self.__slots__:
            found = _implementations(manager, name) if manager else ()
            call = _merge_headers if name == "before_send" else _notify
            setattr(self, name, partial(call, found) if found else None)


def report_received(hook: Callable[..., None], delivery: Delivery) -> None:
    """Tell that a message is handed to the application."""
    meta = delivery.metadata
    hook(
        stream=meta.stream,
        subject=delivery.subject,
        consumer=meta.consumer,
        size=len(delivery.data),
        num_delivered=meta.num_delivered,
        headers=dict(delivery.headers),
    )


def report_settled(hook: Callable[..., None], delivery: Delivery, verdict: Verdict, error: Exception | None) -> None:
    """Tell a verdict of the application, and the error when it did not reach the broker."""
    meta = delivery.metadata
    hook(
        stream=meta.stream,
        subject=delivery.subject,
        consumer=meta.consumer,
        verdict=verdict,
        num_delivered=meta.num_delivered,
        error=error,
    )


def load_hooks(plugins: Iterable[object] = ()) -> Hooks:
    """Compile the hooks of the installed plugins and of *plugins*.

    :raises ConfigurationError: one of *plugins* has a misspelt or async hook.  An installed plugin with such a fault,
        or one that fails to import, is left out with a warning in the log.
    """
    installed = () if os.environ.get("PUBSUBKIT_DISABLE_PLUGINS") == "1" else installed_plugins()
    if not isinstance(plugins, Iterable):
        raise ConfigurationError(f"plugins: expected a list of plugins, got {type(plugins).__name__}")
    given = tuple(plugins)
    if not installed and not given:
        return Hooks()
    manager = _new_manager()
    for name, plugin in installed:
        try:
            _register(manager, plugin, name)
        except ConfigurationError as error:
            logger.warning("plugin left out: %s", error)
    for plugin in given:
        _register(manager, plugin, None)
    return Hooks(manager)


def _new_manager() -> pluggy.PluginManager:
    import pluggy

    from pubsubkit import hookspecs

    manager = pluggy.PluginManager("pubsubkit")
    manager.add_hookspecs(hookspecs)
    return manager


def _register(manager: pluggy.PluginManager, plugin: object, name: str | None) -> None:
    """Register *plugin* after trying it on a manager of its own: a faulty one must leave no trace in *manager*."""
    import pluggy

    trial = _new_manager()
    label = name or str(getattr(plugin, "__name__", type(plugin).__qualname__))
    try:
        trial.register(plugin, label)
        trial.check_pending()
    except (pluggy.PluginValidationError, ValueError) as error:
        raise ConfigurationError(f"plugin {label}: {' '.join(str(error).split())}") from error
    callers = trial.get_hookcallers(plugin) or ()
    if not callers or inspect.isclass(plugin):
        hint = "give an instance, not the class" if inspect.isclass(plugin) else "mark its hooks with @hookimpl"
        raise ConfigurationError(f"plugin {label} has no hook that could be called: {hint}")
    for caller in callers:
        if any(inspect.iscoroutinefunction(implementation.function) for implementation in caller.get_hookimpls()):
            raise ConfigurationError(f"plugin {label}: {caller.name} is async; hooks are plain functions")
    taken = sum(other.split("#")[0] == label for other, _ in manager.list_name_plugin())
    try:
        manager.register(plugin, f"{label}#{taken + 1}" if taken else label)
    except ValueError as error:
        raise ConfigurationError(f"plugin {label} is given twice") from error


@lru_cache(maxsize=1)
def installed_plugins() -> tuple[tuple[str, object], ...]:
    from importlib.metadata import entry_points

    found: list[tuple[str, object]] = []
    for entry in entry_points(group=_GROUP):
        distribution = f"{entry.dist.name} {entry.dist.version}" if entry.dist else "unknown distribution"
        try:
            found.append((entry.name, entry.load()))
        except Exception as error:  # noqa: BLE001 - one broken plugin must not stop an application
            logger.warning("plugin %r (%s) left out: %s: %s", entry.name, distribution, type(error).__name__, error)
    return tuple(found)


def _implementations(manager: pluggy.PluginManager, name: str) -> tuple[_Implementation, ...]:
    """In the order of registration, but for ``tryfirst`` and ``trylast``; pluggy's own order is the reverse."""
    found = getattr(manager.hook, f"pubsubkit_{name}").get_hookimpls()
    in_order = sorted(found, key=lambda item: (not item.tryfirst, item.trylast))
    return tuple((item.plugin_name, item.function, tuple(item.argnames)) for item in in_order)


def _call(implementation: _Implementation, values: Mapping[str, Any]) -> Any:
    plugin, function, names = implementation
    try:
        return function(*[values[name] for name in names])
    except Exception:
        logger.exception("plugin %s failed in a hook", plugin)
        return None


def _notify(implementations: Sequence[_Implementation], **values: Any) -> None:
    for implementation in implementations:
        _call(implementation, values)


def _merge_headers(implementations: Sequence[_Implementation], **values: Any) -> dict[str, str]:
    added: dict[str, str] = {}
    for implementation in implementations:
        result = _call(implementation, {**values, "headers": dict(values["headers"])})
        if isinstance(result, Mapping):
            added = {**added, **result}
        elif result is not None:
            logger.error(
                "plugin %s: before_send must return headers or None, got %s", implementation[0], type(result).__name__
            )
    return added
