"""Does an agent leave nothing behind, name what went wrong, and outlive what it is sent?"""

import contextlib
import os
import signal
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path

import anyio
import pytest
from anyio.abc import TaskGroup

from glowplug.artifact import Layer
from glowplug.clock import SECOND, SystemClock
from glowplug.errors import CallError
from glowplug.node.agent import run_agent
from glowplug.node.messages import LogQuery
from glowplug.node.processes import is_alive
from glowplug.node.site import Patience
from glowplug.settings import Home
from glowplug.wire.channel import Channel, Exchange, dial_channel
from glowplug.wire.messages import Hello, Infer
from system.stage_of_agent import (
    HELLO,
    Controller,
    agent_process,
    clear,
    controlled,
    leftovers,
    source,
    until,
    wanted,
)

LEAVES = """
import subprocess, sys
from pathlib import Path
from glowplug import endpoint

left = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
Path(__file__).with_name("left").write_text(str(left.pid))

@endpoint(app="shop")
def hello(name: str) -> str:
    return name
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


@pytest.mark.parametrize("without", ["", "cgroup"])
async def test_what_user_code_started_ends_with_its_replica_whatever_session_it_is_in(
    home: Home, controller: Controller, tmp_path: Path, without: str
) -> None:
    code = source(tmp_path / "src", LEAVES)
    async with agent_process(home, without=without):
        await controller.until(lambda report: True)
        controller.want(wanted(code))
        await controller.residency("r1", "ready")
        left = int((code / "left").read_text())
        assert is_alive(left)

        controller.want()
        await controller.until(lambda report: not report.residencies)

        await until(lambda: not is_alive(left))
        assert leftovers(home) == []


async def test_logs_of_an_app_that_cannot_be_are_refused_at_once(
    home: Home, controller: Controller
) -> None:
    async with agent_process(home):
        await controller.until(lambda report: True)

        with anyio.fail_after(5), pytest.raises(CallError, match="no plain name"):
            await controller.logs(LogQuery(app="..", tail=1))


async def test_a_malformed_digest_in_a_want_ends_neither_the_agent_nor_its_sweeping(
    home: Home, controller: Controller, tmp_path: Path
) -> None:
    code = source(tmp_path / "src", HELLO)
    old = home.node / "bundles" / ("a" * 64)
    address = f"unix:{home.run / 'controller.sock'}"
    hasty_agent = Patience(sweep_every_ns=SECOND // 10)
    want = wanted(code)
    layer = Layer(kind="code", digest="sha256:short", size_bytes=1)
    bad = replace(want, bundle=replace(want.bundle, layers=(layer,)))
    async with anyio.create_task_group() as group:
        group.start_soon(
            lambda: run_agent(home, address, "n1", SystemClock(), patience=hasty_agent)
        )
        await controller.until(lambda report: True)
        controller.prime = ("sha256:no",)
        controller.want(bad)
        await controller.residency("r1", "ready")
        old.mkdir()
        os.utime(old, (1, 1))

        await until(lambda: not old.exists())
        group.cancel_scope.cancel()
    clear(home)


async def test_a_rank_that_blocks_its_loop_is_killed_and_says_why_and_a_plain_def_is_not(
    home: Home, controller: Controller, tmp_path: Path
) -> None:
    blocking = "import threading\nfrom glowplug import endpoint\n"
    for name, kind in (("blocks", "async def"), ("waits", "def")):
        source(
            tmp_path / name,
            f"""{blocking}
@endpoint(app="shop")
{kind} hello(name: str) -> str:
    threading.Event().wait(60)
    return name
""",
        )
    address = f"unix:{home.run / 'controller.sock'}"
    hasty_agent = Patience(ping_every_ns=SECOND // 5, hang_ns=SECOND, term_ns=SECOND // 5)
    channels: list[Channel] = []
    async with anyio.create_task_group() as group:
        group.start_soon(
            lambda: run_agent(home, address, "n1", SystemClock(), patience=hasty_agent)
        )
        await controller.until(lambda report: True)
        controller.want(
            wanted(tmp_path / "waits", "waits"),
            wanted(tmp_path / "blocks", "blocks", is_async=True),
        )
        for replica in ("waits", "blocks"):
            there = await controller.residency(replica, "ready")
            channels.append(await call_without_waiting(there.address, group))

        failed = await controller.residency("blocks", "failed")
        assert failed.code == "replica_lost"
        assert failed.detail.splitlines()[-1] == (
            "it answered no PING for 1 s: it blocks its event loop or holds the interpreter's lock;"
            " make it a plain `def`, or release the GIL"
        )
        assert (await controller.residency("waits", "ready")).state == "ready"
        for channel in channels:
            channel.close()
            await channel.gone()
        group.cancel_scope.cancel()
    clear(home)


async def call_without_waiting(address: str, group: TaskGroup) -> Channel:
    """Make a call that nobody waits for; return its connection."""

    async def nobody(exchange: Exchange) -> None:
        exchange.fail("not_found", exchange.infer.path)

    channel = await dial_channel(address, Hello("gateway"), nobody, group.start_soon)
    headers = (("content-type", "application/json"),)
    infer = Infer("/hello", endpoint="shop/hello", request_id="q", headers=headers)

    async def ask() -> None:
        with contextlib.suppress(CallError):  # that of a rank that is killed
            await channel.request("/hello", b'{"name": "Ada"}', infer=infer)

    group.start_soon(ask)
    return channel


async def test_an_agent_that_is_told_ends_its_ranks_without_a_controller_and_then_itself(
    home: Home, controller: Controller, tmp_path: Path
) -> None:
    code = source(tmp_path / "src", HELLO)
    address = f"unix:{home.run / 'controller.sock'}"
    told = signal.SIGUSR1
    async with anyio.create_task_group() as group:
        group.start_soon(lambda: run_agent(home, address, "n1", SystemClock(), end_all_on=told))
        await controller.until(lambda report: True)
        controller.want(wanted(code))
        ready = await controller.residency("r1", "ready")

        os.kill(os.getpid(), told)
        await until(lambda: not is_alive(ready.pid))

    assert leftovers(home) == []
