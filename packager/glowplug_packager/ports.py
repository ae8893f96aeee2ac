"""What does a deploy need from outside? Somebody who builds bundles, and somebody who takes them to a router."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from glowplug.artifact import Layer, Release
from glowplug.spec import Json
from glowplug_packager.plan import BuildPlan
from glowplug_packager.sources import Sources

Step = dict[
    str, Json
]  # an event of a deploy as the router words it: {"step", "state", "detail", …}
OnUpload = Callable[[str, int, int], None]  # digest, bytes sent so far, bytes in all
OnProgress = Callable[[str], None]  # one line for a person


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """A release and where the bytes of its layers are on this machine."""

    release: Release
    layers: Mapping[str, Path]  # digest -> file
    root: Path
    warnings: tuple[str, ...] = ()


class Builder(Protocol):
    """Makes what a plan asks for. Building the same plan from the same sources again gives the same digests."""

    def pack(self, sources: Sources) -> Layer:
        """Make the code layer."""
        ...

    def build(
        self, build_plan: BuildPlan, code: Layer, progress: OnProgress
    ) -> tuple[Release, Mapping[str, Path]]:
        """Make everything else; return the release and the file of each layer it names.

        Raises:
            BuildError: Packages cannot be resolved, or there is no room.
        """
        ...


class Publisher(Protocol):
    """Takes a release to where it will run, sending only what is not there yet."""

    def upload(self, layers: Mapping[str, Path], on_upload: OnUpload) -> tuple[str, ...]:
        """Send the layers that are missing there; return their digests.

        Raises:
            GlowplugError: The other side cannot be reached or refuses; nothing there has changed then.
        """
        ...

    def deploy(self, release: Release) -> Iterator[Step]:
        """Have the release go live; yield what happens, the last step being "done" or "failed"."""
        ...
