"""Which replicas were nodes told to have, and which do they have?

Told and reported are joined here, and nowhere else. A replica that was told and not yet reported is starting; one that
the node should know of and does not is lost; one that was told to leave and is gone is forgotten. After a restart
nothing has been told: the first report of a node is adopted as what it was told (`_adopt`), so nothing is ended.
"""

from collections.abc import Collection
from dataclasses import dataclass, field, replace

from glowplug.node.messages import Desired, Gpu, Report, Residency, Want
from glowplug_router.control.catalog import Catalog
from glowplug_router.records.devices import DeviceSlot
from glowplug_router.records.observed import Node, Replica, ReplicaState
from glowplug_router.records.stored import Version

_STARTING = frozenset({"fetching", "building", "starting", "loading", "warming"})


@dataclass(slots=True)
class NodeBook:
    """One node: its last report, what it was told, and since which message it knows of each replica."""

    report: Report
    seen_ns: int
    wants: dict[str, Want] = field(default_factory=dict)
    told_at: dict[str, int] = field(
        default_factory=dict
    )  # replica -> number of the first Desired that named it as it is
    gpus: dict[str, tuple[str, ...]] = field(
        default_factory=dict
    )  # replica -> devices the planner gave it
    number: int = 1

    @property
    def is_occupied(self) -> bool:
        """Say whether anything runs on the node, by its last report."""
        return any(r.state not in {"stopped", "failed"} for r in self.report.residencies)

    def residency(self, replica: str) -> Residency | None:
        """Return what the node last said of a replica."""
        return next((one for one in self.report.residencies if one.replica == replica), None)


