"""What may a gateway be told, and what does it assume? Every limit of the HTTP edge has its name here."""

from dataclasses import dataclass

from glowplug.clock import MILLISECOND, MINUTE, SECOND

KIB = 1024
MIB = 1024 * KIB


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewaySettings:
    """Limits and names of one gateway; the defaults are the published ones."""

    name: str = "gateway"
    hosts: tuple[
        str, ...
    ] = ()  # answered besides the loopback names; "*" = any, for use behind a proxy that checks
    origins: tuple[
        str, ...
    ] = ()  # "https://app.example": pages that may call from a browser, besides our own
    body_max_bytes: int = 64 * MIB  # of one call
    upload_max_bytes: int = (
        4096 * MIB
    )  # of one request to the control API: layers of a deploy, streamed through
    held_max_bytes: int = 512 * MIB  # request bodies in this process, all calls together
    head_max_bytes: int = 32 * KIB
    fields_max: int = 128
    connections_max: int = 8192
    head_ns: int = 10 * SECOND  # from the first byte (or the connection) to the end of the headers
    body_idle_ns: int = 30 * SECOND  # between two pieces of a body
    body_total_ns: int = (
        10 * MINUTE
    )  # for a whole body: one byte every 29 s must not hold a connection for ever
    keep_alive_ns: int = (
        75 * SECOND
    )  # longer than load balancers keep theirs (60 s), so that they close first
    write_stall_ns: int = 60 * SECOND  # a reader that takes nothing for so long is cut off
    linger_ns: int = (
        2 * SECOND
    )  # after a refusal: the rest of the body is dropped, so that the answer is read
    wait_max_ns: int = (
        110 * SECOND
    )  # wait of a call that does not say; load balancers give up at 120 s
    tls_cert: str = ""  # PEM files; none: plain HTTP
    tls_key: str = ""
    tls_look_ns: int = 5 * SECOND  # how often it is looked whether they have changed
    record: str = ""  # folder into which a line is written of every call; "" = none
    drain_ns: int = 30 * SECOND  # SIGTERM: calls in flight may finish
    pulse_ns: int = (
        250 * MILLISECOND
    )  # how often deadlines of connections are looked at, and loop lag is measured
