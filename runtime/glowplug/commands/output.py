"""How does a verb speak: to a person, or with `--json` to a program?"""

import functools
import json
import sys
from collections.abc import Callable, Sequence
from typing import Any, ParamSpec

import click

from glowplug.errors import CallError, GlowplugError, RemoteError

P = ParamSpec("P")
Decorated = Callable[[Callable[..., Any]], Callable[..., Any]]

EXIT_FAILED = 1
EXIT_INTERRUPTED = 130


class Output:
    """Where a verb's results go. `say` is for people and silent with --json; `result` is the one JSON document."""

    def __init__(self, *, as_json: bool, muted: bool = False) -> None:
        self.as_json = as_json
        self.live = not as_json and not muted and sys.stdout.isatty()
        self._muted = muted

    def say(self, text: str = "") -> None:
        """Print a line for people."""
        if not self.as_json and not self._muted:
            click.echo(text)

    def note(self, text: str) -> None:
        """Print progress for people on stderr, so that stdout stays clean."""
        if not self.as_json:
            click.echo(text, err=True)

    def result(self, value: Any) -> None:
        """Print the result for programs: one JSON document on one line."""
        if self.as_json and not self._muted:
            click.echo(json.dumps(value, default=str, ensure_ascii=False))

    def event(self, value: Any) -> None:
        """Print one event of a long-running verb for programs: one JSON line."""
        self.result(value)

    def table(self, head: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
        """Print aligned columns for people."""
        cells = [[str(cell) for cell in row] for row in rows]
        widths = [max(len(row[at]) for row in [list(head), *cells]) for at in range(len(head))]
        self.say(click.style(_line(head, widths), dim=True))
        for row in cells:
            self.say(_line(row, widths))


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    return "  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip()


def verb(function: Callable[P, None]) -> Callable[..., None]:
    """Give a verb `--json` and turn our errors into a message with the next command, or a JSON document."""

    @click.option("--json", "as_json", is_flag=True, help="Print JSON for programs.")
    @functools.wraps(function)
    def run(*args: Any, as_json: bool, **kwargs: Any) -> None:
        out = Output(as_json=as_json)
        try:
            function(out, *args, **kwargs)  # type: ignore[arg-type]  # click fills the rest
        except GlowplugError as error:
            _fail(out, error)
        except KeyboardInterrupt:
            out.note("interrupted")
            sys.exit(EXIT_INTERRUPTED)
        except BrokenPipeError:  # `glowplug logs | head`
            sys.stderr.close()
            sys.exit(0)

    return run


def _fail(out: Output, error: GlowplugError) -> None:
    out.result({"error": error_record(error)})
    if not out.as_json:
        click.secho(f"error: {error.message}", fg="red", err=True)
        if isinstance(error, RemoteError) and error.remote_traceback:
            click.echo(error.remote_traceback.rstrip(), err=True)
        if error.hint:
            click.echo(f"  {error.hint}", err=True)
    sys.exit(EXIT_FAILED)


def error_record(error: GlowplugError) -> dict[str, Any]:
    """Return an error as `--json` shows it."""
    record: dict[str, Any] = {"code": error.code, "message": error.message, "hint": error.hint}
    if isinstance(error, CallError):
        record |= {
            "status": error.status,
            "executed": error.executed,
            "request_id": error.request_id,
            "retryable": error.retryable,
        }
    return record


def ago(wall_ns: int, now_wall_ns: int) -> str:
    """Return "3 m ago"."""
    seconds = max(0, (now_wall_ns - wall_ns) // 1_000_000_000)
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "m")):
        if seconds >= size:
            return f"{seconds // size} {unit} ago"
    return f"{seconds} s ago"
