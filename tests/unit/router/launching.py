"""What tests of plans that launch machines share: offers, and a world in which machines come."""

from dataclasses import replace
from typing import Any

from glowplug.clock import SECOND
from glowplug.spec import Policy
from glowplug_router.records.capacity import Offer
from glowplug_router.records.decided import Launch, Plan, Start, Terminate
from glowplug_router.records.observed import Served
from unit.router.planning import KEY, Planning, node, version

LAUNCH = 60 * SECOND


def offer(
    market: str = "on_demand", zone: str = "z1", price: int = 1_000_000, **others: object
) -> Offer:
    made = Offer(
        id=f"g6/{zone}/{market}",
        type="g6",
        zone=zone,
        market=market,  # type: ignore[arg-type]  # one of two
        price_micro_usd=price,
        devices=(("nvidia", 1),),
        model="NVIDIA L4",
        device_memory_bytes=24 << 30,
        cpu_milli=8000,
        memory_bytes=32 << 30,
        launch_p50_ns=LAUNCH,
        launch_p90_ns=LAUNCH,
    )
    return replace(made, **others)  # type: ignore[arg-type]  # a builder takes any field


def launching_planning(*served: Served, offers: tuple[Offer, ...], nodes: int = 0) -> Planning:
    """Return a planning where machines can be launched; `nodes` are simply there, each with a GPU."""
    planning = Planning(*served)
    there = tuple(node(f"n{number}", gpus=1) for number in range(nodes))
    planning.observed = replace(planning.observed, nodes=there, offers=offers)
    return planning


def on_gpu(key: str = KEY, **others: Any) -> Served:
    return version(key, **({"policy": Policy(min=1)} | others), gpu_count=1)


def come(planning: Planning) -> None:
    """Let all machines that are launched be there, with their devices."""
    there: dict[str, Any] = {"state": "ready", "since_ns": planning.now_ns, "cpu_milli": 8000}
    for one in planning.observed.nodes:
        if one.state == "launching":
            change(planning, one.id, **there, gpus=gpu_of(one.id))


def gpu_of(name: str) -> tuple[tuple[str, str], ...]:
    return ((f"{name}/0", "NVIDIA L4"),)


def change(planning: Planning, name: str, **changes: Any) -> None:
    nodes = tuple(
        replace(one, **changes) if one.id == name else one for one in planning.observed.nodes
    )
    planning.observed = replace(planning.observed, nodes=nodes)


def of(made: Plan, kind: type[Launch | Start | Terminate]) -> list[str]:
    return [one.node for one in made.actions if isinstance(one, kind)]


def rule(made: Plan, key: str = KEY) -> str:
    return next(row.rule for row in made.explain if row.subject == key)


def text(made: Plan, key: str = KEY) -> str:
    return next(row.text for row in made.explain if row.subject == key)


def ready_there(planning: Planning) -> str:
    """Go from nothing to one ready replica on a launched machine; return the machine."""
    (name,) = of(planning.plan(), Launch)
    come(planning)
    assert of(planning.after(SECOND), Start) == [name]
    planning.become("ready")
    planning.after(SECOND)
    return name
