"""What is there now, and what is asked of it? Frozen records, rebuilt from agents and never trusted from the store."""

from dataclasses import dataclass, field
from typing import Literal

from glowplug.clock import SECOND
from glowplug.spec import Device, Policy
from glowplug_router.records.capacity import Limits, NodeState, Offer, OfferTally
from glowplug_router.records.devices import DeviceNeeds, DeviceSlot, Part
from glowplug_router.records.wishes import NO_WISHES, Wishes

ReplicaState = Literal["starting", "ready", "draining", "failed"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """A machine with an agent, as last reported."""

    id: str
    cpu_milli: int
    memory_bytes: int
    gpus: tuple[tuple[str, str], ...] = ()  # (uuid, model name)
    seen_ns: int = 0  # monotonic time of the last report; silence makes it lost
    offer: str = ""  # that it was launched for; "" = it was there
    zone: str = ""
    state: NodeState = "ready"
    since_ns: int = 0  # monotonic time at which it entered this state
    expected_ns: int = 0  # while it is launched: when it should be ready
    leaves_ns: int = 0  # it was given notice: when it will be gone; 0 = it was not
    holds: tuple[str, ...] = ()  # digests of bundles, engines and weights on its disk
    devices: tuple[
        DeviceSlot, ...
    ] = ()  # of any kind; where there are none said, `gpus` are the devices


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
    parts: tuple[Part, ...] = ()  # of a gang over several nodes: what it has elsewhere


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
    needs: tuple[
        DeviceNeeds, ...
    ] = ()  # any one of these; () = `gpu_count` whole ones of `gpu_names`
    artefacts: tuple[
        str, ...
    ] = ()  # digests that a start fetches where the node does not hold them
    is_spread: bool = False  # over zones, as evenly as there is room
    start_prior_ns: int = (
        30 * SECOND
    )  # how long a start takes while none was seen: GenTD26's load p50 is 23 s
    need: str = ""  # what it shares launched machines by; "" where none can be launched
    launch_ns: int = 0  # how long a machine for it takes to come, where none has room now
    wishes: Wishes = NO_WISHES  # what people declared for a while


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
class Machines:
    """What a provider says: what could be launched, what was, and what became of it."""

    offers: tuple[Offer, ...] = ()
    nodes: tuple[Node, ...] = ()  # one is in it from its order until it is gone
    tallies: tuple[OfferTally, ...] = ()
    limits: Limits = field(default_factory=Limits)  # what people allow of it


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """The world at one moment."""

    epoch: int
    served: tuple[Served, ...]
    nodes: tuple[Node, ...]
    replicas: tuple[Replica, ...]
    offers: tuple[Offer, ...] = ()  # what could be launched; none where nodes are simply there
    tallies: tuple[OfferTally, ...] = ()
    limits: Limits = field(default_factory=Limits)  # what people allow of what could be launched
    kept: tuple[
        str, ...
    ] = ()  # machines with replicas that are not shown: none of them is given back
