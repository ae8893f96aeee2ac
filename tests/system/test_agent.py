"""Does an agent keep real ranks as it was told?"""

import os
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path

import anyio
import pytest

from glowplug.artifact import Bundle
from glowplug.clock import SystemClock
from glowplug.node.agent import run_agent
from glowplug.node.messages import LogQuery
from glowplug.node.processes import is_alive
from glowplug.settings import Home
from system.stage_of_agent import (
    HELLO,
    LOADS,
    Controller,
    agent_process,
    clear,
    controlled,
    leftovers,
    shipped,
    source,
    start_agent,
    until,
    wanted,
)


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    made = Home(tmp_path / "home")
    yield made
    clear(made)


@pytest.fixture
async def controller(home: Home) -> AsyncIterator[Controller]:
    async with controlled(home) as one:
        yield one


async def test_a_replica_is_started_reported_and_drained_when_it_leaves_the_list(
    home: Home, controller: Controller, tmp_path: Path
) -> None:
    code = source(tmp_path / "src", HELLO)
    async with agent_process(home):
        await controller.until(lambda report: True)

        controller.want(wanted(code, examples=[{"name": "you"}]))
        ready = await controller.residency("r1", "ready")
        controller.want()
        await controller.until(lambda report: not report.residencies)

        assert [phase.name for phase in ready.phases] == [
            "fetch",
            "env",
            "exec",
            "import",
            "load",
            "warm",
            "check",
        ]
        assert ready.address == f"unix:{home.run / 'r' / 'r1.d'}"
        assert ready.device == "cpu"
        assert not ready.adopted
        assert leftovers(home) == []


async def test_the_second_start_is_forked_and_its_log_tells_the_whole_story(
    home: Home, controller: Controller, tmp_path: Path
) -> None:
    code = source(tmp_path / "src", HELLO)
    controller.prime = ("",)
    async with agent_process(home):
        await controller.until(lambda report: True)
        controller.want()
        system_log = home.node / "logs/system/agent.jsonl"
        await until(lambda: "zygote" in system_log.read_text())

        controller.want(wanted(code))
        ready = await controller.residency("r1", "ready")

        assert ready.phases[2].name == "fork"
        texts = [str(line["text"]) for line in await controller.logs(LogQuery(app="shop"))]
        assert any(text.startswith("ready as pid") for text in texts)


async def test_a_secret_is_in_the_rank_and_in_no_file(
    home: Home, controller: Controller, tmp_path: Path
) -> None:
    secret = "s3cr3t-value-of-this-test"
    checks = 'import os\nassert os.environ["TOKEN"].startswith("s3cr3t")\n'
    code = source(tmp_path / "src", checks + HELLO)
    controller.secrets = {"TOKEN": secret}
    async with agent_process(home):
        await controller.until(lambda report: True)

        controller.want(wanted(code, secrets=("TOKEN",)))
        ready = await controller.residency("r1", "ready", "failed")

        assert ready.state == "ready", ready.detail
        files = [one for one in home.root.rglob("*") if one.is_file()]
        assert files
        assert not [one for one in files if secret.encode() in content(one)]


def content(file: Path) -> bytes:
    """Return a file's bytes; one that is just being replaced has none."""
    try:
        return file.read_bytes()
    except FileNotFoundError:
        return b""


async def test_code_comes_from_the_controller_by_digest(home: Home, controller: Controller) -> None:
    layer, data = shipped(HELLO)
    want = replace(wanted(Path()), bundle=Bundle(app="shop", layers=(layer,)))
    controller.blobs = {layer.digest: data}
    lost = replace(layer, digest="sha256:" + "1" * 64)
    async with agent_process(home):
        await controller.until(lambda report: True)

        controller.want(
            want, replace(want, replica="r2", bundle=Bundle(app="shop", layers=(lost,)))
        )
        ready = await controller.residency("r1", "ready", "failed")
        failed = await controller.residency("r2", "ready", "failed")

        assert ready.state == "ready", ready.detail
        assert failed.code == "start_failed"
        assert (home.node / "bundles" / layer.digest.removeprefix("sha256:") / "app.py").is_file()


