"""Whose is a run folder below the temporary one, and when does it go?

A home with a long path has its sockets in a short folder elsewhere (`settings.Home.run`). A file in it names the home:
so one whose home is no more can be told from one that is in use.
"""

import os
import re
import shutil
from pathlib import Path

from glowplug.settings import Home

_OWNER = "home"  # the file with the home's path
LOOKED_AT_MAX = 5_000  # folders at one start; the rest next time


def claim(home: Home) -> None:
    """Write down whose the run folder is, if it is not inside the home."""
    if not _is_inside(home):
        (home.run / _OWNER).write_text(str(home.root.absolute()), encoding="utf-8")


def release(home: Home) -> None:
    """Remove a run folder outside the home; nothing of this home may run any more."""
    if not _is_inside(home):
        shutil.rmtree(home.run, ignore_errors=True)


def remove_stale(place: Path) -> int:
    """Remove the run folders of ours whose homes do not exist any more; return how many there were."""
    ours = re.compile(rf"glowplug-{os.getuid()}-[0-9a-f]{{12}}")
    count = 0
    with os.scandir(place) as entries:
        for _, entry in zip(range(LOOKED_AT_MAX), entries, strict=False):
            if ours.fullmatch(entry.name) and _is_stale(entry):
                shutil.rmtree(entry.path, ignore_errors=True)
                count += 1
    return count


def _is_stale(entry: "os.DirEntry[str]") -> bool:
    try:
        if not entry.is_dir(follow_symlinks=False):
            return False
        if entry.stat(follow_symlinks=False).st_uid != os.getuid():
            return False
        owner = Path(entry.path, _OWNER).read_text(encoding="utf-8")
        return bool(owner) and Path(owner).is_absolute() and not Path(owner).exists()
    except (OSError, ValueError):
        return False  # nobody has said whose it is, or it has just gone


def _is_inside(home: Home) -> bool:
    return home.run.is_relative_to(home.root)
