"""How does a file go into service? `glowplug deploy app.py`."""

from pathlib import Path

import click

from glowplug.clock import SECOND, SystemClock
from glowplug.commands.inputs import python_file
from glowplug.commands.output import Output, verb
from glowplug.commands.places import profile_option
from glowplug.control_client import Control
from glowplug.settings import home
from glowplug_packager.commands.publishing import Published, publish
from glowplug_packager.release import prepare


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("-m", "--message", default="", help="Why; shown by `glowplug history`.")
@click.option(
    "--root", type=click.Path(path_type=Path), help="The source tree; the file's folder by default."
)
@click.option(
    "--refresh", is_flag=True, help="Resolve the requirements again, even if a lock is there."
)
@profile_option
@verb
def deploy(
    out: Output,
    file: Path,
    message: str,
    root: Path | None,
    refresh: bool,
    profile: str | None,
) -> None:
    """Build FILE's endpoints and put them into service.

    The new versions take traffic only after their warm-up and one of their examples were answered; if that fails, what
    served before goes on serving.
    """
    python_file(file, "deploy")
    clock = SystemClock()
    begun_ns = clock.now_ns()
    with Control.open(profile) as control:
        control.get("/health")  # before the work: a router that is away should be told at once
        prepared = prepare(
            file, root=root, message=message, home=home(), refresh=refresh, progress=out.note
        )
        published = publish(out, control, prepared, str(file))
    _told(out, prepared.release.app, published, (clock.now_ns() - begun_ns) / SECOND)


def _told(out: Output, app: str, published: Published, seconds: float) -> None:
    generation = published.done["generation"]
    if published.unchanged:
        out.say(f"nothing changed: {app} serves generation {generation}")
    else:
        out.say(f"{app} serves generation {generation} ({seconds:.1f} s)")
    for curl in published.curls.values():
        out.say(f"\n  {curl}")
    record = {"event": "done", "app": app, "seconds": round(seconds, 3), "curl": published.curls}
    out.result(record | published.done | {"unchanged": published.unchanged})
