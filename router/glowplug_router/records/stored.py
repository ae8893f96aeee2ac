"""What does the router write down, so that it outlives a restart? Frozen records."""

from dataclasses import dataclass
from typing import Literal

from glowplug.spec import EndpointSpec, Policy


@dataclass(frozen=True, slots=True, kw_only=True)
class Version:
    """One immutable form of an endpoint."""

    app: str
    endpoint: str
    number: int
    digest: str  # of code, schema, image and engine spec
    spec: EndpointSpec
    bundle_digest: str
    created_wall_ns: int

    @property
    def key(self) -> str:
        """Return "app/endpoint@12"."""
        return f"{self.app}/{self.endpoint}@{self.number}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """Part of an endpoint's traffic that a version gets, in thousandths."""

    version: int
    permille: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """Where an endpoint's traffic goes, in one deployment."""

    endpoint: str
    shares: tuple[Share, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployment:
    """One atomic state of an app; the highest generation is the live one."""

    app: str
    generation: int
    routes: tuple[Route, ...]
    stopped: bool = False
    message: str = ""
    git_sha: str = ""
    created_wall_ns: int = 0
    rollback_of: int = 0  # generation this one goes back to
    policies: tuple[
        tuple[str, Policy], ...
    ] = ()  # what the code asked for then; one set since may differ and holds


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """An API key as kept: the secret itself is never stored."""

    id: str
    mac: str  # HMAC-SHA256(pepper, secret), hex
    tenant: str
    scopes: tuple[str, ...]  # "invoke:*", "invoke:app/*", "deploy:*", "read", "admin"
    created_wall_ns: int
    name: str = ""
    expires_wall_ns: int = 0  # 0 = never
    revoked: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Intent:
    """An action written down before it is carried out; its id is the hash of what it does."""

    id: str
    kind: str
    subject: str
    epoch: int
    deadline_wall_ns: int
    created_wall_ns: int
    state: Literal["open", "done", "abandoned"] = "open"
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Explain:
    """Why the planner did, or did not do, something: read by `glowplug why`."""

    subject: str  # "app/endpoint@12"
    rule: str  # short name of the rule that decided
    text: str  # one sentence with the numbers in it
    replicas_ready: int = 0
    replicas_wanted: int = 0
    acts: tuple[str, ...] = ()  # what was done at once, and why there: one sentence an action
    numbers: tuple[tuple[str, int], ...] = ()  # what the rule saw; a name ends with its unit
    advised: bool = False  # it was only said, not done: the app is under advice
