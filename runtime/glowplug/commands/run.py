"""How is an endpoint tried without any server? `run` loads the file here and calls it in this process."""

import inspect
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any

import click

from glowplug.commands.answers import show, show_items
from glowplug.commands.inputs import encode_inputs, explain_misfit, parse_inputs
from glowplug.commands.output import Output, verb
from glowplug.commands.signatures import signature
from glowplug.errors import (
    ConfigError,
    DefinitionError,
    GlowplugError,
    InvalidRequestError,
    RemoteError,
)
from glowplug.settings import set_environment, variable
from glowplug.spec import EndpointSpec
from glowplug.suggest import did_you_mean


@click.command()
@click.argument("target")
@click.option(
    "-i",
    "--input",
    "inputs",
    multiple=True,
    metavar="NAME=VALUE",
    help="An argument; NAME=@FILE for bytes.",
)
@verb
def run(out: Output, target: str, inputs: tuple[str, ...]) -> None:
    """Call FILE.py::ENDPOINT in this process: load, warm, the call, drain, unload.

    It runs in this Python, not in the endpoint's image: what the file imports must be installed here.
    What the code prints goes to stderr; stdout has the answer alone.
    """
    from glowplug.codec import decode_request, encode_item, encode_response
    from glowplug.discovery import load_endpoint
    from glowplug.lists import singly
    from glowplug.testing import local

    file, _, name = target.partition("::")
    path = Path(file).resolve()
    given = parse_inputs(inputs)
    with redirect_stdout(sys.stderr):  # `out` goes on to the real one
        spec = _declared(path, file, name)
        _prepare(out, spec)
        with _users_code(spec.name):
            endpoint = load_endpoint(spec.target, path.parent)
        contract = endpoint.contract
        try:
            arguments = decode_request(contract, *encode_inputs(given, spec.schema.raw_body))
        except InvalidRequestError as error:
            explain_misfit(error, given, f"{spec.name} takes {signature(spec.schema)}")
            raise
        with _users_code(spec.name), local(endpoint) as function:
            if endpoint.batch is not None:
                function = singly(spec.name, function)
            answer = function(**arguments)
            if spec.schema.streams:
                items = (encode_item(contract, item) for item in _items(answer))
                show_items(out, items, as_events=False)
            else:
                value = _awaited(answer) if inspect.isawaitable(answer) else answer
                media, body = encode_response(contract, value)
                show(out, media, bytes(body))


def _declared(path: Path, file: str, name: str) -> EndpointSpec:
    from glowplug.discovery import look

    if path.is_dir():
        raise ConfigError(f"{file} is a folder", hint=f"for example `glowplug run {file}/app.py`")
    if not path.is_file():
        raise ConfigError(
            f"there is no file {file}", hint="for example `glowplug run app.py::greet -i name=Ada`"
        )
    found = look(path, path.parent)
    if found.missing:
        wanted = " ".join(found.missing)
        raise ConfigError(
            f"{path.name} needs {wanted}, not installed here",
            hint=f"pip install {wanted}, or `glowplug dev {file}`, which builds the image",
        )
    specs = [one.spec for one in found.declarations]
    named = [one for one in specs if name in {one.name, one.target.partition(":")[2], ""}]
    if len(named) == 1:
        return named[0]
    names = [one.name for one in specs]
    if named:
        raise ConfigError(
            f"{file} has several endpoints: {', '.join(names)}",
            hint=f"name one: glowplug run {file}::{names[0]}",
        )
    raise DefinitionError(f"{file} has no endpoint `{name}`", hint=did_you_mean(name, names))


def _prepare(out: Output, spec: EndpointSpec) -> None:
    """Give the code the environment a replica would have; secrets come from this shell."""
    set_environment(dict((*spec.image.env, *spec.env)))
    for name in spec.secrets:
        if not variable(name):
            out.note(f"the secret {name} is not set in this shell: export {name}=…")


@contextmanager
def _users_code(name: str) -> Iterator[None]:
    """Show what the code raises as a call to a deployed endpoint would, with its own frames alone."""
    from glowplug.remote_errors import exception_fields

    try:
        yield
    except (GlowplugError, BrokenPipeError):
        raise
    except Exception as error:  # a user's code may raise anything, and it is all the same to us
        fields = exception_fields(error)
        ours = RemoteError(
            f"{name} raised {type(error).__name__}: {error}",
            type_name=f"{fields['module']}:{fields['qualname']}",
            remote_traceback=fields["traceback"],
        )
        ours.hint = ""  # the traceback says it all; there are no logs
        raise ours from error


def _awaited(answer: Any) -> Any:
    import anyio

    async def wait() -> Any:
        return await answer

    return anyio.run(wait)


def _items(answer: Any) -> Iterator[Any]:
    """Yield a generator's items as they come."""
    if not isinstance(answer, AsyncIterator):
        yield from answer
        return
    from anyio.from_thread import start_blocking_portal

    async def step() -> tuple[Any, ...]:
        try:
            return (await anext(answer),)
        except StopAsyncIteration:
            return ()

    with start_blocking_portal() as portal:
        while found := portal.call(step):
            yield found[0]
