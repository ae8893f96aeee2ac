"""Do the small parts of a rank keep their promises: windows, threads, swapped modules, failures?"""

import asyncio  # noqa: TID251  # what is tested belongs to the transports
import sys
import threading
from itertools import pairwise
from pathlib import Path

import anyio
import anyio.lowlevel
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from glowplug.errors import InvalidRequestError
from glowplug.wire.messages import unpack_failure
from glowplug.worker.compute import Compute, Outbox, UserCodeExit
from glowplug.worker.failures import fault, fault_of, said
from glowplug.worker.program import SwappedModules, is_local, third_party
from glowplug.worker.streaming import JOIN_MAX, _joined
from glowplug.worker.window import WINDOW, Closed, LoopWindow, ThreadWindow


def test_a_thread_window_gives_what_is_left_and_never_more() -> None:
    window = ThreadWindow()
    assert window.take(10) == 10
    assert window.take(WINDOW) == WINDOW - 10
    window.credit(5)
    assert window.take(WINDOW) == 5
    window.credit(10 * WINDOW)
    assert window.take(10 * WINDOW) == WINDOW
    window.close()
    with pytest.raises(Closed):
        window.take(1)


def test_a_full_thread_window_waits_for_credit() -> None:
    window, taken = ThreadWindow(), []
    window.take(WINDOW)
    thread = threading.Thread(target=lambda: taken.append(window.take(7)))
    thread.start()
    window.credit(7)
    thread.join(10)

    assert taken == [7]


async def test_a_full_loop_window_waits_for_credit_or_its_end() -> None:
    window, taken = LoopWindow(), []
    assert await window.take(2 * WINDOW) == WINDOW

    async def take() -> None:
        taken.append(await window.take(7))
        with pytest.raises(Closed):
            await window.take(1)

    async with anyio.create_task_group() as group:
        group.start_soon(take)
        await anyio.lowlevel.checkpoint()
        window.credit(3)
        await anyio.lowlevel.checkpoint()
        window.close()
    assert taken == [3]


async def test_a_loop_window_is_taken_at_once_only_when_all_fits() -> None:
    window = LoopWindow()
    assert window.has(WINDOW - 1)
    assert not window.has(2)
    assert window.has(1)
    window.credit(5)
    window.close()
    assert not window.has(1)


@given(st.lists(st.integers(1, 2 * JOIN_MAX), min_size=1, max_size=30))
def test_pieces_that_are_joined_lose_nothing_and_stay_short(sizes: list[int]) -> None:
    pieces = [bytes([number % 256]) * size for number, size in enumerate(sizes)]
    made = list(_joined(pieces))

    assert b"".join(made) == b"".join(pieces)
    assert all(len(one) <= JOIN_MAX or one in pieces for one in made)
    assert all(len(left) + len(right) > JOIN_MAX for left, right in pairwise(made))


async def test_work_runs_on_one_thread_and_everything_it_raises_comes_back() -> None:
    compute = Compute(Outbox(asyncio.get_running_loop()), 1)
    idents = {await compute.prepare(threading.get_ident) for _ in range(3)}
    assert len(idents) == 1
    assert threading.get_ident() not in idents

    with pytest.raises(ZeroDivisionError):
        await compute.run(lambda: 1 // 0)
    with pytest.raises(UserCodeExit) as caught:
        await compute.run(sys.exit)
    assert isinstance(caught.value.__cause__, SystemExit)
    assert compute.idle
    compute.stop()


async def test_no_more_threads_run_than_there_are_permits() -> None:
    compute = Compute(Outbox(asyncio.get_running_loop()), 2)
    together = threading.Barrier(2)
    idents: set[int] = set()

    def meet() -> None:
        idents.add(threading.get_ident())
        together.wait()

    async with anyio.create_task_group() as group:
        for _ in range(
            4
        ):  # two by two: a third thread would leave one of them alone at the barrier
            group.start_soon(compute.run, meet)
    assert len(idents) == 2
    compute.stop()


def test_modules_are_imported_again_from_the_new_folder_and_the_old_ones_come_back(
    tmp_path: Path,
) -> None:
    before = list(sys.path)
    for version in ("old", "new"):
        (tmp_path / version).mkdir()
        (tmp_path / version / "swapped_sample.py").write_text(f"which = {version!r}\n")
    sys.path.insert(0, str(tmp_path / "old"))
    import swapped_sample  # type: ignore[import-not-found]  # written a moment ago

    assert swapped_sample.which == "old"
    assert is_local(swapped_sample, str(tmp_path / "old"))
    assert "swapped_sample" not in third_party(str(tmp_path / "old"))
    swap = SwappedModules(str(tmp_path / "old"), str(tmp_path / "new"))
    import swapped_sample

    assert swapped_sample.which == "new"
    swap.undo()
    import swapped_sample

    assert swapped_sample.which == "old"
    del sys.modules["swapped_sample"]
    sys.path[:] = before


def test_modules_for_a_zygote_are_neither_ours_nor_the_standard_library() -> None:
    found = third_party("/nowhere")

    assert {"msgspec", "anyio"} <= set(found)
    assert not {"glowplug", "sys", "asyncio", "__main__"} & set(found)


def test_a_failure_says_what_happened_and_whether_it_may_have_run() -> None:
    busy = fault("busy", "all taken", "no", "r1")
    failure, problem = unpack_failure(busy.meta), msgspec.json.decode(busy.body)
    assert (failure.code, failure.executed, failure.retryable, busy.status) == (
        "busy",
        "no",
        True,
        503,
    )
    assert (problem["request_id"], problem["executed"], problem["phase"]) == ("r1", "no", "queue")

    unfit = fault_of(InvalidRequestError("x: missing"), "decode", "r1", show=False)
    assert (unfit.code, unfit.executed, unfit.status) == ("invalid_request", "no", 422)
    nested = fault_of(InvalidRequestError("x: missing"), "run", "r1", show=False)
    assert (nested.code, nested.executed) == ("endpoint_error", "yes")


def test_an_exception_without_words_is_named_by_its_class() -> None:
    class SilentError(Exception):
        def __str__(self) -> str:
            raise RuntimeError

    assert said(ValueError()) == "ValueError"
    assert said(ValueError("x" * 5000)) == "ValueError: " + "x" * 1988
    assert said(SilentError()).endswith("(its text cannot be had)")
