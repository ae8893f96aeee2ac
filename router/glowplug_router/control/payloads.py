"""How do bodies too large for a call get here, and large answers away? Through the object store, by signed URLs.

Each tenant's payloads lie in a scope of their own, by digest. What nobody asked for within the hour goes; what a tenant
has outstanding is bounded, so that one cannot fill the disk for all.
"""

import re
from collections.abc import AsyncIterator
from typing import NoReturn

import msgspec
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response, StreamingResponse

from glowplug.clock import HOUR, MINUTE, SECOND
from glowplug.errors import CallError, GlowplugError, UnavailableError, call_error
from glowplug.wire.channel import Exchange
from glowplug.wire.messages import to_json
from glowplug_router.control.garbage import orphans
from glowplug_router.control.parts import Parts, answer, json_of
from glowplug_router.ports import ObjectStore
from glowplug_router.signatures import EXPIRES_NS, Payload, SignedObject, Signer, scope_of
from glowplug_router.telemetry.logging import logger

PAYLOAD_MAX_BYTES = 4 * 1024**3  # of one body; what one request to the gateway may carry
OUTSTANDING_MAX_BYTES = 16 * 1024**3  # of one tenant's, uploaded or announced within the hour
OPEN_MAX = 10_000  # of one tenant's: an empty one takes no disk, and memory all the same
BUSY_S = 5.0  # until a body that somebody else is sending may be here
SWEEP_S = 10 * MINUTE / SECOND
CHANNEL_PATH = "/-/payload"  # gateway → controller
_LOG = logger("glowplug.controller")
_RAW = "application/octet-stream"
_SIZE = re.compile(r"[0-9]{1,16}", re.ASCII)


class _Announced(msgspec.Struct, forbid_unknown_fields=True):
    digest: str
    size_bytes: int


