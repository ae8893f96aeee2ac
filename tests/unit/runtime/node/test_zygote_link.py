"""Does the agent outlive a zygote that says what it should not?"""

import os
import socket

import anyio
import pytest

from glowplug.node.imports import Imports
from glowplug.node.zygotes import ZygoteLink


@pytest.mark.parametrize(
    "nonsense", [b"hello", b"\xff", b"[]", b'{"exited": 7}', b'{"exited": [], "status": 0}']
)
async def test_a_zygote_that_speaks_nonsense_is_let_go(nonsense: bytes) -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ours.setblocking(False)
    link = ZygoteLink(os.getpid(), ours, Imports())
    with theirs, anyio.fail_after(5.0):
        theirs.send(nonsense)
        await link.run()

        assert link.gone
        assert link.ready.is_set()
        assert theirs.recv(1) == b""
