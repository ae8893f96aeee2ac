"""Do records come back from a Store as they went in? Decisions with what they saw, what is declared for a while."""

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from glowplug.clock import ManualClock
from glowplug.errors import CallError
from glowplug_router.ports import Store
from glowplug_router.records.stored import Explain
from glowplug_router.records.wishes import Wish
from glowplug_router.store.memory import MemoryStore
from glowplug_router.store.sqlite import SqliteStore


@pytest.fixture(params=["memory", "sqlite"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    made: Store = MemoryStore()
    if request.param == "sqlite":
        made = await SqliteStore.open(tmp_path / "router.db", ManualClock())
    yield made
    await made.close()


async def test_a_decision_comes_back_with_what_was_done_and_the_numbers_it_saw(
    store: Store,
) -> None:
    epoch = await store.take_epoch("me")
    row = Explain(
        subject="hello/greet@1",
        rule="load",
        text="1.5 calls a second",
        replicas_ready=1,
        replicas_wanted=2,
        acts=("greet-2 starts on n1: the only node",),
        numbers=(("queued", 3), ("idle_ns", -1)),
        advised=True,
    )

    await store.explain([row], 7, epoch)

    assert await store.decisions("hello/greet") == ((7, row),)


async def test_what_is_declared_for_a_while_comes_back_until_it_is_removed(store: Store) -> None:
    epoch = await store.take_epoch("me")
    lease = Wish(
        id="w2",
        app="hello",
        endpoint="greet",
        kind="lease",
        created_wall_ns=2,
        until_wall_ns=9,
        min=2,
    )
    override = replace(lease, id="w1", kind="override", created_wall_ns=1, min=None, max=7)

    await store.add_wish(lease, epoch)
    await store.add_wish(override, epoch)

    assert await store.wishes() == (override, lease)
    await store.remove_wishes(["w1", "nobody"], epoch)
    assert await store.wishes() == (lease,)


async def test_a_replaced_controller_declares_nothing(store: Store) -> None:
    old = await store.take_epoch("one")
    await store.take_epoch("two")
    wish = Wish(
        id="w1", app="a", endpoint="b", kind="lease", created_wall_ns=1, until_wall_ns=2, min=1
    )

    with pytest.raises(CallError, match="replaced"):
        await store.add_wish(wish, old)
    with pytest.raises(CallError, match="replaced"):
        await store.remove_wishes(["w1"], old)
