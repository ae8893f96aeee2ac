"""Where does the router keep what must survive, on one machine? In one SQLite file.

Writes go through one thread with group commit (writer.py); reads are small and run at once on a second
connection.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import apsw
from anyio import to_thread

from glowplug.artifact import Bundle
from glowplug.clock import Clock
from glowplug.errors import CallError, call_error
from glowplug.spec import Policy
from glowplug_router.ports import EXPLAIN_KEEP, INTENTS_KEEP
from glowplug_router.records.stored import Deployment, Explain, Intent, Key, Version
from glowplug_router.records.wishes import Wish
from glowplug_router.store.sqlite import rows
from glowplug_router.store.sqlite.connection import (
    connect,
    connect_for_reading,
    migrate,
    store_errors,
)
from glowplug_router.store.sqlite.writer import Writer


class SqliteStore:
    """The Store port on one SQLite file."""

    def __init__(self, path: Path, writer: Writer, reader: apsw.Connection) -> None:
        self._path = path
        self._writer = writer
        self._reader = reader

    @classmethod
    async def open(cls, path: Path, clock: Clock, *, pages_max: int = 0) -> "SqliteStore":
        """Open or create the file and bring its schema up to date; `pages_max` bounds its size (0 = the disk does)."""
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        db = await to_thread.run_sync(connect, path)
        try:
            await to_thread.run_sync(migrate, db, path, clock.wall_ns())
            if pages_max:
                db.execute(f"PRAGMA max_page_count = {int(pages_max)}")
            path.chmod(0o600)
            reader = connect_for_reading(path)
        except BaseException:
            db.close()
            raise
        return cls(path, Writer(db, path), reader)

    async def close(self) -> None:
        await self._writer.close()
        self._reader.close()

    def _read(self, sql: str, values: Sequence[str | int] = ()) -> list[rows.Row]:
        with store_errors(self._path):
            return list(self._reader.execute(sql, values))

    # -- epochs and settings ---------------------------------------------------------------------

    async def take_epoch(self, holder: str) -> int:
        def work(db: apsw.Connection) -> int:
            sql = "UPDATE epoch SET number = number + 1, holder = ? RETURNING number"
            return int(db.execute(sql, (holder,)).get)

        return await self._writer.write(work)

    async def setting(self, name: str, default: str) -> str:
        def work(db: apsw.Connection) -> str:
            db.execute("INSERT INTO setting VALUES (?, ?) ON CONFLICT DO NOTHING", (name, default))
            return str(db.execute("SELECT value FROM setting WHERE name = ?", (name,)).get)

        known = self._read("SELECT value FROM setting WHERE name = ?", (name,))
        return str(known[0][0]) if known else await self._writer.write(work)

    # -- versions --------------------------------------------------------------------------------

    async def add_version(self, version: Version, bundle: Bundle, epoch: int) -> Version:
        def work(db: apsw.Connection) -> Version:
            _fence(db, epoch)
            name = (version.app, version.endpoint)
            same = db.execute(
                f"{rows.VERSION} WHERE app = ? AND endpoint = ? AND digest = ?",
                (*name, version.digest),
            )
            for row in same:
                return rows.version_of(row)
            manifest = (version.bundle_digest, rows.to_json(bundle))
            db.execute("INSERT INTO bundle VALUES (?, ?) ON CONFLICT DO NOTHING", manifest)
            sql = "SELECT coalesce(max(number), 0) + 1 FROM version WHERE app = ? AND endpoint = ?"
            numbered = replace(version, number=int(db.execute(sql, name).get))
            db.execute(
                "INSERT INTO version VALUES (?, ?, ?, ?, ?, ?, ?)", rows.of_version(numbered)
            )
            return numbered

        return await self._writer.write(work)

    async def versions(self, app: str = "", endpoint: str = "") -> tuple[Version, ...]:
        where = "WHERE (?1 = '' OR app = ?1) AND (?2 = '' OR endpoint = ?2)"
        order = "ORDER BY created_wall_ns, app, endpoint, number"
        return tuple(
            map(rows.version_of, self._read(f"{rows.VERSION} {where} {order}", (app, endpoint)))
        )

    async def bundle(self, digest: str) -> Bundle | None:
        found = self._read("SELECT manifest FROM bundle WHERE digest = ?", (digest,))
        return rows.bundle_of(found[0]) if found else None

    # -- deployments -----------------------------------------------------------------------------

    async def commit(
        self, deployment: Deployment, policies: Sequence[tuple[str, Policy]], epoch: int
    ) -> Deployment:
        def work(db: apsw.Connection) -> Deployment:
            _fence(db, epoch)
            sql = "SELECT coalesce(max(generation), 0) FROM deployment WHERE app = ?"
            live = int(db.execute(sql, (deployment.app,)).get)
            if deployment.generation != live + 1:
                raise generation_conflict(deployment, live)
            row = rows.of_deployment(deployment)
            db.execute("INSERT INTO deployment VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", row)
            for endpoint, policy in policies:
                _set_policy(db, deployment.app, endpoint, policy)
            return deployment

        return await self._writer.write(work)

    async def deployments(self, app: str = "") -> tuple[Deployment, ...]:
        sql = (
            f"{rows.DEPLOYMENT} WHERE ?1 = '' OR app = ?1 ORDER BY created_wall_ns, app, generation"
        )
        return tuple(map(rows.deployment_of, self._read(sql, (app,))))

    async def live(self) -> tuple[Deployment, ...]:
        newest = "generation = (SELECT max(generation) FROM deployment AS o WHERE o.app = d.app)"
        return tuple(
            map(rows.deployment_of, self._read(f"{rows.DEPLOYMENT} WHERE {newest} ORDER BY app"))
        )

    async def policies(self) -> tuple[tuple[str, str, Policy], ...]:
        found = self._read("SELECT app, endpoint, policy FROM policy ORDER BY app, endpoint")
        return tuple(map(rows.policy_of, found))

    async def set_policy(self, app: str, endpoint: str, policy: Policy, epoch: int) -> None:
        def work(db: apsw.Connection) -> None:
            _fence(db, epoch)
            _set_policy(db, app, endpoint, policy)

        await self._writer.write(work)

    # -- what is declared for a while ------------------------------------------------------------

    async def add_wish(self, wish: Wish, epoch: int) -> None:
        def work(db: apsw.Connection) -> None:
            _fence(db, epoch)
            db.execute("INSERT INTO wish VALUES (?, ?, ?)", rows.of_wish(wish))

        await self._writer.write(work)

    async def wishes(self) -> tuple[Wish, ...]:
        found = self._read("SELECT wish FROM wish ORDER BY created_wall_ns, id")
        return tuple(map(rows.wish_of, found))

    async def remove_wishes(self, ids: Sequence[str], epoch: int) -> None:
        def work(db: apsw.Connection) -> None:
            _fence(db, epoch)
            db.executemany("DELETE FROM wish WHERE id = ?", [(id,) for id in ids])

        await self._writer.write(work)

    # -- keys ------------------------------------------------------------------------------------

    async def add_key(self, key: Key) -> None:
        def work(db: apsw.Connection) -> None:
            db.execute("INSERT INTO key VALUES (?, ?, ?, ?, ?, ?, ?, ?)", rows.of_key(key))

        await self._writer.write(work)

    async def keys(self) -> tuple[Key, ...]:
        return tuple(map(rows.key_of, self._read(f"{rows.KEY} ORDER BY created_wall_ns, id")))

    async def revoke_key(self, id: str) -> bool:
        def work(db: apsw.Connection) -> bool:
            return bool(
                db.execute("UPDATE key SET revoked = 1 WHERE id = ? RETURNING 1", (id,)).get
            )

        return await self._writer.write(work)

    # -- intents ---------------------------------------------------------------------------------

    async def write_intents(self, intents: Sequence[Intent], epoch: int) -> None:
        def work(db: apsw.Connection) -> None:
            _fence(db, epoch)
            db.executemany(rows.ADD_INTENT, [rows.of_intent(intent) for intent in intents])

        await self._writer.write(work)

    async def close_intent(self, id: str, state: str, detail: str, epoch: int) -> None:
        def work(db: apsw.Connection) -> None:
            _fence(db, epoch)
            db.execute(
                "UPDATE intent SET state = ?, detail = ? WHERE id = ? AND state = 'open'",
                (state, detail, id),
            )
            db.execute(
                "DELETE FROM intent WHERE state <> 'open' AND row <= (SELECT max(row) FROM intent) - ?",
                (INTENTS_KEEP,),
            )

        await self._writer.write(work)

    async def open_intents(self) -> tuple[Intent, ...]:
        return tuple(
            map(rows.intent_of, self._read(f"{rows.INTENT} WHERE state = 'open' ORDER BY row"))
        )

    # -- decisions -------------------------------------------------------------------------------

    async def explain(self, decisions: Sequence[Explain], wall_ns: int, epoch: int) -> None:
        def work(db: apsw.Connection) -> None:
            _fence(db, epoch)
            db.executemany(rows.ADD_EXPLAIN, [rows.of_explain(row, wall_ns) for row in decisions])
            subjects = {row.subject for row in decisions}
            db.executemany(rows.BOUND_EXPLAIN, [(subject, EXPLAIN_KEEP) for subject in subjects])

        await self._writer.write(work)

    async def decisions(
        self, subject: str = "", limit: int = 50
    ) -> tuple[tuple[int, Explain], ...]:
        # "app" also means its endpoints, "app/endpoint" also its versions.
        below = "substr(subject, 1, length(?1) + 1) IN (?1 || '/', ?1 || '@')"
        where = f"WHERE ?1 = '' OR subject = ?1 OR {below}"
        sql = f"{rows.EXPLAIN} {where} ORDER BY row DESC LIMIT ?2"
        return tuple(map(rows.explain_of, self._read(sql, (subject, limit))))


def generation_conflict(deployment: Deployment, live: int) -> CallError:
    """Say that somebody else made a deployment in between."""
    wanted = f"{deployment.app}: generation {deployment.generation} was to follow {deployment.generation - 1}"
    return call_error("conflict", f"{wanted}, but {live} is live", executed="no")


def stale_epoch(epoch: int, current: int) -> CallError:
    """Say that another controller has taken over."""
    message = f"a controller with epoch {current} has replaced this one (epoch {epoch})"
    return call_error("conflict", message, executed="no")


def _fence(db: apsw.Connection, epoch: int) -> None:
    current = int(db.execute("SELECT number FROM epoch").get)
    if epoch != current:
        raise stale_epoch(epoch, current)


def _set_policy(db: apsw.Connection, app: str, endpoint: str, policy: Policy) -> None:
    sql = "INSERT INTO policy VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET policy = excluded.policy"
    db.execute(sql, (app, endpoint, rows.to_json(policy)))
