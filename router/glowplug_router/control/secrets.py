"""Where do secrets lie on one machine? In one file that only its owner can read, replaced whole on every change."""

import errno
import json
import re
from collections.abc import Sequence
from pathlib import Path

from anyio import Lock, to_thread

from glowplug.errors import ConfigError, call_error
from glowplug.files import replace_file

NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}")
VALUE_MAX_BYTES = 64 * 1024  # what a rank's environment can bear
COUNT_MAX = 1_000
_NO_SPACE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


class FileSecrets:
    """The SecretStore port on a JSON file, mode 0600. Values never show in its repr, its errors or a log."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = Lock()

    def __repr__(self) -> str:
        return f"FileSecrets({self._path})"

    async def names(self) -> tuple[str, ...]:
        """Return the names."""
        return tuple(sorted(await to_thread.run_sync(self._load)))

    async def set(self, name: str, value: str) -> None:
        """Keep a value under a name that can be an environment variable."""
        if not NAME.fullmatch(name):
            message = f"{name[:80]!r} cannot name a secret: use letters, digits and _"
            hint = "for example `glowplug secrets set API_TOKEN`"
            raise call_error("invalid_request", message, executed="no", hint=hint)
        if len(value.encode()) > VALUE_MAX_BYTES:
            raise call_error(
                "too_large", f"the value of {name} is over {VALUE_MAX_BYTES} bytes", executed="no"
            )
        async with self._lock:
            kept = await to_thread.run_sync(self._load)
            if name not in kept and len(kept) >= COUNT_MAX:
                raise call_error(
                    "invalid_request",
                    f"there are already {COUNT_MAX} secrets",
                    executed="no",
                    hint="remove some: `glowplug secrets list`",
                )
            await to_thread.run_sync(self._save, {**kept, name: value})

    async def remove(self, name: str) -> bool:
        """Forget a value; False when there was none."""
        async with self._lock:
            kept = await to_thread.run_sync(self._load)
            if kept.pop(name, None) is None:
                return False
            await to_thread.run_sync(self._save, kept)
            return True

    async def values(self, names: Sequence[str]) -> dict[str, str]:
        """Return the values of those that exist."""
        kept = await to_thread.run_sync(self._load)
        return {name: kept[name] for name in names if name in kept}

    def _load(self) -> dict[str, str]:
        try:
            text = self._path.read_text(encoding="utf-8")
        except FileNotFoundError:
            return {}
        try:
            kept = json.loads(text)
        except ValueError:
            # Not `from error`: the parser's message would quote the file.
            message = f"{self._path} is not JSON"
            raise ConfigError(
                message, hint="put it right by hand, or remove it and set the secrets again"
            ) from None
        return {str(name): str(value) for name, value in kept.items()}

    def _save(self, kept: dict[str, str]) -> None:
        try:
            replace_file(self._path, json.dumps(kept, sort_keys=True).encode(), durable=True)
        except OSError as error:  # named without its values
            if error.errno in _NO_SPACE:
                message = f"no space left to write {self._path}; the secrets are as before"
                raise call_error("disk_full", message, executed="no") from error
            message = f"cannot write {self._path}: {error.strerror}"
            raise ConfigError(message, hint="see who owns the folder and what it allows") from error
