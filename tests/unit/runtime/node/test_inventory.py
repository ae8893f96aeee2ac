"""Which GPUs and slices does a node have, by what NVML says?"""

# ruff: noqa: N802  the names are the library's

from dataclasses import dataclass, field
from typing import Any

from glowplug.node.inventory import listed
from glowplug.node.messages import Gpu

GIB = 1 << 30


class NVMLError(Exception):
    """As the library raises."""


@dataclass
class Device:
    """What NVML knows of one device. `parts` of None: this model has no slices."""

    uuid: str | bytes
    name: str
    total: int
    parts: list["Device | None"] | None = None
    gpuInstanceSliceCount: int = 0  # noqa: N815 the library's name


@dataclass
class Nvml:
    """The few calls of NVML that an inventory makes."""

    devices: list[Device] = field(default_factory=list)
    NVMLError = NVMLError

    def nvmlDeviceGetCount(self) -> int:
        return len(self.devices)

    def nvmlDeviceGetHandleByIndex(self, index: int) -> Device:
        return self.devices[index]

    def nvmlDeviceGetUUID(self, handle: Device) -> str | bytes:
        return handle.uuid

    def nvmlDeviceGetName(self, handle: Device) -> str:
        return handle.name

    def nvmlDeviceGetMemoryInfo(self, handle: Device) -> Any:
        return handle

    def nvmlDeviceGetMigMode(self, handle: Device) -> list[int]:
        if handle.parts is None:
            raise NVMLError("Not Supported")
        return [int(bool(handle.parts)), 0]

    def nvmlDeviceGetMaxMigDeviceCount(self, handle: Device) -> int:
        return len(handle.parts or ())

    def nvmlDeviceGetMigDeviceHandleByIndex(self, handle: Device, index: int) -> Device:
        part = (handle.parts or [])[index]
        if part is None:
            raise NVMLError("Not Found")
        return part

    def nvmlDeviceGetAttributes_v2(self, handle: Device) -> Device:
        return handle


def test_a_gpu_is_listed_with_its_memory_and_with_the_slices_it_is_cut_in() -> None:
    model = "NVIDIA H100 80GB HBM3"
    small = Device("MIG-1", f"{model} MIG 1g.10gb", 10 * GIB, gpuInstanceSliceCount=1)
    half = Device("MIG-3", f"{model} MIG 3g.40gb", 40 * GIB, gpuInstanceSliceCount=3)
    there = [
        Device("GPU-cut", model, 80 * GIB, [half, None, small]),
        Device(b"GPU-whole", model, 80 * GIB, []),
        Device("GPU-l4", "NVIDIA L4", 24 * GIB),
    ]

    assert listed(Nvml(there)) == (
        Gpu(uuid="GPU-cut", name=model, memory_bytes=80 * GIB),
        Gpu(
            uuid="MIG-3", name=model, memory_bytes=40 * GIB,
            parent="GPU-cut", profile="3g.40gb", share_permille=428,
        ),
        Gpu(
            uuid="MIG-1", name=model, memory_bytes=10 * GIB,
            parent="GPU-cut", profile="1g.10gb", share_permille=142,
        ),
        Gpu(uuid="GPU-whole", name=model, memory_bytes=80 * GIB),
        Gpu(uuid="GPU-l4", name="NVIDIA L4", memory_bytes=24 * GIB),
    )  # fmt: skip
    assert listed(Nvml()) == ()


def test_a_slice_whose_name_does_not_say_its_model_has_that_of_its_gpu() -> None:
    part = Device("MIG-1", "MIG 1g.10gb", 10 * GIB, gpuInstanceSliceCount=1)
    (_, found) = listed(Nvml([Device("GPU-cut", "NVIDIA H100", 80 * GIB, [part])]))

    assert (found.name, found.profile) == ("NVIDIA H100", "1g.10gb")
