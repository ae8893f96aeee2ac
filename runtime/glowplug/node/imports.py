"""Which modules should a zygote have imported before it forks?

Learnt from the ranks: each says, once it is ready, what it had to import. Kept beside the environment, so that the
first zygote after a reboot knows it too. A module after whose import the
zygote had a second thread is never imported again.
"""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import msgspec

from glowplug.files import replace_file

MODULES_MAX = (
    5_000  # names kept for one environment; torch and transformers together bring about 3,000
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Imports:
    """What is known about one environment's imports, in the order of their first import."""

    modules: tuple[str, ...] = ()
    skip: tuple[str, ...] = ()
    python_path: tuple[str, ...] = ()  # where that environment finds glowplug itself

    def learn(self, modules: Sequence[str], python_path: tuple[str, ...]) -> "Imports":
        """Add what a rank imported."""
        known = set(self.modules)
        new = tuple(name for name in modules if name not in known)
        return Imports(
            modules=(*self.modules, *new)[:MODULES_MAX], skip=self.skip, python_path=python_path
        )

    def without(self, culprit: str) -> "Imports":
        """Never import that one again."""
        return Imports(
            modules=self.modules, skip=(*self.skip, culprit), python_path=self.python_path
        )

    @property
    def wanted(self) -> frozenset[str]:
        """Return what a zygote would import."""
        return frozenset(self.modules) - frozenset(self.skip)


def read(path: Path) -> Imports:
    """Return what is known; nothing if the file is absent or damaged, since it can be learnt again."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=Imports)
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError):
        return Imports()


def write(path: Path, imports: Imports) -> None:
    """Keep it, if the disk takes it; what is lost can be learnt again."""
    with suppress(OSError):
        replace_file(path, msgspec.json.encode(imports))
