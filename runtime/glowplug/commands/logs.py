"""What did endpoints print, and what happened to one request?"""

import heapq
import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from glowplug.clock import SECOND, SystemClock
from glowplug.commands.inputs import duration
from glowplug.commands.output import Output, verb
from glowplug.commands.places import parts_of, profile_option
from glowplug.control_client import Control
from glowplug.errors import ConfigError, NotFoundError
from glowplug.suggest import did_you_mean

TAIL = 100
ID_SHOWN = 8  # characters of a request id; `logs` finds it by as many
SYSTEM_BYTES_MAX = 1 << 20  # of each file of glowplug's own log
_BAD = {"error", "critical"}
_ID = re.compile(r"(?=.*[0-9])[A-Za-z0-9._:-]{8,128}")


@click.command()
@click.argument("what", required=False, default="")
@click.option("-f", "--follow", is_flag=True, help="Go on as lines come; Ctrl-C ends it.")
@click.option("--since", metavar="TIME", help="Only lines of the last 5m, 2h …")
@click.option(
    "-n",
    "--tail",
    type=click.IntRange(0),
    default=TAIL,
    show_default=True,
    help="How many lines to begin with.",
)
@click.option("--system", is_flag=True, help="glowplug's own log on this machine instead.")
@profile_option
@verb
def logs(
    out: Output,
    what: str,
    follow: bool,
    since: str | None,
    tail: int,
    system: bool,
    profile: str | None,
) -> None:
    """Show what WHAT printed: an APP, an APP/ENDPOINT, or a request id (its first 8 characters do)."""
    if system:
        _system(out, tail)
        return
    params: dict[str, Any] = {"tail": tail, "follow": int(follow)}
    if since is not None:
        params["since"] = SystemClock().wall_ns() - duration(since, "--since")
    found = 0
    with Control.open(profile) as control:
        params |= _subject(control, what)
        for line in control.lines("GET", "/logs", params=params):
            found += 1
            out.say(render(line))
            out.event(line)
    if not found:
        out.note(
            "no lines" + (f" of {what}" if what else "") + "; `glowplug status` lists what runs"
        )


def _subject(control: Control, what: str) -> dict[str, str]:
    """Return what to ask for: an app or endpoint if there is one of that name, else a request."""
    if not what:
        return {}
    app, endpoint = parts_of(what)
    apps = {one["app"]: one for one in control.get("/apps")["apps"]}
    names = [f"{name}/{one['endpoint']}" for name, app in apps.items() for one in app["endpoints"]]
    if app in apps and (not endpoint or f"{app}/{endpoint}" in names):
        return {"app": app, "endpoint": endpoint}
    if not endpoint and _ID.fullmatch(what):
        return {"request_id": what}
    raise NotFoundError(
        f"there is no {'endpoint' if endpoint else 'app or request'} {what}",
        executed="no",
        hint=f"{did_you_mean(what, names if endpoint else apps)}; `glowplug status` lists what is deployed",
    )


def render(line: dict[str, Any]) -> str:
    """Return a log line for people: time, where, request, text."""
    at = _clock_time(line.get("ts", 0))
    where = "/".join(part for part in (line.get("app"), line.get("endpoint")) if part)
    version = str(line.get("version", "")).rpartition("@")[2]
    request = str(line.get("request_id") or "")[:ID_SHOWN]
    head = click.style(f"{at} {where}@v{version} {request:<{ID_SHOWN}}", dim=True)
    text = str(line.get("text", ""))
    return f"{head} {click.style(text, fg='red') if line.get('level') in _BAD else text}"


def _clock_time(wall_ns: int) -> str:
    return datetime.fromtimestamp(wall_ns / SECOND, UTC).strftime("%H:%M:%S.%f")[:-3]


def _system(out: Output, tail: int) -> None:
    from glowplug.settings import home

    folder = home().root / "node" / "logs" / "system"
    files = sorted(folder.glob("*.jsonl"))
    if not files:
        raise ConfigError(
            f"there are no logs in {folder}",
            hint="`glowplug up` writes them on the machine it runs on",
        )
    lines = heapq.nlargest(tail, (line for file in files for line in _own_lines(file)), key=_stamp)
    for line in reversed(lines):
        out.say(_own(line))
        out.event(line)


def _own_lines(file: Path) -> Iterator[dict[str, Any]]:
    with file.open("rb") as opened:
        opened.seek(max(0, file.stat().st_size - SYSTEM_BYTES_MAX))
        for text in opened.read().decode(errors="replace").splitlines():
            try:
                yield {"process": file.stem, **json.loads(text)}
            except (ValueError, TypeError):
                continue  # half a line, where the reading began


def _stamp(line: dict[str, Any]) -> str:
    return str(line.get("ts", ""))


def _own(line: dict[str, Any]) -> str:
    """Return one of glowplug's own lines for people."""
    known = {"process", "ts", "event", "level", "logger", "color_message", "exception"}
    rest = " ".join(f"{name}={value}" for name, value in line.items() if name not in known)
    head = click.style(f"{_stamp(line)[11:23]} {line['process']:<10}", dim=True)
    event = str(line.get("event", ""))
    text = f"{head} {click.style(event, fg='red') if line.get('level') in _BAD else event} {rest}".rstrip()
    return f"{text}\n{line['exception']}" if line.get("exception") else text
