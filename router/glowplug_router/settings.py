"""What may a person decide about a router, and what is assumed otherwise?"""

import platform
from dataclasses import dataclass, field

from glowplug.clock import SECOND
from glowplug.settings import Home, home

PORT = 8686
BACKLOG = 2048  # connections that wait while a gateway restarts
MIB = 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Tls:
    """Where the router's certificate is; nothing named: it makes its own."""

    cert: str = ""  # PEM files
    key: str = ""
    ca: str = ""  # what clients must trust besides the system's authorities


@dataclass(frozen=True, slots=True, kw_only=True)
class UpSettings:
    """How `glowplug up` runs."""

    home: Home = field(default_factory=home)
    host: str = "127.0.0.1"
    port: int = PORT  # 0 = any free one
    hosts: tuple[
        str, ...
    ] = ()  # names besides the loopback ones that the router answers to (--allow-host)
    origins: tuple[str, ...] = ()  # web pages that may call it from a browser
    body_max_bytes: int = 64 * MIB
    keep: bool = False  # leave replicas running when it stops, for the next `up` within a lease
    node: str = field(default_factory=platform.node)
    drain_ns: int = 30 * SECOND  # calls in flight may finish when it stops
    tls: Tls | None = None  # HTTPS; None = plain HTTP
    advised: tuple[str, ...] = ()  # apps that are planned for, and nothing is done; "*" = all
    record: str = ""  # folder into which every plan and a line of every call are written; "" = none


@dataclass(frozen=True, slots=True, kw_only=True)
class ControllerSettings:
    """What the supervisor tells the controller."""

    url: str  # where people reach this router
    ca: str = ""  # the certificates they must trust there
    record: str = ""  # as in `UpSettings`
    advised: tuple[str, ...] = ()
