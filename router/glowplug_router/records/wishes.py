"""What do people declare over time? Floors and ceilings of replicas that begin and end by themselves."""

from dataclasses import dataclass
from typing import Literal

WishKind = Literal["lease", "override"]
HoldKind = Literal["window", "lease", "override"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """A declaration as it is stored: `glowplug preheat` makes a lease, `glowplug scale --for` an override."""

    id: str
    app: str
    endpoint: str
    kind: WishKind
    created_wall_ns: int
    until_wall_ns: int
    min: int | None = None  # of a lease: replicas that are kept
    max: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Hold:
    """A span of monotonic time in which a bound is another one."""

    kind: HoldKind
    from_ns: int
    until_ns: int  # from here on it holds no more
    min: int | None = None
    max: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Wishes:
    """All that is declared of an endpoint, the oldest first."""

    holds: tuple[Hold, ...] = ()


NO_WISHES = Wishes()
