"""Is what a tenant may leave in the store bounded, and does it go when nobody wants it any more?"""

import hashlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import anyio.lowlevel
import pytest
from starlette.requests import Request

from glowplug.clock import HOUR, MINUTE, ManualClock
from glowplug.errors import CallError
from glowplug_router.app import load_world
from glowplug_router.control.parts import Parts
from glowplug_router.control.payloads import (
    OPEN_MAX,
    OUTSTANDING_MAX_BYTES,
    PAYLOAD_MAX_BYTES,
    SWEEP_S,
    Payloads,
)
from glowplug_router.control.secrets import FileSecrets
from glowplug_router.objects.memory import MemoryObjects
from glowplug_router.providers.local import LocalProvider
from glowplug_router.signatures import EXPIRES_NS, Signer, scope_of
from glowplug_router.store.memory import MemoryStore

OWN, OTHER = scope_of("own"), scope_of("other")


@pytest.fixture
async def parts(tmp_path_factory: pytest.TempPathFactory) -> Parts:
    clock, store = ManualClock(), MemoryStore()
    world = await load_world(store)
    objects = MemoryObjects(clock, signer=Signer(world.catalog.token_secret))
    secrets = FileSecrets(tmp_path_factory.mktemp("secrets") / "s")
    return Parts(
        world=world,
        store=store,
        objects=objects,
        secrets=secrets,
        provider=LocalProvider(objects, secrets),
        clock=clock,
    )


async def put(parts: Parts, scope: str, data: bytes) -> str:
    async def pieces() -> AsyncIterator[bytes]:
        yield data

    digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
    await parts.objects.scope(scope).put(digest, pieces(), len(data))
    return digest


def refused(payloads: Payloads, scope: str, digest: str, size_bytes: int) -> CallError:
    with pytest.raises(CallError) as found:
        payloads._reserve(scope, digest, size_bytes)
    assert found.value.executed == "no"
    assert found.value.hint
    return found.value


async def test_one_payload_may_be_so_large_and_no_larger(parts: Parts) -> None:
    payloads = Payloads(parts)

    payloads._reserve(OWN, "a", PAYLOAD_MAX_BYTES)
    assert refused(payloads, OWN, "b", PAYLOAD_MAX_BYTES + 1).code == "too_large"
    assert refused(payloads, OWN, "b", -1).code == "too_large"


async def test_a_tenant_may_have_so_much_outstanding_and_others_are_not_held_up(
    parts: Parts,
) -> None:
    payloads = Payloads(parts)
    count = OUTSTANDING_MAX_BYTES // PAYLOAD_MAX_BYTES
    for number in range(count):
        payloads._reserve(OWN, str(number), PAYLOAD_MAX_BYTES)

    full = refused(payloads, OWN, "one more", 1)
    assert full.code == "overloaded"
    assert full.retry_after_s == HOUR / 1e9
    payloads._reserve(OWN, "0", PAYLOAD_MAX_BYTES)  # the same again is not more
    payloads._reserve(OTHER, "0", PAYLOAD_MAX_BYTES)


