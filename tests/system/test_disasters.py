"""Does everybody get an answer, and does everything come back, when things go as wrong as they can?

The kills of single processes are in test_survival; here are clients that misbehave, replicas that die or freeze in the
middle of their work, crowds, and time that stands still.
"""

import json
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import pytest

from system.place import Answer, Place, at_once, is_alive, kill, load, place, reading, until

APP = """
import os, threading, time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
import anyio
from glowplug import Batch, Scale, endpoint, on

HOME = Path(os.environ["GLOWPLUG_HOME"])

def note(text):
    with (HOME / "notes").open("a") as file:
        file.write(text + "\\n")

@endpoint(scale=Scale(min=1, max=1), concurrency=64)
async def warm(n: int) -> int:
    return n

@endpoint(scale=Scale(min=1, max=1), concurrency=8)
async def sleeps(mark: str, seconds: float) -> str:
    note(f"{mark} began")
    try:
        await anyio.sleep(seconds)
        return mark
    finally:
        note(f"{mark} ended")

@endpoint(scale=Scale(min=1, max=1), concurrency=8)
def counts(to: int, pause_s: float) -> Iterator[dict[str, int]]:
    for n in range(to):
        yield {"pid": os.getpid(), "n": n}
        time.sleep(pause_s)

@endpoint(scale=Scale(min=1, max=1), concurrency=4)
def floods(chunks: int) -> Iterator[bytes]:
    for _ in range(chunks):
        yield b"x" * 65536

@endpoint(batch=Batch(max=8), scale=Scale(min=1, max=1))
def together(n: list[int]) -> list[int]:
    note(f"batch of {len(n)}")
    time.sleep(0.05)
    if 13 in n:
        os.kill(os.getpid(), 9)
    return [os.getpid()] * len(n)

@endpoint(scale=Scale(max=2, zero_after="1s", hold=100))
class Cold:
    @on.load
    def load(self) -> None:
        note("loaded")
        time.sleep(0.5)

    def __call__(self, n: int) -> int:
        return n
"""
HANG_S = 10  # a rank that answers no PING for so long is killed, docs/architecture.md


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    with place(tmp_path_factory.mktemp("disasters")) as here:
        here.deploy("bad", APP)
        yield here


@pytest.fixture
def router(shared: Place) -> Iterator[Place]:
    """The shared router; whole again after the test, with nothing left of it."""
    until(lambda: len(shared.daemons()) == 4, what="four processes")
    (shared.home / "notes").unlink(missing_ok=True)
    yield shared
    until(lambda: len(shared.daemons()) == 4, what="four processes")
    shared.settle()


def notes(router: Place) -> list[str]:
    file = router.home / "notes"
    return file.read_text().splitlines() if file.exists() else []


def rank_of(router: Place, endpoint: str) -> int:
    """Return the process of an endpoint's one replica."""
    found: dict[str, int] = until(lambda: router.ready("bad", endpoint), what=f"a {endpoint}")
    return next(iter(found.values()))


def events(answer: Answer) -> list[tuple[str, object]]:
    """Return the events of a stream."""
    found = []
    for block in answer.body.decode().strip().split("\n\n"):
        kind, _, data = block.partition("\n")
        found.append((kind.removeprefix("event: "), json.loads(data.removeprefix("data: "))))
    return found


# -- clients that misbehave ------------------------------------------------------------------------------


def test_a_client_that_sends_a_byte_a_second_holds_up_nobody(router: Place) -> None:
    slow = [router.announce("/bad/warm", 1000) for _ in range(50)]
    try:
        with load(router, "/bad/warm", {"n": 1}) as others:
            for _ in range(3):
                for sock in slow:
                    sock.sendall(b" ")
                elapse(0.3)
        assert not others.failed
        assert not others.broken
    finally:
        for sock in slow:
            sock.close()


def test_a_client_that_reads_nothing_stops_its_own_stream_and_nothing_else(router: Place) -> None:
    rank_of(router, "floods")
    gateway = router.daemons()["gateway"]
    sock = router.open_call("/bad/floods", {"chunks": 100_000})
    try:
        until(lambda: sock.recv(1, socket.MSG_PEEK), what="the head")
        with load(router, "/bad/warm", {"n": 1}) as others:
            elapse(0.5)
        assert not others.failed
        fast = router.send("/bad/floods", {"chunks": 2}, {"accept": "application/octet-stream"})
        assert len(fast.body) == 2 * 65536
        held = memory_of(gateway)
        elapse(0.5)
        assert memory_of(gateway) - held < 4 * 1024 * 1024, "the gateway goes on reading for nobody"
    finally:
        sock.close()


def test_a_half_closed_connection_is_a_caller_that_has_gone(router: Place) -> None:
    # The end of what a client sends looks the same whether it still listens or not; taking it for gone stops work
    # that nobody waits for, and a client that wants its answer keeps its side open.
    rank_of(router, "sleeps")
    sock = router.open_call("/bad/sleeps", {"mark": "half", "seconds": 30})
    until(lambda: "half began" in notes(router))
    sock.shutdown(socket.SHUT_WR)

    until(lambda: "half ended" in notes(router), seconds=2)
    sock.close()


# -- replicas that die or freeze in the middle -------------------------------------------------------------


