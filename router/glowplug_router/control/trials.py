"""Is the new version fit to serve? One replica of it starts, becomes ready, and answers its first example."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace

from glowplug.clock import SECOND, Clock
from glowplug.errors import CallError, call_error
from glowplug_router.control.exercise import exercise
from glowplug_router.control.observe import served
from glowplug_router.control.steps import Step
from glowplug_router.control.world import Trial, World
from glowplug_router.policy.capacity.missing import longest_launch_ns
from glowplug_router.policy.fitting import never_fits
from glowplug_router.records.observed import Replica
from glowplug_router.records.stored import Version

PLACE_MAX_NS = 60 * SECOND  # a replica on trial must have found a node by then
_START_CODES = frozenset({"start_failed", "start_timeout", "out_of_memory"})
_NO_REASON = frozenset(
    {"candidate", "leaving"}
)  # rules that say what is wanted, not what is in the way
_STILL_SERVES = "correct it and deploy again; what served before still does"

Tell = Callable[[Step], None]


class Trials:
    """The versions of one deployment, while they are tried out."""

    def __init__(self, world: World, clock: Clock, tell: Tell, *, dev: bool) -> None:
        self._world = world
        self._clock = clock
        self._tell = tell
        self._dev = dev

    @contextmanager
    def held(self, fresh: Sequence[Version], routed: Mapping[str, Version]) -> Iterator[None]:
        """Have one replica of each version while this lasts; whatever ends it withdraws them."""
        world = self._world
        for version in fresh:
            world.begin_trial(
                version.key, Trial(self._swap_from(version, routed) if self._dev else "", self._dev)
            )
        world.changed.fire()
        try:
            yield
        finally:
            for version in fresh:
                world.trials.pop(version.key, None)
            world.changed.fire()

    async def started(self, fresh: Sequence[Version]) -> None:
        """Wait until there is a ready replica of each version, telling how far they are; raise when one cannot be."""
        world, began_ns = self._world, self._clock.now_ns()
        waiting = {version.key: version for version in fresh}
        said: dict[str, tuple[str, str, str]] = {}
        try:
            while waiting:
                count = world.moved.count  # after the planner: its reason is part of what is told
                for key, version in list(waiting.items()):
                    world.alarms[key] = self._deadline_ns(version, began_ns)
                    step = self._progress(version)
                    news = (step.replica, step.state, step.detail)
                    if said.get(key) != news:
                        said[key] = news
                        self._tell(step)
                    if step.state == "ready":
                        del waiting[key]
                if waiting:
                    await world.moved.after(count)
        finally:
            for version in fresh:
                world.alarms.pop(version.key, None)

    async def exercised(self, version: Version) -> None:
        """Have the replica answer its version's first example."""
        step = Step(step="exercise", endpoint=version.endpoint, version=version.number)
        if self._dev or not version.spec.examples:
            why = "dev leaves it out" if self._dev else "no examples"
            self._tell(replace(step, state="not exercised", detail=why))
            return
        replica = self._replica_of(version.key)
        if replica is None or replica.state != "ready":
            message = f"{version.key}: its replica was lost before it was exercised"
            raise call_error("deploy_failed", message, executed="no", hint=_STILL_SERVES)
        self._tell(replace(step, state="running", replica=replica.id))
        try:
            await exercise(version.spec, version.key, replica.address, self._address_of)
        except CallError as error:
            message = f"{version.key} failed on its first example: {error.message}"
            raise call_error(
                "deploy_failed", message, executed="yes", hint=_STILL_SERVES
            ) from error
        self._tell(replace(step, state="done", replica=replica.id))

    # -- how far ---------------------------------------------------------------------------------

    def _progress(self, version: Version) -> Step:
        replica = self._replica_of(version.key)
        self._raise_if_lost(version, replica)
        if replica is None:
            self._raise_if_hopeless(version)
            waiting = Step(step="start", endpoint=version.endpoint, version=version.number)
            return replace(waiting, state="waiting", detail=self._why(version))
        residency = self._world.fleet.residency(replica.id)
        step = Step(
            step="start", endpoint=version.endpoint, version=version.number, replica=replica.id
        )
        if residency is None:
            return replace(step, state="starting")
        if residency.version != version.key:
            return replace(step, state="swapping")
        # Of one that is ready, the detail is what to know of how it runs: without the GPU it asked for.
        detail = residency.detail if residency.state == "ready" else ""
        return replace(step, state=residency.state, phases=residency.phases, detail=detail)

    def _raise_if_lost(self, version: Version, replica: Replica | None) -> None:
        if replica is not None and replica.state == "ready":
            return
        failed = replica if replica is not None and replica.state == "failed" else None
        failed = failed or self._world.fleet.errors.get(version.key)
        if failed is not None:
            raise _start_error(version, failed)
        if self._clock.now_ns() >= self._world.alarms[version.key]:
            why = "" if replica is not None else f": {self._why(version) or 'no node took it'}"
            raise call_error(
                "start_timeout", f"{version.key} was not ready in time{why}", executed="no"
            )

    def _raise_if_hopeless(self, version: Version) -> None:
        """Do not wait for room that no node has: of those that have reported, none would do even when empty."""
        asked = served(self._world, version, 0)
        offers = self._world.machines.said.offers
        why = never_fits(asked, self._world.fleet.observed_nodes(), offers)
        if why:
            message = f"{version.key} can never start here: {why}"
            hint = "ask for less, or deploy to a router with a node that has it; `glowplug status` shows the nodes"
            raise call_error("deploy_failed", message, executed="no", hint=hint)

    def _deadline_ns(self, version: Version, began_ns: int) -> int:
        """Return until when it may take: to find a node, and then to start on it."""
        placed = self._replica_of(version.key) is not None
        machine_ns = longest_launch_ns(self._world.machines.said.offers)
        start_ns = version.spec.timeouts.start_ns if placed else 0
        return began_ns + PLACE_MAX_NS + machine_ns + start_ns

    def _why(self, version: Version) -> str:
        """Return the planner's reason for not having started it."""
        row = self._world.explained.get(version.key)
        return "" if row is None or row.rule in _NO_REASON else row.text

    def _replica_of(self, key: str) -> Replica | None:
        """Return the version's replica that is furthest."""
        order = ("ready", "starting", "failed", "draining")
        mine = [
            one for one in self._world.fleet.replicas(self._clock.now_ns()) if one.version == key
        ]
        return min(mine, key=lambda one: order.index(one.state), default=None)

    def _address_of(self, endpoint: str) -> str:
        """Return where a call to "app/endpoint" would go: to a version on trial first, then to one with traffic."""
        replicas = self._world.fleet.replicas(self._clock.now_ns())
        ready = [
            one
            for one in replicas
            if one.state == "ready" and one.version.rpartition("@")[0] == endpoint
        ]
        ready.sort(key=lambda one: one.version not in self._world.trials)
        return ready[0].address if ready else ""

    def _swap_from(self, version: Version, routed: Mapping[str, Version]) -> str:
        """Return the running version that can become this one in place, "" when there is none."""
        catalog = self._world.catalog
        replicas = self._world.fleet.replicas(self._clock.now_ns())
        ready = {one.version for one in replicas if one.state == "ready"}
        env = catalog.bundle_of(version).env_digest
        for key, old in routed.items():
            same = bool(version.spec.load_key) and old.spec.load_key == version.spec.load_key
            if (
                key in ready
                and same
                and old.endpoint == version.endpoint
                and catalog.bundle_of(old).env_digest == env
            ):
                return key
        return ""


def _start_error(version: Version, replica: Replica) -> CallError:
    what = f"{version.key} did not start"
    message = (
        f"{what}: {replica.detail.strip()}"
        if replica.detail
        else f"{what} ({replica.code or 'no reason given'})"
    )
    code = replica.code if replica.code in _START_CODES else "deploy_failed"
    return call_error(code, message, executed="no", hint=_STILL_SERVES)
