"""How many spot machines could be had, and when? SkyPilot's traces and Bamboo's event lists.

skypilot-org/spot-traces `*.json` (no licence stated: none is kept here) and uclasystem/bamboo `doc/data/*.csv` (MIT).
"""

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

from glowplug.clock import HOUR, SECOND
from glowplug_router.simulation.market.series import Series, series, series_of_gaps
from glowplug_router.simulation.traces.reading import TraceError, lines, table

TICKS_MAX = 1_000_000  # 45 days in ticks of four seconds


def skypilot(path: Path) -> Series:
    """Return one pool of SkyPilot's: `{"metadata": {"gap_seconds": 300}, "data": [1, 0, …]}`.

    Raises:
        TraceError: The file is not of this form.
    """
    text = "".join(line for _, line in lines(path))
    try:
        document: Any = json.loads(text)
        gap_ns = round(float(document["metadata"]["gap_seconds"]) * SECOND)
        counts = [_count(tick) for tick in document["data"][:TICKS_MAX]]
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError) as error:
        raise _no_skypilot(path, str(error)) from error
    if gap_ns <= 0 or min(counts, default=-1) < 0:
        raise _no_skypilot(path, "gap_seconds and all counts must be there and positive")
    return series_of_gaps(counts, gap_ns)


def _no_skypilot(path: Path, why: str) -> TraceError:
    return TraceError(
        f"{path.name} is no SkyPilot trace: {why}",
        hint='it is one object {"metadata": {"gap_seconds": …}, "data": […]}',
    )


def _count(tick: Any) -> int:
    return sum(int(one) for one in tick) if isinstance(tick, list) else int(tick)


def bamboo(path: Path) -> Series:
    """Return one of Bamboo's lists: when, and how many nodes there are. Times with fractions are hours, else seconds.

    Raises:
        TraceError: A row is wrong, or times go back.
    """
    rows = list(table(path, (), head=("at", "nodes")))
    unit_ns = HOUR if any("." in row.text("at") for row in rows) else SECOND
    points = [(round(row.number("at") * unit_ns), int(row.number("nodes"))) for row in rows]
    if any(one[0] > other[0] for one, other in pairwise(points)):
        raise TraceError(f"{path.name}: times go back", hint="sort the file by its first column")
    return series(points)
