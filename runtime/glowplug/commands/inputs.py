"""What did `-i NAME=VALUE` mean? JSON where it parses, text where not, a file's bytes after `@`."""

import json
import secrets
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

import click

from glowplug.errors import ConfigError, DefinitionError, InvalidRequestError
from glowplug.spec import Json
from glowplug.units import duration_ns

Input = Json | bytes


def parse_inputs(words: Iterable[str]) -> dict[str, Input]:
    """Return the arguments that `-i` options spell."""
    inputs: dict[str, Input] = {}
    for word in words:
        name, value = _parse(word)
        if name in inputs:
            raise ConfigError(
                f"-i {name}=… is there twice", hint=f"a list is one value: -i '{name}=[1, 2]'"
            )
        inputs[name] = value
    return inputs


def _parse(word: str) -> tuple[str, Input]:
    name, equals, text = word.partition("=")
    if not equals or not name:
        raise ConfigError(
            f"`{word}` is not NAME=VALUE",
            hint="for example -i x=3 -i name=Ada -i image=@photo.png",
        )
    if text.startswith("@"):
        return name, file_bytes(text[1:])
    try:
        return name, json.loads(text, parse_constant=_not_a_number)
    except (ValueError, RecursionError):
        return name, text


def _not_a_number(word: str) -> str:
    """JSON has no NaN and no infinity; endpoints take them as text."""
    return word


def file_bytes(name: str) -> bytes:
    """Return the bytes of a file that was named after @; `-` is standard input."""
    if name == "-":
        return sys.stdin.buffer.read()
    try:
        return Path(name).read_bytes()
    except OSError as error:
        raise ConfigError(
            f"cannot read {name or 'a file without a name'}: {error.strerror}",
            hint="give a path that exists after @",
        ) from error


def python_file(file: Path, verb: str) -> None:
    """Refuse what is no file to serve."""
    if file.is_dir():
        raise ConfigError(
            f"{file} is a folder", hint=f"name the file in it: `glowplug {verb} {file / 'app.py'}`"
        )
    if not file.is_file():
        raise ConfigError(
            f"there is no file {file}", hint="`glowplug init hello` makes a first one"
        )


def encode_inputs(inputs: Mapping[str, Input], raw_body: str = "") -> tuple[str, bytes]:
    """Return (content type, body): JSON, the bytes of the one bytes parameter, or multipart if there are files."""
    files = {name: value for name, value in inputs.items() if isinstance(value, bytes)}
    if not files:
        return "application/json", json.dumps(inputs, ensure_ascii=False).encode(errors="replace")
    if raw_body in files and len(inputs) == 1:
        return "application/octet-stream", files[raw_body]
    boundary = f"glowplug-{secrets.token_hex(16)}"
    parts = [_part(boundary, name, value) for name, value in inputs.items()]
    end = f"--{boundary}--\r\n".encode()
    return f"multipart/form-data; boundary={boundary}", b"".join(parts) + end


def _part(boundary: str, name: str, value: Input) -> bytes:
    # As browsers write them: what would end the quoted name is escaped (WHATWG, multipart/form-data encoding).
    quoted = name.replace('"', "%22").replace("\r", "%0D").replace("\n", "%0A")
    head = f'--{boundary}\r\ncontent-disposition: form-data; name="{quoted}"'
    if isinstance(value, bytes):
        head += f'; filename="{quoted}"\r\ncontent-type: application/octet-stream'
        data = value
    else:
        head += "\r\ncontent-type: application/json"
        data = json.dumps(value, ensure_ascii=False).encode(errors="replace")
    return f"{head}\r\n\r\n".encode(errors="replace") + data + b"\r\n"


def explain_misfit(error: InvalidRequestError, inputs: Mapping[str, Input], where: str) -> None:
    """Say what to type instead when the arguments do not fit."""
    error.hint = where
    for name, value in inputs.items():
        is_number = isinstance(value, int | float) or value is None
        wants_text = f"{name}: Input should be a valid string" in error.message
        if is_number and wants_text:
            error.hint = f"-i '{name}={json.dumps(json.dumps(value))}' sends it as text; {where}"


def duration(text: str, option: str) -> int:
    """Return the nanoseconds of "30s" or of a plain number of seconds, as typed after an option."""
    try:
        return duration_ns(float(text), option) if _is_number(text) else duration_ns(text, option)
    except DefinitionError as error:
        raise ConfigError(error.message, hint=error.hint) from error


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def unseen(what: str, how: str) -> str:
    """Return what must be in no shell history: asked for on a terminal, else read from standard input."""
    if sys.stdin.isatty():
        return str(click.prompt(what, hide_input=True, err=True))
    value = sys.stdin.read().rstrip("\r\n")
    if not value:
        raise ConfigError(f"{what} is empty", hint=how)
    return value
