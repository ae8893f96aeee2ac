"""What do agent and controller tell each other? Records sent as JSON in the bodies of their channel's messages."""

from dataclasses import dataclass, field
from typing import Literal

from glowplug.artifact import Bundle
from glowplug.spec import BatchTuning, EndpointSpec

RankState = Literal[
    "fetching",
    "building",
    "starting",
    "loading",
    "warming",
    "ready",
    "draining",
    "stopped",
    "failed",
]
Level = Literal["hot", "asleep", "primed", "cold"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Gpu:
    """One device of this machine, or one slice of one (MIG)."""

    uuid: str
    name: str
    memory_bytes: int
    parent: str = ""  # of a slice: uuid of the GPU that it was cut from
    profile: str = ""  # of a slice: "1g.10gb"
    share_permille: int = 1000  # of the compute of the whole GPU


@dataclass(frozen=True, slots=True, kw_only=True)
class Inventory:
    """What a node has."""

    node: str
    boot_id: str
    cpu_milli: int
    memory_bytes: int
    gpus: tuple[Gpu, ...] = ()
    python: str = ""
    platform: str = ""
    enforces_memory: bool = False  # cgroups (or nothing) hold a replica to its memory
    enforces_cpu: bool = False  # and to its CPUs
    capabilities: tuple[str, ...] = ()  # pidfd, cgroup, zygote


@dataclass(frozen=True, slots=True, kw_only=True)
class Want:
    """One replica a node should have, in full: the agent needs no other knowledge to start it."""

    replica: str  # id, unique for ever
    version: str  # "app/endpoint@12"
    spec: EndpointSpec
    bundle: Bundle
    bundle_digest: str
    draining: bool = False  # take no more calls, finish, then end
    drain_ns: int = 0  # time allowed for that
    reason: str = ""  # why it drains: scale, deploy, stop
    swap: bool = False  # dev: a running replica of another version with the same load_key may become this one in place
    dev: bool = False
    batch: BatchTuning = field(
        default_factory=BatchTuning
    )  # changes while it runs: told with the next PING


@dataclass(frozen=True, slots=True, kw_only=True)
class Desired:
    """Everything a node should have; whatever else runs there is ended. Body of `/-/desired`, controller → agent.

    Fenced: an agent ignores an epoch lower than the highest it has seen.
    """

    epoch: int
    number: int
    wants: tuple[Want, ...]
    prime: tuple[
        str, ...
    ] = ()  # env digests ("" = the node's own interpreter) for which a zygote should stand ready


@dataclass(frozen=True, slots=True, kw_only=True)
class Phase:
    """One timed step of a start: fetch, env, fork, import, load, warm, check."""

    name: str
    ns: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Residency:
    """One replica as it is."""

    replica: str
    version: str
    state: RankState
    level: Level = "hot"
    pid: int = 0
    address: str = ""  # data socket: "unix:/…"
    permits: int = 0
    started_wall_ns: int = 0
    phases: tuple[Phase, ...] = ()
    detail: str = ""  # why it failed, for people (traceback of user code included)
    code: str = ""  # problem code when failed: start_failed, start_timeout, out_of_memory …
    adopted: bool = False  # this agent found it running
    device: str = ""
    gpus: tuple[str, ...] = ()
    memory_enforced: bool = False
    cpu_enforced: bool = False
    calls_done: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """Everything a node has. Body of `/-/report`, agent → controller; sent on every change and once a second."""

    node: str
    number: int
    desired_number: int  # the last Desired this report takes into account
    inventory: Inventory
    residencies: tuple[Residency, ...]
    envs: tuple[str, ...] = ()  # environments built here
    layers: tuple[str, ...] = ()  # digests of layers on its disk; older agents leave it out


@dataclass(frozen=True, slots=True, kw_only=True)
class LogQuery:
    """Which log lines? Body of `/-/logs`, controller → agent; the answer streams JSON lines."""

    app: str = ""
    endpoint: str = ""
    replica: str = ""
    request_id: str = ""
    since_wall_ns: int = 0
    tail: int = 100
    follow: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteSocket:
    """Where a rank serves gateways of other hosts, besides its Unix socket. No setting makes such an address yet."""

    address: str  # tcp:host:port or tls:host:port
    token: str = field(repr=False)  # gateways prove with it that they belong to us
    certificate: str = ""  # PEM files, for tls:
    key: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RankLaunch:
    """What a rank process reads from its launch file descriptor (JSON); secrets never touch disk or argv."""

    replica: str
    version: str
    spec: EndpointSpec
    code_path: str  # folder that goes first on sys.path
    data_socket: str
    control_socket: str
    log_path: str
    epoch: int
    lease_ns: int
    device: str = "cpu"
    gpus: tuple[str, ...] = ()
    volumes: tuple[tuple[str, str], ...] = ()
    env: tuple[tuple[str, str], ...] = ()
    secrets: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    dev: bool = False
    remote_socket: RemoteSocket | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RankStats:
    """Answer to STATS and PING on a rank's control socket."""

    replica: str
    version: str
    epoch: int
    pid: int
    state: RankState
    permits: int
    inflight: int
    calls_done: int
    busy_ns: int
    phases: tuple[Phase, ...] = ()
    detail: str = ""
    code: str = ""
    modules: tuple[
        str, ...
    ] = ()  # third-party modules imported by ready: what a zygote should import before
    last_call_wall_ns: int = 0
