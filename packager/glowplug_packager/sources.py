"""Which files of a project go to the node?

All below its root, less what `.gitignore` and `.glowplugignore` leave out, less what is never wanted (caches, virtual
environments) or never allowed (private keys, `.env`). Limits keep an app that lies in a home folder from shipping it.
"""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path
from stat import S_IXUSR

from glowplug.errors import BuildError
from glowplug.settings import home
from glowplug_packager.ignore import Rule, is_ignored, rules

FILES_MAX = 10_000
TOTAL_BYTES_MAX = (
    64 * 1024 * 1024
)  # code travels on every change; weights belong into a package or a volume
KEY_PROBE_BYTES = 64 * 1024  # of a .pem file, to see whether it holds a private key
DEPTH_MAX = (
    32  # folders in folders; only a loop of links is deeper, and Linux gives up on one after 40
)

# A `!pattern` in .gitignore or .glowplugignore brings these back.
_UNWANTED = rules(
    """
    __pycache__/ *.py[cod] .mypy_cache/ .pytest_cache/ .ruff_cache/ .hypothesis/ .import_linter_cache/
    .ipynb_checkpoints/ node_modules/ dist/ build/ *.egg-info/ .tox/ .nox/ .coverage htmlcov/ .idea/ .vscode/ .DS_Store
    .terraform/ *.tfstate
    """.split()
)
_NEVER_FOLDERS = frozenset({".git", ".hg", ".svn", ".venv", "venv", ".glowplug"})
_SECRET_NAMES = (
    ".env",
    ".env.*",
    "id_rsa",
    "id_dsa",
    "id_ecdsa",
    "id_ed25519",
    "*.key",
    "*.p12",
    "*.pfx",
    ".netrc",
    ".pypirc",
)
_SECRETS_HINT = (
    'hand secrets over by name: secrets=["NAME"] in @endpoint, `glowplug secrets set NAME`'
)
_HARMLESS_NAMES = (".env.example", ".env.sample", ".env.template")


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class SourceFile:
    """One file that goes along."""

    path: str  # relative to the root, with "/"
    location: Path  # where its bytes are now
    size_bytes: int
    executable: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Sources:
    """What a project ships, sorted by path, and what a person should know about the rest."""

    root: Path
    files: tuple[SourceFile, ...]
    warnings: tuple[str, ...] = ()


@dataclass(slots=True)
class _Walk:
    root: Path
    own: Sequence[Rule]  # of .glowplugignore: these have the last word
    home: str  # of glowplug itself: it holds keys and secrets
    files: list[SourceFile] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def find_root(file: Path) -> Path:
    """Return the folder to ship and to put on sys.path: the file's own, or the one that holds its outermost package."""
    folder = file.absolute().parent
    while (folder / "__init__.py").is_file() and folder != folder.parent:
        folder = folder.parent
    return folder


def collect(root: Path) -> Sources:
    """Find the files to ship.

    Raises:
        BuildError: They are too many or too big, or a link leads out of the root.
    """
    root = root.resolve()
    if not root.is_dir():
        raise BuildError(
            f"{root} is not a folder", hint="`glowplug deploy app.py`: name a file that is there"
        )
    walk = _Walk(root, own=rules(_lines(root / ".glowplugignore")), home=str(home().root.resolve()))
    _enter(walk, root, "", _UNWANTED)
    files = tuple(sorted(walk.files))
    _check_total(root, files)
    return Sources(root=root, files=files, warnings=tuple(walk.warnings))


