"""How a case ends: the runner, with cases and harnesses made up for the purpose."""

import asyncio
import contextlib
import gc
import os
import signal
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from pubsubkit import ConfigurationError
from pubsubkit.driver import Capability
from pubsubkit_contract import Deviation, Harness, Kit, Knob, runner
from pubsubkit_contract.case import Case, case
from pubsubkit_contract.harness import UrlHarness, load_harness
from pubsubkit_contract.outcome import Outcome
from pubsubkit_contract.runner import Result, Runner
from pubsubkit_contract.suite import ContractSuite, cases_of
from pubsubkit_contract.timing import Timing
from pubsubkit_memory import MemoryDriver
from pubsubkit_memory.testing import MemoryHarness

QUICK = Timing(cap=0.3, short=0.05, quiet=0.02, case=0.5)


def declare(function: Callable, **options) -> Case:
    function.__name__ = "test_x_y"
    return case("x.y", why="because", **options)(function).case  # type: ignore[attr-defined]


async def keeps(self, kit: Kit):
    """It keeps the rule."""
    kit.note("seen")


async def breaks(self, kit: Kit):
    """It breaks the rule."""
    kit.note("seen")
    raise AssertionError("broken at nats://u:hunter2@h")


def run(function: Callable, harness: Harness | None = None, *, timing: Timing = QUICK, **options) -> Result:
    runner = Runner(harness or MemoryHarness(), timing=timing)
    try:
        return runner.run(declare(function, **options))
    finally:
        runner.close()


def test_a_case_passes_or_fails():
    """A case that returns passes; what it raises is the reason, without secrets; both keep what was observed."""
    passed, failed = run(keeps), run(breaks)
    assert (passed.outcome, passed.reason, passed.evidence) == (Outcome.PASS, "", ("seen",))
    assert (failed.outcome, failed.evidence) == (Outcome.FAIL, ("seen",))
    assert "broken at" in failed.reason
    assert "hunter2" not in failed.reason


def test_a_case_without_observation_fails():
    """A case that returns early has shown nothing."""

    async def returns_early(self, kit: Kit): ...

    assert "observed nothing" in run(returns_early).reason


@pytest.mark.parametrize("error", [asyncio.CancelledError(), GeneratorExit(), TimeoutError(), OSError("gone")])
def test_whatever_a_case_raises_is_a_failure(error: BaseException):
    """Neither a stray cancellation nor a native exception gets past the runner."""

    async def raises(self, kit: Kit):
        raise error

    assert run(raises).outcome is Outcome.FAIL


def test_a_case_that_hangs_fails():
    """A case has a limit, and what it left running is cancelled, also where that does not want to end."""
    ended, left = [], []

    async def stubborn():
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(True)

    async def hangs(self, kit: Kit):
        kit.note("seen")
        left.append(asyncio.ensure_future(stubborn()))
        await asyncio.Event().wait()

    result = run(hangs)
    assert (result.outcome, result.reason) == (Outcome.FAIL, "the case did not end within 0.5 s")
    assert ended == [True]


@contextlib.contextmanager
def handling(number: signal.Signals, handler: signal.Handlers | Callable) -> Iterator[None]:
    """Take a signal from pytest-timeout or pytest-xdist."""
    before = signal.signal(number, handler)
    try:
        yield
    finally:
        signal.signal(number, before)


@pytest.mark.parametrize("alarm", [signal.SIG_DFL, signal.SIG_IGN])
def test_a_case_that_cannot_be_cancelled_fails(alarm: signal.Handlers):
    """What swallows every cancellation is left behind and named, and the private broker is stopped; also where the
    signal that could end it belongs to somebody else.
    """
    stopped = []

    class Private(MemoryHarness):
        def private(self):
            return Private()

        async def stop(self):
            stopped.append(self.url())

    async def swallows(self, kit: Kit):
        kit.note("seen")
        until = time.monotonic() + 2.5
        while time.monotonic() < until:
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(until - time.monotonic())

    with handling(signal.SIGALRM, alarm):
        result = run(swallows, Private(), knobs={Knob.RESTART})
    assert result.reason == "the case did not end within 0.5 s, and not when it was cancelled"
    assert len(set(stopped)) == 2


def test_a_case_that_blocks_the_loop_fails():
    """No timeout of asyncio can end it."""

    async def blocks(self, kit: Kit):
        time.sleep(30)  # noqa: ASYNC251

    with handling(signal.SIGALRM, signal.SIG_DFL):
        result = run(blocks)
    assert result.reason == "the backend blocked the event loop for 0.3 s"


