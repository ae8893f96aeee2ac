"""Do all ways to start a rank keep the launcher's promises?"""

import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import anyio
import pytest
from anyio.abc import TaskGroup

from glowplug.clock import SECOND, SystemClock
from glowplug.node import gpus, starting, zygote
from glowplug.node.folders import Folders
from glowplug.node.imports import Imports, read, write
from glowplug.node.launchers import Declined, ExecLauncher, Launched, Launcher, Order
from glowplug.node.messages import RankLaunch, RankStats
from glowplug.node.processes import Exit, Process, is_alive
from glowplug.node.rank_link import connect
from glowplug.node.zygotes import Zygotes
from glowplug.settings import Home, set_environment, variable
from glowplug.wire.messages import to_json
from system.stage_of_agent import HELLO, source, until, wanted

CLOCK = SystemClock()
SECRET = "a-value-that-must-not-be-seen"
WAYS = ("exec", "fork")


@dataclass
class Bench:
    """A folder, a launcher, and what was started with it."""

    folders: Folders
    group: TaskGroup
    launcher: Launcher
    zygotes: Zygotes
    started: list[Process] = field(default_factory=list)

    def order(self, name: str = "r1", payload: bytes | None = None) -> Order:
        launch = self.launch(name)
        return Order(
            name=name,
            interpreter=Path(sys.executable),
            payload=to_json(launch) if payload is None else payload,
            error_path=starting.raw_log(Path(launch.log_path)),
            control_socket=Path(launch.control_socket),
            started=self.started.append,
        )

    def launch(self, name: str) -> RankLaunch:
        code = source(self.folders.home.root / "src", HELLO)
        want = wanted(code, name)
        return RankLaunch(
            replica=name,
            version=want.version,
            spec=want.spec,
            code_path=str(code),
            data_socket=str(self.folders.data_socket(name)),
            control_socket=str(self.folders.control_socket(name)),
            log_path=str(self.folders.log("shop", "hello", name)),
            epoch=1,
            lease_ns=30 * SECOND,
            device=gpus.Granted("cpu").device,
            secrets=(("TOKEN", SECRET),),
        )

    async def run(self, order: Order) -> Launched:
        launched = await self.launcher.launch(order)
        assert isinstance(launched, Launched), launched
        return launched

    async def ready(self, launched: Launched) -> RankStats:
        link = await connect(launched.control_socket, 1, CLOCK, self.group.start_soon, lambda: None)
        while (stats := await link.stats()).state != "ready":
            assert stats.state != "failed", stats
            await anyio.sleep(0.01)
        link.close()
        return stats


@asynccontextmanager
async def bench(tmp_path: Path, way: str, imports: Imports | None = None) -> AsyncIterator[Bench]:
    folders = Folders(Home(tmp_path))
    folders.make()
    if imports is not None:
        write(folders.home.node / "imports-own.json", imports)
    async with anyio.create_task_group() as group:
        zygotes = Zygotes(folders, CLOCK, group.start_soon)
        made = Bench(folders, group, ExecLauncher(CLOCK) if way == "exec" else zygotes, zygotes)
        try:
            if way == "fork":
                zygotes.prime("", Path(sys.executable))
                await until(lambda: zygotes.ready(""))
            yield made
        finally:
            await leave(made)
            group.cancel_scope.cancel()


async def leave(made: Bench) -> None:
    """Leave no process behind."""
    with anyio.CancelScope(shield=True):
        for process in made.started:
            process.kill_group()
            await until(lambda process=process: not is_alive(process.pid))  # type: ignore[misc]  # binds the loop's value
            await process.wait()
            process.close()
        made.zygotes.close()
        await until(lambda: not made.zygotes.running)


@pytest.mark.parametrize("way", WAYS)
async def test_a_rank_gets_ready_in_a_session_of_its_own(tmp_path: Path, way: str) -> None:
    async with bench(tmp_path, way) as at:
        launched = await at.run(at.order())

        stats = await at.ready(launched)

        assert launched.how == way
        assert stats.pid == launched.process.pid
        assert os.getsid(stats.pid) == stats.pid
        assert at.started == [launched.process]


@pytest.mark.parametrize("way", WAYS)
async def test_the_end_by_sigterm_is_seen_with_its_code(tmp_path: Path, way: str) -> None:
    async with bench(tmp_path, way) as at:
        launched = await at.run(at.order())
        await at.ready(launched)

        launched.process.signal(signal.SIGTERM)

        assert await launched.process.wait() == Exit(code=0)


@pytest.mark.parametrize("way", WAYS)
async def test_the_end_by_sigkill_is_seen_at_once_with_its_signal(tmp_path: Path, way: str) -> None:
    async with bench(tmp_path, way) as at:
        launched = await at.run(at.order())
        await at.ready(launched)
        began_ns = CLOCK.now_ns()

        os.kill(launched.process.pid, signal.SIGKILL)

        assert await launched.process.wait() == Exit(signal=signal.SIGKILL)
        assert CLOCK.now_ns() - began_ns < SECOND


@pytest.mark.parametrize("way", WAYS)
async def test_a_process_that_is_told_nothing_ends_by_itself(tmp_path: Path, way: str) -> None:
    async with bench(tmp_path, way) as at:
        launched = await at.run(at.order(payload=b""))

        assert await launched.process.wait() == Exit(code=0)


