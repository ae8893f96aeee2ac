"""What runs, and why is it so?"""

from typing import Any

import click
import msgspec

from glowplug.clock import SystemClock
from glowplug.commands.apps import scale_words
from glowplug.commands.output import Output, ago, lasted, verb, wrapped
from glowplug.commands.places import known, parts_of, profile_option
from glowplug.commands.signatures import signature
from glowplug.commands.wishes import wish_words
from glowplug.control_client import Control
from glowplug.errors import NotFoundError
from glowplug.spec import Schema
from glowplug.suggest import did_you_mean

WHY_ROWS = 20
SHOWN_NS = 10_000_000  # shorter phases of a start are not worth a word
_LEGEND = "when, which version, the rule that decided; below it what the rule saw; newest first"
_COLOURS = {"ready": "green", "starting": "yellow", "draining": "yellow", "failed": "red"}


@click.command()
@click.argument("what", required=False, default="")
@click.option("--why", is_flag=True, help="Show the decisions behind it, newest first.")
@profile_option
@verb
def status(out: Output, what: str, why: bool, profile: str | None) -> None:
    """Show every app, or one APP or APP/ENDPOINT."""
    app, endpoint = parts_of(what)
    with Control.open(profile) as control:
        apps = _apps(control, app, endpoint)
        if why:
            _why(out, control, "/".join(part for part in (app, endpoint) if part))
            return
        nodes = control.get("/nodes")["nodes"]
        url = control.url
    for one in apps:
        for two in one["endpoints"]:
            two["replicas"] = [
                replica for version in two["versions"] for replica in version["replicas"]
            ]
    _nodes(out, url, nodes)
    for one in apps:
        _app(out, one, in_full=bool(endpoint))
    if not apps:
        out.say("\nnothing is deployed; `glowplug deploy app.py` does")
    out.result(apps[0] if app else {"url": url, "nodes": nodes, "apps": apps})


def _apps(control: Control, app: str, endpoint: str) -> list[dict[str, Any]]:
    if not app:
        return list(control.get("/apps")["apps"])
    with known(control, app):
        one = control.get(f"/apps/{app}")
    names = [two["endpoint"] for two in one["endpoints"]]
    if endpoint and endpoint not in names:
        raise NotFoundError(
            f"{app} has no endpoint {endpoint}", executed="no", hint=did_you_mean(endpoint, names)
        )
    one["endpoints"] = [two for two in one["endpoints"] if endpoint in {"", two["endpoint"]}]
    return [one]


def _nodes(out: Output, url: str, nodes: list[dict[str, Any]]) -> None:
    out.say(f"{url}, {len(nodes)} node{'s' if len(nodes) != 1 else ''}")
    for node in nodes:
        have = node["inventory"]
        names = (f"{gpu['name']} {gpu.get('profile', '')}".strip() for gpu in have["gpus"])
        gpus = ", ".join(names) or "no GPU"
        told = (
            f"{have['cpu_milli'] / 1000:g} CPUs, {have['memory_bytes'] / (1 << 30):.0f} GiB, {gpus}"
        )
        told += f", {_limits(have)}"
        gone = "" if node["connected"] else click.style("  not connected", fg="red")
        out.say(f"  {node['node']}: {told}{gone}")


def _limits(have: dict[str, Any]) -> str:
    """Return which limits hold on a node, and which are only asked for."""
    held = {"CPU": have.get("enforces_cpu", False), "memory": have["enforces_memory"]}
    if all(held.values()):
        return "CPU and memory limits enforced"
    if not any(held.values()):
        return "CPU and memory limits not enforced"
    return ", ".join(
        f"{what} limits {'' if is_held else 'not '}enforced" for what, is_held in held.items()
    )


