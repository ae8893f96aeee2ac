"""What does the router know? Frozen records; observed ones are rebuilt from agents, never trusted from the store."""

from dataclasses import dataclass
from typing import Literal

from glowplug.spec import Auth, Class, Device, EndpointSpec, Policy

ReplicaState = Literal["starting", "ready", "draining", "failed"]

# -- what is stored --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Version:
    """One immutable form of an endpoint."""

    app: str
    endpoint: str
    number: int
    digest: str  # of code, schema, image and engine spec
    spec: EndpointSpec
    bundle_digest: str
    created_wall_ns: int

    @property
    def key(self) -> str:
        """Return "app/endpoint@12"."""
        return f"{self.app}/{self.endpoint}@{self.number}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """Part of an endpoint's traffic that a version gets, in thousandths."""

    version: int
    permille: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """Where an endpoint's traffic goes, in one deployment."""

    endpoint: str
    shares: tuple[Share, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployment:
    """One atomic state of an app; the highest generation is the live one."""

    app: str
    generation: int
    routes: tuple[Route, ...]
    stopped: bool = False
    message: str = ""
    git_sha: str = ""
    created_wall_ns: int = 0
    rollback_of: int = 0  # generation this one goes back to
    policies: tuple[
        tuple[str, Policy], ...
    ] = ()  # what the code asked for then; one set since may differ and holds


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """An API key as kept: the secret itself is never stored."""

    id: str
    mac: str  # HMAC-SHA256(pepper, secret), hex
    tenant: str
    scopes: tuple[str, ...]  # "invoke:*", "invoke:app/*", "deploy:*", "read", "admin"
    created_wall_ns: int
    name: str = ""
    expires_wall_ns: int = 0  # 0 = never
    revoked: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Intent:
    """An action written down before it is carried out; its id is the hash of what it does."""

    id: str
    kind: str
    subject: str
    epoch: int
    deadline_wall_ns: int
    created_wall_ns: int
    state: Literal["open", "done", "abandoned"] = "open"
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Explain:
    """Why the planner did, or did not do, something: read by `status --why`."""

    subject: str  # "app/endpoint@12"
    rule: str  # short name of the rule that decided
    text: str  # one sentence with the numbers in it
    replicas_ready: int = 0
    replicas_wanted: int = 0


# -- what is observed --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """A machine with an agent, as last reported."""

    id: str
    cpu_milli: int
    memory_bytes: int
    gpus: tuple[tuple[str, str], ...] = ()  # (uuid, model name)
    seen_ns: int = 0  # monotonic time of the last report; silence makes it lost


@dataclass(frozen=True, slots=True, kw_only=True)
class Replica:
    """One replica, as last reported or as intended and not yet reported."""

    id: str
    version: str  # version key
    node: str
    state: ReplicaState
    permits: int = 1
    address: str = ""
    since_ns: int = 0  # monotonic time at which it entered this state
    failures: int = 0
    code: str = ""
    detail: str = ""
    gpus: tuple[str, ...] = ()  # uuids it holds, also while it is only intended


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """A version that should be able to serve, with all that decides how many replicas it gets."""

    key: str  # "app/endpoint@12"
    policy: Policy
    permits: int  # calls one replica runs at once
    permille: int  # share of traffic; 0 for a candidate or a version that is leaving
    candidate: bool = False  # wants one replica to be tried out, whatever the demand
    leaving: bool = False  # wants none; drain what is there
    gpu_count: int = 0
    gpu_names: tuple[str, ...] = ()
    memory_bytes: int = 0
    cpu_milli: int = 0
    drain_ns: int = 0
    swap_from: str = ""  # dev: replicas of this version key may become this version in place
    device: Device = "auto"  # auto: where no node has any GPU, it runs without


@dataclass(frozen=True, slots=True, kw_only=True)
class Demand:
    """What one version was asked for. Counters only grow; the router is the source of demand, so silence is zero."""

    key: str
    arrivals: int = 0  # calls accepted since the gateway started
    completed: int = 0
    service_ns: int = 0  # summed run time of completed calls
    queued: int = 0
    inflight: int = 0
    last_arrival_ns: int = 0  # monotonic; 0 = never


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """The world at one moment."""

    epoch: int
    served: tuple[Served, ...]
    nodes: tuple[Node, ...]
    replicas: tuple[Replica, ...]


# -- what is decided ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """Have a replica of this version on this node."""

    id: str  # intent id
    replica: str
    version: str
    node: str
    gpus: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Drain:
    """Let a replica finish and end."""

    id: str
    replica: str
    drain_ns: int
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Forget:
    """Drop a replica that is gone: failed, or on a node that was lost."""

    id: str
    replica: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Swap:
    """Dev: let a running replica become another version in place, its loaded state kept."""

    id: str
    replica: str
    version: str


Action = Start | Drain | Forget | Swap


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointMemory:
    """What the planner remembers of one version between two plans."""

    key: str
    arrivals: int = 0
    completed: int = 0
    service_ns: int = 0
    sampled_ns: int = 0
    rate_micro: int = 0  # smoothed arrivals per second, in millionths
    mean_service_ns: int = 0
    low_since_ns: int = 0  # since when fewer replicas would do; 0 = they would not
    high_since_ns: int = 0
    retry_at_ns: int = 0  # no new start before this: back-off after failures
    failures: int = 0  # failed starts in a row
    crashes: int = 0  # ends of replicas that had been ready, since one was stable
    first_seen_ns: int = 0
    busy_ns: int = 0  # when a call of it was last seen waiting or running
    low_peak: int = 0  # most replicas that were needed since `low_since_ns`
    seen_ready: tuple[str, ...] = ()  # replicas that have been ready and are still observed
    counted: tuple[str, ...] = ()  # failed replicas already counted and still observed
    room_node: str = ""  # where room is kept for it until what drains there is gone
    room_gpus: tuple[str, ...] = ()  # the devices that are kept for it there


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """The planner's memory: goes in, comes out changed. `serial` makes replica ids unique and reproducible."""

    versions: tuple[EndpointMemory, ...] = ()
    serial: int = 0
    seed: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What to do now, what to remember, why, and when to look again at the latest."""

    actions: tuple[Action, ...]
    memory: Memory
    explain: tuple[Explain, ...]
    wake_ns: int | None = (
        None  # monotonic time at which the answer may change with no new event; None = never
    )


# -- what gateways are told ----------------------------------------------------------------------------


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
