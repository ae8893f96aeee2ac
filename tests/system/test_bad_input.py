"""What does a person hear who sends nonsense, has no right, or whose code breaks, and what does it cost the others?

One router for all of them: after each, its processes are accounted for and the endpoint next door answers.
"""

import os
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from glowplug.control_client import Control
from glowplug.settings import Home
from glowplug_packager.publishers.router import RouterPublisher
from glowplug_packager.release import prepare
from system.place import (
    Answer,
    Place,
    at_once,
    is_alive,
    memory_peak,
    place,
    processes_of,
    reading,
    refused,
    until,
)

MIB = 1 << 20
OBJECTS_SIZE = 8 * MIB

APP = """
import anyio, os, signal
from glowplug import Scale, Timeouts, endpoint

one = Scale(max=1)

@endpoint(examples=[{"name": "Ada"}])
def greet(name: str, times: int = 1) -> str:
    return f"hello {name}" * times

@endpoint(concurrency=4)
def raises(what: str) -> str:
    raise LookupError(f"no {what} here")

@endpoint
def dies() -> int:
    os.kill(os.getpid(), signal.SIGKILL)
    return 1

@endpoint
def odd() -> object:
    return object()

@endpoint(timeout=Timeouts(run="1s"), scale=one)
def spins(ever: bool) -> int:
    while ever:
        pass
    return os.getpid()

@endpoint(timeout=Timeouts(run="1s"), scale=one)
async def waits(ever: bool) -> int:
    if ever:
        await anyio.sleep_forever()
    return os.getpid()

@endpoint(timeout=Timeouts(run="1s"), scale=one)
async def blocks(ever: bool) -> int:
    while ever:
        pass
    return os.getpid()

@endpoint(memory="150MB", scale=one)
def eats(mebibytes: int) -> int:
    return len(b"x" * (mebibytes << 20))
"""

SHOP = """
from glowplug import endpoint
{before}
@endpoint(examples=[{{"n": 1}}])
def price(n: int) -> str:
    return "{name}"
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder whose objects lie on a disk of their own, where this machine lets us make one."""
    folder = tmp_path_factory.mktemp("bad")
    objects = folder / "home" / "router" / "objects"
    objects.mkdir(parents=True)
    disk = ["mount", "-t", "tmpfs", "-o", f"size={OBJECTS_SIZE}", "none", str(objects)]
    mounted = subprocess.run(disk, capture_output=True, check=False).returncode == 0
    yield folder
    if mounted:
        subprocess.run(["umount", "--lazy", str(objects)], check=True)


@pytest.fixture(scope="module")
def shared(folder: Path) -> Iterator[Place]:
    with place(folder) as here:
        here.deploy("bad", APP)
        here.deploy("shop", SHOP.format(before="", name="first"))
        yield here


@pytest.fixture
def router(shared: Place) -> Iterator[Place]:
    """The shared router, whole again after the test."""
    yield shared
    shared.settle()
    assert shared.answers("/bad/greet", {"name": "Ada"}) == "hello Ada"
    assert len(shared.daemons()) == 4


# -- what is sent ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "status", "code", "said"),
    [
        (b'{"name": "Ada"', 400, "invalid_json", ""),
        (b"\xff\xfe", 400, "invalid_json", ""),
        (b"", 422, "invalid_request", "name"),
        ([1, 2], 422, "invalid_request", "object"),
        ({}, 422, "invalid_request", "name"),
        ({"name": "Ada", "tims": 2}, 422, "invalid_request", "tims"),
        ({"name": 7}, 422, "invalid_request", "name"),
        ({"name": "Ada", "times": "two"}, 422, "invalid_request", "times"),
    ],
)
def test_a_body_that_does_not_fit_is_refused_before_anything_runs(
    router: Place, body: Any, status: int, code: str, said: str
) -> None:
    problem = refused(router.send("/bad/greet", body), status, code, "no")

    assert said in str(problem)


