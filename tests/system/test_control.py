"""Does the control API answer over the controller's socket as it would over HTTP?"""

import hashlib
import json
from pathlib import Path

import anyio
import pytest

from glowplug import profiles
from glowplug.clock import SystemClock
from glowplug.errors import CallError
from glowplug.wire.channel import dial_channel
from glowplug.wire.messages import Hello, Infer
from glowplug_router.app import load_world
from glowplug_router.control.api import calls
from glowplug_router.control.api_apps import _steps
from glowplug_router.control.parts import Parts
from glowplug_router.control.payloads import Payloads
from glowplug_router.control.routing import Call
from glowplug_router.control.secrets import FileSecrets
from glowplug_router.control.steps import Step
from glowplug_router.control.trials import Tell
from glowplug_router.objects.memory import MemoryObjects
from glowplug_router.providers.local import LocalProvider
from glowplug_router.records.stored import Deployment
from glowplug_router.store.memory import MemoryStore
from system.control_rig import deploy, release, rig

# -- who may ------------------------------------------------------------------------------------------


def parts_for_a_census(tmp_path: Path) -> Parts:
    world = anyio.run(load_world, MemoryStore())
    objects, secrets = MemoryObjects(), FileSecrets(tmp_path / "s")
    provider = LocalProvider(objects, secrets)
    return Parts(
        world=world,
        store=MemoryStore(),
        objects=objects,
        secrets=secrets,
        provider=provider,
        clock=SystemClock(),
    )


def test_every_call_declares_a_scope_and_every_documented_call_is_there(tmp_path: Path) -> None:
    all_calls = all_calls_of(parts_for_a_census(tmp_path))
    kinds = {"read", "deploy", "admin", "invoke"}

    assert all(call.scope.partition(":")[0] in kinds for call in all_calls)
    assert len({(call.method, call.path) for call in all_calls}) == len(all_calls)
    page = (Path(__file__).parents[2] / "docs" / "architecture.md").read_text()
    for call in all_calls:
        assert f"{call.method} {call.path}".split("{")[0] in page, call


async def test_every_call_is_refused_without_a_key_and_with_a_key_of_another_scope(
    tmp_path: Path,
) -> None:
    async with rig(tmp_path) as it:
        made = await it.ask("POST", "/keys", b'{"name": "caller", "scopes": ["invoke:*"]}')
        weak = made.json["key"]
        for call in all_calls_of(parts_in_thread(tmp_path)):
            path = call.path.format(
                app="hello", endpoint="greet", digest="sha256:x", id="x", name="X"
            )
            for key, status in (("", 401), ("gp_abcd2345_" + "x" * 49, 401), (weak, 403)):
                if key == weak and call.scope == "invoke":
                    continue  # it may
                answer = await it.ask(call.method, path, key=key)
                assert (answer.status, answer.headers["glowplug-executed"]) == (status, "no"), (
                    call,
                    key,
                )
                assert answer.json["code"] in {"unauthorized", "forbidden"}


def all_calls_of(parts: Parts) -> tuple[Call, ...]:
    return calls(parts, Payloads(parts))


def parts_in_thread(tmp_path: Path) -> Parts:
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(1) as threads:  # `calls` needs parts, and this test already has a loop
        return threads.submit(parts_for_a_census, tmp_path).result()


async def test_a_key_for_one_app_deploys_that_app_alone(tmp_path: Path) -> None:
    async with rig(tmp_path) as it:
        await deploy(it)
        key = (await it.ask("POST", "/keys", b'{"name": "ci", "scopes": ["deploy:other"]}')).json[
            "key"
        ]

        assert (await it.ask("POST", "/deploy", release(), key=key)).status == 403
        assert (await it.ask("POST", "/apps/hello/stop", key=key)).status == 403
        assert (await it.ask("GET", "/apps", key=key)).status == 200