def test_a_rank_killed_in_the_middle_of_a_stream_ends_it_with_an_error_event(router: Place) -> None:
    pid = rank_of(router, "counts")
    sock = router.open_call("/bad/counts", {"to": 1000, "pause_s": 0.05})
    answer = reading(sock)
    first = answer.readline() + answer.readline()
    assert b"output" in first
    kill(pid)
    rest = first + b"\n" + answer.read().lstrip()
    sock.close()

    kind, problem = events(Answer(200, {}, rest))[-1]
    assert kind == "error", rest[-500:]
    assert isinstance(problem, dict)
    assert (problem["code"], problem["executed"]) == ("replica_lost", "maybe")
    assert router.send("/bad/counts", {"to": 1, "pause_s": 0}).status == 200


def test_a_rank_killed_in_the_middle_of_a_batch_tells_every_caller_of_it(router: Place) -> None:
    rank_of(router, "together")
    answers = at_once([
        partial(router.send, "/bad/together", {"n": 13 if n == 5 else n}) for n in range(8)
    ])  # fmt: skip

    lost = [one for one in answers if one.status != 200]
    assert lost
    for one in lost:
        assert (one.json["code"], one.executed) in {
            ("replica_lost", "maybe"),
            ("out_of_memory", "maybe"),
        }, one
    assert router.send("/bad/together", {"n": 1}).status == 200


def test_a_frozen_rank_is_replaced_and_its_callers_are_told(router: Place) -> None:
    pid = rank_of(router, "sleeps")
    sock = router.open_call("/bad/sleeps", {"mark": "frozen", "seconds": 1})
    until(lambda: "frozen began" in notes(router))
    os.kill(pid, signal.SIGSTOP)
    begun = time.monotonic()
    try:
        with load(router, "/bad/warm", {"n": 1}) as others:
            sock.settimeout(3 * HANG_S)
            answer = Answer.of(reading(sock))
        assert (answer.status, answer.executed) == (502, "maybe"), answer
        assert time.monotonic() - begun < 2.5 * HANG_S
        assert not others.failed
        until(lambda: not is_alive(pid))
        assert router.answers("/bad/sleeps", {"mark": "after", "seconds": 0}) == "after"
    finally:
        sock.close()
        kill(pid)


# -- crowds ------------------------------------------------------------------------------------------------


def test_a_crowd_that_wakes_an_endpoint_loads_it_no_more_often_than_it_may_run(
    router: Place,
) -> None:
    until(lambda: not router.replicas("bad", "cold"), what="zero")
    answers = at_once([partial(router.send, "/bad/cold", {"n": n}) for n in range(90)])

    assert [one.json for one in answers] == list(range(90))
    assert 1 <= notes(router).count("loaded") <= 2, "as many as scale.max"


def test_of_a_crowd_larger_than_hold_all_that_may_wait_are_served_and_none_is_lost(
    router: Place,
) -> None:
    until(lambda: not router.replicas("bad", "cold"), what="zero")
    hold, beyond = 100, 20
    with ExitStack() as stack:
        calls = range(hold + beyond)
        socks = [stack.enter_context(router.open_call("/bad/cold", {"n": n})) for n in calls]
        answers = [Answer.of(reading(sock)) for sock in socks]
    served = [(n, one.json) for n, one in enumerate(answers) if one.status == 200]
    refused = [one for one in answers if one.status != 200]

    assert len(served) >= hold
    assert all(n == told for n, told in served)
    assert refused, "more came than may wait, while it loaded"
    for one in refused:
        assert (one.status, one.json["code"], one.executed) == (429, "hold_full", "no"), one
        assert int(one.headers["retry-after"]) >= 1


def test_calls_beyond_hold_are_told_when_to_come_back_and_warm_endpoints_do_not_notice(
    router: Place,
) -> None:
    until(lambda: not router.replicas("bad", "cold"), what="zero")
    with load(router, "/bad/warm", {"n": 1}) as others:
        answers = at_once([partial(router.send, "/bad/cold", {"n": n}) for n in range(300)])

    refused = [one for one in answers if one.status != 200]
    assert refused, "three times what may wait"
    for one in refused:
        assert one.status in (429, 503), one
        assert one.executed == "no"
        assert int(one.headers["retry-after"]) >= 1
    assert not others.failed
    assert not others.broken


# -- time --------------------------------------------------------------------------------------------------


def test_a_machine_that_stood_still_goes_on_with_the_same_replicas(router: Place) -> None:
    # What a suspended machine looks like to everybody on it: all of it stops, and the clock has jumped afterwards.
    ranks = {name: rank_of(router, name) for name in ("warm", "sleeps")}
    frozen = [*router.daemons().values(), *ranks.values()]
    sock = router.open_call("/bad/sleeps", {"mark": "asleep", "seconds": 1})
    until(lambda: "asleep began" in notes(router))
    for pid in frozen:
        os.kill(pid, signal.SIGSTOP)
    elapse(4)
    for pid in frozen:
        os.kill(pid, signal.SIGCONT)

    assert Answer.of(reading(sock)).json == "asleep"
    sock.close()
    assert router.answers("/bad/warm", {"n": 7}) == 7
    assert {name: rank_of(router, name) for name in ranks} == ranks


def elapse(seconds: float) -> None:
    """Let time pass: here that is what happens to the router, not a wait for something."""
    threading.Event().wait(seconds)


def memory_of(pid: int) -> int:
    """Return the memory a process has now, in bytes."""
    pages = Path(f"/proc/{pid}/statm").read_text().split()[1]
    return int(pages) * os.sysconf("SC_PAGESIZE")