def test_a_content_type_that_no_endpoint_takes_is_refused(router: Place) -> None:
    answer = router.send("/bad/greet", b"<a/>", {"content-type": "application/xml"})

    refused(answer, 415, "unsupported_media_type", "no")


def test_a_body_of_100_mib_is_refused_before_it_is_read(router: Place) -> None:
    gateway = router.daemons()["gateway"]
    before = memory_peak(gateway)
    with router.announce("/bad/greet", 100 * MIB) as sock:
        problem = refused(Answer.of(reading(sock)), 413, "too_large", "no")

    taken = 0
    with router.announce("/bad/greet", 100 * MIB) as sock:
        try:
            while taken < 100 * MIB:
                taken += sock.send(b"x" * MIB)
        except OSError:
            pass  # the router hung up, which is what this is about

    assert "--body-limit" in problem["hint"]
    assert memory_peak(gateway) - before < 8 * MIB, taken


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("/nobody/greet", "not_found"),
        ("/bad/great", "not_found"),
        ("/bad/greet@v99", "version_not_found"),
        ("/-/api/apps/nobody", "not_found"),
        ("/-/api/nothing", "not_found"),
    ],
)
def test_what_is_not_there_is_said_so(router: Place, path: str, code: str) -> None:
    method = "GET" if "api" in path else "POST"

    refused(router.send(path, {"name": "Ada"}, method=method), 404, code, "no")


def test_another_method_is_refused(router: Place) -> None:
    refused(router.send("/bad/greet", method="PUT"), 405, "method_not_allowed", "no")


# -- who sends it ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("key", ["", "Bearer", "Bearer gp_nobody_secret", "Basic Zm9vOmJhcg=="])
@pytest.mark.parametrize("path", ["/bad/greet", "/-/api/keys", "/nobody/greet"])
def test_without_a_valid_key_nothing_is_told(router: Place, path: str, key: str) -> None:
    answer = router.send(path, {"name": "Ada"}, {"authorization": key})

    refused(answer, 401, "unauthorized", "no")
    assert answer.headers["www-authenticate"].startswith("Bearer")


def test_a_key_opens_what_its_scopes_name_and_nothing_else(router: Place) -> None:
    made = router.api("/keys", "POST", {"name": "narrow", "scopes": ["invoke:bad/greet"]})
    headers = {"authorization": f"Bearer {made['key']}"}

    assert router.send("/bad/greet", {"name": "Ada"}, headers).status == 200
    refused(router.send("/shop/price", {"n": 1}, headers), 403, "forbidden", "no")
    refused(router.send("/-/api/keys", None, headers, "GET"), 403, "forbidden", "no")
    refused(router.send("/-/api/apps/bad/stop", {}, headers), 403, "forbidden", "no")


def test_a_revoked_key_ends_within_5_seconds(router: Place) -> None:
    made = router.api("/keys", "POST", {"name": "short", "scopes": ["invoke:*"]})
    headers = {"authorization": f"Bearer {made['key']}"}
    until(lambda: router.send("/bad/greet", {"name": "Ada"}, headers).status == 200, 5)

    router.api(f"/keys/{made['id']}", "DELETE")
    until(lambda: router.send("/bad/greet", {"name": "Ada"}, headers).status == 401, 5)

    refused(router.send("/bad/greet", {"name": "Ada"}, headers), 401, "unauthorized", "no")


def test_an_expired_key_ends_by_itself(router: Place) -> None:
    made = router.api("/keys", "POST", {"name": "x", "scopes": ["invoke:*"], "expires_s": 1})
    headers = {"authorization": f"Bearer {made['key']}"}

    until(lambda: router.send("/bad/greet", {"name": "Ada"}, headers).status == 401, 5)
    refused(router.send("/bad/greet", {"name": "Ada"}, headers), 401, "unauthorized", "no")


# -- code that breaks ------------------------------------------------------------------------------------


