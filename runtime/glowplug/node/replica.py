"""How does one replica live on this node, from the first byte fetched to the last process gone?

    fetching ─► building ─► starting ─► loading ─► warming ─► ready ─► draining ─► stopped
        └───────────┴───────────┴──────────┴─── whatever goes wrong ──────┴──────► failed

Until there is a process the agent does the work itself; from then on the rank says in which state it is, and the agent
keeps its lease, watches the process, and sees to it that what was asked to end has ended. `stopped` and `failed` mean:
no process, no group, no socket and no record is left.

The agent's own end is not the replica's: a cancelled `run` leaves the rank alone, for the next agent to adopt.
"""

import logging
import signal
from contextlib import suppress
from dataclasses import replace
from typing import Any

import anyio

from glowplug.clock import SECOND
from glowplug.errors import CallError, GlowplugError, NodeError
from glowplug.node import adoption, gpus, starting
from glowplug.node.burying import clear
from glowplug.node.cgroups import Group
from glowplug.node.desired import OVER, Held
from glowplug.node.endings import Cause, Facts, judge
from glowplug.node.following import Following
from glowplug.node.messages import Phase, RankState, RankStats, Residency, Want
from glowplug.node.node_log import NodeLog, last_words, prune
from glowplug.node.processes import Exit, Process, identity, open_pidfd
from glowplug.node.rank_link import Changed
from glowplug.node.site import Site

_LOG = logging.getLogger("glowplug.node")
DRAIN_MARGIN_NS = 3 * SECOND  # after its time for calls a rank cancels them and runs its hooks


