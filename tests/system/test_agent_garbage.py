"""Does an agent clear its disk of what it does not need, beside replicas that run?"""

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import anyio
import pytest

from glowplug.artifact import Bundle
from glowplug.clock import MILLISECOND, SystemClock
from glowplug.node.agent import run_agent
from glowplug.node.garbage import LAYERS
from glowplug.node.site import Patience
from glowplug.settings import Home
from system.stage_of_agent import HELLO, clear, controlled, shipped, until, wanted


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    made = Home(tmp_path / "home")
    yield made
    clear(made)


async def test_old_layers_go_and_the_one_that_a_replica_runs_in_stays(home: Home) -> None:
    layer, data = shipped(HELLO)
    want = replace(wanted(Path()), bundle=Bundle(app="shop", layers=(layer,)))
    bundles = home.node / "bundles"
    unused, unfinished = bundles / ("0" * 64), bundles / ".new-of-a-crash"
    for path in (unused, unfinished):
        path.mkdir(parents=True)
    age_out(unused)
    address, often = f"unix:{home.run / 'controller.sock'}", Patience(sweep_every_ns=MILLISECOND)
    async with controlled(home) as controller, anyio.create_task_group() as group:
        controller.blobs = {layer.digest: data}
        group.start_soon(lambda: run_agent(home, address, "n1", SystemClock(), patience=often))
        await controller.until(lambda report: True)
        assert unused.is_dir(), "nothing is known to be unused before a controller has said"

        controller.want(want)
        await controller.residency("r1", "ready")
        age_out(bundles / layer.digest.removeprefix("sha256:"))
        await until(lambda: not unused.exists())

        assert [one.name for one in bundles.iterdir()] == [layer.digest.removeprefix("sha256:")]
        await controller.until(lambda report: report.layers == (layer.digest,))
        controller.want()
        await controller.until(lambda report: not report.residencies)
        age_out(bundles / layer.digest.removeprefix("sha256:"))
        await until(lambda: not list(bundles.iterdir()))
        await controller.until(lambda report: report.layers == ())
        group.cancel_scope.cancel()


def age_out(path: Path) -> None:
    """Date it as if it had been used long ago."""
    at_ns = SystemClock().wall_ns() - LAYERS.age_ns
    os.utime(path, ns=(at_ns, at_ns))
