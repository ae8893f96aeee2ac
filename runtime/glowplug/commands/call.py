"""How is a deployed endpoint called from a terminal?"""

from pathlib import Path

import click

from glowplug.clock import SECOND
from glowplug.commands.answers import TENSORS, save, show, show_items
from glowplug.commands.inputs import (
    Input,
    duration,
    encode_inputs,
    explain_misfit,
    file_bytes,
    parse_inputs,
)
from glowplug.commands.logs import ID_SHOWN
from glowplug.commands.output import Output, verb
from glowplug.commands.places import endpoint_of, profile_option
from glowplug.commands.progress import UploadBar
from glowplug.commands.waiting import Wait
from glowplug.context import Outgoing
from glowplug.errors import CallError, ConfigError, InvalidRequestError, RemoteError
from glowplug.spec import Class

CLASSES = ("critical", "interactive", "standard", "batch")
_JSON = "application/json"
_RAW = "application/octet-stream"
_EVENTS = "text/event-stream"
_KINDS = {".json": _JSON, ".msgpack": "application/msgpack", ".safetensors": TENSORS}
_ASKED = _KINDS | {".npy": TENSORS}  # of which a lone array is written as .npy


@click.command()
@click.argument("endpoint")
@click.option(
    "-i",
    "--input",
    "inputs",
    multiple=True,
    metavar="NAME=VALUE",
    help="An argument; NAME=@FILE for bytes, or an array (.npy).",
)
@click.option(
    "-d",
    "--data",
    metavar="JSON|@FILE",
    help="The whole body instead: JSON text, or a file (.json, .msgpack, .safetensors, any bytes).",
)
@click.option("--stream", is_flag=True, help="With --json: a line for each piece as it comes.")
@click.option("--timeout", metavar="TIME", help="Give up after this long: 30s, or seconds.")
@click.option("--priority", type=click.Choice(CLASSES), help="Which calls this one goes before.")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    help="Write the answer to this file; .json, .msgpack, .safetensors and .npy ask for that form.",
)
@profile_option
@verb
def call(
    out: Output,
    endpoint: str,
    inputs: tuple[str, ...],
    data: str | None,
    stream: bool,
    timeout: str | None,
    priority: Class | None,
    output: Path | None,
    profile: str | None,
) -> None:
    """Call APP/ENDPOINT (or APP/ENDPOINT@v2) and print what it returns.

    A generator's items are printed as they come.
    """
    app, name, version = endpoint_of(endpoint, "glowplug call hello/greet -i name=Ada")
    arguments, content_type, body = _body(inputs, data)
    outgoing = Outgoing(
        app=app,
        endpoint=name,
        version=version,
        content_type=content_type,
        accept=f"{_JSON if output is None else _ASKED.get(output.suffix, _JSON)}, {_EVENTS}",
        body=body,
        timeout_s=None if timeout is None else duration(timeout, "--timeout") / SECOND,
        klass=priority,
    )
    try:
        _shown(out, outgoing, profile, output, as_events=stream)
    except InvalidRequestError as error:
        if error.code == "invalid_request":
            explain_misfit(error, arguments, f"`glowplug status {app}/{name}` shows what it takes")
        raise
    except CallError as error:
        error.hint = _hint(error, profile)
        raise


def _hint(error: CallError, profile: str | None) -> str:
    """Return what to type next: a program would send a header where a person has an option."""
    from glowplug.profiles import other_key, resolve

    if isinstance(error, RemoteError) and error.request_id:
        return f"`glowplug logs {error.request_id}` shows what it printed"
    match error.code:
        case "unauthorized":
            return other_key(resolve(profile))
        case "deadline":
            return (
                "give it longer: `--timeout 5m`; `glowplug status --why` shows what it waited for"
            )
        case _:
            return error.hint


def _body(inputs: tuple[str, ...], data: str | None) -> tuple[dict[str, Input], str, bytes]:
    if data is None:
        arguments = parse_inputs(inputs)
        return arguments, *encode_inputs(arguments)
    if inputs:
        raise ConfigError(
            "--data is the whole body; it cannot be joined with -i", hint="use one of them"
        )
    if not data.startswith("@"):
        return {}, "application/json", data.encode(errors="replace")
    return {}, _KINDS.get(Path(data).suffix, _RAW), file_bytes(data[1:])


def _shown(
    out: Output, outgoing: Outgoing, profile: str | None, output: Path | None, *, as_events: bool
) -> None:
    from glowplug.client import transport_to  # lazily: the HTTP library costs 50 ms
    from glowplug.profiles import resolve

    wait = Wait(out)
    transport = transport_to(resolve(profile))
    transport.detour.progress = UploadBar(out)
    with transport.replied(outgoing, wait.take) as reply:
        reply = wait.answered(reply)
        if reply.headers.get("glowplug-cold"):
            phases = _phases(reply.headers.get("server-timing", ""))
            id = reply.headers.get("x-request-id", "")[:ID_SHOWN]
            name = f"{outgoing.app}/{outgoing.endpoint}"
            out.note(f"cold start: {phases} (`glowplug why {name} --call {id}` says why)")
        kind = reply.headers.get("content-type", "")
        if output is not None:
            if kind.startswith(_EVENTS):
                save(out, output, (item + b"\n" for item in reply.pieces), reply.headers)
            else:
                save(out, output, reply.pieces, reply.headers, kind)
        elif kind.startswith(_EVENTS):
            show_items(out, reply.pieces, as_events=as_events, headers=reply.headers)
        else:
            show(out, kind, b"".join(reply.pieces), reply.headers)


def _phases(timing: str) -> str:
    """Return "import 0.06 s, load 1.20 s" of a Server-Timing header."""
    shown = []
    for one in timing.split(","):
        name, _, ms = one.strip().partition(";dur=")
        if ms and float(ms) >= 1:
            shown.append(f"{name} {float(ms) / 1000:.2f} s")
    return ", ".join(shown)