class Payloads:
    """Announced, uploaded and fetched payloads."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._signer = Signer(parts.world.catalog.token_secret)
        self._outstanding: dict[
            str, dict[str, tuple[int, int]]
        ] = {}  # scope → digest → size, until
        self._uploads: set[tuple[str, str]] = set()  # scope and digest of what is being sent

    # -- the control API -------------------------------------------------------------------------

    async def announce(self, request: Request) -> Response:
        """Return a reference for a body, and where to send it; nowhere, when it is here already."""
        asked = await json_of(request, _Announced)
        tenant: str = request.state.key.tenant
        scope = scope_of(tenant)
        store = self._parts.objects.scope(scope)
        until_ns = self._parts.clock.wall_ns() + EXPIRES_NS
        upload = store.signed_put(asked.digest, asked.size_bytes, until_ns)  # refuses no digest
        # Before anybody looks whether it is here: what is reserved is not swept.
        self._reserve(scope, asked.digest, asked.size_bytes)
        is_missing = await store.missing([asked.digest])
        if not is_missing:
            await self._check_size(store, scope, asked)
        reference = self._signer.reference(
            tenant, Payload(asked.digest, asked.size_bytes), until_ns
        )
        shown = {
            "reference": reference,
            "upload": upload if is_missing else None,
            "expires_s": EXPIRES_NS // SECOND,
        }
        return answer(shown, 201)

    async def _check_size(self, store: ObjectStore, scope: str, asked: _Announced) -> None:
        """Refuse another size than that of the object that is here, or it would lie here uncounted."""
        size_bytes = (await store.sizes([asked.digest])).get(asked.digest, asked.size_bytes)
        if size_bytes != asked.size_bytes:
            self._keep(scope, asked.digest, size_bytes)
            raise _other_size(asked.digest, size_bytes, asked.size_bytes)

    # -- signed URLs -----------------------------------------------------------------------------

    async def put(self, request: Request) -> Response:
        """Keep one object, streamed; its size and digest were signed."""
        one = self._opened(request)
        store = self._parts.objects.scope(one.scope)
        upload = one.scope, one.digest
        if upload in self._uploads:  # each would take its size on the disk while it comes
            raise call_error(
                "busy",
                f"{one.digest} is being uploaded by another request",
                executed="no",
                retry_after_s=BUSY_S,
                hint="announce it again: once it is here, nothing needs to be sent",
            )
        # The announcement is forgotten when the controller restarts, and its URL is still good.
        self._reserve(one.scope, one.digest, one.size_bytes)
        self._uploads.add(upload)
        try:
            size = await store.put(one.digest, request.stream(), one.size_bytes)
        except ClientDisconnect:
            raise call_error(
                "cancelled", f"the upload of {one.digest} broke off", executed="no"
            ) from None
        finally:
            self._uploads.discard(upload)
        self._keep(one.scope, one.digest, one.size_bytes)
        return answer({"digest": one.digest, "size_bytes": size})

    async def get(self, request: Request) -> Response:
        """Return one object, streamed."""
        one = self._opened(request)
        first, pieces = await self._begun(one.scope, one.digest)
        return StreamingResponse(_joined(first, pieces), media_type=_RAW)

    def _opened(self, request: Request) -> SignedObject:
        method = "GET" if request.method == "HEAD" else request.method
        return self._signer.opened(
            method, request.url.path, request.query_params, self._parts.clock.wall_ns()
        )

    # -- a gateway, for a replica ----------------------------------------------------------------

    async def serve(self, exchange: Exchange) -> None:
        """Send a payload to a replica, or take one of its answers, in the scope of the call's tenant."""
        infer = exchange.infer
        digest, _, size = infer.query.partition(" ")
        try:
            if infer.method != "PUT":
                await self._send(exchange, digest)
            elif _SIZE.fullmatch(size):
                await self._take(exchange, digest, int(size))
            else:
                exchange.fail("bad_request", f"{size[:80]!r} is no size of a payload")
        except GlowplugError as error:
            exchange.fail(error.code, error.message)

    async def _send(self, exchange: Exchange, digest: str) -> None:
        first, pieces = await self._begun(scope_of(exchange.infer.tenant), digest)
        out = exchange.begin(headers=(("content-type", _RAW),))
        try:
            async for piece in _joined(first, pieces):
                await out.write(piece)
            out.end()
        except UnavailableError:
            return  # the gateway, or the replica behind it, has gone

    async def _take(self, exchange: Exchange, digest: str, size_bytes: int) -> None:
        scope = scope_of(exchange.infer.tenant)
        store = self._parts.objects.scope(scope)
        store.signed_get(digest, size_bytes, 0)  # refuses no digest, before it is counted
        self._reserve(scope, digest, size_bytes)
        await store.put(digest, aiter(exchange.body), size_bytes)
        self._keep(scope, digest, size_bytes)
        until_ns = self._parts.clock.wall_ns() + EXPIRES_NS
        url = store.signed_get(digest, size_bytes, until_ns)
        exchange.respond(to_json({"url": url, "expires_s": EXPIRES_NS // SECOND}))

    async def _begun(self, scope: str, digest: str) -> tuple[bytes, AsyncIterator[bytes]]:
        """Return the first piece and the rest: what is missing is known before an answer begins."""
        pieces = self._parts.objects.scope(scope).get(digest)
        try:
            return await anext(pieces, b""), pieces
        except CallError as error:
            _gone(error, digest)

    # -- bounds ----------------------------------------------------------------------------------

    def _reserve(self, scope: str, digest: str, size_bytes: int) -> None:
        if not 0 <= size_bytes <= PAYLOAD_MAX_BYTES:
            raise call_error(
                "too_large",
                f"a payload has at most {PAYLOAD_MAX_BYTES} bytes, not {size_bytes}",
                executed="no",
                hint="send it in parts, or put it where the endpoint can fetch it",
            )
        now_ns = self._parts.clock.wall_ns()
        held = self._held(scope, now_ns)
        known_bytes, _ = held.pop(digest, (size_bytes, 0))
        if known_bytes != size_bytes:
            raise _other_size(digest, known_bytes, size_bytes)
        total_bytes = sum(size for size, _ in held.values()) + size_bytes
        if total_bytes > OUTSTANDING_MAX_BYTES or len(held) >= OPEN_MAX:
            soonest_ns = min(until_ns for _, until_ns in held.values()) - now_ns
            raise call_error(
                "overloaded",
                f"this tenant has payloads outstanding already: {OUTSTANDING_MAX_BYTES} bytes"
                f" or {OPEN_MAX} payloads are the most",
                executed="no",
                retry_after_s=soonest_ns / SECOND,
                hint="they go an hour after they were last used",
            )
        self._outstanding[scope] = held
        self._keep(scope, digest, size_bytes)

    def _keep(self, scope: str, digest: str, size_bytes: int) -> None:
        """Count a payload from now on for as long as it may lie here."""
        until_ns = self._parts.clock.wall_ns() + HOUR
        self._outstanding.setdefault(scope, {})[digest] = (size_bytes, until_ns)

    def _held(self, scope: str, now_ns: int) -> dict[str, tuple[int, int]]:
        """Return what a tenant has announced within the hour."""
        held = self._outstanding.get(scope, {})
        return {name: one for name, one in held.items() if one[1] > now_ns}

    def _is_held(self, scope: str, digest: str, now_ns: int) -> bool:
        _, until_ns = self._outstanding.get(scope, {}).get(digest, (0, 0))
        return until_ns > now_ns

    async def sweep_forever(self) -> None:
        """Count what is here from before, then remove what nobody asked for within the hour, until cancelled."""
        try:
            await self.recall()
        except (OSError, GlowplugError) as error:
            _LOG.warning("payloads from before are not counted", error=str(error))
        while True:
            await self._parts.clock.sleep(SWEEP_S)
            try:
                await self.sweep()
            except (OSError, GlowplugError) as error:
                _LOG.warning("old payloads stay for now", error=str(error))

    async def recall(self) -> None:
        """Count what the controller before this one was sent: a restart gives nobody a second quota."""
        objects = self._parts.objects
        for scope in await objects.scopes():
            store = objects.scope(scope)
            asked_ns = await store.kept()
            sizes = await store.sizes(tuple(asked_ns))
            found = {name: (size, asked_ns[name] + HOUR) for name, size in sizes.items()}
            self._outstanding[scope] = found | self._outstanding.get(scope, {})

    async def sweep(self) -> None:
        """Remove what nobody asked for within the hour."""
        objects, now_ns = self._parts.objects, self._parts.clock.wall_ns()
        for scope in await objects.scopes():
            store: ObjectStore = objects.scope(scope)
            for digest in orphans(await store.kept(), (), now_ns):
                # It may have been announced since `kept` looked.
                if not self._is_held(scope, digest, now_ns):
                    await store.delete(digest)
                    _LOG.info("removed a payload that nobody uses", digest=digest)
        kept = {scope: self._held(scope, now_ns) for scope in self._outstanding}
        self._outstanding = {scope: held for scope, held in kept.items() if held}


async def _joined(first: bytes, pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    yield first
    async for piece in pieces:
        yield piece


def _other_size(digest: str, known_bytes: int, size_bytes: int) -> CallError:
    return call_error(
        "bad_request",
        f"{digest[:80]} has been announced with {known_bytes} bytes, and now with {size_bytes}",
        executed="no",
        hint="a digest has one size: announce the body's own",
    )


def _gone(error: CallError, digest: str) -> NoReturn:
    if error.code == "not_found":
        raise call_error(
            "payload_gone", f"there is no payload {digest} here", executed="no"
        ) from None
    raise error
