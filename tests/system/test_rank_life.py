"""Does a real rank process start, change and end as its control socket is told?"""

import signal
from dataclasses import replace
from pathlib import Path

import anyio
import msgspec
import pytest

from glowplug.clock import MILLISECOND
from glowplug.errors import CallError
from glowplug.node.messages import RankStats
from glowplug.wire.frames import Kind
from glowplug.wire.messages import Command, to_json
from system.rank_process import Rank, call, edited, launch_of, logged, ready, running

SLOW = """
import asyncio
from glowplug import endpoint

@endpoint
async def echo(seconds: float = 0.0) -> str:
    await asyncio.sleep(seconds)
    return "done"
"""
MODEL = """
import os
import threading
from glowplug import Context, endpoint, on

steps = []

@endpoint(examples=[{"text": "example"}])
class Model:
    @on.load
    def load(self, ctx: Context) -> None:
        self.loaded_by = threading.get_ident()
        self.weights = object()
        print("load", ctx.device, os.environ["TOKEN"], os.environ["CUDA_VISIBLE_DEVICES"])

    @on.check
    async def check(self) -> bool:
        print("check")
        return True

    @on.drain
    def drain(self, ctx: Context) -> None:
        print("drain", ctx.reason, ctx.deadline_s > 0)

    @on.unload
    def unload(self) -> None:
        print("unload")

    def __call__(self, text: str) -> list[str]:
        print("call", text)
        return [text, str(id(self.weights)), str(self.loaded_by == threading.get_ident())]
"""


async def test_sigterm_lets_calls_finish_and_takes_no_more(tmp_path: Path) -> None:
    async with ready(launch_of(tmp_path, SLOW, is_async=True, concurrency=2)) as rank:
        rid = rank.gateway.open(b'{"seconds": 0.5}')
        await rank.gateway.ask(b"{}")
        rank.process.send_signal(signal.SIGTERM)
        await rank.gateway.until(lambda: rank.gateway.hellos[-1].state == "draining")

        assert (await rank.gateway.refused(rank.gateway.open()))[:2] == ("draining", "no")
        assert (await rank.gateway.ended(rid))[0].body == b'"done"'
        assert await rank.exit_code() == 0
        assert not Path(rank.launch.data_socket).exists()


async def test_a_call_that_crosses_the_news_of_a_drain_is_told_that_it_did_not_run(
    tmp_path: Path,
) -> None:
    async with ready(launch_of(tmp_path, SLOW, is_async=True)) as rank:
        await rank.gateway.ask(b"{}")
        await rank.command(Kind.DRAIN, reason="deploy")
        rid = (
            rank.gateway.open()
        )  # idle, so it has no reason to stay; a gateway may not have read the news yet

        assert (await rank.gateway.refused(rid))[:2] == ("draining", "no")


async def test_a_drain_whose_time_runs_out_ends_the_calls_and_says_so(tmp_path: Path) -> None:
    async with ready(launch_of(tmp_path, SLOW, is_async=True, concurrency=2)) as rank:
        rid = rank.gateway.open(b'{"seconds": 60}')
        await rank.gateway.ask(b"{}")
        stats = await rank.command(Kind.DRAIN, deadline_ns=100 * MILLISECOND, reason="scale")
        assert (stats.state, stats.inflight) == ("draining", 1)

        assert (await rank.gateway.refused(rid))[:2] == ("replica_lost", "yes")
        assert await rank.exit_code() == 0


async def test_a_handler_that_outlasts_the_drain_is_cut_off(tmp_path: Path) -> None:
    code = SLOW.replace("async def", "def").replace(
        "await asyncio.sleep(seconds)", "threading.Event().wait(seconds)"
    )
    async with ready(launch_of(tmp_path, f"import threading{code}")) as rank:
        rid = rank.gateway.open(b'{"seconds": 60}')
        await rank.gateway.refused(rank.gateway.open())
        await rank.command(Kind.DRAIN, deadline_ns=100 * MILLISECOND)

        assert (await rank.gateway.refused(rid))[0] == "replica_lost"
        assert await rank.exit_code() == 5


