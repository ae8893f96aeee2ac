"""What is glowplug's own form of traffic? A JSON object a line; the least is when, whom, and how long.

{"at_ms": 1250.5, "endpoint": "app/name", "service_ms": 40, "priority": "interactive", "tenant": "ann",
 "deadline_ms": 2000, "affinity": "session-7"}
"""

from collections.abc import Iterable, Iterator
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
    """Return the calls of a recording; `service_ms` may be left out, then all take `reading.service_ns`."""
    for number, document in documents(path):
        try:
            yield _request(document, reading)
        except (ValueError, TypeError, KeyError) as error:
            raise TraceError(
                f"{path.name}, line {number}: {error}",
                hint='a line is {"at_ms": 0, "endpoint": "app/name", "service_ms": 40}',
            ) from error


def _request(document: dict[str, Any], reading: Reading) -> Request:
    endpoint, klass = document.get("endpoint"), document.get("priority", "standard")
    if not isinstance(endpoint, str) or not endpoint:
        raise ValueError("endpoint is not a name")
    if klass not in CLASSES:
        raise ValueError(f"priority is {klass!r}, not one of {', '.join(CLASSES)}")
    has_service = document.get("service_ms") is not None
    return Request(
        _ns(document, "at_ms"),
        endpoint.partition("@")[0],
        _ns(document, "service_ms") if has_service else reading.service_ns,
        klass,
        str(document.get("tenant", "")),
        _ns(document, "deadline_ms") if document.get("deadline_ms") else 0,
        str(document.get("affinity", "")),
    )


def _ns(document: dict[str, Any], name: str) -> int:
    value = document.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1e15:
        raise ValueError(f"{name} is {value!r}, not a number from 0 on")
    return round(value * MILLISECOND)


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
        yield dumps(document)
