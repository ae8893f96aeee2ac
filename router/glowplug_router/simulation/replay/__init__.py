"""What would have happened? Traffic replayed through the real `plan` and the real dispatcher, in virtual time.

`replay(scene, planner, seed) -> Outcome`; the same arguments give the same outcome and the same digest.
"""

from glowplug_router.simulation.replay.apart import replay_apart
from glowplug_router.simulation.replay.market import Market
from glowplug_router.simulation.replay.meters import CODES, Calls, Outcome
from glowplug_router.simulation.replay.provided import Provided
from glowplug_router.simulation.replay.run import Planner, replay
from glowplug_router.simulation.replay.scene import (
    Affine,
    Batch,
    Cost,
    Endpoint,
    Fleet,
    Request,
    Scene,
    StartTime,
)
from glowplug_router.simulation.replay.timeline import Bucket, Timeline

__all__ = [
    "CODES",
    "Affine",
    "Batch",
    "Bucket",
    "Calls",
    "Cost",
    "Endpoint",
    "Fleet",
    "Market",
    "Outcome",
    "Planner",
    "Provided",
    "Request",
    "Scene",
    "StartTime",
    "Timeline",
    "replay",
    "replay_apart",
]
