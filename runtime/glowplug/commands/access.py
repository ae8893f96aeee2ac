"""Who may call, and what may endpoints know? keys and secrets."""

from typing import Any

import click

from glowplug.clock import SECOND, SystemClock
from glowplug.commands.groups import Listing
from glowplug.commands.inputs import duration, unseen
from glowplug.commands.output import Output, ago, lasted, verb
from glowplug.commands.places import profile_option
from glowplug.control_client import Control
from glowplug.errors import ConfigError


@click.group(cls=Listing)
def keys() -> None:
    """Make, list and revoke API keys."""


@keys.command("list")
@profile_option
@verb
def list_keys(out: Output, profile: str | None) -> None:
    """Show the keys; secrets are never kept, so never shown."""
    with Control.open(profile) as control:
        rows = control.get("/keys")["keys"]
    now = SystemClock().wall_ns()
    out.table(
        ("id", "name", "tenant", "scopes", "made", "state"),
        [
            (
                row["id"],
                row["name"] or "-",
                row["tenant"],
                ",".join(row["scopes"]),
                ago(row["created_wall_ns"], now),
                _state(row, now),
            )
            for row in rows
        ],
    )
    out.result({"keys": rows})


def _state(row: dict[str, Any], now_wall_ns: int) -> str:
    if row["revoked"]:
        return "revoked"
    if not row["expires_wall_ns"]:
        return "live"
    left_s = (row["expires_wall_ns"] - now_wall_ns) // SECOND
    return f"live for {lasted(left_s)}" if left_s > 0 else "expired"


@keys.command("create")
@click.option("--name", default="", help="What it is for.")
@click.option("--tenant", default="", help="Whose calls it makes; its own name by default.")
@click.option(
    "--scope",
    "scopes",
    multiple=True,
    metavar="SCOPE",
    help="invoke:APP/ENDPOINT, deploy:APP, priority:CLASS, read or admin; `*` matches any. Give it again for more.",
)
@click.option("--expires", metavar="TIME", help="Time after which it ends: 30d, 12h.")
@profile_option
@verb
def create_key(
    out: Output,
    name: str,
    tenant: str,
    scopes: tuple[str, ...],
    expires: str | None,
    profile: str | None,
) -> None:
    """Make a key; without --scope it may call every endpoint, and do nothing else.

    It is shown once, now.
    """
    body: dict[str, Any] = {"name": name, "tenant": tenant, "scopes": list(scopes) or ["invoke:*"]}
    if expires is not None:
        body["expires_s"] = _whole_seconds(expires)
    with Control.open(profile) as control:
        made = control.post("/keys", body)
    out.say(made["key"])
    out.note(f"keep it now, it is not shown again; it may {', '.join(made['scopes'])}")
    out.result(made)


def _whole_seconds(expires: str) -> int:
    seconds = duration(expires, "--expires") // SECOND
    if seconds < 1:  # 0 would mean that it never ends
        raise ConfigError(
            f"--expires {expires} is no time at all", hint="for example --expires 30d"
        )
    return seconds


@keys.command("revoke")
@click.argument("id")
@profile_option
@verb
def revoke_key(out: Output, id: str, profile: str | None) -> None:  # the CLI's word
    """End a key at once."""
    with Control.open(profile) as control:
        control.delete(f"/keys/{id}")
    out.say(f"{id} is revoked")
    out.result({"id": id, "revoked": True})


@click.group(cls=Listing)
def secrets() -> None:
    """Set, list and remove secrets: endpoints name them, only their processes see the values."""


@secrets.command("list")
@profile_option
@verb
def list_secrets(out: Output, profile: str | None) -> None:
    """Show the names."""
    with Control.open(profile) as control:
        names = control.get("/secrets")["secrets"]
    for name in names:
        out.say(name)
    if not names:
        out.note(
            "none yet: `glowplug secrets set NAME` asks for the value, or reads it from a pipe"
        )
    out.result({"secrets": names})


@secrets.command("set")
@click.argument("name")
@profile_option
@verb
def set_secret(out: Output, name: str, profile: str | None) -> None:
    """Set a secret; its value is asked for, or read from standard input.

    So it is in no shell history. Replicas started from now on see it.
    """
    alone = name.partition("=")[0]
    if alone != name:  # and the value is not repeated: it is secret
        raise ConfigError(
            f"`{alone}=…` names a value as well: give the name alone",
            hint=f"`glowplug secrets set {alone}` asks for the value, so that it is in no shell history",
        )
    value = unseen(f"the value of {name}", f"printf %s VALUE | glowplug secrets set {name}")
    with Control.open(profile) as control:
        control.put(f"/secrets/{name}", value.encode())
    out.say(f"{name} is set; replicas started from now on see it")
    out.result({"name": name, "set": True})


@secrets.command("remove")
@click.argument("name")
@profile_option
@verb
def remove_secret(out: Output, name: str, profile: str | None) -> None:
    """Forget a secret; replicas that run keep it until they restart."""
    with Control.open(profile) as control:
        control.delete(f"/secrets/{name}")
    out.say(f"{name} is removed; replicas that run keep it until they restart")
    out.result({"name": name, "removed": True})
