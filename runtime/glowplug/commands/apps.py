"""How is an app's life steered? history, rollback, stop, scale."""

from collections.abc import Mapping
from typing import Any, get_args

import click

from glowplug.clock import MILLISECOND, SECOND, SystemClock
from glowplug.commands.inputs import duration
from glowplug.commands.output import Output, ago, lasted, verb
from glowplug.commands.places import app_of, endpoint_of, known, parts_of, profile_option
from glowplug.commands.progress import Progress
from glowplug.commands.wishes import say_wish, wish_of
from glowplug.control_client import Control
from glowplug.errors import ConfigError, DefinitionError, GlowplugError, UnavailableError
from glowplug.given import permille, whole_number
from glowplug.remote_errors import error_from_problem
from glowplug.scaling import AUTO, AUTO_NS, BUFFER_MAX, COUNT_MAX
from glowplug.spec import Class

CLASSES: tuple[str, ...] = get_args(Class)


@click.command()
@click.argument("app")
@profile_option
@verb
def history(out: Output, app: str, profile: str | None) -> None:
    """Show the deployments of APP, newest first."""
    app, _ = parts_of(app)
    with Control.open(profile) as control, known(control, app):
        rows = control.get(f"/apps/{app}/history")["deployments"]
    now = SystemClock().wall_ns()
    out.table(
        ("generation", "when", "versions", "git", "message"),
        [
            (
                f"{row['generation']}{' (live)' if row.get('live') else ''}",
                ago(row["created_wall_ns"], now),
                _versions(row),
                row["git_sha"][:12] or "-",
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
        f"{route['endpoint']}@" + "+".join(f"v{share['version']}" for share in route["shares"])
        for route in row["routes"]
    )


@click.command()
@click.argument("app")
@click.argument("generation", type=int, required=False)
@profile_option
@verb
def rollback(out: Output, app: str, generation: int | None, profile: str | None) -> None:
    """Put APP back to an earlier deployment (the one before, unless GENERATION is given).

    The old version is started and tried like a new one before it takes traffic again.
    """
    app = app_of(app, "rollback")
    body = {} if generation is None else {"generation": generation}
    with Control.open(profile) as control, known(control, app), Progress(out) as progress:
        # Streamed: a model may take minutes to load, and a plain answer would run into a limit.
        headers = {"accept": "application/x-ndjson"}
        last: dict[str, Any] = {}
        path = f"/apps/{app}/rollback"
        for last in control.lines("POST", path, json=body, headers=headers):
            progress.take(last)
            if last.get("step") == "failed":
                raise failure(last)
    done = last.get("deployment")
    if done is None:
        raise cut_off(app)
    out.say(f"{app} serves generation {done['generation']}: {_versions(done)}")
    out.result(done)


def failure(step: dict[str, Any]) -> GlowplugError:
    """Return the error that the last step of a failed deployment stands for."""
    problem = step.get("problem") or {"code": "deploy_failed", **step}
    return error_from_problem({"executed": "no", **problem}, {})


def cut_off(app: str) -> GlowplugError:
    """Return the error of a deployment whose end was never told."""
    return UnavailableError(
        f"the router stopped answering before the deployment of {app} ended",
        hint=f"`glowplug history {app}` shows what is live; then try again",
    )


@click.command()
@click.argument("app")
@profile_option
@verb
def stop(out: Output, app: str, profile: str | None) -> None:
    """Take APP out of service: its replicas finish what they have and end.

    `glowplug deploy` or `glowplug rollback` brings it back.
    """
    app = app_of(app, "stop")
    with Control.open(profile) as control, known(control, app):
        done = control.post(f"/apps/{app}/stop", {})
    out.say(f"{app} is stopped; `glowplug rollback {app}` brings it back")
    out.result(done)


@click.command()
@click.argument("endpoint")
@click.option("--min", "at_least", type=int, metavar="N", help="Replicas kept whatever the demand.")
@click.option("--max", "at_most", type=int, metavar="N", help="Replicas at most.")
@click.option("--buffer", metavar="N|N%", help="Ready replicas kept free above the load.")
@click.option("--hold", type=int, metavar="N", help="Calls that may wait while none is ready.")
@click.option(
    "--target", type=float, metavar="N", help="Calls one should carry at once; 0: its own 70 %."
)
@click.option("--up-after", metavar="TIME", help="Time a load must last before one is added.")
@click.option(
    "--zero-after", metavar="TIME", help="Idle time until the last one ends: 5m, 30s, auto."
)
@click.option("--down-after", metavar="TIME", help="Time fewer must suffice before one ends.")
@click.option("--batch-max", type=int, metavar="N", help="Calls in one batch; 0: as in the code.")
@click.option("--batch-wait", metavar="TIME", help="Time an idle one holds a batch: 2ms, 0.")
@click.option("--priority", type=click.Choice(CLASSES), help="Class of calls that do not say.")
@click.option(
    "--for", "lasts", metavar="TIME", help="Only so long: --min and --max end by themselves."
)
@profile_option
@verb
def scale(out: Output, endpoint: str, lasts: str | None, profile: str | None, **given: Any) -> None:
    """Change the scale of APP/ENDPOINT, or which calls its own go before.

    It holds until a deploy whose code says otherwise, or for as long as --for says; it restarts nothing.
    """
    app, name, _ = endpoint_of(endpoint, "glowplug scale hello/greet --min 1")
    change = _change(given)
    if not change:
        raise ConfigError(
            "nothing to change", hint="for example `glowplug scale hello/greet --min 1 --max 8`"
        )
    if lasts is not None:
        wish = wish_of(change, lasts)
        with Control.open(profile) as control, known(control, app, name):
            say_wish(out, control.post(f"/apps/{app}/endpoints/{name}/wishes", wish))
        return
    with Control.open(profile) as control, known(control, app, name):
        policy = control.patch(f"/apps/{app}/endpoints/{name}/policy", change)
    out.say(f"{endpoint}: {scale_words(policy)}")
    out.result({"endpoint": endpoint, "policy": policy})


def _change(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return what of a policy the options are to change."""
    target = given["target"]
    if target is not None and not 0 <= target < float("inf"):
        raise ConfigError(f"--target {target} is no number of calls", hint="for example --target 4")
    plain = {"min": "at_least", "max": "at_most", "hold": "hold", "priority": "priority"}
    plain["target_concurrency"] = "target"
    change = {key: given[name] for key, name in plain.items() if given[name] is not None}
    change |= _buffer(given["buffer"])
    for key in ("up_after", "zero_after", "down_after"):
        text = given[key]
        if key == "zero_after" and text == AUTO:
            change["zero_after_ns"] = AUTO_NS
        elif text is not None:
            change[f"{key}_ns"] = duration(text, f"--{key.replace('_', '-')}")
    batch = _tuning(given["batch_max"], given["batch_wait"])
    return change | ({"batch": batch} if batch else {})


def _buffer(text: str | None) -> dict[str, int]:
    """Return the free replicas that `--buffer 2` or `--buffer 20%` asks for; the other kind ends."""
    if text is None:
        return {}
    try:
        if text.endswith("%") and text.strip("0% "):
            return {"buffer": 0, "buffer_permille": permille(text, "--buffer", BUFFER_MAX)}
        count = whole_number(int(text.rstrip("%")), "--buffer", 0, COUNT_MAX)
        return {"buffer": count, "buffer_permille": 0}
    except (DefinitionError, ValueError) as error:
        raise ConfigError(
            f"--buffer {text!r} is neither a number nor a share", hint="for example --buffer 20%"
        ) from error


def _tuning(most: int | None, wait: str | None) -> dict[str, int | None]:
    batch: dict[str, int | None] = {}
    if most is not None:
        batch["max"] = most or None
    if wait is not None:
        batch["wait_ns"] = duration(wait, "--batch-wait")
    return batch


def scale_words(policy: dict[str, Any]) -> str:
    """Return a policy's scale for people."""
    words = [f"{policy['min']} to {policy['max']} replicas"]
    if policy["buffer"]:
        words.append(f"{policy['buffer']} kept free")
    if policy.get("buffer_permille"):
        words.append(f"{policy['buffer_permille'] / 10:g} % kept free")
    if policy["target_concurrency"]:
        words.append(f"{policy['target_concurrency']:g} calls each")
    if policy["up_after_ns"]:
        words.append(f"more after {policy['up_after_ns'] / SECOND:g} s of load")
    words += _idle_words(policy)
    batch = policy.get("batch") or {}
    if batch.get("max") is not None:
        words.append(f"batches of {batch['max']}")
    if batch.get("wait_ns") is not None:
        words.append(f"held {batch['wait_ns'] / MILLISECOND:g} ms")
    if policy.get("priority", "standard") != "standard":
        words.append(f"{policy['priority']} priority")
    return ", ".join(words)


def _idle_words(policy: dict[str, Any]) -> list[str]:
    """Return what an endpoint keeps without a call."""
    after_ns = policy["zero_after_ns"]
    learned = "at zero when its gaps say so"
    after = learned if after_ns < 0 else f"at zero after {lasted(after_ns // SECOND)}"
    windows = [
        f"{window['min']} in {window['cron']} {window['tz']} for {lasted(window['for_ns'] // SECOND)}"
        for window in policy.get("windows", ())
    ]
    return [*([] if policy["min"] else [after]), *windows]
