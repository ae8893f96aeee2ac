"""Does a gateway let replicas fetch what their calls name, and nothing else, and check what callers name?"""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import anyio
import pytest

from glowplug.clock import SECOND, SystemClock
from glowplug.payloads import ANSWER_TYPE, LINK_PATH, WINDOW_BYTES
from glowplug.wire.channel import Exchange
from glowplug.wire.frames import Kind
from glowplug.wire.messages import Infer, unpack_failure, unpack_response
from glowplug_router.signatures import EXPIRES_NS, Payload, SignedObject, Signer, scope_of
from system.gateway_fakes import U64, FakeRank, RankLink
from system.gateway_rig import TOKEN_SECRET, Client, Rig, gateway, request

SIGNER = Signer(TOKEN_SECRET)
DIGEST = f"sha256:{hashlib.sha256(b'payload').hexdigest()}"
PAYLOAD = Payload(DIGEST, 7)


def until_ns() -> int:
    return SystemClock().wall_ns() + EXPIRES_NS


def reference(tenant: str = "ten", expires_wall_ns: int = 0) -> str:
    return SIGNER.reference(tenant, PAYLOAD, expires_wall_ns or until_ns())


def silent(link: RankLink, rid: int, infer: Infer, body: bytes) -> None:
    """Leave the call unanswered: it runs."""


@dataclass
class Running:
    """A call that runs, as its replica sees it."""

    rank: FakeRank
    client: Client

    @property
    def infer(self) -> Infer:
        return self.rank.calls[0][1]

    async def ask(
        self, method: str = "GET", query: str = "", **change: str
    ) -> tuple[int, bytes, bytes]:
        """Open a stream for a payload, and return the first frame that comes back."""
        fields = {"parent": self.infer.request_id, "call_token": self.infer.call_token} | change
        asked = Infer(LINK_PATH, method, "rpc", query, **fields)  # type: ignore[arg-type]  # by name
        with anyio.fail_after(5):
            return await self.rank.links[0].call_on(asked, b"answer" if method == "PUT" else b"")

    async def refused(self, method: str = "GET", **change: str) -> str:
        kind, meta, _ = await self.ask(method, **change)
        assert kind == Kind.ERROR
        failure = unpack_failure(meta)
        assert failure.executed == "no"
        return failure.code


@asynccontextmanager
async def running(
    rig: Rig, speaks: type[RankLink] = RankLink, **headers: str
) -> AsyncIterator[Running]:
    rank = await rig.serve_one(silent, speaks=speaks)
    client = await rig.connect()
    client.send(request("POST", "/app/echo", token=rig.token, **headers))
    with anyio.fail_after(5):
        await rank.arrived.wait()
    yield Running(rank, client)
    client.close()


# -- what callers name ---------------------------------------------------------------------------------------


async def test_a_reference_reaches_the_replica_as_digest_and_size(tmp_path: Path) -> None:
    async with gateway(tmp_path) as rig:
        headers = {"Glowplug_Payload": reference(), "Accept": f"text/plain, {ANSWER_TYPE}"}
        async with running(rig, RankLink, **headers) as call:
            assert (call.infer.payload, call.infer.offload) == (f"{DIGEST} 7", True)


async def test_a_call_that_says_nothing_of_payloads_has_none(tmp_path: Path) -> None:
    async with gateway(tmp_path) as rig, running(rig) as call:
        assert (call.infer.payload, call.infer.offload) == ("", False)


@pytest.mark.parametrize(
    ("text", "status", "code"),
    [
        (reference(expires_wall_ns=SECOND), 410, "payload_gone"),
        (reference(tenant="other"), 403, "forbidden"),
        (reference()[:-1] + "g", 400, "bad_request"),
        ("x", 400, "bad_request"),
    ],
    ids=["expired", "of another tenant", "garbled", "nonsense"],
)
async def test_a_reference_that_is_not_good_is_refused_at_the_door(
    tmp_path: Path, text: str, status: int, code: str
) -> None:
    async with gateway(tmp_path) as rig:
        rank = await rig.serve_one()
        reply = await rig.post(body=b"", Glowplug_Payload=text)

        assert (reply.status, reply.code) == (status, code)
        assert reply.headers["glowplug-executed"] == "no"
        assert not rank.calls


async def test_two_references_are_one_too_many(tmp_path: Path) -> None:
    async with gateway(tmp_path) as rig:
        await rig.serve_one()
        twice = {"Glowplug_Payload": reference(), "glowplug_payload": reference()}

        assert (await rig.post(body=b"", **twice)).status == 400


# -- what replicas fetch --------------------------------------------------------------------------------------


async def test_a_replica_fetches_exactly_what_its_call_named(tmp_path: Path) -> None:
    async with gateway(tmp_path) as rig, running(rig, Glowplug_Payload=reference()) as call:
        kind, meta, _ = await call.ask(query="sha256:another 9")
        ((asked, _),) = [one for one in rig.controller.asked if one[0].path == LINK_PATH]

        assert (kind, unpack_response(meta).status) == (Kind.RESPONSE, 200)
        assert (asked.method, asked.query, asked.tenant) == ("GET", f"{DIGEST} 7", "ten")


async def test_a_replica_sends_an_answer_away_for_the_calls_tenant(tmp_path: Path) -> None:
    async with gateway(tmp_path) as rig, running(rig, Accept=ANSWER_TYPE) as call:
        kind, _, body = await call.ask("PUT", f"{DIGEST} 6")
        ((asked, sent),) = [one for one in rig.controller.asked if one[0].path == LINK_PATH]

        assert (kind, body) == (Kind.RESPONSE, b'{"path": "/-/payload"}')
        assert (asked.query, asked.tenant, sent) == (f"{DIGEST} 6", "ten", b"answer")


async def test_a_replica_has_no_other_way_to_the_store(tmp_path: Path) -> None:
    async with gateway(tmp_path) as rig, running(rig) as call:
        assert await call.refused("GET") == "forbidden"
        assert await call.refused("PUT") == "forbidden"
        assert await call.refused("GET", call_token="0" * 64) == "unauthorized"
        assert await call.refused("GET", parent="another") == "unauthorized"
        assert not rig.controller.asked


async def test_a_controller_that_goes_while_a_body_is_fetched_is_told_to_the_replica(
    tmp_path: Path,
) -> None:
    async def goes(exchange: Exchange) -> None:
        for channel in list(rig.controller.channels):
            channel.abort()

    async with gateway(tmp_path) as rig, running(rig, Glowplug_Payload=reference()) as call:
        rig.controller.streams = goes

        assert await call.refused() == "unavailable"


async def test_a_refusal_of_the_store_is_told_to_the_replica(tmp_path: Path) -> None:
    async def gone(exchange: Exchange) -> None:
        exchange.fail("payload_gone", "swept away")

    async with gateway(tmp_path) as rig, running(rig, Glowplug_Payload=reference()) as call:
        rig.controller.streams = gone

        assert await call.refused() == "payload_gone"


async def test_what_a_lost_replica_was_fetching_is_let_go(tmp_path: Path) -> None:
    left, asked = asyncio.Event(), asyncio.Event()

    async def holds(exchange: Exchange) -> None:
        exchange.on_cancel = left.set
        asked.set()
        await left.wait()

    async with gateway(tmp_path) as rig, running(rig, Glowplug_Payload=reference()) as call:
        rig.controller.streams = holds
        task = asyncio.create_task(call.ask())
        with anyio.fail_after(5):
            await asked.wait()
            call.rank.links[0].abort()
            await left.wait()
        task.cancel()


class Counts(RankLink):
    """A replica that fetches, and says that it has taken far more than it got."""

    fetched = 0

    def frame(self, kind: int, flags: int, rid: int, meta: bytes, body: bytes) -> None:
        if kind == Kind.CHUNK:
            self.fetched += len(body)
        super().frame(kind, flags, rid, meta, body)


async def test_a_replica_that_credits_what_it_never_got_has_no_more_on_its_way(
    tmp_path: Path,
) -> None:
    async def large(exchange: Exchange) -> None:
        out = exchange.begin()
        for _ in range(32):
            await out.write(bytes(128 * 1024))
        out.end()

    async with (
        gateway(tmp_path) as rig,
        running(rig, speaks=Counts, Glowplug_Payload=reference()) as call,
    ):
        rig.controller.streams = large
        link = call.rank.links[0]
        assert isinstance(link, Counts)
        await call.ask()
        link.send(Kind.CREDIT, 2, U64.pack(1 << 62))
        with anyio.fail_after(5):
            while link.fetched < WINDOW_BYTES:  # noqa: ASYNC110  # a link has no event for it
                await anyio.sleep(0.005)
        await anyio.sleep(0.1)

        assert link.fetched <= 2 * WINDOW_BYTES


# -- signed URLs ------------------------------------------------------------------------------------------------


def signed(method: str, expires_wall_ns: int = 0) -> str:
    one = SignedObject(scope_of("ten"), DIGEST, 7)
    return SIGNER.url(method, one, expires_wall_ns or until_ns())


async def test_a_signed_url_needs_no_key_and_reaches_the_controller(tmp_path: Path) -> None:
    async with gateway(tmp_path) as rig:
        await rig.serve_one()
        reply = await rig.ask(request("PUT", signed("PUT"), b"payload"))
        asked, body = rig.controller.asked[-1]

        assert reply.status == 200
        assert (asked.path, asked.method, body) == (f"/-/payloads/{DIGEST}", "PUT", b"payload")


@pytest.mark.parametrize("key", [True, False])
async def test_a_url_that_is_not_signed_reaches_nobody_with_or_without_a_key(
    tmp_path: Path, key: bool
) -> None:
    async with gateway(tmp_path) as rig:
        await rig.serve_one()
        token = rig.token if key else ""
        for url, code in (
            (signed("GET"), "forbidden"),
            (signed("PUT", SECOND), "payload_gone"),
            (f"/-/payloads/{DIGEST}", "forbidden"),
            ("/-/payloads/../api/keys", "forbidden"),
        ):
            reply = await rig.ask(request("PUT", url, b"payload", token=token))
            assert reply.code == code, url

        assert not rig.controller.asked
