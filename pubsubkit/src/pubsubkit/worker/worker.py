"""The worker: what people write around consumers."""

from __future__ import annotations

import asyncio
import logging
import threading
from contextlib import AsyncExitStack, nullcontext
from functools import partial
from typing import TYPE_CHECKING, Any, Self, TypeVar, Unpack, final

from pubsubkit.backend import Backend, connect
from pubsubkit.errors import ConfigurationError
from pubsubkit.options import check_wait
from pubsubkit.signals import catching
from pubsubkit.url import BackendURL
from pubsubkit.worker.endpoint import serve_health
from pubsubkit.worker.handler import Handler
from pubsubkit.worker.policy import POLICY_FIELDS, HandlerOptions, Policy
from pubsubkit.worker.running import Run
from pubsubkit.worker.state import WorkerHealth, WorkerState

if TYPE_CHECKING:
    import signal
    from collections.abc import Callable, Iterable
    from types import TracebackType

__all__ = ["Worker"]

logger: logging.Logger = logging.getLogger("pubsubkit.worker")

_Function = TypeVar("_Function", bound="Callable[..., Any]")
_FORCED = 128


@final
class Worker:
    """Handlers, and the consumers that feed them.

    ::

        worker = Worker("nats://localhost:4222")

        @worker.handler(stream="orders", subject="orders.created", durable="billing", concurrency=10)
        async def bill(order: dict) -> None:
            ...

        asyncio.run(worker.run())

    A message is acked when its handler returns.  When it raises, the message comes again by the policy's backoff, until
    it is moved to the dead letters; :class:`Reject` and :class:`RetryAfter` say more.  Handlers are async functions, or
    plain ones, which run in threads; their argument is what it is annotated with (:func:`pubsubkit.decoding.decoder`).

    It may run again after it has stopped.

    :param backend: an open backend, which is left open; or the URL of one, which is opened and closed by each run, or
        None for the URL that is given to :meth:`run`, or else in ``PUBSUBKIT_URL``.
    :param plugins: objects with hooks for the backend that it opens, beside the installed ones.
    :param grace: seconds for which handlers may finish when it stops.
    :param health_port: where ``/live`` and ``/ready`` are served over HTTP while it runs; 0 for any free port, None for
        nowhere.
    :param health_host: the address to serve them on.
    :raises ConfigurationError: *backend* is neither, or is one that has its plugins already.
    :raises InvalidArgumentError: *grace* is no number from 0 to 1e9.
    """

    def __init__(
        self,
        backend: Backend | BackendURL | str | None = None,
        *,
        plugins: Iterable[object] = (),
        grace: float = 30.0,
        health_port: int | None = None,
        health_host: str = "127.0.0.1",
    ) -> None:
        if not isinstance(backend, Backend | BackendURL | str | None):
            raise ConfigurationError(f"expected a Backend, a URL or None, not {type(backend).__name__}")
        self._plugins = tuple(plugins)
        if isinstance(backend, Backend) and self._plugins:
            raise ConfigurationError("give the plugins to connect(): the worker uses the backend as it is")
        check_wait("grace", grace)
        self.grace = grace
        self.health_port = health_port
        self.health_host = health_host
        self.served_port: int | None = None
        """The port on which health is served at this moment."""
        self._backend = backend
        self._handlers: list[Handler] = []
        self._run: Run | None = None
        self._task: asyncio.Future[None] | None = None

    def handler(self, **options: Unpack[HandlerOptions]) -> Callable[[_Function], _Function]:
        """Return the decorator that registers a function by :meth:`add`; the function stays what it is.

        :param options: the fields of :class:`Policy`.
        """
        policy = _policy(options)

        def register(function: _Function) -> _Function:
            self._add(Handler(function, policy))
            return function

        return register

    def add(self, function: Callable[..., Any], **options: Unpack[HandlerOptions]) -> None:
        """Register a handler.

        :param function: takes one argument: the message, or what its annotation says.
        :param options: the fields of :class:`Policy`.
        :raises ConfigurationError: the function or an option cannot be; or another handler has the same durable
            consumer, so that each would get some of its messages.
        :raises InvalidArgumentError: a name, subject or time is out of its range.
        """
        self._add(Handler(function, _policy(options)))

    def on(self, backend: Backend | str | None) -> Worker:
        """Return another worker with the same handlers and settings: for a test, or a second broker.

        :param backend: as for the constructor.
        :raises ConfigurationError: it is none of that.
        """
        plugins = () if isinstance(backend, Backend) else self._plugins
        other = Worker(
            backend, plugins=plugins, grace=self.grace, health_port=self.health_port, health_host=self.health_host
        )
        other._handlers += self._handlers
        return other

    async def run(self, *, url: str | None = None) -> int:
        """Run until stopped by :meth:`stop`, SIGINT or SIGTERM; return the exit code for the process.

        It is 0 after a graceful stop: nothing more was taken, running handlers had ``grace`` seconds to finish, the
        rest was given back at once, and all verdicts have reached the broker.  A second signal cuts the handlers off,
        and the code is 128 + its number.  Signals are heeded in the main thread only.

        While the broker cannot be reached it tries again for ever.  Cancelling it cuts the handlers off and gives their
        messages back.

        :param url: of the backend, in place of the one that was given to the constructor.
        :raises PubSubError: a stream or consumer is missing, was deleted or differs, is not permitted, and what else
            trying again cannot mend; the worker has stopped.
        """
        heard: list[signal.Signals] = []

        def on_signal(number: signal.Signals) -> None:
            heard.append(number)
            logger.info("%s: stopping%s", number.name, " at once" if len(heard) > 1 else "")
            self.stop(force=len(heard) > 1)

        main = threading.current_thread() is threading.main_thread()
        with catching(on_signal) if main else nullcontext():
            self._start(url)
            await self._ended()
        return _FORCED + heard[1] if len(heard) > 1 else 0

    async def __aenter__(self) -> Self:
        """Start; return when each handler consumes, or has failed to for a reason that passes and is tried again.

        :raises PubSubError: as :meth:`run`.
        """
        run, task = self._start(None)
        tried = asyncio.ensure_future(run.tried.wait())
        either: set[asyncio.Future[Any]] = {task, tried}
        try:
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            self.stop(force=True)
            await self._ended()
            raise
        finally:
            tried.cancel()
        if task.done():
            await self._ended()
        task.add_done_callback(_report)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop gracefully; raise what ended it before, unless the block has raised."""
        self.stop()
        try:
            await self._ended()
        except Exception:
            if error is None:
                raise

    def stop(self, *, force: bool = False) -> None:
        """Ask it to stop, and return at once; :meth:`run` returns when it has.

        :param force: whether to cut off running handlers, also when it is stopping already.
        """
        if self._run is not None:
            self._run.halt.ask(force=force)

    @property
    def state(self) -> WorkerState:
        """What it is doing."""
        return self.health().state

    def health(self) -> WorkerHealth:
        """Tell how it is, without asking the broker.  It never raises."""
        if self._run is None:
            return WorkerHealth(state=WorkerState.STOPPED, live=False, ready=False)
        return self._run.health()

    def _add(self, handler: Handler) -> None:
        policy = handler.policy
        for other in self._handlers:
            if policy.durable and (policy.stream_name, policy.durable) == (
                other.policy.stream_name,
                other.policy.durable,
            ):
                raise ConfigurationError(
                    f"handlers {other.name} and {handler.name} would share the messages of consumer "
                    f"{policy.stream_name}/{policy.durable}: give each a durable of its own"
                )
        self._handlers.append(handler)

    def _start(self, url: str | None) -> tuple[Run, asyncio.Future[None]]:
        if self._run is not None:
            raise ConfigurationError("the worker is running already")
        if not self._handlers:
            raise ConfigurationError("the worker has no handlers: register one by @worker.handler(stream=...)")
        run = self._run = Run(self._handlers, self._source(url), self.grace)
        task = self._task = asyncio.ensure_future(self._main(run))
        return run, task

    def _source(self, url: str | None) -> Backend | Callable[[], Backend]:
        if isinstance(self._backend, Backend) and url is not None:
            raise ConfigurationError("the worker has a backend already: give run() no url, or Worker() no backend")
        if isinstance(self._backend, Backend):
            return self._backend
        return partial(connect, url or self._backend or "${PUBSUBKIT_URL}", plugins=self._plugins)

    async def _main(self, run: Run) -> None:
        async with AsyncExitStack() as stack:
            stack.callback(self._forget)
            if self.health_port is not None:
                serving = serve_health(run.health, self.health_host, self.health_port)
                self.served_port = await stack.enter_async_context(serving)
            await run.main()

    def _forget(self) -> None:
        self._run = self.served_port = None

    async def _ended(self) -> None:
        """Wait for the end; when cancelled, bring it about first."""
        task = self._task
        if task is None:
            return
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError:
            self.stop(force=True)
            await asyncio.wait([task])
            if not task.cancelled():
                task.exception()
            raise


def _report(task: asyncio.Future[None]) -> None:
    """Tell at once what the end of ``async with`` raises later."""
    if not task.cancelled() and (error := task.exception()) is not None:
        logger.error("the worker stopped: %s", error)


def _policy(options: HandlerOptions) -> Policy:
    unknown = sorted(set(options) - POLICY_FIELDS)
    if unknown:
        raise ConfigurationError(f"no such option: {', '.join(unknown)}; there are {', '.join(sorted(POLICY_FIELDS))}")
    return Policy(**options)
