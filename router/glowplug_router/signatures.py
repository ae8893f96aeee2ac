"""Who may put or get one object without a key, and which uploaded body may a call name? Signatures, made and checked.

Two kinds, of one secret that controller and gateways share: a *signed URL* lets whoever holds it send or fetch one
object; a *reference* lets callers of one tenant name an uploaded body in place of sending it. Both end by themselves.
"""

import hashlib
import hmac
import re
from collections.abc import Mapping
from dataclasses import dataclass

from glowplug.clock import MINUTE, SECOND
from glowplug.errors import CallError, call_error

PAYLOADS = "/-/payloads"
EXPIRES_NS = (
    30 * MINUTE
)  # half of what an unused object is kept: what is accepted is still there when it is read
_SCOPE_CHARS = 32
_URL = re.compile(r"/-/payloads/(sha256:[0-9a-f]{64})", re.ASCII)
_NUMBER = re.compile(r"[0-9]{1,16}", re.ASCII)
SCOPE = re.compile(r"[0-9a-f]{32}", re.ASCII)
_REFERENCE = re.compile(
    r"p1\.([0-9a-f]{64})\.([0-9]{1,16})\.([0-9]{1,12})\.([0-9a-f]{64})", re.ASCII
)


@dataclass(frozen=True, slots=True)
class SignedObject:
    """What a signed URL is for."""

    scope: str
    digest: str
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Payload:
    """An uploaded body that a call may name."""

    digest: str
    size_bytes: int

    def __str__(self) -> str:
        return f"{self.digest} {self.size_bytes}"


def scope_of(tenant: str) -> str:
    """Return the name under which a tenant's payloads lie: nobody reads another's by knowing a digest."""
    return hashlib.sha256(tenant.encode()).hexdigest()[:_SCOPE_CHARS]


class Signer:
    """Signs and checks with one secret."""

    def __init__(self, secret_hex: str) -> None:
        self._secret = bytes.fromhex(secret_hex)

    # -- URLs ------------------------------------------------------------------------------------

    def url(self, method: str, one: SignedObject, expires_wall_ns: int) -> str:
        """Return a URL of this router, without scheme and host, that allows one method on one object."""
        expires_s = expires_wall_ns // SECOND
        mac = self._mac("url", method, one.scope, one.digest, one.size_bytes, expires_s)
        query = f"scope={one.scope}&expires={expires_s}&size={one.size_bytes}&signature={mac}"
        return f"{PAYLOADS}/{one.digest}?{query}"

    def opened(
        self, method: str, path: str, query: Mapping[str, str], wall_ns: int
    ) -> SignedObject:
        """Return what a URL allows.

        Raises:
            CallError: forbidden, where it was not signed here for this; payload_gone, when its time is over.
        """
        found = _URL.fullmatch(path)
        scope, size = query.get("scope", ""), query.get("size", "")
        expires, given = query.get("expires", ""), query.get("signature", "")
        is_formed = found and SCOPE.fullmatch(scope) and _NUMBER.fullmatch(size)
        if found is None or not is_formed or not _NUMBER.fullmatch(expires):
            raise _unsigned()
        mac = self._mac("url", method, scope, found[1], int(size), int(expires))
        if not hmac.compare_digest(mac.encode(), given.encode()):
            raise _unsigned()
        if int(expires) * SECOND <= wall_ns:
            raise expired("the URL")
        return SignedObject(scope, found[1], int(size))

    # -- references ------------------------------------------------------------------------------

    def reference(self, tenant: str, payload: Payload, expires_wall_ns: int) -> str:
        """Return the text by which calls of a tenant name an uploaded body."""
        expires_s = expires_wall_ns // SECOND
        mac = self._mac("reference", tenant, payload.digest, payload.size_bytes, expires_s)
        digits = payload.digest.removeprefix("sha256:")
        return f"p1.{digits}.{payload.size_bytes}.{expires_s}.{mac}"

    def payload(self, reference: str, tenant: str, wall_ns: int) -> Payload:
        """Return the body that a reference names.

        Raises:
            CallError: bad_request, forbidden (of another tenant, or not from here) or payload_gone.
        """
        found = _REFERENCE.fullmatch(reference)
        if found is None:
            raise call_error(
                "bad_request", "Glowplug-Payload is no reference to an uploaded body", executed="no"
            )
        payload = Payload(f"sha256:{found[1]}", int(found[2]))
        mac = self._mac("reference", tenant, payload.digest, payload.size_bytes, int(found[3]))
        if not hmac.compare_digest(mac, found[4]):
            raise call_error(
                "forbidden",
                "Glowplug-Payload names a body that was not uploaded with a key of this tenant",
                executed="no",
            )
        if int(found[3]) * SECOND <= wall_ns:
            raise expired("the reference")
        return payload

    def _mac(self, *parts: object) -> str:
        # Each with its length, so that no two lists of parts are one text.
        text = "".join(f"{len(str(part))}:{part}" for part in parts)
        return hmac.digest(self._secret, text.encode(), "sha256").hex()


def expired(what: str) -> CallError:
    """Return the error for what was good once."""
    return call_error("payload_gone", f"{what} has expired", executed="no")


def _unsigned() -> CallError:
    return call_error("forbidden", "the URL was not signed by this router for this", executed="no")
