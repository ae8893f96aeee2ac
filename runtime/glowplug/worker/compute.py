"""On which threads does synchronous user code run, and how does its result get back to the loop?

Work goes out through a queue that costs one lock, and comes back in batches: a thread appends to a deque and wakes the
loop only if nobody has done so since the loop last looked. One thread when the endpoint runs one call at a time, so
that a model is loaded, warmed and called on the very same thread (CUDA contexts, thread-local caches); else one per
permit.
"""

import asyncio
import contextvars
import threading
from collections import deque
from collections.abc import Callable
from queue import SimpleQueue
from typing import TypeVar

from glowplug.spec import EndpointSpec

THREADS_MAX = 64  # more only fight for the interpreter lock; calls beyond wait in the queue, whose bound is the permits

Job = Callable[[], None]
_R = TypeVar("_R")


def threads_of(spec: EndpointSpec) -> int:
    """Return how many threads an endpoint needs: one where one thing runs at a time, be it a call or a batch."""
    return 1 if spec.is_async or spec.batch.max else spec.concurrency


class Outbox:
    """Callbacks from threads to the loop, batched."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._waiting: deque[Job] = deque()
        self._woken = False

    def post(self, callback: Job) -> None:
        """Run `callback` on the loop soon. From any thread."""
        self._waiting.append(callback)
        # A race here costs one needless wake-up; it cannot lose one, because `_run` lowers the flag before it looks.
        if not self._woken:
            self._woken = True
            try:
                self._loop.call_soon_threadsafe(self._run)
            except RuntimeError:  # the loop is closed: the process is ending, nobody waits for this
                self._woken = False

    def _run(self) -> None:
        self._woken = False
        waiting = self._waiting
        while waiting:
            waiting.popleft()()


class Compute:
    """The threads of user code; they start when first needed."""

    def __init__(self, outbox: Outbox, threads: int) -> None:
        self.outbox = outbox
        # What user code sets while it loads (numpy.seterr, decimal's context) holds for its calls as well.
        self.base = contextvars.copy_context()
        self._limit = min(max(threads, 1), THREADS_MAX)
        self._queue: SimpleQueue[tuple[contextvars.Context | None, Job] | None] = SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._outstanding = 0  # given, and not yet back: only the loop's thread counts

    @property
    def threads_max(self) -> int:
        """Return how many threads may run user code at once."""
        return self._limit

    def widen(self, threads: int) -> None:
        """Allow more threads, after a swap to code with more permits."""
        self._limit = max(self._limit, min(threads, THREADS_MAX))

    def submit(self, job: Job, context: contextvars.Context | None = None) -> None:
        """Run `job` on a thread, in a copy of `base` unless said. It must not raise, and must post a call of `back`."""
        self._outstanding += 1
        if self._outstanding > len(self._threads) and len(self._threads) < self._limit:
            self._start()
        self._queue.put((context, job))

    def hand_on(self, job: Job) -> None:
        """Run `job` in place of the one that ends here, behind what waits; one call of `back` is for both. From it."""
        self._queue.put((None, job))

    def back(self) -> None:
        """Note on the loop that a job has come back."""
        self._outstanding -= 1

    @property
    def idle(self) -> bool:
        """Say whether no job is on a thread: only then can the process end in good order."""
        return self._outstanding == 0

    def stop(self) -> None:
        """Let the threads end after what they have."""
        for _ in self._threads:
            self._queue.put(None)

    async def prepare(self, work: Callable[[], _R]) -> _R:
        """Run `work` in the context that later calls start from. One at a time: a context is entered once."""
        return await self._result(work, self.base)

    async def run(self, work: Callable[[], _R]) -> _R:
        """Run `work` and return what it returns; a BaseException of user code comes back too."""
        return await self._result(work, None)

    async def _result(self, work: Callable[[], _R], context: contextvars.Context | None) -> _R:
        future: asyncio.Future[_R] = asyncio.get_running_loop().create_future()

        def settle(result: _R | None, error: BaseException | None) -> None:
            self.back()
            if future.cancelled():
                return
            if error is None:
                future.set_result(result)  # type: ignore[arg-type]  # no error: it is an _R
            elif isinstance(error, Exception) and not isinstance(error, StopIteration):
                future.set_exception(error)
            else:  # SystemExit and its like would end the loop, StopIteration a future cannot hold
                future.set_exception(UserCodeExit(error))

        def job() -> None:
            try:
                result = work()
            except BaseException as error:  # whatever user code raises must not end the thread
                caught = error
                self.outbox.post(lambda: settle(None, caught))
            else:
                self.outbox.post(lambda: settle(result, None))

        self.submit(job, context)
        return await future

    def _start(self) -> None:
        thread = threading.Thread(
            target=self._work, name=f"compute-{len(self._threads)}", daemon=True
        )
        self._threads.append(thread)
        thread.start()

    def _work(self) -> None:
        get, copy = self._queue.get, self.base.copy
        while (item := get()) is not None:
            context, job = item
            # A context of its own: what one call sets must not leak into the next.
            (context or copy()).run(job)
            del (
                item,
                job,
                context,
            )  # a waiting thread must not keep the last call's body and result alive


class UserCodeExit(Exception):  # noqa: N818  # not an error of ours: it carries one of the user's through a future
    """User code raised SystemExit, KeyboardInterrupt or the like, which must not end the rank."""

    def __init__(self, cause: BaseException) -> None:
        super().__init__(str(cause))
        self.__cause__ = cause
