"""Do objects that no bundle names go, and no others?"""

import hashlib
from collections.abc import AsyncIterator

from glowplug.artifact import Bundle, Layer
from glowplug.clock import MINUTE, ManualClock
from glowplug_router.control.catalog import Catalog
from glowplug_router.control.garbage import ORPHAN_MIN_NS, REMOVED_MAX, orphans, remove_orphans
from glowplug_router.objects.memory import MemoryObjects
from glowplug_router.store.memory import MemoryStore


async def put(objects: MemoryObjects, data: bytes) -> str:
    async def pieces() -> AsyncIterator[bytes]:
        yield data

    digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
    await objects.put(digest, pieces(), len(data))
    return digest


def test_the_oldest_go_first_and_not_all_at_once() -> None:
    asked = {f"d{number}": number for number in range(REMOVED_MAX + 1)}

    gone = orphans(asked, {"d0"}, ORPHAN_MIN_NS + REMOVED_MAX + 1)

    assert gone[0] == "d1"
    assert len(gone) == REMOVED_MAX
    assert orphans({"d": 1}, (), ORPHAN_MIN_NS) == ()


async def test_an_upload_that_was_given_up_goes_and_what_a_version_needs_stays() -> None:
    clock = ManualClock()
    objects, catalog = MemoryObjects(clock), Catalog(MemoryStore(), epoch=1)
    needed, given_up, awaited = [await put(objects, word) for word in (b"a", b"b", b"c")]
    layer = Layer(kind="code", digest=needed, size_bytes=1)
    catalog.bundles["sha256:0"] = Bundle(app="shop", layers=(layer,))

    clock.advance(ORPHAN_MIN_NS - MINUTE)
    await objects.missing([awaited])  # a deployment is about to name it
    clock.advance(MINUTE)
    await remove_orphans(objects, catalog, clock.wall_ns())

    assert await objects.missing([needed, given_up, awaited]) == (given_up,)
