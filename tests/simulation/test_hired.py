"""Do machines come, fail and go in the runs that launch them, and what is said of those that may not be launched?"""

from collections import Counter
from dataclasses import replace
from random import Random

import pytest

from glowplug_router.records.capacity import Limits, Offer
from glowplug_router.simulation.hired import SHARE, with_terms
from glowplug_router.simulation.hiring import forbidden
from glowplug_router.simulation.run import CALM_NS, run_seed
from glowplug_router.simulation.scenario import drawn

SEEDS = 150
OFFER = Offer(
    id="g6/az1/spot", type="g6", zone="az1", market="spot", price_micro_usd=300_000, quota=2
)


def hires(seed: int) -> bool:
    _, terms = with_terms(drawn(Random(seed)), seed, CALM_NS)
    return terms is not None


def test_the_runs_that_launch_machines_meet_all_that_goes_wrong_with_them() -> None:
    met: Counter[str] = Counter()
    for seed in filter(hires, range(SEEDS)):
        met.update(run_seed(seed).faults)

    kinds = ("no_capacity", "throttled", "machines_lost", "notices", "mute")
    assert all(met[kind] for kind in (*kinds, "late", "twice", "lost", "skewed")), met


def test_about_a_fifth_of_the_runs_launches_machines() -> None:
    assert sum(map(hires, range(1000))) == pytest.approx(1000 * SHARE, abs=40)


@pytest.mark.parametrize(
    ("limits", "why"),
    [
        (Limits(), ""),
        (Limits(markets=("on_demand",)), "not on spot"),
        (Limits(price_cap_micro_usd=299_999), "the cap is"),
        (Limits(price_cap_micro_usd=300_000), ""),
        (Limits(budget_micro_usd=9, spent_micro_usd=9, degrade="cap"), "the budget is spent"),
        (Limits(budget_micro_usd=9, spent_micro_usd=8, degrade="cap"), ""),
        (Limits(budget_micro_usd=9, spent_micro_usd=9, degrade="warn"), ""),
    ],
)
def test_what_people_do_not_allow_is_not_launched(limits: Limits, why: str) -> None:
    said = forbidden(OFFER, limits, Counter({OFFER.id: 2}))

    assert (why in said) if why else not said


def test_no_more_are_launched_than_the_quota_has() -> None:
    assert forbidden(OFFER, Limits(), Counter({OFFER.id: 3}))
    assert not forbidden(replace(OFFER, quota=0), Limits(), Counter({OFFER.id: 300}))
