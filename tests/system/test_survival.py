"""What is left when a process is killed, and how soon is it whole again?

Every test kills something with SIGKILL. What must hold afterwards: calls are answered, replicas are the same processes
as before (their model is not loaded twice), and nothing runs that nobody owns.
"""

import os
import platform
import signal
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from glowplug.settings import Home
from system.place import Place, is_alive, kill, load, place, processes_of, until

LEASE_S = 3

APP = """
import os
from pathlib import Path
from glowplug import Scale, endpoint, on

LOADS = Path(os.environ["GLOWPLUG_HOME"]) / "loads"

@endpoint(examples=[{{"n": 1}}], concurrency=8, scale=Scale(min=1, max=2))
class Model:
    @on.load
    def load(self) -> None:
        with LOADS.open("a") as file:
            file.write(f"{{os.getpid()}}\\n")

    async def __call__(self, n: int) -> str:
        return "{name}"
"""

IDLE = """
import os
from glowplug import Scale, endpoint

@endpoint(scale=Scale(zero_after="0s"))
def sleepy() -> int:
    return os.getpid()
"""


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    with place(tmp_path_factory.mktemp("survival")) as here:
        here.deploy("kept", APP.format(name="first"))
        here.deploy("idle", IDLE)
        yield here


@pytest.fixture
def router(shared: Place) -> Iterator[Place]:
    """The shared router, with one replica and all its processes; whole again after the test."""
    until(lambda: len(shared.ready("kept")) == 1, what="one ready replica")
    until(lambda: len(shared.daemons()) == 4, what="four processes")
    yield shared
    until(lambda: len(shared.daemons()) == 4, what="four processes")
    shared.settle()


def loads(router: Place) -> list[str]:
    return (router.home / "loads").read_text().splitlines()


def kill_one(router: Place, role: str) -> None:
    """Kill a process, and wait until another one is in its place."""
    before = router.daemons()[role]
    kill(before)
    until(lambda: router.daemons().get(role, before) != before, what=f"another {role}")


# -- one of the four ---------------------------------------------------------------------------------------


def test_a_killed_gateway_refuses_no_connection_and_serves_within_two_seconds(
    router: Place,
) -> None:
    ranks, made = router.ready("kept"), loads(router)
    with load(router, "/kept/model", {"n": 1}) as calls:
        kill_one(router, "gateway")

    assert "ConnectionRefusedError" not in calls.broken
    assert len(calls.broken) <= 5  # what was in flight, at most one a connection
    assert calls.failed == []
    assert calls.longest_gap_s() < 2
    assert (router.ready("kept"), loads(router)) == (ranks, made)


def test_a_killed_controller_costs_no_call_and_deploys_again_within_three_seconds(
    router: Place,
) -> None:
    ranks, made = router.ready("kept"), loads(router)
    with load(router, "/kept/model", {"n": 1}) as calls:
        kill(router.daemons()["controller"])
        killed = time.monotonic()
        until(lambda: router.send("/-/api/health", method="GET").status == 200, 3)
        until(lambda: router.ready("kept") == ranks, 3)
        assert router.deploy("idle", f"{IDLE}# {killed}")["generation"] > 1
        took = time.monotonic() - killed

    assert (calls.broken, calls.failed) == ([], [])
    assert took < 4  # of which the command itself takes about one
    assert (router.ready("kept"), loads(router)) == (ranks, made)


def test_a_killed_agent_leaves_its_ranks_to_the_next_one(router: Place) -> None:
    ranks, made = router.ready("kept"), loads(router)
    with load(router, "/kept/model", {"n": 1}) as calls:
        kill_one(router, "agent")
        until(lambda: any(one.get("adopted") for one in router.replicas("kept")), what="adoption")

    assert (calls.broken, calls.failed) == ([], [])
    assert (router.ready("kept"), loads(router)) == (ranks, made)


def test_a_rank_that_a_new_agent_adopted_can_still_be_stopped(router: Place) -> None:
    kill_one(router, "agent")
    until(lambda: any(one.get("adopted") for one in router.replicas("kept")), what="adoption")
    [before] = router.ready("kept").values()

    router.deploy("kept", APP.format(name=f"after {before}"))

    assert router.answers("/kept/model", {"n": 1}) == f"after {before}"
    until(lambda: not is_alive(before), what="the end of the old version's replica")


def test_a_killed_zygote_is_missed_by_nobody(router: Place) -> None:
    until(router.zygotes, what="a zygote")
    for pid in router.zygotes():
        kill(pid)

    assert router.send("/idle/sleepy", {}).status == 200
    until(lambda: not router.replicas("idle"), what="zero")
    until(router.zygotes, what="another zygote")
    assert router.send("/idle/sleepy", {}).status == 200