def _enter(walk: _Walk, folder: Path, prefix: str, inherited: Sequence[Rule]) -> None:
    if prefix.count("/") > DEPTH_MAX:
        message = f"{folder} is more than {DEPTH_MAX} folders deep: links form a loop"
        raise BuildError(message, hint="add it to .glowplugignore")
    ruleset = (*inherited, *rules(_lines(folder / ".gitignore"), prefix.rstrip("/")))
    for entry in _entries(folder):
        path = prefix + entry.name
        is_folder = entry.is_dir()
        if is_ignored(path, is_folder, (*ruleset, *walk.own)):
            continue
        _check_link(walk.root, entry)
        if is_folder:
            if entry.path != walk.home and not _is_never(entry):
                _enter(walk, Path(entry.path), path + "/", ruleset)
        elif entry.is_file():
            _take(walk, entry, path)


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return sorted(entries, key=lambda one: one.name)
    except PermissionError as error:
        hint = "make it readable, or add it to .glowplugignore"
        raise BuildError(f"{folder} cannot be read: {error.strerror}", hint=hint) from error


def _check_link(root: Path, entry: os.DirEntry[str]) -> None:
    """Refuse a link out of the root: what is outside differs from machine to machine."""
    if not entry.is_symlink():
        return
    target = Path(entry.path).resolve()
    if not target.is_relative_to(root):
        raise BuildError(
            f"{entry.path} is a link that leads out of the project, to {target}",
            hint="copy what it points at into the project, or add it to .glowplugignore",
        )


def _is_never(entry: os.DirEntry[str]) -> bool:
    return entry.name in _NEVER_FOLDERS or os.path.exists(os.path.join(entry.path, "pyvenv.cfg"))  # noqa: PTH110, PTH118  # Path costs 3x here


def _take(walk: _Walk, entry: os.DirEntry[str], path: str) -> None:
    if (why := _secret(entry)) is not None:
        walk.warnings.append(f"left out {path}: {why}; {_SECRETS_HINT}")
        return
    stat = entry.stat()
    executable = bool(stat.st_mode & S_IXUSR)
    file = SourceFile(
        path=path, location=Path(entry.path), size_bytes=stat.st_size, executable=executable
    )
    walk.files.append(file)
    if len(walk.files) > FILES_MAX:
        raise BuildError(
            f"{walk.root} has more than {FILES_MAX:,} files; most are in {_fullest(walk.files)}",
            hint="put the app into a folder of its own, or name what to leave out in .glowplugignore",
        )


def _secret(entry: os.DirEntry[str]) -> str | None:
    name = entry.name
    if any(fnmatch(name, pattern) for pattern in _HARMLESS_NAMES):
        return None
    if any(fnmatch(name, pattern) for pattern in _SECRET_NAMES):
        return "its name says that it holds secrets"
    if name.endswith(".pem"):  # certificates are public, keys are not
        with Path(entry.path).open("rb") as file:
            return (
                "it holds a private key" if b"PRIVATE KEY" in file.read(KEY_PROBE_BYTES) else None
            )
    return None


def _fullest(files: Sequence[SourceFile]) -> str:
    counts: dict[str, int] = {}
    for one in files:
        top = one.path.split("/")[0] if "/" in one.path else "."
        counts[top] = counts.get(top, 0) + 1
    top, count = max(counts.items(), key=lambda item: item[1])
    return f"{top}/ ({count:,})"


def _check_total(root: Path, files: Sequence[SourceFile]) -> None:
    total = sum(one.size_bytes for one in files)
    if total <= TOTAL_BYTES_MAX:
        return
    largest = sorted(files, key=lambda one: one.size_bytes, reverse=True)[:3]
    names = ", ".join(f"{one.path} ({_mebibytes(one.size_bytes)})" for one in largest)
    raise BuildError(
        f"the files of {root} add up to {_mebibytes(total)}, the limit is {_mebibytes(TOTAL_BYTES_MAX)}; "
        f"the largest: {names}",
        hint="name what to leave out in .glowplugignore; weights belong into a package of the image or into a Volume",
    )


def _mebibytes(size: int) -> str:
    return f"{size / 1024**2:.1f} MiB"


def _lines(path: Path) -> Iterator[str]:
    if path.is_file():
        yield from path.read_text(encoding="utf-8", errors="replace").splitlines()