async def test_a_revoked_key_opens_nothing_and_leaves_the_gateways_table(tmp_path: Path) -> None:
    async with rig(tmp_path) as it:
        made = (
            await it.ask("POST", "/keys", b'{"name": "x", "scopes": ["read"], "expires_s": 60}')
        ).json
        await it.until(lambda: made["id"] in {key.id for key in it.snapshots[-1].keys})
        assert (await it.ask("GET", "/apps", key=made["key"])).status == 200

        assert (await it.ask("DELETE", f"/keys/{made['id']}")).status == 200
        assert (await it.ask("GET", "/apps", key=made["key"])).status == 401
        await it.until(lambda: made["id"] not in {key.id for key in it.snapshots[-1].keys})
        listed = {key["id"]: key for key in (await it.ask("GET", "/keys")).json["keys"]}
        assert listed[made["id"]]["revoked"]
        assert "mac" not in listed[made["id"]]


@pytest.mark.parametrize(
    "body",
    [b"{", b"[]", b'{"scopes": []}', b'{"scopes": ["root"]}', b'{"scopes": ["read"], "x": 1}'],
)
async def test_a_key_that_makes_no_sense_is_refused(tmp_path: Path, body: bytes) -> None:
    async with rig(tmp_path) as it:
        assert (await it.ask("POST", "/keys", body)).status in {400, 422}


# -- deploying ----------------------------------------------------------------------------------------


async def test_a_deploy_tells_its_steps_exercises_the_replica_and_is_in_the_history(
    tmp_path: Path,
) -> None:
    async with rig(tmp_path) as it:
        digest = f"sha256:{hashlib.sha256(b'code').hexdigest()}"
        asked = json.dumps({"digests": [digest]}).encode()
        assert (await it.ask("POST", "/blobs/missing", asked)).json == {"missing": [digest]}

        steps = (await deploy(it)).lines

        assert (await it.ask("POST", "/blobs/missing", asked)).json == {"missing": []}
        assert [step["step"] for step in steps][-2:] == ["commit", "done"]
        assert steps[-1]["generation"] == 1
        assert {"step": "exercise", "state": "done"}.items() <= next(
            s for s in steps if s["state"] == "done" and s["step"] == "exercise"
        ).items()
        assert it.agent.answered == 1
        await it.until(lambda: bool(it.snapshots[-1].endpoints))
        (shown,) = (await it.ask("GET", "/apps")).json["apps"]
        assert shown["endpoints"][0]["versions"][0]["replicas"][0]["state"] == "ready"
        (row,) = (await it.ask("GET", "/apps/hello/history")).json["deployments"]
        assert (row["generation"], row["live"], row["message"]) == (1, True, "m")
        decisions = (await it.ask("GET", "/why", subject="hello/greet")).json["decisions"]
        assert decisions[0]["subject"] == "hello/greet@1"


async def test_the_table_is_published_before_the_deploy_says_done(tmp_path: Path) -> None:
    async with rig(tmp_path) as it:
        await deploy(it)
        await anyio.lowlevel.checkpoint()

        assert it.snapshots[-1].endpoints[0].stable == 1


async def test_a_version_that_fails_its_example_never_serves(tmp_path: Path) -> None:
    async with rig(tmp_path) as it:
        await deploy(it)
        it.agent.broken = True

        last = (await deploy(it, "worse")).lines[-1]

        assert last["step"] == "failed"
        assert last["problem"]["code"] == "deploy_failed"
        assert "ValueError: nope" in last["problem"]["detail"]
        await it.until(
            lambda: [one.version for one in it.agent.residencies.values()] == ["hello/greet@1"]
        )
        assert it.snapshots[-1].endpoints[0].stable == 1


async def test_who_goes_away_in_the_middle_of_a_deploy_gives_it_up(tmp_path: Path) -> None:
    async with rig(tmp_path) as it:
        it.agent.state = "loading"
        with anyio.move_on_after(0.5):
            await deploy(it)
        await it.until(lambda: not it.agent.residencies)

        it.agent.state = "ready"
        assert (await deploy(it)).lines[-1]["step"] == "done"


async def test_rollback_stop_and_policy_answer_with_what_is_now(tmp_path: Path) -> None:
    async with rig(tmp_path) as it:
        await deploy(it)
        await deploy(it, "two")

        back = (await it.ask("POST", "/apps/hello/rollback", b"{}")).json
        assert (back["generation"], back["rollback_of"]) == (3, 1)
        policy = await it.ask("PATCH", "/apps/hello/endpoints/greet/policy", b'{"max": 9}')
        assert policy.json["max"] == 9
        assert (
            await it.ask("PATCH", "/apps/hello/endpoints/greet/policy", b'{"most": 9}')
        ).status == 422
        assert (await it.ask("PATCH", "/apps/hello/endpoints/none/policy", b"{}")).status == 404
        assert (await it.ask("POST", "/apps/hello/stop")).json["stopped"]
        await it.until(lambda: not it.agent.residencies)
        assert (await it.ask("POST", "/apps/nobody/stop")).status == 404
        assert (await it.ask("POST", "/apps/hello/rollback", b'{"generation": 77}')).json[
            "code"
        ] == "version_not_found"


