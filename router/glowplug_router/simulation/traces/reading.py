"""How is a file of a trace read? Line by line, bounded; what is wrong is told with its line."""

import csv
import gzip
import json
import math
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

from glowplug.clock import SECOND
from glowplug.errors import ConfigError

ROWS_MAX = 20_000_000  # BurstGPT has 10 million; what is longer is cut into parts first
LINE_MAX = (
    1 << 20
)  # a row of Azure Functions 2019 has 1,444 columns; a Mooncake prompt hundreds of block ids
HEADS_MAX = 4096  # bytes that tell the format
_EPOCH = datetime.fromtimestamp(0, UTC)


class TraceError(ConfigError):
    """A trace cannot be read."""


class Row:
    """One row of a table: text by column, and where it stands."""

    __slots__ = ("_cells", "_columns", "_path", "line")

    def __init__(
        self, path: Path, line: int, columns: dict[str, int], cells: Sequence[str]
    ) -> None:
        self._path, self.line, self._columns, self._cells = path, line, columns, cells

    def __contains__(self, column: str) -> bool:
        return column in self._columns

    def text(self, column: str) -> str:
        """Return a cell as it stands.

        Raises:
            TraceError: There is no such column.
        """
        if column not in self._columns:
            raise self.wrong(f"there is no column {column}")
        return self._cells[self._columns[column]].strip()

    def number(self, column: str) -> float:
        """Return a number that is not negative.

        Raises:
            TraceError: It is none.
        """
        text = self.text(column)
        try:
            number = float(text)
        except ValueError:
            number = math.nan
        if not 0 <= number < math.inf:
            raise self.wrong(f"{column} is {text!r}, not a number from 0 on")
        return number

    def seconds_ns(self, column: str) -> int:
        """Return a number of seconds as ns."""
        return round(self.number(column) * SECOND)

    def moment_ns(self, column: str) -> int:
        """Return ns since 1970 of `2023-11-16 18:17:03.9799600`, with or without fraction and `+00:00`."""
        text = self.text(column)
        whole, _, rest = text.partition(".")
        digits = rest.partition("+")[0].rstrip("Z")
        try:
            moment = datetime.fromisoformat(f"{whole.partition('+')[0].rstrip('Z')}+00:00")
            fraction_ns = int(digits[:9].ljust(9, "0")) if digits else 0
        except ValueError:
            raise self.wrong(f"{column} is {text!r}, not a date and time") from None
        passed = moment - _EPOCH
        return (passed.days * 86_400 + passed.seconds) * SECOND + fraction_ns

    def wrong(self, what: str) -> TraceError:
        """Return the error that says what is wrong with this row."""
        return TraceError(
            f"{self._path.name}, line {self.line}: {what}", hint="mend or remove that line"
        )


def table(path: Path, needed: Sequence[str], head: Sequence[str] = ()) -> Iterator[Row]:
    """Return the rows of a CSV file that has these columns; `head` names them where the file does not.

    Raises:
        TraceError: A column is missing, or a row has fewer cells than columns.
    """
    found = lines(path)
    columns: dict[str, int] = {name: at for at, name in enumerate(head)}
    for number, line in found:
        cells = _cells(path, number, line)
        if not columns:
            columns = {name.strip().lstrip("\ufeff"): at for at, name in enumerate(cells)}
            missing = [name for name in needed if name not in columns]
            if missing:
                raise TraceError(
                    f"{path.name} has no column {', '.join(missing)}",
                    hint=f"its first line is {line[:80].strip()!r}; `--format` names another format",
                )
            continue
        row = Row(path, number, columns, cells)
        if len(cells) < len(columns):
            raise row.wrong(f"{len(cells)} cells, there should be {len(columns)}")
        yield row


def _cells(path: Path, number: int, line: str) -> list[str]:
    try:
        return next(csv.reader([line]))
    except csv.Error as error:
        raise TraceError(
            f"{path.name}, line {number}: {error}", hint="mend or remove that line"
        ) from error


def documents(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Return the objects of a JSONL file, with their lines.

    Raises:
        TraceError: A line is no JSON object.
    """
    for number, line in lines(path):
        try:
            document = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise TraceError(
                f"{path.name}, line {number}: not JSON ({error})", hint="mend or remove that line"
            ) from error
        if not isinstance(document, dict):
            raise TraceError(
                f"{path.name}, line {number}: not an object", hint='a line is {"at_ms": …, …}'
            )
        yield number, document


def lines(path: Path) -> Iterator[tuple[int, str]]:
    """Return the lines that are not empty, with their numbers; `.gz` is unpacked on the way.

    Raises:
        TraceError: The file cannot be read, or is too long.
    """
    try:
        with _opened(path) as file:
            for number in range(1, ROWS_MAX + 1):
                line = file.readline(LINE_MAX)
                if not line:
                    return
                if len(line) == LINE_MAX:
                    raise TraceError(
                        f"{path.name}, line {number} is longer than {LINE_MAX >> 20} MiB",
                        hint="is it a text file, one record a line?",
                    )
                if line.strip():
                    yield number, line
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise TraceError(
            f"cannot read {path}: {getattr(error, 'strerror', None) or error}",
            hint="give the path of a CSV or JSONL file, .gz or not",
        ) from error
    raise TraceError(f"{path.name} has more than {ROWS_MAX} lines", hint="cut it into parts first")


def _opened(path: Path) -> IO[str]:
    if path.suffix == ".gz":
        return gzip.open(path, "rt", encoding="utf-8")
    return path.open(encoding="utf-8")


def slug(text: str) -> str:
    """Return text as a part of an endpoint's name."""
    kept = "".join(letter if letter.isalnum() else "-" for letter in text.lower())
    return kept.strip("-")[:48] or "unnamed"
