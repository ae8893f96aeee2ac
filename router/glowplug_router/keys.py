"""Who is calling, and may they do this? API keys: `gp_<id>_<secret>`, kept only as an HMAC.

The secret has 256 bits of chance, so a fast keyed hash is enough: there is nothing to guess, and a slow password hash
would cost a quarter of a second per call. The last six characters of a secret are a checksum, so that a mistyped key
can be told from a wrong one, and so that scanners of leaked secrets find few false positives.
"""

import hashlib
import hmac
import re
import secrets
import zlib
from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase
from typing import Protocol, TypeVar, get_args

from glowplug.spec import Class
from glowplug_router.records.stored import Key

SCOPE_KINDS = ("invoke", "deploy", "read", "admin", "priority")
CLASSES: tuple[Class, ...] = get_args(Class)  # the most urgent first
TOKEN = re.compile(r"gp_([a-z0-9]{8})_([A-Za-z0-9]{43})([A-Za-z0-9]{6})")
_ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_ID_ALPHABET = "abcdefghijkmnpqrstuvwxyz23456789"  # no letter that looks like a figure
_SECRET_CHARS = 43  # 62**43 > 2**256
_CHECK_CHARS = 6  # 62**6 > 2**32
_NOBODY = "0" * 64  # compared against when the id is unknown: both cases must take the same time


class CheckedKey(Protocol):
    """What a key record must have to be checked: `Key` and `RouteKey` both do."""

    @property
    def id(self) -> str:
        """Return the public part."""
        ...

    @property
    def mac(self) -> str:
        """Return what is stored of the secret."""
        ...

    @property
    def expires_wall_ns(self) -> int:
        """Return when it ends, 0 for never."""
        ...


_K = TypeVar("_K", bound=CheckedKey)


def make_key(
    *,
    pepper_hex: str,
    tenant: str,
    scopes: Sequence[str],
    wall_ns: int,
    name: str = "",
    expires_wall_ns: int = 0,
) -> tuple[Key, str]:
    """Return a new key's record and its plain text, which is shown once and kept nowhere."""
    id = "".join(secrets.choice(_ID_ALPHABET) for _ in range(8))
    body = "".join(secrets.choice(_ALPHABET) for _ in range(_SECRET_CHARS))
    secret = body + _checksum(id, body)
    key = Key(
        id=id,
        mac=mac_of(secret, pepper_hex),
        tenant=tenant,
        scopes=tuple(scopes),
        created_wall_ns=wall_ns,
        name=name,
        expires_wall_ns=expires_wall_ns,
    )
    return key, f"gp_{id}_{secret}"


def mac_of(secret: str, pepper_hex: str) -> str:
    """Return what is stored of a secret."""
    return hmac.digest(bytes.fromhex(pepper_hex), secret.encode(), "sha256").hex()


def key_id(token: str) -> str:
    """Return the id inside a well-formed token, "" for anything else. Says nothing about whether it is valid."""
    match = TOKEN.fullmatch(token)
    if match is None or _checksum(match[1], match[2]) != match[3]:
        return ""
    return match[1]


def verify(token: str, keys: Iterable[_K], pepper_hex: str, wall_ns: int) -> _K | None:
    """Return the key that `token` is, or None: malformed, unknown, wrong, revoked or expired are not told apart."""
    id = key_id(token)
    if not id:
        return None
    found = next((key for key in keys if key.id == id), None)
    secret = token[len("gp_") + len(id) + 1 :]
    expected = found.mac if found is not None else _NOBODY
    if not hmac.compare_digest(mac_of(secret, pepper_hex), expected) or found is None:
        return None
    if getattr(found, "revoked", False) or 0 < found.expires_wall_ns <= wall_ns:
        return None
    return found


def allows(scopes: Iterable[str], need: str) -> bool:
    """Say whether one of `scopes` covers `need`, such as "invoke:app/endpoint", "deploy:app", "read" or "admin".

    "admin" covers everything, whoever may deploy may also read, and "priority:critical" covers the classes below it.
    """
    kind, _, subject = need.partition(":")
    for scope in scopes:
        have, _, pattern = scope.partition(":")
        if have == "admin" or (kind == "read" and have == "deploy"):
            return True
        if have == kind == "priority":
            if not is_above(subject, pattern):
                return True
            continue
        if have == kind and (not subject or fnmatchcase(subject, pattern or "*")):
            return True
    return False


def is_above(klass: str, other: str) -> bool:
    """Say whether calls of a class go before those of another; a name that is none is below all."""
    known: tuple[str, ...] = CLASSES
    return klass in known and (other not in known or known.index(klass) < known.index(other))


def scope_problem(scope: str) -> str:
    """Return what is wrong with a scope as a person typed it, "" when nothing is."""
    kind, colon, pattern = scope.partition(":")
    if kind not in SCOPE_KINDS:
        return (
            f"unknown scope {scope!r}: use invoke:<app>/<endpoint>, deploy:<app>, priority:<class>, read or admin"
            " (`*` matches any app and endpoint)"
        )
    if kind == "priority" and pattern not in CLASSES:
        return f"scope {scope!r}: write priority:{' or priority:'.join(CLASSES[:-1])}"
    if colon and (kind in {"read", "admin"} or not pattern):
        return (
            f"scope {scope!r}: write {kind!r} alone"
            if kind in {"read", "admin"}
            else f"scope {scope!r} names nothing"
        )
    return ""


def _checksum(id: str, body: str) -> str:
    number = zlib.crc32(hashlib.sha256(f"{id}_{body}".encode()).digest())
    text = ""
    for _ in range(_CHECK_CHARS):
        number, digit = divmod(number, len(_ALPHABET))
        text += _ALPHABET[digit]
    return text
