"""Who gets in, and where? Keys, scopes, pages, and every path that is not an endpoint."""

import json
from pathlib import Path

import pytest

from glowplug.spec import Class
from glowplug_router.gateway.settings import GatewaySettings
from glowplug_router.records.published import RouteKey
from system.gateway_rig import Rig, endpoint, gateway, key, request, version


async def test_a_browser_may_write_only_for_pages_of_our_own(tmp_path: Path) -> None:
    async with gateway(tmp_path, GatewaySettings(origins=("https://app.example",))) as rig:
        await rig.serve_one()
        statuses = {
            origin: (await rig.post(Origin=origin)).status
            for origin in (
                "http://localhost",
                "https://app.example",
                "https://evil.example",
                "null",
                "http://localhost.evil",
            )
        }

        assert statuses == {
            "http://localhost": 200,
            "https://app.example": 200,
            "https://evil.example": 403,
            "null": 403,
            "http://localhost.evil": 403,
        }
        assert (await rig.get("/livez", Origin="https://evil.example")).status == 200


SITE = (
    "/",
    "/nope",
    "/metrics",
    "/openapi.json",
    "/-/openapi/app",
    "/-/api/apps",
    "/-/",
    "/-/jobs/1",
    "/ping",
    "/v1/x",
)
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")


@pytest.mark.parametrize("path", SITE)
async def test_everything_but_health_is_closed_to_those_without_a_key(
    tmp_path: Path, path: str
) -> None:
    async with gateway(tmp_path) as rig:
        await rig.serve_one()
        for method in METHODS:
            forwarded = {
                "X-Forwarded-For": "192.0.2.1"
            }  # else /metrics would be open to this machine
            no_key = await _bare(rig, request(method, path, **forwarded))
            wrong_key = await _bare(
                rig, request(method, path, token="gp_aaaaaaaa_" + "x" * 49, **forwarded)
            )
            wrong_host = await _bare(
                rig, request(method, path, token=rig.token, host="evil.example")
            )
            cross = await _bare(
                rig, request(method, path, token=rig.token, Origin="https://evil.example")
            )

            assert (no_key, wrong_key, wrong_host) == (401, 401, 421), method
            assert (cross == 403) == (method not in ("GET", "HEAD", "OPTIONS")), method


async def _bare(rig: Rig, data: bytes) -> int:
    client = await rig.connect()
    client.send(data)
    status, _ = await client.head()
    client.close()
    return status


async def test_health_needs_no_key_and_readiness_needs_routes(tmp_path: Path) -> None:
    async with gateway(tmp_path) as rig:
        assert (await rig.get("/livez", token="")).status == 200
        assert (await rig.get("/readyz", token="")).status == 503

        await rig.serve_one()

        assert (await rig.get("/readyz", token="")).status == 200
        assert (await _bare(rig, request("POST", "/livez"))) == 401


async def test_metrics_are_open_to_this_machine_and_else_need_read(tmp_path: Path) -> None:
    async with gateway(tmp_path) as rig:
        reader, token = key("read")
        rig.keys.append(reader)
        await rig.serve_one()
        await rig.post()
        local = await rig.get("/metrics", token="")
        through = {"X-Forwarded-For": "192.0.2.1"}

        assert (
            b'glowplug_calls_total{app="app",code="200",endpoint="echo",version="1"} 1.0'
            in local.body
        )
        assert b"glowplug_loop_lag_seconds" in local.body
        assert (await rig.get("/metrics", token="", **through)).status == 401
        assert (await rig.get("/metrics", **through)).status == 403
        assert (await rig.get("/metrics", token=token, **through)).status == 200


