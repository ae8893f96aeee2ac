"""What may no request have, wherever it goes? Checks of a head that is wholly read."""

import re
from collections.abc import Mapping

from glowplug_router.gateway.hosts import HostCheck
from glowplug_router.gateway.problems import Trouble, bad_request
from glowplug_router.gateway.settings import GatewaySettings
from glowplug_router.gateway.wishes import ENCODING, HOST, LENGTH, ORIGIN

Known = Mapping[bytes, bytes]
_BAD_PERCENT = re.compile(rb"%(?![0-9A-Fa-f]{2})")


def size_flaw(settings: GatewaySettings, size: int, fields: int) -> Trouble | None:
    """Return the trouble of a head that is over the limits."""
    if size <= settings.head_max_bytes and fields <= settings.fields_max:
        return None
    detail = f"the head of a request may have {settings.head_max_bytes} bytes and {settings.fields_max} fields"
    return Trouble("headers_too_large", detail)


def head_flaw(
    hosts: HostCheck, version: str, method: bytes, url: bytes, known: Known
) -> Trouble | None:
    """Return what is wrong with a head: its version, its Host, its target, its framing, or where it comes from."""
    if version not in ("1.1", "1.0"):
        return bad_request(f"HTTP/{version} is not spoken here")
    host = known.get(HOST)
    if host is None:
        if version == "1.1":
            return bad_request("there is no Host header")
    elif not hosts.allows(host):
        return Trouble("misdirected", f"this router does not answer for {host.decode('latin-1')!r}")
    if not url.startswith(b"/"):
        return bad_request("the request target must be a path")
    if b"%" in url and _BAD_PERCENT.search(url):
        return bad_request("the request target has a % that two hexadecimal figures do not follow")
    return _framing_flaw(version, known) or _origin_flaw(
        hosts, method, host or b"", known.get(ORIGIN)
    )


def _framing_flaw(version: str, known: Known) -> Trouble | None:
    if ENCODING not in known:
        return None
    # HTTP/1.0 has no chunks: a proxy in front that speaks it would see the end of the body elsewhere (RFC 9112, 6.1).
    if known[ENCODING].lower() == b"chunked" and LENGTH not in known and version != "1.0":
        return None
    return bad_request(
        "the body must be framed by Content-Length or by `Transfer-Encoding: chunked`"
    )


def _origin_flaw(
    hosts: HostCheck, method: bytes, host: bytes, origin: bytes | None
) -> Trouble | None:
    if origin is None or hosts.allows_origin(method, origin, host):
        return None
    detail = f"a page of {origin.decode('latin-1')} may not write here"
    return Trouble(
        "forbidden", detail, hint="allow the page's origin: `glowplug up --allow-origin`"
    )
