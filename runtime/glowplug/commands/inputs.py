"""What did `-i NAME=VALUE` mean? JSON where it parses, text where not, a file's bytes after `@`."""

import json
import secrets
from collections.abc import Iterable
from pathlib import Path

from glowplug.errors import ConfigError
from glowplug.spec import Json

Input = Json | bytes


def parse_inputs(words: Iterable[str]) -> dict[str, Input]:
    """Return the arguments that `-i` options spell."""
    return dict(_parse(word) for word in words)


def _parse(word: str) -> tuple[str, Input]:
    name, equals, text = word.partition("=")
    if not equals or not name:
        raise ConfigError(f"`{word}` is not NAME=VALUE", hint="for example -i x=3 -i name=Ada -i image=@photo.png")
    if text.startswith("@"):
        try:
            return name, Path(text[1:]).read_bytes()
        except OSError as error:
            raise ConfigError(f"cannot read {text[1:]}: {error.strerror}", hint="give a path that exists after @") from error
    try:
        return name, json.loads(text)
    except ValueError:
        return name, text


def encode_inputs(inputs: dict[str, Input], raw_body: str = "") -> tuple[str, bytes]:
    """Return (content type, body): JSON, or the raw bytes of the one bytes parameter, or multipart when files are among them."""
    files = {name: value for name, value in inputs.items() if isinstance(value, bytes)}
    if not files:
        return "application/json", json.dumps(inputs, ensure_ascii=False).encode()
    if raw_body in files and len(inputs) == 1:
        return "application/octet-stream", files[raw_body]
    boundary = f"glowplug-{secrets.token_hex(16)}"
    parts = [_part(boundary, name, value) for name, value in inputs.items()]
    return f"multipart/form-data; boundary={boundary}", b"".join(parts) + f"--{boundary}--\r\n".encode()


def _part(boundary: str, name: str, value: Input) -> bytes:
    head = f'--{boundary}\r\ncontent-disposition: form-data; name="{name}"'
    if isinstance(value, bytes):
        return f'{head}; filename="{name}"\r\ncontent-type: application/octet-stream\r\n\r\n'.encode() + value + b"\r\n"
    text = json.dumps(value, ensure_ascii=False).encode()
    return f"{head}\r\ncontent-type: application/json\r\n\r\n".encode() + text + b"\r\n"
