"""Which callers has this gateway checked already? Verdicts by hash of the token, dropped with every snapshot."""

import hashlib
from collections.abc import Iterable

from glowplug.clock import Clock
from glowplug.spec import Class
from glowplug_router.keys import allows, is_above, key_id, verify
from glowplug_router.records.published import RouteKey

VERDICTS_MAX = 4096  # checked tokens remembered; only good ones are, so that guessing fills nothing
_BEARER = b"bearer "


class Grant:
    """What a checked key allows."""

    __slots__ = ("_invocable", "_showable", "expires_wall_ns", "id", "scopes", "tenant")

    def __init__(self, key: RouteKey) -> None:
        self.id = key.id
        self.tenant = key.tenant
        self.scopes = key.scopes
        self.expires_wall_ns = key.expires_wall_ns
        self._invocable: dict[
            str, bool
        ] = {}  # bounded by the endpoints that exist: asked only for those
        self._showable: dict[str, bool] = {}  # the same

    def allows(self, need: str) -> bool:
        """Say whether the key covers a scope such as "read"."""
        return allows(self.scopes, need)

    def may_invoke(self, name: str) -> bool:
        """Say whether the key covers calls to "app/endpoint"."""
        known = self._invocable.get(name)
        if known is None:
            known = self._invocable[name] = allows(self.scopes, f"invoke:{name}")
        return known

    def may_see_code(self, name: str) -> bool:
        """Say whether the key's owner deploys the app of "app/endpoint": tracebacks show its code."""
        known = self._showable.get(name)
        if known is None:
            app = name.partition("/")[0]
            known = self._showable[name] = allows(self.scopes, f"deploy:{app}")
        return known

    def may_ask_for(self, klass: Class, usual: Class) -> bool:
        """Say whether a call may be of a class: the endpoint's usual one, a lower one, or what a scope allows."""
        return not is_above(klass, usual) or allows(self.scopes, f"priority:{klass}")


PUBLIC = Grant(
    RouteKey(id="", mac="", tenant="public", scopes=())
)  # callers without a key, where that is allowed


class Keyring:
    """Checks `Authorization: Bearer gp_…` headers against the keys of the last snapshot."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._keys: dict[str, RouteKey] = {}
        self._pepper = ""
        self._verdicts: dict[bytes, Grant] = {}

    def load(self, keys: Iterable[RouteKey], pepper_hex: str) -> None:
        """Take the keys of a snapshot; what was checked before must be checked again."""
        self._keys = {key.id: key for key in keys}
        self._pepper = pepper_hex
        self._verdicts.clear()

    def check(self, authorization: bytes | None) -> Grant | None:
        """Return what the header's key allows, None for none, a wrong or an expired one."""
        if authorization is None or authorization[:7].lower() != _BEARER:
            return None
        # The hash, not the token, is remembered: memory then holds no key, and a look-up leaks no prefix of one.
        mark = hashlib.sha256(authorization).digest()
        grant = self._verdicts.get(mark)
        if grant is None:
            return self._examine(authorization, mark)
        if 0 < grant.expires_wall_ns <= self._clock.wall_ns():
            del self._verdicts[mark]
            return None
        return grant

    def _examine(self, authorization: bytes, mark: bytes) -> Grant | None:
        token = authorization[7:].strip().decode("latin-1")
        known = self._keys.get(key_id(token))
        # An unknown id takes the same path as a wrong secret: `verify` compares against a mac that nothing has.
        key = verify(token, () if known is None else (known,), self._pepper, self._clock.wall_ns())
        if key is None:
            return None
        if len(self._verdicts) >= VERDICTS_MAX:
            self._verdicts.clear()
        grant = self._verdicts[mark] = Grant(key)
        return grant
