"""Does what an operator says of batches reach the replicas that run, and only what they can do?"""

from dataclasses import replace
from typing import Any

import pytest

from control_records import spec
from control_records import version as version_of
from glowplug.errors import CallError
from glowplug.options import WAIT_MAX_NS
from glowplug.spec import BatchSpec, BatchTuning, Policy
from glowplug_router.control.bounds import check_spec
from glowplug_router.control.request import Wanted, checked_policy, patched
from glowplug_router.control.tuning import check_tuning
from glowplug_router.records.stored import Version
from unit.router.control.stage import Stage, stage, wanted

GREET = ("greet", "one")


def batched(asked: Wanted, most: int = 8) -> Wanted:
    """Return the release with code that takes lists."""
    drafts = tuple(
        (
            replace(one, spec=replace(one.spec, batch=BatchSpec(max=most), concurrency=2 * most)),
            parts,
        )
        for one, parts in asked.drafts
    )
    return replace(asked, drafts=drafts)


def told(it: Stage) -> list[BatchTuning]:
    return [want.batch for want in it.node.told[-1].wants]


async def test_a_change_is_told_to_the_replicas_that_run_and_restarts_none() -> None:
    async with stage() as it:
        await it.deployer.deploy(batched(wanted(GREET, policy=Policy(min=1))), it.steps.append)
        await it.until(lambda: bool(it.node.residencies))
        assert told(it) == [BatchTuning()]
        started = [*it.node.started]

        policy = Policy(min=1, batch=BatchTuning(max=4, wait_ns=7))
        await it.world.catalog.set_policy("hello", "greet", policy)
        await it.world.acted()

        assert told(it) == [BatchTuning(max=4, wait_ns=7)]
        assert it.node.started == started
        count = len(it.node.told)
        await it.world.acted()
        assert len(it.node.told) == count


async def test_a_replica_that_starts_later_hears_it_from_the_beginning() -> None:
    async with stage() as it:
        policy = Policy(min=1, batch=BatchTuning(max=2))
        await it.deployer.deploy(batched(wanted(GREET, policy=policy)), it.steps.append)
        await it.until(lambda: bool(it.node.residencies))

        assert told(it) == [BatchTuning(max=2)]


async def test_code_that_takes_one_call_at_a_time_is_told_nothing_new() -> None:
    async with stage() as it:
        await it.deploy(GREET, policy=Policy(min=1))
        await it.until(lambda: bool(it.node.residencies))
        count = len(it.node.told)
        policy = Policy(min=1, batch=BatchTuning(max=2))
        await it.world.catalog.set_policy("hello", "greet", policy)
        await it.world.acted()

        assert len(it.node.told) == count


def live(most: int) -> list[Version]:
    made = version_of()
    other = version_of(endpoint="other")
    return [
        replace(made, spec=replace(made.spec, batch=BatchSpec(max=most))),
        replace(other, spec=replace(other.spec, batch=BatchSpec(max=500))),
    ]


def test_a_batch_within_what_the_code_declares_is_taken() -> None:
    check_tuning(Policy(), [], "greet")
    check_tuning(Policy(batch=BatchTuning(max=8)), live(8), "greet")
    check_tuning(Policy(batch=BatchTuning(wait_ns=5)), live(8), "greet")


@pytest.mark.parametrize(
    ("tuning", "most", "said"),
    [
        (BatchTuning(max=9), 8, "batch.max=9 is more than the 8 that the code declares"),
        (BatchTuning(max=1), 0, "greet takes one call at a time"),
        (BatchTuning(wait_ns=1), 0, "greet takes one call at a time"),
    ],
)
def test_a_batch_that_the_code_cannot_keep_is_refused(
    tuning: BatchTuning, most: int, said: str
) -> None:
    with pytest.raises(CallError, match=said) as refused:
        check_tuning(Policy(batch=tuning), live(most), "greet")

    assert refused.value.hint


def test_a_change_of_one_bound_leaves_the_other() -> None:
    policy = Policy(min=1, batch=BatchTuning(max=4, wait_ns=9))

    assert patched(policy, {"batch": {"max": 2}}) == replace(
        policy, batch=BatchTuning(max=2, wait_ns=9)
    )
    assert patched(policy, {"batch": {"max": None}}).batch == BatchTuning(wait_ns=9)
    assert patched(policy, {"min": 2}).batch == policy.batch


@pytest.mark.parametrize(
    "tuning",
    [
        BatchTuning(max=0),
        BatchTuning(max=10**9),
        BatchTuning(wait_ns=-1),
        BatchTuning(wait_ns=WAIT_MAX_NS + 1),
    ],
)
def test_a_bound_that_nothing_could_be_done_with_is_refused(tuning: BatchTuning) -> None:
    with pytest.raises(CallError, match="batch"):
        checked_policy(Policy(batch=tuning))


@pytest.mark.parametrize("change", [{"batch": 3}, {"batch": {"max": "many"}}])
def test_what_is_no_bound_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(CallError, match="the policy is not right"):
        patched(Policy(), change)


@pytest.mark.parametrize(
    "batch",
    [
        BatchSpec(max=-1),
        BatchSpec(max=9),
        BatchSpec(max=8, wait_ns=-1),
        BatchSpec(max=8, weight_max=-1),
        BatchSpec(max=8, buckets=(9,)),
        BatchSpec(max=8, buckets=(0,)),
    ],
)
def test_a_release_whose_batches_could_not_be_run_is_refused(batch: BatchSpec) -> None:
    with pytest.raises(CallError, match="batch"):
        check_spec(replace(spec(), batch=batch, concurrency=8))
