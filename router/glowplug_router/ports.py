"""What does the router need from outside? Roles; `app.py` alone says which adapter plays each."""

from collections.abc import AsyncIterator, Sequence
from typing import Protocol

from glowplug.artifact import Bundle
from glowplug.node.messages import Desired, LogQuery, Report
from glowplug.spec import Policy
from glowplug_router.records.decided import Launch, Terminate
from glowplug_router.records.observed import Machines
from glowplug_router.records.stored import Deployment, Explain, Intent, Key, Version
from glowplug_router.records.wishes import Wish

EXPLAIN_KEEP = (
    100  # rows of the decision log kept for one subject: what a person reads back, not a history
)
INTENTS_KEEP = 10_000  # closed intents kept, to see what was done; open ones are always kept


class Store(Protocol):
    """What must survive: versions, deployments, policies, keys, intents, decisions, epochs. One contract suite.

    Every write is durable when the call returns. All methods may raise `StoreError` (code store_locked or disk_full).
    """

    async def take_epoch(self, holder: str) -> int:
        """Become the one controller: return an epoch higher than any before; older holders are fenced from now on."""
        ...

    async def add_version(self, version: Version, bundle: Bundle, epoch: int) -> Version:
        """Keep a version. Same app, endpoint and digest as an existing one: return that one (idempotent).

        The number is assigned here (next free one); `version.number` of the argument is ignored.
        """
        ...

    async def versions(self, app: str = "", endpoint: str = "") -> tuple[Version, ...]:
        """Return versions, oldest first."""
        ...

    async def bundle(self, digest: str) -> Bundle | None:
        """Return a bundle's manifest."""
        ...

    async def commit(
        self, deployment: Deployment, policies: Sequence[tuple[str, Policy]], epoch: int
    ) -> Deployment:
        """Make `deployment` live if its generation is exactly one above the live one: the compare-and-swap of an app.

        Policies (endpoint -> policy) become current in the same transaction.

        Raises:
            CallError: code conflict, when somebody else was first or the epoch is stale.
        """
        ...

    async def deployments(self, app: str = "") -> tuple[Deployment, ...]:
        """Return deployments, oldest first."""
        ...

    async def live(self) -> tuple[Deployment, ...]:
        """Return the live deployment of every app."""
        ...

    async def policies(self) -> tuple[tuple[str, str, Policy], ...]:
        """Return the current policy of each endpoint: (app, endpoint, policy)."""
        ...

    async def set_policy(self, app: str, endpoint: str, policy: Policy, epoch: int) -> None:
        """Change a policy; no version is made, nothing restarts."""
        ...

    async def add_wish(self, wish: Wish, epoch: int) -> None:
        """Keep what is declared for a while."""
        ...

    async def wishes(self) -> tuple[Wish, ...]:
        """Return all of it, oldest first, what has ended too."""
        ...

    async def remove_wishes(self, ids: Sequence[str], epoch: int) -> None:
        """Forget some of it; ids that are not there are passed over."""
        ...

    async def add_key(self, key: Key) -> None:
        """Keep a key."""
        ...

    async def keys(self) -> tuple[Key, ...]:
        """Return all keys, revoked ones too."""
        ...

    async def revoke_key(self, id: str) -> bool:
        """Revoke; False when there is no such key."""
        ...

    async def write_intents(self, intents: Sequence[Intent], epoch: int) -> None:
        """Write down what is about to be done (same id twice: once)."""
        ...

    async def close_intent(self, id: str, state: str, detail: str, epoch: int) -> None:
        """Say how it ended."""
        ...

    async def open_intents(self) -> tuple[Intent, ...]:
        """Return what was begun and not closed."""
        ...

    async def explain(self, rows: Sequence[Explain], wall_ns: int, epoch: int) -> None:
        """Append to the decision log; at most EXPLAIN_KEEP rows a subject are kept."""
        ...

    async def decisions(
        self, subject: str = "", limit: int = 50
    ) -> tuple[tuple[int, Explain], ...]:
        """Return (wall time, row), newest first."""
        ...

    async def setting(self, name: str, default: str) -> str:
        """Return a setting, writing `default` first if there is none (pepper, token secret)."""
        ...

    async def close(self) -> None:
        """Finish writes and close."""
        ...


