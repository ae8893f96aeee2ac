"""How do calls become batches, and batches answers? The driver around `batcher`, with clock and threads.

Each call is decoded and validated by itself, those of one turn of the loop in one go, while the batch before runs: a
bad one gets its own 422 and is never in a batch. The compute thread cuts its next batch itself, under a lock, the
moment it is free; answers are encoded on the loop meanwhile. For a batch shorter than a wake-up the loop stands still
(`still`). Asynchronous code runs as one task a batch, and generators step by step (`steps`).

A batch that fails is run again in halves until the items at fault are alone (`isolate`); these are remembered for a
while and run alone when they come again. What the code prints carries the first call's id and how many were with it:
`8f14e45f+31`.
"""

import asyncio
import threading
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from glowplug.clock import MILLISECOND, SECOND
from glowplug.codec import stream_format
from glowplug.context import current
from glowplug.lists import columns
from glowplug.spec import BatchTuning
from glowplug.worker.batcher import Batcher, Effect, Failed, Late, Run, WaitUntil
from glowplug.worker.items import Item, Misfit, Trial, all_gone, spare_what_waits, split, together
from glowplug.worker.leeway import Leeway
from glowplug.worker.poison import Poison, mark_of
from glowplug.worker.program import Program
from glowplug.worker.steps import ItemStream, Steps
from glowplug.worker.still import SHORT_NS, Still

if TYPE_CHECKING:
    from glowplug.worker.call import Call
    from glowplug.worker.server import Server

# Of one batch's answers on the loop; the next ones are the thread's.
ENCODE_MAX_NS = 2 * MILLISECOND
INLINE_MAX = 64 * 1024  # bytes of a body that the loop decodes itself; more would hold up others


