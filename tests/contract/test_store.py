"""Does every Store keep what the port promises?"""

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import anyio
import apsw
import pytest

from control_records import POLICY, bundle, deployment, spec, version
from glowplug.clock import ManualClock
from glowplug.errors import CallError, StoreError
from glowplug_router.ports import EXPLAIN_KEEP, Store
from glowplug_router.records.stored import Explain, Intent, Key
from glowplug_router.store.memory import MemoryStore
from glowplug_router.store.sqlite import SqliteStore
from glowplug_router.store.sqlite.connection import connect, migrate, numbered

KEY = Key(
    id="abcd2345",
    mac="00ff",
    tenant="me",
    scopes=("invoke:*", "read"),
    created_wall_ns=5,
    name="laptop",
)
INTENT = Intent(
    id="i1", kind="start", subject="greet-1", epoch=1, deadline_wall_ns=9, created_wall_ns=1
)


@pytest.fixture(params=["memory", "sqlite"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    made: Store = MemoryStore()
    if request.param == "sqlite":
        made = await SqliteStore.open(tmp_path / "router.db", ManualClock())
    yield made
    await made.close()


async def test_each_epoch_is_higher_than_the_one_before(store: Store) -> None:
    assert [
        await store.take_epoch("a"),
        await store.take_epoch("b"),
        await store.take_epoch("a"),
    ] == [1, 2, 3]


async def test_a_version_gets_the_next_number_of_its_endpoint(store: Store) -> None:
    epoch = await store.take_epoch("me")

    first = await store.add_version(version("one"), bundle("one"), epoch)
    other = await store.add_version(version("one", "count"), bundle("one"), epoch)
    second = await store.add_version(version("two", created_wall_ns=2), bundle("two"), epoch)

    assert (first.number, other.number, second.number) == (1, 1, 2)
    assert await store.versions("hello", "greet") == (first, second)
    assert set(await store.versions("hello")) == {first, other, second}
    assert set(await store.versions()) == {first, other, second}
    assert await store.versions("nobody") == ()


async def test_a_version_that_is_known_is_returned_and_not_kept_twice(store: Store) -> None:
    epoch = await store.take_epoch("me")

    first = await store.add_version(version("one"), bundle("one"), epoch)
    again = await store.add_version(version("one", created_wall_ns=99), bundle("one"), epoch)

    assert again == first
    assert await store.versions() == (first,)


async def test_a_version_comes_back_whole(store: Store) -> None:
    epoch = await store.take_epoch("me")
    rich = replace(version(), spec=spec(examples=({"name": "Ada", "deep": [1, {"a": None}]},)))

    kept = await store.add_version(rich, bundle(), epoch)

    assert await store.versions() == (replace(rich, number=1),) == (kept,)
    assert await store.bundle(rich.bundle_digest) == bundle()
    assert await store.bundle("sha256:none") is None


async def test_a_deployment_comes_back_whole(store: Store) -> None:
    epoch = await store.take_epoch("me")
    rich = replace(
        deployment(1),
        stopped=True,
        message="m",
        git_sha="abc",
        rollback_of=7,
        policies=(("greet", POLICY),),
    )

    await store.commit(rich, [], epoch)

    assert await store.live() == (rich,)


async def test_a_deployment_becomes_live_when_it_follows_the_live_one(store: Store) -> None:
    epoch = await store.take_epoch("me")

    await store.commit(deployment(1), [("greet", POLICY)], epoch)
    await store.commit(deployment(1, app="other"), [], epoch)
    await store.commit(deployment(2, number=2), [], epoch)

    assert await store.live() == (deployment(2, number=2), deployment(1, app="other"))
    assert await store.deployments("hello") == (deployment(1), deployment(2, number=2))
    assert await store.policies() == (("hello", "greet", POLICY),)


@pytest.mark.parametrize("generation", [0, 1, 3])
async def test_a_deployment_that_does_not_follow_is_a_conflict(
    store: Store, generation: int
) -> None:
    epoch = await store.take_epoch("me")
    await store.commit(deployment(1), [], epoch)

    with pytest.raises(CallError) as refused:
        await store.commit(deployment(generation, number=7), [("greet", POLICY)], epoch)

    assert refused.value.code == "conflict"
    assert await store.live() == (deployment(1),)
    assert await store.policies() == ()


async def test_of_two_deployments_at_once_one_wins(store: Store) -> None:
    epoch = await store.take_epoch("me")
    outcomes: list[str] = []

    async def commit(number: int) -> None:
        try:
            await store.commit(deployment(1, number), [], epoch)
            outcomes.append("live")
        except CallError as error:
            outcomes.append(error.code)

    async with anyio.create_task_group() as tasks:
        for number in range(1, 6):
            tasks.start_soon(commit, number)

    assert sorted(outcomes) == ["conflict"] * 4 + ["live"]


async def test_a_controller_that_was_replaced_can_write_nothing(store: Store) -> None:
    old = await store.take_epoch("old")
    await store.take_epoch("new")
    row = Explain(subject="hello/greet@1", rule="load", text="why")
    writes = (
        lambda: store.add_version(version(), bundle(), old),
        lambda: store.commit(deployment(1), [], old),
        lambda: store.set_policy("hello", "greet", POLICY, old),
        lambda: store.write_intents([INTENT], old),
        lambda: store.close_intent("i1", "done", "", old),
        lambda: store.explain([row], 1, old),
    )

    for write in writes:
        with pytest.raises(CallError) as refused:
            await write()
        assert refused.value.code == "conflict"

    assert await store.versions() == ()
    assert await store.live() == ()
    assert await store.policies() == ()
    assert await store.open_intents() == ()
    assert await store.decisions() == ()


async def test_a_policy_changes_alone(store: Store) -> None:
    epoch = await store.take_epoch("me")
    await store.commit(deployment(1), [("greet", POLICY)], epoch)

    await store.set_policy("hello", "greet", replace(POLICY, max=9), epoch)

    assert await store.policies() == (("hello", "greet", replace(POLICY, max=9)),)
    assert await store.live() == (deployment(1),)


async def test_keys_are_kept_and_revoked(store: Store) -> None:
    other = replace(KEY, id="zzzz2345", created_wall_ns=6, expires_wall_ns=77)
    await store.add_key(KEY)
    await store.add_key(other)

    assert await store.revoke_key(KEY.id)
    assert not await store.revoke_key("nobody")

    assert await store.keys() == (replace(KEY, revoked=True), other)


async def test_an_intent_is_written_once_and_closed_once(store: Store) -> None:
    epoch = await store.take_epoch("me")
    other = replace(INTENT, id="i2", subject="greet-2")

    await store.write_intents([INTENT, other], epoch)
    await store.write_intents([replace(INTENT, subject="changed")], epoch)
    assert await store.open_intents() == (INTENT, other)

    await store.close_intent("i1", "done", "", epoch)
    await store.write_intents([INTENT], epoch)
    assert await store.open_intents() == (other,)

    await store.close_intent("unknown", "abandoned", "", epoch)
    await store.close_intent("i2", "abandoned", "gone", epoch)
    assert await store.open_intents() == ()


async def test_the_decision_log_is_read_newest_first_by_app_endpoint_or_version(
    store: Store,
) -> None:
    epoch = await store.take_epoch("me")
    rows = [
        Explain(subject=subject, rule="load", text=subject, replicas_ready=1, replicas_wanted=2)
        for subject in ("hello/greet@1", "hello/greet@2", "hello/greeting@1", "hello2/greet@1")
    ]
    for at, row in enumerate(rows):
        await store.explain([row], at, epoch)

    assert await store.decisions() == tuple(reversed(list(enumerate(rows))))
    assert [at for at, _ in await store.decisions("hello")] == [2, 1, 0]
    assert [at for at, _ in await store.decisions("hello/greet")] == [1, 0]
    assert [at for at, _ in await store.decisions("hello/greet@2")] == [1]
    assert [at for at, _ in await store.decisions("hello", limit=1)] == [2]


async def test_the_decision_log_is_bounded_for_each_subject(store: Store) -> None:
    epoch = await store.take_epoch("me")
    many = [Explain(subject="a/b@1", rule="load", text=str(at)) for at in range(EXPLAIN_KEEP + 7)]

    await store.explain([Explain(subject="a/c@1", rule="load", text="other")], 1, epoch)
    await store.explain(many[:50], 2, epoch)
    await store.explain(many[50:], 3, epoch)

    kept = [row.text for _, row in await store.decisions("a/b@1", limit=1000)]
    assert kept == [str(at) for at in range(EXPLAIN_KEEP + 6, 6, -1)]
    assert len(await store.decisions("a/c", limit=1000)) == 1


async def test_a_setting_keeps_its_first_value(store: Store) -> None:
    assert await store.setting("pepper", "first") == "first"
    assert await store.setting("pepper", "second") == "first"


# -- what only a file can do -------------------------------------------------------------------------


async def test_everything_is_there_after_the_file_was_closed(tmp_path: Path) -> None:
    path = tmp_path / "router.db"
    store = await SqliteStore.open(path, ManualClock())
    epoch = await store.take_epoch("me")
    kept = await store.add_version(version(), bundle(), epoch)
    await store.commit(deployment(1), [("greet", POLICY)], epoch)
    await store.add_key(KEY)
    await store.write_intents([INTENT], epoch)
    await store.setting("pepper", "salt")
    await store.close()

    again = await SqliteStore.open(path, ManualClock())

    assert await again.versions() == (kept,)
    assert await again.live() == (deployment(1),)
    assert await again.policies() == (("hello", "greet", POLICY),)
    assert await again.keys() == (KEY,)
    assert await again.open_intents() == (INTENT,)
    assert await again.setting("pepper", "other") == "salt"
    assert await again.take_epoch("me") == epoch + 1
    assert path.stat().st_mode & 0o777 == 0o600
    await again.close()


async def test_a_locked_file_is_said_to_be_locked_and_writes_go_on_afterwards(
    tmp_path: Path,
) -> None:
    path = tmp_path / "router.db"
    store = await SqliteStore.open(path, ManualClock())
    store._writer._db.set_busy_timeout(10)
    other = apsw.Connection(str(path))
    other.execute("BEGIN EXCLUSIVE")

    with pytest.raises(StoreError, match="locked by another process") as refused:
        await store.take_epoch("me")
    assert refused.value.code == "store_locked"

    other.execute("ROLLBACK")
    assert await store.take_epoch("me") == 1
    await store.close()
    other.close()


async def test_a_full_file_is_said_to_be_full_and_keeps_what_it_had(tmp_path: Path) -> None:
    path = tmp_path / "router.db"
    store = await SqliteStore.open(path, ManualClock(), pages_max=40)
    epoch = await store.take_epoch("me")
    kept = 0

    with pytest.raises(StoreError) as refused:  # noqa: PT012  # which of the many writes is refused is not known
        for kept in range(10_000):
            await store.add_key(replace(KEY, id=f"{kept:08}", name="x" * 500))
    assert refused.value.code == "disk_full"

    assert len(await store.keys()) == kept > 0
    await store.close()
    roomier = await SqliteStore.open(path, ManualClock())
    assert len(await roomier.keys()) == kept
    await roomier.add_key(KEY)
    assert await roomier.take_epoch("me") == epoch + 1
    await roomier.close()


async def test_one_refused_write_leaves_the_others_of_its_batch_alone(tmp_path: Path) -> None:
    store = await SqliteStore.open(tmp_path / "router.db", ManualClock())
    epoch = await store.take_epoch("me")
    errors: list[str] = []

    async def write(at: int) -> None:
        try:
            await store.write_intents([replace(INTENT, id=str(at))], epoch if at % 3 else epoch + 1)
        except CallError as error:
            errors.append(error.code)

    async with anyio.create_task_group() as tasks:
        for at in range(300):
            tasks.start_soon(write, at)

    assert errors == ["conflict"] * 100
    assert {intent.id for intent in await store.open_intents()} == {
        str(at) for at in range(300) if at % 3
    }
    await store.close()


async def test_a_file_of_a_newer_glowplug_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "router.db"
    await (await SqliteStore.open(path, ManualClock())).close()
    db = apsw.Connection(str(path))
    db.execute("INSERT INTO migration VALUES (9999, 'future.sql', 0)")
    db.close()

    with pytest.raises(StoreError, match="schema 9999"):
        await SqliteStore.open(path, ManualClock())


async def test_a_file_that_is_no_database_is_said_to_be_damaged(tmp_path: Path) -> None:
    path = tmp_path / "router.db"
    path.write_text("this is not a database, and long enough to be sure of it" * 100)

    with pytest.raises(StoreError, match="damaged"):
        await SqliteStore.open(path, ManualClock())


def test_migrations_are_applied_in_order_and_once(tmp_path: Path) -> None:
    folder = tmp_path / "migrations"
    folder.mkdir()
    (folder / "0001_first.sql").write_text("CREATE TABLE a (x)")
    path = tmp_path / "router.db"
    db = connect(path)

    assert migrate(db, path, 1, folder) == 1
    (folder / "0002_second.sql").write_text(
        "ALTER TABLE a ADD COLUMN y; INSERT INTO a VALUES (1, 2)"
    )
    assert migrate(db, path, 2, folder) == 2
    assert migrate(db, path, 3, folder) == 2

    assert list(db.execute("SELECT x, y FROM a")) == [(1, 2)]
    assert list(db.execute("SELECT number, applied_wall_ns FROM migration")) == [(1, 1), (2, 2)]
    db.close()


def test_a_migration_that_fails_leaves_nothing_behind(tmp_path: Path) -> None:
    folder = tmp_path / "migrations"
    folder.mkdir()
    (folder / "0001_first.sql").write_text("CREATE TABLE a (x); CREATE TABLE a (x)")
    path = tmp_path / "router.db"
    db = connect(path)

    with pytest.raises(StoreError):
        migrate(db, path, 1, folder)

    assert not db.execute("SELECT count(*) FROM sqlite_master WHERE name = 'a'").get
    db.close()


def test_migrations_are_numbered_without_a_gap() -> None:
    from glowplug_router.store.sqlite.connection import MIGRATIONS

    assert [number for number, _ in numbered(MIGRATIONS)] == list(
        range(1, len(list(MIGRATIONS.glob("*.sql"))) + 1)
    )