async def test_a_rank_whose_lease_runs_out_ends_by_itself(tmp_path: Path) -> None:
    launch = replace(launch_of(tmp_path, SLOW, is_async=True), lease_ns=1_500 * MILLISECOND)
    async with ready(launch) as rank:
        assert await rank.exit_code() == 0
        assert (
            "lease"
            in (await logged(rank, stream="lifecycle", text="ready → draining (lease)"))["text"]
        )


async def test_a_ping_renews_the_lease(tmp_path: Path) -> None:
    launch = replace(launch_of(tmp_path, SLOW, is_async=True), lease_ns=1_500 * MILLISECOND)
    async with ready(launch) as rank:
        await rank.command(Kind.PING, lease_ns=60_000 * MILLISECOND)

        with anyio.move_on_after(2.0):
            await rank.agent.gone()
        assert (await rank.stats()).state == "ready"


async def test_an_agent_that_was_replaced_cannot_command(tmp_path: Path) -> None:
    async with ready(launch_of(tmp_path, SLOW, is_async=True)) as rank:
        await rank.command(Kind.PING, epoch=5, lease_ns=60_000 * MILLISECOND)

        for kind in (Kind.DRAIN, Kind.PING, Kind.STATS, Kind.LOAD):
            with pytest.raises(CallError, match="epoch 4 is over") as refused:
                await rank.agent.command(kind, Command(4))
            assert refused.value.code == "conflict"
        assert (await rank.command(Kind.STATS, epoch=5)).state == "ready"


async def test_hooks_run_in_order_on_the_thread_that_answers(tmp_path: Path) -> None:
    launch = launch_of(
        tmp_path,
        MODEL,
        "Model",
        kind="class",
        hooks=("load", "check", "drain", "unload"),
        examples=({"text": "example"},),
    )
    async with ready(
        replace(launch, secrets=(("TOKEN", "s3cret"),), gpus=("GPU-1", "GPU-2"), device="cuda")
    ) as rank:
        text, _, same_thread = msgspec.json.decode(
            (await rank.gateway.ask(b'{"text": "hi"}', call("r1")))[1]
        )
        assert (text, same_thread) == ("hi", "True")
        assert rank.first is not None
        assert [phase.name for phase in rank.first.phases] == ["import", "load", "warm", "check"]
        assert "pydantic" in rank.first.modules
        assert "app" not in rank.first.modules
        await rank.command(Kind.DRAIN, reason="deploy")
        assert await rank.exit_code() == 0

        printed = [
            (line["text"], line["request_id"]) for line in rank.log() if line["stream"] == "stdout"
        ]
        assert printed == [
            ("load cuda s3cret GPU-1,GPU-2", ""),
            ("call example", ""),
            ("check", ""),
            ("call hi", "r1"),
            ("drain deploy True", ""),
            ("unload", ""),
        ]


async def test_an_import_error_is_told_with_its_traceback_before_the_rank_ends(
    tmp_path: Path,
) -> None:
    async with running(launch_of(tmp_path, "import nowhere_to_be_found\n")) as rank:
        stats = await _until_failed(rank)

        assert (stats.state, stats.code) == ("failed", "start_failed")
        assert "No module named 'nowhere_to_be_found'" in stats.detail
        assert 'app.py", line 1' in stats.detail
        assert await rank.exit_code() == 3


