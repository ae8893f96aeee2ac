"""Does the gateway keep a link to each replica it is told of, and outlive whatever one of them does?"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import cast

import anyio

from glowplug.clock import SystemClock
from glowplug.wire.messages import Hello
from glowplug.wire.transport import FrameProtocol, listen
from glowplug_router.gateway.dialer import Dialer, MakeLink
from glowplug_router.gateway.engine import Engine
from glowplug_router.gateway.links import DataLink, Inbox
from glowplug_router.gateway.snapshot import Listed
from glowplug_router.records.published import RouteReplica

PATIENCE_S = 10
KEY = "demo/echo@1"


class Desk:
    """What a link asks of the gateway's engine."""

    def __init__(self, *odd: str) -> None:
        self.lost = 0
        self.odd = [*odd]  # those that break this desk, once

    def replica_lost(self, replica: str) -> None:
        self.lost += 1

    def replica_leaving(self, replica: str) -> None:
        if replica in self.odd:
            self.odd.remove(replica)
            raise LookupError("nobody foresaw this")


class NoInbox(Inbox):
    """Code in these replicas calls nothing."""

    def drop(self, link: DataLink) -> None:
        pass


class Silent(FrameProtocol):
    """A replica that listens and says nothing."""

    def connected(self) -> None:
        pass

    def lost(self, error: Exception | None) -> None:
        pass


def link_to(desk: Desk, replica: str) -> DataLink:
    return DataLink(cast(Engine, desk), NoInbox(), Hello("gateway", "gw"), replica)


async def linked(dialer: Dialer, *ids: str) -> None:
    with anyio.fail_after(PATIENCE_S):
        while set(dialer.links) != set(ids):  # noqa: ASYNC110  # the dialer has no event for it
            await anyio.sleep(0.005)


@asynccontextmanager
async def dialing(make: MakeLink) -> AsyncIterator[Dialer]:
    """Run a dialer. Leaving it fails where one of its tasks has failed."""
    async with anyio.create_task_group() as tasks:
        dialer = Dialer(make, SystemClock(), tasks)
        yield dialer
        dialer.close()
        tasks.cancel_scope.cancel()


@asynccontextmanager
async def replica(folder: Path, *ids: str) -> AsyncIterator[dict[str, Listed]]:
    """Listen for them, and return what a snapshot says of them."""
    servers: list[asyncio.Server] = []
    listed: dict[str, Listed] = {}
    for id in ids:
        address = f"unix:{folder}/{id}"
        servers.append(await listen(address, Silent))
        listed[id] = (KEY, RouteReplica(id=id, address=address, permits=1))
    try:
        yield listed
    finally:
        for server in servers:
            server.close()


async def test_a_replica_that_leaves_while_it_is_dialled_is_let_go(tmp_path: Path) -> None:
    desk = Desk()
    made: list[DataLink] = []

    def make(id: str) -> DataLink:
        if id == "goes":
            dialer.want({"stays": listed["stays"]})
        made.append(link_to(desk, id))
        return made[-1]

    async with replica(tmp_path, "stays", "goes") as listed, dialing(make) as dialer:
        dialer.want(listed)
        await linked(dialer, "stays")
        with anyio.fail_after(PATIENCE_S):
            await next(link for link in made if link.replica == "goes").gone.wait()

        assert set(dialer.links) == {"stays"}


async def test_one_replica_that_breaks_its_link_leaves_the_others_theirs(tmp_path: Path) -> None:
    desk = Desk("odd")
    async with (
        replica(tmp_path, "odd", "even") as listed,
        dialing(lambda id: link_to(desk, id)) as dialer,
    ):
        key, odd = listed["odd"]
        dialer.want(listed | {"odd": (key, replace(odd, draining=True))})
        await linked(dialer, "odd", "even")
        with anyio.fail_after(PATIENCE_S):
            while desk.lost < 1:  # noqa: ASYNC110  # a desk has no event for it
                await anyio.sleep(0.005)
        await linked(dialer, "odd", "even")

        assert desk.odd == []


async def test_a_replica_that_comes_back_is_linked_again(tmp_path: Path) -> None:
    desk = Desk()
    async with (
        replica(tmp_path, "rep") as listed,
        dialing(lambda id: link_to(desk, id)) as dialer,
    ):
        for _ in range(3):
            dialer.want(listed)
            await linked(dialer, "rep")
            dialer.want({})
            dialer.want(listed)  # before the old one has ended
            await linked(dialer, "rep")
            dialer.want({})
            await linked(dialer)