async def test_a_payload_announced_again_with_another_size_is_refused_and_counts_as_before(
    parts: Parts,
) -> None:
    payloads = Payloads(parts)
    for number in range(OUTSTANDING_MAX_BYTES // PAYLOAD_MAX_BYTES):
        payloads._reserve(OWN, str(number), PAYLOAD_MAX_BYTES)

    assert refused(payloads, OWN, "0", 1).code == "bad_request"
    assert refused(payloads, OWN, "more", PAYLOAD_MAX_BYTES).code == "overloaded"
    payloads._reserve(OTHER, "0", 1)


async def test_empty_payloads_are_bounded_by_their_number(parts: Parts) -> None:
    payloads = Payloads(parts)
    until_ns = parts.clock.wall_ns() + HOUR
    payloads._outstanding[OWN] = {str(number): (0, until_ns) for number in range(OPEN_MAX)}

    full = refused(payloads, OWN, "one more", 0)
    assert (full.code, full.retry_after_s) == ("overloaded", HOUR / 1e9)
    payloads._reserve(OWN, "0", 0)
    payloads._reserve(OTHER, "one more", 0)


async def test_announces_without_an_upload_are_swept_as_well(parts: Parts) -> None:
    clock, payloads = parts.clock, Payloads(parts)
    assert isinstance(clock, ManualClock)
    payloads._reserve(OWN, "a", 0)

    clock.advance(HOUR)
    await payloads.sweep()

    assert payloads._outstanding == {}


async def test_what_is_outstanding_is_forgotten_after_an_hour(parts: Parts) -> None:
    clock, payloads = parts.clock, Payloads(parts)
    assert isinstance(clock, ManualClock)
    for number in range(OUTSTANDING_MAX_BYTES // PAYLOAD_MAX_BYTES):
        payloads._reserve(OWN, str(number), PAYLOAD_MAX_BYTES)

    clock.advance(HOUR - 1)
    refused(payloads, OWN, "more", 1)
    clock.advance(1)
    payloads._reserve(OWN, "more", 1)


async def test_payloads_go_an_hour_after_they_were_last_wanted(parts: Parts) -> None:
    clock, payloads = parts.clock, Payloads(parts)
    assert isinstance(clock, ManualClock)
    old, wanted, theirs = (
        await put(parts, OWN, b"old"),
        await put(parts, OWN, b"wanted"),
        await put(parts, OTHER, b"theirs"),
    )
    own, other = parts.objects.scope(OWN), parts.objects.scope(OTHER)

    clock.advance(HOUR - MINUTE)
    await own.missing([wanted])
    await payloads.sweep()
    assert set(await own.kept()) == {old, wanted}
    clock.advance(MINUTE)
    await payloads.sweep()

    assert set(await own.kept()) == {wanted}
    assert await other.missing([theirs]) == (theirs,)


async def test_the_sweep_comes_by_itself(parts: Parts) -> None:
    clock, payloads = parts.clock, Payloads(parts)
    assert isinstance(clock, ManualClock)
    digest = await put(parts, OWN, b"old")
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(payloads.sweep_forever)
        await others_run()
        clock.advance(HOUR + int(SWEEP_S * 1e9))
        await others_run()
        tasks.cancel_scope.cancel()

    assert digest not in await parts.objects.scope(OWN).kept()


async def others_run() -> None:
    for _ in range(10):
        await anyio.lowlevel.checkpoint()


def asked_with(
    body: bytes,
    method: str = "POST",
    url: str = "/",
    more: Callable[[], Awaitable[None]] | None = None,
) -> Request:
    """Return a request of the tenant "own"; `more` is waited for before its body is here."""
    path, _, query = url.partition("?")

    async def receive() -> Mapping[str, Any]:
        if more is not None:
            await more()
        return {"type": "http.request", "body": body, "more_body": False}

    scope = {
        "type": "http",
        "method": method,
        "path": path,
        "query_string": query.encode(),
        "headers": [],
        "state": {"key": SimpleNamespace(tenant="own")},
    }
    return Request(scope, receive)  # type: ignore[arg-type]  # a Mapping is what it reads


async def announced(payloads: Payloads, digest: str, size_bytes: int) -> dict[str, Any]:
    body = json.dumps({"digest": digest, "size_bytes": size_bytes}).encode()
    found: dict[str, Any] = json.loads(bytes((await payloads.announce(asked_with(body))).body))
    return found


async def test_a_restart_of_the_controller_gives_nobody_a_second_quota(parts: Parts) -> None:
    clock = parts.clock
    assert isinstance(clock, ManualClock)
    here = await put(parts, OWN, b"here")
    clock.advance(MINUTE)
    payloads = Payloads(parts)
    payloads._reserve(OWN, "later", 1)
    await payloads.recall()

    assert payloads._outstanding[OWN] == {
        here: (4, clock.wall_ns() - MINUTE + HOUR),
        "later": (1, clock.wall_ns() + HOUR),
    }
    assert refused(payloads, OWN, here, 5).code == "bad_request"
    for number in range(OUTSTANDING_MAX_BYTES // PAYLOAD_MAX_BYTES - 1):
        payloads._reserve(OWN, str(number), PAYLOAD_MAX_BYTES)
    assert refused(payloads, OWN, "more", PAYLOAD_MAX_BYTES - 4).code == "overloaded"


async def test_what_a_controller_finds_is_counted_without_being_asked(parts: Parts) -> None:
    here, payloads = await put(parts, OWN, b"here"), Payloads(parts)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(payloads.sweep_forever)
        await others_run()
        tasks.cancel_scope.cancel()

    assert list(payloads._outstanding[OWN]) == [here]


async def test_an_upload_that_was_announced_to_the_controller_before_is_counted(
    parts: Parts,
) -> None:
    digest = f"sha256:{hashlib.sha256(b'body').hexdigest()}"
    url = (await announced(Payloads(parts), digest, 4))["upload"]
    payloads = Payloads(parts)
    await payloads.put(asked_with(b"body", "PUT", url))

    assert payloads._outstanding[OWN][digest] == (4, parts.clock.wall_ns() + HOUR)


async def test_an_upload_counts_for_an_hour_from_its_end(parts: Parts) -> None:
    clock, payloads = parts.clock, Payloads(parts)
    assert isinstance(clock, ManualClock)
    digest = f"sha256:{hashlib.sha256(b'body').hexdigest()}"
    url = (await announced(payloads, digest, 4))["upload"]

    async def slowly() -> None:
        clock.advance(MINUTE)

    await payloads.put(asked_with(b"body", "PUT", url, slowly))

    (asked_ns,) = (await parts.objects.scope(OWN).kept()).values()
    assert payloads._outstanding[OWN][digest] == (4, asked_ns + HOUR)


async def test_two_uploads_of_one_body_at_once_are_one_too_many_and_the_first_goes_on(
    parts: Parts,
) -> None:
    payloads, goes_on = Payloads(parts), anyio.Event()
    digest = f"sha256:{hashlib.sha256(b'body').hexdigest()}"
    url = (await announced(payloads, digest, 4))["upload"]
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(payloads.put, asked_with(b"body", "PUT", url, goes_on.wait))
        await others_run()
        with pytest.raises(CallError) as second:
            await payloads.put(asked_with(b"body", "PUT", url))
        goes_on.set()

    assert (second.value.code, second.value.executed) == ("busy", "no")
    assert (await announced(payloads, digest, 4))["upload"] is None
    await payloads.put(asked_with(b"body", "PUT", url))  # and after it, the same is no harm


async def test_what_is_announced_while_the_sweep_looks_is_not_removed(parts: Parts) -> None:
    clock = parts.clock
    assert isinstance(clock, ManualClock)
    uploads: list[str | None] = []

    class Slow(MemoryObjects):
        """A store in which somebody announces a body just when it has looked."""

        def scope(self, name: str) -> MemoryObjects:
            return self if name == OWN else super().scope(name)

        async def scopes(self) -> tuple[str, ...]:
            return (OWN,)

        async def kept(self) -> dict[str, int]:
            found = await super().kept()
            uploads.append((await announced(payloads, digest, 3))["upload"])
            return found

    slow = replace(parts, objects=Slow(clock))
    payloads, digest = Payloads(slow), await put(slow, OWN, b"old")
    clock.advance(HOUR)
    await payloads.sweep()

    assert uploads == [None]
    assert await slow.objects.missing([digest]) == ()


async def test_what_is_here_cannot_be_kept_as_less_than_it_is(parts: Parts) -> None:
    clock, payloads = parts.clock, Payloads(parts)
    assert isinstance(clock, ManualClock)
    digest = await put(parts, OWN, b"here")
    with pytest.raises(CallError) as lie:
        await announced(payloads, digest, 0)

    assert (lie.value.code, lie.value.executed) == ("bad_request", "no")
    assert payloads._outstanding[OWN] == {digest: (4, clock.wall_ns() + HOUR)}
    assert (await announced(payloads, digest, 4))["upload"] is None


async def test_what_is_no_digest_is_refused_and_not_counted(parts: Parts) -> None:
    payloads = Payloads(parts)
    with pytest.raises(CallError) as refusal:
        await announced(payloads, "rubbish", 4)

    assert refusal.value.code == "bad_request"
    assert payloads._outstanding == {}


def test_what_was_accepted_is_still_there_when_it_is_fetched() -> None:
    # A reference is good for less than an unused object stays: a call that waits in the queue finds its body.
    assert EXPIRES_NS + 20 * MINUTE < HOUR
