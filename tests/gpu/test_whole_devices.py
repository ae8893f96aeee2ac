"""Do GPUs reach the endpoints that ask for them? On a machine that has one, with torch in the node's interpreter."""

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.gpu, pytest.mark.timeout(300)]

APP = '''
"""Endpoints that say where they run."""

import os

import torch

from glowplug import Context, Scale, endpoint, on


@endpoint(app="cards", gpu=1, device="cuda", scale=Scale(max=1, zero_after="2s"), examples=[{"size": 64}])
class Product:
    @on.load
    def load(self, ctx: Context) -> None:
        self.device = ctx.device
        self.gpus = ctx.gpus
        self.eye = torch.eye(4096, device="cuda", dtype=torch.bfloat16)

    def __call__(self, size: int) -> dict[str, str | float | int]:
        total = float((torch.ones(size, 4096, device="cuda", dtype=torch.bfloat16) @ self.eye).float().sum())
        return {
            "sum": total,
            "device": self.device,
            "visible": os.environ["CUDA_VISIBLE_DEVICES"],
            "count": torch.cuda.device_count(),
            "name": torch.cuda.get_device_name(0),
            "pid": os.getpid(),
        }


@endpoint(app="cards", device="auto")
def host(x: int) -> str:
    return os.environ.get("CUDA_VISIBLE_DEVICES", "unset")
'''


@pytest.fixture(scope="module")
def home() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="gp") as name:
        run(Path(name), "up", "--detach", "--port", "0")
        try:
            source = Path(name) / "src"
            source.mkdir()
            (source / "cards.py").write_text(APP)
            run(Path(name), "deploy", str(source / "cards.py"))
            yield Path(name)
        finally:
            run(Path(name), "down")


def run(home: Path, *words: str) -> Any:
    import os

    command = [sys.executable, "-P", "-m", "glowplug", *words, "--json"]
    env = {**os.environ, "GLOWPLUG_HOME": str(home)}
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, (words, done.stdout[-3000:], done.stderr[-3000:])
    return json.loads(done.stdout.splitlines()[-1])


def test_the_node_lists_its_devices_by_uuid(home: Path) -> None:
    gpus = run(home, "status")["nodes"][0]["inventory"]["gpus"]

    assert gpus
    assert all(gpu["uuid"].startswith("GPU-") and gpu["memory_bytes"] > 1 << 30 for gpu in gpus)


def test_an_endpoint_that_asks_for_a_device_gets_one_whole(home: Path) -> None:
    uuids = {gpu["uuid"] for gpu in run(home, "status")["nodes"][0]["inventory"]["gpus"]}

    answer = run(home, "call", "cards/product", "-i", "size=128")["output"]

    assert answer["sum"] == 128 * 4096
    assert (answer["device"], answer["count"]) == ("cuda", 1)
    assert answer["visible"] in uuids


def test_an_endpoint_that_asks_for_none_sees_none(home: Path) -> None:
    assert run(home, "call", "cards/host", "-i", "x=1")["output"] == ""


def test_a_redeploy_on_the_only_device_makes_way_and_serves(home: Path) -> None:
    before = run(home, "call", "cards/product", "-i", "size=1")["output"]["pid"]
    source = home / "src" / "cards.py"
    source.write_text(
        source.read_text().replace('"pid": os.getpid()', '"pid": os.getpid(), "new": 1')
    )

    run(home, "deploy", str(source))
    answer = run(home, "call", "cards/product", "-i", "size=1")["output"]

    assert answer["new"] == 1
    assert answer["pid"] != before
