"""What devices does a node have, and what does a replica want of them? Frozen records.

A device is a bin of two sizes: its share of compute, in thousandths of the whole device, and its memory. A GPU is a bin
of 1000; a MIG slice is a bin of its own, smaller, with the GPU that it was cut from as `parent`.
"""

from dataclasses import dataclass

WHOLE = 1000  # permille of a device


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceSlot:
    """One device of a node, or one slice of one."""

    uuid: str
    kind: str = "nvidia"  # "neuron", "fpga" ...: compared as it is
    model: str = ""
    memory_bytes: int = 0  # 0 = not known: then it is given to one replica only
    share_permille: int = WHOLE  # of the whole device: a seventh of a GPU has 142
    group: str = ""  # devices of one group are linked fast; "" = with all others of the node that say nothing
    parent: str = ""  # uuid of the device that this is a slice of
    profile: str = ""  # of a slice: "1g.10gb"
    speed_permille: int = 1000  # measured; 1000 is the reference


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceNeeds:
    """Devices that one replica wants, all of one kind and model. Each gives it the same share and memory."""

    kind: str = "nvidia"
    count: int = 1
    models: tuple[str, ...] = ()  # preferred first; () = any
    share_permille: int = WHOLE
    memory_bytes: int = 0  # of each device
    profile: str = ""  # of slices: a whole one each, of exactly this profile
    is_gang: bool = False  # all of them in one group
    over_nodes: bool = False  # a gang that may lie on several nodes of the group
    speeds: tuple[tuple[str, int], ...] = ()  # model -> measured speed of this version, permille


@dataclass(frozen=True, slots=True)
class Part:
    """What a gang has on a node that is not its first."""

    node: str
    gpus: tuple[str, ...]
