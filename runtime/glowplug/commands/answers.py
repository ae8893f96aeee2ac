"""How is what an endpoint returned shown? Text as text, JSON indented, bytes as they are or into a file."""

import base64
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from glowplug.commands.output import Output
from glowplug.errors import ConfigError
from glowplug.spec import Json


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
    out.piece("" if at_start else "\n")
    if not as_events:
        out.result({"output": kept} | ({} if headers is None else {"headers": headers}))


def save(out: Output, file: Path, pieces: Iterable[bytes], headers: dict[str, str]) -> None:
    """Write an answer's bytes into a file as they come."""
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
    out.result({"output_file": str(file), "bytes": size, "headers": headers})


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
