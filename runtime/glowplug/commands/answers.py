"""How is what an endpoint returned shown? Text as text, JSON indented, bytes as they are or into a file."""

import base64
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from glowplug.commands.output import Output
from glowplug.errors import ConfigError
from glowplug.spec import Json

TENSORS = "application/safetensors"
_NPY = "application/x-npy"  # ours alone: the wire has no such form
SUFFIXES = {
    "application/json": ".json",
    "application/msgpack": ".msgpack",
    TENSORS: ".safetensors",
    _NPY: ".npy",
}


def show(
    out: Output, content_type: str, body: bytes, headers: dict[str, str] | None = None
) -> None:
    """Show a whole answer."""
    more: dict[str, Any] = {} if headers is None else {"headers": headers}
    if content_type.partition(";")[0] != "application/json":
        out.result({"output": base64.b64encode(body).decode(), "encoding": "base64"} | more)
        _raw(out, body, content_type)
        return
    value = json.loads(body)
    out.say(value if isinstance(value, str) else json.dumps(value, indent=2, ensure_ascii=False))
    out.result({"output": value} | more)


def show_items(
    out: Output, items: Iterable[bytes], *, as_events: bool, headers: dict[str, str] | None = None
) -> None:
    """Show the items of a stream as they come: for programs a line each, or one document at the end.

    For people texts run on, as a language model's tokens do, and all else has a line of its own.
    """
    kept: list[Json] = []
    at_start = True  # of a line
    try:
        for item in items:
            value = json.loads(item)
            if isinstance(value, str):
                out.piece(value)
                at_start = value.endswith("\n") or (at_start and not value)
            else:
                out.piece("" if at_start else "\n")
                out.say(json.dumps(value, ensure_ascii=False))
                at_start = True
            out.stdout.flush()
            if as_events:
                out.event({"output": value})
            else:
                kept.append(value)
    finally:  # an error must not be glued to the text before it
        out.piece("" if at_start else "\n")
        out.stdout.flush()
    if not as_events:
        out.result({"output": kept} | ({} if headers is None else {"headers": headers}))


def save(
    out: Output, file: Path, pieces: Iterable[bytes], headers: dict[str, str], kind: str = ""
) -> None:
    """Write an answer's bytes into a file as they come; say so where they are not what its name says."""
    kind, pieces = _in_form(file, kind, pieces)
    size = 0
    try:
        with file.open("wb") as opened:
            for piece in pieces:
                size += opened.write(piece)
    except OSError as error:
        raise ConfigError(
            f"cannot write {file}: {error.strerror}", hint="name a file you may write after -o"
        ) from error
    out.say(f"wrote {size} bytes to {file}")
    if file.suffix in SUFFIXES.values() and SUFFIXES.get(kind, file.suffix) != file.suffix:
        right = file.with_suffix(SUFFIXES[kind])
        out.note(f"it is {kind}, all that this endpoint has for it: `mv {file} {right}`")
    out.result({"output_file": str(file), "bytes": size, "headers": headers})


def _in_form(file: Path, content_type: str, pieces: Iterable[bytes]) -> tuple[str, Iterable[bytes]]:
    """Return an answer in the form that the file's name asks for and no router has: a lone array as .npy."""
    kind = content_type.partition(";")[0].strip()
    if file.suffix != ".npy" or kind != TENSORS:
        return kind, pieces
    from glowplug.tensor_bodies import npy_of_file  # lazily: pydantic

    body = b"".join(pieces)
    try:
        return _NPY, (npy_of_file(body),)
    except ValueError:
        return kind, (body,)


def _raw(out: Output, body: bytes, content_type: str) -> None:
    if out.stdout.isatty() and not _is_text(body):
        out.note(f"{len(body)} bytes of {content_type}; `-o FILE` or `> FILE` keeps them")
    else:
        out.write(body)


def _is_text(body: bytes) -> bool:
    try:
        return "\0" not in body.decode()
    except UnicodeDecodeError:
        return False
