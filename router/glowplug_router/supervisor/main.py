"""What holds the router together? A small process that owns the listening socket and its three children.

It has one thread and no event loop, so that it can fork at any time. It waits in one `select` for a signal, for the
death of a child, or for the time at which one is made again. What it knows, it writes to `up.json`.
"""

import os
import select
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import gettempdir

from glowplug.clock import MILLISECOND, SECOND, Clock, SystemClock
from glowplug.errors import ConfigError
from glowplug.node import adoption, run_folder
from glowplug.node.folders import Folders
from glowplug.node.processes import identity
from glowplug_router.app import DRAIN_SIGNAL
from glowplug_router.settings import UpSettings
from glowplug_router.supervisor.certificates import with_certificate
from glowplug_router.supervisor.children import Child, Leash, fork, freeze
from glowplug_router.supervisor.listening import listen, url_of
from glowplug_router.supervisor.roles import END_RANKS_SIGNAL, roles_of
from glowplug_router.supervisor.up_file import Up, UpFile, await_former, only_one
from glowplug_router.telemetry.logging import configure, logger

_LOG = logger("glowplug.supervisor")
READY_MAX_NS = 30 * SECOND  # from the start to the first good answer of /readyz
PROBE_EVERY_NS = 30 * MILLISECOND
PROBE_MAX_S = 1.0
KILL_AFTER_NS = 5 * SECOND  # beyond what a role may take to stop
CONTROLLER_STOP_NS = 25 * SECOND  # it drains all replicas first
AGENT_STOP_NS = 10 * SECOND
NEVER_S = 3600.0
_SIGNALS = (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGHUP)

Say = Callable[[str], None]
Ready = Callable[[str], None]  # called once with the URL, when the router answers


def run_up(settings: UpSettings, say: Say, ready: Ready | None = None) -> int:
    """Run a router until SIGTERM or SIGINT, and return the exit code.

    Raises:
        ConfigError: The port is taken, another router runs in this home, or a folder cannot be used.
    """
    clock = SystemClock()
    with only_one(settings.home) as lock_fd:
        await_former(settings.home, clock)
        run_folder.remove_stale(Path(gettempdir()))
        settings = with_certificate(settings, clock.wall_ns())
        sock = listen(settings)
        log = configure(Folders(settings.home).system_logs, "supervisor")
        try:
            roles = roles_of(
                settings, sock, url_of(sock, settings)
            )  # imports all that children share
            freeze()
            supervisor = Supervisor(
                settings, sock, lock_fd, clock, say, ready or (lambda url: None)
            )
            return supervisor.run(roles)
        finally:
            sock.close()
            log.close()


