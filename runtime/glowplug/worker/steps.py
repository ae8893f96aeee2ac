"""How does a generator answer several calls at once? Step by step: each step has an entry for each call.

`None` is nothing for now, `END` the end of that call's answer, an exception its error; the others go on. Everything but
the generator itself happens on the loop. A reader that stalls holds up nobody: what is for it waits in a buffer, and
over the bound it is dropped with an error. Only when no reader at all can take more does the generator wait.
"""

import asyncio
import threading
from collections import deque
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from glowplug.codec import StreamFormat, encode_item, frame_done, frame_item
from glowplug.errors import CallError
from glowplug.lists import END, results_of
from glowplug.worker.failures import fault
from glowplug.worker.items import Item, Misfit, Trial
from glowplug.worker.streaming import Stream
from glowplug.worker.window import WINDOW

if TYPE_CHECKING:
    from glowplug.worker.batcher import Run
    from glowplug.worker.batching import Batching
    from glowplug.worker.call import Call

BUFFER_MAX = (
    8 * 1024 * 1024
)  # bytes that wait for one reader beyond its window; text is read long before
STEPS_AHEAD = 16  # that the thread may be ahead of the loop


class ItemStream(Stream):
    """One call's part of a batch's stream. Everything on the loop."""

    def __init__(self, call: "Call", form: StreamFormat) -> None:
        super().__init__(call)
        self.form = form
        self.steps: Steps | None = None  # what feeds it, once it runs
        self._room = WINDOW
        self._waiting: deque[bytes] = deque()
        self._waiting_bytes = 0
        self._is_torn = False  # the first that waits is the rest of an item: its beginning has left
        self.ends = False  # its last item is in; it goes on until the reader has had all

    @property
    def has_room(self) -> bool:
        """Say whether the reader keeps up."""
        return self._room > 0

    def begin(self, steps: "Steps") -> None:
        """Be fed by these steps; a reader who left between the cut and now is let go."""
        self.steps = steps
        if self._call.cancelled:
            self.close()

    def put(self, data: bytes) -> bool:
        """Send an item, or keep it until the reader has room; False where that is too much."""
        self._waiting.append(data)
        self._waiting_bytes += len(data)
        self._move()
        return self._waiting_bytes <= BUFFER_MAX

    def end(self) -> None:
        """End the answer when the reader has had all of it."""
        self.ends = True
        self._move()

    def credit(self, size: int) -> None:
        """Widen the window; never beyond its first size, whatever the peer claims."""
        self._room = min(self._room + size, WINDOW)
        self._move()
        self._wake()

    def close(self) -> None:
        """Stop: the reader has gone. The others' steps go on."""
        self._waiting.clear()
        if self.steps is not None:  # it runs: nothing else would end it before the whole batch does
            self._call.server.loop.call_soon(self._leave)

    def flush(self) -> None:
        """Send what is ready before the stream ends, and all of an item that has begun: no error may lie inside it."""
        if self._is_torn and self._waiting:
            self._ready.append(self._waiting.popleft())
        self._is_torn = False
        super().flush()

    def _leave(self) -> None:
        self._call.finish()
        self._wake()

    def _move(self) -> None:
        waiting = self._waiting
        while waiting and self._room > 0:
            data = waiting.popleft()
            taken = data[: self._room]
            self._is_torn = len(taken) < len(data)
            if self._is_torn:
                waiting.appendleft(data[len(taken) :])
            self._room -= len(taken)
            self._waiting_bytes -= len(taken)
            self._ready.append(taken)
        if not self._call.answered:
            super().flush()
        if self.ends and not waiting:
            self._call.finish()

    def _wake(self) -> None:
        if self.steps is not None:
            self.steps.wake()


