"""How does an app get from one generation to the next, whole or not at all?

store → start → exercise → commit → drain. Until the commit nothing that serves has changed: versions in
the store and replicas on trial are without traffic, and when a deployment ends early, for whatever reason,
its trials are withdrawn and their replicas drain. The commit is one compare-and-swap in the store. After
it, the old versions leave by themselves, because the planner sees that they have no traffic. A controller
that dies after the commit leaves nothing to repair; one that dies earlier has lost its trials with its
memory, and the next one drains the replicas that nothing wants.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

from glowplug.artifact import Bundle
from glowplug.clock import Clock
from glowplug.errors import CallError, call_error
from glowplug.spec import Policy
from glowplug_router.control.request import Wanted, checked_policy
from glowplug_router.control.steps import Step
from glowplug_router.control.trials import Tell, Trials
from glowplug_router.control.world import World
from glowplug_router.records.stored import Deployment, Route, Share, Version

WHOLE = 1000  # permille


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Where a deployment is to end: what each endpoint runs, and the policies that change with it."""

    app: str
    versions: tuple[Version, ...]
    routes: tuple[Route, ...]
    declared: tuple[tuple[str, Policy], ...] = ()  # what the code asks for
    policies: tuple[tuple[str, Policy], ...] = ()  # those of them that are news, and become current
    message: str = ""
    git_sha: str = ""
    rollback_of: int = 0
    dev: bool = False


class Deployer:
    """Runs deployments, one at a time for each app."""

    def __init__(self, world: World, clock: Clock) -> None:
        self._world = world
        self._clock = clock
        self._busy: set[str] = set()

    async def deploy(self, wanted: Wanted, tell: Tell) -> Deployment:
        """Bring an app to what a release says, telling each step; raise when that cannot be."""
        with self._only_one(wanted.app):
            versions = [await self._stored(*one, tell, dev=wanted.dev) for one in wanted.drafts]
            target = Target(
                app=wanted.app,
                versions=tuple(versions),
                routes=tuple(_whole(version) for version in versions),
                declared=wanted.policies,
                policies=self._news(wanted),
                message=wanted.message,
                git_sha=wanted.git_sha,
                dev=wanted.dev,
            )
            return await self._reach(target, tell)

    async def rollback(self, app: str, generation: int, tell: Tell) -> Deployment:
        """Bring an app back to an earlier generation; 0 = the last one that differs from the live one."""
        with self._only_one(app):
            old = await self._earlier(app, generation)
            keys = [
                f"{app}/{route.endpoint}@{share.version}"
                for route in old.routes
                for share in route.shares
            ]
            target = Target(
                app=app,
                versions=tuple(self._world.catalog.versions[key] for key in keys),
                routes=old.routes,
                declared=self._live(app).policies,
                message=f"rollback to generation {old.generation}",
                git_sha=old.git_sha,
                rollback_of=old.generation,
            )
            return await self._reach(target, tell)

    async def stop(self, app: str) -> Deployment:
        """Drain everything of an app; its routes stay, so that a call is told `stopped` and history knows them."""
        with self._only_one(app):
            live = self._live(app)
            if live.stopped:
                return live
            stopped = replace(
                live,
                generation=live.generation + 1,
                stopped=True,
                message="stopped",
                created_wall_ns=self._clock.wall_ns(),
                rollback_of=0,
            )
            done = await self._world.catalog.commit(stopped, ())
            await self._world.acted()
            return done

    # -- the way there ---------------------------------------------------------------------------

    async def _stored(self, draft: Version, bundle: Bundle, tell: Tell, *, dev: bool) -> Version:
        catalog = self._world.catalog
        known = set(catalog.versions)
        kept = await catalog.add_version(draft, bundle)
        if dev:
            self._world.fleet.dev.add(kept.key)
        tell(
            Step(
                step="store",
                state="done",
                endpoint=kept.endpoint,
                version=kept.number,
                new=kept.key not in known,
            )
        )
        return kept

    async def _reach(self, target: Target, tell: Tell) -> Deployment:
        catalog = self._world.catalog
        live = catalog.live.get(target.app)
        routed = catalog.routed(target.app)
        if live is not None and not live.stopped and self._is_there(live, target):
            return live
        fresh = [version for version in target.versions if version.key not in routed]
        trials = Trials(self._world, self._clock, tell, dev=target.dev)
        with trials.held(fresh, routed):
            await trials.started(fresh)
            for version in fresh:
                await trials.exercised(version)
            done = await self._commit(target, live)
        tell(Step(step="commit", state="done", generation=done.generation))
        leaving = sorted(set(routed) - {version.key for version in target.versions})
        if leaving:
            tell(Step(step="drain", state="running", detail=", ".join(leaving)))
        await self._world.acted()
        return done

    async def _commit(self, target: Target, live: Deployment | None) -> Deployment:
        deployment = Deployment(
            app=target.app,
            generation=(live.generation if live is not None else 0) + 1,
            routes=target.routes,
            message=target.message,
            git_sha=target.git_sha,
            created_wall_ns=self._clock.wall_ns(),
            rollback_of=target.rollback_of,
            policies=target.declared,
        )
        return await self._world.catalog.commit(deployment, target.policies)

    # -- what there is ---------------------------------------------------------------------------

    @contextmanager
    def _only_one(self, app: str) -> Iterator[None]:
        if app in self._busy:
            hint = "wait until it is done (`glowplug history` shows it), then try again"
            raise call_error(
                "conflict", f"another deployment of {app} is under way", executed="no", hint=hint
            )
        self._busy.add(app)
        try:
            yield
        finally:
            self._busy.discard(app)

    def _live(self, app: str) -> Deployment:
        live = self._world.catalog.live.get(app)
        if live is None:
            raise call_error("not_found", f"no app {app} was ever deployed here", executed="no")
        return live

    def _is_there(self, live: Deployment, target: Target) -> bool:
        known = self._world.catalog.policies
        same_policies = all(
            known.get((target.app, name)) == policy for name, policy in target.policies
        )
        return same_policies and _shares(live.routes) == _shares(target.routes)

    def _news(self, wanted: Wanted) -> tuple[tuple[str, Policy], ...]:
        """Return the policies in which the code says something new: one set by hand holds until then."""
        live = self._world.catalog.live.get(wanted.app)
        before = dict(live.policies) if live is not None else {}
        known = self._world.catalog.policies
        return tuple(
            (name, policy)
            for name, policy in wanted.policies
            if before.get(name) != policy or not _is_sound(known.get((wanted.app, name)))
        )

    async def _earlier(self, app: str, generation: int) -> Deployment:
        live = self._live(app)
        history = [one for one in await self._world.catalog.history(app) if not one.stopped]
        if generation:
            found = [one for one in history if one.generation == generation]
        elif live.stopped:
            found = history
        else:
            found = [one for one in history if _shares(one.routes) != _shares(live.routes)]
        if not found:
            which = f"generation {generation}" if generation else "earlier generation"
            raise call_error(
                "version_not_found", f"{app} has no {which} to go back to", executed="no"
            )
        return found[-1]


def _whole(version: Version) -> Route:
    return Route(endpoint=version.endpoint, shares=(Share(version=version.number, permille=WHOLE),))


def _shares(routes: Sequence[Route]) -> dict[str, tuple[Share, ...]]:
    return {route.endpoint: route.shares for route in routes}


def _is_sound(policy: Policy | None) -> bool:
    """Say whether a policy is there and could be set today: one that could not gives way to what the code says."""
    try:
        return policy is not None and bool(checked_policy(policy))
    except CallError:
        return False
