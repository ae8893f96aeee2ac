"""Which calls does the control API have? All of them, with the scope each one needs."""

from starlette.applications import Starlette

from glowplug_router.control.api_access import Access
from glowplug_router.control.api_apps import Apps
from glowplug_router.control.api_wishes import WishCalls
from glowplug_router.control.deploy import Deployer
from glowplug_router.control.parts import Parts
from glowplug_router.control.payloads import Payloads
from glowplug_router.control.routing import Call, Signed, application
from glowplug_router.signatures import PAYLOADS

PATH = PAYLOADS + "/{digest}"
WISHES = "/apps/{app}/endpoints/{endpoint}/wishes"


def control_api(parts: Parts, payloads: Payloads) -> Starlette:
    """Return the ASGI app."""
    signed = (Signed("PUT", PATH, payloads.put), Signed("GET", PATH, payloads.get))
    return application(calls(parts, payloads), parts.world.catalog, parts.clock, signed)


def calls(parts: Parts, payloads: Payloads) -> tuple[Call, ...]:
    """Return every call; a path's `{app}` is part of the scope where it has one."""
    apps, access = Apps(parts, Deployer(parts.world, parts.clock)), Access(parts)
    wishes = WishCalls(parts)
    return (
        Call("POST", "/blobs/missing", "deploy", apps.missing),
        Call("PUT", "/blobs/{digest}", "deploy", apps.upload),
        Call("POST", "/deploy", "deploy", apps.deploy),  # and of the app that the body names
        Call("POST", "/payloads", "invoke", payloads.announce),
        Call("GET", "/apps", "read", apps.all),
        Call("GET", "/apps/{app}", "read", apps.one),
        Call("GET", "/apps/{app}/history", "read", apps.history),
        Call("POST", "/apps/{app}/rollback", "deploy:{app}", apps.rollback),
        Call("POST", "/apps/{app}/stop", "deploy:{app}", apps.stop),
        Call("PATCH", "/apps/{app}/endpoints/{endpoint}/policy", "deploy:{app}", apps.set_policy),
        Call("GET", WISHES, "read", wishes.all),
        Call("POST", WISHES, "deploy:{app}", wishes.make),
        Call("DELETE", WISHES + "/{id}", "deploy:{app}", wishes.end),
        Call("GET", "/why", "read", apps.why),
        Call("GET", "/logs", "read", apps.logs),
        Call("GET", "/nodes", "read", apps.nodes),
        Call("GET", "/health", "read", apps.health),
        Call("GET", "/keys", "admin", access.keys),
        Call("POST", "/keys", "admin", access.make_key),
        Call("DELETE", "/keys/{id}", "admin", access.revoke_key),
        Call("GET", "/secrets", "admin", access.secrets),
        Call("PUT", "/secrets/{name}", "admin", access.set_secret),
        Call("DELETE", "/secrets/{name}", "admin", access.remove_secret),
    )
