"""How is a deployment followed? In place on a terminal; elsewhere a line for what is settled or takes long."""

import shutil
import sys
import threading
from types import TracebackType

import click

from glowplug.clock import Clock, SystemClock
from glowplug.commands.board import Board, Step
from glowplug.commands.output import Output

TICK_S = 0.2  # how often a terminal's seconds are counted on


class Progress:
    """Shows a deployment's steps on stderr while it lasts, and each as a line of JSON for programs."""

    def __init__(self, out: Output, clock: Clock | None = None) -> None:
        self.board = Board()
        self._out = out
        self._clock = clock or SystemClock()
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._ticker = threading.Thread(target=self._tick, name="progress", daemon=True)
        self._drawn = 0  # lines at the bottom of the terminal that are to be drawn anew

    def __enter__(self) -> "Progress":
        if not self._out.as_json and not self._out.is_muted:
            self._ticker.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop.set()
        if self._ticker.is_alive():
            self._ticker.join()
        with self._lock:
            self._draw(self.board.failed(self._clock.now_ns()) if kind is not None else [], [])

    def take(self, step: Step) -> None:
        """Show one step."""
        if step.get("step") not in {"done", "failed"}:
            self._out.event({"event": "step"} | step)
        with self._lock:
            now_ns = self._clock.now_ns()
            settled = self.board.take(step, now_ns)
            self._draw(settled, self.board.running(now_ns))

    def _tick(self) -> None:
        while not self._stop.wait(TICK_S):
            with self._lock:
                now_ns = self._clock.now_ns()
                settled = [] if self._out.is_live else self.board.overdue(now_ns)
                self._draw(settled, self.board.running(now_ns))

    def _draw(self, settled: list[str], running: list[str]) -> None:
        if not self._out.is_live:
            for line in settled:
                self._out.note(line)
            return
        width = shutil.get_terminal_size().columns - 1
        lines = [*settled, *(line[:width] for line in running)]
        up = f"\033[{self._drawn}A" if self._drawn else ""
        sys.stderr.write(f"{up}\r\033[J" + "".join(f"{line}\n" for line in lines))
        sys.stderr.flush()
        self._drawn = len(running)


class UploadBar:
    """One line on a terminal while a large layer is sent."""

    SHOWN_BYTES = 1 << 20

    def __init__(self, out: Output) -> None:
        self._out = out

    def __call__(self, digest: str, sent: int, size: int) -> None:
        """Show how much of a layer was sent."""
        if not self._out.is_live or size < self.SHOWN_BYTES:
            return
        end = "\r\033[K" if sent == size else ""
        click.echo(f"\r… sending {size >> 20} MiB: {100 * sent // size} %{end}", nl=False, err=True)
