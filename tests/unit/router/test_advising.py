"""Does an app under advice get only words, and everybody else what is theirs?"""

from dataclasses import replace

from glowplug.clock import MINUTE
from glowplug.spec import Policy
from glowplug_router.advising import Advisor
from glowplug_router.plan import plan
from glowplug_router.records.decided import Drain, Forget, Start
from glowplug_router.records.memory import Memory
from glowplug_router.records.observed import Demand, Observed
from unit.router.planning import KEY, NOW, node, replica, version

OTHER = "other/hello@1"
BUSY = Demand(key=KEY, arrivals=5, queued=5, last_arrival_ns=NOW)


def seen(*served: object, **others: object) -> Observed:
    made = Observed(epoch=1, served=(version(),), nodes=(node(),), replicas=())
    return replace(made, **({"served": served} if served else {}), **others)  # type: ignore[arg-type]  # a builder


def test_what_an_app_under_advice_would_start_is_only_said() -> None:
    made = Advisor(plan, ["app"])(seen(), (BUSY,), Memory(), NOW)

    (row,) = made.explain
    assert made.actions == ()
    assert row.advised
    assert row.replicas_wanted > 0
    assert "starts on n1" in row.acts[0]


def test_what_it_would_end_is_only_said() -> None:
    there = (replica("r1"), replica("r2"))
    idle = version(policy=Policy(zero_after_ns=0))
    advisor = Advisor(plan, ["*"])
    first = advisor(seen(idle, replicas=there), (), Memory(), NOW)
    later = seen(idle, replicas=there, nodes=(node(seen_ns=NOW + 10 * MINUTE),))
    made = advisor(later, (), first.memory, NOW + 10 * MINUTE)

    assert made.actions == ()
    assert made.explain[0].replicas_wanted == 0
    assert any(
        isinstance(one, Drain) for one in plan(later, (), first.memory, NOW + 10 * MINUTE).actions
    )


def test_another_app_is_planned_for_as_ever() -> None:
    other = version(OTHER, policy=Policy(min=1))
    made = Advisor(plan, ["app"])(seen(version(), other), (BUSY,), Memory(), NOW)

    assert [one.version for one in made.actions if isinstance(one, Start)] == [OTHER]
    assert {row.subject: row.advised for row in made.explain} == {KEY: True, OTHER: False}
    assert {one.key for one in made.memory.versions} == {KEY, OTHER}


def test_nobody_makes_way_for_what_is_only_said() -> None:
    wanting = version(gpu_count=1)
    holding = version(OTHER, gpu_count=1)
    holder = replica("r1", key=OTHER, gpus=("n1-gpu0",), since_ns=NOW - 100 * MINUTE)
    world = seen(wanting, holding, nodes=(node(gpus=1),), replicas=(holder,))

    made = Advisor(plan, ["app"])(world, (BUSY,), Memory(), NOW)

    assert made.actions == ()


def test_a_candidate_is_tried_out_and_what_failed_is_forgotten_under_advice_too() -> None:
    candidate = version("app/hello@2", candidate=True, permille=0)
    failed = replica("r1", "failed", code="start_failed")
    made = Advisor(plan, ["app"])(seen(version(), candidate, replicas=(failed,)), (), Memory(), NOW)

    assert [type(one) for one in made.actions] == [Start, Forget]


def test_without_an_app_under_advice_the_plan_is_the_planners() -> None:
    assert Advisor(plan, ["elsewhere"])(seen(), (BUSY,), Memory(), NOW) == plan(
        seen(), (BUSY,), Memory(), NOW
    )
