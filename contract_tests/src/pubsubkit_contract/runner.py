"""Runs cases on one harness and says how each ended; knows nothing of pytest's collection and reports."""

from __future__ import annotations

import asyncio
import importlib.metadata
import sys
import time
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, TypeVar

from pubsubkit import ConfigurationError
from pubsubkit.driver import Capability
from pubsubkit.redaction import redact
from pubsubkit.registry import create_driver, installed_backends
from pubsubkit_contract.harness import Harness, Knob
from pubsubkit_contract.kit import Kit
from pubsubkit_contract.outcome import Outcome
from pubsubkit_contract.timing import Timing
from pubsubkit_contract.watchdog import cancelling, interrupting

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from pubsubkit_contract.case import Case

__all__ = ["Result", "Runner"]

_LEFTOVER_SECONDS = 1.0
_WINDOWS = sys.platform == "win32"
_OWN_BROKER = {Knob.RESTART, Knob.FREEZE}
_T = TypeVar("_T")


@dataclass(frozen=True, kw_only=True)
class Result:
    """How one case ended."""

    case: Case
    outcome: Outcome
    seconds: float
    reason: str = ""
    """Why it failed, deviates, does not apply or was not run; without secrets."""
    evidence: tuple[str, ...] = ()
    error: BaseException | None = field(default=None, compare=False)