@pytest.mark.parametrize("body", [b"", b"{", b'{"app": 1}'])
async def test_what_is_no_release_is_a_problem_and_no_stream(tmp_path: Path, body: bytes) -> None:
    async with rig(tmp_path) as it:
        answer = await it.ask("POST", "/deploy", body)

        assert answer.status in {400, 422}
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json["request_id"] == "r1"


async def test_an_upload_is_checked_against_its_digest(tmp_path: Path) -> None:
    async with rig(tmp_path) as it:
        wrong = await it.ask("PUT", "/blobs/sha256:" + "0" * 64, b"x")
        bad = await it.ask("PUT", "/blobs/..%2f..%2fetc", b"x")

        assert (wrong.status, wrong.json["code"]) == (400, "digest_mismatch")
        assert bad.status in {400, 404}


# -- the rest -----------------------------------------------------------------------------------------


async def test_secrets_are_set_named_and_given_to_agents_alone(tmp_path: Path) -> None:
    async with rig(tmp_path) as it:
        assert (await it.ask("PUT", "/secrets/TOKEN", b"s3cret-canary")).status == 200
        listed = await it.ask("GET", "/secrets")
        assert listed.json == {"secrets": ["TOKEN"]}

        assert it.agent.channel is not None
        _, values = await it.agent.channel.request("/-/secrets", b'["TOKEN", "ABSENT"]')
        assert json.loads(values) == {"TOKEN": "s3cret-canary"}
        with pytest.raises(CallError):
            await it.gateway.request("/-/secrets", b'["TOKEN"]')
        assert (await it.ask("DELETE", "/secrets/TOKEN")).status == 200
        assert (await it.ask("DELETE", "/secrets/TOKEN")).status == 404


async def test_an_agent_pulls_a_layer(tmp_path: Path) -> None:
    async with rig(tmp_path) as it:
        await deploy(it)
        digest = f"sha256:{hashlib.sha256(b'code').hexdigest()}"
        assert it.agent.channel is not None

        _, body = await it.agent.channel.request(
            "/-/blob", infer=Infer("/-/blob", query=f"digest={digest}")
        )
        with pytest.raises(CallError) as absent:
            await it.agent.channel.request(
                "/-/blob", infer=Infer("/-/blob", query="digest=sha256:" + "0" * 64)
            )

        assert body == b"code"
        assert absent.value.code == "not_found"


async def test_logs_of_nodes_are_streamed_and_following_ends_with_the_reader(
    tmp_path: Path,
) -> None:
    async with rig(tmp_path) as it:
        lines = (await it.ask("GET", "/logs", app="hello", tail="5")).lines
        assert lines == [{"text": "one", "app": "hello"}]

        with anyio.move_on_after(0.3) as followed:
            await it.ask("GET", "/logs", app="hello", follow="1")
        assert followed.cancelled_caught
        assert (await it.ask("GET", "/logs", tail="x")).status == 422


async def test_health_nodes_and_what_is_not_there(tmp_path: Path) -> None:
    async with rig(tmp_path) as it:
        await it.until(lambda: it.snapshots)
        health = (await it.ask("GET", "/health")).json
        (node,) = (await it.ask("GET", "/nodes")).json["nodes"]

        assert (health["status"], health["nodes"]) == ("ok", 1)
        assert (node["node"], node["connected"], node["inventory"]["cpu_milli"]) == (
            "n1",
            True,
            2000,
        )
        assert (await it.ask("GET", "/nothing")).json["code"] == "not_found"
        assert (await it.ask("DELETE", "/health")).json["code"] == "method_not_allowed"
        assert (await it.ask("GET", "/apps/nobody")).status == 404
        assert (await it.ask("GET", "/apps/nobody/history")).status == 404


