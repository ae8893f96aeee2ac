"""What does a user's file declare? A child process imports it, so that nothing of it stays in this one."""

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import msgspec

import glowplug
from glowplug.errors import BuildError, DefinitionError
from glowplug.settings import environment
from glowplug.spec import EndpointDecl

DISCOVERY_SECONDS_MAX = 120  # importing torch on a cold, busy machine takes 20
# What lies here is found anyway, and on PYTHONPATH it would come before the standard library.
_INSTALLED = ("site-packages", "dist-packages")
OUTPUT_LINES_MAX = 20  # of a failed child's output, in the error


class Declarations(msgspec.Struct, frozen=True, kw_only=True):
    """The one line that `glowplug.discovery` prints."""

    ok: bool
    declarations: tuple[EndpointDecl, ...] = ()
    missing: tuple[str, ...] = ()  # modules that the file imports and this machine lacks
    error: "Complaint | None" = None

    @property
    def warnings(self) -> tuple[str, ...]:
        """Return what may go wrong later: a module that is neither here nor in any image of its own."""
        bare = sorted(one.spec.name for one in self.declarations if not one.spec.image.requirements)
        if not self.missing or not bare:
            return ()
        names = ", ".join(self.missing)
        text = f"{names} is not installed here, and {', '.join(bare)} has no image that brings it"
        return (f"{text}; add image=Image.python().pip({self.missing[0]!r})",)


class Complaint(msgspec.Struct, frozen=True, kw_only=True):
    """Why a file could not be read."""

    code: str = "definition"
    message: str
    hint: str = ""
    traceback: str = ""


def declarations_of(file: Path, root: Path) -> Declarations:
    """Import `file` in a child and return what it declares.

    Raises:
        BuildError: The child said nothing that can be read.
        DefinitionError: The file cannot be imported, or a declaration in it is wrong.
    """
    # -P: what happens to lie in the current folder must not stand in for a library.
    command = [
        sys.executable,
        "-P",
        "-B",  # no __pycache__ appears in the user's folder, or in what git says of it
        "-m",
        "glowplug.discovery",
        str(file),
        "--root",
        str(root),
    ]
    try:
        done = subprocess.run(
            command,
            env=_variables(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=DISCOVERY_SECONDS_MAX,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise BuildError(
            f"importing {file} took more than {DISCOVERY_SECONDS_MAX} s",
            hint="load models in `@on.load`, not at the top of the file: it is imported on every deploy",
        ) from error
    return _read(file, done)


def _read(file: Path, done: "subprocess.CompletedProcess[str]") -> Declarations:
    lines = done.stdout.strip().splitlines()
    try:
        found = msgspec.json.decode(lines[-1] if lines else "", type=Declarations)
    except msgspec.DecodeError as error:
        said = "\n  ".join((done.stderr or done.stdout).strip().splitlines()[-OUTPUT_LINES_MAX:])
        raise BuildError(
            f"{file} ended its interpreter (exit status {done.returncode}) while it was imported:\n  {said}",
            hint=f"`python {file}` shows the same; importing the file must only declare",
        ) from error
    if found.error is not None:
        raise _refused(found.error)
    return found


def _refused(complaint: Complaint) -> DefinitionError:
    frames = complaint.traceback.rstrip()
    message = f"{complaint.message}\n\n{frames}" if frames else complaint.message
    return DefinitionError(message, code=complaint.code, hint=complaint.hint)


def _variables() -> Mapping[str, str]:
    """Let the child find the same `glowplug` as this process, also where it runs from a checkout."""
    variables = dict(environment())
    here = Path(glowplug.__file__).parent.parent
    if here.name in _INSTALLED:
        return variables
    others = [one for one in variables.get("PYTHONPATH", "").split(os.pathsep) if one]
    return variables | {"PYTHONPATH": os.pathsep.join([*others, str(here)])}
