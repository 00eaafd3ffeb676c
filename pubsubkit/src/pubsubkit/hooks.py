"""Calls the hooks: one plain function per hook that has listeners, None for the others.

Asking pluggy on every message would cost about a microsecond even with no plugin installed, so the implementations
are looked up once, when a backend opens, and the message path tests an attribute for None.
"""

from __future__ import annotations

import inspect
import logging
import os
import time
from collections.abc import Iterable, Mapping
from contextlib import nullcontext
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any

from pubsubkit.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextlib import AbstractContextManager
    from types import TracebackType

    import pluggy

    from pubsubkit.driver import Delivery, Settlement

__all__ = ["PLUGINS", "Hooks", "check_plugin", "load_hooks", "processing", "report_received", "report_settled"]

logger: logging.Logger = logging.getLogger("pubsubkit.hooks")

PLUGINS = "pubsubkit.plugins"
"""The entry-point group of plugins."""
_Implementation = tuple[str, "Callable[..., Any]", "tuple[str, ...]"]
_UNOBSERVED = nullcontext()


class Hooks:
    """The compiled hooks of one backend; without a plugin all are None.

    :param address: the broker's, which every hook may take.
    """

    __slots__ = ("before_send", "connection_changed", "processing", "published", "received", "retrying", "settled")

    before_send: Callable[..., Mapping[str, str]] | None
    published: Callable[..., None] | None
    retrying: Callable[..., None] | None
    received: Callable[..., None] | None
    processing: Callable[..., AbstractContextManager[None]] | None
    settled: Callable[..., None] | None
    connection_changed: Callable[..., None] | None

    def __init__(self, manager: pluggy.PluginManager | None = None, address: str = "") -> None:
        calls = {"before_send": _merge_headers, "processing": _Processing}
        for name in self.__slots__:
            found = _implementations(manager, name) if manager else ()
            setattr(self, name, partial(calls.get(name, _notify), found, address=address) if found else None)


def processing(hooks: Hooks, delivery: Delivery) -> AbstractContextManager[None]:
    """The contexts of all plugins around the handler of *delivery*, to be entered in the handler's task.

    What is logged inside belongs to the handler's trace.  The handler's exception passes through unchanged.
    """
    if hooks.processing is None:
        return _UNOBSERVED
    meta = delivery.metadata
    return hooks.processing(
        stream=meta.stream,
        subject=delivery.subject,
        consumer=meta.consumer,
        num_delivered=meta.num_delivered,
        headers=delivery.headers,
    )


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


def report_settled(
    hook: Callable[..., None], delivery: Delivery, settlement: Settlement, error: Exception | None, started: float
) -> None:
    """Tell a verdict of the application, and the error when it did not reach the broker.

    :param started: the reading of ``time.perf_counter`` when the verdict was given.
    """
    meta = delivery.metadata
    hook(
        stream=meta.stream,
        subject=delivery.subject,
        consumer=meta.consumer,
        verdict=settlement.verdict,
        num_delivered=meta.num_delivered,
        headers=dict(delivery.headers),
        delay=settlement.delay,
        reason=settlement.reason,
        error_type=settlement.error,
        error=error,
        latency=time.perf_counter() - started,
    )


def plugins_disabled() -> bool:
    """Whether the environment says that installed plugins are to be left out."""
    return os.environ.get("PUBSUBKIT_DISABLE_PLUGINS") == "1"


def load_hooks(plugins: Iterable[object] = (), address: str = "") -> Hooks:
    """Compile the hooks of the installed plugins and of *plugins*, for the broker at *address*.

    :raises ConfigurationError: one of *plugins* has a misspelt or async hook.  An installed plugin with such a fault,
        or one that fails to import, is left out with a warning in the log.
    """
    installed = () if plugins_disabled() else installed_plugins()
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
    return Hooks(manager, address)


def _new_manager() -> pluggy.PluginManager:
    import pluggy

    from pubsubkit import hookspecs

    manager = pluggy.PluginManager("pubsubkit")
    manager.add_hookspecs(hookspecs)
    return manager


def check_plugin(plugin: object, label: str) -> None:
    """Try *plugin* on a manager of its own.

    :param label: its name for the error.
    :raises ConfigurationError: a hook is misspelt or async, or there is none.
    """
    import pluggy

    trial = _new_manager()
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


def _register(manager: pluggy.PluginManager, plugin: object, name: str | None) -> None:
    """Register *plugin* after a trial: a faulty one must leave no trace in *manager*."""
    label = name or str(getattr(plugin, "__name__", type(plugin).__qualname__))
    check_plugin(plugin, label)
    taken = sum(other.split("#")[0] == label for other, _ in manager.list_name_plugin())
    try:
        manager.register(plugin, f"{label}#{taken + 1}" if taken else label)
    except ValueError as error:
        raise ConfigurationError(f"plugin {label} is given twice") from error


@lru_cache(maxsize=1)
def installed_plugins() -> tuple[tuple[str, object], ...]:
    from importlib.metadata import entry_points

    found: list[tuple[str, object]] = []
    for entry in entry_points(group=PLUGINS):
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


class _Processing:
    """The contexts of all plugins, entered in order and left in reverse; one that fails is logged and left out."""

    __slots__ = ("_entered", "_implementations", "_values")

    def __init__(self, implementations: Sequence[_Implementation], **values: Any) -> None:
        self._implementations = implementations
        self._values = values
        self._entered: list[tuple[str, AbstractContextManager[None]]] = []

    def __enter__(self) -> None:
        for implementation in self._implementations:
            context = _call(implementation, {**self._values, "headers": dict(self._values["headers"])})
            if context is None:
                continue
            try:
                context.__enter__()
            except Exception:
                logger.exception("plugin %s failed in entering its context", implementation[0])
            else:
                self._entered.append((implementation[0], context))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        while self._entered:
            plugin, context = self._entered.pop()
            try:
                context.__exit__(kind, error, traceback)
            except Exception as failure:
                if failure is not error:
                    logger.exception("plugin %s failed in leaving its context", plugin)
