"""What makes two forms of an endpoint the same version? Code, contract and environment; never how many run."""

import hashlib

import msgspec

from glowplug.artifact import Bundle
from glowplug.spec import EndpointSpec

_canonical = msgspec.json.Encoder(order="sorted").encode


def version_digest(spec: EndpointSpec, bundle: Bundle) -> str:
    """Return the digest of a version: of its spec, its code layer and its environment."""
    code = bundle.layer("code")
    parts = (spec, code.digest if code is not None else "", bundle.env_digest)
    return f"sha256:{hashlib.sha256(_canonical(parts)).hexdigest()}"
