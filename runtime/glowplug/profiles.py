"""Which router, and with which key? Places by name, kept in one file only its owner may read."""

import json
import os
from dataclasses import dataclass, field, replace
from pathlib import Path

from glowplug.errors import ConfigError
from glowplug.settings import home, variable
from glowplug.suggest import near

DEV = "dev"  # the router of `glowplug dev`, for as long as it runs
_ADD = "`glowplug profile add NAME URL` names another"
_START = "`glowplug up --detach` starts one here; `glowplug profile add NAME URL` names another"


@dataclass(frozen=True, slots=True)
class Place:
    """A router: where it is, and the key to use there."""

    url: str
    key: str = field(repr=False, default="")
    name: str = field(default="", compare=False)  # the profile it is of, if it is of one
    ca: str = ""  # a file of certificates to trust there, besides the system's


@dataclass(frozen=True, slots=True)
class Profiles:
    """All places known here."""

    places: dict[str, Place] = field(default_factory=dict)
    current: str = ""

    def get(self, name: str) -> Place:
        """Return a place, or say which names there are."""
        if name in self.places:
            return self.places[name]
        found = near(name, self.places)
        if found:
            hint = f"did you mean `{found[0]}`?"
        elif self.places:
            hint = f"you know {', '.join(f'`{known}`' for known in self.places)}; {_ADD}"
        else:
            hint = _START
        raise ConfigError(f"there is no profile `{name}`", hint=hint)

    def with_place(self, name: str, place: Place) -> "Profiles":
        """Return these with one more; the first one becomes the current one."""
        return replace(self, places=self.places | {name: place}, current=self.current or name)

    def with_dev(self, place: Place) -> "Profiles":
        """Return these with the router of `glowplug dev`, which never becomes the current one by itself."""
        return replace(self, places=self.places | {DEV: place})

    def with_current(self, name: str) -> "Profiles":
        """Return these with another current one."""
        return replace(self, current=name)

    def without(self, name: str) -> "Profiles":
        """Return these without one."""
        places = {other: place for other, place in self.places.items() if other != name}
        return Profiles(places, "" if self.current == name else self.current)


def load(file: Path | None = None) -> Profiles:
    """Read the file of places; a missing file means none."""
    file = file or home().profiles
    try:
        record = json.loads(file.read_text(encoding="utf-8"))
        places = {
            name: Place(one["url"], one.get("key", ""), name, one.get("ca", ""))
            for name, one in record["profiles"].items()
        }
        return Profiles(places, record.get("current", ""))
    except FileNotFoundError:
        return Profiles()
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConfigError(
            f"{file} cannot be read: {error}",
            hint=f"mend it, or move it away: mv {file} {file}.bad",
        ) from error


def save(profiles: Profiles, file: Path | None = None) -> None:
    """Write the file of places at once, readable by its owner alone."""
    file = file or home().profiles
    record = {
        "current": profiles.current,
        "profiles": {
            name: {"url": place.url, "key": place.key} | ({"ca": place.ca} if place.ca else {})
            for name, place in profiles.places.items()
        },
    }
    draft = file.with_name(f"{file.name}.{os.getpid()}")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        draft.touch(mode=0o600)
        draft.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
        draft.replace(file)
    except OSError as error:
        raise ConfigError(
            f"cannot write {file}: {error.strerror}", hint="set GLOWPLUG_HOME to a folder of yours"
        ) from error


def resolve(name: str | None = None) -> Place:
    """Return the place to talk to: the one named, else GLOWPLUG_URL (and _KEY and _CA), else the current profile."""
    url = variable("GLOWPLUG_URL")
    if name is None and url:
        return Place(url.rstrip("/"), variable("GLOWPLUG_KEY"), ca=variable("GLOWPLUG_CA"))
    known = load()
    chosen = name or variable("GLOWPLUG_PROFILE") or known.current
    if not chosen and list(known.places) == [DEV]:
        raise ConfigError(
            f"only `glowplug dev` serves here, at {known.places[DEV].url}",
            hint=f"`--profile {DEV}` after the verb means it; {_START}",
        )
    if not chosen and known.places:
        names = ", ".join(f"`{one}`" for one in known.places)
        hint = f"`glowplug profile use {next(iter(known.places))}` chooses one; you know {names}"
        raise ConfigError("none of the profiles is the current one", hint=hint)
    if not chosen:
        raise ConfigError("no router is known here", hint=_START)
    return known.get(chosen)


def other_key(place: Place) -> str:
    """Return how to come to a key that a place takes."""
    made = "an admin makes one: `glowplug keys create`"
    if not place.name and place.url == variable("GLOWPLUG_URL").rstrip("/"):
        return f"set GLOWPLUG_KEY to one that it takes; {made}"
    of = f"the key of the profile `{place.name}` is wrong: " if place.name else ""
    return f"{of}`glowplug profile add {place.name or 'NAME'} {place.url}` takes another; {made}"
