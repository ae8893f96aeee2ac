"""Are the five promises of docs/promises.md kept? One part of this file for each, against a router that really runs."""

import os
import random
import signal
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator
from functools import partial

import pytest

from glowplug_router.dispatch import QUEUE_PER_PERMIT
from system.place import WAIT_S, Answer, Place, at_once, is_alive, kill, place, reading, until

APP = """
import os, time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
import anyio
from glowplug import Scale, Timeouts, endpoint, on

HOME = Path(os.environ["GLOWPLUG_HOME"])
kept = Scale(min=1, max=1)

def note(text):
    with (HOME / "notes").open("a") as file:
        file.write(f"{text} {time.time():.6f}\\n")

@endpoint(scale=kept, concurrency=8)
async def sleeps(mark: str, seconds: float) -> str:
    note(mark)
    await anyio.sleep(seconds)
    return mark

@endpoint(scale=kept, concurrency=1)
def naps(mark: str, seconds: float) -> str:
    note(mark)
    time.sleep(seconds)
    return mark

@endpoint(scale=kept, concurrency=1)
def crowded(mark: str, seconds: float) -> str:
    time.sleep(seconds)
    return mark

@endpoint(scale=Scale(min=1, max=2), concurrency=2)
def counted(mark: str, seconds: float) -> str:
    note(mark)
    time.sleep(seconds)
    return mark

@endpoint(scale=Scale(min=0, max=1, zero_after="1s"))
class Fragile:
    @on.load
    def load(self):
        if (HOME / "broken").exists():
            raise RuntimeError("the weights are gone")
    def __call__(self, mark: str) -> str:
        note(mark)
        return mark

@endpoint(scale=kept, concurrency=4)
def steps(mark: str, pause_s: float) -> Iterator[int]:
    try:
        for n in range(1000):
            yield n
            time.sleep(pause_s)
    finally:
        note(mark)

@endpoint(scale=kept, concurrency=4)
async def asteps(mark: str, pause_s: float) -> AsyncIterator[int]:
    try:
        for n in range(1000):
            yield n
            await anyio.sleep(pause_s)
    finally:
        note(mark)
"""

SHOP = """
import time
from glowplug import Scale, endpoint
@endpoint(examples=[{{"n": 1}}], scale=Scale(min=1, max=1), concurrency=8)
def which(n: int) -> str:
    time.sleep(0.01)
    return "{name}"
"""

SLACK_S = 1.0  # S1: the answer is there so long after the deadline at the latest


