"""Which stored objects does nothing refer to? Those whose deployment never came about: uploaded, and then given up."""

from collections.abc import Collection, Mapping

from glowplug.clock import HOUR
from glowplug.errors import GlowplugError
from glowplug_router.control.catalog import Catalog
from glowplug_router.ports import ObjectStore
from glowplug_router.telemetry.logging import logger

_LOG = logger("glowplug.controller")
ORPHAN_MIN_NS = (
    HOUR  # since it was last uploaded or asked for: a deployment may be about to name it
)
REMOVED_MAX = 1_000  # after one deployment; the next one goes on


def orphans(
    asked_ns: Mapping[str, int], referenced: Collection[str], now_wall_ns: int
) -> tuple[str, ...]:
    """Return the digests that may be removed, oldest first."""
    old = [
        digest
        for digest, at_ns in asked_ns.items()
        if digest not in referenced and now_wall_ns - at_ns >= ORPHAN_MIN_NS
    ]
    return tuple(sorted(old, key=lambda digest: (asked_ns[digest], digest))[:REMOVED_MAX])


async def remove_orphans(objects: ObjectStore, catalog: Catalog, now_wall_ns: int) -> None:
    """Remove what no bundle names; a store that refuses is tried again after the next deployment."""
    try:
        kept = await objects.kept()
        for digest in orphans(kept, catalog.layers(), now_wall_ns):
            await objects.delete(digest)
            _LOG.info("removed an object that no bundle names", digest=digest)
    except (OSError, GlowplugError) as error:
        _LOG.warning("objects that no bundle names stay", error=str(error))
