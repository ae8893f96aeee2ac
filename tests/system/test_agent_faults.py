"""What does an agent do when ranks, other agents, or it itself come to harm?"""

import os
import signal
import subprocess
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path

import anyio
import pytest

from glowplug.clock import SECOND, SystemClock
from glowplug.node.agent import run_agent
from glowplug.node.cgroups import detect
from glowplug.node.processes import is_alive
from glowplug.node.site import Patience
from glowplug.settings import Home
from system.stage_of_agent import (
    HELLO,
    LOADS,
    Controller,
    agent_process,
    clear,
    controlled,
    end,
    hasty,
    leftovers,
    limited,
    source,
    start_agent,
    until,
    wanted,
)

EATS = """
from glowplug import endpoint

kept = []

@endpoint(app="shop")
def hello(name: str) -> str:
    for _ in range(64):
        kept.append(b"x" * (8 << 20))
    return name
"""

FAILS = """
from glowplug import endpoint
from no_such_library import anything
"""

NEVER = """
import threading
from glowplug import endpoint
threading.Event().wait()
"""


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    made = Home(tmp_path / "home")
    yield made
    clear(made)


@pytest.fixture
async def controller(home: Home) -> AsyncIterator[Controller]:
    async with controlled(home) as one:
        yield one


async def test_a_rank_that_is_killed_is_reported_within_a_second(
    home: Home, controller: Controller, tmp_path: Path
) -> None:
    code = source(tmp_path / "src", HELLO)
    async with agent_process(home):
        await controller.until(lambda report: True)
        controller.want(wanted(code))
        ready = await controller.residency("r1", "ready")

        os.kill(ready.pid, signal.SIGKILL)
        failed = await controller.residency("r1", "failed", wait_s=1.0)

        assert failed.code == "replica_lost"
        assert "SIGKILL" in failed.detail
        assert leftovers(home) == []


async def test_an_agent_that_was_killed_finds_its_ranks_again_and_reloads_nothing(
    home: Home, controller: Controller, tmp_path: Path
) -> None:
    code = source(tmp_path / "src", LOADS)
    want = replace(wanted(code, target="app:Hello", kind="class", hooks=("load",)))
    first = start_agent(home)
    await controller.until(lambda report: True)
    controller.want(want)
    before = await controller.residency("r1", "ready")

    end(first, signal.SIGKILL)
    controller.report = None
    async with agent_process(home):
        after = await controller.residency("r1", "ready")
        controller.want(want)
        await controller.until(lambda report: report.desired_number == controller.number)

        assert after.pid == before.pid
        assert after.adopted
        assert after.phases == before.phases
        assert (code / "loads").read_text() == "x"
        controller.want()
        await controller.until(lambda report: not report.residencies)
        assert leftovers(home) == []


async def test_a_rank_that_nobody_adopts_ends_with_its_lease_and_the_next_agent_cleans_up(
    home: Home, controller: Controller, tmp_path: Path
) -> None:
    code = source(tmp_path / "src", HELLO)
    agent = start_agent(home, lease_s=1.0)
    await controller.until(lambda report: True)
    controller.want(wanted(code))
    ready = await controller.residency("r1", "ready")

    end(agent, signal.SIGKILL)
    await until(lambda: not is_alive(ready.pid), wait_s=8.0)

    controller.report = None
    async with agent_process(home):
        report = await controller.until(lambda report: True)
        assert report.residencies == ()
        assert leftovers(home) == []


async def test_a_lease_is_kept_as_long_as_the_agent_lives(
    home: Home, controller: Controller, tmp_path: Path
) -> None:
    code = source(tmp_path / "src", HELLO)
    async with agent_process(home, lease_s=0.6):
        await controller.until(lambda report: True)
        controller.want(wanted(code))
        ready = await controller.residency("r1", "ready")
        number = controller.report.number if controller.report else 0

        later = await controller.until(lambda report: report.number >= number + 2)

        assert later.residencies[0].pid == ready.pid
        assert later.residencies[0].state == "ready"


async def test_a_rank_over_its_memory_is_reported_as_such(
    home: Home, controller: Controller, tmp_path: Path
) -> None:
    if not detect(home.root).memory:
        pytest.skip("cgroups cannot be written here")
    code = source(tmp_path / "src", EATS)
    want = wanted(code, examples=[{"name": "you"}], needs=limited(memory_bytes=150 << 20))
    async with agent_process(home):
        await controller.until(lambda report: True)

        controller.want(want)
        failed = await controller.residency("r1", "failed")

        assert failed.memory_enforced
        assert failed.code == "out_of_memory"
        assert "150 MiB" in failed.detail
        assert leftovers(home) == []


