"""What is replayed in these tests: one endpoint, as small as it goes."""

from collections.abc import Iterable
from typing import Any

from glowplug.clock import HOUR, SECOND
from glowplug.spec import Policy
from glowplug_router.records.observed import Served
from glowplug_router.simulation.replay import Endpoint, Request, Scene, StartTime
from glowplug_router.simulation.replay.scene import devices

NAME = "app/one"


def endpoint(name: str = NAME, **policy: Any) -> Endpoint:
    served = Served(
        key=f"{name}@1",
        policy=Policy(**policy),
        permits=2,
        permille=1000,
        gpu_count=1,
        drain_ns=HOUR,
    )
    return Endpoint(served=served, start=StartTime(10 * SECOND))


def scene(traffic: Iterable[Request], *, machines: int = 4, **more: Any) -> Scene:
    known: dict[str, Any] = {
        "endpoints": (endpoint(),),
        "fleet": devices(machines, price_micro_usd=3_600_000),
        "lead_ns": SECOND,  # the first plan is over, so that the next follows its call at once
    }
    return Scene(traffic=traffic, **(known | more))


def calls(*at_s: float, service_s: float = 1.0, name: str = NAME) -> list[Request]:
    return [Request(int(at * SECOND), name, int(service_s * SECOND)) for at in at_s]
