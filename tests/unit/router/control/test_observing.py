"""What does the planner see of what agents report: artefacts on their disks, devices and slices?"""

from dataclasses import replace

import msgspec

from control_records import bundle, digest_of
from glowplug.artifact import Bundle, Layer
from glowplug.node.messages import Gpu, Inventory, Report
from glowplug.wire.messages import to_json
from glowplug_router.control.observe import artefacts, observe
from glowplug_router.records.devices import DeviceSlot
from unit.router.control.stage import Node, Nodes, stage


class Holding(Node):
    """A node whose disk and devices are told."""

    layers: tuple[str, ...] = ()
    envs: tuple[str, ...] = ()
    gpus: tuple[Gpu, ...] = ()

    def report(self) -> Report:
        report = super().report()
        inventory = replace(report.inventory, gpus=self.gpus)
        return replace(report, layers=self.layers, envs=self.envs, inventory=inventory)


async def test_a_replica_starts_on_the_node_that_holds_its_code() -> None:
    first, second = Holding("n1"), Holding("n2")
    second.layers = (digest_of("two"),)
    async with stage(nodes=Nodes(first, second)) as on:
        await on.deploy(("greet", "one"))
        assert (len(first.started), len(second.started)) == (1, 0)
        await on.deploy(("other", "two"))
        assert (len(first.started), len(second.started)) == (1, 1)


async def test_what_a_node_says_of_its_disk_and_devices_is_what_the_planner_sees() -> None:
    node = Holding("n1")
    whole = Gpu(uuid="GPU-a", name="NVIDIA H100", memory_bytes=80)
    part = replace(
        whole, uuid="MIG-a", memory_bytes=10, parent="GPU-a", profile="1g.10gb", share_permille=142
    )
    node.gpus = (whole, part)
    async with stage(nodes=Nodes(node)) as on:
        await on.settled()
        # What is fetched or built while the agent runs is news.
        node.envs, node.layers = (digest_of("env"),), (digest_of("one"),)
        await on.settled()
        (seen,) = observe(on.world, on.clock.now_ns(), 0).nodes

    assert seen.holds == (digest_of("env"), digest_of("one"))
    assert seen.devices == (
        DeviceSlot(uuid="GPU-a", model="NVIDIA H100", memory_bytes=80),
        DeviceSlot(
            uuid="MIG-a", model="NVIDIA H100", memory_bytes=10, share_permille=142,
            parent="GPU-a", profile="1g.10gb",
        ),
    )  # fmt: skip


def test_a_start_fetches_its_code_and_where_it_has_one_builds_its_environment() -> None:
    code, runtime, lock = (
        Layer(kind=kind, digest=digest_of(kind), size_bytes=1)
        for kind in ("code", "runtime", "lock")
    )
    whole = Bundle(app="hello", layers=(code, runtime, lock), env_digest=digest_of("env"))

    assert artefacts(bundle("code")) == (code.digest,)
    assert artefacts(whole) == (digest_of("env"), code.digest, runtime.digest)
    assert artefacts(replace(whole, env_digest="")) == (code.digest,)
    assert artefacts(replace(whole, source_path="/here")) == (digest_of("env"), runtime.digest)


def test_an_older_agent_that_says_nothing_of_layers_is_understood() -> None:
    inventory = Inventory(node="n1", boot_id="b", cpu_milli=1, memory_bytes=1)
    told = Report(
        node="n1", number=1, desired_number=0, inventory=inventory, residencies=(), layers=("x",)
    )
    older = msgspec.json.decode(to_json(told), type=dict[str, object])
    del older["layers"]

    assert msgspec.convert(older, Report) == replace(told, layers=())
