"""How many calls does a router work on, and how is it told that one waits for them?"""

from glowplug.control_client import Control
from glowplug.errors import GlowplugError

ASK_S = 2.0  # a router that does not answer in so long must not hold up its own end


def calls_in_flight(url: str, key: str, ca: str = "") -> int:
    """Return how many calls run or wait there; none where nobody answers."""
    try:
        with Control(url, key, ca=ca, read_s=ASK_S) as control:
            apps = control.get("/apps")["apps"]
    except GlowplugError:
        return 0
    demands = [
        version["demand"]
        for app in apps
        for endpoint in app["endpoints"]
        for version in endpoint["versions"]
    ]
    return sum(int(one["inflight"]) + int(one["queued"]) for one in demands)


def waiting_words(calls: int, limit_s: float) -> str:
    """Return what one waits for, and for how long at most."""
    return f"waiting for {calls} call{'s' if calls != 1 else ''}, at most {limit_s:g} s"
