"""Random histories, each made from the seed of the run: no example has what they have."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pubsubkit.driver import Capability
from pubsubkit_contract.base import Cases
from pubsubkit_contract.case import case
from pubsubkit_contract.harness import Knob
from pubsubkit_contract.model.history import disturbed, free_history
from pubsubkit_contract.model.invariants import broken
from pubsubkit_contract.model.player import Player
from pubsubkit_contract.model.report import explain, first_broken
from pubsubkit_contract.model.strict import strict_history
from pubsubkit_contract.model.transcript import transcript
from pubsubkit_contract.recovery import served

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pubsubkit_contract.kit import Kit
    from pubsubkit_contract.model.history import Step

__all__ = ["ModelCases", "check_history"]

_STEPS = 200
_FREE = {Capability.HISTORY, Capability.DURABLE, Capability.NAK, Capability.ACK_WAIT}
_STRICT = {
    Capability.HISTORY,
    Capability.DURABLE,
    Capability.NAK,
    Capability.MAX_IN_FLIGHT,
    Capability.ORDERING,
    Capability.DELIVERY_COUNT,
}


class ModelCases(Cases):
    """What must hold of every history holds of one that nobody has thought of."""

    @case("model.history", why="Bugs live in the combinations that no example tries.", needs=_FREE)
    async def test_model_history(self, kit: Kit) -> None:
        """Of two hundred random steps of publishers and members every invariant holds: nothing is lost, invented,
        delivered to two at once or after it was settled, and nothing is left in the end.
        """
        steps = free_history(kit.seed, _STEPS, kit.backend.capabilities)
        await check_history(kit, steps, Player(kit, kit.backend))

    @case(
        "model.transcript",
        why="Tests on one backend are worth something only when the other one behaves the same.",
        needs=_STRICT,
    )
    async def test_model_transcript(self, kit: Kit) -> None:
        """With one message in flight, what is received in a random history is, message for message and count for
        count, what the reference model says.
        """
        steps = strict_history(kit.seed, _STEPS, kit.backend.capabilities)
        wanted, got = await transcript(kit, steps)
        kit.note(f"compared {len(got)} deliveries")
        if wanted != got:
            step = [index for index, step in enumerate(steps) if step.action == "receive"][len(got) - 1]
            raise AssertionError(explain(kit.seed, steps, step, f"{wanted[-1]} was expected, {got[-1]} came"))

    @case(
        "model.restart",
        why="A deployment of the broker comes at the least convenient moment.",
        needs={*_FREE, Capability.SURVIVES_RESTART, Capability.REMOTE},
        knobs={Knob.RESTART},
    )
    async def test_model_restart(self, kit: Kit) -> None:
        """The same holds of a history in which the broker is restarted twice."""
        steps = disturbed(free_history(kit.seed, _STEPS, kit.backend.capabilities), "disturb", 2)

        async def restart() -> None:
            await kit.harness.restart(crash=False)
            await kit.within(served(kit.backend), "reconnecting")

        await check_history(kit, steps, Player(kit, kit.backend, restart))

    @case(
        "model.cut",
        why="A cut in the middle of a close, a nak or a batch is the one that nobody has tried.",
        needs={*_FREE, Capability.REMOTE},
        knobs={Knob.PROXY},
    )
    async def test_model_cut(self, kit: Kit) -> None:
        """The same holds of a history in which the connection is cut four times."""
        proxy, through = await kit.proxy()
        steps = disturbed(free_history(kit.seed, _STEPS, kit.backend.capabilities), "disturb", 4)
        await check_history(kit, steps, Player(kit, through, proxy.cut))


async def check_history(kit: Kit, steps: Sequence[Step], player: Player) -> None:
    """Play *steps*, drain, and check every invariant.

    :raises AssertionError: one is broken, or a step failed; the message says how to repeat it.
    """
    await player.open()
    marks: list[int] = []
    try:
        for step in steps:
            await player.play(step)
            marks.append(len(player.record.events))
        await player.drain()
    except Exception as error:
        raise AssertionError(explain(kit.seed, steps, len(marks), f"{type(error).__name__}: {error}")) from error
    found = broken(player.record)
    kit.note(f"{len(player.record.published)} published, {len(player.record.events)} events")
    if found:
        problem = "; ".join(f"{name}: {sentences[0]}" for name, sentences in found.items())
        raise AssertionError(explain(kit.seed, steps, first_broken(player.record, marks), problem))
