"""What is an endpoint, as data? The vocabulary all three packages share."""

from dataclasses import dataclass, field
from typing import Any, Literal

from glowplug.clock import MINUTE, SECOND

Json = Any  # a JSON value; msgspec and pydantic both take `Any` for it
Kind = Literal["function", "class"]
Auth = Literal["key", "public"]
Class = Literal["critical", "interactive", "standard", "batch"]
Device = Literal["auto", "cpu", "cuda"]

CHAIN_MAX = 8  # endpoints in one chain of calls; deeper is nearly always a loop
AFFINITY_MAX = 128  # characters that name a session or a prefix; a hash of it will do


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeouts:
    """Three limits that never mean each other: waiting, starting, running."""

    queue_ns: int = 60 * SECOND
    start_ns: int = 10 * MINUTE
    run_ns: int = 5 * MINUTE


@dataclass(frozen=True, slots=True, kw_only=True)
class Needs:
    """What one replica needs of its node."""

    gpu_count: int = 0
    gpu_names: tuple[str, ...] = ()  # acceptable models in order of preference; empty = any
    device: Device = "auto"
    cpu_milli: int = 0  # 0 = not limited
    memory_bytes: int = 0  # 0 = not limited


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageSpec:
    """What must be installed around the code; its digest is part of a version's identity."""

    python: str = ""  # "3.11"; empty = the interpreter that deploys
    requirements: tuple[str, ...] = ()  # PEP 508 lines; empty = the node's own environment
    overrides: tuple[str, ...] = ()  # requirement lines that win over what packages ask for
    metadata: tuple[
        tuple[str, tuple[str, ...]], ...
    ] = ()  # package -> its needs, instead of those it declares
    env: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Schema:
    """The two sides of an endpoint's contract, as JSON schema."""

    request: Json = None
    response: Json = None
    raw_body: str = ""  # name of the single `bytes` parameter that takes the body as it is
    files: tuple[str, ...] = ()  # parameters that multipart parts may fill with bytes
    streams: bool = False  # a generator: answers in pieces
    item: Json = None  # schema of one piece, when it streams
    media_type: str = (
        "application/json"  # of a plain answer; application/octet-stream when it returns bytes
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchSpec:
    """How calls are joined into one run of the code. `weight` and `key` themselves are functions in the code."""

    max: int = 0  # calls in one batch; 0 = the code takes one call at a time
    wait_ns: int = 0  # how long a batch that is not full may be held while the device is idle
    weight_max: int = 0  # most weight of a batch: its calls times their largest, or the sum when `packed`; 0 = no bound
    buckets: tuple[
        int, ...
    ] = ()  # sizes the engine was built for: a batch is filled up to the next of them
    is_weighed: bool = False  # the code says how large a call is
    is_keyed: bool = False  # the code says which calls may share a batch
    packed: bool = False  # a batch costs the sum of its weights, not its calls times the largest
    adaptive: bool = (
        True  # sizes follow the learned cost and the deadlines; False = always as full as can be
    )
    isolate: bool = (
        True  # a batch that fails is tried again in halves, so that only the calls at fault fail
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchTuning:
    """What an operator changed of a batch while it runs; None = as the code says."""

    max: int | None = None
    wait_ns: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointSpec:
    """What runs: name, code, contract, needs. How many run is in `Policy`, not here."""

    app: str
    name: str
    target: str  # "module:qualname"
    kind: Kind
    is_async: bool = False
    schema: Schema = field(default_factory=Schema)
    needs: Needs = field(default_factory=Needs)
    image: ImageSpec = field(default_factory=ImageSpec)
    concurrency: int = 1
    batch: BatchSpec = field(default_factory=BatchSpec)
    retry_safe: bool = False  # a call that may have run may run again
    timeouts: Timeouts = field(default_factory=Timeouts)
    env: tuple[tuple[str, str], ...] = ()
    secrets: tuple[str, ...] = ()
    volumes: tuple[str, ...] = ()
    hooks: tuple[str, ...] = ()  # lifecycle hooks the class defines: load warm check drain unload
    examples: tuple[Json, ...] = ()  # each a dict of arguments
    description: str = ""
    tags: tuple[tuple[str, str], ...] = ()
    load_key: str = (
        ""  # digest of the code that on.load can reach; equal keys allow a swap in place
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Targets:
    """What one replica should carry, in measures beside concurrency; 0 = not asked. Who wants most replicas wins."""

    qps_milli: int = 0  # calls a second, in thousandths
    queue_milli: int = 0  # calls that wait, in thousandths
    p95_ns: int = 0  # of waiting and running together
    util_permille: int = 0  # of its concurrency that is in use


@dataclass(frozen=True, slots=True, kw_only=True)
class WindowSpec:
    """A time that comes again and again, in which more replicas are kept."""

    cron: str  # when it begins: "0 8 * * 1-5", see glowplug.cron
    for_ns: int
    min: int
    tz: str = "UTC"  # IANA name


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """How many run and who may call; changing it makes no new version and restarts nothing."""

    min: int = 0
    max: int = 4
    buffer: int = 0  # ready replicas kept free above the load
    buffer_permille: int = 0  # and so many thousandths of those the load needs, rounded up
    target_concurrency: float = (
        0.0  # calls a replica should carry; 0 = so many that few wait (policy.scaling.staffing)
    )
    targets: Targets = field(default_factory=Targets)
    up_after_ns: int = 0
    down_after_ns: int = 60 * SECOND
    zero_after_ns: int = 5 * MINUTE  # -1 = as long as its gaps say
    windows: tuple[WindowSpec, ...] = ()
    hold: int = 100  # calls that may wait while no replica is ready
    auth: Auth = "key"
    priority: Class = "standard"  # of calls that do not say
    batch: BatchTuning = field(default_factory=BatchTuning)


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointDecl:
    """An endpoint with the policy its decorator asked for: what discovery finds in a user's module."""

    spec: EndpointSpec
    policy: Policy


def qualified(app: str, endpoint: str) -> str:
    """Return the name people and URLs use."""
    return f"{app}/{endpoint}"
