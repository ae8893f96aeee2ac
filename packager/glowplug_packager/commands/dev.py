"""How does one work on a file? `glowplug dev app.py`: serve it here, and put every save into service at once."""

import json
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from glowplug.clock import SECOND, SystemClock
from glowplug.commands.logs import render
from glowplug.commands.output import Output, verb
from glowplug.control_client import Control
from glowplug.errors import ConfigError, GlowplugError
from glowplug.profiles import Place, load
from glowplug.settings import Home, environment, home
from glowplug_packager.commands.publishing import Published, publish
from glowplug_packager.ports import Prepared
from glowplug_packager.release import prepare

UP_WAIT_S = 30.0
DOWN_WAIT_S = 15.0
WATCH_END_S = 2.0
DEBOUNCE_MS = 20  # editors write a file in several steps


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "--port", default=8686, show_default=True, help="Where to listen; 0 takes a free port."
)
@click.option(
    "--root", type=click.Path(path_type=Path), help="The source tree; the file's folder by default."
)
@verb
def dev(out: Output, file: Path, port: int, root: Path | None) -> None:
    """Serve FILE on this machine and reload it on every save.

    When only handler code changed, the loaded model is kept. Tracebacks go to the caller. Ctrl-C stops everything.
    """
    if not file.is_file():
        raise ConfigError(
            f"there is no file {file}", hint="`glowplug init hello` makes a first one"
        )
    signal.signal(signal.SIGTERM, _interrupt)
    place = Home(home().root / "dev")
    with _router(place, port, out) as here, Control(here.url, here.key) as control:
        work = _Work(out, control, file, root, place)
        prepared = work.reload(first=True)
        assert prepared is not None
        stop = threading.Event()
        follower = threading.Thread(
            target=_follow, args=(out, here, prepared.release.app, stop), daemon=True
        )
        follower.start()
        try:
            for _ in _saves(prepared.root):
                work.reload(first=False)
        except KeyboardInterrupt:
            out.note("stopping")
        finally:
            stop.set()


def _interrupt(_signal: int, _frame: object) -> None:
    raise KeyboardInterrupt


class _Work:
    """The file that is worked on, and what of it serves."""

    def __init__(self, out: Output, control: Control, file: Path, root: Path | None, place: Home) -> None:
        self._out = out
        self._control = control
        self._file = file
        self._root = root
        self._place = place
        self._clock = SystemClock()
        self._replicas: frozenset[str] = frozenset()

    def reload(self, *, first: bool) -> Prepared | None:
        """Deploy what is on disk. Only the first time is a failure the end: later the old code goes on serving."""
        out, begun_ns = self._out, self._clock.now_ns()
        quiet = out if first else Output(as_json=out.as_json, muted=True)
        try:
            prepared = prepare(self._file, root=self._root, home=self._place, dev=True, progress=out.note)
            published = publish(quiet, self._control, prepared, dev=True)
        except GlowplugError as error:
            if first:
                raise
            out.event({"event": "failed", "code": error.code, "message": error.message})
            out.say(click.style(f"✗ {error.message}", fg="red"))
            out.say("  the last good code goes on serving")
            return None
        self._told(published, (self._clock.now_ns() - begun_ns) / SECOND, first=first)
        return prepared

    def _told(self, published: Published, seconds: float, *, first: bool) -> None:
        out, control = self._out, self._control
        kept = bool(published.replicas) and published.replicas <= self._replicas
        self._replicas = published.replicas or self._replicas
        if first:
            out.say(f"serving at {control.url}; save to reload, Ctrl-C to stop")
            for curl in published.curls.values():
                out.say(f"  {curl}")
        elif published.replicas:
            how = "model kept" if kept else "started anew"
            out.say(click.style("✓", fg="green") + f" reloaded in {seconds:.2f} s, {how}")
        name = "serving" if first else "reloaded"
        record = {"event": name, "url": control.url, "key": control.key, "seconds": round(seconds, 3), "kept": kept}
        out.event(record | {"curl": published.curls})
        sys.stdout.flush()


@contextmanager
def _router(place: Home, port: int, out: Output) -> Iterator[Place]:
    """Run a router and a node of our own while the file is worked on."""
    place.root.mkdir(parents=True, exist_ok=True)
    env = dict(environment()) | {"GLOWPLUG_HOME": str(place.root)}
    log = (place.root / "up.log").open("wb")
    command = [sys.executable, "-m", "glowplug", "up", "--port", str(port), "--json"]
    process = subprocess.Popen(
        command, env=env, stdout=subprocess.PIPE, stderr=log, start_new_session=True
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        record = json.loads(line) if line else {}
        if record.get("event") != "up":
            process.wait(DOWN_WAIT_S)
            problem = record.get("error") or {
                "message": (place.root / "up.log").read_text()[-500:] or "it ended at once"
            }
            raise ConfigError(
                f"the router did not start: {problem['message']}", hint=problem.get("hint", "")
            )
        out.note(f"router and node run in {place.root}")
        yield load(place.profiles).get("local")
    finally:
        process.terminate()
        try:
            process.wait(DOWN_WAIT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        log.close()


def _watch(root: Path, saved: threading.Event, stop: threading.Event) -> None:
    """Set `saved` after every change of a source file under `root`."""
    from watchfiles import DefaultFilter, watch

    for _changes in watch(
        root,
        watch_filter=DefaultFilter(),
        debounce=DEBOUNCE_MS * 4,
        step=DEBOUNCE_MS,
        stop_event=stop,
        raise_interrupt=False,
    ):
        saved.set()


def _follow(out: Output, here: Place, app: str, stop: threading.Event) -> None:
    """Show what the endpoints print, as it comes."""
    control = Control(here.url, here.key)
    try:
        for line in control.lines("GET", "/logs", params={"app": app, "follow": 1, "tail": 0}):
            if stop.is_set():
                return
            if line.get("stream") in {"stdout", "stderr"} or line.get("level") in {
                "error",
                "critical",
            }:
                out.say(render(line))
    except GlowplugError:
        return  # the router is stopping
    finally:
        control.close()
