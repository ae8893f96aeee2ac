"""Is every write that was acknowledged still there after the router was killed?"""

import os
import signal
import subprocess
import sys
from pathlib import Path
from random import Random

import apsw
import pytest

from glowplug.clock import SystemClock
from glowplug_router.store.sqlite import SqliteStore

ROOT = Path(__file__).parents[2]
ROUNDS = 20
WRITERS = 8
_CODE = """
import sys
from pathlib import Path
import anyio
from glowplug.clock import SystemClock
from glowplug_router.records.stored import Key
from glowplug_router.store.sqlite import SqliteStore

async def write(store, round, writer):
    at = 0
    while True:
        id = f"{round}-{writer}-{at}"
        await store.add_key(Key(id=id, mac="m", tenant="t", scopes=(), created_wall_ns=at))
        print(id, flush=True)
        at += 1

async def main():
    store = await SqliteStore.open(Path(sys.argv[1]), SystemClock())
    async with anyio.create_task_group() as tasks:
        for writer in range(int(sys.argv[3])):
            tasks.start_soon(write, store, sys.argv[2], writer)

anyio.run(main)
"""


def one_round(path: Path, number: int, after: int) -> list[str]:
    """Let a process write, kill it after so many acknowledgements, and return those it gave."""
    paths = os.pathsep.join(str(ROOT / one) for one in ("runtime", "router"))
    with subprocess.Popen(
        [sys.executable, "-c", _CODE, str(path), str(number), str(WRITERS)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": paths},
    ) as process:
        assert process.stdout is not None
        given = [process.stdout.readline().strip() for _ in range(after)]
        process.send_signal(signal.SIGKILL)
        given += [line.strip() for line in process.stdout if line.endswith("\n")]
    return [one for one in given if one]


@pytest.mark.slow
@pytest.mark.timeout(120)
async def test_a_killed_router_loses_no_write_it_acknowledged(tmp_path: Path) -> None:
    path = tmp_path / "router.db"
    chance = Random(20)
    acknowledged: list[str] = []
    for number in range(ROUNDS):
        acknowledged += one_round(path, number, chance.randrange(1, 200))

    store = await SqliteStore.open(path, SystemClock())
    kept = {key.id for key in await store.keys()}
    await store.close()

    assert len(acknowledged) > ROUNDS
    assert set(acknowledged) <= kept
    db = apsw.Connection(str(path))
    assert db.execute("PRAGMA integrity_check").get == "ok"
    db.close()