class Supervisor:
    """One run of the router."""

    def __init__(
        self,
        settings: UpSettings,
        sock: socket.socket,
        lock_fd: int,
        clock: Clock,
        say: Say,
        ready: Ready,
    ) -> None:
        self._settings = settings
        self._sock = sock
        self._lock_fd = lock_fd
        self._clock = clock
        self._say = say
        self._ready: Ready | None = ready
        self._leash = Leash()
        self._file = UpFile(settings.home)
        self._children: dict[str, Child] = {}
        self._began_ns = clock.now_ns()
        self._began_wall_ns = clock.wall_ns()
        self._asked: list[int] = []  # signals that ask us to stop
        self._woken = -1

    def run(self, roles: dict[str, Callable[[int], None]]) -> int:
        """Start the children, keep them, and stop them when told."""
        with _wakeups() as self._woken:
            try:
                self._children = {role: Child(role, main) for role, main in roles.items()}
                for child in self._children.values():
                    self._start(child)
                while not self._asked:
                    self._wait(self._next_due_s())
                    self._keep()
                    self._greet()
                return self._stop()
            except BaseException:
                self._kill_all()
                raise
            finally:
                self._file.remove()

    # -- keeping ---------------------------------------------------------------------------------

    def _start(self, child: Child) -> None:
        close = [self._lock_fd, self._woken]
        if child.role != "gateway":
            close.append(self._sock.fileno())
        fork(child, self._leash, close, self._clock.now_ns())
        _LOG.info("started", role=child.role, pid=child.pid, deaths=child.deaths)
        self._write()

    def _keep(self) -> None:
        now_ns = self._clock.now_ns()
        for child in self._children.values():
            if child.pid == 0 and child.due_ns <= now_ns:
                self._start(child)

    def _next_due_s(self) -> float:
        due = [child.due_ns for child in self._children.values() if child.pid == 0]
        if self._ready is not None:
            due.append(self._clock.now_ns() + PROBE_EVERY_NS)
        return max(0, min(due) - self._clock.now_ns()) / SECOND if due else NEVER_S

    def _wait(self, seconds: float) -> None:
        """Sleep until a signal or for so long, then take in what has happened."""
        readable, _, _ = select.select([self._woken], [], [], seconds)
        if readable:
            numbers = os.read(self._woken, 256)
            self._take(numbers)
        self._reap()

    def _take(self, numbers: bytes) -> None:
        for number in numbers:
            if number == signal.SIGHUP and self._settings.tls is not None and not has_terminal():
                # Nobody hung up: it is what daemons are told when there is a new certificate.
                if gateway := self._children["gateway"].pid:
                    os.kill(gateway, signal.SIGHUP)
            elif number != signal.SIGCHLD:
                self._asked.append(number)

    def _reap(self) -> None:
        for child in self._children.values():
            if child.pid and (ended := os.waitpid(child.pid, os.WNOHANG))[0]:
                code = os.waitstatus_to_exitcode(ended[1])
                _LOG.warning("ended", role=child.role, pid=child.pid, code=code)
                child.died(self._clock.now_ns())

    def _write(self) -> None:
        me = identity(os.getpid())
        assert me is not None, os.getpid()
        children = tuple((c.role, c.who) for c in self._children.values() if c.who is not None)
        url = url_of(self._sock, self._settings)
        up = Up(supervisor=me, url=url, started_wall_ns=self._began_wall_ns, children=children)
        try:
            self._file.write(up)
        except OSError as error:  # a full disk must not end what serves
            _LOG.error("cannot write up.json: `glowplug down` may not find us", error=str(error))

    def _greet(self) -> None:
        """Say that the router is up, once, when it has answered."""
        if self._ready is None:
            return
        url = url_of(self._sock, self._settings)
        if answers(self._sock, "/readyz?controller", is_tls=self._settings.tls is not None):
            self._say(_banner(url, self._settings))
            self._ready(url)
            self._ready = None
            _LOG.info("ready", url=url, ns=self._clock.now_ns() - self._began_ns)
        elif self._clock.now_ns() - self._began_ns > READY_MAX_NS:
            folder = Folders(self._settings.home).system_logs
            raise ConfigError(
                f"the router at {url} is not ready after {READY_MAX_NS // SECOND} s",
                hint=f"`glowplug logs --system` or {folder} says why; `glowplug doctor` looks for causes",
            )

    # -- stopping --------------------------------------------------------------------------------

    def _stop(self) -> int:
        """Stop the gateway first: it answers what it has. Then the replicas, through the controller. Then the agent.

        The agent ends what the controller has not, and what a dead agent left is killed here: nothing runs on.
        """
        self._asked.clear()
        keep = self._settings.keep
        self._end("gateway", signal.SIGTERM, self._settings.drain_ns)
        self._end("controller", signal.SIGTERM if keep else DRAIN_SIGNAL, CONTROLLER_STOP_NS)
        self._end("agent", signal.SIGTERM if keep else END_RANKS_SIGNAL, AGENT_STOP_NS)
        if not keep and (left := adoption.end_all(Folders(self._settings.home))):
            _LOG.warning("killed replicas that neither controller nor agent ended", count=left)
        if not keep:
            run_folder.release(self._settings.home)
        _LOG.info("stopped", keep=keep)
        return 0

    def _end(self, role: str, number: int, limit_ns: int) -> None:
        """Ask a child to end, and kill it when it does not, or when we are asked a second time."""
        child = self._children[role]
        deadline_ns = self._clock.now_ns() + limit_ns + KILL_AFTER_NS
        if child.pid:
            os.kill(child.pid, number)
        while child.pid and not self._asked and self._clock.now_ns() < deadline_ns:
            self._wait((deadline_ns - self._clock.now_ns()) / SECOND)
        self._kill(child)

    def _kill(self, child: Child) -> None:
        if child.pid:
            os.kill(child.pid, signal.SIGKILL)
            os.waitpid(child.pid, 0)
            child.pid = 0

    def _kill_all(self) -> None:
        for child in self._children.values():
            self._kill(child)


def has_terminal() -> bool:
    """Say whether this process belongs to a terminal, which can hang up."""
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY))
    except OSError:
        return False
    return True


def answers(sock: socket.socket, path: str, *, is_tls: bool = False) -> bool:
    """Say whether what listens on this socket answers a GET with 200."""
    host, port = sock.getsockname()[:2]
    near = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104  # compared, not bound
    request = f"GET {path} HTTP/1.1\r\nHost: localhost:{port}\r\nConnection: close\r\n\r\n"
    try:
        with socket.create_connection((near, port), PROBE_MAX_S) as plain:
            client = _wrapped(plain) if is_tls else plain
            client.sendall(request.encode())
            return client.recv(64).startswith(b"HTTP/1.1 200")
    except OSError:
        return False


def _wrapped(sock: socket.socket) -> socket.socket:
    import ssl  # lazily: only where TLS is spoken

    # It is our own socket that is asked whether it answers; whose certificate it shows is for clients to check.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context.wrap_socket(sock)


@contextmanager
def _wakeups() -> Iterator[int]:
    """Lend a descriptor that becomes readable with every signal; its bytes are the signals' numbers."""
    reading, writing = os.pipe()
    os.set_blocking(reading, False)
    os.set_blocking(writing, False)
    before = {number: signal.signal(number, _nothing) for number in _SIGNALS}
    signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    try:
        yield reading
    finally:
        signal.set_wakeup_fd(-1)
        for number, handler in before.items():
            signal.signal(number, handler)
        os.close(reading)
        os.close(writing)


def _nothing(number: int, frame: object) -> None:
    """Let the signal interrupt, so that its number is written to the wakeup descriptor."""


def _banner(url: str, settings: UpSettings) -> str:
    tls = settings.tls
    trust = f"  trust    {tls.ca}, for clients that are not ours: curl --cacert\n" if tls else ""
    return (
        f"glowplug serves at {url}\n"
        f"  deploy   glowplug deploy app.py\n"
        f"  call     glowplug call APP/ENDPOINT -i name=value, or the curl line that deploy prints\n"
        f"  key      profile `local` in {settings.home.profiles}; `glowplug keys create` makes more\n{trust}"
        f"  stop     glowplug down"
    )
