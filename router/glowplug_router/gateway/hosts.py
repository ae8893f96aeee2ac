"""Is this request meant for us, and may this page send it? Host allow-list and Origin check.

Without the first, a web page whose name suddenly resolves to 127.0.0.1 (DNS rebinding) could talk to a router on a
laptop as if it were its own server; without the second, any page could make the browser post to it.
"""

import re
from collections.abc import Iterable

LOOPBACK = frozenset({"localhost", "127.0.0.1", "[::1]"})
SEEN_MAX = 256  # remembered Host values
_HOST = re.compile(r"(\*|\[[0-9a-f:.]+\]|[^\s:@/\[\]]+)(?::[0-9]{0,5})?")
_SAFE_METHODS = frozenset({b"GET", b"HEAD", b"OPTIONS"})


class HostCheck:
    """Names this gateway answers for."""

    def __init__(self, hosts: Iterable[str] = (), origins: Iterable[str] = ()) -> None:
        self._names = LOOPBACK | ({_name(host) for host in hosts} - {""})
        self._origins = frozenset(origin.rstrip("/").lower() for origin in origins)
        self._seen: dict[bytes, bool] = {}

    def allows(self, host: bytes) -> bool:
        """Say whether a Host header names us; the port does not matter, a forwarded one may differ."""
        known = self._seen.get(host)
        if known is None:
            if len(self._seen) >= SEEN_MAX:
                self._seen.clear()
            known = self._seen[host] = (
                "*" in self._names or _name(host.decode("latin-1")) in self._names
            )
        return known

    def allows_origin(self, method: bytes, origin: bytes, host: bytes) -> bool:
        """Say whether a browser may send this for a page of `origin`: ours, a configured one, or only reading."""
        if method in _SAFE_METHODS:
            return True
        text = origin.decode("latin-1").lower()
        scheme, separator, name = text.partition("://")
        same = (
            bool(separator)
            and scheme in {"http", "https"}
            and name == host.decode("latin-1").lower()
        )
        return same or text in self._origins


def _name(host: str) -> str:
    """Return the host without port and final dot, in lower case; "" when it is not a host with at most a port."""
    found = _HOST.fullmatch(host.strip().lower())
    return found[1].removesuffix(".") if found else ""
