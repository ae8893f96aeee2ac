"""Backing off, rolling out, placing."""

from dataclasses import replace

import pytest

from glowplug.clock import SECOND
from glowplug.spec import Policy
from glowplug_router.policy.backoff import (
    DELAY_MAX_NS,
    FAILURES_MAX,
    STABLE_NS,
    delay_ns,
    is_failed,
    outcomes_noted,
)
from glowplug_router.policy.placement import Place, is_model, place, rooms
from glowplug_router.policy.rollout import fixed_replicas, max_replicas, min_replicas, swappable
from glowplug_router.records.memory import EndpointMemory
from glowplug_router.records.observed import Node
from unit.router.planning import KEY, NOW, node, replica, version

FRESH = EndpointMemory(key=KEY)

# -- backing off


def test_failed_starts_wait_one_second_then_twice_as_long_each_time() -> None:
    waits = [delay_ns(failures, 0) // SECOND for failures in range(1, 8)]

    assert waits == [1, 2, 4, 8, 16, 30, 30]


def test_the_first_crashes_are_followed_at_once_and_more_wait() -> None:
    waits = [delay_ns(0, crashes) // SECOND for crashes in range(1, 5)]

    assert waits == [0, 0, 1, 2]
    assert delay_ns(0, 1000) == DELAY_MAX_NS


def test_a_failed_start_counts_once_however_long_it_is_reported() -> None:
    broken = [replica("a", "failed")]
    once = outcomes_noted(FRESH, broken, NOW)

    assert (once.failures, once.crashes, once.retry_at_ns) == (1, 0, NOW + SECOND)
    assert outcomes_noted(once, broken, NOW + SECOND) == once
    assert outcomes_noted(once, [], NOW + SECOND).counted == ()


def test_five_failed_starts_in_a_row_are_the_end() -> None:
    memory = FRESH
    for number in range(FAILURES_MAX):
        assert not is_failed(memory)
        memory = outcomes_noted(memory, [replica(f"r{number}", "failed")], NOW)

    assert is_failed(memory)


def test_one_success_forgives_earlier_failures() -> None:
    memory = outcomes_noted(FRESH, [replica("a", "failed")], NOW)

    assert outcomes_noted(memory, [replica("b")], NOW).failures == 0


def test_the_end_of_a_replica_that_was_ready_is_a_crash_and_never_the_end() -> None:
    memory = FRESH
    for number in range(3 * FAILURES_MAX):
        memory = outcomes_noted(memory, [replica(f"r{number}", since_ns=NOW)], NOW)
        memory = outcomes_noted(memory, [replica(f"r{number}", "draining")], NOW)
        memory = outcomes_noted(memory, [replica(f"r{number}", "failed")], NOW)

    assert memory.crashes == 3 * FAILURES_MAX
    assert not is_failed(memory)


def test_a_replica_that_stays_up_forgives_crashes() -> None:
    memory = EndpointMemory(key=KEY, crashes=3)

    assert outcomes_noted(memory, [replica("a", since_ns=NOW - STABLE_NS + 1)], NOW).crashes == 3
    assert outcomes_noted(memory, [replica("a", since_ns=NOW - STABLE_NS)], NOW).crashes == 0


# -- rolling out


def test_a_candidate_wants_one_and_a_leaving_version_none_whatever_the_policy() -> None:
    policy = Policy(min=3, max=5)
    candidate = version(policy=policy, permille=0, candidate=True)
    leaving = version(policy=policy, permille=0, leaving=True)

    assert (fixed_replicas(candidate), min_replicas(candidate), max_replicas(candidate)) == (
        1,
        1,
        1,
    )
    assert (fixed_replicas(leaving), min_replicas(leaving), max_replicas(leaving)) == (0, 0, 0)
    assert fixed_replicas(version()) is None


@pytest.mark.parametrize(
    ("permille", "most"), [(1000, 5), (999, 5), (500, 3), (200, 1), (1, 1), (0, 5)]
)
def test_versions_share_the_max_as_they_share_the_traffic(permille: int, most: int) -> None:
    assert max_replicas(version(policy=Policy(max=5), permille=permille)) == most


def test_a_max_of_zero_is_zero_for_every_share() -> None:
    assert max_replicas(version(policy=Policy(max=0), permille=500)) == 0


def test_min_is_never_above_max() -> None:
    assert min_replicas(version(policy=Policy(min=5, max=2))) == 2


def test_the_longest_ready_replica_is_swapped_first() -> None:
    old = [
        replica("young", since_ns=9),
        replica("old", since_ns=3),
        replica("new", "starting", since_ns=1),
    ]
    served = version("app/hello@2", swap_from=KEY)

    chosen = swappable(served, {KEY: old})

    assert chosen is not None
    assert chosen.id == "old"
    assert swappable(served, {}) is None
    assert swappable(version("app/hello@2"), {KEY: old}) is None
    assert swappable(version("app/hello@2", swap_from=KEY, leaving=True), {KEY: old}) is None


# -- placing


def test_a_replica_goes_where_most_memory_is_left() -> None:
    left = rooms([node("n1", memory_bytes=8), node("n2", memory_bytes=9)], [], {})
    served = version(memory_bytes=4)

    places = [place(served, left, False) for _ in range(5)]

    assert places == [Place("n2"), Place("n1"), Place("n2"), Place("n1"), None]


def test_a_node_must_have_the_cpus_asked_for_and_they_may_add_up_to_more() -> None:
    nodes = [replace(node("n1"), cpu_milli=2000), replace(node("n2"), cpu_milli=4000)]
    left = rooms(nodes, [], {})

    assert [place(version(cpu_milli=4000), left, False) for _ in range(2)] == [Place("n2")] * 2
    assert place(version(cpu_milli=4001), left, False) is None
    assert place(version(cpu_milli=2000), left, False) == Place("n1")


def test_a_node_that_does_not_say_how_many_cpus_it_has_takes_any() -> None:
    left = rooms([replace(node("n1"), cpu_milli=0)], [], {})

    assert place(version(cpu_milli=64_000), left, False) == Place("n1")


def test_without_a_memory_limit_replicas_spread_by_number() -> None:
    left = rooms([node("n2"), node("n1")], [replica("a")], {KEY: version()})

    assert [place(version(), left, False) for _ in range(2)] == [Place("n2"), Place("n1")]


def test_what_drains_keeps_its_room_and_what_failed_does_not() -> None:
    served = version(memory_bytes=5)
    there = [replica("a", "draining"), replica("b", "failed"), replica("c", node="gone")]
    left = rooms([node("n1", memory_bytes=10)], there, {KEY: served})

    assert place(served, left, False) == Place("n1")
    assert place(served, left, False) is None


def test_replicas_of_unknown_versions_hold_their_gpus() -> None:
    stranger = replica("a", key="other/x@1", gpus=("n1-gpu0",))
    left = rooms([node(gpus=2)], [stranger], {})

    assert place(version(gpu_count=1), left, True) == Place("n1", ("n1-gpu1",))
    assert place(version(gpu_count=1), left, True) is None


def test_gpus_are_given_whole_and_several_on_one_node() -> None:
    left = rooms([node("n1", gpus=1), node("n2", gpus=3)], [], {})

    assert place(version(gpu_count=2), left, True) == Place("n2", ("n2-gpu0", "n2-gpu1"))
    assert place(version(gpu_count=2), left, True) is None


def test_a_replica_without_gpu_leaves_gpu_nodes_alone() -> None:
    left = rooms([node("n1", gpus=1), node("n2")], [], {})

    assert place(version(), left, True) == Place("n2")


def test_the_first_gpu_model_of_the_list_that_is_free_is_taken() -> None:
    mixed = Node(
        id="n1",
        cpu_milli=1,
        memory_bytes=0,
        gpus=(("u1", "NVIDIA L40S"), ("u2", "NVIDIA L4"), ("u3", "NVIDIA A10G")),
    )
    wants = version(gpu_count=1, gpu_names=("L4", "A10G"))
    left = rooms([mixed], [], {})

    places = [place(wants, left, True) for _ in range(3)]

    assert places == [Place("n1", ("u2",)), Place("n1", ("u3",)), None]


def test_where_no_node_has_a_gpu_auto_runs_without_and_cuda_does_not() -> None:
    left = rooms([node("n1")], [], {})

    assert place(version(gpu_count=1), left, False) == Place("n1")
    assert place(version(gpu_count=1, device="cuda"), left, False) is None


@pytest.mark.parametrize(
    ("model", "name", "fits"),
    [
        ("NVIDIA L4", "L4", True),
        ("NVIDIA L40S", "L4", False),
        ("NVIDIA A100-SXM4-80GB", "A100-80GB", True),
        ("NVIDIA A100-SXM4-40GB", "A100-80GB", False),
        ("NVIDIA H100 80GB HBM3", "h100", True),
        ("anything", "", True),
    ],
)
def test_models_are_compared_word_by_word(model: str, name: str, fits: bool) -> None:
    assert is_model(model, name) is fits


def test_replicas_that_die_together_are_one_crash() -> None:
    seen = EndpointMemory(key=KEY, seen_ready=("a", "b"))
    both = [replica("a", state="failed"), replica("b", state="failed")]

    assert outcomes_noted(seen, both, NOW).crashes == 1
