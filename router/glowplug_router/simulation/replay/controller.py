"""What does the controller of a replay do? When something changed it asks the real planner, and does what it says."""

from collections.abc import Callable, Sequence
from functools import partial

from glowplug.clock import SECOND
from glowplug_router.records.decided import Action, Drain, Forget, Launch, Start, Swap, Terminate
from glowplug_router.records.memory import Memory
from glowplug_router.records.observed import Demand, Observed
from glowplug_router.simulation.controller import SETTLE_NS, Planner, heard
from glowplug_router.simulation.faults import Post
from glowplug_router.simulation.replay.audit import Audit
from glowplug_router.simulation.replay.fleet import SimFleet
from glowplug_router.simulation.replay.scene import Scene
from glowplug_router.simulation.world import World

REPEAT_EVERY_NS = SECOND  # orders that were lost on the way


class Controller:
    """The controller of a replay. It sleeps while nothing happens: an idle day costs nothing."""

    def __init__(
        self, world: World, scene: Scene, planner: Planner, audit: Audit, post: Post | None
    ) -> None:
        self._world, self._planner, self._audit, self._post = world, planner, audit, post
        self._every_ns = scene.plan_every_ns
        self._served = tuple(endpoint.served for endpoint in scene.endpoints)
        self.fleet: SimFleet | None = None
        self.epoch = 1
        self.plans = 0
        self._demand: dict[str, Demand] = {}
        self._memory = Memory()
        self._plan_at_ns: int | None = None
        self._planned_ns = -self._every_ns
        self._settled_ns = 0

    def restart(self) -> None:
        """Die and come back without memory; agents report before anything is decided."""
        self.epoch += 1
        self._memory = Memory()
        self._settled_ns = self._world.now_ns + SETTLE_NS
        self._plan_at_ns = None
        self.soon()

    def count(self, rows: Sequence[Demand]) -> None:
        """Take in what callers asked for."""
        for row in rows:
            known = self._demand.get(row.key)
            if known is None or row.arrivals >= known.arrivals:  # late messages pass each other
                self._demand[row.key] = heard(row, known, self._world.now_ns)
        self.soon()

    def soon(self) -> None:
        """Plan as soon as a plan is allowed."""
        self._plan_by(max(self._world.now_ns, self._planned_ns + self._every_ns, self._settled_ns))

    def _plan_by(self, due_ns: int) -> None:
        if self._plan_at_ns is None or due_ns < self._plan_at_ns:
            self._plan_at_ns = due_ns
            self._world.at(due_ns, partial(self._plan, due_ns))

    def _plan(self, due_ns: int) -> None:
        if self._plan_at_ns != due_ns or self.fleet is None:
            return
        self._plan_at_ns = None
        self._planned_ns = now_ns = self._world.now_ns
        offers, tallies = self.fleet.market_seen()
        observed = Observed(
            epoch=self.epoch,
            served=self._served,
            nodes=self.fleet.nodes,
            replicas=self.fleet.replicas,
            offers=offers,
            tallies=tallies,
            limits=self.fleet.limits(),
        )
        demand = tuple(self._demand.values())
        plan = self._planner(observed, demand, self._memory, now_ns)
        self.plans += 1
        self._audit.planned(observed, demand, plan)
        self._memory = plan.memory
        for action in plan.actions:
            self._world.record(str(action))
            self._carry_out(action, self.fleet)
        if plan.wake_ns is not None:
            self._plan_by(max(plan.wake_ns, now_ns + self._every_ns))

    def _carry_out(self, action: Action, fleet: SimFleet) -> None:
        match action:
            case Start():
                fleet.intend(action)
                self._order(partial(fleet.start, action.replica))
            case Drain(replica=replica, drain_ns=drain_ns):
                self._order(partial(fleet.drain, replica, drain_ns))
            case Forget(replica=replica):
                if replica in fleet.ranks:
                    fleet.end(fleet.ranks[replica])
            case Launch():
                fleet.launch(action)
            case Terminate():
                fleet.terminate(action)
            case Swap():
                pass  # in place, on a developer's machine: no scene has it

    def _order(self, act: Callable[[], None]) -> None:
        """Have an agent do something once; what is lost on the way is said again."""
        if self._post is None:
            act()
        else:
            _Order(self._world, self._post, act).say()


class _Order:
    """An order on its way: carried out once, repeated until it is."""

    def __init__(self, world: World, post: Post, act: Callable[[], None]) -> None:
        self._world, self._post, self._act = world, post, act
        self._is_done = False

    def say(self) -> None:
        if not self._is_done:
            self._post.send(self._obey)
            self._world.after(REPEAT_EVERY_NS, self.say)

    def _obey(self) -> None:
        if not self._is_done:
            self._is_done = True
            self._act()
