"""How is what should be made out of what is? The only loop that acts.

observe → `plan()` → check again → write intents → tell nodes → publish to gateways, and then wait for
something to happen: a report, demand, a deployment, or the time the planner named. It never polls.
Everything it does may be repeated: it can die between any two lines, and the next controller takes a
higher epoch and rebuilds its memory from reports.
"""

from dataclasses import replace

import anyio
from anyio.abc import TaskStatus

from glowplug.clock import SECOND, Clock
from glowplug.errors import CallError, StoreError
from glowplug_router.control.actions import carry_out, intent_of, outcome, still_right, subject_of
from glowplug_router.control.containment import Planner, left_out_of, plan_contained
from glowplug_router.control.gateways import Gateways
from glowplug_router.control.observe import observe
from glowplug_router.control.snapshots import memory_of, snapshot
from glowplug_router.control.wishes import ended, farewells
from glowplug_router.control.world import World
from glowplug_router.ports import NodeLink, Provider, Store
from glowplug_router.records.decided import Action, Launch, OnMachine, Plan, Terminate
from glowplug_router.records.published import Snapshot
from glowplug_router.records.stored import Explain
from glowplug_router.telemetry.logging import logger

_LOG = logger("glowplug.controller")
FIRST_REPORT_MAX_NS = (
    3 * SECOND
)  # an agent that runs has dialled and reported by then; without one, nothing is planned
STORE_RETRY_NS = SECOND
CONTAINED_RETRY_NS = 5 * SECOND  # until what could not be planned or shown is tried again
EPOCH_SHIFT = 32  # bits of a table's number that count within one epoch


