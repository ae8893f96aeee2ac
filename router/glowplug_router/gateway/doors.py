"""May this call be made? Everything that can be known from a head, and remembered for the next one that is like it."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from glowplug_router.gateway.answers import CHALLENGE
from glowplug_router.gateway.keys import PUBLIC, Grant
from glowplug_router.gateway.payloads import named
from glowplug_router.gateway.problems import Trouble
from glowplug_router.gateway.routes import (
    Found,
    Lane,
    Target,
    pinned,
    too_urgent,
    unknown_version,
)
from glowplug_router.gateway.wishes import (
    AUTHORIZATION,
    Known,
    Wishes,
    native_headers,
    takes_away,
    wishes,
)

if TYPE_CHECKING:
    from glowplug_router.gateway.front import Front


@dataclass(frozen=True, slots=True)
class Door:
    """What a head that may pass means for its call."""

    target: Target
    lane: Lane | None  # the version it names; None: drawn for each call
    grant: Grant
    timeout_ns: int  # 0 = not said
    payload: str
    accept: str
    terms: tuple[Any, ...]  # the rest of what a `Call` is made of, in order


def open_door(
    front: "Front", found: Found, method: bytes, known: Known, length: int | None
) -> Door | Trouble:
    """Check everything that can be known from the headers; the first failure is the answer."""
    grant = _admit(front, found.target, known)
    if isinstance(grant, Trouble):
        return grant
    target, lane = found.target, None
    if target is None:
        return Trouble("not_found", front.table.missing(found, grant.may_invoke))
    if found.selector:
        lane = pinned(target, found.selector)
        if lane is None:
            return Trouble("version_not_found", unknown_version(target, found.selector))
    if method != b"POST":
        detail = f"{target.name} was asked with {method.decode('latin-1')}"
        return Trouble("method_not_allowed", detail, headers=b"allow: POST\r\n")
    if target.stopped:
        return Trouble("stopped", f"{target.name} is stopped")
    asked = _wish(front, target, grant, known, length)
    if isinstance(asked, Trouble):
        return asked
    terms = (
        grant.tenant,
        asked.klass or target.klass,
        native_headers(known),
        found.query,
        asked.trace,
        asked.idempotency_key,
        (),  # no chain
        0,  # and no parent
        asked.timeout_ns > 0,
        lane is not None,
        grant.may_see_code(target.name),
        asked.affinity,
        asked.payload,
        takes_away(known),
    )
    accept = known.get(b"accept", b"").decode("latin-1")
    return Door(target, lane, grant, asked.timeout_ns, asked.payload, accept, terms)


def _wish(
    front: "Front", target: Target, grant: Grant, known: Known, length: int | None
) -> Wishes | Trouble:
    """What do the headers ask for, and may they?"""
    asked = wishes(known)
    if isinstance(asked, Trouble):
        return asked
    if asked.klass and not grant.may_ask_for(asked.klass, target.klass):
        return too_urgent(grant.id, target, asked.klass)
    if not asked.payload:
        return asked
    payload = named(front.signer, asked.payload, grant.tenant, front.clock.wall_ns(), length)
    return payload if isinstance(payload, Trouble) else asked._replace(payload=payload)


def _admit(front: "Front", target: Target | None, known: Known) -> Grant | Trouble:
    """Who is it, and may they do this?"""
    grant = front.keys.check(known.get(AUTHORIZATION))
    if grant is None:
        if target is None or target.auth != "public":
            return unauthorized(was_sent=AUTHORIZATION in known)
        return PUBLIC
    if target is not None and target.auth != "public" and not grant.may_invoke(target.name):
        return Trouble("forbidden", f"the key {grant.id} has no scope invoke:{target.name}")
    return grant


def unauthorized(*, was_sent: bool) -> Trouble:
    """Return the trouble of a request without a good key."""
    detail = (
        "the key is unknown, wrong, revoked or expired"
        if was_sent
        else "this needs a key and none was sent"
    )
    return Trouble("unauthorized", detail, headers=CHALLENGE)
