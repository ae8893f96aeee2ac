"""What if many endpoints are replayed that never meet? Each by itself, which is exact then, and far quicker."""

from array import array
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from hashlib import sha256

from glowplug_router.plan import plan
from glowplug_router.simulation.controller import Planner
from glowplug_router.simulation.replay.meters import Calls, Outcome, Use
from glowplug_router.simulation.replay.run import replay
from glowplug_router.simulation.replay.scene import Endpoint, Fleet, Request, Scene
from glowplug_router.simulation.replay.timeline import Bucket, Timeline


def replay_apart(
    scene: Scene,
    fleet_of: Callable[[Endpoint], Fleet],
    planner: Planner = plan,
    seed: int = 0,
    *,
    over: Callable[[Sequence[Request]], Iterator[Request]] = iter,
) -> Outcome:
    """Return what a planner makes of endpoints that each have a fleet of their own; `scene.fleet` is not used.

    `over` sees the calls of each as they arrive. All are metered over the same time: `scene.until_ns`, or up to the
    last arrival of any.
    """
    calls: dict[str, list[Request]] = defaultdict(list)
    for request in scene.traffic:
        calls[request.endpoint].append(request)
    last_ns = max((mine[-1].at_ns for mine in calls.values()), default=0)
    outcomes = [
        replay(
            replace(
                scene,
                endpoints=(endpoint,),
                traffic=over(calls[endpoint.name]),
                fleet=fleet_of(endpoint),
                until_ns=scene.until_ns or last_ns,
            ),
            planner,
            seed,
        )
        for endpoint in scene.endpoints
    ]
    return outcomes[0] if len(outcomes) == 1 else joined(outcomes)


def joined(outcomes: Sequence[Outcome]) -> Outcome:
    """Return several outcomes as one."""
    uses: dict[str, Use] = {}
    refusals: Counter[str] = Counter()
    for outcome in outcomes:
        uses |= outcome.uses
        refusals += Counter(outcome.refusals)
    digests = "".join(outcome.digest for outcome in outcomes)
    return Outcome(
        calls=_all_calls(outcomes),
        uses=uses,
        timeline=_all_buckets([outcome.timeline for outcome in outcomes]),
        refusals=refusals,
        micro_usd=sum(outcome.micro_usd for outcome in outcomes),
        span_ns=max((outcome.span_ns for outcome in outcomes), default=0),
        events=sum(outcome.events for outcome in outcomes),
        plans=sum(outcome.plans for outcome in outcomes),
        digest=sha256(digests.encode()).hexdigest(),
        violations=tuple(found for outcome in outcomes for found in outcome.violations),
        launched=sum(outcome.launched for outcome in outcomes),
        reclaimed=sum(outcome.reclaimed for outcome in outcomes),
        faults=sum((Counter(outcome.faults) for outcome in outcomes), Counter()),
    )


def _all_calls(outcomes: Sequence[Outcome]) -> Calls:
    whole = Calls()
    for outcome in outcomes:
        part = outcome.calls
        for column in ("at_ns", "wait_ns", "end_ns", "code", "klass", "is_cold"):
            getattr(whole, column).extend(getattr(part, column))
        _renumber(whole.endpoints, whole.endpoint, part.endpoints, part.endpoint)
        _renumber(whole.tenants, whole.tenant, part.tenants, part.tenant)
    return whole


def _renumber(
    names: dict[str, int], column: "array[int]", part_names: dict[str, int], part: "array[int]"
) -> None:
    numbers = {old: names.setdefault(name, len(names)) for name, old in part_names.items()}
    column.extend(numbers[old] for old in part)


def _all_buckets(timelines: Sequence[Timeline]) -> Timeline:
    """Return the sum of timelines that began together, in buckets of the coarsest."""
    bucket_ns = max((timeline.bucket_ns for timeline in timelines), default=1)
    whole = Timeline(0, bucket_ns)
    whole.buckets = []
    for timeline in timelines:
        per = bucket_ns // timeline.bucket_ns
        for number, bucket in enumerate(timeline.buckets):
            while number // per >= len(whole.buckets):
                whole.buckets.append(Bucket())
            whole.buckets[number // per] = whole.buckets[number // per].joined(bucket)
    return whole
