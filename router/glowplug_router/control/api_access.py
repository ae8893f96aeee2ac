"""Who may use the router, and what may endpoints know? Keys and secrets, for admins."""

from typing import Annotated

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from glowplug.clock import SECOND
from glowplug.errors import call_error
from glowplug_router.control.parts import Parts, answer, body_of, json_of
from glowplug_router.control.secrets import VALUE_MAX_BYTES
from glowplug_router.keys import make_key, scope_problem
from glowplug_router.records.stored import Key

KEYS_MAX = 1_000  # live ones; each is in every gateway's table
EXPIRES_MAX_S = 100 * 366 * 24 * 3600  # a century: it stays an integer of 64 bits in nanoseconds
_Text = Annotated[str, msgspec.Meta(max_length=200)]


class _NewKey(msgspec.Struct, forbid_unknown_fields=True):
    scopes: tuple[_Text, ...]
    name: _Text = ""
    tenant: _Text = ""
    expires_s: int = 0


class Access:
    """The calls about keys and secrets."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    async def keys(self, request: Request) -> Response:
        """List the keys, without what could be used to sign in."""
        return answer({"keys": [_shown(key) for key in self._parts.world.catalog.keys]})

    async def make_key(self, request: Request) -> Response:
        """Make a key; this answer is the only place where its secret ever shows."""
        asked = await json_of(request, _NewKey)
        catalog = self._parts.world.catalog
        problem = next(
            filter(None, map(scope_problem, asked.scopes)),
            "" if asked.scopes else "a key needs a scope",
        )
        if problem or not 0 <= asked.expires_s <= EXPIRES_MAX_S:
            limits = f"expires_s must be 0 (never) to {EXPIRES_MAX_S}"
            raise call_error(
                "invalid_request",
                problem or limits,
                executed="no",
                hint="`glowplug keys create --help` shows the forms",
            )
        if sum(not key.revoked for key in catalog.keys) >= KEYS_MAX:
            message = f"there are already {KEYS_MAX} keys"
            raise call_error(
                "conflict", message, executed="no", hint="revoke some: `glowplug keys list`"
            )
        now_ns = self._parts.clock.wall_ns()
        key, plain = make_key(
            pepper_hex=catalog.pepper,
            tenant=asked.tenant or asked.name or "default",
            scopes=asked.scopes,
            wall_ns=now_ns,
            name=asked.name,
            expires_wall_ns=now_ns + asked.expires_s * SECOND if asked.expires_s else 0,
        )
        await catalog.add_key(key)
        await self._parts.world.acted()
        return answer({**_shown(key), "key": plain}, 201)

    async def revoke_key(self, request: Request) -> Response:
        """End a key at once, on every gateway that is connected."""
        id = request.path_params["id"]
        if not await self._parts.world.catalog.revoke_key(id):
            raise call_error(
                "not_found", f"there is no key {id}", executed="no", hint="`glowplug keys list`"
            )
        await self._parts.world.acted()
        return answer({"id": id, "revoked": True})

    async def secrets(self, request: Request) -> Response:
        """List the names of secrets."""
        return answer({"secrets": await self._parts.secrets.names()})

    async def set_secret(self, request: Request) -> Response:
        """Keep a secret; the body is its value. Replicas started from now on get it."""
        name = request.path_params["name"]
        body = await body_of(request, VALUE_MAX_BYTES)
        try:
            value = body.decode()
        except UnicodeDecodeError:
            raise call_error(
                "invalid_request",
                f"the value of {name} is not UTF-8",
                executed="no",
                hint="encode it first, for example with base64",
            ) from None
        await self._parts.secrets.set(name, value)
        return answer({"name": name})

    async def remove_secret(self, request: Request) -> Response:
        """Forget a secret."""
        name = request.path_params["name"]
        if not await self._parts.secrets.remove(name):
            raise call_error(
                "not_found",
                f"there is no secret {name}",
                executed="no",
                hint="`glowplug secrets list`",
            )
        return answer({"name": name, "removed": True})


def _shown(key: Key) -> dict[str, object]:
    return {
        "id": key.id,
        "name": key.name,
        "tenant": key.tenant,
        "scopes": key.scopes,
        "created_wall_ns": key.created_wall_ns,
        "expires_wall_ns": key.expires_wall_ns,
        "revoked": key.revoked,
    }
