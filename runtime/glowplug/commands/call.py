"""How is a deployed endpoint called from a terminal?"""

import json
import sys
from pathlib import Path

import click

from glowplug.commands.inputs import encode_inputs, parse_inputs
from glowplug.commands.output import Output, verb
from glowplug.commands.places import profile_option
from glowplug.context import Answer, Outgoing
from glowplug.errors import ConfigError, RemoteError
from glowplug.spec import Class

CLASSES = ("critical", "interactive", "standard", "batch")


@click.command()
@click.argument("endpoint")
@click.option("-i", "--input", "inputs", multiple=True, metavar="NAME=VALUE", help="An argument; NAME=@file for bytes.")
@click.option("-d", "--data", metavar="JSON|@FILE", help="The whole body instead: JSON text, or a file's bytes.")
@click.option("--stream", is_flag=True, help="Print each piece as it comes.")
@click.option("--timeout", type=float, metavar="SECONDS", help="Give up after this long.")
@click.option("--class", "klass", type=click.Choice(CLASSES), help="Which calls this one goes before.")
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Write the answer's bytes to this file.")
@profile_option
@verb
def call(
    out: Output,
    endpoint: str,
    inputs: tuple[str, ...],
    data: str | None,
    stream: bool,
    timeout: float | None,
    klass: Class | None,
    output: Path | None,
    profile: str | None,
) -> None:
    """Call APP/ENDPOINT (or APP/ENDPOINT@v2) and print what it returns."""
    from glowplug.client import transport_to
    from glowplug.profiles import resolve

    path, _, version = endpoint.partition("@")
    app, _, name = path.partition("/")
    if not name:
        raise ConfigError(f"`{endpoint}` is not APP/ENDPOINT", hint="for example `glowplug call hello/greet -i name=Ada`")
    content_type, body = _body(inputs, data)
    outgoing = Outgoing(
        app=app,
        endpoint=name,
        version=version,
        content_type=content_type,
        accept="text/event-stream" if stream else "application/json",
        body=body,
        timeout_s=timeout,
        klass=klass,
    )
    transport = transport_to(resolve(profile))
    try:
        if stream:
            for item in transport.stream(outgoing):
                _item(out, item)
        else:
            _answer(out, transport.call(outgoing), output)
    except RemoteError as error:
        error.hint = f"glowplug logs {error.request_id}" if error.request_id else error.hint
        raise


def _body(inputs: tuple[str, ...], data: str | None) -> tuple[str, bytes]:
    if data is None:
        return encode_inputs(parse_inputs(inputs))
    if inputs:
        raise ConfigError("--data is the whole body; it cannot be joined with -i", hint="use one of them")
    if not data.startswith("@"):
        return "application/json", data.encode()
    try:
        return "application/octet-stream", Path(data[1:]).read_bytes()
    except OSError as error:
        raise ConfigError(f"cannot read {data[1:]}: {error.strerror}", hint="give a path that exists after @") from error


def _item(out: Output, item: bytes) -> None:
    try:
        value = json.loads(item)
    except ValueError:
        sys.stdout.buffer.write(item)
        sys.stdout.flush()
        return
    out.say(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))
    out.event({"output": value})
    sys.stdout.flush()


def _answer(out: Output, answer: Answer, output: Path | None) -> None:
    if answer.headers.get("glowplug-cold"):
        out.note(f"cold start: {answer.headers.get('server-timing', '')}")
    if output is not None:
        output.write_bytes(answer.body)
        out.say(f"wrote {len(answer.body)} bytes to {output}")
        out.result({"output_file": str(output), "bytes": len(answer.body), "headers": answer.headers})
        return
    kind = answer.headers.get("content-type", "")
    if not kind.startswith("application/json"):
        if not out.as_json:
            sys.stdout.buffer.write(answer.body)
            sys.stdout.flush()
        out.result({"bytes": len(answer.body), "content_type": kind, "headers": answer.headers})
        return
    value = json.loads(answer.body)
    out.say(value if isinstance(value, str) else json.dumps(value, indent=2, ensure_ascii=False))
    out.result({"output": value, "headers": answer.headers})