def test_a_killed_rank_is_replaced(router: Place) -> None:
    [(replica, pid)] = router.ready("kept").items()
    kill(pid)

    until(lambda: replica not in router.ready("kept") and router.ready("kept"))
    assert router.send("/kept/model", {"n": 1}).status == 200
    assert loads(router)[-1] != str(pid)


# -- coming back from nothing ------------------------------------------------------------------------------


def test_a_call_wakes_what_sleeps_within_two_seconds(router: Place) -> None:
    until(lambda: not router.replicas("idle"), what="zero")
    begun = time.monotonic()
    cold = router.send("/idle/sleepy", {})
    took = time.monotonic() - begun

    assert cold.status == 200
    assert cold.headers["glowplug-cold"] == "1"
    assert "import;dur=" in cold.headers["server-timing"]
    assert took < 2
    until(lambda: not is_alive(cold.json), what="zero again")


def test_a_rollback_under_load_fails_no_call(router: Place) -> None:
    router.deploy("kept", APP.format(name="better"))
    with load(router, "/kept/model", {"n": 1}) as calls:
        begun = time.monotonic()
        router.run("rollback", "kept")
        took = time.monotonic() - begun
        after = router.answers("/kept/model", {"n": 1})

    assert (calls.broken, calls.failed) == ([], [])
    assert after != "better"
    assert calls.answers == {'"better"', f'"{after}"'}
    assert took < 5


# -- all of them -------------------------------------------------------------------------------------------


def test_a_second_router_in_one_home_is_refused_and_told_who_runs(router: Place) -> None:
    done = router.glowplug("up", "--detach", "--port", "0")

    assert done.returncode != 0
    assert f"pid {router.daemons()['supervisor']}" in done.stderr
    assert router.url in done.stderr
    assert "glowplug down" in done.stderr


def test_a_killed_supervisor_takes_its_children_along_and_the_next_up_adopts_the_ranks(
    router: Place,
) -> None:
    ranks, made, daemons = router.ready("kept"), loads(router), router.daemons()
    kill(daemons["supervisor"])
    until(lambda: not any(map(is_alive, daemons.values())), 5, "the end of the children")
    assert all(map(is_alive, ranks.values()))

    router.up()

    assert router.send("/kept/model", {"n": 1}).status == 200
    until(lambda: router.ready("kept") == ranks, 5)
    assert [one["adopted"] for one in router.replicas("kept")] == [True]
    assert loads(router) == made


def test_all_four_killed_at_once_are_as_good_as_one(router: Place) -> None:
    ranks, made, daemons = router.ready("kept"), loads(router), router.daemons()
    for pid in daemons.values():
        kill(pid)

    router.up()

    assert router.send("/kept/model", {"n": 1}).status == 200
    until(lambda: router.ready("kept") == ranks, 5)
    assert loads(router) == made


def test_down_leaves_no_process(router: Place) -> None:
    router.run("down")

    assert processes_of(router.home) == {}
    assert router.run("down")[-1] == {"stopped": False}
    router.up()
    assert router.send("/kept/model", {"n": 1}).status == 200


def test_down_may_keep_the_replicas_for_the_next_up(router: Place) -> None:
    router.run("down")
    router.up("--keep")
    until(lambda: router.ready("kept"))
    ranks, made = router.ready("kept"), loads(router)

    router.run("down")
    assert set(processes_of(router.home)) == set(ranks.values())
    router.up()

    until(lambda: router.ready("kept") == ranks, 5)
    assert loads(router) == made


def test_ranks_that_nobody_adopts_end_when_their_lease_does(router: Place) -> None:
    """An agent of our own starts the rank: the lease that `up` gives is ten times as long as a test may take."""
    daemons = router.daemons()
    os.kill(daemons["supervisor"], signal.SIGSTOP)  # it must not make another agent
    kill(daemons["agent"])
    agent = agent_with_a_short_lease(router)
    try:
        until(lambda: any(one.get("adopted") for one in router.replicas("kept")), what="adoption")
        router.deploy("kept", APP.format(name="leased"))
        until(lambda: len(router.ready("kept")) == 1)
        [rank] = router.ready("kept").values()
    finally:
        agent.kill()
        agent.wait()
        for pid in daemons.values():
            kill(pid)

    assert is_alive(rank)
    until(lambda: not processes_of(router.home), LEASE_S + 3, "the end of everything")

    router.up()
    assert router.answers("/kept/model", {"n": 1}) == "leased"
    assert str(rank) in loads(router)[:-1]


def agent_with_a_short_lease(router: Place) -> "subprocess.Popen[bytes]":
    words = ["--home", str(router.home), "--lease", str(LEASE_S), "--name", platform.node()]
    socket = f"unix:{Home(router.home).run / 'controller.sock'}"
    return subprocess.Popen(
        [sys.executable, "-P", "-m", "glowplug.node", "--controller", socket, *words],
        env=router.env,
    )
