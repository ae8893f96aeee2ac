"""What does a decision say of what it saw and of where it put things?"""

from glowplug.clock import MINUTE
from glowplug.spec import Policy
from unit.router.planning import KEY, Planning, node, replica, version


def test_a_start_says_on_which_node_it_is_and_what_is_left_there() -> None:
    nodes = (node("n1", gpus=2, memory_bytes=8 << 30), node("n2"))
    served = version(gpu_count=1, memory_bytes=1 << 30, policy=Policy(min=1))
    planning = Planning(served, nodes=nodes)

    (row,) = planning.plan().explain

    (act,) = row.acts
    assert (
        " starts on n1 with n1-gpu0, of 2 nodes first by cost for its speed, what it holds and free room; needs 1 GPU"
        in act
    )
    assert act.endswith("; 1 GPU, 7168 MiB left there")


def test_a_start_on_the_only_node_had_no_choice() -> None:
    (row,) = Planning(version(policy=Policy(min=1))).plan().explain

    assert "n1, the only node; needs 0 MiB; 0 GPU left there" in row.acts[0]


def test_a_decision_keeps_the_numbers_it_saw() -> None:
    planning = Planning(version(policy=Policy(min=0, max=3)), replicas=(replica("r1"),))
    planning.ask(arrivals=4, queued=2, inflight=1)

    numbers = dict(planning.plan().explain[0].numbers)

    assert (numbers["queued"], numbers["inflight"], numbers["max"]) == (2, 1, 3)
    assert numbers["idle_ns"] == 0
    assert numbers["zero_after_ns"] == 5 * MINUTE


def test_a_version_that_was_never_called_has_no_idle_time() -> None:
    assert dict(Planning(version()).plan().explain[0].numbers)["idle_ns"] == -1


def test_what_drains_and_what_is_gone_is_said_with_its_reason() -> None:
    failed = replica("r2", "failed", code="out_of_memory")
    planning = Planning(version(leaving=True, permille=0), replicas=(replica("r1"), failed))

    (row,) = planning.plan().explain

    assert row.acts == ("r2 is gone: out_of_memory", "r1 drains: leaving")
    assert row.subject == KEY


def test_a_swap_is_said_of_the_version_that_a_replica_becomes() -> None:
    new = version("app/hello@2", candidate=True, permille=0, swap_from=KEY)
    planning = Planning(version(), new, replicas=(replica("r1"),))

    rows = {row.subject: row for row in planning.plan().explain}

    assert rows["app/hello@2"].acts == ("r1 becomes it in place, its loaded state kept",)
