"""Which replicas should have a link? A task for each that the snapshot lists: dial, wait until it breaks, again."""

import logging
import ssl
from collections.abc import Callable, Mapping

from anyio import CancelScope
from anyio.abc import TaskGroup

from glowplug.backoff import backoff_ns
from glowplug.clock import MILLISECOND, SECOND, Clock
from glowplug.errors import WireError
from glowplug.wire.transport import dial
from glowplug_router.gateway.links import DataLink
from glowplug_router.gateway.snapshot import Listed

RETRY_FIRST_NS = 20 * MILLISECOND  # a rank that swaps its code in place may blink
RETRY_MAX_NS = SECOND
TOLD_AFTER = 10  # failures in a row: some seconds, when a rank that blinks is back
_LOG = logging.getLogger("glowplug.gateway")

MakeLink = Callable[[str], DataLink]


class Dialer:
    """Keeps one link to each listed replica."""

    def __init__(
        self,
        make_link: MakeLink,
        clock: Clock,
        tasks: TaskGroup,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.links: dict[str, DataLink] = {}
        self._make_link = make_link
        self._clock = clock
        self._tasks = tasks
        self._tls = tls  # whom to trust at `tls:` addresses
        self._scopes: dict[str, CancelScope] = {}
        self._listed: Mapping[str, Listed] = {}

    def want(self, listed: Mapping[str, Listed]) -> None:
        """Take the replicas of a snapshot: dial new ones, let go of those it no longer has."""
        self._listed = listed
        for id in [known for known in self._scopes if known not in listed]:
            scope = self._scopes.pop(id)
            if id in self.links:
                self.links[id].close_when_idle()  # its task ends with it
            else:
                scope.cancel()
        for id, (key, replica) in listed.items():
            if id not in self._scopes:
                scope = self._scopes[id] = CancelScope()
                self._tasks.start_soon(self._guarded, id, replica.address, scope)
            elif id in self.links:
                self.links[id].listed(key, replica.permits)
                if replica.draining:
                    self.links[id].leave()

    async def _guarded(self, id: str, address: str, scope: CancelScope) -> None:
        """Keep one replica's link. Whatever goes wrong with one must not end the calls of all the others."""
        with scope:
            while self._is_wanted(id, scope):
                try:
                    await self._keep(id, address, scope)
                except Exception:
                    _LOG.exception("the link of replica %s broke in a way nobody foresaw", id)
                    if id in self.links:
                        self.links.pop(id).close()
                    await self._clock.sleep(RETRY_MAX_NS / SECOND)

    def _is_wanted(self, id: str, scope: CancelScope) -> bool:
        return self._scopes.get(id) is scope

    async def _keep(self, id: str, address: str, scope: CancelScope) -> None:
        failures = 0
        while self._is_wanted(id, scope):
            try:
                link = await dial(address, lambda: self._make(id), tls=self._tls)
            except (OSError, WireError) as error:
                failures += 1
                if failures == TOLD_AFTER:
                    _LOG.warning("replica %s cannot be reached: %s; trying on", id, error)
            else:
                await self._stay(id, link)
                failures = failures + 1 if link.is_cut_off else 1
            await self._clock.sleep(backoff_ns(failures, RETRY_FIRST_NS, RETRY_MAX_NS) / SECOND)

    def _make(self, id: str) -> DataLink:
        link = self._make_link(id)
        if id in self._listed:  # else it left while it was dialled
            key, replica = self._listed[id]
            link.listed(key, replica.permits)
        return link

    async def _stay(self, id: str, link: DataLink) -> None:
        if id not in self._listed:
            link.close()
            return
        key, replica = self._listed[id]
        link.version = link.version or key
        link.phases = replica.phases
        self.links[id] = link
        if replica.draining:
            link.leave()
        try:
            await link.gone.wait()
        finally:
            if link.gone.is_set() and self.links.get(id) is link:
                del self.links[id]

    def close(self) -> None:
        """Close every link."""
        for scope in self._scopes.values():
            scope.cancel()
        for link in self.links.values():
            link.close()
