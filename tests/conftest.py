"""What every test runs under: one loop, no network beyond this machine, the same examples each time."""

import ipaddress
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator

import pytest
from hypothesis import settings

from glowplug.settings import set_environment, variable

# Derandomised: what is red here is red on the next machine. To search further, raise max_examples
# in the test at hand.
settings.register_profile("glowplug", derandomize=True, database=None, deadline=None)
settings.load_profile("glowplug")


RUN_FOLDERS = tempfile.mkdtemp(prefix="gp-")  # short: sockets of homes with long paths lie below it


def pytest_configure() -> None:
    """Have what homes put below the temporary folder in one of this run, which is removed at its end."""
    kept = variable("PYTEST_DEBUG_TEMPROOT", tempfile.gettempdir())  # tmp_path stays there
    set_environment({"PYTEST_DEBUG_TEMPROOT": kept, "TMPDIR": RUN_FOLDERS})
    tempfile.tempdir = RUN_FOLDERS
    # A runner that was started in the background ignores Ctrl-C, and so would every process the tests start.
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_unconfigure() -> None:
    shutil.rmtree(RUN_FOLDERS, ignore_errors=True)


class Fence:
    """Refuse connections and look-ups that would leave this machine.

    An audit hook sees every Python socket, whoever opens it, and needs nothing patched. It cannot
    be taken out again, hence the switch. Child processes and uvloop's own sockets are not seen.
    """

    def __init__(self) -> None:
        self.closed = False

    def __call__(self, event: str, args: tuple[object, ...]) -> None:
        if not self.closed:
            return
        match event, args:
            case "socket.connect" | "socket.sendto", (_, (str(host), *_)):
                self.refuse_unless_near(host)
            case "socket.getaddrinfo", (str(host), *_):
                self.refuse_unless_near(host)
            case _:
                pass

    def refuse_unless_near(self, host: str) -> None:
        if not is_near(host):
            message = f"a test tried to reach {host}; mark it `aws` if it has to"
            raise PermissionError(message)


def is_near(host: str) -> bool:
    """Say whether `host` is this machine, without asking a name server."""
    if host in {"", "localhost"}:
        return True
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return False
    return address.is_loopback or address.is_unspecified


FENCE = Fence()
sys.addaudithook(FENCE)


@pytest.fixture(autouse=True)
def network_stops_at_loopback(request: pytest.FixtureRequest) -> Iterator[None]:
    FENCE.closed = request.node.get_closest_marker("aws") is None
    yield
    FENCE.closed = False


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"
