"""What does the control API work with?"""

from dataclasses import dataclass
from typing import TypeVar

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from glowplug.clock import Clock
from glowplug.errors import call_error
from glowplug_router.control.world import World
from glowplug_router.ports import ObjectStore, Provider, SecretStore, Store

BODY_MAX_BYTES = 16 * 1024 * 1024  # a release of many endpoints with large schemas
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """The controller's state, and the adapters it was given."""

    world: World
    store: Store
    objects: ObjectStore
    secrets: SecretStore
    provider: Provider
    clock: Clock


async def body_of(request: Request, limit_bytes: int = BODY_MAX_BYTES) -> bytes:
    """Return a request's body, read no further than the limit."""
    held = bytearray()
    async for piece in request.stream():
        held += piece
        if len(held) > limit_bytes:
            message = f"the body is over {limit_bytes} bytes"
            raise call_error(
                "too_large", message, executed="no", hint="the control API takes no more"
            )
    return bytes(held)


async def json_of(request: Request, kind: type[_T]) -> _T:
    """Return a request's JSON body as a record; an empty one counts as `{}`."""
    body = await body_of(request)
    try:
        return msgspec.json.decode(body or b"{}", type=kind)
    except msgspec.ValidationError as error:
        raise call_error("invalid_request", str(error), executed="no") from error
    except (msgspec.DecodeError, RecursionError) as error:
        raise call_error("invalid_json", str(error), executed="no") from error


def answer(record: object, status: int = 200) -> Response:
    """Return a record as a JSON answer."""
    return Response(msgspec.json.encode(record), status, media_type="application/json")
