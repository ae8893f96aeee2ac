"""Which endpoint and version does a URL mean? A snapshot, compiled for look-ups."""

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import unquote_to_bytes

from glowplug.names import RESERVED_APPS
from glowplug.spec import qualified
from glowplug.suggest import did_you_mean
from glowplug_router.gateway.problems import Trouble
from glowplug_router.gateway.tally import Tally
from glowplug_router.records.published import RouteEndpoint, RouteVersion, Snapshot

if TYPE_CHECKING:
    from random import Random

FOUND_MAX = 4096  # remembered URLs; they differ by query
_INVOKE = re.compile(rb"/([A-Za-z0-9._~-]{1,80})/([A-Za-z0-9._~-]{1,80})(?:@([A-Za-z0-9]{1,16}))?")
_PINNED = re.compile(r"v([1-9][0-9]{0,8})")


class Lane:
    """A version, as calls see it."""

    __slots__ = ("dev", "key", "name", "number", "run_ns", "tally")

    def __init__(self, name: str, version: RouteVersion, tally: Tally) -> None:
        self.name = name
        self.key = tally.key
        self.number = version.number
        self.run_ns = version.run_ns
        self.dev = version.dev
        self.tally = tally
        tally.failed = version.failed

    def within(self, ns: int) -> int:
        """Return how long a call took by its replica's word, which goes no further than calls may run."""
        return min(max(0, ns), self.run_ns)


class Target:
    """An endpoint, as calls see it."""

    __slots__ = ("_shares", "_sole", "auth", "klass", "lanes", "name", "path", "stable", "stopped")

    def __init__(self, route: RouteEndpoint, tally: Callable[[str], Tally]) -> None:
        self.name = qualified(route.app, route.endpoint)
        self.path = f"/{route.endpoint}"
        self.auth = route.auth
        self.klass = route.default_class
        self.stopped = route.stopped
        self.lanes = {
            v.number: Lane(self.name, v, tally(f"{self.name}@{v.number}")) for v in route.versions
        }
        self.stable = self.lanes.get(route.stable)
        self._shares = tuple(
            (v.permille, self.lanes[v.number]) for v in route.versions if v.permille > 0
        )
        self._sole = self._shares[0][1] if len(self._shares) == 1 else None

    def draw(self, chance: "Random") -> Lane | None:
        """Return a version by its share of the traffic; None when none has any."""
        if self._sole is not None or not self._shares:
            return self._sole
        point = chance.randrange(sum(share for share, _ in self._shares))
        for share, lane in self._shares:
            point -= share
            if point < 0:
                return lane
        raise AssertionError(self._shares)


class Found(NamedTuple):
    """What an invoke URL means: an endpoint, perhaps one version of it; or why not."""

    target: Target | None
    selector: str  # "", "v12", "stable"
    query: str
    app: str = ""
    endpoint: str = ""


class Table:
    """All routes of one snapshot."""

    def __init__(self, snapshot: Snapshot | None, tally: Callable[[str], Tally]) -> None:
        routes = snapshot.endpoints if snapshot is not None else ()
        self.targets = {qualified(r.app, r.endpoint): Target(r, tally) for r in routes}
        self._found: dict[bytes, Found | None] = {}

    def find(self, url: bytes) -> Found | None:
        """Return what an invoke URL means, None when it is not one (then the site answers)."""
        try:
            return self._found[url]
        except KeyError:
            if len(self._found) >= FOUND_MAX:
                self._found.clear()
            found = self._found[url] = self._parse(url)
            return found

    def _parse(self, url: bytes) -> Found | None:
        path, _, query = url.partition(b"?")
        match = _INVOKE.fullmatch(unquote_to_bytes(path) if b"%" in path else path)
        if match is None or match[1] in {b"-", b".", b".."}:
            return None
        app, endpoint = match[1].decode(), match[2].decode()
        if app in RESERVED_APPS:
            return None
        target = self.targets.get(f"{app}/{endpoint}")
        return Found(target, (match[3] or b"").decode(), query.decode("latin-1"), app, endpoint)

    def missing(self, found: Found, may_see: Callable[[str], bool]) -> str:
        """Say what is wrong with a URL, naming only endpoints that the caller may call."""
        names = [name for name in self.targets if may_see(name)]
        asked = f"{found.app}/{found.endpoint}"
        return f"there is no endpoint {asked}; {did_you_mean(asked, names)}"


def pinned(target: Target, selector: str) -> Lane | None:
    """Return the version that "v12" or "stable" names; None when there is no such one."""
    if selector == "stable":
        return target.stable
    match = _PINNED.fullmatch(selector)
    return target.lanes.get(int(match[1])) if match is not None else None


def unknown_version(target: Target, selector: str) -> str:
    """Say which versions there are."""
    names = ", ".join(f"v{number}" for number in sorted(target.lanes)) or "none"
    return f"{target.name} has no version {selector!r}; it has {names}"


def too_urgent(key: str, target: Target, klass: str) -> Trouble:
    """Return the trouble of a call that asks to go before what its endpoint's calls go before."""
    who = f"the key {key} has no scope priority:{klass}" if key else "callers without a key may not"
    detail = f"calls of {target.name} are {target.klass}, and this one asks for {klass}: {who}"
    hint = (
        f"leave out Glowplug-Priority, ask for {target.klass} or lower, or use a key made with"
        f" `glowplug keys create --scope 'invoke:*' --scope priority:{klass}`"
    )
    return Trouble("forbidden", detail, hint=hint)


def no_traffic(target: Target) -> Trouble:
    """Return the trouble of an endpoint whose versions all have a share of zero."""
    return Trouble("unavailable", f"no version of {target.name} gets traffic")
