"""Which replicas are here, and are they what was asked for? The loop's acting half; `desired` decides."""

import logging
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from pathlib import Path

import anyio
import msgspec

from glowplug.files import replace_file
from glowplug.node import adoption
from glowplug.node.desired import Action, Drain, Forget, Kill, Start, Swap, decide
from glowplug.node.folders import Folders, hex_of, is_digest
from glowplug.node.messages import Desired, Residency, Want
from glowplug.node.rank_link import Changed
from glowplug.node.replica import Replica
from glowplug.node.site import Site
from glowplug.node.sweeping import InUse

_LOG = logging.getLogger("glowplug.node")
ADOPT_WAIT_S = 2.0  # for adopted ranks to say how they are, before the first report


class Epochs(msgspec.Struct):
    """What must never go back, not even over a restart."""

    controller: int = 0  # the highest epoch seen in a Desired
    agent: int = 0  # lives of this agent, this one counted


def begin_life(folders: Folders) -> Epochs:
    """Count one more life of the agent on disk."""
    epochs = _read(folders)
    epochs.agent += 1
    _write(folders, epochs)
    return epochs


class Fleet:
    """All replicas of this node."""

    def __init__(self, site: Site, epochs: Epochs, changed: Changed) -> None:
        self.number = 0  # of the last Desired taken into account
        self._site = site
        self._epochs = epochs
        self._tell = changed
        self._wants: Sequence[Want] | None = (
            None  # None: nothing was asked yet, so nothing is too much
        )
        self._prime: Sequence[str] = ()
        self._replicas: dict[str, Replica] = {}

    @property
    def residencies(self) -> tuple[Residency, ...]:
        """Return what the report says."""
        return tuple(one.residency for one in self._replicas.values())

    def taken(self) -> frozenset[str]:
        """Return the GPUs that replicas have."""
        return frozenset(gpu for one in self._replicas.values() for gpu in one.residency.gpus)

    def in_use(self) -> InUse:
        """Return what replicas run in and zygotes are made of."""
        bundles = [one.want.bundle for one in self._replicas.values() if not one.over]
        # A digest of another form names nothing that can be on disk, and must not keep the rest from being swept.
        asked = {bundle.env_digest for bundle in bundles} | set(self._prime)
        envs = {one for one in asked if is_digest(one)}
        named = {layer.digest for bundle in bundles for layer in bundle.layers}
        layers = {hex_of(one) for one in named if is_digest(one)}
        for env_digest in envs:
            layers |= {Path(one).name for one in self._site.zygotes.python_path(env_digest)}
        return InUse(layers=layers, environments={hex_of(env) for env in envs})

    @property
    def is_asked(self) -> bool:
        """Say whether a controller has said what there should be."""
        return self._wants is not None

    def take(self, desired: Desired) -> bool:
        """Take over a new list; False when it is of an earlier epoch, or was overtaken."""
        seen = self._epochs.controller
        if desired.epoch < seen or (desired.epoch == seen and desired.number < self.number):
            _LOG.warning(
                "ignored desired %d of epoch %d: %d of %d is known",
                desired.number,
                desired.epoch,
                self.number,
                seen,
            )
            return False
        if desired.epoch > seen:
            self._new_controller(desired.epoch)
        self.number, self._wants = desired.number, desired.wants
        self._prime = tuple(one for one in desired.prime if not one or is_digest(one))
        for want in desired.wants:
            if want.replica in self._replicas:
                self._replicas[want.replica].unclaimed_since_ns = None
                self._replicas[want.replica].following.tune(want.batch)
        self.act()
        return True

    def act(self) -> None:
        """Make what is here what was asked for."""
        if self._wants is None:
            return
        held = [one.held() for one in self._replicas.values()]
        for action in decide(self._wants, held, self._site.clock.now_ns()):
            self._do(action)
        running = {one.want.bundle.env_digest for one in self._replicas.values()}
        self._site.zygotes.keep(running | set(self._prime))
        for env_digest in self._prime:
            interpreter = self._site.environments.interpreter(env_digest)
            if interpreter is not None:
                self._site.zygotes.prime(env_digest, interpreter)

    def _do(self, action: Action) -> None:
        match action:
            case Start(want):
                self._begin(Replica(self._site, want, self._tell))
            case Swap(want):
                replica = self._replicas[want.replica]
                self._site.spawn(self._guarded, replica, partial(replica.swap, want))
            case Drain(name, drain_ns, reason):
                self._replicas[name].drain(drain_ns, reason)
            case Kill(name, reason):
                self._replicas[name].kill(reason)
            case Forget(name):
                del self._replicas[name]
                self._tell()

    async def adopt(self) -> None:
        """Take over what an earlier agent left, and hear from each how it is."""
        records = adoption.survivors(self._site.folders)
        adopted: list[Replica] = []
        for record in records:
            replica = Replica(self._site, record.want, self._tell)
            if replica.adopt(record):
                replica.unclaimed_since_ns = self._site.clock.now_ns()
                adopted.append(replica)
                self._begin(replica)
            else:
                adoption.forget(self._site.folders, record.want.replica)
        self._site.groups.clean(frozenset(self._replicas))
        with anyio.move_on_after(ADOPT_WAIT_S):
            for replica in adopted:
                await replica.settled()
        _LOG.info("adopted %d replicas", len(adopted))

    async def end_all(self, reason: str, within_s: float) -> None:
        """End every replica, also where no controller says so, and wait for it at most so long."""
        self._wants = None  # nothing is started any more
        for replica in self._replicas.values():
            replica.kill(reason)
        with anyio.move_on_after(within_s):
            for replica in list(self._replicas.values()):
                await replica.gone()

    def _begin(self, replica: Replica) -> None:
        self._replicas[replica.want.replica] = replica
        self._site.spawn(self._guarded, replica, replica.run)
        self._tell()

    async def _guarded(self, replica: Replica, work: Callable[[], Awaitable[None]]) -> None:
        try:
            await work()
        except (
            Exception
        ) as error:  # a bug with one replica must not end the others; it is recorded and reported
            _LOG.exception("replica %s", replica.want.replica)
            replica.broken(error)

    def _new_controller(self, epoch: int) -> None:
        """It may not know yet what runs here: see `desired`."""
        self._epochs.controller = epoch
        _write(self._site.folders, self._epochs)
        now_ns = self._site.clock.now_ns()
        for replica in self._replicas.values():
            replica.unclaimed_since_ns = now_ns


def _read(folders: Folders) -> Epochs:
    try:
        return msgspec.json.decode((folders.home.node / "epochs.json").read_bytes(), type=Epochs)
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError):
        return Epochs()


def _write(folders: Folders, epochs: Epochs) -> None:
    replace_file(folders.home.node / "epochs.json", msgspec.json.encode(epochs))
