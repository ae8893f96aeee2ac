"""Which routers do I work with? Names for URL and key."""

from pathlib import Path

import click

from glowplug.commands.groups import Listing
from glowplug.commands.inputs import unseen
from glowplug.commands.output import Output, verb
from glowplug.control_client import Control
from glowplug.errors import NotAllowedError
from glowplug.profiles import Place, load, save


@click.group(cls=Listing)
def profile() -> None:
    """Name the routers you work with."""


@profile.command("list")
@verb
def list_profiles(out: Output) -> None:
    """Show the places you know; the current one is starred."""
    known = load()
    if not known.places:
        out.note(
            "none yet: `glowplug up` makes `local`; `glowplug profile add NAME URL` names another"
        )
    for name, place in known.places.items():
        out.say(f"{'*' if name == known.current else ' '} {name:<12} {place.url}")
    out.result(
        {
            "current": known.current,
            "profiles": {name: place.url for name, place in known.places.items()},
        }
    )


@profile.command("add")
@click.argument("name")
@click.argument("url")
@click.option("--key", help="The API key; else it is asked for, or read from standard input.")
@click.option(
    "--ca",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="Certificates to trust there, besides the system's.",
)
@verb
def add_profile(out: Output, name: str, url: str, key: str | None, ca: Path | None) -> None:
    """Name a router by URL and key; it must answer and take the key."""
    url = url.rstrip("/")
    key = key or unseen("the API key", f"printf %s KEY | glowplug profile add {name} {url}")
    trusted = "" if ca is None else str(ca.absolute())
    with Control(url, key, ca=trusted) as control:
        _try(control)
    known = load()
    save(known.with_place(name, Place(url=url, key=key, ca=trusted)))
    is_current = (known.current or name) == name
    how = (
        "now the current one"
        if is_current
        else f"`glowplug profile use {name}` makes it the current one"
    )
    out.say(f"{name} answers at {url}; {how}")
    out.result({"name": name, "url": url, "current": is_current})


def _try(control: Control) -> None:
    """Refuse a place that does not answer; a key that may only call endpoints is fine."""
    try:
        control.get("/health")
    except NotAllowedError as error:
        if error.code != "forbidden":
            error.hint = "ask who runs it for a key: `glowplug keys create` there"
            raise


@profile.command("use")
@click.argument("name")
@verb
def use_profile(out: Output, name: str) -> None:
    """Make NAME the current profile."""
    known = load()
    known.get(name)
    save(known.with_current(name))
    out.say(f"now using {name}")
    out.result({"current": name})


@profile.command("remove")
@click.argument("name")
@verb
def remove_profile(out: Output, name: str) -> None:
    """Forget NAME."""
    known = load()
    known.get(name)
    rest = known.without(name)
    save(rest)
    other = next(iter(rest.places), "")
    use = f"; `glowplug profile use {other}` makes another the current one" if other else ""
    lost = "" if rest.current else use
    out.say(f"{name} is forgotten{lost}")
    out.result({"removed": name, "current": rest.current})
