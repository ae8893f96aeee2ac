"""What runs, and why is it so?"""

from typing import Any

import click

from glowplug.clock import SystemClock
from glowplug.commands.output import Output, ago, verb
from glowplug.commands.places import endpoint_name, profile_option
from glowplug.control_client import Control

WHY_ROWS = 20
_COLOURS = {"ready": "green", "starting": "yellow", "draining": "yellow", "failed": "red"}


@click.command()
@click.argument("what", required=False, default="")
@click.option("--why", is_flag=True, help="Show the decisions behind it, newest first.")
@profile_option
@verb
def status(out: Output, what: str, why: bool, profile: str | None) -> None:  # noqa: FBT001  # a flag of the command line
    """Show every app, or one APP or APP/ENDPOINT."""
    app, endpoint = endpoint_name(what)
    with Control.open(profile) as control:
        if why:
            _why(out, control, what)
            return
        apps = [control.get(f"/apps/{app}")] if app else control.get("/apps")["apps"]
        nodes = control.get("/nodes")["nodes"]
        url = control.url
    for one in apps:
        one["endpoints"] = [two for two in one["endpoints"] if endpoint in {"", two["endpoint"]}]
        for two in one["endpoints"]:
            two["replicas"] = [replica for version in two["versions"] for replica in version["replicas"]]
    _nodes(out, url, nodes)
    for one in apps:
        _app(out, one)
    if not apps:
        out.say("nothing is deployed; `glowplug deploy app.py` does")
    out.result(apps[0] if app else {"url": url, "nodes": nodes, "apps": apps})


def _nodes(out: Output, url: str, nodes: list[dict[str, Any]]) -> None:
    out.say(f"{url}  {len(nodes)} node{'s' if len(nodes) != 1 else ''}")
    for node in nodes:
        have = node["inventory"]
        gpus = ", ".join(gpu["name"] for gpu in have["gpus"]) or "no GPU"
        memory = "memory limits enforced" if have["enforces_memory"] else "memory limits not enforced"
        gone = "" if node["connected"] else click.style("  not connected", fg="red")
        size = f"{have['cpu_milli'] / 1000:g} CPUs, {have['memory_bytes'] / (1 << 30):.0f} GiB"
        out.say(f"  {node['node']}: {size}, {gpus}, {memory}{gone}")


def _app(out: Output, app: dict[str, Any]) -> None:
    now = SystemClock().wall_ns()
    stopped = click.style("  stopped", fg="yellow") if app["stopped"] else ""
    message = f"  {app['message']}" if app["message"] else ""
    out.say(f"\n{click.style(app['app'], bold=True)}  generation {app['generation']}, {ago(app['created_wall_ns'], now)}{message}{stopped}")
    for endpoint in app["endpoints"]:
        policy = endpoint["policy"]
        size = f"{policy['min']}–{policy['max']} replicas × {endpoint['concurrency']}"
        out.say(f"  POST {endpoint['path']}  {size}  {endpoint['description']}".rstrip())
        for version in endpoint["versions"]:
            _version(out, version, endpoint["stable"])


def _version(out: Output, version: dict[str, Any], stable: int) -> None:
    demand = version["demand"]
    share = f"{version['permille'] / 10:g} %" if version["permille"] else "trial" if version["candidate"] else "leaving"
    counts = f"{demand['arrivals']} calls, {demand['inflight']} running, {demand['queued']} waiting"
    star = "*" if version["number"] == stable else " "
    level = "" if version["replicas"] else "  at zero"
    out.say(f"   {star}v{version['number']}  {share:<7} {counts}{level}")
    for replica in version["replicas"]:
        state = click.style(str(replica["state"]), fg=_COLOURS.get(replica["state"]))
        doing = f" ({replica['doing']})" if replica.get("doing") not in {None, replica["state"]} else ""
        on = f"pid {replica['pid']} on {replica['device'] or 'cpu'}" if replica.get("pid") else ""
        out.say(f"      {replica['id']}  {state}{doing} {replica['since_s']} s  {on}{_phases(replica)}".rstrip())
        if replica["state"] == "failed" and replica["detail"]:
            out.say(click.style(f"        {replica['detail'].strip().splitlines()[-1]}", fg="red"))
    failed = version.get("failed")
    if failed:
        last = (failed["detail"] or "").strip().splitlines() or [failed["code"]]
        out.say(click.style(f"      cannot start: {last[-1]}", fg="red"))


def _phases(replica: dict[str, Any]) -> str:
    slow = [f"{phase['name']} {phase['ns'] / 1e9:.2f}" for phase in replica.get("phases", ()) if phase["ns"] >= 10_000_000]
    return f"  started in {' + '.join(slow)} s" if slow else ""


def _why(out: Output, control: Control, what: str) -> None:
    now = SystemClock().wall_ns()
    params = {"limit": WHY_ROWS} | ({"subject": what} if what else {})
    rows = control.get("/why", **params)["decisions"]
    for row in rows:
        out.say(f"{ago(row['wall_ns'], now):>9}  {row['subject']:<28} {row['rule']:<14} {row['text']}")
    if not rows:
        out.say("no decisions yet" + (f" about {what}" if what else ""))
    out.result({"decisions": rows})
