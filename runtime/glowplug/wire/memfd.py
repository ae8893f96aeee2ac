"""How does memory get from one process to another of the same user? A sealed memfd, opened through /proc.

The writer makes it, seals its size and says where it is; the reader opens that very file by the process id the kernel
vouches for, checks owner, kind, seals, size and inode, and maps it for reading. Whatever does not fit means that
there is no shared memory: bodies then go through the socket. On systems without memfds nothing is ever offered.
"""

import fcntl
import mmap
import os
import socket
import struct
import sys
from pathlib import Path

from glowplug.settings import variable
from glowplug.wire.ring import RING_BYTES

WITHOUT = "GLOWPLUG_WITHOUT"  # "memfd": go on as if this machine had none
SHARED_MAX = 4 * RING_BYTES  # of a peer's, so that a later release may offer more
_PEER = struct.Struct("3i")  # pid, uid, gid of SO_PEERCRED


def has_memfd() -> bool:
    """Say whether bodies can go through shared memory on this machine."""
    return sys.platform == "linux" and "memfd" not in variable(WITHOUT).split(",")


class Offered:
    """Memory that we write and a peer reads.

    Raises:
        OSError: There is none to be had.
    """

    def __init__(self, size: int) -> None:
        # Only the size is sealed: the reader copies each body once, so that what is written later cannot hurt it.
        self._fd = os.memfd_create("glowplug", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        try:
            os.ftruncate(self._fd, size)
            _seal(self._fd)
            self.memory = mmap.mmap(self._fd, size)
        except BaseException:
            os.close(self._fd)
            raise
        self.text = f"{self._fd} {os.fstat(self._fd).st_ino} {size}"

    def opened(self) -> None:
        """Let go of the descriptor: the peer has its own by now."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def trim(self, size: int) -> None:
        """Give the first `size` bytes' memory back to the system; they read as zeros until written again."""
        if size:
            self.memory.madvise(mmap.MADV_REMOVE, 0, size)

    def close(self) -> None:
        """Unmap it."""
        self.opened()
        self.memory.close()


def open_offered(text: str, sock: socket.socket) -> mmap.mmap | None:
    """Map what the peer on this Unix socket offers, or return None when it is not what it should be."""
    words = text.split()
    if len(words) < 3 or not all(word.isascii() and word.isdigit() for word in words[:3]):
        return None
    number, inode, size = (int(word[:20]) for word in words[:3])
    try:
        pid, uid, _ = _PEER.unpack(
            sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER.size)
        )
        if uid != os.geteuid() or not 0 < size <= SHARED_MAX:
            return None
        source = Path(f"/proc/{pid}/fd/{number}")
        if not str(source.readlink()).startswith("/memfd:"):
            return None  # a device or a pipe may not even be opened without effect
        fd = os.open(source, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            return mmap.mmap(fd, size, prot=mmap.PROT_READ) if _fits(fd, inode, size) else None
        finally:
            os.close(fd)
    except OSError:
        return None  # another pid namespace, a peer that has ended, no /proc: the socket will do


def _fits(fd: int, inode: int, size: int) -> bool:
    found = os.fstat(fd)
    # Whatever else calls itself a memfd has no seals to be asked for, which is an OSError.
    return (found.st_ino, found.st_size, found.st_uid) == (
        inode,
        size,
        os.geteuid(),
    ) and _is_sealed(fd)


def _seal(fd: int) -> None:
    fcntl.fcntl(fd, fcntl.F_ADD_SEALS, _seals())


def _is_sealed(fd: int) -> bool:
    return fcntl.fcntl(fd, fcntl.F_GET_SEALS) & _seals() == _seals()


def _seals() -> int:
    return fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL
