"""Is HTTPS what it must be: for clients that are not ours, for plain HTTP by mistake, and while certificates change?"""

import asyncio
import json
import ssl
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import pytest

from glowplug.clock import MILLISECOND
from glowplug.settings import Home
from glowplug_router.gateway.settings import GatewaySettings
from glowplug_router.settings import Tls, UpSettings
from glowplug_router.supervisor.certificates import with_certificate
from system.gateway_rig import Client, Rig, gateway, request

QUICK = GatewaySettings(
    tls_look_ns=20 * MILLISECOND, head_ns=300 * MILLISECOND, pulse_ns=20 * MILLISECOND
)


@pytest.fixture(params=["uvloop", "asyncio"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    return "asyncio", {"use_uvloop": request.param == "uvloop"}


def certificate(folder: Path, *hosts: str) -> Tls:
    asked = UpSettings(home=Home(folder), hosts=hosts, tls=Tls())
    found = with_certificate(asked, time.time_ns()).tls
    assert found is not None
    return found


@asynccontextmanager
async def secure(folder: Path) -> AsyncIterator[tuple[Rig, Tls]]:
    tls = certificate(folder / "certificates")
    settings = replace(QUICK, tls_cert=tls.cert, tls_key=tls.key)
    async with gateway(folder, settings) as rig:
        await rig.serve_one()
        yield rig, tls


async def connect(rig: Rig, tls: Tls, *, at_most: ssl.TLSVersion | None = None) -> Client:
    context = ssl.create_default_context(cafile=tls.ca)
    context.set_alpn_protocols(["h2", "http/1.1"])
    if at_most is not None:
        context.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
        context.set_ciphers("ALL:@SECLEVEL=0")
        context.maximum_version = at_most
    streams = await asyncio.open_connection(
        "127.0.0.1", rig.port, ssl=context, server_hostname="localhost"
    )
    client = Client(*streams)
    rig.clients.append(client)
    return client


def shown(client: Client) -> bytes:
    found: ssl.SSLObject = client.writer.get_extra_info("ssl_object")
    der = found.getpeercert(binary_form=True)
    assert der is not None
    return der


async def test_calls_go_over_https_with_http_1_1_and_the_connection_lives_on(
    tmp_path: Path,
) -> None:
    async with secure(tmp_path) as (rig, tls):
        client = await connect(rig, tls)
        spoken: ssl.SSLObject = client.writer.get_extra_info("ssl_object")
        for body in (b"one", b"x" * 300_000):
            client.send(request("POST", "/app/echo", body, token=rig.token))
            reply = await client.reply()
            assert (reply.status, reply.body) == (200, body)

        assert spoken.selected_alpn_protocol() == "http/1.1"
        assert spoken.version() == "TLSv1.3"
        client.send(request("GET", "/livez"))
        assert (await client.reply()).body == b"ok\n"


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1_1 is deprecated")
async def test_tls_1_2_is_spoken_and_nothing_older(tmp_path: Path) -> None:
    async with secure(tmp_path) as (rig, tls):
        client = await connect(rig, tls, at_most=ssl.TLSVersion.TLSv1_2)
        spoken: ssl.SSLObject = client.writer.get_extra_info("ssl_object")

        assert spoken.version() == "TLSv1.2"
        with pytest.raises((ssl.SSLError, ConnectionError)):
            await connect(rig, tls, at_most=ssl.TLSVersion.TLSv1_1)


async def test_the_battery_of_refusals_holds_over_tls(tmp_path: Path) -> None:
    async with secure(tmp_path) as (rig, tls):
        client = await connect(rig, tls)
        client.send(b"POST /app/echo HTTP/1.1\r\nHost: evil.example\r\n\r\n")
        assert (await client.reply()).status == 421
        assert await client.is_closed()
        slow = await connect(rig, tls)
        slow.send(b"POST /app")
        assert (await slow.reply()).status == 408
        assert await slow.is_closed()


async def test_plain_http_is_told_to_come_with_https(tmp_path: Path) -> None:
    async with secure(tmp_path) as (rig, _):
        client = await rig.connect()
        client.send(request("POST", "/app/echo", b"secret", token=rig.token))
        reply = await client.reply()

        assert reply.status == 400
        assert "https://" in json.loads(reply.body)["hint"]
        assert await client.is_closed()
        assert not rig.ranks["r1"].calls


@pytest.mark.parametrize("said", [b"", b"\x16\x03\x01\x02\x00", b"\x16" + b"x" * 400])
async def test_a_handshake_that_stalls_or_is_none_is_ended_and_others_are_served(
    tmp_path: Path, said: bytes
) -> None:
    async with secure(tmp_path) as (rig, tls):
        stalled = [await rig.connect() for _ in range(20)]
        for client in stalled:
            client.send(said)
        client = await connect(rig, tls)
        client.send(request("POST", "/app/echo", b"x", token=rig.token))

        assert (await client.reply()).status == 200
        for one in stalled:
            with anyio.fail_after(5):
                while await _read(one):
                    pass


async def _read(client: Client) -> bytes:
    try:
        return await client.reader.read(1000)
    except ConnectionError:
        return b""


async def test_a_certificate_is_changed_under_way_and_connections_that_stand_live_on(
    tmp_path: Path,
) -> None:
    async with secure(tmp_path) as (rig, tls):
        before = await connect(rig, tls)
        certificate(tmp_path / "certificates", "other.example")
        await until_shown(rig, tls, other_than=shown(before))
        before.send(request("POST", "/app/echo", b"x", token=rig.token))

        assert (await before.reply()).status == 200


async def until_shown(rig: Rig, tls: Tls, other_than: bytes) -> None:
    for _ in range(200):
        if shown(await connect(rig, tls)) != other_than:
            return
        await asyncio.sleep(0.02)
    raise AssertionError("the old certificate is still shown")


async def test_files_that_cannot_be_used_leave_the_old_certificate_in_use(tmp_path: Path) -> None:
    async with secure(tmp_path) as (rig, tls):
        first = shown(await connect(rig, tls))
        key = Path(tls.key).read_bytes()
        Path(tls.key).write_text("nonsense")
        await asyncio.sleep(0.2)
        assert shown(await connect(rig, tls)) == first

        Path(tls.key).write_bytes(key)
        certificate(tmp_path / "certificates", "other.example")
        await until_shown(rig, tls, other_than=first)