@pytest.fixture(scope="module")
def router(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    with place(tmp_path_factory.mktemp("sync")) as here:
        here.deploy("kept", APP)
        here.deploy("shop", SHOP.format(name="one"))
        yield here


def noted(router: Place) -> dict[str, float]:
    """Return what the code itself wrote down, and when."""
    return {mark: float(at) for mark, _, at in notes(router)}


def runs(router: Place) -> Counter[str]:
    """Return how often each call began to run, as the code itself wrote down."""
    return Counter(mark for mark, _, _ in notes(router))


def notes(router: Place) -> list[tuple[str, str, str]]:
    file = router.home / "notes"
    lines = file.read_text().splitlines() if file.exists() else []
    return [line.rpartition(" ") for line in lines]


def only_rank(router: Place, endpoint: str) -> int:
    ready: dict[str, int] = until(
        lambda: router.ready("kept", endpoint), what=f"a replica of {endpoint}"
    )
    return next(iter(ready.values()))


# -- S1: an answer by the deadline ---------------------------------------------------------------------


def in_time(sock: socket.socket, began: float, deadline_s: float) -> Answer:
    """Return the one answer that comes on a connection, by the deadline and a second, and nothing after it."""
    answer = Answer.of(reading(sock))
    took_s = time.monotonic() - began
    assert took_s <= deadline_s + SLACK_S, (took_s, answer)
    sock.settimeout(0.5)
    try:
        more = sock.recv(1)
    except TimeoutError:
        more = b""
    assert more == b"", "a second answer to one call"
    return answer


def ends(router: Place, endpoint: str, body: object, deadline_s: float) -> Answer:
    began = time.monotonic()
    headers = {"glowplug-deadline": str(deadline_s)}
    with router.open_call(f"/kept/{endpoint}", body, headers) as sock:
        return in_time(sock, began, deadline_s)


@pytest.mark.parametrize("endpoint", ["sleeps", "naps"])
def test_s1_a_handler_that_is_too_slow_is_answered_for(router: Place, endpoint: str) -> None:
    answer = ends(router, endpoint, {"mark": f"s1 {endpoint}", "seconds": 2.5}, 1)

    assert (answer.status, answer.json["code"]) == (504, "deadline")
    assert answer.executed in ("yes", "maybe")


def test_s1_a_call_whose_replica_is_killed_is_answered(router: Place) -> None:
    began = time.monotonic()
    body = {"mark": "s1 killed", "seconds": 30}
    with router.open_call("/kept/sleeps", body, {"glowplug-deadline": "4"}) as sock:
        until(lambda: "s1 killed" in noted(router))
        kill(only_rank(router, "sleeps"))
        answer = in_time(sock, began, 4)

    assert (answer.status, answer.json["code"], answer.executed) == (502, "replica_lost", "maybe")


def test_s1_a_call_whose_replica_is_frozen_is_answered(router: Place) -> None:
    pid = only_rank(router, "sleeps")
    os.kill(pid, signal.SIGSTOP)
    try:
        answer = ends(router, "sleeps", {"mark": "s1 frozen", "seconds": 0}, 1.5)
    finally:
        kill(pid, signal.SIGCONT)

    assert (answer.status, answer.json["code"], answer.executed) == (504, "deadline", "maybe")


def test_s1_calls_in_front_of_a_full_queue_are_answered(router: Place) -> None:
    body = {"mark": "s1 full", "seconds": 1}
    calls = 1 + QUEUE_PER_PERMIT + 20  # one runs, so many wait, and then there is no place
    answers = at_once([partial(ends, router, "crowded", body, 2.0) for _ in range(calls)])
    outcomes = Counter(
        (one.status, one.json["code"] if one.status != 200 else "") for one in answers
    )
    print(f"\nS1: {calls} calls of 1 s each with 2 s to live: {dict(outcomes)}")

    assert set(outcomes) <= {(200, ""), (504, "deadline"), (503, "infeasible"), (429, "overloaded")}
    assert outcomes[200, ""] >= 1
    assert outcomes[504, "deadline"] >= 1
    assert outcomes[429, "overloaded"] >= 1, "the queue was never full"
    assert sum(one.executed != "no" for one in answers) <= 3, "one a second, and one is cut short"
    assert all(int(one.headers["retry-after"]) >= 1 for one in answers if one.status == 429)


def test_s1_a_call_whose_start_fails_is_answered(router: Place) -> None:
    until(lambda: not router.ready("kept", "fragile"), what="the endpoint at zero")
    (router.home / "broken").touch()
    try:
        answer = ends(router, "fragile", {"mark": "s1 broken"}, 3)
    finally:
        (router.home / "broken").unlink()

    assert answer.status in (503, 504), answer
    assert answer.json["code"] in ("start_failed", "deadline"), answer
    assert answer.executed == "no"
    assert "s1 broken" not in noted(router)


def test_s1_a_call_is_answered_when_the_gateway_is_told_to_stop(router: Place) -> None:
    began = time.monotonic()
    body = {"mark": "s1 stop", "seconds": 30}
    with router.open_call("/kept/sleeps", body, {"glowplug-deadline": "3"}) as sock:
        until(lambda: "s1 stop" in noted(router))
        gateway = router.daemons()["gateway"]
        kill(gateway, signal.SIGTERM)
        answer = in_time(sock, began, 3)

    assert (answer.status, answer.json["code"]) == (504, "deadline")
    assert answer.executed in ("yes", "maybe")
    until(lambda: not is_alive(gateway), what="the end of the gateway")
    until(lambda: "gateway" in router.daemons(), what="the next gateway")
    assert router.answers("/kept/sleeps", {"mark": "s1 after", "seconds": 0}) == "s1 after"


# -- S2: the truth about what ran ----------------------------------------------------------------------


def test_s2_no_means_that_it_never_ran_and_yes_that_it_did(router: Place) -> None:
    chance = random.Random(7)
    marks = [f"s2 {n}" for n in range(80)]

    def call(mark: str) -> Answer:
        threading.Event().wait(chance.random() * 3)
        # The long one ends before the test's own patience does: replicas that die in a row start ever later.
        deadline_s = 0.05 + chance.random() if int(mark[3:]) % 3 else 12
        headers = {"glowplug-deadline": f"{deadline_s:.3f}"}
        return router.send("/kept/counted", {"mark": mark, "seconds": 0.1}, headers)

    stop = threading.Event()
    killer = threading.Thread(target=_kill_now_and_then, args=(router, stop))
    killer.start()
    answers = dict(zip(marks, at_once([partial(call, mark) for mark in marks]), strict=True))
    stop.set()
    killer.join()
    ran, begun = noted(router), runs(router)
    said = Counter(one.executed for one in answers.values())
    print(f"\nS2: of {len(marks)} calls under kills and deadlines, executed: {dict(said)}")

    for mark, answer in answers.items():
        attempts = int(answer.headers["glowplug-attempts"])
        assert attempts >= max(begun[mark], answer.executed != "no"), (mark, answer)
        match answer.executed:
            case "no":
                assert mark not in ran, (mark, answer)
            case "yes":
                assert mark in ran, (mark, answer)
            case other:
                assert other == "maybe", answer
    assert said["no"], "nothing was refused: the test has tried too little"
    assert said["yes"]


def _kill_now_and_then(router: Place, stop: threading.Event) -> None:
    for _ in range(5):  # as long as calls come; more would only lengthen the back-off they wait for
        if stop.wait(0.7):
            return
        for pid in router.ready("kept", "counted").values():
            kill(pid)


# -- S4: one version a request ---------------------------------------------------------------------------


def test_s4_each_call_sees_one_version_and_is_told_which(router: Place) -> None:
    seen: Counter[tuple[str, str]] = Counter()
    failed: list[Answer] = []
    stop = threading.Event()

    def call() -> None:
        while not stop.is_set():
            answer = router.send("/shop/which", {"n": 1})
            if answer.status == 200:
                seen[answer.headers["glowplug-version"], answer.json] += 1
            else:
                failed.append(answer)

    threads = [threading.Thread(target=call) for _ in range(4)]
    for thread in threads:
        thread.start()
    try:
        router.deploy("shop", SHOP.format(name="two"))
        router.deploy("shop", SHOP.format(name="three"))
        until(lambda: seen["v3", "three"] > 20, what="answers of the third version")
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    print(f"\nS4: answers by version and code: {dict(seen)}")

    assert set(seen) == {("v1", "one"), ("v2", "two"), ("v3", "three")}
    assert not failed
    pinned = router.send("/shop/which@v3", {"n": 1})
    assert (pinned.headers["glowplug-version"], pinned.json) == ("v3", "three")


# -- S5: whoever goes away is not worked for ---------------------------------------------------------------


@pytest.mark.parametrize("endpoint", ["steps", "asteps"])
def test_s5_a_generator_stops_at_its_next_step_when_its_reader_has_gone(
    router: Place, endpoint: str
) -> None:
    pause_s, took_ms = 0.05, []
    for n in range(5):
        mark = f"s5 {endpoint} {n}"
        with router.open_call(f"/kept/{endpoint}", {"mark": mark, "pause_s": pause_s}) as sock:
            with reading(sock) as lines:
                lines.readline()
            sock.shutdown(socket.SHUT_RDWR)
            left = time.time()
        until(lambda mark=mark: mark in noted(router), 5)  # type: ignore[misc]  # of this round
        took_ms.append((noted(router)[mark] - left) * 1000)
    print(
        f"\nS5: {endpoint} with steps of 50 ms ended {[round(ms) for ms in took_ms]} ms after the reader left"
    )

    assert max(took_ms) < 1000


def test_s5_a_call_that_waits_is_taken_out_when_its_caller_goes(router: Place) -> None:
    with router.open_call("/kept/naps", {"mark": "s5 holder", "seconds": 1.5}) as holder:
        until(lambda: "s5 holder" in noted(router))
        with router.open_call("/kept/naps", {"mark": "s5 leaver", "seconds": 0}):
            until(lambda: _queued(router) == 1, what="a call that waits")
        left = time.monotonic()
        until(lambda: _queued(router) == 0, WAIT_S)
        took_ms = (time.monotonic() - left) * 1000
        assert Answer.of(reading(holder)).status == 200
    print(f"\nS5: a call that waited was gone {took_ms:.0f} ms after its caller, as seen over HTTP")
    assert router.answers("/kept/naps", {"mark": "s5 next", "seconds": 0}) == "s5 next"

    assert "s5 leaver" not in noted(router)
    assert took_ms < 500


def _queued(router: Place) -> int:
    text = router.send("/metrics", method="GET").body.decode()
    values = (
        float(line.rpartition(" ")[2])
        for line in text.splitlines()
        if line.startswith("glowplug_queued_calls{") and 'endpoint="naps"' in line
    )
    return int(sum(values))
