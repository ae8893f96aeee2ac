"""Which format has a file, and what calls are in it?"""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from msgspec import structs

from glowplug_router.simulation.replay.scene import Request
from glowplug_router.simulation.traces import alibaba, functions, language, recorded
from glowplug_router.simulation.traces.models import Reading
from glowplug_router.simulation.traces.reading import TraceError, lines

Loader = Callable[[Path, Reading], Iterator[Request]]
CALLS_MAX = 2_000_000  # kept in memory, since a trace is replayed twice: some 300 MB


@dataclass(frozen=True, slots=True)
class Format:
    """A format of traffic: what its first line must have, and who reads it."""

    name: str
    marks: tuple[str, ...]
    load: Loader
    is_json: bool = False


# The first one whose marks are all there; so those with more marks stand before those with fewer.
FORMATS = (
    Format("azure-llm", language.AZURE, language.azure),
    Format("azure-functions-2019", functions.COUNTS, functions.counts),
    Format("azure-functions-2021", functions.INVOCATIONS, functions.invocations),
    Format("burstgpt", language.BURSTGPT, language.burstgpt),
    Format("gentd26", alibaba.GENTD26, alibaba.gentd26),
    Format("mooncake-lengths", language.MOONCAKE_CSV, language.mooncake_lengths),
    Format("mooncake", language.MOONCAKE, language.mooncake, is_json=True),
    Format("glowplug", recorded.RECORDED, recorded.recorded, is_json=True),
)
NAMES = tuple(format.name for format in FORMATS)


def load(
    path: Path, name: str = "", reading: Reading | None = None, limit: int = CALLS_MAX
) -> tuple[Request, ...]:
    """Return the calls of a file in the order of time, the first one at 0; at most so many.

    Raises:
        TraceError: The file cannot be read, is of no known format, or has no calls.
    """
    found = _named(name) if name else recognised(path)
    requests = list(islice(found.load(path, reading or Reading()), limit))
    if not requests:
        raise TraceError(f"{path.name} has no calls", hint="is it the right file?")
    return in_order(requests)


def in_order(requests: list[Request]) -> tuple[Request, ...]:
    """Return calls in the order of time, the first one at 0; there is at least one."""
    requests.sort(key=lambda request: request.at_ns)
    first_ns = requests[0].at_ns
    return tuple(structs.replace(request, at_ns=request.at_ns - first_ns) for request in requests)


def _named(name: str) -> Format:
    for format in FORMATS:
        if format.name == name:
            return format
    raise TraceError(f"there is no format {name}", hint=f"formats: {', '.join(NAMES)}")


def recognised(path: Path) -> Format:
    """Return the format of a file by its first line.

    Raises:
        TraceError: It is none that is known.
    """
    first = next((line for _, line in lines(path)), "")
    is_json = first.lstrip().startswith("{")
    present = _keys(first) if is_json else {cell.strip(' "\ufeff\r\n') for cell in first.split(",")}
    for format in FORMATS:
        if format.is_json == is_json and present.issuperset(format.marks):
            return format
    raise TraceError(
        f"{path.name} is of no known format; it begins with {first[:60].strip()!r}",
        hint=f"formats: {', '.join(NAMES)}; glowplug's own is a line "
        '{"at_ms": 0, "endpoint": "app/name", "service_ms": 40} a call',
    )


def _keys(line: str) -> set[str]:
    try:
        document = json.loads(line)
    except (ValueError, RecursionError):
        return set()
    return set(document) if isinstance(document, dict) else set()