class ObjectStore(Protocol):
    """Bytes by digest ("sha256:<hex>"): code layers, locks, later engines, weights, results."""

    async def missing(self, digests: Sequence[str]) -> tuple[str, ...]:
        """Return those that are not here; those that are count as asked for now."""
        ...

    async def kept(self) -> dict[str, int]:
        """Return every digest, and when (wall time) it was last put or asked for by `missing`."""
        ...

    async def sizes(self, digests: Sequence[str]) -> dict[str, int]:
        """Return the sizes in bytes of those that are here."""
        ...

    async def put(self, digest: str, pieces: AsyncIterator[bytes], limit_bytes: int) -> int:
        """Keep the bytes if they have that digest; atomic, idempotent. Return the size.

        Raises:
            CallError: code digest_mismatch, too_large or disk_full; nothing is kept then.
        """
        ...

    def get(self, digest: str) -> AsyncIterator[bytes]:
        """Yield the bytes; raise `CallError` not_found when they are not here."""
        ...

    async def delete(self, digest: str) -> None:
        """Forget the bytes; they are missing before this waits for anything."""
        ...

    def scope(self, name: str) -> "ObjectStore":
        """Return a store of its own inside this one; `name` is 32 hex digits."""
        ...

    async def scopes(self) -> tuple[str, ...]:
        """Return the names of the scopes that hold something."""
        ...

    def signed_put(self, digest: str, size_bytes: int, expires_wall_ns: int) -> str:
        """Return a URL to which these bytes, and no others, may be sent without a key; a path where it is ours."""
        ...

    def signed_get(self, digest: str, size_bytes: int, expires_wall_ns: int) -> str:
        """Return a URL from which these bytes may be fetched without a key."""
        ...


class NodeLink(Protocol):
    """A connected agent, as the controller sees it."""

    @property
    def node(self) -> str:
        """Return the node's id."""
        ...

    def tell(self, desired: Desired) -> None:
        """Send what the node should have; lost messages are repaired by the next one."""
        ...

    def logs(self, query: LogQuery) -> AsyncIterator[bytes]:
        """Yield JSON lines of the node's logs."""
        ...


class Provider(Protocol):
    """Where nodes come from. Locally there is one, started by the supervisor; in a cloud they are launched.

    One contract suite. Orders are idempotent by their id, which is the client token where the provider takes one.
    """

    async def links(self) -> tuple[NodeLink, ...]:
        """Return the agents connected now."""
        ...

    async def report(self, node: str) -> Report | None:
        """Return the last report of a node."""
        ...

    async def changed(self) -> None:
        """Wait until a report arrived, or an agent or a machine came or went, since the last call."""
        ...

    async def machines(self) -> Machines:
        """Return what could be launched and what was, as last heard: never less because it cannot be asked just now."""
        ...

    async def launch(self, order: Launch) -> None:
        """Have a machine, or start a stopped one again; it is among `machines` when this returns, or was refused.

        A refusal for want of capacity is counted in its offer's tally, and raises nothing.

        Raises:
            CallError: code overloaded, when the provider takes no orders just now (with when it may again);
                not_found, when it has no such offer.
        """
        ...

    async def terminate(self, order: Terminate) -> None:
        """Give a machine back, or stop it; one that is not there is no error.

        Raises:
            CallError: code overloaded, as above.
        """
        ...


class SecretStore(Protocol):
    """Secrets by name; values leave only towards a rank's environment."""

    async def names(self) -> tuple[str, ...]:
        """Return the names."""
        ...

    async def set(self, name: str, value: str) -> None:
        """Keep a value."""
        ...

    async def remove(self, name: str) -> bool:
        """Forget it; False when there was none."""
        ...

    async def values(self, names: Sequence[str]) -> dict[str, str]:
        """Return the values of those that exist."""
        ...
