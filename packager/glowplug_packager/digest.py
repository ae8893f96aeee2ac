"""Which bytes stand for a record, and what is their digest? Equal records have equal digests on every machine."""

import hashlib

import msgspec

from glowplug.artifact import Bundle
from glowplug.spec import ImageSpec, Json


def canonical_json(value: Json) -> bytes:
    """Return the one JSON text of a record: keys sorted, no spaces, UTF-8."""
    return msgspec.json.encode(value, order="sorted")


def digest_of(value: Json) -> str:
    """Return "sha256:<hex>" of a record's canonical JSON."""
    return digest_bytes(canonical_json(value))


def digest_bytes(data: bytes) -> str:
    """Return "sha256:<hex>" of bytes as they are."""
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def digest_hex(digest: str) -> str:
    """Return the part of a digest that can name a file."""
    algorithm, _, hex_part = digest.partition(":")
    assert (algorithm, len(hex_part)) == ("sha256", 64), digest
    return hex_part


def bundle_digest(bundle: Bundle) -> str:
    """Return a bundle's identity."""
    return digest_of(bundle)


def environment_digest(lock: str, python: str, platform: str) -> str:
    """Return the identity of an environment: what is installed, for which Python, on what kind of machine."""
    return digest_of({"lock": lock, "python": python, "platform": platform})


def lock_key(image: ImageSpec, python: str, platform: str, resolver: Json) -> str:
    """Return what decides a resolution: equal keys may share a lock.

    Args:
        image: what the endpoint asks for.
        python: "3.11".
        platform: "linux-x86_64".
        resolver: all else that can change the outcome: uv's version, the indexes it looks in, what a rank itself needs.
    """
    asked = {
        "requirements": image.requirements,
        "overrides": image.overrides,
        "metadata": image.metadata,
    }
    return digest_of({"asked": asked, "python": python, "platform": platform, "resolver": resolver})
