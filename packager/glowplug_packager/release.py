"""How does a user's file become a release? Discover, collect, plan, build: everything before anything is sent."""

import sys
from dataclasses import replace
from pathlib import Path

from glowplug.errors import BuildError
from glowplug.settings import Home
from glowplug.settings import home as home_here
from glowplug_packager.builders.local import local_builder
from glowplug_packager.discover import declarations_of
from glowplug_packager.plan import plan
from glowplug_packager.ports import Builder, OnProgress, Prepared
from glowplug_packager.source_control import git_revision
from glowplug_packager.sources import collect, find_root


def prepare(
    file: Path,
    *,
    root: Path | None = None,
    message: str = "",
    git_sha: str = "",
    dev: bool = False,
    refresh: bool = False,
    home: Home | None = None,
    builder: Builder | None = None,
    progress: OnProgress = lambda _: None,
) -> Prepared:
    """Build what a deploy of `file` sends; nothing leaves this machine.

    Args:
        file: declares the endpoints.
        root: what is shipped and goes on sys.path; by default the file's folder, or the one around its package.
        message: why, for the history.
        git_sha: read from git unless given.
        dev: let the node run the files where they are; only a router on this machine can.
        refresh: resolve packages anew, even if nothing was changed.
        home: where layers and locks are kept.
        builder: another way to build.
        progress: hears what takes long.

    Raises:
        GlowplugError: DefinitionError for what the file says, BuildError for the rest.
    """
    file = file.absolute()
    if not file.is_file():
        raise BuildError(
            f"there is no file {file}",
            hint="`glowplug deploy app.py`: name the file that declares the endpoints",
        )
    root = find_root(file) if root is None else root.absolute()
    if not file.is_relative_to(root):
        raise BuildError(
            f"{file} is not below the root {root}",
            hint="leave --root out, or name a folder that holds the file",
        )
    declared = declarations_of(file, root)
    sources = collect(root)
    builder = builder or local_builder(home or home_here(), refresh=refresh)
    code = builder.pack(sources)
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    build_plan = plan(declared.declarations, python=python, source_path=str(root) if dev else "")
    release, layers = builder.build(build_plan, code, progress)
    release = replace(
        release, message=message, git_sha=git_sha or ("" if dev else git_revision(root))
    )
    return Prepared(
        release=release, layers=layers, root=root, warnings=(*declared.warnings, *sources.warnings)
    )
