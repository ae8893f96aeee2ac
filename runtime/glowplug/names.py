"""Which names may apps and endpoints have?"""

import re
import unicodedata
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
    is_plain = path.stem in _PLAIN_FILES
    found = path.absolute().parent.name if is_plain else path.stem
    what = "folder" if is_plain else "file"
    return app_name(_derived(found, f"the {what} {found!r}", "app") or "main")


def name_of_code(name: str) -> str:
    """Return the endpoint that a function or class stands for by its name."""
    return endpoint_name(_derived(name, f"`{name}`", "name"))


def slug(text: str) -> str:
    """Return the nearest legal name, which may be empty: `My_Model` becomes `my-model`."""
    dashed = re.sub(r"[^a-z0-9]+", "-", _plain(text).lower())
    return re.sub(r"^[^a-z]+", "", dashed)[:NAME_MAX].rstrip("-")


def _derived(found: str, where: str, option: str) -> str:
    """Return the name that code or a folder gives, unless letters of it would be lost without a word."""
    if found.isascii() and not found[:1].isdecimal():
        return slug(found)
    why = "begins with a digit" if found.isascii() else "has letters beyond a-z"
    raise DefinitionError(
        f"{where} {why}, which no address here can",
        hint=f'say what it is called: @endpoint({option}="{slug(found) or "my-model"}")',
    )


def _plain(text: str) -> str:
    """Return the nearest ASCII: `größe` becomes `grosse`."""
    if text.isascii():
        return text
    return unicodedata.normalize("NFKD", text.casefold()).encode("ascii", "ignore").decode()


def _check(given: object, what: str) -> None:
    if isinstance(given, str) and _NAME.fullmatch(given):
        return
    better = slug(given) if isinstance(given, str) else ""
    raise DefinitionError(
        f"{given!r} is no name of {what}s: 1 to {NAME_MAX} of a-z, 0-9 and -, a letter first",
        hint=f"for example {better!r}" if better else "for example 'my-model'",
    )
