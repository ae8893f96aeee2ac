"""How does a verb speak: to a person, or with `--json` to a program?"""

import functools
import json
import re
import shutil
import sys
import textwrap
from collections.abc import Callable, Sequence
from typing import Any, ParamSpec

import click

from glowplug.errors import CallError, GlowplugError, InvalidRequestError, RemoteError
from glowplug.problems import PROBLEMS

P = ParamSpec("P")
Decorated = Callable[[Callable[..., Any]], Callable[..., Any]]

EXIT_FAILED = 1
EXIT_INTERRUPTED = 130
_VERSION = re.compile(r"\b([a-z][a-z0-9-]*/[a-z][a-z0-9-]*)@([0-9]+)\b")
COLUMNS_MAX = 120  # wider text is hard to read


class Output:
    """Where a verb's results go. `say` is for people and silent with --json; `result` is for programs alone."""

    def __init__(self, *, as_json: bool, muted: bool = False) -> None:
        self.as_json = as_json
        self.is_muted = muted
        self.stdout = sys.stdout  # also while a user's prints are led elsewhere
        self.is_live = not as_json and not muted and sys.stderr.isatty()

    def say(self, text: str = "") -> None:
        """Print a line for people."""
        if not self.as_json and not self.is_muted:
            click.echo(text, file=self.stdout)

    def piece(self, text: str) -> None:
        """Print a part of a line for people, at once."""
        if not self.as_json and not self.is_muted:
            click.echo(text, nl=False, file=self.stdout)

    def note(self, text: str) -> None:
        """Print progress for people on stderr, so that stdout stays clean."""
        if not self.as_json and not self.is_muted:
            click.echo(text, err=True)

    def result(self, value: Any) -> None:
        """Print the result for programs: one JSON document on one line."""
        if self.as_json and not self.is_muted:
            click.echo(json.dumps(value, default=str, ensure_ascii=False), file=self.stdout)

    def event(self, value: Any) -> None:
        """Print one event of a verb that goes on, for programs: one JSON line, at once."""
        self.result(value)
        self.stdout.flush()

    def write(self, data: bytes) -> None:
        """Write bytes as they are, for people and pipes."""
        if not self.as_json and not self.is_muted:
            self.stdout.flush()
            self.stdout.buffer.write(data)
            self.stdout.buffer.flush()

    def table(self, head: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
        """Print aligned columns for people; the last one is wrapped where the terminal ends."""
        cells = [[str(cell) for cell in row] for row in rows]
        widths = [max(len(row[at]) for row in [list(head), *cells]) for at in range(len(head))]
        self.say(click.style(_line(head, widths), dim=True))
        for row in cells:
            self.say(_line(row, widths))


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    *before, last = (cell.ljust(width) for cell, width in zip(cells, widths, strict=True))
    start = "".join(f"{cell}  " for cell in before)
    return start + wrapped(last.rstrip(), len(start))


def wrapped(text: str, indent: int) -> str:
    """Return text broken at the terminal's edge, lines after the first indented so far."""
    width = max(columns() - indent, 30)
    return f"\n{' ' * indent}".join(textwrap.wrap(text, width, break_long_words=False)) or text


def columns() -> int:
    """Return how wide the terminal is."""
    return min(shutil.get_terminal_size().columns, COLUMNS_MAX)


def verb(function: Callable[P, None]) -> Callable[..., None]:
    """Give a verb `--json` and turn our errors into a message with the next command, or a JSON document."""

    @click.option("--json", "as_json", is_flag=True, help="Print JSON for programs.")
    @functools.wraps(function)
    def run(*args: Any, as_json: bool, **kwargs: Any) -> None:
        out = Output(as_json=as_json)
        try:
            function(out, *args, **kwargs)  # type: ignore[arg-type]  # click fills the rest
        except GlowplugError as error:
            fail(out, error)
        except KeyboardInterrupt:
            out.note("interrupted")
            sys.exit(EXIT_INTERRUPTED)
        except BrokenPipeError:  # `glowplug logs | head`
            sys.stderr.close()
            sys.exit(0)

    return run


def fail(out: Output, error: GlowplugError) -> None:
    """Show an error and end."""
    error.message = with_v(error.message)
    out.result({"error": error_record(error)})
    head, _, rest = error.message.partition("\n")
    out.note(click.style(f"error: {head}", fg="red") + (f"\n{rest.rstrip()}" if rest else ""))
    if isinstance(error, RemoteError) and error.remote_traceback:
        out.note(error.remote_traceback.rstrip())
    for line in error.hint.splitlines():
        out.note(f"  {line}".rstrip())
    sys.exit(EXIT_FAILED)


def with_v(text: str) -> str:
    """Return text with `hello/greet@v1` for `hello/greet@1`, as versions are typed and shown everywhere."""
    return _VERSION.sub(r"\1@v\2", text)


def error_record(error: GlowplugError) -> dict[str, Any]:
    """Return an error as `--json` shows it."""
    record: dict[str, Any] = {"code": error.code, "message": error.message, "hint": error.hint}
    if isinstance(error, CallError):
        record |= {
            "executed": error.executed,
            "request_id": error.request_id,
            "retryable": error.retryable,
        }
        if error.code in PROBLEMS and error.code != "unreachable":  # which nobody answered
            record["status"] = error.status
    if isinstance(error, InvalidRequestError) and error.errors:
        record["errors"] = list(error.errors)
    if isinstance(error, RemoteError):
        record |= {"type": error.type_name, "traceback": error.remote_traceback}
    return record


def ago(wall_ns: int, now_wall_ns: int) -> str:
    """Return "3 m ago"."""
    return f"{lasted(max(0, (now_wall_ns - wall_ns) // 1_000_000_000))} ago"


def lasted(seconds: int) -> str:
    """Return "3 m"."""
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "m")):
        if seconds >= size:
            return f"{seconds // size} {unit}"
    return f"{seconds} s"
