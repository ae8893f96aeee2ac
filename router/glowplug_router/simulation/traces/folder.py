"""What did a router record? `up --record DIR`: its calls, the scale they met, what starts and batches took.

The folder holds `calls.jsonl` of the gateway and `plans.jsonl` of the controller. Of both, `.1` is what came before:
the same router's calls when there were many, or another day's, which are no part of it.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import chain, islice
from json import loads
from pathlib import Path

import msgspec
from msgspec import Struct

from glowplug.clock import MILLISECOND
from glowplug.spec import Policy
from glowplug_router.recording import CALLS
from glowplug_router.recording import FILE as PLANS
from glowplug_router.simulation.replay.scene import Request, StartTime
from glowplug_router.simulation.traces.formats import CALLS_MAX, in_order
from glowplug_router.simulation.traces.models import Reading
from glowplug_router.simulation.traces.reading import TraceError, lines
from glowplug_router.simulation.traces.recorded import recorded

STARTS_MAX = 1000  # of an endpoint, the first ones
BATCHES_MAX = 10_000  # of an endpoint, the latest: the costs forget all but the last fifty anyway
LINE_MAX_BYTES = 64 * 1024 * 1024  # of a plan's: 5,000 replicas make 5 MB


class Scaled(Struct, frozen=True):
    """A version as its plans saw it, as far as a replay needs it."""

    key: str
    policy: Policy
    permits: int
    permille: int
    gpu_count: int = 0


class _Replica(Struct, frozen=True):
    id: str
    version: str
    state: str
    since_ns: int


class _Observed(Struct, frozen=True):
    served: tuple[Scaled, ...]
    replicas: tuple[_Replica, ...]


class _Moment(Struct, frozen=True):
    observed: _Observed | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Recording:
    """What a folder holds. All mappings are by endpoint."""

    traffic: tuple[Request, ...]
    scaled: Mapping[str, Scaled]  # the version that had most of the traffic at the end
    starts: Mapping[str, StartTime]
    batches: Mapping[str, tuple[tuple[int, int], ...]]  # calls in it, and the ns that it took
    dropped: int  # calls that came and are not in it


def recording(folder: Path, reading: Reading, limit: int = CALLS_MAX) -> Recording:
    """Return what a router recorded; at most so many calls.

    Raises:
        TraceError: The folder has no calls in it, or something that is not a recording.
    """
    paths = _paths(folder)
    calls = chain.from_iterable(recorded(path, reading) for path in paths)
    requests = list(islice(calls, limit))
    if not requests:
        raise TraceError(
            f"{folder} has no calls: nobody called while it was recorded",
            hint="call something while `glowplug up --record DIR` runs, then stop it",
        )
    batches, dropped = _batches(paths)
    scaled, starts = _plans(folder / PLANS)
    return Recording(
        traffic=in_order(requests), scaled=scaled, starts=starts, batches=batches, dropped=dropped
    )


def _paths(folder: Path) -> tuple[Path, ...]:
    """Return the files of one gateway process, the older first."""
    newest = folder / CALLS
    if not newest.exists():
        raise TraceError(
            f"{folder} holds no {CALLS}", hint="`glowplug up --record DIR` writes one into DIR"
        )
    before = folder / f"{CALLS}.1"
    is_one = before.exists() and _run(before) == _run(newest) != ""
    return (before, newest) if is_one else (newest,)


def _run(path: Path) -> str:
    first = next((line for _, line in lines(path)), "{}")
    try:
        return str(loads(first).get("run", ""))
    except (ValueError, AttributeError):
        return ""  # whatever is wrong with it is told with its line, when it is read


def _batches(paths: tuple[Path, ...]) -> tuple[dict[str, tuple[tuple[int, int], ...]], int]:
    """Return what batches took, and how many calls were dropped; the lines are known to be good."""
    found: dict[str, list[tuple[int, int]]] = defaultdict(list)
    dropped = 0
    for path in paths:
        for _, line in lines(path):
            if '"batch"' not in line and '"dropped"' not in line:
                continue
            document = loads(line)
            dropped += int(document.get("dropped", 0))
            took_ns = round((document.get("service_ms") or 0) * MILLISECOND)
            if document.get("batch") and took_ns:
                found[document["endpoint"]].append((int(document["batch"]), took_ns))
    return {name: tuple(rows[-BATCHES_MAX:]) for name, rows in found.items()}, dropped


def _plans(path: Path) -> tuple[dict[str, Scaled], dict[str, StartTime]]:
    """Return how endpoints were scaled at the end, and how long their replicas took to start."""
    scaled: dict[str, Scaled] = {}
    starting: dict[str, int] = {}
    starts: dict[str, list[int]] = defaultdict(list)
    for observed in _observed(path):
        for served in observed.served:
            name = served.key.partition("@")[0]
            if name not in scaled or served.permille:
                scaled[name] = served
        _note_starts(observed, starting, starts)
    return scaled, {name: _start_time(sorted(rows)) for name, rows in starts.items()}


def _note_starts(
    observed: _Observed, starting: dict[str, int], starts: dict[str, list[int]]
) -> None:
    for replica in observed.replicas:
        if replica.state == "starting":
            starting.setdefault(replica.id, replica.since_ns)
            continue
        since_ns = starting.pop(replica.id, None)
        name = replica.version.partition("@")[0]
        if since_ns is not None and replica.state == "ready" and len(starts[name]) < STARTS_MAX:
            starts[name].append(replica.since_ns - since_ns)


def _start_time(rows: list[int]) -> StartTime:
    return StartTime(rows[len(rows) // 2], rows[len(rows) * 9 // 10])


def _observed(path: Path) -> Iterator[_Observed]:
    """Return what the plans saw, where that was news; nothing where there is no recording of plans."""
    decode = msgspec.json.Decoder(_Moment).decode
    try:
        with path.open("rb") as file:
            while line := file.readline(LINE_MAX_BYTES):
                moment = decode(line)
                if moment.observed is not None:
                    yield moment.observed
    except FileNotFoundError:
        return
    except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
        raise TraceError(
            f"{path} is no recording of plans: {error}",
            hint=f"remove it, and {CALLS} is replayed under the scale that the options say",
        ) from error