class Runner:
    """Starts a harness when the first case needs it, and runs all cases in one event loop.

    :param seed: what random histories are made from; the same one repeats them.
    :param timing: how long cases wait.
    """

    def __init__(self, harness: Harness, *, seed: int = 0, timing: Timing | None = None) -> None:
        self.harness = harness
        self.seed = seed
        self.timing: Timing = timing or Timing(short=harness.shortest_ack_wait)
        self._loop = asyncio.new_event_loop()
        self._declared: frozenset[Capability] | None = None
        self._broken: BaseException | None = None

    def run(self, case: Case, suite: object = None) -> Result:
        """Run *case*; *suite* is what its function gets as ``self``."""
        __tracebackhide__ = True
        started = time.perf_counter()
        evidence: tuple[str, ...] = ()
        error: BaseException | None = None
        try:
            outcome, reason = self._applicability(case)
            if outcome is Outcome.PASS:
                evidence, error = self._wait(self._attempt(case, suite))
                outcome, reason = self._judge(case, error)
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as failure:  # noqa: BLE001 - the harness failed, or skipped, which is no pass
            # Not kept: it is the same one for every case, and would grow by each traceback.
            outcome, reason = Outcome.FAIL, f"the harness failed: {_text(failure)}"
        return Result(
            case=case,
            outcome=outcome,
            seconds=time.perf_counter() - started,
            reason=reason,
            evidence=evidence,
            error=error,
        )

    @property
    def declared(self) -> frozenset[Capability]:
        """What the backend claims, before the harness withholds anything; starts the harness."""
        if self._broken is not None:
            raise self._broken
        if self._declared is None:
            try:
                if unknown := self.harness.withheld - set(Capability):
                    raise ConfigurationError(f"withheld: no capability {', '.join(sorted(unknown))}")
                self._wait(self._within(self.harness.start(), "starting the harness"))
                self._declared = create_driver(self.harness.url(), {}).capabilities
            except BaseException as error:
                self._broken = error
                raise
        return self._declared

    def describe(self) -> dict[str, object]:
        """What the report says of the target: names, versions, and what it claims."""
        declared = self._declared or frozenset[Capability]()
        kind = type(self.harness)
        try:
            name, url, broker = self.harness.name, self.harness.url(), self.harness.broker
        except Exception:  # noqa: BLE001 - it could not be started, and has no address yet
            name, url, broker = kind.__name__.removesuffix("Harness").lower(), "", "unknown"
        info = installed_backends().get(url.partition(":")[0].partition("+")[0])
        return {
            "name": name,
            "harness": f"{kind.__module__}:{kind.__qualname__}",
            "address": create_driver(url, {}).address if url else "",
            "backend": {"distribution": info.distribution if info else "", "version": info.version if info else ""},
            "broker": broker,
            "seed": self.seed,
            "declared": sorted(declared),
            "withheld": sorted(declared & self.harness.withheld),
        }

    def close(self) -> None:
        """Stop the harness and end the loop; also when cases left something behind that does not end."""
        if self._loop.is_closed():
            return
        try:
            if self._declared is not None or self._broken is not None:
                self._wait(self._within(self.harness.stop(), "stopping the harness"))
        finally:
            self._wait(self._cancel_leftovers(set()))
            self._wait(self._loop.shutdown_asyncgens())
            self._loop.close()

    def _applicability(self, case: Case) -> tuple[Outcome, str]:
        claimed = self.declared - self.harness.withheld
        if missing := case.needs - claimed:
            return Outcome.NOT_APPLICABLE, f"the backend does not claim {_names(missing)}"
        if case.absent and case.absent <= claimed:
            return Outcome.NOT_APPLICABLE, f"the backend claims {_names(case.absent)}"
        knobs = self.harness.knobs - {Knob.PROXY} if _WINDOWS else self.harness.knobs | {Knob.SIGNAL}
        if unable := case.knobs - knobs:
            return Outcome.NOT_RUN, f"{type(self.harness).__name__} cannot {_names(unable)} its broker"
        return Outcome.PASS, ""

    async def _attempt(self, case: Case, suite: object) -> tuple[tuple[str, ...], BaseException | None]:
        __tracebackhide__ = True
        before = asyncio.all_tasks()
        harness = self._private() if case.knobs & _OWN_BROKER else self.harness
        kit = Kit(harness, timing=self.timing, seed=f"{self.seed}:{case.id}")
        error: BaseException | None = None
        try:
            await self._within(self._play(case, suite, harness, kit), "the case")
            assert kit.evidence, "the case observed nothing, so it proves nothing"
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as failure:  # noqa: BLE001 - the outcome, also where a backend cancelled the case
            error = failure
        finally:
            try:
                if harness is not self.harness:
                    await self._within(harness.stop(), "stopping the private broker")
            except Exception as failure:  # noqa: BLE001 - what the case raised says more
                error = error or failure
            await self._cancel_leftovers(before)
        return tuple(kit.evidence.lines()), error

    async def _play(self, case: Case, suite: object, harness: Harness, kit: Kit) -> None:
        __tracebackhide__ = True
        if harness is not self.harness:
            await harness.start()
        async with kit:
            claimed = self.declared - harness.withheld
            assert kit.backend.capabilities == claimed, f"what it claims when it is open differs from {_names(claimed)}"
            await case.function(suite, kit)

    async def _within(self, work: Coroutine[None, None, None], what: str) -> None:
        """Await *work*; what does not end in time is cancelled, and left behind when it does not end even then."""
        __tracebackhide__ = True
        task = asyncio.ensure_future(work)
        try:
            await asyncio.wait({task}, timeout=self.timing.case)
        except asyncio.CancelledError:
            task.cancel()
            await asyncio.wait({task}, timeout=self.timing.cap)
            raise
        if task.done():
            return await task
        task.cancel()
        await asyncio.wait({task}, timeout=self.timing.cap)
        stubborn = "" if task.done() else ", and not when it was cancelled"
        raise AssertionError(f"{what} did not end within {self.timing.case:g} s{stubborn}")

    def _private(self) -> Harness:
        harness = self.harness.private()
        harness.withheld, harness.imports = self.harness.withheld, self.harness.imports
        return harness

    def _judge(self, case: Case, error: BaseException | None) -> tuple[Outcome, str]:
        deviation = self.harness.deviations.get(case.id)
        if deviation is None:
            return (Outcome.PASS, "") if error is None else (Outcome.FAIL, _text(error))
        why = deviation.reason + (f" ({deviation.issue})" if deviation.issue else "")
        if error is None:
            return Outcome.FAIL, f"it passes, but is declared a deviation: {why}"
        if deviation.expires is not None and deviation.expires < datetime.now(UTC).date():
            return Outcome.FAIL, f"the deviation expired on {deviation.expires}: {why}"
        return Outcome.DEVIATION, why

    async def _cancel_leftovers(self, before: set[asyncio.Task[object]]) -> None:
        """Cancel what a case left running; what does not end is left alone."""
        left = asyncio.all_tasks() - before - {asyncio.current_task()}
        for task in left:
            task.cancel()
        if left:
            await asyncio.wait(left, timeout=_LEFTOVER_SECONDS)

    def _wait(self, work: Coroutine[None, None, _T]) -> _T:
        """Run *work*; at Ctrl-C it is cancelled and cleans up before that goes on, or it would do so in a later run.

        A second Ctrl-C ends at once what blocks the event loop.

        :raises KeyboardInterrupt: there was one.
        """
        task = self._loop.create_task(work)
        with interrupting(self._loop, self.timing.cap), cancelling(task) as interrupted:
            try:
                return self._loop.run_until_complete(task)
            except KeyboardInterrupt:
                task.cancel()
                with suppress(BaseException):
                    self._loop.run_until_complete(task)
                raise
            finally:
                if interrupted():
                    raise KeyboardInterrupt


def suite_version() -> str:
    """The version of the distribution."""
    return importlib.metadata.version("pubsubkit-contract-tests")


def _names(items: frozenset[Capability] | frozenset[Knob]) -> str:
    return ", ".join(sorted(items))


def _text(error: BaseException) -> str:
    """The first lines of what *error* says, without secrets."""
    return redact(" ".join(str(error).split())[:500]) or type(error).__name__
