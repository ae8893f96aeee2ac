"""Is an action checked again before it is carried out?"""

from dataclasses import replace

from glowplug.clock import SECOND
from glowplug_router.control.actions import still_right
from glowplug_router.records.decided import Drain, Start, Swap
from unit.router.control.stage import stage

NOW = 100 * SECOND


async def test_an_action_is_dropped_when_it_is_late_or_its_precondition_no_longer_holds() -> None:
    async with stage() as on:
        await on.deploy(("greet", "one"))
        there = next(iter(on.node.residencies))
        drain = Drain(id="i", replica=there, drain_ns=0, reason="idle", deadline_ns=NOW)
        start = Start(
            id="i",
            replica="new",
            version="hello/greet@1",
            node="n1",
            precondition="is_wanted",
            deadline_ns=NOW,
        )
        swap = Swap(id="i", replica=there, version="hello/greet@1", precondition="is_tried_out")

        assert still_right(drain, on.world, NOW)
        assert not still_right(drain, on.world, NOW + 1)
        assert still_right(replace(drain, deadline_ns=0), on.world, NOW + 1)
        assert not still_right(replace(drain, replica="gone"), on.world, NOW)
        assert still_right(start, on.world, NOW)
        assert not still_right(replace(start, replica=there), on.world, NOW)
        assert not still_right(replace(start, node="gone"), on.world, NOW)
        assert not still_right(replace(start, version="hello/greet@9"), on.world, NOW)
        assert not still_right(swap, on.world, NOW)
