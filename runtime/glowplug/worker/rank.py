"""What does this rank do next, and who does it? The loop around the lifecycle: it carries out effects.

All of it runs on the event loop; user code runs on the compute threads, or on the loop when it is asynchronous.
"""

import asyncio
import os
from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from glowplug.clock import SECOND, Clock
from glowplug.context import Context
from glowplug.errors import GlowplugError
from glowplug.hooks import HookKind
from glowplug.node.messages import RankLaunch, RankStats
from glowplug.remote_errors import users_traceback
from glowplug.wire.channel import Spawn
from glowplug.worker import program as programs
from glowplug.worker.compute import Compute, UserCodeExit, threads_of
from glowplug.worker.events import (
    Announce,
    Broke,
    CancelCalls,
    Checked,
    ComputeLost,
    Effect,
    Event,
    Exit,
    HooksRan,
    Idled,
    Imported,
    Loaded,
    RunCheck,
    RunHooks,
    RunImport,
    RunLoad,
    RunWarm,
    Ticked,
    Warmed,
)
from glowplug.worker.failures import said, sayable
from glowplug.worker.lifecycle import due_ns, first_state, step
from glowplug.worker.offline import offline
from glowplug.worker.process import surroundings
from glowplug.worker.program import Program, SwappedModules
from glowplug.worker.seeding import seeds_of
from glowplug.worker.server import Server

DETAIL_MAX = 32 * 1024  # characters of a traceback in the statistics; its end says most