class Fleet:
    """All nodes and replicas, as told and as reported."""

    def __init__(self, catalog: Catalog) -> None:
        self.nodes: dict[str, NodeBook] = {}
        self.errors: dict[
            str, Replica
        ] = {}  # version -> its last failed replica, until one is ready
        self.dev: set[str] = set()  # version keys that `dev` deployed: tracebacks go to the caller
        self._catalog = catalog
        self._since: dict[str, tuple[ReplicaState, str, int]] = {}

    # -- what nodes say --------------------------------------------------------------------------

    def take_report(self, report: Report, now_ns: int) -> bool:
        """Take a node's report; False when it says nothing new."""
        book = self.nodes.get(report.node)
        if book is None:
            book = self.nodes[report.node] = NodeBook(
                report=report, seen_ns=now_ns, number=report.desired_number + 1
            )
            self._adopt(book)
            self._settle(book, now_ns)
            return True
        if _content(report) == _content(book.report):
            book.report, book.seen_ns = report, now_ns
            return False
        book.report, book.seen_ns = report, now_ns
        self._settle(book, now_ns)
        return True

    def drop_nodes(self, names: Collection[str]) -> None:
        """Let go of nodes that will not come back, once nothing is wanted of them any more."""
        for name in [name for name in names if name in self.nodes and not self.nodes[name].wants]:
            del self.nodes[name]

    def _adopt(self, book: NodeBook) -> None:
        for residency in book.report.residencies:
            version = self._catalog.versions.get(residency.version)
            if version is None or residency.state in {"stopped", "failed"}:
                continue  # not wanted: the node ends it when it is told what it should have
            want = self._want(residency.replica, version)
            book.wants[residency.replica] = replace(want, draining=residency.state == "draining")
            book.told_at[residency.replica] = 0

    def _settle(self, book: NodeBook, now_ns: int) -> None:
        """Forget what was to leave and is gone; note when each replica entered its state, and what failed last."""
        for want in list(book.wants.values()):
            residency = book.residency(want.replica)
            if (
                want.draining
                and self._known_to_node(book, want)
                and (residency is None or residency.state in {"stopped", "failed"})
            ):
                self._drop(book, want.replica)
        for replica in self._replicas_of(book, now_ns):
            if replica.state == "failed":
                self.errors[replica.version] = replica
            elif replica.state == "ready":
                self.errors.pop(replica.version, None)

    # -- what nodes are told ---------------------------------------------------------------------

    def start(self, replica: str, version: Version, node: str, gpus: tuple[str, ...]) -> None:
        """Have a replica on a node."""
        book = self.nodes[node]
        book.gpus[replica] = gpus
        self._tell(book, self._want(replica, version))

    def drain(self, replica: str, drain_ns: int, reason: str) -> None:
        """Let a replica finish and end."""
        book = self.book_of(replica)
        if book is not None:
            self._tell(
                book, replace(book.wants[replica], draining=True, drain_ns=drain_ns, reason=reason)
            )

    def swap(self, replica: str, version: Version) -> None:
        """Let a running replica become another version in place."""
        book = self.book_of(replica)
        if book is not None:
            self._tell(book, replace(self._want(replica, version), swap=True))

    def retune(self) -> None:
        """Want of each replica's batches what its policy says by now."""
        for book in self.nodes.values():
            for replica, want in book.wants.items():
                version = self._catalog.versions.get(want.version)
                if want.spec.batch.max and version is not None:
                    batch = self._catalog.policy(version).batch
                    if batch != want.batch:
                        book.wants[replica] = replace(want, batch=batch)
                        book.number += 1

    def forget(self, replica: str) -> None:
        """Want a replica no more, at once."""
        book = self.book_of(replica)
        if book is not None:
            self._drop(book, replica)

    def forget_failures(self, version: str) -> None:
        """Let go of what an earlier try of a version left: it is about to be tried anew."""
        self.errors.pop(version, None)
        for book in self.nodes.values():
            for want in [want for want in book.wants.values() if want.version == version]:
                residency = book.residency(want.replica)
                if residency is not None and residency.state in {"failed", "stopped"}:
                    self._drop(book, want.replica)

    def desired(self, node: str) -> Desired:
        """Return all a node should have."""
        book = self.nodes[node]
        keys = self._catalog.permille()
        prime = {self._catalog.bundle_of(self._catalog.versions[key]).env_digest for key in keys}
        wants = tuple(book.wants[replica] for replica in sorted(book.wants))
        return Desired(
            epoch=self._catalog.epoch, number=book.number, wants=wants, prime=tuple(sorted(prime))
        )

    def _tell(self, book: NodeBook, want: Want) -> None:
        book.number += 1
        book.wants[want.replica] = want
        book.told_at[want.replica] = book.number

    def _drop(self, book: NodeBook, replica: str) -> None:
        book.number += 1
        book.wants.pop(replica, None)
        book.told_at.pop(replica, None)
        book.gpus.pop(replica, None)

    def _want(self, replica: str, version: Version) -> Want:
        bundle = self._catalog.bundle_of(version)
        return Want(
            replica=replica,
            version=version.key,
            spec=version.spec,
            bundle=bundle,
            bundle_digest=version.bundle_digest,
            dev=version.key in self.dev or bool(bundle.source_path),
            batch=self._catalog.policy(version).batch,
        )

    # -- asking ----------------------------------------------------------------------------------

    def book_of(self, replica: str) -> NodeBook | None:
        """Return the node that was told to have a replica."""
        return next((book for book in self.nodes.values() if replica in book.wants), None)

    def residency(self, replica: str) -> Residency | None:
        """Return what was last reported of a replica, wherever it is."""
        found = (book.residency(replica) for book in self.nodes.values())
        return next((one for one in found if one is not None), None)

    def observed_nodes(self) -> tuple[Node, ...]:
        """Return the nodes as the planner sees them."""
        return tuple(
            Node(
                id=name,
                cpu_milli=book.report.inventory.cpu_milli,
                memory_bytes=book.report.inventory.memory_bytes,
                gpus=tuple((gpu.uuid, gpu.name) for gpu in book.report.inventory.gpus),
                devices=tuple(map(_slot, book.report.inventory.gpus)),
                holds=(*book.report.envs, *book.report.layers),
                seen_ns=book.seen_ns,
            )
            for name, book in sorted(self.nodes.items())
        )

    def replicas(self, now_ns: int) -> tuple[Replica, ...]:
        """Return every replica: told, reported, or both."""
        found = tuple(
            one for _, book in sorted(self.nodes.items()) for one in self._replicas_of(book, now_ns)
        )
        self._since = {one.id: self._since[one.id] for one in found}
        return found

    def _replicas_of(self, book: NodeBook, now_ns: int) -> list[Replica]:
        reported = {one.replica: one for one in book.report.residencies}
        told = [
            self._replica(book, want, reported.get(want.replica), now_ns)
            for want in book.wants.values()
        ]
        # Ending because it is not wanted: it holds its devices until it is gone.
        leaving = [
            self._record(book, one, one.version, "draining", now_ns)
            for one in reported.values()
            if one.replica not in book.wants and one.state not in {"stopped", "failed"}
        ]
        return told + leaving

    def _replica(
        self, book: NodeBook, want: Want, residency: Residency | None, now_ns: int
    ) -> Replica:
        if residency is None:
            lost = self._known_to_node(book, want)
            gone = Residency(
                replica=want.replica,
                version=want.version,
                state="failed" if lost else "starting",
                code="replica_lost" if lost else "",
                detail="the node does not know it any more" if lost else "",
            )
            return self._record(book, gone, want.version, "failed" if lost else "starting", now_ns)
        return self._record(book, residency, want.version, _state(want, residency), now_ns)

    def _record(
        self, book: NodeBook, residency: Residency, version: str, state: ReplicaState, now_ns: int
    ) -> Replica:
        known = self._since.get(residency.replica)
        if known is None or known[:2] != (state, version):
            known = self._since[residency.replica] = (state, version, now_ns)
        return Replica(
            id=residency.replica,
            version=version,
            node=book.report.node,
            state=state,
            permits=residency.permits or self._permits(version),
            address=residency.address,
            since_ns=known[2],
            code=residency.code,
            detail=residency.detail,
            gpus=residency.gpus or book.gpus.get(residency.replica, ()),
        )

    def _permits(self, version: str) -> int:
        known = self._catalog.versions.get(version)
        return known.spec.concurrency if known is not None else 1

    def _known_to_node(self, book: NodeBook, want: Want) -> bool:
        return book.report.desired_number >= book.told_at[want.replica]


def _state(want: Want, residency: Residency) -> ReplicaState:
    if residency.state in {"failed", "stopped"}:
        return "failed"
    if want.draining or residency.state == "draining":
        return "draining"
    if residency.state in _STARTING or residency.version != want.version:
        return "starting"
    return "ready"


def _content(report: Report) -> tuple[object, ...]:
    """Return what of a report is news: counters and numbers move all the time."""
    told = tuple(replace(one, calls_done=0) for one in report.residencies)
    return report.desired_number, report.inventory, told, report.envs, report.layers


def _slot(gpu: Gpu) -> DeviceSlot:
    return DeviceSlot(
        uuid=gpu.uuid,
        model=gpu.name,
        memory_bytes=gpu.memory_bytes,
        share_permille=gpu.share_permille,
        parent=gpu.parent,
        profile=gpu.profile,
    )