def strike():
    """Press Ctrl-C."""
    os.kill(os.getpid(), signal.SIGINT)


def ended_by_ctrl_c(pressing: Callable, handler: Callable) -> list[str]:
    """Press Ctrl-C in a case, with *handler* for it; return what was cleaned up, in order."""
    cleaned = []

    class Stopping(MemoryHarness):
        async def stop(self):
            cleaned.append("harness")

    async def waits(self, kit: Kit):
        kit.note("seen")
        try:
            pressing()
            await asyncio.sleep(30)
        finally:
            await asyncio.sleep(0.01)
            cleaned.append("case")

    runner = Runner(Stopping(), timing=QUICK)
    with handling(signal.SIGINT, handler):
        with pytest.raises(KeyboardInterrupt):
            runner.run(declare(waits))
        runner.close()
    gc.collect()  # tells of tasks that were forgotten
    return cleaned


@pytest.mark.parametrize("alarm", [signal.SIG_DFL, signal.SIG_IGN])
def test_a_second_ctrl_c_ends_what_blocks_the_loop(alarm: signal.Handlers, caplog: pytest.LogCaptureFixture):
    """The first one only cancels, which needs the loop; the case cleans up after the second before it goes on."""
    survived = []

    def blocks():
        for _ in range(4):
            strike()
            survived.append(True)

    with handling(signal.SIGALRM, alarm):
        assert ended_by_ctrl_c(blocks, signal.default_int_handler) == ["case", "harness"]
    assert (survived, caplog.text) == ([True], "")


def raises(number: int, frame: object):
    """What somebody else may have to say to Ctrl-C."""
    raise KeyboardInterrupt


@pytest.mark.parametrize("handler", [signal.default_int_handler, raises])
@pytest.mark.parametrize("soon", [True, False])
def test_ctrl_c_lets_the_case_clean_up(handler: Callable, soon: bool, caplog: pytest.LogCaptureFixture):
    """It does so before the harness is stopped, whoever handles the signal and whatever runs at that moment."""

    def presses():
        if soon:
            asyncio.get_running_loop().call_soon(strike)
        else:
            strike()

    assert ended_by_ctrl_c(presses, handler) == ["case", "harness"]
    assert caplog.text == ""


def test_clean_up_that_hangs_fails():
    """Closing is bounded, too: a backend that cannot be closed fails the case and stops nothing else."""

    async def leaves_something(self, kit: Kit):
        kit.note("seen")
        kit._stack.push_async_callback(asyncio.Event().wait)

    assert "closing everything at the end of the case failed" in run(leaves_something).reason


def test_what_is_withheld_is_not_applicable():
    """A case that needs what the harness withholds does not apply, and the case of its absence does."""

    class Withholding(MemoryHarness):
        withheld = frozenset({Capability.NAK})

    async def refuses(self, kit: Kit):
        assert Capability.NAK not in kit.backend.capabilities
        kit.note("seen")

    needing = run(keeps, Withholding(), needs={Capability.NAK})
    assert (needing.outcome, needing.reason) == (Outcome.NOT_APPLICABLE, "the backend does not claim nak")
    assert run(refuses, Withholding(), absent={Capability.NAK}).outcome is Outcome.PASS
    assert run(keeps, absent={Capability.NAK}).outcome is Outcome.NOT_APPLICABLE
    assert run(keeps, needs={Capability.NAK}).outcome is Outcome.PASS


def test_a_missing_knob_is_not_run():
    """What the harness cannot do leaves a case without a result, which is never a pass."""
    result = run(keeps, knobs={Knob.FREEZE})
    assert (result.outcome, result.reason) == (Outcome.NOT_RUN, "MemoryHarness cannot freeze its broker")


def test_deviations_are_strict():
    """A declared deviation must fail, until it expires; one that passes is a failure."""

    def harness(expires: datetime | None = None) -> Harness:
        made = MemoryHarness()
        day = None if expires is None else expires.date()
        made.deviations = {"x.y": Deviation(reason="known", issue="#12", expires=day)}
        return made

    now = datetime.now(UTC)
    for expires in (None, now, now + timedelta(days=2)):
        result = run(breaks, harness(expires))
        assert (result.outcome, result.reason) == (Outcome.DEVIATION, "known (#12)")
    assert "expired" in run(breaks, harness(now - timedelta(days=1))).reason
    passed = run(keeps, harness())
    assert passed.outcome is Outcome.FAIL
    assert "declared a deviation" in passed.reason


