"""Which names may apps and endpoints have?"""

import re
from pathlib import Path

from glowplug.errors import DefinitionError

NAME_MAX = 63  # one DNS label
RESERVED_APPS = frozenset(
    {"v1", "v2", "livez", "readyz", "metrics", "ping", "invocations"}
)  # paths that belong to the router or to protocols it will speak
_NAME = re.compile(r"[a-z][a-z0-9-]{0,62}", re.ASCII)
_PLAIN_FILES = ("app", "main", "__main__", "__init__")


def app_name(given: str) -> str:
    """Return `given` if an app may be called so."""
    _check(given, "app")
    if given in RESERVED_APPS:
        raise DefinitionError(
            f"an app cannot be called {given!r}: the router answers there",
            hint='give it another name: @endpoint(app="…")',
        )
    return given


def endpoint_name(given: str) -> str:
    """Return `given` if an endpoint may be called so."""
    _check(given, "endpoint")
    return given


def resource_name(given: str, what: str) -> str:
    """Return `given` if a volume or the like may be called so."""
    _check(given, what)
    return given


def app_name_of_file(path: Path | None) -> str:
    """Return the app a file stands for: its folder for app.py and main.py, else the file itself."""
    if path is None:
        return "main"
    stem = path.stem
    return app_name(slug(path.absolute().parent.name if stem in _PLAIN_FILES else stem) or "main")


def slug(text: str) -> str:
    """Return the nearest legal name, which may be empty: `My_Model` becomes `my-model`."""
    dashed = re.sub(r"[^a-z0-9]+", "-", text.lower())
    return re.sub(r"^[^a-z]+", "", dashed)[:NAME_MAX].rstrip("-")


def _check(given: object, what: str) -> None:
    if isinstance(given, str) and _NAME.fullmatch(given):
        return
    better = slug(given) if isinstance(given, str) else ""
    raise DefinitionError(
        f"{given!r} is no name of {what}s: 1 to {NAME_MAX} of a-z, 0-9 and -, a letter first",
        hint=f"for example {better!r}" if better else "for example 'my-model'",
    )
