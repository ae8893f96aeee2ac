"""How many replicas should run, and when? `Scale(...)` and what goes into it."""

from collections.abc import Sequence
from dataclasses import dataclass

from glowplug.clock import HOUR
from glowplug.cron import parsed, zone
from glowplug.errors import DefinitionError
from glowplug.given import WHOLE, ByName, is_number, permille, whole_number
from glowplug.spec import Auth, Class, Policy, Targets, WindowSpec
from glowplug.units import Duration, duration_ns

REPLICAS_MAX = 10_000  # of one endpoint
COUNT_MAX = 100_000  # of all else that is counted in a policy: calls that wait, free replicas
AUTO, AUTO_NS = "auto", -1  # of `zero_after`: learned from the gaps between calls
BUFFER_MAX = 10 * WHOLE  # permille of what the load needs; more is a slip
WINDOWS_MAX = 16  # of one endpoint
WINDOW_MAX_NS = 7 * 24 * HOUR  # longer than a week it is no window


@dataclass(frozen=True, slots=True, kw_only=True)
class Target(ByName):
    """What one replica should carry; of several measures the one that wants most replicas wins.

    Args:
        concurrency: calls at once; never more than it takes.
        qps: calls a second.
        queue: calls that wait for it.
        p95: how long 95 of 100 calls may take, waiting included.
        util: how much of its concurrency is in use: "70%" or 0.7.
    """

    concurrency: float | None = None
    qps: float | None = None
    queue: float | None = None
    p95: Duration | None = None
    util: "float | str | None" = None

    def __post_init__(self) -> None:
        for name in ("concurrency", "qps", "queue"):
            given = getattr(self, name)
            if given is not None and (not is_number(given) or not 0 < given <= COUNT_MAX):
                raise DefinitionError(
                    f"target.{name}={given!r} is not a number above 0", hint=f"write {name}=4"
                )
        self.spec()

    def spec(self) -> Targets:
        """Return the record; concurrency stands beside it in the policy."""
        return Targets(
            qps_milli=_milli(self.qps),
            queue_milli=_milli(self.queue),
            p95_ns=0 if self.p95 is None else _p95_ns(self.p95),
            util_permille=0 if self.util is None else permille(self.util, "target.util", WHOLE),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale(ByName):
    """How many replicas run.

    Args:
        min: replicas that always run; 0 costs nothing when idle.
        max: never more than these.
        buffer: ready replicas kept free above the load: a number, or "20%" of those that the load needs.
        target: calls a replica should carry at once, or a `Target` with other measures; by default so many that few
            calls wait.
        up_after: how long load must last before a replica is added.
        down_after: how long it must be gone before one is taken away.
        zero_after: how long an idle endpoint keeps its last replica; "auto" learns it from the gaps between calls.
        windows: times in which more replicas are kept: `Window("0 8 * * mon-fri", "10h", tz="Europe/Berlin", min=2)`.
        hold: calls that may wait while no replica is ready.
    """

    min: int = 0
    max: int = 4
    buffer: "int | str" = 0
    target: "float | Target | None" = None
    up_after: Duration = "0s"
    down_after: Duration = "60s"
    zero_after: Duration = "5m"
    windows: "Sequence[Window]" = ()
    hold: int = 100

    def __post_init__(self) -> None:
        whole_number(self.max, "scale.max", 1, REPLICAS_MAX)
        if not _is_share(self.buffer):
            whole_number(self.buffer, "scale.buffer", 0, COUNT_MAX)
        for name, least in (("min", 0), ("hold", 1)):
            whole_number(getattr(self, name), f"scale.{name}", least, COUNT_MAX)
        if self.min > self.max:
            raise DefinitionError(
                f"scale.min={self.min} is more than scale.max={self.max}",
                hint=f"write Scale(min={self.min}, max={self.min})",
            )
        if isinstance(self.buffer, int) and self.buffer > self.max:
            raise DefinitionError(
                f"scale.buffer={self.buffer} is more than scale.max={self.max}",
                hint="raise max or lower buffer",
            )
        is_calls = is_number(self.target) and self.target > 0  # type: ignore[operator]  # it is a number
        if self.target is not None and not isinstance(self.target, Target) and not is_calls:
            raise DefinitionError(
                f"scale.target={self.target!r} is not a number of calls above 0",
                hint="write target=4: calls that one replica should carry at once, or target=Target(qps=10)",
            )
        check_windows(self.windows, self.max)
        self.policy()

    def policy(self, auth: Auth = "key", priority: Class = "standard") -> Policy:
        """Return the record the controller plans with."""
        return Policy(
            min=self.min,
            max=self.max,
            buffer=self.buffer if isinstance(self.buffer, int) else 0,
            buffer_permille=0
            if isinstance(self.buffer, int)
            else permille(self.buffer, "scale.buffer", BUFFER_MAX),
            target_concurrency=self._concurrency(),
            targets=self.target.spec() if isinstance(self.target, Target) else Targets(),
            up_after_ns=duration_ns(self.up_after, "scale.up_after"),
            down_after_ns=duration_ns(self.down_after, "scale.down_after"),
            zero_after_ns=AUTO_NS
            if self.zero_after == AUTO
            else duration_ns(self.zero_after, "scale.zero_after"),
            windows=tuple(window.spec() for window in self.windows),
            hold=self.hold,
            auth=auth,
            priority=priority,
        )

    def _concurrency(self) -> float:
        target = self.target
        return float((target.concurrency if isinstance(target, Target) else target) or 0.0)


@dataclass(frozen=True, slots=True)
class Window:
    """A time that comes again and again, in which at least `min` replicas are kept.

    Args:
        cron: when it begins, five fields: "0 8 * * mon-fri".
        lasts: how long it goes on: "10h".
        min: replicas kept in it.
        tz: in which time zone `cron` is meant, by its IANA name; summer time is heeded.
    """

    cron: str
    lasts: Duration
    tz: str = "UTC"
    min: int = 1

    def __post_init__(self) -> None:
        self.spec()

    def spec(self) -> WindowSpec:
        """Return the record."""
        spec = WindowSpec(
            cron=self.cron,
            for_ns=duration_ns(self.lasts, "window.lasts"),
            min=whole_number(self.min, "window.min", 1, REPLICAS_MAX),
            tz=self.tz,
        )
        trouble = window_trouble(spec)
        if trouble:
            raise DefinitionError(
                f"Window({self.cron!r}): {trouble}",
                hint='write Window("0 8 * * mon-fri", "10h", tz="Europe/Berlin", min=2)',
            )
        return spec


def window_trouble(window: WindowSpec) -> str:
    """Return what is wrong with a window, "" when nothing is."""
    if not 0 < window.for_ns <= WINDOW_MAX_NS:
        return "it lasts for more than 0 s and at most 7 days"
    try:
        parsed(window.cron)
        zone(window.tz)
    except (ValueError, AttributeError, TypeError) as error:
        return str(error)
    return ""


def check_windows(windows: object, most: int) -> None:
    """Refuse what is no list of windows, or keeps more replicas than there may be."""
    is_list = isinstance(windows, Sequence) and not isinstance(windows, str)
    if not is_list or not all(isinstance(one, Window) for one in windows):  # type: ignore[attr-defined]  # it is a list
        raise DefinitionError(
            f"scale.windows={windows!r} is not a list of windows",
            hint='write windows=[Window("0 8 * * mon-fri", "10h", min=2)]',
        )
    assert isinstance(windows, Sequence)
    if len(windows) > WINDOWS_MAX:
        raise DefinitionError(
            f"scale.windows has {len(windows)} windows", hint=f"at most {WINDOWS_MAX}"
        )
    for one in windows:
        if one.min > most:
            raise DefinitionError(
                f"a window keeps {one.min} replicas, more than scale.max={most}",
                hint=f"write max={one.min}",
            )


def _is_share(given: object) -> bool:
    return isinstance(given, str) and given.endswith("%")


def _milli(given: float | None) -> int:
    return 0 if given is None else max(1, round(WHOLE * given))


def _p95_ns(given: Duration) -> int:
    p95_ns = duration_ns(given, "target.p95")
    if p95_ns == 0:
        raise DefinitionError("target.p95 is 0: no call is that quick", hint='write p95="800ms"')
    return p95_ns