class Replica:
    """One replica. `residency` is what the report says; `changed` is called whenever it differs."""

    def __init__(self, site: Site, want: Want, changed: Changed) -> None:
        self.want = want
        self.residency = Residency(replica=want.replica, version=want.version, state="fetching")
        self.unclaimed_since_ns: int | None = None  # the controller has not asked for it since
        self._site = site
        self._changed = changed
        self._process: Process | None = None
        self._group: Group | None = None
        self._record: adoption.LaunchRecord | None = None
        self._python_path: tuple[str, ...] = ()
        self._phases: tuple[Phase, ...] = ()  # the agent's own part
        self._was_ready = False
        self._cause: Cause | None = None
        self._drain: tuple[int, str] | None = None
        self._swapping = False
        self._end = anyio.Event()
        self._settled = anyio.Event()
        self._buried = anyio.Event()
        self._preparing = anyio.CancelScope()
        start_until_ns = site.clock.now_ns() + want.spec.timeouts.start_ns
        self.following = Following(site, want.replica, start_until_ns, want.batch)
        self._rank_log = site.folders.log(want.spec.app, want.spec.name, want.replica)
        self._log = NodeLog(self._rank_log, want, site.clock)

    # -- what others ask -----------------------------------------------------------------------------

    @property
    def over(self) -> bool:
        """Say whether nothing of it is left."""
        return self.residency.state in OVER

    def held(self) -> Held:
        """Return it as the decision needs it."""
        return Held(
            replica=self.want.replica,
            version=self.want.version,
            state=self.residency.state,
            load_key=self.want.spec.load_key,
            ending=self._end.is_set(),
            claimed=self.unclaimed_since_ns is None,
            unclaimed_since_ns=self.unclaimed_since_ns or 0,
        )

    def drain(self, drain_ns: int, reason: str) -> None:
        """Have it finish its calls and end."""
        self._drain = (drain_ns, reason)
        self._log.write(f"draining for at most {drain_ns / SECOND:g} s: {reason}")
        self._say(state="draining")
        self._finish()

    def kill(self, reason: str) -> None:
        """Have it end now."""
        self._log.write(f"ending: {reason}")
        self._finish()

    async def swap(self, want: Want) -> None:
        """Let the running rank become another version; if it cannot, this replica has failed."""
        self.want, self._swapping = want, True
        self._say(version=want.version, state="loading", detail="")
        start_ns = want.spec.timeouts.start_ns
        self.following.start_until_ns = self._site.clock.now_ns() + start_ns
        try:
            with anyio.fail_after(start_ns / SECOND):
                await self._swap(want)
        except TimeoutError:
            self._fail(Cause("start_timeout", "the new code did not load in time"))
        except OSError as error:
            self._fail(Cause("start_failed", f"{want.version} cannot be swapped in: {error}"))
        except GlowplugError as error:
            self._fail(Cause(error.code, error.message))
        finally:
            self._swapping = False

    async def settled(self) -> None:
        """Wait until the rank has said how it is, or has ended."""
        await self._settled.wait()

    async def gone(self) -> None:
        """Wait until nothing of it is left."""
        await self._buried.wait()

    # -- its life --------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Live the whole life."""
        try:
            if self._process is None:
                await self._start()
            exit = Exit() if self._process is None else await self._live(self._process)
            await self._bury(exit)
        finally:
            self._settled.set()
            self._buried.set()
            self.following.close()
            if self._process is not None:
                self._process.close()

    def adopt(self, record: adoption.LaunchRecord) -> bool:
        """Take over a rank that runs; False when it has just ended."""
        pid = record.process.pid
        process = Process(pid, open_pidfd(pid) if self._site.pidfds else None, self._site.clock)
        # Asked after the pidfd was opened: from here on it names the right one.
        if identity(pid) != record.process:
            process.close()
            return False
        self._process, self._record = process, record
        self._python_path, self._phases = record.python_path, record.phases
        self._group = self._site.groups.find(
            record.want.replica, record.want.spec.needs.memory_bytes
        )
        self._log.write(f"adopted pid {pid}")
        self._say(
            state="starting",
            pid=pid,
            address=self._address,
            adopted=True,
            started_wall_ns=record.started_wall_ns,
            device=record.device,
            gpus=record.gpus,
            detail=record.note,
            phases=record.phases,
            memory_enforced=record.memory_enforced,
            cpu_enforced=record.cpu_enforced,
        )
        return True

    async def _start(self) -> None:
        """Prepare and launch; what goes wrong becomes the cause of the end."""
        limit_s = self.want.spec.timeouts.start_ns / SECOND
        try:
            with self._preparing, anyio.move_on_after(limit_s) as limit:
                await self._launch()
        except NodeError as error:
            self._cause = Cause(error.code, str(error))
        except OSError as error:
            self._cause = Cause("start_failed", f"{self.want.version} cannot be started: {error}")
        else:
            if limit.cancelled_caught:
                self._cause = Cause(
                    "start_timeout", f"it was still {self.residency.state} after {limit_s:g} s"
                )
        if self._cause is not None:
            self._finish()

    async def _launch(self) -> None:
        site = self._site
        prepared = await starting.prepare(
            site, self.want, lambda state, phases: self._say(state=state, phases=phases)
        )
        granted = starting.devices(site, self.want)
        needs = self.want.spec.needs
        self._group = site.groups.open(self.want.replica, needs.memory_bytes, needs.cpu_milli)
        self._phases, self._python_path = prepared.phases, prepared.python_path
        self._say(
            state="starting",
            device=granted.device,
            gpus=granted.gpus,
            detail=granted.note,
            memory_enforced=self._group.enforces_memory,
            cpu_enforced=self._group.enforces_cpu,
            phases=self._phases,
        )
        launch = starting.launch_record(site, self.want, prepared, granted)
        order = starting.order_for(self.want, prepared, launch, self._started)
        self._phases += await starting.start(site, order)

    def _started(self, process: Process) -> None:
        """Place and write down a process that has not been told what to run yet."""
        self._process = process
        assert self._group is not None
        self._group.place(process.pid)
        who = identity(process.pid)
        if who is None:
            return  # it has ended at once; whoever waits for it will see
        self._say(
            pid=process.pid, address=self._address, started_wall_ns=self._site.clock.wall_ns()
        )
        self._record = adoption.LaunchRecord(
            want=self.want,
            process=who,
            device=self.residency.device,
            gpus=self.residency.gpus,
            note=self.residency.detail,
            memory_enforced=self.residency.memory_enforced,
            cpu_enforced=self.residency.cpu_enforced,
            started_wall_ns=self.residency.started_wall_ns,
            phases=self._phases,
            python_path=self._python_path,
        )
        adoption.write(self._site.folders, self._record)

    async def _live(self, process: Process) -> Exit:
        """Follow the rank until its process has ended."""
        async with anyio.create_task_group() as group:
            group.start_soon(self._follow)
            group.start_soon(self._end_when_asked, process)
            exit = await process.wait()
            group.cancel_scope.cancel()
        return exit

    async def _follow(self) -> None:
        began_ns = self._site.clock.now_ns()
        patience = (
            self._site.patience.hang_ns
            if self.residency.adopted
            else self.following.start_until_ns - began_ns
        )
        cause = await self.following.connected(patience)
        if not self.residency.adopted:
            self._booted(began_ns)
        while cause is None:
            match await self.following.next():
                case Cause() as found:
                    cause = found
                case told:
                    await self._take(told)
        self._fail(cause)

    def _booted(self, began_ns: int) -> None:
        """Count the time until the rank listens as part of its launch: an interpreter's start is most of an exec."""
        *before, launch = self._phases
        waited_ns = self._site.clock.now_ns() - began_ns
        self._phases = (*before, replace(launch, ns=launch.ns + waited_ns))

    async def _end_when_asked(self, process: Process) -> None:
        """The ladder: DRAIN, SIGTERM, SIGKILL. Cancelled as soon as the process has ended."""
        await self._end.wait()
        if self._drain is not None and self._cause is None:
            drain_ns, reason = self._drain
            with anyio.move_on_after((drain_ns + DRAIN_MARGIN_NS) / SECOND):
                await self._ask_to_drain(drain_ns, reason)
                await anyio.sleep_forever()
        # One that hangs cannot heed SIGTERM.
        if self._cause is None or self._cause.code != "replica_lost":
            process.signal(signal.SIGTERM)
            await self._site.clock.sleep(self._site.patience.term_ns / SECOND)
        process.kill_group()

    async def _ask_to_drain(self, drain_ns: int, reason: str) -> None:
        link = self.following.link
        if link is None:
            return
        try:
            await link.drain(max(1, drain_ns), reason)  # 0 would be the rank's own default
        except CallError:
            pass  # it has gone, or has drained already: SIGTERM follows if not

    async def _bury(self, exit: Exit) -> None:
        """Leave nothing behind, then say how it ended."""
        group, process = self._group or Group(0, None, None, 0), self._process
        verdict = judge(
            Facts(
                exit=exit,
                asked=self._end.is_set(),
                was_ready=self._was_ready,
                cause=self._cause,
                told=self.following.told,
                oom_kills=group.oom_kills(),
                limit_bytes=group.limit_bytes,
                peak_bytes=group.peak_bytes(),
                last_words=last_words(starting.raw_log(self._rank_log)),
            )
        )
        if process is not None:
            process.kill_group()
            await clear(self._site, self.want.replica, group)
        adoption.forget(self._site.folders, self.want.replica)
        self._log.write(
            f"{verdict.state}: {verdict.detail or exit.text}",
            "info" if verdict.state == "stopped" else "error",
        )
        running = adoption.recorded(self._site.folders)
        prune(self._rank_log.parent, running, self._site.clock.wall_ns())
        self._say(
            state=verdict.state,
            code=verdict.code,
            detail=verdict.detail,
            pid=0,
            address="",
            gpus=(),
        )

    # -- its states ------------------------------------------------------------------------------------

    async def _take(self, told: RankStats) -> None:
        """Take over what the rank says; its end is seen by its process alone."""
        state: RankState = self.residency.state if told.state in OVER else told.state
        if self._drain is not None:
            state = "draining"
        elif self._swapping:
            state = "loading"  # what it says of itself is about the version before
        first = told.state == "ready" and not self._was_ready
        self._say(
            state=state,
            permits=told.permits,
            phases=(*self._phases, *told.phases),
            calls_done=told.calls_done,
            detail=told.detail or self.residency.detail,
        )
        self._settled.set()
        if first:
            self._was_ready = True
            await self._ready(told)

    async def _ready(self, told: RankStats) -> None:
        self._log.write(f"ready as pid {told.pid}: {starting.timed(self.residency.phases)}")
        with suppress(OSError):  # a full disk costs the phases in its record, and no more
            self._note(self.want)
        bundle = self.want.bundle
        interpreter = self._site.environments.interpreter(bundle.env_digest)
        if interpreter is not None:
            modules = await self.following.modules()
            self._site.zygotes.learn(bundle.env_digest, interpreter, modules, self._python_path)

    async def _swap(self, want: Want) -> None:
        site = self._site
        prepared = await starting.prepare(site, want, lambda state, phases: None)
        granted = gpus.Granted(self.residency.device, self.residency.gpus, self.residency.detail)
        link = self.following.link
        if link is None:
            raise NodeError(f"{want.replica} is out of reach; it starts anew", code="replica_lost")
        launch = starting.launch_record(site, want, prepared, granted)
        told = await link.load(launch, want.spec.timeouts.start_ns)
        self._phases = prepared.phases
        self._swapping = False
        await self._take(told)
        self._note(want)

    def _note(self, want: Want) -> None:
        """Bring the record up to date."""
        if self._record is not None:
            self._record = replace(self._record, want=want, phases=self._phases)
            adoption.write(self._site.folders, self._record)

    def _fail(self, cause: Cause) -> None:
        self._cause = self._cause or cause
        self._log.write(f"ending: {cause.detail}", "error")
        self._finish()

    def broken(self, error: Exception) -> None:
        """Record that the agent itself failed at it; the rank is not left behind."""
        if self._process is not None:
            self._process.kill_group()
        self._say(state="failed", code="internal", detail=f"the agent failed: {error!r}")

    def _finish(self) -> None:
        self._end.set()
        if self._process is None:
            self._preparing.cancel()

    def _say(self, **changes: Any) -> None:
        new = replace(self.residency, **changes)
        if new != self.residency:
            self.residency = new
            self._changed()

    @property
    def _address(self) -> str:
        return f"unix:{self._site.folders.data_socket(self.want.replica)}"