def test_only_those_who_deploy_see_the_traceback_of_an_exception(router: Place) -> None:
    made = router.api("/keys", "POST", {"name": "guest", "scopes": ["invoke:bad/*"]})
    guest, cat = {"authorization": f"Bearer {made['key']}"}, {"what": "cat"}
    problem = refused(router.send("/bad/raises", cat, guest), 500, "endpoint_error", "yes")
    owners = refused(router.send("/bad/raises", cat), 500, "endpoint_error", "yes")

    assert "app.py" in owners["exception"]["traceback"]
    assert problem["detail"] == "LookupError: no cat here"
    assert problem["exception"]["qualname"] == "LookupError"
    assert "traceback" not in problem["exception"]
    lines = until(lambda: [one for one in router.log_lines("bad") if "no cat here" in one["text"]])
    assert "app.py" in lines[0]["text"]
    assert problem["request_id"] in {one["request_id"] for one in lines}


def test_an_exception_under_dev_is_told_with_its_traceback(router: Place) -> None:
    file = router.write(
        "desk", SHOP.format(before="", name="desk").replace("return", "assert n == 1; return")
    )
    with Control(router.url, router.key) as control:
        prepared = prepare(file, dev=True, home=Home(router.home))
        publisher = RouterPublisher(control, dev=True)
        publisher.upload(prepared.layers, lambda *_: None)
        assert list(publisher.deploy(prepared.release))[-1]["step"] == "done"

    problem = refused(router.send("/desk/price", {"n": 2}), 500, "endpoint_error", "yes")
    assert f'{file}", line 6' in problem["exception"]["traceback"]


def test_an_answer_that_cannot_be_sent_is_the_endpoints_fault(router: Place) -> None:
    refused(router.send("/bad/odd", {}), 500, "bad_response", "yes")


@pytest.mark.parametrize("endpoint", ["spins", "waits"])
def test_a_handler_that_never_returns_is_cut_and_the_next_call_works(
    router: Place, endpoint: str
) -> None:
    before = router.answers(f"/bad/{endpoint}", {"ever": False})
    begun = time.monotonic()
    refused(router.send(f"/bad/{endpoint}", {"ever": True}), 504, "run_timeout", "yes")
    took = time.monotonic() - begun
    after = router.answers(f"/bad/{endpoint}", {"ever": False})

    assert 0.9 < took < 2.0
    if endpoint == "spins":  # its thread cannot be had back
        assert after != before
        until(lambda: not is_alive(before), what="the replica that spins")


def test_a_handler_that_blocks_its_replicas_loop_is_cut_and_the_replica_replaced(
    router: Place,
) -> None:
    before = router.answers("/bad/blocks", {"ever": False})
    begun = time.monotonic()
    refused(router.send("/bad/blocks", {"ever": True}), 504, "run_timeout", "maybe")
    took = time.monotonic() - begun

    assert took < 2.5
    until(lambda: router.send("/bad/blocks", {"ever": False}).status == 200, what="another replica")
    assert not is_alive(before)


def test_a_rank_that_dies_under_a_call_is_told_and_replaced(router: Place) -> None:
    refused(router.send("/bad/dies", {}), 502, "replica_lost", "maybe")
    refused(router.send("/bad/dies", {}), 502, "replica_lost", "maybe")  # so there was another


def test_a_rank_over_its_memory_dies_alone_and_is_said_to_have(router: Place) -> None:
    assert router.answers("/bad/eats", {"mebibytes": 1}) == MIB
    if not all(one["memory_enforced"] for one in router.replicas("bad", "eats")):
        pytest.skip("this machine does not let us limit memory")
    others = router.ready("bad", "greet")

    calls = [
        lambda: router.send("/bad/eats", {"mebibytes": 600}),
        lambda: router.send("/bad/greet", {"name": "Ada"}),
    ]
    killed, other = at_once(calls)

    refused(killed, 502, "out_of_memory", "maybe")
    failed = until(lambda: failure(router, "eats"), what="the reason")
    assert failed["code"] == "out_of_memory"
    assert "limit is 143 MiB" in failed["detail"]
    assert other.status == 200
    assert router.answers("/bad/eats", {"mebibytes": 1}) == MIB
    assert router.ready("bad", "greet") == others


