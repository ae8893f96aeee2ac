"""Where does the router listen, and may it?"""

import errno
import ipaddress
import socket
from urllib.parse import urlsplit

from glowplug.errors import ConfigError
from glowplug.settings import Home
from glowplug_router.settings import BACKLOG, UpSettings
from glowplug_router.supervisor.up_file import running


def listen(settings: UpSettings) -> socket.socket:
    """Bind and listen; the socket outlives every gateway, so that no connection is ever refused.

    Raises:
        ConfigError: The address is taken, not ours, or open to the network without a name.
    """
    refuse_open_door(settings)
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((settings.host, settings.port))
        sock.listen(BACKLOG)
    except (OSError, OverflowError) as error:
        sock.close()
        raise _bind_error(settings, error) from error
    return sock


def url_of(sock: socket.socket, settings: UpSettings) -> str:
    """Return the URL people on this machine use."""
    host, port = sock.getsockname()[:2]
    if host in {"0.0.0.0", "::"}:  # noqa: S104  # compared, not bound
        host = "127.0.0.1"
    if settings.tls is None:
        scheme = "http"
    else:
        scheme = "https"
        named = [one for one in settings.hosts if one != "*"]
        if named and settings.tls.ca == settings.tls.cert:
            host = named[0].partition(":")[
                0
            ]  # a certificate of one's own has names, and hardly loopback's
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"


def refuse_open_door(settings: UpSettings) -> None:
    """Refuse an address that others can reach, unless the router was told which names it answers to."""
    if is_loopback(settings.host) or settings.hosts:
        return
    how = "" if settings.tls is not None else ", in plain HTTP"
    raise ConfigError(
        f"{settings.host} can be reached from the network{how}",
        hint="name what it is asked for, and take `--tls` or put TLS in front (Caddy, a load balancer):"
        f" `glowplug up --host {settings.host} --allow-host router.example.org --tls`",
    )


def is_loopback(host: str) -> bool:
    """Say whether only this machine can connect to `host`."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _bind_error(settings: UpSettings, error: Exception) -> ConfigError:
    number = getattr(error, "errno", 0)
    if number == errno.EADDRINUSE:
        return ConfigError(
            f"port {settings.port} of {settings.host} is taken{_by_dev(settings)}",
            hint=f"`ss -ltnp 'sport = :{settings.port}'` shows by whom;"
            f" `glowplug up --port {settings.port + 1}` takes another, `--port 0` any free one",
        )
    if number == errno.EACCES:
        return ConfigError(
            f"port {settings.port} is reserved for root",
            hint="use one above 1023: `glowplug up --port 8686`",
        )
    return ConfigError(
        f"cannot listen on {settings.host}:{settings.port}: {error}",
        hint="use an address of this machine: `glowplug up --host 127.0.0.1`",
    )


def _by_dev(settings: UpSettings) -> str:
    """Return that the `glowplug dev` of this home has the port, if it has: it names itself in its lock file."""
    place = Home(settings.home.root / "dev")
    up = running(place)
    if up is None or urlsplit(up.url).port != settings.port:
        return ""
    try:
        pid, _, folder = (place.root / "dev.lock").read_text().strip().partition("\n")
    except OSError:
        return ""
    return f" by `glowplug dev` (pid {pid}, in {folder})"
