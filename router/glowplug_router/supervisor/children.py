"""How is a child process made from this one, and when is one that died made again?

Children are forked, so that what the parent has imported is shared memory. The parent therefore has one thread, no
event loop and no open database. Each child holds the reading end of the leash: when that becomes
readable, the parent is gone.
"""

import gc
import os
import signal
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from glowplug.backoff import backoff_ns
from glowplug.clock import MILLISECOND, SECOND
from glowplug.errors import GlowplugError
from glowplug.node.processes import Identity, identity

DELAY_FIRST_NS = 100 * MILLISECOND
DELAY_MAX_NS = 5 * SECOND
STEADY_NS = 10 * SECOND  # a child that lived so long is made again at the first delay
FAILED = 1

Main = Callable[[int], None]  # what a child does, given the leash


@dataclass(slots=True)
class Child:
    """One role, and the process that plays it now (pid 0 = none, until `due_ns`)."""

    role: str
    main: Main
    pid: int = 0
    who: Identity | None = None
    began_ns: int = 0
    due_ns: int = 0
    deaths: int = 0  # in a row: the count begins anew with one that lived for long

    def died(self, now_ns: int) -> None:
        """Note that the process has ended, and decide when to make it again."""
        self.deaths = 1 if now_ns - self.began_ns >= STEADY_NS else self.deaths + 1
        self.due_ns = now_ns + backoff_ns(self.deaths, DELAY_FIRST_NS, DELAY_MAX_NS)
        self.pid, self.who = 0, None


class Leash:
    """A pipe nobody writes to: its reading end tells children that the parent has gone."""

    def __init__(self) -> None:
        self.read_fd, self.write_fd = os.pipe()

    def keep_reading_end(self) -> None:
        """Let go of the writing end: in a child."""
        os.close(self.write_fd)


def freeze() -> None:
    """Make what is loaded cheap to share: what the collector never touches is never copied."""
    gc.collect()
    gc.freeze()


def fork(child: Child, leash: Leash, close: Sequence[int], now_ns: int) -> None:
    """Start the child's process. `close` are descriptors of the parent that it must not keep."""
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid == 0:
        os._exit(_run(child, leash, close))
    child.pid, child.who, child.began_ns = pid, identity(pid), now_ns


def _run(child: Child, leash: Leash, close: Sequence[int]) -> int:
    """Be the child. Never returns into the parent's code, and never lets an error out."""
    try:
        os.setpgid(0, 0)  # Ctrl-C is for the supervisor, which stops its children in order
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_DFL)
        leash.keep_reading_end()
        for descriptor in close:
            os.close(descriptor)
        child.main(leash.read_fd)
    except (
        BaseException
    ) as error:  # whatever it was: the parent's code must not run on in this process
        return _said(child.role, error)
    return 0


def _said(role: str, error: BaseException) -> int:
    """Tell whoever started the router why a child ended, and return its exit code."""
    import logging
    import traceback

    for one in _flat(error):
        if isinstance(one, GlowplugError):
            sys.stderr.write(f"glowplug {role}: {one}\n")
        elif isinstance(one, Exception):
            sys.stderr.write(f"glowplug {role}: {''.join(traceback.format_exception(one))}\n")
        logging.getLogger("children").critical("%s ends", role, exc_info=one)
    sys.stderr.flush()
    return FAILED


def _flat(error: BaseException) -> list[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        return [one for inner in error.exceptions for one in _flat(inner)]
    return [error]
