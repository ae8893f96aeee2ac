"""Which routers do I work with? Names for URL and key."""

import click

from glowplug.commands.output import Output, verb
from glowplug.control_client import Control
from glowplug.errors import ConfigError, GlowplugError
from glowplug.profiles import Place, load, save


@click.group()
def profile() -> None:
    """Name the routers you work with."""


@profile.command("list")
@verb
def list_profiles(out: Output) -> None:
    """Show the places you know; the current one is starred."""
    known = load()
    if not known.places:
        out.note("none yet: `glowplug up` makes `local`; `glowplug profile add NAME URL` names another")
    for name, place in known.places.items():
        out.say(f"{'*' if name == known.current else ' '} {name:<12} {place.url}")
    out.result({"current": known.current, "profiles": {name: place.url for name, place in known.places.items()}})


@profile.command("add")
@click.argument("name")
@click.argument("url")
@click.option("--key", prompt=True, hide_input=True, help="The API key; asked for when it is not given.")
@verb
def add_profile(out: Output, name: str, url: str, key: str) -> None:
    """Name a router; it must answer."""
    if not url.startswith(("http://", "https://")):
        raise ConfigError(f"`{url}` is not a URL", hint="for example https://box.example.org")
    control = Control(url, key)
    try:
        control.get("/health")
    except GlowplugError as error:
        raise ConfigError(f"{url} does not take this key: {error.message}", hint=error.hint) from error
    finally:
        control.close()
    known = load()
    save(known.with_place(name, Place(url=url.rstrip("/"), key=key)))
    out.say(f"{name} answers at {url}; `glowplug profile use {name}` makes it the current one")
    out.result({"name": name, "url": url})


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
    save(known.without(name))
    out.say(f"{name} is forgotten")
    out.result({"removed": name})