async def test_keys_open_what_their_scopes_say(tmp_path: Path) -> None:
    async with gateway(tmp_path) as rig:
        made: dict[str, tuple[RouteKey, str]] = {
            "invoke:*": key("invoke:*"),
            "invoke:app/*": key("invoke:app/*"),
            "invoke:app/echo": key("invoke:app/echo"),
            "admin": key("admin"),
            "invoke:app/other": key("invoke:app/other"),
            "read": key("read"),
            "deploy:*": key("deploy:*"),
            "expired": key("invoke:*", expires_wall_ns=1),
        }
        rig.keys.extend(record for record, _ in made.values())
        await rig.serve_one()
        statuses = {name: (await rig.post(token=token)).status for name, (_, token) in made.items()}

        assert statuses == {
            "invoke:*": 200,
            "invoke:app/*": 200,
            "invoke:app/echo": 200,
            "admin": 200,
            "invoke:app/other": 403,
            "read": 403,
            "deploy:*": 403,
            "expired": 401,
        }
        missing = await rig.post(token="")
        assert (missing.status, missing.headers["www-authenticate"]) == (
            401,
            'Bearer realm="glowplug"',
        )
        assert (await rig.post(token=rig.token[:-1] + "x")).status == 401


async def test_a_revoked_key_stops_working_with_the_next_snapshot(tmp_path: Path) -> None:
    async with gateway(tmp_path) as rig:
        rank = await rig.serve_one()
        assert (await rig.post()).status == 200
        rig.keys.clear()
        await rig.publish(endpoint("app/echo", version(replicas=(rank.route,))))

        assert (await rig.post()).status == 401


async def test_a_public_endpoint_needs_no_key(tmp_path: Path) -> None:
    async with gateway(tmp_path) as rig:
        rank = await rig.rank("r1", "app/echo@1")
        await rig.publish(endpoint("app/echo", version(replicas=(rank.route,)), auth="public"))

        assert (await rig.post(token="")).status == 200
        assert (await rig.post(token="wrong")).status == 200
        assert (await rig.post("/app/none", token="")).status == 401
        assert rank.calls[0][1].tenant == "public"


# -- priorities ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("scopes", "usual", "asked", "status"),
    [
        ((), "standard", "", 200),
        ((), "standard", "standard", 200),
        ((), "standard", "batch", 200),
        ((), "standard", "interactive", 403),
        ((), "interactive", "interactive", 200),
        ((), "interactive", "critical", 403),
        ((), "batch", "standard", 403),
        (("priority:interactive",), "batch", "interactive", 200),
        (("priority:interactive",), "batch", "critical", 403),
        (("priority:critical",), "standard", "interactive", 200),
    ],
)
async def test_a_caller_may_lower_a_calls_priority_and_raise_it_only_with_a_key_for_that(
    tmp_path: Path, scopes: tuple[str, ...], usual: Class, asked: str, status: int
) -> None:
    async with gateway(tmp_path) as rig:
        route, token = key("invoke:*", *scopes)
        rig.keys.append(route)
        rank = await rig.rank("r1", "app/echo@1")
        await rig.publish(
            endpoint("app/echo", version(replicas=(rank.route,)), default_class=usual)
        )
        headers = {"Glowplug_Priority": asked} if asked else {}
        reply = await rig.ask(request("POST", "/app/echo", b"{}", token=token, **headers))

        assert reply.status == status
        assert [infer.klass for _, infer, _ in rank.calls] == (
            [asked or usual] if status == 200 else []
        )
        if status == 403:
            problem = json.loads(reply.body)
            assert (problem["code"], reply.headers["glowplug-executed"]) == ("forbidden", "no")
            assert f"--scope priority:{asked}" in problem["hint"]


async def test_a_caller_without_a_key_cannot_raise_the_priority_of_a_public_endpoint(
    tmp_path: Path,
) -> None:
    async with gateway(tmp_path) as rig:
        rank = await rig.rank("r1", "app/echo@1")
        await rig.publish(endpoint("app/echo", version(replicas=(rank.route,)), auth="public"))

        assert (await rig.post(token="", Glowplug_Priority="batch")).status == 200
        assert (await rig.post(token="", Glowplug_Priority="critical")).status == 403
