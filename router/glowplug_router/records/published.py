"""What are gateways told, and what do they tell? Frozen records of the wire between them and the controller."""

from dataclasses import dataclass

from glowplug.spec import Auth, Class
from glowplug_router.records.calls import ColdCall
from glowplug_router.records.observed import Demand


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteReplica:
    """A replica a gateway may dial."""

    id: str
    address: str
    permits: int
    draining: bool = False
    phases: tuple[
        tuple[str, int], ...
    ] = ()  # of its start, ns: told to the call that waited for it


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteLoss:
    """A replica that died, and why: what the calls it had are told."""

    replica: str
    code: str
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteVersion:
    """A version as the gateway sees it."""

    number: int
    permille: int
    replicas: tuple[RouteReplica, ...]
    permits: int  # of one replica
    max_replicas: int
    hold: int
    queue_ns: int
    start_ns: int
    run_ns: int
    failed: str = ""  # why nothing can start, when that is so (problem code start_failed)
    dev: bool = False
    loss: RouteLoss | None = None  # the last replica that failed, until one is ready again
    starting: str = ""  # phase of the start that is furthest: capacity launch fetch env fork load warm; "" = none
    retry_safe: bool = False  # a call that may have run may run again


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteEndpoint:
    """An endpoint as the gateway sees it. `stable` is the version of the highest share."""

    app: str
    endpoint: str
    auth: Auth
    versions: tuple[RouteVersion, ...]
    stable: int
    stopped: bool = False
    default_class: Class = "standard"


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteKey:
    """A key as a gateway checks it."""

    id: str
    mac: str
    tenant: str
    scopes: tuple[str, ...]
    expires_wall_ns: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """Numbered table of everything a gateway needs; also kept on its disk."""

    number: int
    epoch: int
    endpoints: tuple[RouteEndpoint, ...] = ()
    keys: tuple[RouteKey, ...] = ()
    pepper: str = ""  # hex; macs of keys are made with it
    token_secret: str = ""  # hex; call tokens are made with it
    openapi: tuple[tuple[str, str], ...] = ()  # app -> OpenAPI document, JSON text


@dataclass(frozen=True, slots=True, kw_only=True)
class DemandReport:
    """Body of `/-/demand`, gateway → controller: at once when calls must wait, else at most every 200 ms."""

    gateway: str
    number: int
    demands: tuple[Demand, ...]
    snapshot: int = 0
    cold: tuple[ColdCall, ...] = ()
