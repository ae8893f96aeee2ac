"""How does one SQLite file keep what must survive?"""

from glowplug_router.store.sqlite.store import SqliteStore

__all__ = ["SqliteStore"]
