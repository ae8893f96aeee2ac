"""Where does pip get packages on this machine, and how is uv told the same?

uv reads none of pip's configuration. Whoever has set pip up (a company index, a folder of wheels, a certificate)
expects it to hold for every install, so it is read here and handed to uv as arguments and environment.
"""

import configparser
import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from glowplug.errors import NodeError
from glowplug.settings import environment

_SECTIONS = ("global", "install")  # the later wins, as in pip
_ENV_PREFIX = "PIP_"

Options = dict[str, str]


def uv_arguments(
    env: Mapping[str, str] | None = None, files: Sequence[Path] | None = None
) -> tuple[list[str], dict[str, str]]:
    """Return the arguments and the environment variables with which uv looks where pip looks.

    The arguments suit `uv pip install` and `uv pip compile`. What is already said in uv's own variables (`UV_…`) wins.

    Args:
        env: The process's environment, unless given.
        files: pip's configuration files, the stronger last; found as pip finds them, unless given.
    """
    env = environment() if env is None else env
    options = pip_options(env, pip_files(env) if files is None else files)
    return _arguments(options, env), _variables(options, env)


def find_uv() -> str:
    """Return the path of the uv program.

    Raises:
        NodeError: There is none.
    """
    try:
        from uv import find_uv_bin  # lazily: few processes need it
    except ImportError:
        found = shutil.which("uv")
    else:
        found = str(find_uv_bin())
    if found is None:
        raise NodeError(
            "uv is not installed here, and environments are built with it",
            hint=f"`{sys.executable} -m pip install uv`, then try again",
        )
    return found


def pip_files(env: Mapping[str, str]) -> tuple[Path, ...]:
    """Return where pip looks for its configuration, the strongest last."""
    home = Path(env.get("HOME") or Path.home())
    shared = env.get("XDG_CONFIG_DIRS", "/etc/xdg").split(":")
    user = Path(env.get("XDG_CONFIG_HOME") or home / ".config")
    files = [Path(folder) / "pip/pip.conf" for folder in reversed(shared) if folder]
    files += [Path("/etc/pip.conf"), home / ".pip/pip.conf", user / "pip/pip.conf"]
    files.append(Path(sys.prefix) / "pip.conf")
    given = env.get("PIP_CONFIG_FILE", "")
    if given == os.devnull:  # pip's way to say: no files at all
        return ()
    return (*files, Path(given)) if given else tuple(files)


def pip_options(env: Mapping[str, str], files: Sequence[Path]) -> Options:
    """Return pip's options by long name ("index-url"); a stronger source replaces, it does not add."""
    options: Options = {}
    for path in files:
        options |= _file_options(path)
    for name, value in env.items():
        if name.startswith(_ENV_PREFIX) and value:
            options[name.removeprefix(_ENV_PREFIX).lower().replace("_", "-")] = value
    return options


def _file_options(path: Path) -> Options:
    parser = configparser.RawConfigParser()
    try:
        parser.read_string(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, configparser.Error):
        return {}  # absent or unreadable; pip itself complains when it is used
    found: Options = {}
    for section in _SECTIONS:
        if parser.has_section(section):
            found |= {name.replace("_", "-"): value for name, value in parser.items(section)}
    return found


def _arguments(options: Options, env: Mapping[str, str]) -> list[str]:
    out: list[str] = []
    if "index-url" in options and not ("UV_DEFAULT_INDEX" in env or "UV_INDEX_URL" in env):
        out += ["--default-index", options["index-url"].strip()]
    for url in options.get("extra-index-url", "").split():
        out += ["--index", url]
    for place in options.get("find-links", "").split():
        out += ["--find-links", place]
    for host in options.get("trusted-host", "").split():
        out += ["--allow-insecure-host", host]
    if options.get("no-index", "").strip().lower() in {"1", "true", "yes", "on"}:
        out.append("--no-index")
    if options.get("extra-index-url"):
        # pip takes the best version of all indexes; uv stops at the first index that has the name.
        out += ["--index-strategy", "unsafe-best-match"]
    return out


def _variables(options: Options, env: Mapping[str, str]) -> dict[str, str]:
    wanted = (
        ("cert", "SSL_CERT_FILE"),
        ("proxy", "ALL_PROXY"),
        ("default-timeout", "UV_HTTP_TIMEOUT"),
        ("timeout", "UV_HTTP_TIMEOUT"),
    )
    return {
        theirs: options[ours] for ours, theirs in wanted if options.get(ours) and theirs not in env
    }
