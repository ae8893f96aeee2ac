"""What should hold only for a while? Replicas that are kept ready, and bounds that end by themselves."""

from collections.abc import Mapping
from typing import Any

import click

from glowplug.clock import SECOND, SystemClock
from glowplug.commands.inputs import duration
from glowplug.commands.output import Output, lasted, verb
from glowplug.commands.places import endpoint_of, known, profile_option
from glowplug.control_client import Control
from glowplug.errors import ConfigError


@click.command()
@click.argument("endpoint")
@click.option("--replicas", type=click.IntRange(1), default=1, show_default=True, metavar="N")
@click.option("--for", "lasts", default="10m", show_default=True, metavar="TIME", help="How long.")
@click.option("--end", is_flag=True, help="End what `preheat` and `scale --for` asked for, now.")
@profile_option
@verb
def preheat(
    out: Output, endpoint: str, replicas: int, lasts: str, end: bool, profile: str | None
) -> None:
    """Have replicas of APP/ENDPOINT ready before the calls come, and let them go after a while."""
    app, name, _ = endpoint_of(endpoint, "glowplug preheat hello/greet --replicas 2 --for 10m")
    path = f"/apps/{app}/endpoints/{name}/wishes"
    with Control.open(profile) as control, known(control, app, name):
        if end:
            ids = [wish["id"] for wish in control.get(path)["wishes"]]
            for id in ids:
                control.delete(f"{path}/{id}")
            out.say(f"{endpoint}: ended {len(ids)}")
            out.result({"ended": ids})
            return
        wish = {"kind": "lease", "min": replicas, "for_ns": duration(lasts, "--for")}
        say_wish(out, control.post(path, wish))


def wish_of(change: Mapping[str, Any], lasts: str) -> dict[str, Any]:
    """Return the override that `scale --for` asks for.

    Raises:
        ConfigError: It is to change what cannot end by itself.
    """
    others = sorted(set(change) - {"min", "max"})
    if others:
        raise ConfigError(
            f"--for does not go with {', '.join(others)}: only min and max can end by themselves",
            hint="for example `glowplug scale hello/greet --min 3 --for 2h`",
        )
    return {"kind": "override", "for_ns": duration(lasts, "--for"), **change}


def say_wish(out: Output, wish: Mapping[str, Any]) -> None:
    """Show what now holds."""
    words = wish_words(wish, SystemClock().wall_ns())
    out.say(f"{wish['app']}/{wish['endpoint']}: {words}")
    out.result(wish)


def wish_words(wish: Mapping[str, Any], now_wall_ns: int) -> str:
    """Return what is declared for a while, and for how long it still holds."""
    bounds = [f"{name} {wish[name]}" for name in ("min", "max") if wish[name] is not None]
    left_s = max(0, wish["until_wall_ns"] - now_wall_ns + SECOND // 2) // SECOND
    verb = "preheated" if wish["kind"] == "lease" else "overridden"
    return f"{verb}: {', '.join(bounds)} for {lasted(left_s)} more"
