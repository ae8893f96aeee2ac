"""What is glowplug's own form of traffic? A JSON object a line; the least is when, whom, and how long.

{"at_ms": 1250.5, "endpoint": "app/name", "service_ms": 40, "priority": "interactive", "tenant": "ann",
 "deadline_ms": 2000, "affinity": "session-7", "size": 512}

`glowplug up --record` writes it, with more that only people read (`glowplug_router.gateway.recording`).
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from json import dumps
from pathlib import Path
from typing import Any, get_args

from glowplug.clock import MILLISECOND
from glowplug.spec import Class
from glowplug_router.simulation.replay.scene import Request
from glowplug_router.simulation.traces.models import Reading
from glowplug_router.simulation.traces.reading import TraceError, documents

RECORDED = ("at_ms", "endpoint")
CLASSES: tuple[Class, ...] = get_args(Class)


def recorded(path: Path, reading: Reading) -> Iterator[Request]:
    """Return the calls of a recording.

    One without `service_ms` did not run: it is taken to be as long as its endpoint's calls before it were on average,
    or `reading.service_ns` where there were none.
    """
    means: dict[str, _Mean] = defaultdict(_Mean)
    for number, document in documents(path):
        try:
            yield _request(document, reading, means)
        except (ValueError, TypeError, KeyError) as error:
            raise TraceError(
                f"{path.name}, line {number}: {error}",
                hint='a line is {"at_ms": 0, "endpoint": "app/name", "service_ms": 40}',
            ) from error


@dataclass(slots=True)
class _Mean:
    calls: int = 0
    service_ns: int = 0


def _request(document: dict[str, Any], reading: Reading, means: dict[str, _Mean]) -> Request:
    endpoint, klass = document.get("endpoint"), document.get("priority", "standard")
    if not isinstance(endpoint, str) or not endpoint:
        raise ValueError("endpoint is not a name")
    if klass not in CLASSES:
        raise ValueError(f"priority is {klass!r}, not one of {', '.join(CLASSES)}")
    name = endpoint.partition("@")[0]
    return Request(
        _ns(document, "at_ms"),
        name,
        _service_ns(document, reading, means[name]),
        klass,
        str(document.get("tenant", "")),
        _ns(document, "deadline_ms") if document.get("deadline_ms") else 0,
        str(document.get("affinity", "")),
        round(_number(document, "size")) if document.get("size") else 1,
    )


def _service_ns(document: dict[str, Any], reading: Reading, mean: _Mean) -> int:
    if document.get("service_ms") is None:
        return mean.service_ns // mean.calls if mean.calls else reading.service_ns
    service_ns = _ns(document, "service_ms")
    mean.calls += 1
    mean.service_ns += service_ns
    return service_ns


def _ns(document: dict[str, Any], name: str) -> int:
    return round(_number(document, name) * MILLISECOND)


def _number(document: dict[str, Any], name: str) -> float:
    value = document.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1e15:
        raise ValueError(f"{name} is {value!r}, not a number from 0 on")
    return value


def lines_of(traffic: Iterable[Request]) -> Iterator[str]:
    """Return traffic as lines of a recording: what `recorded` reads."""
    for request in traffic:
        document: dict[str, Any] = {
            "at_ms": request.at_ns / MILLISECOND,
            "endpoint": request.endpoint,
            "service_ms": request.service_ns / MILLISECOND,
        }
        if request.klass != "standard":
            document["priority"] = request.klass
        if request.tenant:
            document["tenant"] = request.tenant
        if request.deadline_ns:
            document["deadline_ms"] = request.deadline_ns / MILLISECOND
        if request.affinity:
            document["affinity"] = request.affinity
        if request.size != 1:
            document["size"] = request.size
        yield dumps(document)
