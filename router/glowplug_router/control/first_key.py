"""Who may use a router that has just been installed? The person who started it: a key in their own file of places."""

from glowplug.clock import Clock
from glowplug.profiles import Place, load, save
from glowplug.settings import Home
from glowplug_router.control.catalog import Catalog
from glowplug_router.keys import make_key, verify

PROFILE = "local"


async def ensure_local_key(
    catalog: Catalog, home: Home, url: str, clock: Clock, ca: str = ""
) -> bool:
    """Have the profile `local` lead here with a key that works; True when a key was made."""
    known = load(home.profiles)
    place = known.places.get(PROFILE, Place(url))
    works = verify(place.key, catalog.keys, catalog.pepper, clock.wall_ns()) is not None
    key = place.key
    if not works:
        record, key = make_key(
            pepper_hex=catalog.pepper,
            tenant=PROFILE,
            scopes=("admin",),
            wall_ns=clock.wall_ns(),
            name="made by `glowplug up`",
        )
        await catalog.add_key(record)
    if not works or (place.url, place.ca) != (url, ca):
        save(known.with_place(PROFILE, Place(url, key, ca=ca)), home.profiles)
    return not works
