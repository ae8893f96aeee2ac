"""Why does an endpoint have the replicas it has, why there, and why was a call cold? Read from the decision log."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import click

from glowplug.clock import SECOND, SystemClock
from glowplug.commands.output import Output, ago, lasted, verb, with_v, wrapped
from glowplug.commands.places import endpoint_of, known, profile_option
from glowplug.control_client import Control
from glowplug.errors import NotFoundError

Row = Mapping[str, Any]  # one document of the control API

ROWS = 100  # of the log that are read: all that is kept of one version
LAST = 3  # decisions shown when nobody says how many
SHOWN_NS = 10_000_000  # shorter phases of a start are not worth a word


@click.command()
@click.argument("endpoint")
@click.option("--call", "request_id", metavar="ID", help="Why this call waited: its request id.")
@click.option(
    "--last",
    type=click.IntRange(1, ROWS),
    default=LAST,
    show_default=True,
    help="How many decisions of each version.",
)
@profile_option
@verb
def why(out: Output, endpoint: str, request_id: str | None, last: int, profile: str | None) -> None:
    """Say why APP/ENDPOINT (or one @VERSION of it) has its replicas, and why they are where they are."""
    app, name, version = endpoint_of(endpoint, "glowplug why hello/greet")
    with Control.open(profile) as control:
        with known(control, app, name):
            endpoints = control.get(f"/apps/{app}")["endpoints"]
        shown = next((one for one in endpoints if one["endpoint"] == name), None)
        if shown is None:
            names = ", ".join(f"{app}/{one['endpoint']}" for one in endpoints)
            raise NotFoundError(
                f"{app} has no endpoint {name}", executed="no", hint=f"it has {names}"
            )
        number = version.removeprefix("v")
        subject = f"{app}/{name}@{number}" if number else f"{app}/{name}"
        told = control.get("/why", subject=subject, limit=ROWS, **_asked(request_id))
    keys = [
        one["version"] for one in shown["versions"] if subject in {one["version"], f"{app}/{name}"}
    ]
    now = SystemClock().wall_ns()
    rows = told["decisions"]
    answers = [version_answer(key, shown, rows, last) for key in keys]
    call = call_answer(told["cold"][0], rows) if request_id else None
    _say(out, answers, call, now)
    out.result({"endpoint": f"{app}/{name}", "versions": answers, "call": call})


def _asked(request_id: str | None) -> dict[str, str]:
    return {} if request_id is None else {"call": request_id}


# -- answers ---------------------------------------------------------------------------------------


def version_answer(key: str, endpoint: Row, rows: Sequence[Row], last: int) -> dict[str, Any]:
    """Return why a version has what it has; `rows` are decisions, newest first."""
    mine = [row for row in rows if row["subject"] == key]
    version = next(one for one in endpoint["versions"] if one["version"] == key)
    count = sum(replica["state"] == "ready" for replica in version["replicas"])
    newest = mine[0] if mine else None
    return {
        "version": key,
        "ready": count,
        "wanted": newest["replicas_wanted"] if newest else None,
        "rule": newest["rule"] if newest else "",
        "because": newest["text"] if newest else "no decision is known yet",
        "not_at_zero": not_at_zero(newest, endpoint["policy"]) if version["replicas"] else "",
        "replicas": [_replica_answer(replica, mine) for replica in version["replicas"]],
        "decisions": [row for row in rows if row["subject"] in {key, key.partition("@")[0]}][:last],
    }


def not_at_zero(row: Row | None, policy: Row) -> str:
    """Return what keeps a version's last replica, in one sentence."""
    if row is None:
        return "nothing was decided since the router came up"
    numbers = dict(row["numbers"])
    if row["rule"] in _HOLDERS:
        return _HOLDERS[row["rule"]].format(**policy)
    if policy["min"]:
        return f"min={policy['min']} keeps {policy['min']}, whatever the demand"
    if numbers.get("queued") or numbers.get("inflight"):
        return (
            f"{numbers['inflight']} calls ran and {numbers['queued']} waited when this was decided"
        )
    if not row["replicas_wanted"]:
        return "it is going: none is wanted, and what is there drains"
    after_ns = policy["zero_after_ns"]
    after = "as long as its gaps say (zero_after=auto)" if after_ns < 0 else _seconds(after_ns)
    return f"it is kept {after} after its last call"


