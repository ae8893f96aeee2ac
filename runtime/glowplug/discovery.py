"""Which endpoints does a user's file declare? Import it and look.

The file is imported in this process, so a command line runs `python -P -m glowplug.discovery FILE --root ROOT` in a
child (-P: a user's own json.py must not stand in our way). It prints one line of JSON, the last one of its output:
`{"ok": true, "declarations": […], "missing": […]}` or `{"ok": false, "error": {…}}`.
Modules that are not installed here are stood in for (see stubs): an endpoint's own image has them, not this machine.
"""

import inspect
import os
import sys
import traceback
from argparse import ArgumentParser
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import msgspec

from glowplug.endpoints import DeclaredEndpoint
from glowplug.errors import DefinitionError
from glowplug.load_key import load_key
from glowplug.names import app_name_of_file
from glowplug.remote_errors import users_traceback
from glowplug.signature import source_file
from glowplug.spec import EndpointDecl
from glowplug.stubs import MissingModules, is_users_file, missing_modules_stubbed
from glowplug.suggest import did_you_mean

_EXAMPLE = """for example:

    from glowplug import endpoint

    @endpoint
    def double(x: int) -> int:
        return 2 * x"""


class ImportFailedError(DefinitionError):
    """A user's file cannot be imported, or declares what cannot work; `traceback` has the user's frames."""

    def __init__(self, message: str, *, hint: str = "", traceback_text: str = "") -> None:
        super().__init__(message, hint=hint)
        self.traceback = traceback_text


@dataclass(frozen=True, slots=True, kw_only=True)
class Discovered:
    """What one file declares, and which modules it imports that this machine lacks."""

    declarations: tuple[EndpointDecl, ...]
    missing: tuple[str, ...] = ()


def look(path: Path, root: Path) -> Discovered:
    """Import a file, modules that are missing here being stood in for, and return what it declares."""
    path, root = path.resolve(), root.resolve()
    name = module_name(path, root)
    with missing_modules_stubbed(root) as finder, _users_errors(root, finder):
        module = _imported(name, path, root)
        declarations = _declarations(module, path, root)
    if not declarations:
        raise DefinitionError(f"{path.name} declares no endpoint", hint=_EXAMPLE)
    return Discovered(declarations=declarations, missing=tuple(sorted(finder.found)))


def load_endpoint(target: str, root: Path) -> DeclaredEndpoint[..., Any]:
    """Return the endpoint a spec's `target` names, importing its module for real: what a replica does first."""
    module, _, qualname = target.partition(":")
    _put_first_on_path(root)
    found = getattr(import_module(module), qualname, None)
    if not isinstance(found, DeclaredEndpoint):
        raise DefinitionError(f"{target} is not an endpoint", hint="is `@endpoint` still above it?")
    return found


def module_name(path: Path, root: Path) -> str:
    """Return the dotted name under which a file of the project is imported."""
    if not path.is_file():
        raise DefinitionError(
            f"{path} is not a file",
            hint="name the file with your endpoints: glowplug deploy app.py",
        )
    if path.suffix != ".py" or not path.is_relative_to(root):
        raise DefinitionError(
            f"{path} is not a Python file under {root}", hint="run from the project's folder"
        )
    parts = list(path.relative_to(root).with_suffix("").parts)
    if parts[-1] == "__init__" and len(parts) > 1:
        parts.pop()
    for part in parts:
        if not part.isidentifier():
            raise DefinitionError(
                f"{path.relative_to(root)}: {part!r} cannot be imported",
                hint=f"rename it to {part.replace('-', '_').replace('.', '_')!r}",
            )
    return ".".join(parts)


def _imported(name: str, path: Path, root: Path) -> ModuleType:
    _put_first_on_path(root)
    module = import_module(name)
    found = source_file(name)
    if found is None or found.resolve() != path:
        raise DefinitionError(
            f"`import {name}` gives {found or 'a built-in module'} instead of {path.name}",
            hint="rename the file: its name is taken by another module",
        )
    return module


def _put_first_on_path(root: Path) -> None:
    text = str(root.resolve())
    if text in sys.path:
        sys.path.remove(text)
    sys.path.insert(0, text)


def _declarations(module: ModuleType, path: Path, root: Path) -> tuple[EndpointDecl, ...]:
    found = {
        id(one): (name, one)
        for name, one in reversed(vars(module).items())
        if isinstance(one, DeclaredEndpoint)
    }
    app = "" if all(one.has_own_app for _, one in found.values()) else app_name_of_file(path)
    own_apps = {
        _declaration(one, app, "", root).spec.app
        for _, one in found.values()
        if one.target.__module__ == module.__name__
    }
    declared: dict[tuple[str, str], EndpointDecl] = {}
    for name, one in reversed(found.values()):
        declaration = _declaration(one, app, _target(module, name, one), root)
        spec = declaration.spec
        # One that was imported from a file of another app is there to be called, not to be deployed again.
        if (
            one.target.__module__ != module.__name__
            and one.has_own_app
            and spec.app not in own_apps
        ):
            continue
        if (spec.app, spec.name) in declared:
            raise DefinitionError(
                f"two endpoints of {path.name} are called {spec.app}/{spec.name}",
                hint='tell them apart: @endpoint(name="…")',
            )
        key = _load_key(one, root)
        declared[spec.app, spec.name] = replace(declaration, spec=replace(spec, load_key=key))
    return tuple(declared.values())


