"""Is every promise kept that docs/concepts.md makes to a caller, and to whoever deploys?"""

import json
import subprocess
import time
from collections.abc import Iterator
from functools import partial

import pytest

from system.place import GLOWPLUG, Place, at_once, kill, place, reading, refused, until

SECRET = "correct-horse-battery-staple"

APP = """
import os, time
from collections.abc import AsyncIterator
from pathlib import Path
import anyio
from glowplug import Scale, endpoint
from glowplug.errors import CallError

one = Scale(max=1)
NOTES = Path(os.environ["GLOWPLUG_HOME"]) / "notes"

def note(text):
    with NOTES.open("a") as file:
        file.write(text + "\\n")

@endpoint(examples=[{"n": 1}])
async def echo(n: int) -> int:
    print("echo was asked for", n)
    return n

@endpoint
async def sleeps(mark: str, seconds: float) -> str:
    note(f"{mark} began")
    try:
        await anyio.sleep(seconds)
        return mark
    finally:
        note(f"{mark} ended")

@endpoint(scale=one, concurrency=1)
def naps(seconds: float) -> str:
    time.sleep(seconds)
    return "awake"

@endpoint
async def counts(mark: str, to: int, pause_s: float) -> AsyncIterator[dict[str, int]]:
    try:
        for n in range(to):
            yield {"n": n}
            await anyio.sleep(pause_s)
    finally:
        note(f"{mark} stopped")

def heard(call, deep):
    # what a nested call was answered, or told
    try:
        return call.remote(deep - 1) if deep else []
    except CallError as error:
        return [error.code, error.executed, error.hint]

@endpoint(scale=one, concurrency=1)
def calls_itself(deep: int) -> list[str]:
    return heard(calls_itself, deep)

@endpoint(scale=one, concurrency=1)
def to_there(deep: int) -> list[str]:
    return heard(and_back, deep)

@endpoint(scale=one, concurrency=1)
def and_back(deep: int) -> list[str]:
    return heard(to_there, deep)

@endpoint(scale=one, concurrency=20)
def deeper(deep: int) -> list[str]:
    return heard(deeper, deep)

@endpoint(scale=one, concurrency=1)
def lets_through(deep: int) -> int:
    return lets_through.remote(deep - 1) if deep else 0

@endpoint
async def hurries(mark: str) -> str:
    return await sleeps.aremote(mark, 30)

@endpoint(secrets=["BANK"])
def knows() -> int:
    return len(os.environ["BANK"])

@endpoint(scale=Scale(max=1, hold=2, zero_after="0s"))
class Late:
    def __init__(self) -> None:
        time.sleep(1)

    def __call__(self) -> int:
        return 1
"""

SHOP = """
{before}
from glowplug import Scale, endpoint, on
@endpoint(examples=[{{"n": 1}}], scale=Scale(min=1))
class Price:
    @on.load
    def load(self):
        {load}
    def __call__(self, n: int) -> str:
        return "{name}"
"""


