"""How is a scene replayed? Call after call, until the last one is over and the metered time has passed."""

from collections import Counter
from collections.abc import Iterator
from functools import partial

from glowplug.clock import SECOND
from glowplug_router.dispatch import step as real_step
from glowplug_router.plan import plan
from glowplug_router.simulation.controller import Planner
from glowplug_router.simulation.faults import Post, Rates
from glowplug_router.simulation.replay.audit import Audit
from glowplug_router.simulation.replay.controller import Controller
from glowplug_router.simulation.replay.fleet import SimFleet
from glowplug_router.simulation.replay.gateway import Gateway, Step
from glowplug_router.simulation.replay.meters import Meters, Outcome
from glowplug_router.simulation.replay.scene import Request, Scene
from glowplug_router.simulation.replay.timeline import Timeline
from glowplug_router.simulation.world import World

__all__ = ["Planner", "replay"]

OFF_MAX_NS = 60 * SECOND  # a machine that was lost by a fault is back by then


def replay(
    scene: Scene, planner: Planner = plan, seed: int = 0, *, step: Step = real_step
) -> Outcome:
    """Return what a planner makes of a scene. Same scene, planner and seed: same outcome, same digest.

    Raises:
        AssertionError: More than `scene.events_max` events; or the traffic is not in the order of time, or calls an
            endpoint that the scene does not have.
    """
    return _Run(scene, planner, seed, step).outcome()


class _Run:
    """One replay."""

    def __init__(self, scene: Scene, planner: Planner, seed: int, step: Step) -> None:
        self._scene = scene
        self._world = world = World(seed, scene.events_max)
        self._begin_ns = world.now_ns + scene.lead_ns
        self._meters = meters = Meters(Timeline(self._begin_ns, scene.bucket_ns))
        faults = scene.faults if scene.calm_ns else None
        self._post = post = Post(world, faults, world.now_ns + scene.calm_ns) if faults else None
        self._audit = audit = Audit(world, planner, scene.audit_every)
        self._controller = Controller(world, scene, planner, audit, post)
        self._gateway = Gateway(world, scene, step, meters, audit, post, self._controller.count)
        self._fleet = SimFleet(
            world, scene, self._gateway, meters, audit, post, self._controller.soon
        )
        self._controller.fleet = self._fleet
        self._controller.soon()
        if faults and post:
            self._plan_faults(faults, post)
        self._names = {endpoint.name for endpoint in scene.endpoints}
        self._last_ns = 0
        self._has_more = True
        self._before_micro_usd = 0
        self._happened: Counter[str] = Counter()
        world.at(self._begin_ns, self._begin)
        traffic = iter(scene.traffic)
        self._feed(self._next(traffic), traffic)
        if scene.until_ns:
            world.at(self._begin_ns + scene.until_ns, _nothing)

    def outcome(self) -> Outcome:
        """Run to the end and return what it came to."""
        world, open, until_ns = self._world, self._gateway.open, self._scene.until_ns
        end_ns = self._begin_ns + until_ns
        while self._has_more or open or world.now_ns < end_ns:
            if not world.turn():
                break  # calls that nothing will ever serve stay open
        meters, now_ns = self._meters, world.now_ns
        meters.timeline.count(0, 0, now_ns)
        for rank in self._fleet.ranks.values():
            self._fleet.bill(rank, now_ns)
        self._audit.billed(
            sum(use.replica_ns for use in meters.uses.values()), meters.timeline.held_ns
        )
        world.record(f"end {len(meters.calls)} calls")
        _, tallies = self._fleet.market_seen()
        return Outcome(
            calls=meters.calls,
            uses=meters.uses,
            timeline=meters.timeline,
            refusals=meters.refusals,
            micro_usd=self._fleet.cost_micro_usd() - self._before_micro_usd,
            span_ns=now_ns - self._begin_ns,
            events=world.events,
            plans=self._controller.plans,
            digest=world.digest,
            violations=self._audit.violations,
            launched=sum(tally.launched for tally in tallies),
            reclaimed=sum(tally.lost for tally in tallies),
            faults=self._faults(),
        )

    def _faults(self) -> Counter[str]:
        return self._happened + self._post.happened if self._post else self._happened

    def _begin(self) -> None:
        self._before_micro_usd = self._fleet.cost_micro_usd()

    def _next(self, traffic: Iterator[Request]) -> Request | None:
        """Return the next call, if there is one."""
        request = next(traffic, None)
        if request is None:
            self._has_more = False
            return None
        assert request.at_ns >= self._last_ns, f"{request} comes before {self._last_ns} ns"
        assert request.endpoint in self._names, f"no endpoint {request.endpoint}"
        self._last_ns = request.at_ns
        return request

    def _feed(self, request: Request | None, traffic: Iterator[Request]) -> None:
        """Let a call arrive, and with it all that come at the same moment; the rest is looked at when they have."""
        if request is not None:
            self._world.at(self._begin_ns + request.at_ns, partial(self._arrive, request, traffic))

    def _arrive(self, request: Request, traffic: Iterator[Request]) -> None:
        together = [request]
        following = self._next(traffic)
        while following is not None and following.at_ns == request.at_ns:
            together.append(following)
            following = self._next(traffic)
        self._feed(following, traffic)
        for one in together:
            self._gateway.arrive(one)

    # -- faults, drawn over the time until calm

    def _plan_faults(self, rates: Rates, post: Post) -> None:
        random = self._world.random
        acts = [self._kill] * rates.kills + [self._restart] * rates.restarts
        acts += [self._power_off] * (rates.nodes + rates.agents)
        acts += [post.skew] * rates.skews
        for act in acts:
            self._world.after(random.randrange(self._scene.calm_ns), act)

    def _kill(self) -> None:
        alive = [rank for rank in self._fleet.ranks.values() if rank.is_alive]
        if alive:
            self._happened["killed"] += 1
            self._fleet.fail(self._world.random.choice(alive), "replica_lost")

    def _restart(self) -> None:
        self._happened["restarted"] += 1
        self._controller.restart()

    def _power_off(self) -> None:
        nodes = self._scene.fleet.nodes
        if nodes:
            self._happened["powered_off"] += 1
            random = self._world.random
            self._fleet.power_off(random.choice(nodes).id, random.randrange(SECOND, OFF_MAX_NS))


def _nothing() -> None:
    """Make time pass."""