class Controller:
    """The loop, and the intents it has under way."""

    def __init__(
        self,
        world: World,
        store: Store,
        provider: Provider,
        gateways: Gateways,
        clock: Clock,
        planner: Planner,
    ) -> None:
        self._world = world
        self._store = store
        self._provider = provider
        self._gateways = gateways
        self._clock = clock
        self._planner = planner
        self._under_way: dict[str, Action] = {}
        self._told: dict[str, tuple[NodeLink, int]] = {}
        self._said: dict[str, tuple[object, ...]] = {}  # subject -> the decision last stored
        self._published: Snapshot | None = None
        self._stopping = False
        self._trouble: dict[str, str] = {}  # what fails now, by what was being done
        self._number = world.epoch << EPOCH_SHIFT  # so that those of a later controller are higher

    async def run(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Keep nodes where the planner wants them, until cancelled."""
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._follow_nodes)
            await self._first_reports()
            await self._reconcile()
            task_status.started()
            while True:
                count = self._world.changed.count
                wake_ns = await self._step()
                self._world.moved.fire()
                await self._wait(count, wake_ns)

    async def drain_all(self, limit_ns: int) -> None:
        """End every replica, in order: the router stops. What has not ended within the limit is left to its lease."""
        self._stopping = True
        world, deadline_ns = self._world, self._clock.now_ns() + limit_ns
        world.alarms["stop"] = deadline_ns
        for replica in world.fleet.replicas(self._clock.now_ns()):
            world.fleet.drain(replica.id, limit_ns // 2, "stop")
        world.changed.fire()
        while (
            any(book.wants for book in world.fleet.nodes.values())
            and self._clock.now_ns() < deadline_ns
        ):
            await world.changed.after(world.changed.count)

    # -- waiting ---------------------------------------------------------------------------------

    async def _follow_nodes(self) -> None:
        while True:
            await self._take_reports()
            await self._provider.changed()

    async def _take_reports(self) -> None:
        fleet = self._world.fleet
        news = False
        links = {link.node: link for link in await self._provider.links()}
        for node, link in links.items():
            report = await self._provider.report(node)
            if report is not None:
                news = fleet.take_report(report, self._clock.now_ns()) or news
            if self._told.get(node, (None, 0))[0] is not link:
                news = True
        said = await self._provider.machines()
        if self._world.take_machines(said, self._clock.now_ns()) or news:
            self._world.changed.fire()

    async def _first_reports(self) -> None:
        """Wait until nodes have said what they have, so that nothing is planned in the dark; give up after a while."""
        changed = self._world.changed
        deadline_ns = self._clock.now_ns() + FIRST_REPORT_MAX_NS
        while self._world.is_dark and self._clock.now_ns() < deadline_ns:
            await self._wait(changed.count, deadline_ns)

    async def _wait(self, count: int, wake_ns: int | None) -> None:
        async with anyio.create_task_group() as tasks:
            if wake_ns is not None:
                tasks.start_soon(self._alarm, wake_ns)
            await self._world.changed.after(count)
            tasks.cancel_scope.cancel()

    async def _alarm(self, wake_ns: int) -> None:
        await self._clock.sleep(max(0, wake_ns - self._clock.now_ns()) / SECOND)
        self._world.changed.fire()

    # -- one round -------------------------------------------------------------------------------

    async def _step(self) -> int | None:
        """Plan and act once; return when to look again at the latest."""
        world = self._world
        now_ns = self._clock.now_ns()
        keys = {*world.catalog.permille(), *world.trials}
        world.demand.forget(keys)
        plan = self._plan(now_ns)
        try:
            await self._carry_out(plan)
            await self._record(plan)
            await self._end_wishes()
        except StoreError as error:
            # What cannot be written down is not done; calls go on with what stands.
            _LOG.error(
                "the store failed: nothing new is started or ended",
                code=error.code,
                error=error.message,
            )
            return self._clock.now_ns() + STORE_RETRY_NS
        finally:
            self._publish()
            await self._tell_nodes()
        return self._next_look(plan.wake_ns)

    def _plan(self, now_ns: int) -> Plan:
        world = self._world
        nothing = Plan(actions=(), memory=world.memory, explain=())
        if self._stopping:
            return nothing
        seen, demand = observe(world, now_ns, self._clock.wall_ns()), world.demand.total()
        try:
            plan = self._planner(seen, demand, world.memory, now_ns)
        except Exception as error:  # one app's numbers must not end everybody's router
            found = plan_contained(self._planner, seen, demand, world.memory, now_ns, error)
            plan = found or nothing
            culprits = left_out_of(plan.explain) if found else ["everything"]
            self._fails("plan", f"left out: {', '.join(culprits)}", error)
            again_ns = now_ns + CONTAINED_RETRY_NS
            wake_ns = again_ns if plan.wake_ns is None else min(plan.wake_ns, again_ns)
            return replace(plan, wake_ns=wake_ns)
        self._trouble.pop("plan", None)
        return plan

    def _fails(self, doing: str, what: str, error: Exception) -> None:
        """Log what fails, once for as long as it does."""
        if self._trouble.get(doing) != what:
            self._trouble[doing] = what
            _LOG.error("cannot be done", doing=doing, what=what, exc_info=error)

    async def _carry_out(self, plan: Plan) -> None:
        world = self._world
        if plan.actions:
            wall_ns = self._clock.wall_ns()
            intents = [intent_of(action, world.epoch, wall_ns) for action in plan.actions]
            await self._store.write_intents(intents, world.epoch)
        world.explained = {row.subject: row for row in plan.explain}
        # Only now: a plan that could not be written down is made anew, with the memory it began with.
        world.memory = plan.memory
        for action in plan.actions:
            if still_right(action, world, self._clock.now_ns()):
                await self._act(action)
            else:
                await self._give_up(action, "the world had changed")

    async def _act(self, action: Action) -> None:
        if isinstance(action, Launch | Terminate):
            try:
                await self._order(action)
            except CallError as error:  # it is planned again, with another id
                _LOG.warning("the provider refuses", subject=action.node, code=error.code)
                await self._give_up(action, f"{error.code}: {error.message}")
                return
        else:
            carry_out(action, self._world)
        self._under_way[action.id] = action
        kind = type(action).__name__.lower()
        _LOG.info("acts", action=kind, subject=subject_of(action), id=action.id)

    async def _order(self, action: OnMachine) -> None:
        if isinstance(action, Launch):
            await self._provider.launch(action)
        else:
            await self._provider.terminate(action)
        self._world.take_machines(await self._provider.machines(), self._clock.now_ns())

    async def _give_up(self, action: Action, why: str) -> None:
        await self._close(action.id, "abandoned", why)
        self._world.alarms["abandoned"] = self._clock.now_ns() + STORE_RETRY_NS

    async def _record(self, plan: Plan) -> None:
        """Close the intents whose end shows, and store the decisions that are new."""
        ended = [
            (id, end)
            for id, action in self._under_way.items()
            if (end := outcome(action, self._world)) is not None
        ]
        async with anyio.create_task_group() as tasks:  # together: the store commits them as one
            for id, (state, detail) in ended:
                tasks.start_soon(self._close_if_it_can, id, state, detail)
        fresh = [row for row in plan.explain if _is_news(row, self._said.get(row.subject))]
        if fresh:
            await self._store.explain(fresh, self._clock.wall_ns(), self._world.epoch)
            self._said.update((row.subject, _gist(row)) for row in fresh)

    async def _end_wishes(self) -> None:
        """Forget what was declared for a while and is over, and say so in the decision log."""
        catalog, wall_ns = self._world.catalog, self._clock.wall_ns()
        over = ended(catalog, wall_ns)
        if over:
            rows = tuple(farewells(catalog, over))
            await self._store.explain(rows, wall_ns, self._world.epoch)
            await catalog.remove_wishes([wish.id for wish in over])

    async def _close(self, id: str, state: str, detail: str) -> None:
        await self._store.close_intent(id, state, detail, self._world.epoch)

    async def _close_if_it_can(self, id: str, state: str, detail: str) -> None:
        try:
            await self._close(id, state, detail)
            del self._under_way[id]
        except StoreError as error:
            _LOG.warning("an intent stays open", id=id, code=error.code)

    def _publish(self) -> None:
        if self._world.catalog.live and self._world.is_blind:
            return  # gateways would drop links that stand: what runs is not known before a node has reported
        try:
            table = snapshot(self._world, self._number, self._clock.now_ns())
            if table != self._published:
                numbered = replace(table, number=self._number + 1)
                self._gateways.publish(numbered)
                self._number, self._published = numbered.number, numbered
        except Exception as error:  # gateways go on with the table they have
            self._fails("table", "the last one stays", error)
            self._world.alarms["table"] = self._clock.now_ns() + CONTAINED_RETRY_NS
        else:
            self._trouble.pop("table", None)
            self._world.alarms.pop("table", None)

    async def _tell_nodes(self) -> None:
        self._world.fleet.retune()
        for link in await self._provider.links():
            book = self._world.fleet.nodes.get(link.node)
            # A link that has not reported on this connection may have replicas that nobody here knows.
            if book is None or await self._provider.report(link.node) is None:
                continue
            if self._told.get(link.node) != (link, book.number):
                link.tell(self._world.fleet.desired(link.node))
                self._told[link.node] = (link, book.number)

    def _next_look(self, wake_ns: int | None) -> int | None:
        """Return the planner's time, or an earlier one: a route that is tried again, a deployment's deadline."""
        remembered = (memory_of(self._world, key) for key in self._world.fleet.errors)
        retries = [one.retry_at_ns for one in remembered if one is not None]
        now_ns = self._clock.now_ns()
        due = [at_ns for at_ns in (*retries, *self._world.alarms.values()) if at_ns > now_ns]
        return min([*due, *(() if wake_ns is None else (wake_ns,))], default=None)

    # -- after a restart -------------------------------------------------------------------------

    async def _reconcile(self) -> None:
        """Settle what a former controller had begun: done if it shows in a report, else given up and planned anew."""
        present = {
            one.replica
            for book in self._world.fleet.nodes.values()
            for one in book.report.residencies
        }
        present |= {node.id for node in self._world.machines.said.nodes}
        for intent in await self._store.open_intents():
            started = intent.kind in {"start", "launch"} and intent.subject in present
            gone = intent.kind in {"drain", "forget", "terminate"} and intent.subject not in present
            state = "done" if started or gone else "abandoned"
            await self._close(intent.id, state, "found by the controller that came after")


def _is_news(row: Explain, said: tuple[object, ...] | None) -> bool:
    """Say whether a decision is worth a row: it is another one, or something was done with it."""
    return said != _gist(row) or bool(row.acts and not row.advised)


def _gist(row: Explain) -> tuple[object, ...]:
    """Return what makes a decision another one: its text has numbers that move all the time."""
    return row.rule, row.replicas_ready, row.replicas_wanted, row.advised