async def test_a_peer_of_no_role_is_cut_off(tmp_path: Path) -> None:
    async with rig(tmp_path) as it, anyio.create_task_group() as tasks:
        address = f"unix:{it.home.run / 'controller.sock'}"
        stranger = await dial_channel(address, Hello("stranger"), it.agent.answer, tasks.start_soon)

        await stranger.gone()
        await anyio.lowlevel.checkpoint()


async def test_the_first_start_makes_a_key_and_later_ones_keep_it(tmp_path: Path) -> None:
    async with rig(tmp_path) as it:
        first = it.key
        assert (await it.ask("GET", "/apps")).status == 200
    assert (tmp_path / "profiles.json").stat().st_mode & 0o777 == 0o600
    async with rig(tmp_path) as again:  # the store is another one: that key is unknown to it
        assert again.key != first
        assert profiles.load(again.home.profiles).current == "local"


# -- what nobody foresaw ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path",
    [
        f"/why?limit={'9' * 5000}",
        f"/logs?since={'9' * 5000}",
        "/logs?app=../x",
        "/logs?endpoint=A",
        "/logs?replica=x%0a",
    ],
)
async def test_a_question_that_makes_no_sense_is_a_problem_and_never_plain_text(
    tmp_path: Path, path: str
) -> None:
    where, _, query = path.partition("?")
    name, _, value = query.partition("=")
    async with rig(tmp_path) as it:
        answer = await it.ask("GET", where, b"", key=None, **{name: value})

        assert (answer.status, answer.json["code"]) == (422, "invalid_request")


async def test_a_key_that_would_outlive_the_century_is_refused(tmp_path: Path) -> None:
    async with rig(tmp_path) as it:
        body = b'{"scopes": ["read"], "expires_s": %d}' % 10**22

        assert (await it.ask("POST", "/keys", body)).json["code"] == "invalid_request"


async def test_a_final_slash_is_another_path_and_no_redirect(tmp_path: Path) -> None:
    async with rig(tmp_path) as it:
        answer = await it.ask("PUT", "/secrets/", b"x")

        assert (answer.status, answer.json["code"]) == (404, "not_found")


async def test_a_secret_that_cannot_be_written_is_a_problem(tmp_path: Path) -> None:
    async with rig(tmp_path) as it:
        (it.home.router / "secrets.json").mkdir(parents=True)  # as good as any other broken disk

        answer = await it.ask("PUT", "/secrets/A", b"x")

        assert answer.status == 500
        assert answer.headers["content-type"] == "application/problem+json"
        assert (await it.ask("GET", "/health")).status == 200


async def test_a_priority_set_live_reaches_the_gateways_and_starts_no_version(
    tmp_path: Path,
) -> None:
    async with rig(tmp_path) as it:
        await deploy(it)
        path = "/apps/hello/endpoints/greet/policy"

        assert {one.default_class for one in it.snapshots[-1].endpoints} == {"standard"}
        assert (await it.ask("PATCH", path, b'{"priority": "batch"}')).json["priority"] == "batch"
        await it.until(lambda: it.snapshots[-1].endpoints[0].default_class == "batch")
        assert [one.number for one in it.snapshots[-1].endpoints[0].versions] == [1]
        assert (await it.ask("PATCH", path, b'{"priority": "royal"}')).status == 422


async def test_a_policy_that_cannot_be_planned_is_refused_at_the_door(tmp_path: Path) -> None:
    async with rig(tmp_path) as it:
        await deploy(it)
        path = "/apps/hello/endpoints/greet/policy"

        for body in (b'{"target_concurrency": 1e308, "min": 1}', b'{"hold": 1%s}' % (b"0" * 300)):
            assert (await it.ask("PATCH", path, body)).json["code"] == "invalid_request"
        assert (await it.ask("PATCH", path, b"[" * 100_000)).status in {400, 422}
        assert (await it.ask("GET", "/health")).status == 200


async def test_a_deploy_that_breaks_in_an_unknown_way_still_tells_its_end() -> None:
    async def work(tell: Tell) -> Deployment:
        tell(Step(step="store", state="done"))
        raise KeyError("data")

    said = [json.loads(piece) async for piece in _steps(work)]

    assert [step["step"] for step in said] == ["store", "failed"]
    assert said[-1]["problem"]["code"] == "internal"
