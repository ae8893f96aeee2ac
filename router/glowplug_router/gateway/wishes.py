"""What did the caller ask for besides the call itself? The headers that shape it, checked."""

import re
from collections.abc import Mapping
from typing import NamedTuple, cast, get_args

from glowplug.clock import SECOND
from glowplug.oip import LENGTH_HEADER
from glowplug.payloads import ANSWER_TYPE, HEADER
from glowplug.spec import AFFINITY_MAX, Class
from glowplug_router.gateway.problems import Trouble, bad_request

CLASSES: tuple[str, ...] = get_args(Class)
PASSED_ON = frozenset(
    {
        "content-type",
        "accept",
        "content-encoding",
        "content-language",
        "accept-language",
        "glowplug-events",
        LENGTH_HEADER,
    }
)
PASSED_ON_MAX = (
    1024  # characters of one such header; multipart boundaries and Accept lists are far shorter
)

# Header names the door looks at; of all others only their size counts.
HOST = b"host"
ORIGIN = b"origin"
AUTHORIZATION = b"authorization"
LENGTH = b"content-length"
ENCODING = b"transfer-encoding"
EXPECT = b"expect"
REQUEST_ID = b"x-request-id"
_PREFER = b"prefer"
_DEADLINE = b"glowplug-deadline"
_CANCEL_AFTER = b"cancel-after"  # the name that some hosted services use for the same
_PRIORITY = b"glowplug-priority"
_AFFINITY = b"glowplug-affinity"
_PAYLOAD = HEADER.encode()
_TRACE = b"traceparent"
_IDEMPOTENCY = b"idempotency-key"
_SHAPING = (
    _PREFER, _DEADLINE, _CANCEL_AFTER, _PRIORITY, _AFFINITY, _PAYLOAD, _TRACE, _IDEMPOTENCY,
)  # fmt: skip  # one thought, one line
_NATIVE = {name.encode(): name for name in sorted(PASSED_ON)}
KNOWN = frozenset(
    {HOST, ORIGIN, AUTHORIZATION, LENGTH, ENCODING, EXPECT, REQUEST_ID, *_SHAPING, *_NATIVE}
)
ONCE = frozenset(
    {
        HOST,
        ORIGIN,
        AUTHORIZATION,
        LENGTH,
        ENCODING,
        _DEADLINE,
        _CANCEL_AFTER,
        _PRIORITY,
        _AFFINITY,
        _PAYLOAD,
        _IDEMPOTENCY,
        LENGTH_HEADER.encode(),
        b"content-type",
    }
)

_TRACEPARENT = re.compile(rb"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")
_KEY = re.compile(rb"[\x21-\x7e]{1,255}")
_AFFINE = re.compile(rb"[\x21-\x7e]{1,%d}" % AFFINITY_MAX)
_AWAY = ANSWER_TYPE.encode()
_WAIT = re.compile(r"wait\s*=\s*\"?([0-9]+)\"?")
_WAIT_DIGITS = 6  # a longer wait counts as the longest that can be written with so many

Known = Mapping[bytes, bytes]


class Wishes(NamedTuple):
    """What the caller asked for."""

    timeout_ns: int  # 0 = not said
    klass: Class | None = None
    trace: str = ""
    idempotency_key: str = ""
    affinity: str = ""
    payload: str = ""  # a reference to an uploaded body, not yet checked


NOTHING = Wishes(0)


def wishes(known: Known) -> Wishes | Trouble:
    """Return what the headers ask for, or what is wrong with them."""
    return NOTHING if known.keys().isdisjoint(_SHAPING) else _parse(known)


def _parse(known: Known) -> Wishes | Trouble:
    wait_ns = _wait(known.get(_PREFER, b"").decode("latin-1").lower())
    if isinstance(wait_ns, Trouble):
        return wait_ns
    deadline_ns = _seconds("Glowplug-Deadline", known.get(_DEADLINE))
    if isinstance(deadline_ns, Trouble):
        return deadline_ns
    cancel_ns = _seconds("Cancel-After", known.get(_CANCEL_AFTER))
    if isinstance(cancel_ns, Trouble):
        return cancel_ns
    klass = known.get(_PRIORITY, b"").decode("latin-1")
    if klass and klass not in CLASSES:
        return bad_request(f"Glowplug-Priority is {klass!r}", f"use one of {', '.join(CLASSES)}")
    affinity = known.get(_AFFINITY, b"")
    if affinity and not _AFFINE.fullmatch(affinity):
        return bad_request(
            f"Glowplug-Affinity is not 1 to {AFFINITY_MAX} printable ASCII characters"
        )
    key = known.get(_IDEMPOTENCY, b"")
    if key and not _KEY.fullmatch(key):
        return bad_request("Idempotency-Key is not 1 to 255 printable ASCII characters")
    trace = known.get(_TRACE, b"")
    timeouts = [ns for ns in (wait_ns, deadline_ns, cancel_ns) if ns]
    return Wishes(
        min(timeouts, default=0),
        cast(Class, klass) if klass else None,
        trace.decode() if _TRACEPARENT.fullmatch(trace) else "",
        key.decode(),
        affinity.decode(),
        known.get(_PAYLOAD, b"").decode("latin-1"),
    )


def _wait(prefer: str) -> int | Trouble:
    """Return the limit that `Prefer: wait=N` sets, 0 for none."""
    wait_ns = 0
    for preference in prefer.split(","):
        text = preference.strip()
        if text == "respond-async":
            detail = "Prefer: respond-async asks for a job, and this router has no jobs yet"
            return bad_request(
                detail, "leave it out and wait for the answer, at most `Prefer: wait=N` seconds"
            )
        match = _WAIT.fullmatch(text)
        if match is not None:
            digits = match[1].lstrip("0") or "0"
            seconds = int(digits) if len(digits) <= _WAIT_DIGITS else 10**_WAIT_DIGITS - 1
            wait_ns = max(1, seconds * SECOND)
    return wait_ns


def _seconds(name: str, value: bytes | None) -> int | Trouble:
    """Return the limit that a header such as `Glowplug-Deadline: SECONDS` sets, 0 for none."""
    if value is None:
        return 0
    try:
        seconds = -1.0 if b"_" in value else float(value)  # Python's numbers may have underscores
    except ValueError:
        seconds = -1.0
    if not 0 < seconds <= 1e6:
        detail = f"{name} is {value.decode('latin-1')!r}"
        return bad_request(detail, f"give seconds from now, for example `{name}: 2.5`")
    return max(1, int(seconds * SECOND))


def takes_away(known: Known) -> bool:
    """Say whether the caller can fetch a large answer from elsewhere."""
    return _AWAY in known.get(b"accept", b"")


def native_headers(known: Known) -> tuple[tuple[str, str], ...]:
    """Return the headers the replica gets to see."""
    headers = []
    for name, value in known.items():
        text = _NATIVE.get(name)
        if text is not None and len(value) <= PASSED_ON_MAX:
            headers.append(
                (text, value.decode("latin-1"))
            )  # a comprehension would be no faster, and made for every call
    return tuple(headers)
