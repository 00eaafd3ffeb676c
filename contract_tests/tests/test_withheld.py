"""No case depends on a capability that it does not name: backends that really lack one break no rule.

Each is the memory backend with one capability withheld and, where the portable layer does not refuse the operation
anyway, with the ability taken away.
"""

from collections.abc import Callable
from typing import Any

import pytest
from saboteurs.saboteur import Saboteur
from saboteurs.trial import TIMINGS

from pubsubkit import Capability, UnsupportedError, Verdict
from pubsubkit_contract.outcome import Outcome
from pubsubkit_contract.runner import Runner
from pubsubkit_contract.suite import ContractSuite, cases_of
from pubsubkit_memory.consumer import Consumer
from pubsubkit_memory.delivery import MemoryDelivery
from pubsubkit_memory.driver import MemoryDriver
from pubsubkit_memory.log import Log
from pubsubkit_memory.stream import Stream
from pubsubkit_memory.subscription import MemorySubscription

LACKING: dict[Capability, tuple[Any, str, Callable[..., Any]]] = {}


def lacks(capability: Capability, owner: Any, attribute: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    def declare(function: Callable[..., Any]) -> Callable[..., Any]:
        LACKING[capability] = (owner, attribute, function)
        return function

    return declare


@lacks(Capability.HISTORY, Log, "start")
def starts_at_the_end(original, self, where, pattern):
    return original(self, "new", pattern)


@lacks(Capability.ACK_WAIT, Consumer, "_expire_leases")
def never_expires(original, self):
    self._lease_timer = None


@lacks(Capability.NAK, MemoryDelivery, "settle")
async def cannot_give_back(original, self, settlement):
    if settlement.verdict is not Verdict.NAK or settlement.delay:
        await original(self, settlement)


@lacks(Capability.NAK_DELAY, MemoryDelivery, "settle")
async def cannot_delay(original, self, settlement):
    await original(self, settlement._replace(delay=0))


@lacks(Capability.IN_PROGRESS, MemoryDelivery, "settle")
async def cannot_extend(original, self, settlement):
    if settlement.verdict is not Verdict.IN_PROGRESS:
        await original(self, settlement)


@lacks(Capability.DELIVERY_COUNT, MemoryDelivery, "metadata")
def does_not_count(original, self):
    return original(self)._replace(num_delivered=1)


@lacks(Capability.MAX_DELIVER, Consumer, "_configure")
def has_no_limit_of_deliveries(original, self):
    original(self)
    self._max_deliver = 10**9


@lacks(Capability.MAX_IN_FLIGHT, Consumer, "_configure")
def has_no_limit_in_flight(original, self):
    original(self)
    self._max_in_flight = 10**9


@lacks(Capability.COMPETE, MemoryDriver, "subscribe")
async def takes_one_member(original, self, spec, buffer):
    joined = await original(self, spec, buffer)
    members = _members.setdefault(joined._consumer, [])
    if any(not member._closed for member in members):
        raise UnsupportedError("this consumer has a member already")
    members.append(joined)
    return joined


_members: dict[Consumer, list[MemorySubscription]] = {}


@lacks(Capability.FANOUT, Stream, "create_consumer")
def takes_one_consumer(original, self, spec):
    if self.consumers.keys() - {spec.name}:
        raise UnsupportedError("this stream has a consumer already")
    original(self, spec)


@lacks(Capability.ORDERING, Consumer, "take")
def delivers_the_newest_first(original, self):
    if len(self._pending) > 1:
        self._pending.rotate(1)
    return original(self)


@lacks(Capability.DEDUPLICATION, Log, "find_duplicate")
def knows_no_duplicates(original, self, message_id):
    return None


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("capability", sorted(MemoryDriver.capabilities))
def test_without(capability: Capability):
    """With the capability withheld, and the ability gone, no case fails."""
    owner, attribute, replacement = LACKING.get(
        capability, (MemoryDriver, "ping", lambda original, self: original(self))
    )
    lacking = Saboteur(
        name=f"lacks.{capability}",
        broken="",
        caught_by=(),
        owner=owner,
        attribute=attribute,
        replacement=replacement,
        backend="memory",
        withheld=frozenset({capability}),
    )
    runner = Runner(lacking.harness(), timing=TIMINGS["memory"])
    try:
        with lacking.at_work():
            results = [runner.run(case) for case in cases_of(ContractSuite).values()]
    finally:
        runner.close()
    failed = {result.case.id: result.reason for result in results if result.outcome is Outcome.FAIL}
    assert not failed
    assert any(result.outcome is Outcome.PASS for result in results)
