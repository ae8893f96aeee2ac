"""What did endpoints print, and what happened to one request?"""

import sys
from datetime import UTC, datetime
from typing import Any

import click

from glowplug.clock import SECOND, SystemClock
from glowplug.commands.output import Output, verb
from glowplug.commands.places import endpoint_name, profile_option
from glowplug.control_client import Control
from glowplug.errors import ConfigError
from glowplug.units import duration_ns

TAIL = 100


@click.command()
@click.argument("what", required=False, default="")
@click.option("-f", "--follow", is_flag=True, help="Go on as lines come.")
@click.option("--since", metavar="TIME", help="Only lines of the last 5m, 2h …")
@click.option("-n", "--tail", default=TAIL, show_default=True, help="How many of the last lines to begin with.")
@click.option("--system", is_flag=True, help="glowplug's own log on this machine instead.")
@profile_option
@verb
def logs(
    out: Output, what: str, follow: bool, since: str | None, tail: int, system: bool, profile: str | None
) -> None:
    """Show what WHAT printed: an APP, an APP/ENDPOINT, or a request id."""
    if system:
        _system(out, tail)
        return
    params: dict[str, Any] = {"tail": tail, "follow": int(follow)}
    if since is not None:
        params["since"] = SystemClock().wall_ns() - duration_ns(since, "--since")
    found = 0
    with Control.open(profile) as control:
        params |= _subject(control, what)
        for line in control.lines("GET", "/logs", params=params):
            found += 1
            out.say(render(line))
            out.event(line)
            sys.stdout.flush()
    if not found:
        out.note("no lines" + (f" of {what}" if what else "") + "; `glowplug status` lists what runs")


def _subject(control: Control, what: str) -> dict[str, str]:
    """Return whose lines are wanted. A request id may look like an app's name, so the router is asked which it is."""
    app, endpoint = endpoint_name(what)
    if not what or endpoint or any(one["app"] == app for one in control.get("/apps")["apps"]):
        return {"app": app, "endpoint": endpoint}
    return {"request_id": what}


def render(line: dict[str, Any]) -> str:
    """Return a log line for people: time, where, request, text."""
    at = datetime.fromtimestamp(line.get("ts", 0) / SECOND, UTC).strftime("%H:%M:%S.%f")[:-3]
    where = "/".join(part for part in (line.get("app"), line.get("endpoint")) if part)
    version = str(line.get("version", "")).rpartition("@")[2]
    request = str(line.get("request_id") or "")[-8:]
    head = click.style(f"{at} {where}@{version} {request:<8}", dim=True)
    level = str(line.get("level", "info"))
    text = str(line.get("text", ""))
    return f"{head} {click.style(text, fg='red') if level in {'error', 'critical'} else text}"


def _system(out: Output, tail: int) -> None:
    from glowplug.settings import home

    folder = home().root / "node" / "logs" / "system"
    files = sorted(folder.glob("*.jsonl"))
    if not files:
        raise ConfigError(f"there are no logs in {folder}", hint="`glowplug up` writes them on the machine it runs on")
    for file in files:
        for line in file.read_text(errors="replace").splitlines()[-tail:]:
            out.say(f"{click.style(file.stem, dim=True)} {line}")
            out.result({"process": file.stem, "line": line})
