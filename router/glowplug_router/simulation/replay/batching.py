"""How do the calls of a replica run together in a replay? The rank's own batcher, told the time by the world.

The batcher is `glowplug.worker.batcher`, to the letter: it queues, cuts, refuses what would be late, and learns from
the batches that ran. What a batch takes comes from a `Cost`, which the batcher does not know. Between the batcher and
its gateway no time passes; a rank's is the millisecond or so that its decoding and its loop take.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import assert_never

from glowplug.spec import BatchTuning
from glowplug.worker.batcher import NEVER, Batcher, Effect, Failed, Late, Run, WaitUntil
from glowplug_router.simulation.replay.ranks import Call
from glowplug_router.simulation.replay.scene import Batch
from glowplug_router.simulation.world import World


@dataclass(frozen=True, slots=True)
class Heard:
    """Who is told what becomes of the calls of one replica."""

    begun: Callable[[Call], None]
    over: Callable[[tuple[Call, ...], int], None]  # with the time that the batch took
    late: Callable[[Call], None]


class Device:
    """The device of one replica, and the queue before it."""

    def __init__(
        self, world: World, batch: Batch, tuning: BatchTuning, speed_permille: int, heard: Heard
    ) -> None:
        self._world, self._cost, self._speed, self._heard = world, batch.cost, speed_permille, heard
        self._batcher: Batcher[int] = Batcher(batch.spec)
        self._batcher.tuned(tuning, world.now_ns)
        self._calls: dict[int, Call] = {}
        self._looks = False  # at what came in this moment
        self._is_off = False

    def take(self, call: Call) -> None:
        """Queue a call; what comes at the same time is looked at together, as in one turn of a rank's loop."""
        self._calls[call.id] = call
        self._batcher.arrived(
            call.id,
            self._world.now_ns,
            deadline_ns=call.deadline_ns or NEVER,
            rank=call.rank,
            weight=call.size,
        )
        if not self._looks:
            self._looks = True
            self._world.after(0, self._look)

    def off(self) -> None:
        """Stop for good: the replica is gone, and with it all that waited or ran."""
        self._is_off = True

    def _look(self) -> None:
        self._looks = False
        self._tick()

    def _tick(self) -> None:
        if not self._is_off:
            self._do(self._batcher.ticked(self._world.now_ns))

    def _do(self, effects: tuple[Effect[int], ...]) -> None:
        for effect in effects:
            match effect:
                case Run():
                    self._run(effect)
                case Late(id):
                    self._heard.late(self._calls.pop(id))
                case WaitUntil(at_ns):
                    self._world.at(at_ns, self._tick)
                case Failed():
                    raise AssertionError("calls of a replay have no keys")
                case _:
                    assert_never(effect)

    def _run(self, run: Run[int]) -> None:
        calls = tuple(self._calls.pop(id) for id in run.calls)
        took_ns = self._cost.expected_ns(run.size, run.units) * 1000 // self._speed
        for call in calls:
            self._heard.begun(call)
        self._world.record(f"batch {run.reason} {','.join(map(str, run.calls))}")
        self._world.after(took_ns, partial(self._ended, run, calls, took_ns))

    def _ended(self, run: Run[int], calls: tuple[Call, ...], took_ns: int) -> None:
        """Cut the next batch, then answer: the compute thread of a rank does the one while its loop does the other."""
        if self._is_off:
            return
        self._batcher.costs.saw(run.size, run.units, took_ns)
        effects = self._batcher.ended(self._world.now_ns)
        self._do(effects)
        self._heard.over(calls, took_ns)
