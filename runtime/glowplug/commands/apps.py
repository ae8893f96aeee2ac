"""How is an app's life steered? history, rollback, stop, scale."""

from typing import Any

import click

from glowplug.clock import SystemClock
from glowplug.commands.output import Output, ago, verb
from glowplug.commands.places import profile_option
from glowplug.control_client import Control
from glowplug.errors import ConfigError
from glowplug.units import duration_ns


@click.command()
@click.argument("app")
@profile_option
@verb
def history(out: Output, app: str, profile: str | None) -> None:
    """Show the deployments of APP, newest first."""
    with Control.open(profile) as control:
        rows = control.get(f"/apps/{app}/history")["deployments"]
    now = SystemClock().wall_ns()
    out.table(
        ("generation", "when", "versions", "git", "message"),
        [
            (
                f"{row['generation']}{' (live)' if row.get('live') else ''}",
                ago(row["created_wall_ns"], now),
                _versions(row),
                row["git_sha"][:12],
                row["message"],
            )
            for row in rows
        ],
    )
    out.result({"app": app, "deployments": rows})


def _versions(row: dict[str, Any]) -> str:
    if row.get("stopped"):
        return "stopped"
    return ", ".join(
        f"{route['endpoint']} {'+'.join('v%d' % share['version'] for share in route['shares'])}" for route in row["routes"]
    )


@click.command()
@click.argument("app")
@click.argument("generation", type=int, required=False)
@profile_option
@verb
def rollback(out: Output, app: str, generation: int | None, profile: str | None) -> None:
    """Put APP back to an earlier deployment (the one before, unless GENERATION is given)."""
    body = {} if generation is None else {"generation": generation}
    with Control.open(profile) as control:
        done = control.post(f"/apps/{app}/rollback", body)
    out.say(f"{app} serves generation {done['generation']}: {_versions(done)}")
    out.result(done)


@click.command()
@click.argument("app")
@profile_option
@verb
def stop(out: Output, app: str, profile: str | None) -> None:
    """Take APP out of service: its replicas finish what they have and end. `deploy` or `rollback` brings it back."""
    with Control.open(profile) as control:
        done = control.post(f"/apps/{app}/stop", {})
    out.say(f"{app} is stopped")
    out.result(done)


@click.command()
@click.argument("endpoint")
@click.option("--min", "at_least", type=int, help="Replicas kept whatever the demand.")
@click.option("--max", "at_most", type=int, help="Replicas at most.")
@click.option("--buffer", type=int, help="Ready replicas kept free above the load.")
@click.option("--hold", type=int, help="Calls that may wait while no replica is ready.")
@click.option("--zero-after", metavar="TIME", help="Idle time after which the last replica ends: 5m, 30s.")
@click.option("--down-after", metavar="TIME", help="Time fewer replicas must suffice before one ends.")
@profile_option
@verb
def scale(
    out: Output,
    endpoint: str,
    at_least: int | None,
    at_most: int | None,
    buffer: int | None,
    hold: int | None,
    zero_after: str | None,
    down_after: str | None,
    profile: str | None,
) -> None:
    """Change the scale of APP/ENDPOINT. It holds until the next deploy whose code says otherwise, and restarts nothing."""
    app, _, name = endpoint.partition("/")
    if not name:
        raise ConfigError(f"`{endpoint}` is not APP/ENDPOINT", hint="for example `glowplug scale hello/greet --min 1`")
    wanted: dict[str, int | None] = {"min": at_least, "max": at_most, "buffer": buffer, "hold": hold}
    wanted["zero_after_ns"] = None if zero_after is None else duration_ns(zero_after, "zero_after")
    wanted["down_after_ns"] = None if down_after is None else duration_ns(down_after, "down_after")
    change = {key: value for key, value in wanted.items() if value is not None}
    if not change:
        raise ConfigError("nothing to change", hint="for example `glowplug scale hello/greet --min 1 --max 8`")
    with Control.open(profile) as control:
        policy = control.patch(f"/apps/{app}/endpoints/{name}/policy", change)
    out.say(f"{endpoint}: " + ", ".join(f"{key}={value}" for key, value in change.items()))
    out.result({"endpoint": endpoint, "policy": policy})
