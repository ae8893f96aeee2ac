"""What do all replicas of a node share?"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field

from glowplug.clock import MINUTE, SECOND, Clock
from glowplug.node.bundles import Bundles
from glowplug.node.cgroups import Groups
from glowplug.node.environments import Environments
from glowplug.node.folders import Folders
from glowplug.node.launchers import Launcher
from glowplug.node.messages import Inventory
from glowplug.node.zygotes import Zygotes
from glowplug.wire.channel import Spawn

LEASE_NS = 30 * SECOND  # a rank that no agent has spoken to for so long ends by itself
PING_EVERY_NS = 5 * SECOND  # six tries within a lease
HANG_NS = 10 * SECOND  # a rank that answers no PING for so long is killed
TERM_NS = 5 * SECOND  # between SIGTERM and SIGKILL
SWEEP_EVERY_NS = 10 * MINUTE  # between two looks for what may leave the disk

Secrets = Callable[[Sequence[str]], Awaitable[Mapping[str, str]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long the agent waits, for ranks above all; tests use less."""

    lease_ns: int = LEASE_NS
    ping_every_ns: int = PING_EVERY_NS
    hang_ns: int = HANG_NS
    term_ns: int = TERM_NS
    sweep_every_ns: int = SWEEP_EVERY_NS


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """The node, as its replicas see it."""

    folders: Folders
    clock: Clock
    inventory: Inventory
    groups: Groups
    bundles: Bundles
    environments: Environments
    secrets: Secrets
    execs: Launcher
    zygotes: Zygotes
    spawn: Spawn
    epoch: int  # of this agent's life: ranks refuse commands of an earlier one
    taken: Callable[[], frozenset[str]]  # UUIDs of the GPUs that replicas have
    pidfds: bool = True
    patience: Patience = field(default_factory=Patience)