async def test_replicas_go_on_while_the_controller_is_away(home: Home, tmp_path: Path) -> None:
    code = source(tmp_path / "src", HELLO)
    async with agent_process(home):
        async with controlled(home) as first:
            await first.until(lambda report: True)
            first.want(wanted(code))
            before = await first.residency("r1", "ready")

        async with controlled(home) as second:
            after = await second.residency("r1", "ready")

            assert after.pid == before.pid
            assert not after.adopted


async def test_a_list_of_an_earlier_epoch_is_ignored(
    home: Home, controller: Controller, tmp_path: Path
) -> None:
    code = source(tmp_path / "src", HELLO)
    async with agent_process(home):
        await controller.until(lambda report: True)
        controller.epoch = 5
        controller.want(wanted(code))
        await controller.residency("r1", "ready")

        controller.epoch = 4
        controller.want()
        ignored = controller.number
        later = await controller.until(
            lambda report: report.number > 0 and bool(report.residencies)
        )
        controller.epoch = 5
        controller.want(wanted(code))
        last = await controller.until(lambda report: report.desired_number == ignored + 1)

        assert later.desired_number != ignored
        assert [one.state for one in last.residencies] == ["ready"]


async def test_new_code_with_the_same_load_key_is_swapped_into_the_running_rank(
    home: Home, controller: Controller, tmp_path: Path
) -> None:
    code = source(tmp_path / "src", LOADS)
    want = wanted(code, target="app:Hello", kind="class", hooks=("load",), load_key="k")
    edited = source(tmp_path / "edited", LOADS.replace("hello ", "good day "))
    new = wanted(
        edited,
        version="shop/Hello@2",
        target="app:Hello",
        kind="class",
        hooks=("load",),
        load_key="k",
    )
    async with agent_process(home):
        await controller.until(lambda report: True)
        controller.want(want)
        before = await controller.residency("r1", "ready")

        controller.want(replace(new, swap=True))
        await controller.until(
            lambda report: (
                report.residencies[0].version == "shop/Hello@2"
                and report.residencies[0].state in ("ready", "failed")
            )
        )
        after = await controller.residency("r1", "ready", "failed")

        assert after.state == "ready", after.detail
        assert after.pid == before.pid
        assert (code / "loads").read_text() == "x"
        assert not (edited / "loads").exists()


async def test_a_swap_that_the_disk_refuses_fails_its_replica_and_not_the_agent(
    home: Home, controller: Controller, tmp_path: Path
) -> None:
    code = source(tmp_path / "src", LOADS)
    fields = {"target": "app:Hello", "kind": "class", "hooks": ("load",), "load_key": "k"}
    old = wanted(code, **fields)  # type: ignore[arg-type]  # fields of a spec
    new = wanted(code, version="shop/Hello@2", volumes=("data",), **fields)  # type: ignore[arg-type]  # as above
    (home.node / "volumes").mkdir(parents=True)
    (home.node / "volumes" / "data").write_text("no folder")
    async with agent_process(home) as agent:
        await controller.until(lambda report: True)
        controller.want(old)
        await controller.residency("r1", "ready")

        controller.want(replace(new, swap=True))
        after = await controller.residency("r1", "failed")

        assert after.code == "start_failed"
        assert "shop/Hello@2 cannot be swapped in" in after.detail
        assert agent.poll() is None


async def test_a_second_agent_in_the_same_home_is_refused(
    home: Home, controller: Controller
) -> None:
    async with agent_process(home) as first:
        await controller.until(lambda report: True)

        second = start_agent(home)
        code = await anyio.to_thread.run_sync(second.wait)

        assert code == 1
        assert first.poll() is None


async def test_an_agent_ends_with_its_leash_and_leaves_its_ranks(
    home: Home, controller: Controller, tmp_path: Path
) -> None:
    code = source(tmp_path / "src", HELLO)
    ours, theirs = os.pipe()
    address = f"unix:{home.run / 'controller.sock'}"
    clock = SystemClock()
    async with anyio.create_task_group() as group:

        async def agent() -> None:
            await run_agent(home, address, "n1", clock, leash_fd=ours)
            group.cancel_scope.cancel()

        group.start_soon(agent)
        await controller.until(lambda report: True)
        controller.want(wanted(code))
        ready = await controller.residency("r1", "ready")

        os.close(theirs)
        await anyio.sleep_forever()
    os.close(ours)

    assert is_alive(ready.pid)