def _declaration(
    one: DeclaredEndpoint[..., Any], app: str, target: str, root: Path
) -> EndpointDecl:
    """Return what an endpoint declares; what is wrong with it is told with the line where it begins."""
    try:
        return one.declare(app, target)
    except DefinitionError as error:
        path = source_file(one.target.__module__)
        try:
            line = inspect.getsourcelines(one.target)[1]
        except (OSError, TypeError):
            line = 0
        if path is not None and line:
            error.message = f"{_where(str(path.resolve()), line, root)}: {error.message}"
        raise


def _target(module: ModuleType, bound_as: str, one: DeclaredEndpoint[..., Any]) -> str:
    """Return where a replica finds an endpoint that is bound elsewhere than its code (g = endpoint(f)), else ""."""
    home = sys.modules.get(one.target.__module__)
    if getattr(home, one.target.__qualname__, None) is one:
        return ""
    return f"{module.__name__}:{bound_as}"


def _load_key(one: DeclaredEndpoint[..., Any], root: Path) -> str:
    path = source_file(one.target.__module__)
    if path is None or not path.resolve().is_relative_to(root):
        return ""  # from an installed package: the image's digest stands for it
    return load_key(path.resolve(), one.target.__qualname__, root)


@contextmanager
def _users_errors(root: Path, finder: MissingModules) -> Iterator[None]:
    """Say what went wrong in the user's file with its line, and show no frames but the user's."""
    try:
        yield
    except SyntaxError as error:
        where = _where(error.filename or "", error.lineno or 0, root)
        text = "".join(traceback.format_exception_only(error))
        raise ImportFailedError(
            f"{where}: {error.msg}", hint="correct the syntax", traceback_text=text
        ) from None
    except SystemExit as error:
        hint = 'put what ends the program under `if __name__ == "__main__":`'
        raise ImportFailedError(
            f"{_place_of(error, root)}the file ends the program when imported", hint=hint
        ) from None
    except DefinitionError as error:
        # The line and what it lacks say it all; frames would only repeat them.
        raise ImportFailedError(
            f"{_place_of(error, root)}{error.message}", hint=error.hint
        ) from None
    except Exception as error:
        message = f"{_place_of(error, root)}{type(error).__name__}: {error}"
        raise ImportFailedError(
            message, hint=_hint(error, finder), traceback_text=users_traceback(error)
        ) from None


def _hint(error: Exception, finder: MissingModules) -> str:
    if isinstance(error, ModuleNotFoundError) and error.name:
        own = finder.own_names_near(error.name)
        return (
            did_you_mean(error.name, own)
            if own
            else f"add the package that has it: Image.python().pip({error.name.partition('.')[0]!r})"
        )
    if finder.found:
        absent = ", ".join(sorted(finder.found))
        return f"the file runs this when imported, and {absent} is not installed here: do it in `@on.load`"
    return "the file must be importable: move work into the endpoint or into `@on.load`"


def _place_of(error: BaseException, root: Path) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    mine = next((frame for frame in reversed(frames) if _is_users(frame.filename, root)), None)
    return f"{_where(mine.filename, mine.lineno or 0, root)}: " if mine is not None else ""


def _is_users(filename: str, root: Path) -> bool:
    """Say whether a frame is of the project: `<string>`, which dataclasses generate, lies in no folder."""
    return not filename.startswith("<") and is_users_file(filename, root)


def _where(filename: str, line: int, root: Path) -> str:
    path = Path(filename)
    shown = path.relative_to(root) if path.is_relative_to(root) else path
    return f"{shown}:{line}"


def main(arguments: list[str] | None = None) -> int:
    """Look at one file and print the answer as one line of JSON; whatever the file prints goes to standard error."""
    parser = ArgumentParser(
        prog="python -m glowplug.discovery", description="Print the endpoints a file declares."
    )
    parser.add_argument("file", type=Path)
    parser.add_argument("--root", type=Path, default=Path())
    given = parser.parse_args(arguments)
    with _stdout_to_stderr() as answer:
        try:
            found = look(given.file, given.root)
            line: dict[str, Any] = {
                "ok": True,
                "declarations": found.declarations,
                "missing": found.missing,
            }
        except DefinitionError as error:
            text = error.traceback if isinstance(error, ImportFailedError) else ""
            line = {
                "ok": False,
                "error": {
                    "code": error.code,
                    "message": error.message,
                    "hint": error.hint,
                    "traceback": text,
                },
            }
        os.write(answer, msgspec.json.encode(line) + b"\n")
    return 0 if line["ok"] else 1


@contextmanager
def _stdout_to_stderr() -> Iterator[int]:
    """Yield the real standard output, which nobody else can reach meanwhile."""
    sys.stdout.flush()
    answer = os.dup(1)
    os.dup2(2, 1)
    try:
        yield answer
    finally:
        sys.stdout.flush()
        os.dup2(answer, 1)
        os.close(answer)


if __name__ == "__main__":
    sys.exit(main())
