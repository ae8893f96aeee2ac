"""How does a deploy look while it happens? One line a step; a mark only after the step was proven."""

import sys
from dataclasses import dataclass
from typing import Any

import click

from glowplug.clock import MILLISECOND, SECOND
from glowplug.commands.output import Output
from glowplug.commands.places import curl_line
from glowplug.control_client import Control
from glowplug.errors import BuildError, call_error
from glowplug.spec import EndpointDecl
from glowplug_packager.ports import Prepared, Step
from glowplug_packager.publishers.router import RouterPublisher

SHOWN_NS = 10 * MILLISECOND  # shorter phases of a start are not worth a word
_MARKS = {"done": "✓", "ready": "✓", "not exercised": "-", "failed": "✗"}


@dataclass(frozen=True, slots=True)
class Published:
    """What a deploy ended with: the router's last event and a curl line for each endpoint."""

    done: Step
    curls: dict[str, str]
    replicas: frozenset[str]  # those that were tried out


def publish(out: Output, control: Control, prepared: Prepared, *, dev: bool = False) -> Published:
    """Upload what is missing, deploy, and show every step.

    Raises:
        CallError: The router refused, or the new version did not pass; the old one still serves.
    """
    for warning in prepared.warnings:
        out.note(f"warning: {warning}")
    publisher = RouterPublisher(control, dev=dev)
    sent = publisher.upload(prepared.layers, _upload_bar(out))
    size = sum(prepared.layers[digest].stat().st_size for digest in sent)
    _line(
        out,
        {"step": "upload", "state": "done", "detail": f"{len(sent)} layers, {size / 1024:.0f} KiB"},
    )
    last: Step = {}
    ready: set[str] = set()
    for step in publisher.deploy(prepared.release):
        last = step
        if step.get("state") == "ready":
            ready.add(str(step["replica"]))
        if step.get("step") == "failed":
            raise _failure(step)
        if step.get("step") != "done":
            _line(out, step)
    if last.get("step") != "done":
        raise BuildError(
            "the router stopped answering before the deploy ended",
            hint="`glowplug history` shows what is live; deploy again",
        )
    curls = {
        decl.spec.name: curl_line(
            control.url, control.key, f"{decl.spec.app}/{decl.spec.name}", _example(decl)
        )
        for decl, _ in prepared.release.endpoints
    }
    return Published(last, curls, frozenset(ready))


def _example(decl: EndpointDecl) -> dict[str, Any] | None:
    if decl.spec.schema.raw_body:
        return None
    if decl.spec.examples:
        return dict(decl.spec.examples[0])
    required = (decl.spec.schema.request or {}).get("required", [])
    return dict.fromkeys(required, "…")


def _failure(step: Step) -> Exception:
    problem = step.get("problem") or step
    detail = str(problem.get("detail", "the new version did not pass"))
    return call_error(
        str(problem.get("code", "deploy_failed")),
        detail,
        executed="no",
        hint=str(problem.get("hint", "")),
    )


def _line(out: Output, step: Step) -> None:
    out.event({"event": "step"} | step)
    state = str(step.get("state", ""))
    mark = _MARKS.get(state, "…")
    colour = {"✓": "green", "✗": "red"}.get(mark)
    version = f"@v{step['version']}" if step.get("version") else ""
    name = f"{step['step']} {step.get('endpoint', '')}{version}"
    told = " ".join(part for part in (state if mark != "✓" else "", _phases(step), str(step.get("detail", ""))) if part)
    out.say(f"{click.style(mark, fg=colour)} {name:<28} {told}".rstrip())


def _phases(step: Step) -> str:
    long = [f"{one['name']} {one['ns'] / SECOND:.2f} s" for one in step.get("phases", ()) if one["ns"] >= SHOWN_NS]
    return ", ".join(long)


def _upload_bar(out: Output) -> Any:
    def show(digest: str, sent: int, size: int) -> None:
        if out.live and size > 1 << 20:
            sys.stderr.write(f"\r  uploading {digest[7:19]} {100 * sent // size:3d} %")
            if sent == size:
                sys.stderr.write("\r\033[K")
            sys.stderr.flush()

    return show
