"""Does this stranger belong to us? What the peer of a TCP or TLS socket has to prove before it is heard.

Nothing but the user id guards a Unix socket; nothing guards these. So the side that listens hears no frame but a HELLO
with the right token, within bounds of time, size and number, and says nothing before: it does not know to whom.
"""

import hmac
from collections.abc import Callable

from glowplug.wire.lane import Later, Timer
from glowplug.wire.messages import MALFORMED, unpack_hello

ADMIT_S = 5.0  # for the TLS handshake, and again for the HELLO
STRANGERS_MAX = 64  # peers of one listener that may be proving themselves at once
HELLO_MAX = 4096  # bytes of meta: a HELLO has some hundred


class Gate:
    """One peer's way in."""

    def __init__(self, token: str, strangers: "set[Gate]") -> None:
        self._token = token.encode()
        self._strangers = strangers
        self._timer: Timer | None = None

    def begin(self, later: Later, abort: Callable[[], None]) -> None:
        """Start its time; one too many is turned away at once."""
        if len(self._strangers) >= STRANGERS_MAX:
            abort()
            return
        self._strangers.add(self)
        self._timer = later(ADMIT_S, abort)

    def fits(self, meta: bytes) -> bool:
        """Say whether a HELLO proves it; every wrong token takes equally long."""
        try:
            hello = unpack_hello(meta)
        except MALFORMED:
            return False
        return hmac.compare_digest(hello.token.encode(), self._token)

    def end(self) -> None:
        """Stop its time: it is in, or gone."""
        self._strangers.discard(self)
        if self._timer is not None:
            self._timer.cancel()
