"""What is kept of a call that met no replica, so that its caller can be told why it waited?"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class ColdCall:
    """One call that arrived while no replica of its version stood."""

    request_id: str
    version: str  # "app/endpoint@12"
    replica: str  # that took it in the end; "" = none did
    status: int  # HTTP
    arrived_wall_ns: int
    wait_ns: int  # from its arrival until a replica had it, or until it was refused
    took_ns: int  # from its arrival to the end of its answer
    phases: tuple[tuple[str, int], ...] = ()  # of the replica's start, ns
