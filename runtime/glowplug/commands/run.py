"""How is an endpoint tried without any server? `run` loads the file here and calls it in this process."""

import inspect
import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import click

from glowplug.commands.inputs import encode_inputs, parse_inputs
from glowplug.commands.output import Output, verb
from glowplug.errors import ConfigError, DefinitionError
from glowplug.spec import EndpointSpec


@click.command()
@click.argument("target")
@click.option("-i", "--input", "inputs", multiple=True, metavar="NAME=VALUE", help="An argument; NAME=@file for bytes.")
@verb
def run(out: Output, target: str, inputs: tuple[str, ...]) -> None:
    """Call FILE.py::ENDPOINT in this process: load, warm, the call, drain, unload."""
    from glowplug.codec import decode_request, encode_item, encode_response
    from glowplug.discovery import load_endpoint, look
    from glowplug.testing import local

    file, _, name = target.partition("::")
    path = Path(file).absolute()
    if not path.is_file():
        raise ConfigError(f"there is no file {file}", hint="glowplug run app.py::greet -i name=Ada")
    found = look(path, path.parent)
    if found.missing:
        wanted = " ".join(found.missing)
        raise ConfigError(f"{path.name} needs {wanted}, not installed here", hint=f"pip install {wanted}, or `glowplug dev {file}`, which builds the image")
    spec = _chosen([one.spec for one in found.declarations], name, path.name)
    endpoint = load_endpoint(spec.target, path.parent)
    contract = endpoint.contract
    arguments = decode_request(contract, *encode_inputs(parse_inputs(inputs), spec.schema.raw_body))
    with local(endpoint) as function:
        answer = function(**arguments)
        if spec.schema.streams:
            for item in _items(answer):
                _shown(out, encode_item(contract, item))
        else:
            value = _awaited(answer) if inspect.isawaitable(answer) else answer
            _shown(out, encode_response(contract, value)[1])


def _chosen(specs: list[EndpointSpec], name: str, file: str) -> EndpointSpec:
    named = [one for one in specs if name in {one.name, one.target.partition(":")[2], ""}]
    if len(named) == 1:
        return named[0]
    known = ", ".join(one.name for one in specs)
    if named:
        raise ConfigError(f"{file} has several endpoints", hint=f"name one: glowplug run {file}::{specs[0].name} (of {known})")
    raise DefinitionError(f"{file} has no endpoint `{name}`", hint=f"it has {known}")


def _awaited(answer: Any) -> Any:
    import anyio

    async def wait() -> Any:
        return await answer

    return anyio.run(wait)


def _items(answer: Any) -> Iterator[Any]:
    if not isinstance(answer, AsyncIterator):
        yield from answer
        return
    import anyio

    async def gather() -> list[Any]:
        return [item async for item in answer]

    yield from anyio.run(gather)


def _shown(out: Output, body: bytes) -> None:
    try:
        value = json.loads(body)
    except ValueError:
        value = f"{len(body)} bytes"
    out.say(value if isinstance(value, str) else json.dumps(value, indent=2, ensure_ascii=False))
    out.result({"output": value})