def test_a_broker_that_is_missing_fails_every_case():
    """A harness that cannot start fails each case with its reason, starts once, and is stopped."""
    calls = []

    class Missing(MemoryHarness):
        async def start(self):
            calls.append("start")
            raise FileNotFoundError("no such server")

        async def stop(self):
            calls.append("stop")

    runner = Runner(Missing(), timing=QUICK)
    results = [runner.run(declare(keeps)) for _ in range(3)]
    runner.close()
    runner.close()
    assert {result.outcome for result in results} == {Outcome.FAIL}
    assert {result.reason for result in results} == {"the harness failed: no such server"}
    assert calls == ["start", "stop"]


def test_a_private_broker_for_what_breaks_it():
    """A case with the knob gets a broker of its own, which is stopped after it, and what is withheld there too."""
    seen = []

    class Counting(MemoryHarness):
        async def start(self):
            seen.append(("start", self.url()))

        async def stop(self):
            seen.append(("stop", self.url()))

        def private(self):
            return Counting()

    async def restarts(self, kit: Kit):
        seen.append(("case", kit.harness.url()))
        assert Capability.NAK not in kit.backend.capabilities
        kit.note("seen")

    shared = Counting()
    shared.withheld = frozenset({Capability.NAK})
    assert run(restarts, shared, knobs={Knob.RESTART}).outcome is Outcome.PASS
    private = seen[2][1]
    assert private != shared.url()
    assert seen == [
        ("start", shared.url()),
        ("start", private),
        ("case", private),
        ("stop", private),
        ("stop", shared.url()),
    ]


def test_the_seed_decides_what_is_random():
    """The same seed gives the same random numbers to the same case, another seed others."""
    drawn = []

    async def draws(self, kit: Kit):
        drawn.append(kit.random.random())
        kit.note("seen")

    for seed in (1, 1, 2):
        runner = Runner(MemoryHarness(), seed=seed, timing=QUICK)
        runner.run(declare(draws))
        runner.close()
    assert drawn[0] == drawn[1] != drawn[2]


def test_a_harness_by_name_or_url():
    """A harness is found by its name, by the URL of a driver that names one, or made for any other URL."""
    assert type(load_harness("pubsubkit_memory.testing:MemoryHarness")) is MemoryHarness
    assert type(load_harness("memory://")) is MemoryHarness
    assert load_harness("memory://").url() != load_harness("memory://").url()
    assert load_harness("memory://mine?max_payload=1000").url() == "memory://mine?max_payload=1000"
    assert load_harness("nats://h:1").knobs == {Knob.PROXY}
    assert load_harness("nats://h,g").knobs == set()
    assert load_harness("nats+embedded:///store").knobs == set(Knob)
    assert UrlHarness("nats://h:1").knobs == set()
    assert UrlHarness("nats://u:p@h:1?name=x").url_at("g", 2) == "nats://u:p@g:2?name=x"
    assert "tls_hostname=h" in load_harness("nats+tls://h:1").url_at("127.0.0.1", 2)


@pytest.mark.parametrize(
    ("named", "words"),
    [
        ("nosuch", "neither a URL nor a harness"),
        ("nosuch.module:Harness", "No module named"),
        ("pubsubkit_memory.testing:Nothing", "no attribute"),
        ("pubsubkit_memory:MemoryDriver", "no subclass"),
        ("test_runner:Impossible", "harness test_runner:Impossible cannot be made: OSError: no broker here"),
        ("nosuch://", "no backend for scheme"),
        ("nats://h?tokn=hunter2", "token"),
    ],
)
def test_a_harness_that_cannot_be_had(named: str, words: str):
    """A wrong name or URL is one error that says why, without secrets."""
    with pytest.raises(ConfigurationError, match=words) as caught:
        load_harness(named)
    assert "hunter2" not in str(caught.value)


class Impossible(Harness):
    """Its constructor raises."""

    def __init__(self):
        raise OSError("no broker here")


def test_a_driver_that_changes_its_mind():
    """What a backend claims before it is opened, by which the cases are chosen, holds when it is open."""

    async def opens_with_less(self, *arguments):
        self.capabilities -= {Capability.NAK}

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(MemoryDriver, "open", opens_with_less)
        assert "what it claims when it is open differs" in run(keeps).reason