def _app(out: Output, app: dict[str, Any], *, in_full: bool) -> None:
    when = ago(app["created_wall_ns"], SystemClock().wall_ns())
    message = f": {app['message']}" if app["message"] and not app["stopped"] else ""
    state = click.style("  stopped", fg="yellow") if app["stopped"] else ""
    out.say(
        f"\n{click.style(app['app'], bold=True)}  generation {app['generation']}, {when}{message}{state}"
    )
    for endpoint in app["endpoints"]:
        _endpoint(out, endpoint, in_full=in_full)


def _endpoint(out: Output, endpoint: dict[str, Any], *, in_full: bool) -> None:
    first = " ".join(endpoint["description"].partition("\n\n")[0].split())
    said = f"  {first}" if first else ""
    out.say(wrapped(f"  POST {endpoint['path']}{said}", 4))
    most = (endpoint.get("batch") or {}).get("max", 0)
    together = f", up to {most} of them as one" if most else ""
    out.say(
        f"    {scale_words(endpoint['policy'])}, {endpoint['concurrency']} at a time each{together}"
    )
    for wish in endpoint.get("wishes", ()):
        out.say(f"    {wish_words(wish, SystemClock().wall_ns())}")
    if in_full:
        schema = msgspec.convert(endpoint["schema"], Schema)
        out.say(f"    takes {wrapped(signature(schema), 10)}")
    for version in endpoint["versions"]:
        _version(out, version)


def _version(out: Output, version: dict[str, Any]) -> None:
    demand = version["demand"]
    if version["permille"]:
        share = f"{version['permille'] / 10:g} % of calls"
    else:
        share = "being tried out" if version["candidate"] else "leaving"
    calls = f"{demand['arrivals']} call{'s' if demand['arrivals'] != 1 else ''}"
    counts = f"{calls}, {demand['inflight']} running, {demand['queued']} waiting"
    level = "" if version["replicas"] else ", at zero"
    out.say(f"    v{version['number']}: {share}; {counts}{level}")
    for replica in version["replicas"]:
        _replica(out, replica)
    failed = version.get("failed")
    if failed and not any(replica["state"] == "failed" for replica in version["replicas"]):
        out.say(click.style(f"      cannot start: {_last_line(failed)}", fg="red"))


def _replica(out: Output, replica: dict[str, Any]) -> None:
    doing = replica.get("doing") or replica["state"]
    state = click.style(str(doing), fg=_COLOURS.get(replica["state"]))
    words = [f"{state} for {lasted(replica['since_s'])}"]
    if replica.get("pid"):
        words.append(f"pid {replica['pid']} on {replica['device'] or 'cpu'}")
    words += _phases(replica)
    out.say(f"      {replica['id']}  {', '.join(words)}")
    if replica["state"] == "failed" and replica["detail"]:
        out.say(click.style(f"        {_last_line(replica)}", fg="red"))
    elif replica["state"] == "ready" and replica["detail"]:
        out.say(f"        {wrapped(replica['detail'], 8)}")


def _phases(replica: dict[str, Any]) -> list[str]:
    phases = [phase for phase in replica.get("phases", ()) if phase["ns"] >= SHOWN_NS]
    total_ns = sum(phase["ns"] for phase in phases)
    return [f"started in {total_ns / 1e9:.2f} s"] if phases else []


def _last_line(failed: dict[str, Any]) -> str:
    lines = (failed["detail"] or "").strip().splitlines() or [str(failed["code"])]
    return lines[-1].strip()


def _why(out: Output, control: Control, what: str) -> None:
    now = SystemClock().wall_ns()
    params = {"limit": WHY_ROWS} | ({"subject": what} if what else {})
    rows = control.get("/why", **params)["decisions"]
    if rows:
        out.say(click.style(_LEGEND, dim=True))
    for row in rows:
        name = row["subject"].replace("@", "@v")
        head = f"{ago(row['wall_ns'], now):>9}  {name}  {row['rule']}"
        out.say(f"{click.style(head, dim=True)}\n{' ' * 11}{wrapped(row['text'], 11)}")
    if not rows:
        out.say("no decisions yet" + (f" about {what}" if what else ""))
    out.result({"decisions": rows})