class Steps:
    """One run of a batch generator."""

    def __init__(self, batching: "Batching", run: "Run[Item]", began_ns: int) -> None:
        self._batching = batching
        self._run = run
        self._began_ns = began_ns
        self._contract = batching.program.contract
        self._now = batching.server.now_ns
        self._slots = threading.Semaphore(STEPS_AHEAD)
        self._held = 0  # slots kept back until a reader has room
        self._roomy = asyncio.Event()
        self._began = False  # something has gone out: running it again would say it twice
        self._says = True
        self._paused = False  # for a reader: then its time says nothing about what a batch costs

    def on_thread(self) -> int:
        """Run it on a compute thread; return how long it took, 0 if something went wrong."""
        trials: list[Trial] = [(self._run.calls, self._run.size)]
        failed = False
        post = self._batching.server.outbox.post
        post(self._adopt)
        while trials:
            items, size = trials.pop()
            try:
                generator = self._batching.program.run(**self._batching.arguments(items, size))
                try:
                    for step in generator:
                        entries = self._entries(step, items, size)
                        if not self._slots.acquire(blocking=False):
                            self._paused = True
                            self._slots.acquire()
                        post(partial(self._take, items, entries))
                        if _all_over(items):
                            break
                finally:
                    generator.close()
            except (
                BaseException
            ) as error:  # user code may raise anything, and must not end the thread
                failed = True
                trials += self._after(items, error)
            else:
                post(partial(self._end_all, items))
        return 0 if failed or self._paused else self._now() - self._began_ns

    async def on_loop(self) -> int:
        """Run it as part of a task on the loop."""
        trials: list[Trial] = [(self._run.calls, self._run.size)]
        failed = False
        self._adopt()
        while trials:
            items, size = trials.pop()
            try:
                generator = self._batching.program.run(**self._batching.arguments(items, size))
                try:
                    async for step in generator:
                        self._take(items, self._entries(step, items, size))
                        if _all_over(items):
                            break
                        if self._held:
                            self._paused = True
                            self._roomy.clear()
                            await self._roomy.wait()
                finally:
                    await generator.aclose()
            except BaseException as error:  # SystemExit out of a task would end the loop
                if isinstance(error, asyncio.CancelledError) and _all_over(items):
                    raise
                failed = True
                trials += self._after(items, error)
            else:
                self._end_all(items)
        return 0 if failed or self._paused else self._now() - self._began_ns

    def wake(self) -> None:
        """Go on: a reader has room, or has gone."""
        if self._held and self._has_room():
            held, self._held = self._held, 0
            self._slots.release(held)
            self._roomy.set()

    # -- what a step brings ------------------------------------------------------------------------------

    def _entries(self, step: Any, items: Sequence[Item], size: int) -> list[Any]:
        try:
            entries = results_of(self._contract.label, step, size)
        except CallError as error:
            raise Misfit(error) from None
        self._began = self._began or any(
            one is not None and not isinstance(one, Exception) for one in entries
        )
        return entries[: len(items)]

    def _adopt(self) -> None:
        for item in self._run.calls:
            stream = item.call.stream
            if isinstance(stream, ItemStream):
                stream.begin(self)

    def _take(self, items: Sequence[Item], entries: list[Any]) -> None:
        for item, entry in zip(items, entries, strict=True):
            call = item.call
            if entry is not None and not _has_all(call):
                self._give(call, entry)
        self._held += 1
        self.wake()

    def _give(self, call: "Call", entry: Any) -> None:
        stream = call.stream
        assert isinstance(stream, ItemStream), call.request_id
        if entry is END:
            self._end(call, stream)
            return
        if self._batching.broke(call, entry):
            call.finish()
            return
        call.stage = "encode"
        try:
            data = frame_item(stream.form, encode_item(self._contract, entry, stream.form))
        except BaseException as error:  # a user's type may raise anything while it is written
            self._batching.broke(call, error)
            call.finish()
            return
        call.stage = "run"
        self._open(call, stream)
        if not stream.put(data):
            detail = f"more than {BUFFER_MAX} bytes waited for the reader, who takes too few"
            call.fault = fault("slow_reader", detail, "yes", call.request_id)
            call.finish()

    def _open(self, call: "Call", stream: ItemStream) -> None:
        if not stream.is_open:
            if self._says:
                self._says = False
                call.batch, call.flush = len(self._run.calls), self._run.reason
            stream.open(stream.form, call.decode_ns, self._now() - self._began_ns)

    def _end(self, call: "Call", stream: ItemStream) -> None:
        call.run_ns = self._now() - self._began_ns
        self._open(call, stream)
        stream.put(frame_done(stream.form))
        stream.end()

    def _end_all(self, items: Sequence[Item]) -> None:
        for item in items:
            call = item.call
            if isinstance(call.stream, ItemStream) and not _has_all(call):
                self._end(call, call.stream)

    def _after(self, items: Sequence[Item], error: BaseException) -> list[Trial]:
        """Return what to run again after a failure: nothing once something has gone out."""
        outcomes: dict[Item, Any] = {}
        trials: list[Trial] = []
        if self._began or isinstance(error, Misfit):
            outcomes = dict.fromkeys(items, error)
        else:
            trials = self._batching.halves(self._run, items, error, outcomes)
        self._batching.server.outbox.post(partial(self._fail, outcomes))
        return trials

    def _fail(self, outcomes: dict[Item, Any]) -> None:
        for item, error in outcomes.items():
            call = item.call
            if _has_all(call):
                continue
            self._batching.broke(call, error)
            call.finish()

    def _has_room(self) -> bool:
        """Say whether somebody can take more, or nobody is left to wait for."""
        live = [item.call for item in self._run.calls if not _has_all(item.call)]
        return not live or any(
            isinstance(call.stream, ItemStream) and call.stream.has_room for call in live
        )


def _has_all(call: "Call") -> bool:
    """Say whether a call needs nothing more of the generator; its reader may still be behind."""
    stream = call.stream
    return (
        call.ended
        or call.answered
        or call.cancelled
        or (isinstance(stream, ItemStream) and stream.ends)
    )


def _all_over(items: Sequence[Item]) -> bool:
    return all(_has_all(item.call) for item in items)