_HOLDERS = {
    "candidate": "it is being tried out, which takes one replica",
    "blind": "no agent is connected, so nothing is changed",
    "left_out": "it cannot be planned, so it keeps what it has",
    "found": "it was there when the router came up, and gets all of its patience",
    "window": "a window of its schedule keeps it",
    "lease": "`glowplug preheat` keeps it",
    "override": "`glowplug scale --for` keeps it",
}


def _replica_answer(replica: Row, rows: Iterable[Row]) -> dict[str, Any]:
    start = next(
        (act for row in rows for act in row["acts"] if act.startswith(f"{replica['id']} ")), ""
    )
    return {
        "replica": replica["id"],
        "state": replica["state"],
        "node": replica["node"],
        "gpus": replica.get("gpus") or [],
        "because": start or "it was there before the log begins, and was adopted",
    }


def call_answer(call: Row, rows: Sequence[Row]) -> dict[str, Any]:
    """Return why a call met no replica: where its wait went, and what had been decided before it came."""
    at_ns, until_ns = call["arrived_wall_ns"], call["arrived_wall_ns"] + call["wait_ns"]
    mine = [row for row in rows if row["subject"] == call["version"]]
    before = next((row for row in mine if row["wall_ns"] <= at_ns), None)
    during = [row for row in mine if at_ns < row["wall_ns"] <= until_ns + SECOND]
    return {**call, "before": before, "during": list(reversed(during))}


# -- in words --------------------------------------------------------------------------------------


def _say(
    out: Output, answers: Iterable[dict[str, Any]], call: dict[str, Any] | None, now_ns: int
) -> None:
    if call is not None:
        _say_call(out, call)
        return
    for one in answers:
        wanted = "" if one["wanted"] is None else f", {one['wanted']} wanted"
        head = click.style(with_v(one["version"]), bold=True)
        out.say(
            f"{head}  {one['ready']} ready{wanted}" + (f"  ({one['rule']})" if one["rule"] else "")
        )
        out.say(f"  because   {wrapped(one['because'], 12)}")
        if one["not_at_zero"]:
            out.say(f"  not zero  {wrapped(one['not_at_zero'], 12)}")
        for replica in one["replicas"]:
            where = wrapped(replica["because"], 12)
            out.say(f"  {replica['state']:<8}  {where}")
        for row in one["decisions"]:
            _say_row(out, row, now_ns)


def _say_row(out: Output, row: Row, now_ns: int) -> None:
    advised = "  advised, not done" if row["advised"] else ""
    head = f"{ago(row['wall_ns'], now_ns):>9}  {row['rule']}{advised}"
    out.say(f"{click.style(head, dim=True)}\n{' ' * 11}{wrapped(row['text'], 11)}")
    for act in row["acts"]:
        out.say(f"{' ' * 11}→ {wrapped(act, 13)}")


def _say_call(out: Output, call: dict[str, Any]) -> None:
    version = with_v(call["version"])
    out.say(
        f"{call['request_id']} met no replica of {version} and waited {_seconds(call['wait_ns'])}"
    )
    phases = [f"{name} {_seconds(ns)}" for name, ns in call["phases"] if ns >= SHOWN_NS]
    if phases:
        out.say(f"  {call['replica']} was started: {wrapped(', '.join(phases), 4)}")
    elif not call["replica"]:
        out.say(f"  no replica took it; it was answered with {call['status']}")
    before = call["before"]
    if before is not None:
        age = lasted((call["arrived_wall_ns"] - before["wall_ns"]) // SECOND)
        text = f"{before['rule']}: {before['text']} ({age} before it)"
        out.say(f"  before    {wrapped(text, 12)}")
    for row in call["during"]:
        text = f"{row['rule']}: {'; '.join(row['acts']) or row['text']}"
        out.say(f"  meanwhile {wrapped(text, 12)}")


def _seconds(ns: int) -> str:
    return lasted(ns // SECOND) if ns >= 60 * SECOND else f"{ns / SECOND:.2f} s"