@pytest.mark.parametrize("way", WAYS)
async def test_a_process_that_cannot_read_its_orders_says_so(tmp_path: Path, way: str) -> None:
    async with bench(tmp_path, way) as at:
        order = at.order(payload=b"{}")

        launched = await at.run(order)

        assert (await launched.process.wait()).code not in (None, 0)
        assert b"replica" in order.error_path.read_bytes()


@pytest.mark.parametrize("way", WAYS)
async def test_secrets_are_in_no_command_line_and_no_inherited_environment(
    tmp_path: Path, way: str
) -> None:
    async with bench(tmp_path, way) as at:
        launched = await at.run(at.order())
        await at.ready(launched)

        process = Path(f"/proc/{launched.process.pid}")
        assert SECRET.encode() not in (process / "cmdline").read_bytes()
        assert SECRET.encode() not in (process / "environ").read_bytes()


@pytest.mark.parametrize("way", WAYS)
async def test_a_rank_inherits_no_socket_of_the_agent(tmp_path: Path, way: str) -> None:
    async with bench(tmp_path, way) as at:
        launched = await at.run(at.order())
        await at.ready(launched)

        ours = sockets("self")
        assert not ours & sockets(str(launched.process.pid))


def sockets(pid: str) -> set[str]:
    """Return the kernel's names of a process's open sockets."""
    found = set()
    for handle in Path(f"/proc/{pid}/fd").iterdir():
        try:
            found.add(str(handle.readlink()))
        except OSError:
            continue  # the descriptor that lists them
    return {one for one in found if one.startswith("socket:")}


# -- the zygote alone ----------------------------------------------------------------------------


async def test_without_a_zygote_a_fork_is_declined_without_a_word(tmp_path: Path) -> None:
    async with bench(tmp_path, "exec") as at:
        assert await at.zygotes.launch(at.order()) == Declined("")


async def test_ranks_outlive_their_zygote(tmp_path: Path) -> None:
    async with bench(tmp_path, "fork") as at:
        launched = await at.run(at.order())
        await at.ready(launched)
        parent = parent_of(launched.process.pid)

        at.zygotes.close()
        await until(lambda: not is_alive(parent))

        assert (await at.ready(launched)).pid == launched.process.pid


async def test_a_zygote_that_was_killed_is_replaced_and_its_rank_s_end_still_seen(
    tmp_path: Path,
) -> None:
    async with bench(tmp_path, "fork") as at:
        launched = await at.run(at.order())
        await at.ready(launched)

        os.kill(parent_of(launched.process.pid), signal.SIGKILL)
        await until(lambda: not at.zygotes.ready(""))
        launched.process.signal(signal.SIGKILL)

        assert (await launched.process.wait()).signal in (None, signal.SIGKILL)
        assert await at.zygotes.launch(at.order("r2")) == Declined("")


async def test_a_zygote_with_a_second_thread_refuses(tmp_path: Path) -> None:
    threads = source(tmp_path / "lib", STARTS_A_THREAD_LATER, "late_thread.py")
    known = Imports(modules=("late_thread",))
    with OnPath(threads):
        async with bench(tmp_path, "fork", known) as at:
            declined = await at.zygotes.launch(at.order())

            assert isinstance(declined, Declined)
            assert "2 threads" in declined.reason


async def test_a_module_that_starts_a_thread_is_left_out_of_the_next_zygote(tmp_path: Path) -> None:
    threads = source(tmp_path / "lib", STARTS_A_THREAD, "early_thread.py")
    known = Imports(modules=("early_thread", "json"))
    with OnPath(threads):
        async with bench(tmp_path, "fork", known) as at:
            await until(
                lambda: read(at.folders.home.node / "imports-own.json").skip == ("early_thread",)
            )
            await until(lambda: at.zygotes.ready(""))

            assert isinstance(await at.zygotes.launch(at.order()), Launched)


async def test_a_module_that_cannot_be_imported_is_passed_over(tmp_path: Path) -> None:
    async with bench(tmp_path, "fork", Imports(modules=("no_such_module", "json"))) as at:
        assert isinstance(await at.zygotes.launch(at.order()), Launched)


def test_what_is_skipped_is_not_imported(tmp_path: Path) -> None:
    imports = tmp_path / "imports.json"
    imports.write_text(json.dumps({"modules": ["a", "b"], "skip": ["a"]}))

    assert zygote.wanted(imports) == ["b"]
    assert zygote.wanted(tmp_path / "absent.json") == []


STARTS_A_THREAD = """
import threading
threading.Thread(target=threading.Event().wait, daemon=True).start()
"""

# Not at import, which the zygote watches, but with the first message: as a library's own timer would.
STARTS_A_THREAD_LATER = """
import signal, socket, threading

before = socket.recv_fds

def after(*arguments):
    threading.Thread(target=threading.Event().wait, daemon=True).start()
    return before(*arguments)

socket.recv_fds = after
"""


def parent_of(pid: int) -> int:
    """Return the pid of a process's parent."""
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


class OnPath:
    """Lets processes started meanwhile import from a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.before = variable("PYTHONPATH")

    def __enter__(self) -> None:
        path = [one for one in (str(self.folder), self.before) if one]
        set_environment({"PYTHONPATH": os.pathsep.join(path)})

    def __exit__(self, *_: object) -> None:
        set_environment({"PYTHONPATH": self.before})