def failure(router: Place, endpoint: str) -> Any:
    """Return how the last replica of an endpoint failed."""
    shown = {one["endpoint"]: one for one in router.api("/apps/bad")["endpoints"]}
    return shown[endpoint]["versions"][0]["failed"]


# -- deploys that cannot be ------------------------------------------------------------------------------

BREAKS_HERE = "import nobody_has_this"
BREAKS_THERE = 'if "bundles" in __file__:\n    raise OSError("no weights")'


@pytest.mark.parametrize(
    ("before", "said"), [(BREAKS_HERE, "nobody_has_this"), (BREAKS_THERE, "no weights")]
)
def test_code_that_cannot_be_imported_is_not_deployed(
    router: Place, before: str, said: str
) -> None:
    problem = router.refused_deploy("shop", SHOP.format(before=before, name="broken"))

    line = 3 if before == BREAKS_HERE else 4
    assert said in problem["message"]
    assert f'app.py", line {line}' in problem["message"] or f"app.py:{line}" in problem["message"]
    assert router.answers("/shop/price", {"n": 1}) == "first"
    until(lambda: len(router.replicas("shop")) <= 1, what="the end of what was tried")


def test_a_version_that_fails_its_example_is_not_deployed(router: Place) -> None:
    wrong = SHOP.format(before="", name="second").replace('return "second"', "return 1 / 0")
    problem = router.refused_deploy("shop", wrong)

    assert problem["code"] == "start_failed"
    assert "division by zero" in problem["message"]
    assert router.answers("/shop/price", {"n": 1}) == "first"
    until(lambda: len(router.replicas("shop")) <= 1, what="the end of what was tried")


def test_a_full_disk_fails_the_deploy_alone(router: Place) -> None:
    objects = router.home / "router" / "objects"
    if not os.path.ismount(objects):
        pytest.skip("this machine does not let us make a small disk")
    source = SHOP.format(before="", name="large")
    router.write("large", source).with_name("weights.bin").write_bytes(os.urandom(OBJECTS_SIZE))

    problem = router.refused_deploy("large", source)

    assert problem["code"] == "disk_full"
    assert problem["status"] == 507
    assert router.answers("/shop/price", {"n": 1}) == "first"
    assert not [one for one in objects.rglob("*") if one.name.startswith(".part")]
    (router.sources / "large" / "weights.bin").unlink()
    assert router.deploy("large", source)["generation"] == 1
    assert router.answers("/large/price", {"n": 1}) == "large"


def test_a_locked_store_fails_the_deploy_alone(router: Place) -> None:
    database = router.home / "router" / "router.db"
    with closing(sqlite3.connect(database, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        begun = time.monotonic()
        problem = router.refused_deploy("locked", SHOP.format(before="", name="later"))
        took = time.monotonic() - begun
        calls = [router.send("/bad/greet", {"name": "Ada"}).status for _ in range(20)]
        other.execute("ROLLBACK")

    assert problem["code"] == "store_locked"
    assert took < 10
    assert calls == [200] * 20
    assert router.deploy("locked", SHOP.format(before="", name="later"))["generation"] == 1


def test_a_port_that_is_taken_is_said_so_and_nothing_stays(router: Place, tmp_path: Path) -> None:
    second = Place(tmp_path / "home", tmp_path)
    done = second.glowplug("up", "--detach", "--port", str(router.port))

    assert done.returncode != 0
    assert f"port {router.port} of 127.0.0.1 is taken" in done.stderr
    assert "--port 0" in done.stderr
    assert not processes_of(second.home)
