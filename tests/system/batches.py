"""How does a test bring calls together on a rank?"""

import os
from pathlib import Path
from typing import Any

import anyio
import msgspec

from glowplug.node.messages import RankLaunch
from glowplug.spec import BatchSpec
from system.rank_process import Rank, launch_of, logged


def batched(tmp_path: Path, code: str, **batch: Any) -> RankLaunch:
    spec = BatchSpec(**{"max": 8, **batch})
    return launch_of(tmp_path, code, batch=spec, concurrency=16, is_async="async def echo" in code)


def body(text: str) -> bytes:
    return msgspec.json.encode({"texts": text})


class Gate:
    """Holds a batch of one on the device until it is opened."""

    def __init__(self, rank: Rank, tmp_path: Path) -> None:
        self.path = tmp_path / "gate"
        os.mkfifo(self.path)
        self.rank = rank
        self.rid = rank.gateway.open(body(f"wait {self.path}"))

    async def closed(self) -> "Gate":
        """Wait until the batch is in the code."""
        await logged(self.rank, text=f"batch 1 wait {self.path}")
        return self

    async def open(self) -> None:
        await anyio.to_thread.run_sync(lambda: self.path.write_text(""))
        await self.rank.gateway.ended(self.rid)


async def answers(rank: Rank, *rids: int) -> list[Any]:
    found: list[Any] = []
    for rid in rids:
        last = (await rank.gateway.ended(rid))[-1]
        found.append(msgspec.json.decode(last.body))
    return found