class Rank:
    """One replica's process."""

    def __init__(
        self, launch: RankLaunch, server: Server, compute: Compute, clock: Clock, spawn: Spawn
    ) -> None:
        self.launch = launch
        self.server = server
        self.ended = asyncio.Event()
        self.exit_code = 0
        self.on_change: Callable[[], None] = lambda: None
        self._compute = compute
        self._clock = clock
        self._spawn = spawn
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._program: Program | None = None
        self._endpoint: Any = None
        self._modules: tuple[str, ...] = ()
        self._stages: dict[type, tuple[Callable[[], Awaitable[None]], Event]] = {
            RunImport: (self._import, Imported()),
            RunLoad: (self._load, Loaded()),
            RunWarm: (self._warm, Warmed()),
            RunCheck: (self._check, Checked()),
        }
        self.state = first_state(
            launch.epoch, launch.lease_ns, launch.spec.timeouts.start_ns, clock.now_ns()
        )
        server.epoch = launch.epoch
        server.on_idle = lambda: self._happened(Idled()) if self.state.phase == "draining" else None
        server.on_stuck = lambda detail: self._happened(ComputeLost(detail, busy=server.is_awaited))

    @property
    def is_busy(self) -> bool:
        """Say whether calls are in flight."""
        return bool(self.server.calls)

    def happen(self, event: Event) -> tuple[Effect, ...]:
        """Take an event, carry out its effects and return them: those about a command are the command's to answer."""
        before = self.state.phase
        self.state, effects = step(self.state, event, self._clock.now_ns())
        if self.state.phase != before:
            self._note(before)
        for effect in effects:
            self._carry_out(effect)
        self._arm()
        return effects

    def stats(self, *, modules: bool) -> RankStats:
        """Return how this rank is."""
        state, server = self.state, self.server
        return RankStats(
            replica=self.launch.replica,
            version=self.launch.version,
            epoch=state.epoch,
            pid=os.getpid(),
            state=state.phase,
            permits=server.permits,
            inflight=len(server.calls),
            calls_done=server.calls_done,
            busy_ns=server.busy_ns,
            phases=state.phases,
            detail=state.detail,
            code=state.code,
            modules=self._modules if modules else (),
            last_call_wall_ns=server.last_call_wall_ns,
        )

    async def swap(self, launch: RankLaunch) -> str:
        """Become another version, keeping the loaded instance; return what went wrong, and then nothing has changed."""
        old, old_launch = self._program, self.launch
        assert old is not None, self.state
        try:
            program = await self._compute.run(lambda: _swapped(launch, old_launch, old))
        except (
            Exception
        ) as error:  # user code may raise anything; the agent is told, the old code goes on
            text = _text_of(error)
            self.server.log.write("lifecycle", f"swap to {launch.version} failed: {text}", "error")
            return text
        self.launch, self._program = launch, program
        self.server.log.name(launch.version)
        self._compute.widen(threads_of(launch.spec))
        self.server.serve(program, launch.version)
        self.server.log.write("lifecycle", f"became {launch.version}")
        self.server.announce(self.state.phase, self.state.epoch)
        self.on_change()
        return ""

    # -- effects -------------------------------------------------------------------------------------

    def _carry_out(self, effect: Effect) -> None:
        match effect:
            case RunImport() | RunLoad() | RunWarm() | RunCheck():
                self._spawn(self._stage, effect)
            case RunHooks(reason, deadline_ns):
                self._spawn(self._leave, reason, deadline_ns)
            case CancelCalls():
                self.server.cancel_all()
            case Announce():
                self.server.announce(self.state.phase, self.state.epoch)
                self.on_change()
            case Exit(code):
                self.exit_code = code
                self.ended.set()
            case _:
                pass  # Answer, Refuse, Swap: the command at hand answers itself

    def _happened(self, event: Event) -> None:
        self.happen(event)

    def _note(self, before: str) -> None:
        state = self.state
        why = f": {state.detail}" if state.detail else f" ({state.reason})" if state.reason else ""
        phases = ", ".join(f"{phase.name} {phase.ns / 1e6:.0f} ms" for phase in state.phases)
        level = "error" if state.phase == "failed" else "info"
        times = f" [{phases}]" if state.phase == "ready" else ""
        self.server.log.write("lifecycle", f"{before} → {state.phase}{times}{why}", level)

    def _arm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        due = due_ns(self.state)
        if due is not None and not self.ended.is_set():
            wait_s = max(due - self._clock.now_ns(), 0) / SECOND
            self._timer = self._loop.call_later(
                wait_s, lambda: self._happened(Ticked(self.is_busy))
            )

    # -- stages of the start ---------------------------------------------------------------------------

    async def _stage(self, effect: Effect) -> None:
        work, done = self._stages[type(effect)]
        try:
            await work()
        except (
            Exception
        ) as error:  # user code may raise anything; the state machine takes it from here
            self.happen(Broke(_text_of(error)))
        else:
            self.happen(done)

    async def _import(self) -> None:
        self._endpoint = await self._on_thread(lambda: programs.find(self.launch.spec))

    async def _load(self) -> None:
        made = await self._on_thread(lambda: programs.prepare(self.launch.spec, self._endpoint))
        self._program = made
        await self._hook("load")

    async def _warm(self) -> None:
        assert self._program is not None
        if "warm" in self._program.hooks:
            await self._hook("warm")
        else:
            with self._offline():
                left_out = await programs.warm(self._program, self._on_thread)
                self._program.seeds = await seeds_of(
                    self._program, self._on_thread, self._clock.now_ns
                )
            if left_out:
                self.server.log.write(
                    "lifecycle", f"{left_out} examples call other endpoints: left to the deploy"
                )

    async def _check(self) -> None:
        assert self._program is not None
        if await self._hook("check") is False:
            raise GlowplugError(
                "on.check returned False: the replica is not fit to serve", code="start_failed"
            )
        self.server.serve(self._program, self.launch.version)
        self._modules = programs.third_party(self.launch.code_path)

    async def _hook(self, kind: HookKind, context: Context | None = None) -> Any:
        program = self._program
        assert program is not None
        method = program.hook(kind, context or self._context())
        if method is None:
            return None
        if program.is_async_hook(kind):
            with self._offline():
                return await method()
        return await self._on_thread(method)

    def _offline(self) -> AbstractContextManager[None]:
        return offline(self.launch.spec, self.launch.version)

    async def _on_thread(self, work: Callable[[], Any]) -> Any:
        """Run code of the start, or of the end, on a compute thread."""

        def run() -> Any:
            with self._offline():
                return work()

        return await self._compute.prepare(run)

    def _context(self) -> Context:
        launch = self.launch
        return Context(
            app=launch.spec.app,
            endpoint=launch.spec.name,
            version=launch.version,
            device=launch.device,
            gpus=launch.gpus,
            volumes={name: Path(path) for name, path in launch.volumes},
        )

    async def _leave(self, reason: Any, deadline_ns: int) -> None:
        context = self._context()
        context.reason = reason
        context.deadline_s = deadline_ns / SECOND
        kinds: tuple[HookKind, ...] = ("drain", "unload")
        for kind in kinds:
            try:
                await self._hook(kind, context)
            except Exception as error:  # user code may raise anything; it goes all the same
                self.server.log.write("lifecycle", f"on.{kind} failed: {_text_of(error)}", "error")
        self.happen(HooksRan())


def _swapped(launch: RankLaunch, old_launch: RankLaunch, old: Program) -> Program:
    """Import the new code and put it around the old instance. On a compute thread, when no call runs there."""
    modules = SwappedModules(old_launch.code_path, launch.code_path)
    try:
        surroundings(launch)
        return programs.graft(launch.spec, programs.find(launch.spec), old)
    except BaseException:
        modules.undo()
        surroundings(old_launch)
        raise


def _text_of(error: BaseException) -> str:
    if isinstance(error, UserCodeExit) and error.__cause__ is not None:
        error = error.__cause__
    if isinstance(error, GlowplugError):
        return sayable(str(error))
    return sayable(f"{said(error)}\n{users_traceback(error).rstrip()}"[-DETAIL_MAX:])
