"""How does one declare something for a while? Preheat leases and overrides, each with an end."""

from secrets import token_hex
from typing import Literal

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from glowplug.clock import HOUR
from glowplug.errors import call_error
from glowplug.scaling import REPLICAS_MAX
from glowplug.spec import Policy
from glowplug_router.control.bounds import refused
from glowplug_router.control.parts import Parts, answer, json_of
from glowplug_router.control.wishes import WISHES_MAX, ended
from glowplug_router.records.wishes import Wish

FOR_MAX_NS = 31 * 24 * HOUR  # longer is no exception any more: change the policy
ID_BYTES = 4


class _Asked(msgspec.Struct, forbid_unknown_fields=True):
    kind: Literal["lease", "override"]
    for_ns: int
    min: int | None = None
    max: int | None = None


class WishCalls:
    """The calls about what is declared for a while."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    async def make(self, request: Request) -> Response:
        """Keep a lease or an override until its end."""
        app, endpoint, policy = self._endpoint(request)
        asked = await json_of(request, _Asked)
        _check(asked, policy)
        catalog, wall_ns = self._parts.world.catalog, self._parts.clock.wall_ns()
        over = {wish.id for wish in ended(catalog, wall_ns)}
        known = [one for one in self._all(app, endpoint) if one.id not in over]
        if len(known) >= WISHES_MAX:
            raise refused(f"{app}/{endpoint} has {len(known)} already", "end one of them first")
        wish = Wish(
            id=token_hex(ID_BYTES),
            app=app,
            endpoint=endpoint,
            kind=asked.kind,
            created_wall_ns=wall_ns,
            until_wall_ns=wall_ns + asked.for_ns,
            min=asked.min,
            max=asked.max,
        )
        await catalog.add_wish(wish)
        await self._parts.world.acted()
        return answer(wish)

    async def all(self, request: Request) -> Response:
        """Return what is declared of an endpoint."""
        app, endpoint, _ = self._endpoint(request)
        return answer({"wishes": self._all(app, endpoint)})

    async def end(self, request: Request) -> Response:
        """End one before its time."""
        app, endpoint, _ = self._endpoint(request)
        id = str(request.path_params["id"])
        if all(one.id != id for one in self._all(app, endpoint)):
            raise call_error(
                "not_found", f"{app}/{endpoint} has nothing declared as {id[:80]}", executed="no"
            )
        await self._parts.world.catalog.remove_wishes([id])
        await self._parts.world.acted()
        return answer({"ended": id})

    def _all(self, app: str, endpoint: str) -> list[Wish]:
        wishes = self._parts.world.catalog.wishes.values()
        return [one for one in wishes if (one.app, one.endpoint) == (app, endpoint)]

    def _endpoint(self, request: Request) -> tuple[str, str, Policy]:
        app, endpoint = request.path_params["app"], request.path_params["endpoint"]
        policy = self._parts.world.catalog.policies.get((app, endpoint))
        if policy is None:
            raise call_error("not_found", f"there is no endpoint {app}/{endpoint}", executed="no")
        return app, endpoint, policy


def _check(asked: _Asked, policy: Policy) -> None:
    """Refuse what could not hold, by name."""
    if not 0 < asked.for_ns <= FOR_MAX_NS:
        raise refused("it must hold for more than 0 s and at most 31 days", "for example --for 2h")
    lowest = policy.min if asked.min is None else asked.min
    highest = policy.max if asked.max is None else asked.max
    if asked.min is None and (asked.kind == "lease" or asked.max is None):
        raise refused("nothing is asked for", "for example --replicas 2, or --min 3")
    if asked.kind == "lease" and asked.max is not None:
        raise refused("a lease has no max", "`glowplug scale --max N --for TIME` sets one")
    if highest > REPLICAS_MAX:
        raise refused(f"max {highest} is more than {REPLICAS_MAX}", "an endpoint has no more")
    if not 0 <= lowest <= highest or highest < 1:
        raise refused(
            f"min {lowest}, max {highest}: min is at most max, and max at least 1",
            f"its scale is min {policy.min}, max {policy.max}; --min N --max M for both",
        )
