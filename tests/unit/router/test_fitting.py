"""Is it known at once that something can never run here, and is it said why?"""

import pytest

from glowplug.spec import Device, Policy
from glowplug_router.policy.fitting import never_fits
from glowplug_router.records.observed import Node, Served

PLAIN = Node(id="plain", cpu_milli=4000, memory_bytes=8 << 30)
L4 = Node(id="l4", cpu_milli=4000, memory_bytes=8 << 30, gpus=(("a", "NVIDIA L4"),))


def asking(
    gpus: int = 0,
    names: tuple[str, ...] = (),
    device: Device = "auto",
    memory_bytes: int = 0,
    cpu_milli: int = 0,
) -> Served:
    return Served(
        key="a/x@1",
        policy=Policy(),
        permits=1,
        permille=0,
        gpu_count=gpus,
        gpu_names=names,
        device=device,
        memory_bytes=memory_bytes,
        cpu_milli=cpu_milli,
    )


@pytest.mark.parametrize(
    ("served", "nodes"),
    [
        (asking(memory_bytes=8 << 30), (PLAIN,)),
        (asking(gpus=1, device="auto"), (PLAIN,)),  # without any GPU anywhere it runs without
        (asking(gpus=1, names=("A10G", "L4"), device="cuda"), (PLAIN, L4)),
        (asking(gpus=9, memory_bytes=1 << 60), ()),  # nothing is known yet
    ],
)
def test_what_an_empty_node_could_hold_may_wait(served: Served, nodes: tuple[Node, ...]) -> None:
    assert never_fits(served, nodes) == ""


@pytest.mark.parametrize(
    ("served", "nodes", "why"),
    [
        (asking(gpus=1, device="cuda"), (PLAIN,), "no node here has a GPU"),
        (asking(gpus=2), (PLAIN, L4), "2 GPU (any), 0 MiB, and no node has that: there is NVIDIA"),
        (asking(gpus=1, names=("A10G",)), (L4,), "there is NVIDIA L4"),
        (asking(memory_bytes=9 << 30), (PLAIN,), "no node is big enough, even when empty"),
        (asking(cpu_milli=5000), (PLAIN,), "has 4 CPUs"),
        (asking(gpus=1, memory_bytes=9 << 30), (L4,), "no node is big enough, even when empty"),
    ],
)
def test_what_no_node_could_hold_is_said_with_the_reason(
    served: Served, nodes: tuple[Node, ...], why: str
) -> None:
    assert why in never_fits(served, nodes)