@pytest.fixture(scope="module")
def router(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    with place(tmp_path_factory.mktemp("promises")) as here:
        here.run("secrets", "set", "BANK", stdin=SECRET)
        here.deploy("kept", APP)
        here.deploy("shop", shop("first"))
        yield here


def shop(name: str, load: str = "pass", before: str = "") -> str:
    return SHOP.format(name=name, load=load, before=before)


def notes(router: Place) -> list[str]:
    file = router.home / "notes"
    return file.read_text().splitlines() if file.exists() else []


# -- time and waiting ------------------------------------------------------------------------------------


def test_a_client_that_goes_away_cancels_its_call(router: Place) -> None:
    sock = router.open_call("/kept/sleeps", {"mark": "gone", "seconds": 30})
    until(lambda: "gone began" in notes(router))

    sock.close()

    until(lambda: "gone ended" in notes(router), 1.0)
    router.settle()


@pytest.mark.parametrize(
    "header",
    [{"glowplug-deadline": "0.5"}, {"prefer": "wait=1"}],
    ids=["Glowplug-Deadline", "Prefer"],
)
def test_a_callers_own_limit_ends_the_call(router: Place, header: dict[str, str]) -> None:
    begun = time.monotonic()
    answer = router.send("/kept/sleeps", {"mark": str(header), "seconds": 30}, header)

    refused(answer, 504, "deadline", "yes")
    assert time.monotonic() - begun < 2
    until(lambda: f"{header} ended" in notes(router), 1.0)


def test_a_thread_that_outlives_its_callers_deadline_makes_the_next_call_wait_and_no_more(
    router: Place,
) -> None:
    late = router.send("/kept/naps", {"seconds": 1.5}, {"glowplug-deadline": "0.3"})
    refused(late, 504, "deadline", "yes")

    begun = time.monotonic()
    assert router.answers("/kept/naps", {"seconds": 0}) == "awake"
    assert 0.5 < time.monotonic() - begun < 3


def test_a_nested_call_inherits_the_deadline_that_is_left(router: Place) -> None:
    begun = time.monotonic()
    answer = router.send("/kept/hurries", {"mark": "nested"}, {"glowplug-deadline": "0.7"})

    assert answer.status == 504, answer
    assert time.monotonic() - begun < 2
    until(lambda: "nested ended" in notes(router), 1.0)


def test_as_many_calls_as_hold_says_wait_for_the_first_replica_and_the_rest_are_told_when_to_come_back(
    router: Place,
) -> None:
    until(lambda: not router.replicas("kept", "late"), what="late at zero")

    answers = at_once([partial(router.send, "/kept/late", {})] * 8)

    served = [one for one in answers if one.status == 200]
    turned_away = [one for one in answers if one.status != 200]
    assert len(served) == 2
    for one in turned_away:
        refused(one, 429, "hold_full", "no")
        assert int(one.headers["retry-after"]) >= 1
    assert served[0].headers["glowplug-cold"] == "1"


@pytest.mark.parametrize(("endpoint", "deep"), [("calls-itself", 1), ("to-there", 2)])
def test_a_call_that_could_only_wait_for_itself_is_refused(
    router: Place, endpoint: str, deep: int
) -> None:
    assert router.answers(f"/kept/{endpoint}", {"deep": deep - 1}) == []

    begun = time.monotonic()
    code, executed, hint = router.answers(f"/kept/{endpoint}", {"deep": deep})

    assert (code, executed) == ("deadlock", "no")
    assert "scale.max" in hint
    assert time.monotonic() - begun < 2
    assert router.answers(f"/kept/{endpoint}", {"deep": 0}) == []  # its permit is free again


def test_a_chain_is_eight_endpoints_deep_at_most(router: Place) -> None:
    assert router.answers("/kept/deeper", {"deep": 7}) == []
    code, executed, hint = router.answers("/kept/deeper", {"deep": 8})

    assert (code, executed) == ("too_deep", "no")
    assert "8" in hint


def test_an_error_of_a_nested_call_that_nobody_catches_is_the_endpoints_own(router: Place) -> None:
    answer = router.send("/kept/lets-through", {"deep": 1})
    problem = refused(answer, 500, "endpoint_error", "yes")

    assert problem["exception"]["qualname"] == "DeadlockError"
    assert "only calls that wait for this one" in problem["detail"]
    assert "scale.max" in problem["hint"]


# -- streams ---------------------------------------------------------------------------------------------


def test_a_generator_streams_lines_or_events_as_they_come(router: Place) -> None:
    body = {"mark": "streamed", "to": 3, "pause_s": 0.3}
    begun = time.monotonic()
    accept = {"accept": "application/x-ndjson"}
    with router.open_call("/kept/counts", body, accept) as sock, reading(sock) as lines:
        first = lines.readline()
        first_s = time.monotonic() - begun
        rest = lines.read().splitlines()
    events = router.send("/kept/counts", body, {"accept": "text/event-stream"})

    assert first_s < 0.5
    told = [json.loads(line) for line in (first, *rest)]
    assert [one["data"] for one in told if one["event"] == "output"] == [{"n": n} for n in range(3)]
    assert told[-1]["event"] == "done"
    assert lines.headers["content-type"] == "application/x-ndjson"
    assert lines.headers["glowplug-executed"] == "yes"
    assert events.headers["content-type"].startswith("text/event-stream")
    shown = [line for line in events.body.splitlines() if line.startswith(b"data:")]
    assert [json.loads(line[5:]) for line in shown[:3]] == [{"n": n} for n in range(3)]


def test_a_reader_that_goes_away_stops_the_generator(router: Place) -> None:
    body = {"mark": "unread", "to": 1000, "pause_s": 0.05}
    with router.open_call("/kept/counts", body) as sock, reading(sock) as lines:
        lines.readline()

    until(lambda: "unread stopped" in notes(router), 1.0)


# -- what is seen ----------------------------------------------------------------------------------------


def test_a_secret_is_in_its_ranks_environment_and_nowhere_else(router: Place) -> None:
    assert router.answers("/kept/knows", {}) == len(SECRET)

    listed = [
        router.send(f"/-/api{path}", method="GET").body for path in ("/apps", "/secrets", "/nodes")
    ]
    kept_in = [
        file.relative_to(router.home).as_posix()
        for file in router.home.rglob("*")
        if file.is_file() and SECRET.encode() in file.read_bytes()
    ]

    assert not any(SECRET.encode() in one for one in listed)
    assert kept_in == ["router/secrets.json"]
    assert (router.home / "router" / "secrets.json").stat().st_mode & 0o077 == 0


def test_what_code_prints_is_found_by_its_request_id(router: Place) -> None:
    answer = router.send("/kept/echo", {"n": 4711})
    router.answers("/kept/echo", {"n": 4712})
    request = answer.headers["x-request-id"]

    lines = until(lambda: router.run("logs", request))
    said = [line["text"] for line in lines]
    assert "echo was asked for 4711" in said
    assert "echo was asked for 4712" not in said
    assert {line["request_id"] for line in lines} == {request}


def test_a_request_id_of_the_callers_own_is_kept(router: Place) -> None:
    answer = router.send("/kept/echo", {"n": 1}, {"x-request-id": "my-own-id-0001"})

    assert answer.headers["x-request-id"] == "my-own-id-0001"
    assert answer.executed == "yes"
    assert answer.headers["glowplug-version"] == "v1"


# -- deploys ---------------------------------------------------------------------------------------------


def test_a_policy_restarts_nothing(router: Place) -> None:
    before = (
        router.ready("kept", "echo")
        or (router.answers("/kept/echo", {"n": 1}), router.ready("kept", "echo"))[1]
    )

    router.run("scale", "kept/echo", "--min", "1", "--max", "2", "--zero-after", "1h")

    assert router.api("/apps/kept")["generation"] == 1
    assert router.answers("/kept/echo", {"n": 1}) == 1
    assert router.ready("kept", "echo") == before


def test_deploying_the_same_again_makes_no_version_and_restarts_nothing(router: Place) -> None:
    before = router.api("/apps/shop")["generation"], router.ready("shop")
    router.deploy("shop", shop("first"))

    assert (router.api("/apps/shop")["generation"], router.ready("shop")) == before
    assert router.send("/shop/price", {"n": 1}).headers["glowplug-version"] == "v1"


HALF_WAY = "import time\n        time.sleep(2)"


def start_deploy(router: Place, name: str) -> "subprocess.Popen[bytes]":
    """Begin a deploy whose new version takes two seconds to load, and wait until it does."""
    file = router.write("shop", shop(name, HALF_WAY))
    deploy = subprocess.Popen(
        [*GLOWPLUG, "deploy", str(file)], env=router.env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )  # fmt: skip  # one call, one line
    until(lambda: any(one.get("doing") == "loading" for one in router.replicas("shop")))
    return deploy


def converged(router: Place) -> bool:
    """Say whether all that runs of the shop is ready and of one version: the one with traffic."""
    shown = router.api("/apps/shop")["endpoints"][0]["versions"]
    return [one["permille"] for one in shown if one["replicas"]] == [1000] and all(
        replica["state"] == "ready" for one in shown for replica in one["replicas"]
    )


def test_a_deploy_whose_client_is_killed_leaves_the_old_version_and_no_replica(
    router: Place,
) -> None:
    before = router.answers("/shop/price", {"n": 1})
    deploy = start_deploy(router, "of a killed client")
    deploy.kill()
    deploy.wait()

    assert router.answers("/shop/price", {"n": 1}) == before
    until(lambda: converged(router))
    assert router.answers("/shop/price", {"n": 1}) == before
    router.settle()


def test_a_deploy_whose_controller_is_killed_leaves_the_old_version_and_no_replica(
    router: Place,
) -> None:
    before = router.answers("/shop/price", {"n": 1})
    deploy = start_deploy(router, "of a killed controller")
    kill(router.daemons()["controller"])

    assert router.answers("/shop/price", {"n": 1}) == before
    assert deploy.wait(20) != 0
    until(lambda: router.send("/-/api/apps", method="GET").status == 200)
    until(lambda: converged(router))
    assert router.answers("/shop/price", {"n": 1}) == before
    router.settle()


def test_after_an_interrupted_deploy_the_same_deploy_works(router: Place) -> None:
    done = router.deploy("shop", shop("of a killed client", HALF_WAY))

    assert router.answers("/shop/price", {"n": 1}) == "of a killed client"
    assert done["generation"] == router.api("/apps/shop")["generation"]


def test_a_rollback_is_the_version_of_before_as_it_was(router: Place) -> None:
    router.deploy("shop", shop("another"))
    assert router.answers("/shop/price", {"n": 1}) == "another"

    router.run("rollback", "shop")

    assert router.answers("/shop/price", {"n": 1}) != "another"
    until(lambda: converged(router))


def test_a_stopped_app_says_so_and_comes_back(router: Place) -> None:
    router.deploy("brief", shop("brief"))
    router.run("stop", "brief")

    refused(router.send("/brief/price", {"n": 1}), 503, "stopped", "no")
    until(lambda: not router.replicas("brief"))
    router.settle()
    router.deploy("brief", shop("brief"))
    assert router.answers("/brief/price", {"n": 1}) == "brief"