def test_an_unknown_capability_cannot_be_withheld():
    """A name in withheld that is no capability fails every case with its name."""
    harness = MemoryHarness()
    harness.withheld = frozenset({"trem"})  # type: ignore[assignment]
    assert run(keeps, harness).reason == "the harness failed: withheld: no capability trem"


@pytest.mark.parametrize("place", ["start", "stop"])
def test_a_harness_that_hangs_fails(place: str):
    """Starting and stopping a harness are bounded, too."""

    class Hanging(MemoryHarness):
        async def start(self):
            await asyncio.sleep(3600 if place == "start" else 0)

        async def stop(self):
            await asyncio.sleep(3600 if place == "stop" else 0)

    runner = Runner(Hanging(), timing=QUICK)
    result = runner.run(declare(keeps))
    if place == "start":
        assert "starting the harness did not end within 0.5 s" in result.reason
        runner.close()
    else:
        with pytest.raises(AssertionError, match="stopping the harness did not end"):
            runner.close()


def test_a_broker_that_cannot_be_stopped_hides_nothing():
    """What the case raised is the reason, also when its private broker cannot be stopped."""

    class Clumsy(MemoryHarness):
        def private(self):
            return Clumsy("memory://clumsy")

        async def stop(self):
            if "clumsy" in self.url():
                raise OSError("cannot stop")

    assert "broken at" in run(breaks, Clumsy(), knobs={Knob.RESTART}).reason
    assert run(keeps, Clumsy(), knobs={Knob.RESTART}).reason == "cannot stop"


def test_what_the_platform_cannot_do_is_not_run(monkeypatch: pytest.MonkeyPatch):
    """On Windows there is no SIGTERM, and the suite has no proxy; elsewhere a process can always be told to end."""
    harness = MemoryHarness()
    harness.knobs |= {Knob.PROXY}
    assert run(keeps, harness, knobs={Knob.SIGNAL, Knob.PROXY}).outcome is Outcome.PASS
    monkeypatch.setattr(runner, "_WINDOWS", True)
    for knob in (Knob.SIGNAL, Knob.PROXY):
        assert run(keeps, harness, knobs={knob}).outcome is Outcome.NOT_RUN


def test_a_talkative_child(monkeypatch: pytest.MonkeyPatch):
    """What a child complains of fills no pipe, and its end is shown when the child fails."""

    async def spawns(self, kit: Kit):
        child = await kit.spawn("loud")
        assert await child.ended() == 1

    class Loud(MemoryHarness):
        imports = ("loud_child",)

    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))
    result = run(spawns, Loud(), timing=Timing(cap=10.0))
    assert (result.outcome, result.reason) == (Outcome.PASS, "")
    assert "child ended with 1: " in result.evidence[-1]
    assert result.evidence[-1].endswith("KeyError: 'loud'\n")


def test_a_harness_without_an_address_yet_is_described():
    """A harness whose start failed tells why, although it has no URL."""

    class Unborn(Harness):
        async def start(self):
            raise FileNotFoundError("no such server")

        def url(self):
            return f"memory://{self.port}"  # type: ignore[attr-defined]

    runner = Runner(Unborn(), timing=QUICK)
    assert runner.run(declare(keeps)).reason == "the harness failed: no such server"
    assert (runner.describe()["name"], runner.describe()["address"]) == ("unborn", "")
    runner.close()


def test_a_restart_that_is_none_proves_nothing():
    """A backend that claims to survive, on a harness that restarts nothing, fails the cases of restarts."""

    class Immortal(MemoryHarness):
        async def go_down(self, *, crash: bool = False): ...

        def private(self):
            return Immortal()

    runner = Runner(Immortal(), timing=Timing(cap=0.3, short=0.05, case=2.0))
    runner.declared  # noqa: B018 - starts it
    runner._declared = frozenset(Capability)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(MemoryDriver, "capabilities", frozenset(Capability))
        result = runner.run(cases_of(ContractSuite)["rst.messages"])
    runner.close()
    assert "the connection to the stopped broker did not end" in result.reason


def test_evidence_hides_secrets():
    """What a case observed goes into reports, without passwords."""

    async def sees_a_url(self, kit: Kit):
        kit.note("connected to nats://u:hunter2@h")

    assert "hunter2" not in "".join(run(sees_a_url).evidence)