class Batching:
    """The batches of one program."""

    def __init__(self, server: "Server", program: Program) -> None:
        self.server = server
        self.program = program
        self._now = server.now_ns
        spec = program.spec.batch
        asked = program.endpoint.batch
        assert asked is not None, program.spec.target
        self._asked = asked if asked.weight is not None or asked.key is not None else None
        self._isolates = spec.isolate
        self._names = tuple(program.contract.types)
        self._batcher: Batcher[Item] = Batcher(spec)
        self._lock = threading.Lock()  # the compute thread cuts, the loop queues
        self._poison = Poison()
        self._encodes_here = False  # on the compute thread: the last answers were much work
        self._came: list[Call] = []  # in this turn of the loop
        self._looks = False  # a look at them and at the queue is due on the loop
        self._leeway = Leeway()
        self._timer: asyncio.TimerHandle | None = None
        self._tasks: dict[asyncio.Task[None], Sequence[Item]] = {}
        for size, units, took_ns in program.seeds:
            self._batcher.costs.saw(size, units, took_ns)
        self._tuning = BatchTuning()
        spare_what_waits(program.spec.concurrency)

    def tune(self, tuning: BatchTuning) -> None:
        """Use other bounds from the next batch on; told with every PING."""
        if tuning == self._tuning:
            return
        self._tuning = tuning
        with self._lock:
            effects = self._marked(self._batcher.tuned(tuning, self._now()))
        self._carry_out(effects)

    # -- arriving --------------------------------------------------------------------------------------

    def take(self, call: "Call") -> None:
        """Take a call whose request is whole; it is decoded and queued with all that come in the same turn."""
        if len(call.body) <= INLINE_MAX:
            self._came.append(call)
            if not self._looks:
                self._looks = True
                self.server.loop.call_soon(self._look)
            return
        large = self.server.loop.run_in_executor(None, self._decoded, call)
        large.add_done_callback(lambda done: self._queue([done.result()]))

    def _decoded(self, call: "Call") -> Item:
        """Return the call as an item, or keep what is wrong with it for its caller."""
        began_ns = self._now()
        item = Item(call, mark_of(call.body, call.infer.query), self._forget)
        try:
            item.arguments = call.decode()
        except BaseException as error:  # a user's validator may raise anything
            call.broke(error)
        item.ready_ns = ready_ns = self._now()
        call.decode_ns = ready_ns - began_ns
        return item

    def _queue(self, items: Sequence[Item]) -> None:
        """Queue what is decoded, and cut a batch if the device is free."""
        good = [item for item in items if self._is_good(item)]
        now_ns = self._now()
        with self._lock:
            for item in good:
                call = item.call
                self._batcher.arrived(
                    item,
                    now_ns,
                    deadline_ns=call.due_ns - self._leeway.of(call.due_ns - now_ns),
                    rank=item.rank,
                    weight=item.weight,
                    key=item.key,
                )
            effects = self._marked(self._batcher.ticked(now_ns))
        self._carry_out(effects)

    def _is_good(self, item: Item) -> bool:
        """Make an item ready for the queue; False where its call is over with this."""
        call = item.call
        if call.ended:  # it was cancelled while it was decoded
            return False
        if call.fault is None and self._asked is not None:
            try:
                item.look(self._asked)
            except BaseException as error:  # user code
                call.stage = "run"
                call.broke(error)
        if call.fault is not None:
            call.finish()
            return False
        if self._poison.has(item.mark, item.ready_ns):
            item.key = item  # like no other's: it runs alone
        if self.program.contract.schema.streams:
            call.stream = ItemStream(
                call, stream_format(self.program.contract, call.header("accept"))
            )
        call.item = item
        return True

    def _forget(self, item: Item) -> None:
        """Take an item out of the queue; one that is in a batch stays there, and nobody hears of it."""
        with self._lock:
            waited = self._batcher.cancelled(item)
        if not waited:
            for task, items in self._tasks.items():
                if item in items and all_gone(items):
                    task.cancel()

    # -- cutting ---------------------------------------------------------------------------------------

    def _look(self) -> None:
        self._looks = False
        came, self._came = self._came, []
        self._queue([self._decoded(call) for call in came if not call.ended])

    def _marked(self, effects: tuple[Effect[Item], ...]) -> tuple[Effect[Item], ...]:
        """Say of the calls of a batch that they run: from here on a cancellation no longer ends them."""
        for effect in effects:
            if isinstance(effect, Run):
                for item in effect.calls:
                    item.call.running = True
        return effects

    def _carry_out(self, effects: tuple[Effect[Item], ...]) -> None:
        """Do what the batcher says. On the loop."""
        for effect in effects:
            match effect:
                case Run():
                    self._start(effect)
                case Late(item):
                    detail = (
                        f"{self.program.spec.name} would have answered after the caller's deadline"
                    )
                    item.call.abort("deadline", detail)
                case Failed(item, error):
                    item.call.stage = "run"
                    self.broke(item.call, error)
                    item.call.finish()
                case WaitUntil(at_ns):
                    if self._timer is not None:
                        self._timer.cancel()
                    wait_s = max(at_ns - self._now(), 0) / SECOND
                    self._timer = self.server.loop.call_later(wait_s, self._look)

    def _start(self, run: Run[Item]) -> None:
        compute = self.server.compute
        if not self.program.spec.is_async:
            still = Still() if self._is_short(run) else None
            compute.submit(partial(self._on_thread, run, still))
            given = None if still is None else still.wait()
            if given is not None:
                given()
            return
        task = self.server.loop.create_task(self._on_loop(run), context=compute.base.copy())
        self._tasks[task] = run.calls
        task.add_done_callback(partial(self._left, run))

    def _is_short(self, run: Run[Item]) -> bool:
        """Say whether the loop does best to wait for a batch. A stream's steps need the loop."""
        expected_ns = self._batcher.costs.expected_ns(run.size, run.units)
        return 0 < expected_ns < SHORT_NS and not self.program.contract.schema.streams

    # -- running ---------------------------------------------------------------------------------------

    def _on_thread(self, run: Run[Item], still: Still | None = None) -> None:
        """Run one batch, and hand the thread on to the next one, unless the loop waits: then it takes that over."""
        server = self.server
        began_ns = self._enter(run)
        if self.program.contract.schema.streams:
            took_ns = Steps(self, run, began_ns).on_thread()
            answer: Callable[[], None] = _nothing
        else:
            outcomes, is_clean = self._outcomes(run)
            ended_ns = self._now()
            took_ns = ended_ns - began_ns
            if self._encodes_here:
                self._encode(run, outcomes, took_ns)
                answer = partial(self._answer, run, ended_ns)
            else:
                answer = partial(self._settle, run, outcomes, took_ns, ended_ns)
            took_ns *= is_clean
        server.captured.flush_parts()
        if still is not None and still.give(partial(self._over, answer, run, took_ns)):
            return
        effects = self._ended(run, took_ns)
        following = next((one for one in effects if isinstance(one, Run)), None)
        # One message to the loop: each wakes it, and it would fight for the interpreter with what comes next here.
        server.outbox.post(partial(self._hear, answer, effects, is_last=following is None))
        if following is not None:
            # Behind whatever else waits for the thread: a swap, a hook.
            server.compute.hand_on(partial(self._on_thread, following))

    def _hear(
        self, answer: Callable[[], None], effects: tuple[Effect[Item], ...], *, is_last: bool
    ) -> None:
        """Take what a batch on the thread came to."""
        if is_last:
            self.server.compute.back()
        answer()
        self._carry_out(tuple(one for one in effects if not isinstance(one, Run)))

    def _over(self, answer: Callable[[], None], run: Run[Item], took_ns: int) -> None:
        """Take what a batch came to that the loop waited for."""
        self.server.compute.back()
        answer()
        # The device stays taken for a turn: these answers leave, and what has come is read, before the next batch.
        self.server.loop.call_soon(lambda: self._carry_out(self._ended(run, took_ns)))

    async def _on_loop(self, run: Run[Item]) -> None:
        """Run one batch of asynchronous code, as a task."""
        began_ns = self._enter(run)
        if self.program.contract.schema.streams:
            took_ns = await Steps(self, run, began_ns).on_loop()
        else:
            outcomes, is_clean = await self._aoutcomes(run)
            ended_ns = self._now()
            took_ns = ended_ns - began_ns
            self._settle(run, outcomes, took_ns, ended_ns)
            took_ns *= is_clean
        self._carry_out(self._ended(run, took_ns))

    def _left(self, run: Run[Item], task: asyncio.Task[None]) -> None:
        """End a batch that was cancelled since nobody waits for it, perhaps before its code took its first step."""
        del self._tasks[task]
        if task.cancelled():
            for item in run.calls:
                item.call.finish()
            self._carry_out(self._ended(run, 0))

    def _enter(self, run: Run[Item]) -> int:
        """Say in the running context which calls these are, and that they run; return the time."""
        now_ns = self._now()
        for item in run.calls:
            call = item.call
            call.stage = "run"
            call.started_ns = now_ns
            call.batch_ns = now_ns - item.ready_ns
        first = run.calls[0].call
        current.set(first if len(run.calls) == 1 else together(run.calls))
        return now_ns

    def _ended(self, run: Run[Item], took_ns: int) -> tuple[Effect[Item], ...]:
        """Free the device; `took_ns` is 0 where the batch says nothing about what one costs."""
        with self._lock:
            if took_ns:
                self._batcher.costs.saw(run.size, run.units, took_ns)
            return self._marked(self._batcher.ended(self._now()))

    def _outcomes(self, run: Run[Item]) -> tuple[dict[Item, Any], bool]:
        """Return what came of each item, and whether all went well; items whose callers have gone may be missing."""
        outcomes: dict[Item, Any] = {}
        trials: list[Trial] = [(run.calls, run.size)]
        while trials:
            items, size = trials.pop()
            try:
                value = self.program.run(**self.arguments(items, size))
            except (
                BaseException
            ) as error:  # user code may raise anything, and must not end the thread
                trials += self.halves(run, items, error, outcomes)
            else:
                split(self.program.contract.label, items, size, value, outcomes)
        return outcomes, not any(isinstance(one, BaseException) for one in outcomes.values())

    async def _aoutcomes(self, run: Run[Item]) -> tuple[dict[Item, Any], bool]:
        outcomes: dict[Item, Any] = {}
        trials: list[Trial] = [(run.calls, run.size)]
        while trials:
            items, size = trials.pop()
            try:
                value = await self.program.run(**self.arguments(items, size))
            except BaseException as error:  # as above; SystemExit out of a task would end the loop
                if isinstance(error, asyncio.CancelledError) and all_gone(items):
                    raise
                trials += self.halves(run, items, error, outcomes)
            else:
                split(self.program.contract.label, items, size, value, outcomes)
        return outcomes, not any(isinstance(one, BaseException) for one in outcomes.values())

    def arguments(self, items: Sequence[Item], size: int) -> dict[str, list[Any]]:
        """Return the lists that the code gets, filled up to the engine's size with the last item."""
        rows = [item.arguments for item in items]
        rows += rows[-1:] * (size - len(rows))
        return columns(rows, self._names)

    def halves(
        self,
        run: Run[Item],
        items: Sequence[Item],
        error: BaseException,
        outcomes: dict[Item, Any],
    ) -> list[Trial]:
        """Return what to run again after a failure; what is at fault by itself is remembered, and its caller told."""
        if len(items) > 1 and self._isolates and isinstance(error, Exception):
            middle = len(items) // 2
            wanted = (
                [one for one in half if not one.call.cancelled]
                for half in (items[middle:], items[:middle])
            )
            return [(half, self._batcher.padded(len(half))) for half in wanted if half]
        if len(items) < len(run.calls):
            mark = items[0].mark
            self.server.outbox.post(lambda: self._poison.add(mark, self._now()))
        outcomes.update(dict.fromkeys(items, error))
        return []

    # -- answering -------------------------------------------------------------------------------------

    def _settle(
        self, run: Run[Item], outcomes: Mapping[Item, Any], took_ns: int, ended_ns: int
    ) -> None:
        """Encode and send the answers. On the loop, while the next batch runs."""
        self._encode(run, outcomes, took_ns)
        self._answer(run, ended_ns)

    def _encode(self, run: Run[Item], outcomes: Mapping[Item, Any], took_ns: int) -> None:
        now = self._now
        began_ns = last_ns = now()
        for item in run.calls:
            call = item.call
            call.run_ns = took_ns
            outcome = outcomes.get(item)
            if call.cancelled or (isinstance(outcome, BaseException) and self.broke(call, outcome)):
                continue
            call.stage = "encode"
            try:
                call.encode(outcome)
            except BaseException as error:  # a user's type may raise anything while it is written
                self.broke(call, error)
            encoded_ns = now()
            call.encode_ns, last_ns = encoded_ns - last_ns, encoded_ns
        # Where encoding is work, the loop must not do it: everybody else would wait.
        self._encodes_here = last_ns - began_ns > ENCODE_MAX_NS

    def broke(self, call: "Call", outcome: Any) -> bool:
        """Keep an error for the caller, if the outcome is one."""
        if isinstance(outcome, Misfit):
            call.stage, outcome = "encode", outcome.error
        if not isinstance(outcome, BaseException):
            return False
        token = current.set(call)  # so that the log says which call it was
        call.broke(outcome)
        current.reset(token)
        return True

    def _answer(self, run: Run[Item], ended_ns: int) -> None:
        says = True  # one call of a batch tells about it
        for item in run.calls:
            call = item.call
            if says and call.fault is None and not (call.cancelled or call.answered):
                call.batch, call.flush, says = len(run.calls), run.reason, False
            call.finish()
        self._leeway.saw(self._now() - ended_ns)


def _nothing() -> None:
    """Streams have answered already."""