@pytest.mark.parametrize(
    ("broken", "said"),
    [
        (MODEL.replace("return True", "return False"), "on.check returned False"),
        (MODEL.replace('print("call", text)', "raise SystemExit(7)"), "SystemExit: 7"),
        (MODEL.replace("self.weights = object()", "1 / 0"), "ZeroDivisionError"),
    ],
)
async def test_a_start_that_breaks_says_where(tmp_path: Path, broken: str, said: str) -> None:
    launch = launch_of(tmp_path, broken, "Model", kind="class", examples=({"text": "example"},))
    async with running(replace(launch, secrets=(("TOKEN", "s3cret"),))) as rank:
        stats = await _until_failed(rank)

        assert stats.code == "start_failed"
        assert said in stats.detail
        assert await rank.exit_code() == 3


async def test_a_start_that_takes_too_long_is_given_up(tmp_path: Path) -> None:
    code = f"import threading\nthreading.Event().wait(60)\n{SLOW}"
    async with running(
        launch_of(tmp_path, code, is_async=True, start_ns=300 * MILLISECOND)
    ) as rank:
        stats = await _until_failed(rank)

        assert (stats.code, stats.detail) == (
            "start_timeout",
            "the start took too long; it was at: importing the code",
        )
        assert await rank.exit_code() == 3


async def test_new_code_is_swapped_in_around_the_loaded_object(tmp_path: Path) -> None:
    launch = replace(
        launch_of(tmp_path, MODEL, "Model", kind="class"), secrets=(("TOKEN", "s3cret"),), dev=True
    )
    async with ready(launch) as rank:
        before = msgspec.json.decode((await rank.gateway.ask(b'{"text": "hi"}'))[1])
        new = edited(launch, tmp_path / "new", MODEL.replace("[text,", "[text.upper(),"))
        stats = await rank.command(Kind.LOAD, body=to_json(new))
        after = msgspec.json.decode((await rank.gateway.ask(b'{"text": "hi"}'))[1])

        assert stats.version == "demo/echo@2"
        assert after == ["HI", *before[1:]]
        assert [line["text"] for line in rank.log() if line["text"].startswith("load ")] == [
            "load cpu s3cret "
        ]
        assert rank.gateway.hellos[-1].version == "demo/echo@2"


async def test_code_edited_where_it_lies_is_swapped_in_too(tmp_path: Path) -> None:
    launch = replace(launch_of(tmp_path, SLOW, is_async=True), dev=True)
    async with ready(launch) as rank:
        (Path(launch.code_path) / "app.py").write_text(SLOW.replace("done", "next"))
        await rank.command(Kind.LOAD, body=to_json(replace(launch, version="demo/echo@2")))

        assert (await rank.gateway.ask())[1] == b'"next"'


async def test_new_code_that_does_not_work_leaves_the_old_one_serving(tmp_path: Path) -> None:
    launch = replace(launch_of(tmp_path, SLOW, is_async=True), dev=True)
    async with ready(launch) as rank:
        for number, code in enumerate(
            ("def broken(:\n", SLOW.replace("echo", "other"), "import app_two\n")
        ):
            new = edited(launch, tmp_path / f"new{number}", code)
            with pytest.raises(CallError) as refused:
                await rank.command(Kind.LOAD, body=to_json(new))
            assert refused.value.code == "start_failed"

        assert (await rank.gateway.ask())[1] == b'"done"'
        assert (await rank.stats()).version == "demo/echo@1"


async def test_what_c_code_and_children_write_goes_to_the_raw_file(tmp_path: Path) -> None:
    code = """
import os
from glowplug import endpoint

@endpoint
def echo() -> None:
    os.write(1, b"from below\\n")
    os.system("echo from a child")
"""
    async with ready(launch_of(tmp_path, code)) as rank:
        await rank.gateway.ask()

        assert Path(f"{rank.launch.log_path}.out").read_text() == "from below\nfrom a child\n"


async def _until_failed(rank: Rank) -> RankStats:
    """Ask once, after the rank has said that its state is final: the first answer is the last one."""
    await rank.gateway.until(
        lambda: rank.gateway.hellos and rank.gateway.hellos[-1].state == "draining"
    )
    return await rank.stats()
