"""What may still run when a replica's own process has ended, and how does that end too?

User code may start processes in sessions of their own, where killing the rank's group does not reach them. The
replica's cgroup knows all of them. Where there are none, those that were exec'd carry the replica's mark in their
environment, which they inherit from the rank.
"""

import logging

from anyio.to_thread import run_sync

from glowplug.node import surroundings
from glowplug.node.cgroups import Group, vacate
from glowplug.node.processes import kill_marked
from glowplug.node.site import Site

_LOG = logging.getLogger("glowplug.node")


async def clear(site: Site, replica: str, group: Group) -> None:
    """Kill what a replica has left behind, and remove its group."""
    if not await vacate(group, site.clock):
        _LOG.warning("the group of %s is not empty: a process in it does not end", replica)
    if group.folders:
        return
    mark = surroundings.mark(site.folders, replica)
    if count := await run_sync(kill_marked, surroundings.MARK, mark):
        _LOG.info("killed %d processes that %s left behind", count, replica)
