"""Is that process still the one we started, and how did it end?"""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import anyio
import pytest

from glowplug.clock import SystemClock
from glowplug.node.processes import (
    Exit,
    Process,
    decode,
    identity,
    is_alive,
    open_pidfd,
    signal_name,
)


@contextmanager
def child(code: str = "import sys; sys.stdin.read()") -> Iterator["subprocess.Popen[bytes]"]:
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, start_new_session=True
    )
    try:
        yield process
    finally:
        process.kill()
        assert process.stdin is not None
        process.stdin.close()
        process.wait()


@pytest.mark.parametrize("pidfds", [True, False])
async def test_the_end_of_a_child_is_seen_with_its_signal(pidfds: bool) -> None:
    with child() as started:
        process = Process(started.pid, open_pidfd(started.pid) if pidfds else None, SystemClock())

        process.signal(signal.SIGTERM)

        assert await process.wait() == Exit(signal=signal.SIGTERM)
        process.close()


async def test_the_exit_code_of_another_s_child_comes_from_whoever_reaps_it() -> None:
    async def reaper(pid: int) -> int | None:
        return 3 << 8

    with child("pass") as started:
        process = Process(started.pid, open_pidfd(started.pid), SystemClock(), reaper)
        await anyio.to_thread.run_sync(started.wait)

        assert await process.wait() == Exit(code=3)
        process.close()


def test_a_process_is_itself_by_its_start_time() -> None:
    me = identity(os.getpid())

    assert me is not None
    assert me == identity(os.getpid())
    with child() as other:
        assert identity(other.pid) != me


def test_a_process_that_only_waits_to_be_reaped_is_dead() -> None:
    with child("pass") as started:
        os.waitid(os.P_PID, started.pid, os.WEXITED | os.WNOWAIT)

        assert not is_alive(started.pid)
        assert identity(started.pid) is None


def test_signals_to_what_has_gone_are_no_error() -> None:
    with child("pass") as started:
        started.wait()

        process = Process(started.pid, None, SystemClock())
        process.signal(signal.SIGTERM)
        process.kill_group()


def test_ends_are_told_in_words() -> None:
    assert decode(9).text == "was killed by SIGKILL"
    assert decode(3 << 8).text == "ended with exit code 3"
    assert decode(None).text == "ended"
    assert signal_name(64 + 3) == "signal 67"
