"""Which exact packages does an image need? Resolved by uv once, then taken from a cache until somebody asks anew."""

import platform as this_machine
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec

from glowplug.errors import BuildError, NodeError
from glowplug.files import replace_file
from glowplug.pip_config import find_uv, uv_arguments
from glowplug.settings import environment
from glowplug.spec import ImageSpec
from glowplug_packager.digest import digest_bytes, digest_hex, lock_key

RESOLVE_SECONDS_MAX = (
    600  # a cold resolution with hashes reads every wheel that its index gives no hash for
)
KEEP_MAX = 200  # locks kept; each is a few kilobytes
REASON_LINES_MAX = 12  # of what uv says, in an error

# What a rank itself imports. A test holds these against pyproject.toml.
RUNTIME_REQUIREMENTS = (
    "anyio>=4.6,<5",
    "msgspec>=0.20",
    "pydantic>=2.10,<3",
    "uvloop>=0.21; sys_platform != 'win32'",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Lock:
    """The outcome of a resolution; `text` is in the format of requirements.txt."""

    text: str
    fresh: bool  # resolved just now, not from the cache

    @property
    def digest(self) -> str:
        """Return the digest of the text as stored."""
        return digest_bytes(self.text.encode())

    @property
    def packages(self) -> tuple[str, ...]:
        """Return the pinned packages, such as "torch==2.13.0+cpu"."""
        pins = (line.split()[0] for line in self.text.splitlines() if line[:1].isalnum())
        return tuple(pin for pin in pins if "==" in pin or "@" in pin)


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolver:
    """How uv is called here: the program, where it looks, for which Python and machine it resolves."""

    folder: Path  # of the cache
    uv: str
    arguments: tuple[str, ...] = ()
    variables: Mapping[str, str] = field(default_factory=dict)
    python: str = f"{sys.version_info.major}.{sys.version_info.minor}"
    platform: str = ""
    interpreter: str = sys.executable

    def lock(self, image: ImageSpec, *, refresh: bool = False) -> Lock:
        """Return the lock of an image that has requirements.

        Raises:
            BuildError: They cannot be met, or uv or an index is not there.
        """
        kept = self.folder / digest_hex(self._key(image))
        if not refresh and (text := _read(kept)):
            kept.touch()  # used: pruned last
            return Lock(text=text, fresh=False)
        text = self._resolve(image)
        _write(kept, text)
        _prune(self.folder)
        return Lock(text=text, fresh=True)

    def _key(self, image: ImageSpec) -> str:
        resolver = (self.arguments, sorted(self.variables.items()), RUNTIME_REQUIREMENTS)
        return lock_key(image, self.python, self.platform, resolver)

    def _resolve(self, image: ImageSpec) -> str:
        with TemporaryDirectory(prefix="glowplug-lock-") as name:
            folder = Path(name)
            _write_inputs(folder, image)
            done = self._run(folder, image)
            if done.returncode != 0:
                raise _unresolvable(image, done.stderr)
            return (folder / "lock.txt").read_text(encoding="utf-8")

    def _run(self, folder: Path, image: ImageSpec) -> "subprocess.CompletedProcess[str]":
        command = [
            self.uv,
            "pip",
            "compile",
            "--quiet",
            "--color=never",
            "requirements.in",
            "--output-file=lock.txt",
        ]
        command += [
            "--generate-hashes",
            "--no-header",
            "--no-annotate",
            f"--python={self.interpreter}",
        ]
        if image.overrides:
            command.append("--override=overrides.txt")
        try:
            return subprocess.run(
                [*command, *self.arguments],
                cwd=folder,
                env=_with_config({**environment(), **self.variables}),
                capture_output=True,
                text=True,
                timeout=RESOLVE_SECONDS_MAX,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise BuildError(
                f"uv found no set of packages within {RESOLVE_SECONDS_MAX} s for {', '.join(image.requirements)}",
                hint="pin more versions in Image.pip(…), or look whether the package index answers: `glowplug doctor`",
            ) from error
        except OSError as error:
            raise BuildError(
                f"uv cannot be run: {error}", hint="`pip install 'glowplug[packager]'`"
            ) from error


def _with_config(variables: dict[str, str]) -> dict[str, str]:
    """Without its configuration uv would not see the image's `metadata` either."""
    return {name: value for name, value in variables.items() if name != "UV_NO_CONFIG"}


def resolver_here(folder: Path) -> Resolver:
    """Return the resolver of this machine, which looks where pip looks."""
    try:
        uv = find_uv()
    except NodeError as error:
        raise BuildError(error.message, hint=error.hint) from error
    arguments, variables = uv_arguments()
    return Resolver(
        folder=folder,
        uv=uv,
        arguments=tuple(arguments),
        variables=variables,
        platform=platform_here(),
    )


def platform_here() -> str:
    """Return what kind of machine this is, as far as wheels care: "linux-x86_64"."""
    return f"{sys.platform}-{this_machine.machine().lower()}"


def _write_inputs(folder: Path, image: ImageSpec) -> None:
    _write(
        folder / "requirements.in", "\n".join((*image.requirements, *RUNTIME_REQUIREMENTS)) + "\n"
    )
    _write(folder / "overrides.txt", "\n".join(image.overrides) + "\n")
    # uv reads a project file from the folder it runs in, beside the user's own uv.toml.
    entries = [_metadata_entry(name, needs) for name, needs in image.metadata]
    _write(folder / "pyproject.toml", f"[tool.uv]\ndependency-metadata = [{', '.join(entries)}]\n")


def _metadata_entry(name: str, needs: Sequence[str]) -> str:
    # JSON strings and arrays of them are TOML as well.
    return f"{{ name = {_text(name)}, requires-dist = {_text(list(needs))} }}"


def _text(value: str | list[str]) -> str:
    return msgspec.json.encode(value).decode()


def _unresolvable(image: ImageSpec, stderr: str) -> BuildError:
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    reason = "\n  ".join(lines[:REASON_LINES_MAX]) or "uv gave no reason"
    offline = any(
        word in stderr for word in ("Failed to fetch", "Request failed", "Could not connect")
    )
    hint = (
        "the package index does not answer: look at pip's settings with `pip config list`, then try again"
        if offline
        else "change the lines in Image.pip(…); overrides=[…] wins over what packages ask for, metadata={…} replaces it"
    )
    return BuildError(
        f"the image's packages cannot be resolved ({', '.join(image.requirements)}):\n  {reason}",
        hint=hint,
    )


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return ""


def _write(path: Path, text: str) -> None:
    try:
        replace_file(path, text.encode())
    except OSError as error:
        raise BuildError(
            f"{path} cannot be written: {error}",
            hint="make room there, or set GLOWPLUG_HOME to another folder",
        ) from error


def _prune(folder: Path) -> None:
    newest_first = sorted(folder.iterdir(), key=lambda one: one.stat().st_mtime_ns, reverse=True)
    for path in newest_first[KEEP_MAX:]:
        path.unlink(missing_ok=True)
