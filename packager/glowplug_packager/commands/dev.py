"""How does one work on a file? `glowplug dev app.py`: serve it here, and put every save into service at once."""

import signal
import threading
from pathlib import Path
from typing import Any

import click

from glowplug.clock import SECOND, SystemClock
from glowplug.commands.inflight import calls_in_flight, waiting_words
from glowplug.commands.inputs import python_file
from glowplug.commands.logs import render
from glowplug.commands.output import Output, error_record, verb
from glowplug.control_client import Control
from glowplug.errors import GlowplugError
from glowplug.profiles import Place
from glowplug.settings import Home, home
from glowplug_packager.commands.own_router import DOWN_WAIT_S, own_router
from glowplug_packager.commands.publishing import Published, publish
from glowplug_packager.commands.saves import Saves
from glowplug_packager.ports import Prepared
from glowplug_packager.release import prepare
from glowplug_packager.sources import find_root

_ENDS = (signal.SIGTERM, signal.SIGHUP)  # SIGHUP: the terminal was closed
_BAD = {"error", "critical"}


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

    When only handler code changed, the loaded model is kept. Ctrl-C stops everything.
    Meanwhile `--profile dev` after other verbs means this router.
    """
    python_file(file, "dev")
    for number in _ENDS:
        signal.signal(number, _interrupt)
    place = Home(home().root / "dev")
    # Saves are noticed from before the first look at the file, so that none falls in between.
    with (
        Saves(find_root(file) if root is None else root, but=home().root) as saves,
        own_router(place, port, out) as here,
        Control(here.url, here.key, ca=here.ca) as control,
        Control(
            here.url, here.key, ca=here.ca
        ) as ears,  # closed before the router, which would wait for it
    ):
        work = Work(out, control, file, root, place)
        try:
            work.reload(first=True)
            threading.Thread(target=_follow, args=(out, ears, work), daemon=True).start()
            while True:
                saves.wait()
                work.reload(first=False)
        except KeyboardInterrupt:
            out.note(_stopping(here))


def _stopping(here: Place) -> str:
    """Say what the end waits for."""
    try:
        calls = calls_in_flight(here.url, here.key, here.ca)
    except KeyboardInterrupt:  # asked a second time meanwhile: the next thing is the end itself
        calls = 0
    if not calls:
        return "stopping"
    return f"{waiting_words(calls, DOWN_WAIT_S)}; Ctrl-C again ends it now"


def _interrupt(_signal: int, _frame: object) -> None:
    raise KeyboardInterrupt


class Work:
    """The file that is worked on, and what of it serves."""

    def __init__(
        self, out: Output, control: Control, file: Path, root: Path | None, place: Home
    ) -> None:
        self.app = ""
        self._out = out
        self._quiet = Output(as_json=out.as_json, muted=True)
        self._control = control
        self._file = file
        self._root = root
        self._place = place
        self._clock = SystemClock()
        self.shown = ""  # the last failure, which the log would only repeat

    def reload(self, *, first: bool) -> None:
        """Deploy what is on disk. Only the first time is a failure the end: later the old code serves on."""
        begun_ns = self._clock.now_ns()
        before = self._replicas()
        try:
            prepared, published = self._deployed(self._out if first else self._quiet)
        except GlowplugError as error:
            if first:
                raise
            self._failed(error)
            return
        self.app = prepared.release.app
        if first or self.shown or not published.unchanged:
            kept = published.replicas <= before
            self._told(
                published,
                (self._clock.now_ns() - begun_ns) / SECOND,
                first=first,
                kept=kept,
                has_model=any("load" in decl.spec.hooks for decl, _ in prepared.release.endpoints),
            )
        self.shown = ""

    def _replicas(self) -> frozenset[str]:
        """Return the replicas there are; one of them that becomes the new version keeps its model."""
        if not self.app:
            return frozenset()
        endpoints = self._control.get(f"/apps/{self.app}")["endpoints"]
        versions = [version for one in endpoints for version in one["versions"]]
        return frozenset(replica["id"] for one in versions for replica in one["replicas"])

    def _deployed(self, out: Output) -> tuple[Prepared, Published]:
        prepared = prepare(
            self._file, root=self._root, home=self._place, dev=True, progress=self._out.note
        )
        return prepared, publish(out, self._control, prepared, str(self._file), dev=True)

    def _failed(self, error: GlowplugError) -> None:
        self.shown = error.message
        record = error_record(error)
        self._out.event({"event": "failed"} | record)
        self._out.say(f"{click.style('✗', fg='red')} {error.message.rstrip()}")
        if "deploy again" not in error.hint:  # a save does that here
            for line in error.hint.splitlines():
                self._out.say(f"  {line}")
        self._out.say("  the last good code serves on; save again when it is mended")

    def _told(
        self, published: Published, seconds: float, *, first: bool, kept: bool, has_model: bool
    ) -> None:
        out, control = self._out, self._control
        mark = click.style("✓", fg="green")
        if first:
            out.say(f"{mark} serving at {control.url}; save to reload, Ctrl-C to stop")
            for curl in published.curls.values():
                out.say(f"\n  {curl}")
        elif published.unchanged:
            out.say(f"{mark} as before: what serves is what is saved")
        else:
            how = ", the model was kept" if kept else ", loaded anew"
            out.say(f"{mark} reloaded in {seconds:.2f} s{how if has_model else ''}")
        name = "serving" if first else "reloaded"
        record = {"event": name, "url": control.url, "key": control.key, "app": self.app}
        out.event(record | {"seconds": round(seconds, 3), "kept": kept, "curl": published.curls})


def _follow(out: Output, ears: Control, work: Work) -> None:
    """Show what the endpoints print, and what goes wrong in them, as it comes."""
    params = {"app": work.app, "follow": 1, "tail": 0}
    try:
        for line in ears.lines("GET", "/logs", params=params):
            if _is_worth(line, work.shown):
                out.say(render(line))
                out.event({"event": "log"} | line)
    except GlowplugError:
        return  # we are stopping


def _is_worth(line: dict[str, Any], shown: str) -> bool:
    """Say whether a person should see a line: what the code printed, and failures that were not shown yet."""
    if line.get("stream") in {"stdout", "stderr"}:
        return True
    last = str(line.get("text", "")).strip().rpartition("\n")[2]
    return line.get("level") in _BAD and line.get("stream") != "lifecycle" and last not in shown