async def test_an_error_in_the_user_s_code_is_reported_with_its_traceback(
    home: Home, controller: Controller, tmp_path: Path
) -> None:
    code = source(tmp_path / "src", FAILS)
    async with agent_process(home):
        await controller.until(lambda report: True)

        controller.want(wanted(code))
        failed = await controller.residency("r1", "failed")

        assert failed.code == "start_failed"
        assert "no_such_library" in failed.detail
        assert "app.py" in failed.detail
        assert leftovers(home) == []


async def test_a_start_that_takes_too_long_is_ended(
    home: Home, controller: Controller, tmp_path: Path
) -> None:
    code = source(tmp_path / "src", NEVER)
    async with agent_process(home):
        await controller.until(lambda report: True)

        controller.want(wanted(code, timeouts=hasty(1.0)))
        failed = await controller.residency("r1", "failed")

        assert failed.code == "start_timeout"
        assert leftovers(home) == []


async def test_a_start_that_is_no_longer_wanted_is_ended_at_once(
    home: Home, controller: Controller, tmp_path: Path
) -> None:
    code = source(tmp_path / "src", NEVER)
    async with agent_process(home):
        await controller.until(lambda report: True)
        controller.want(wanted(code))
        await controller.until(
            lambda report: bool(report.residencies and report.residencies[0].pid)
        )

        controller.want()
        await controller.until(lambda report: not report.residencies)

        assert leftovers(home) == []


async def test_a_missing_secret_is_named_with_the_command_that_sets_it(
    home: Home, controller: Controller, tmp_path: Path
) -> None:
    code = source(tmp_path / "src", HELLO)
    async with agent_process(home):
        await controller.until(lambda report: True)

        controller.want(wanted(code, secrets=("TOKEN",)))
        failed = await controller.residency("r1", "failed")

        assert failed.code == "start_failed"
        assert "glowplug secrets set TOKEN" in failed.detail


async def test_twenty_forks_and_kills_leave_nothing_behind(
    home: Home, controller: Controller, tmp_path: Path
) -> None:
    code = source(tmp_path / "src", HELLO)
    controller.prime = ("",)
    async with agent_process(home) as agent:
        await controller.until(lambda report: True)
        controller.want()
        system_log = home.node / "logs/system/agent.jsonl"
        await until(lambda: "zygote" in system_log.read_text())
        open_before = open_files(agent)

        for number in range(20):
            replica = f"r{number}"
            controller.want(wanted(code, replica, needs=limited(memory_bytes=500 << 20)))
            ready = await controller.residency(replica, "ready")
            assert "fork" in [phase.name for phase in ready.phases]
            os.kill(ready.pid, signal.SIGKILL)
            await controller.residency(replica, "failed")

        controller.want()
        await controller.until(lambda report: not report.residencies)
        assert leftovers(home) == []
        await until(lambda: open_files(agent) <= open_before, wait_s=2.0)


def open_files(process: "subprocess.Popen[bytes]") -> int:
    """Return how many descriptors a process has."""
    return len(list(Path(f"/proc/{process.pid}/fd").iterdir()))


async def test_the_agent_works_without_pidfds_cgroups_and_zygotes(
    home: Home, controller: Controller, tmp_path: Path
) -> None:
    code = source(tmp_path / "src", HELLO)
    controller.prime = ("",)
    async with agent_process(home, without="pidfd,cgroup,zygote"):
        report = await controller.until(lambda report: True)
        assert report.inventory.capabilities == ()

        controller.want(wanted(code, needs=limited(memory_bytes=500 << 20)))
        ready = await controller.residency("r1", "ready")
        os.kill(ready.pid, signal.SIGKILL)
        failed = await controller.residency("r1", "failed")

        assert not ready.memory_enforced
        assert ready.phases[2].name == "exec"
        assert "SIGKILL" in failed.detail


async def test_a_rank_that_hangs_is_killed(
    home: Home, controller: Controller, tmp_path: Path
) -> None:
    code = source(tmp_path / "src", HELLO)
    address = f"unix:{home.run / 'controller.sock'}"
    hasty_agent = Patience(ping_every_ns=SECOND // 5, hang_ns=SECOND // 2, term_ns=SECOND // 5)
    async with anyio.create_task_group() as group:
        group.start_soon(
            lambda: run_agent(home, address, "n1", SystemClock(), patience=hasty_agent)
        )
        await controller.until(lambda report: True)
        controller.want(wanted(code))
        ready = await controller.residency("r1", "ready")

        os.kill(ready.pid, signal.SIGSTOP)
        failed = await controller.residency("r1", "failed")

        assert failed.code == "replica_lost"
        assert "PING" in failed.detail
        group.cancel_scope.cancel()
