"""How is a release brought to a router and followed until it serves?"""

from dataclasses import dataclass

from glowplug.commands.apps import cut_off, failure
from glowplug.commands.output import Output
from glowplug.commands.progress import Progress, UploadBar
from glowplug.control_client import Control
from glowplug_packager.commands.curl import curl_line
from glowplug_packager.ports import Prepared, Step
from glowplug_packager.publishers.router import RouterPublisher


@dataclass(frozen=True, slots=True)
class Published:
    """What a deploy ended with: the router's last step and a curl line for each endpoint."""

    done: Step
    curls: dict[str, str]
    replicas: frozenset[str]  # those that were tried out
    unchanged: bool  # everything was already so


def publish(
    out: Output, control: Control, prepared: Prepared, file: str, *, dev: bool = False
) -> Published:
    """Upload what is missing, deploy, and show what happens.

    Args:
        out: where it is shown.
        control: the router.
        prepared: the release.
        file: what the person called the file; a curl line sends it where an endpoint wants bytes.
        dev: let running replicas become the new version in place where they can.

    Raises:
        CallError: The router refused, or the new version did not pass; the old one still serves.
    """
    for warning in prepared.warnings:
        out.note(f"warning: {warning}")
    publisher = RouterPublisher(control, dev=dev)
    sent = publisher.upload(prepared.layers, UploadBar(out))
    size = sum(prepared.layers[digest].stat().st_size for digest in sent)
    out.event(
        {"event": "step", "step": "upload", "state": "done", "layers": len(sent), "bytes": size}
    )
    last: Step = {}
    with Progress(out) as progress:
        for last in publisher.deploy(prepared.release):
            progress.take(last)
            if last.get("step") == "failed":
                raise failure(last)
        if last.get("step") != "done":
            raise cut_off(prepared.release.app)
    curls = {
        decl.spec.name: curl_line(control.url, control.key, decl, file, control.ca)
        for decl, _ in prepared.release.endpoints
    }
    board = progress.board
    return Published(last, curls, frozenset(board.ready), board.unchanged)
