"""How does a router come up on this machine, and go down?"""

import sys
from pathlib import Path

import click

from glowplug.clock import SECOND, SystemClock
from glowplug.commands.inflight import calls_in_flight, waiting_words
from glowplug.commands.output import Output, verb
from glowplug.errors import ConfigError, DefinitionError
from glowplug.profiles import load
from glowplug.settings import Home, home
from glowplug.units import size_bytes
from glowplug_router.settings import PORT, Tls, UpSettings
from glowplug_router.supervisor.detach import run_detached
from glowplug_router.supervisor.main import run_up
from glowplug_router.supervisor.up_file import STOP_MAX_NS, Up, running
from glowplug_router.supervisor.up_file import down as stop_router


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Where to listen.")
@click.option("--port", default=PORT, show_default=True, help="0 takes a free one.")
@click.option(
    "--allow-host",
    "hosts",
    multiple=True,
    metavar="NAME",
    help="A name it answers to, besides loopback's.",
)
@click.option(
    "--allow-origin", "origins", multiple=True, metavar="URL", help="A web page that may call it."
)
@click.option(
    "--body-limit",
    default="64MiB",
    show_default=True,
    metavar="SIZE",
    help="Larger bodies are refused.",
)
@click.option(
    "--detach", is_flag=True, help="Return when it answers; it runs on in the background."
)
@click.option(
    "--keep", is_flag=True, help="When it stops, leave replicas for the next `up` to adopt."
)
@click.option(
    "--record",
    metavar="DIR",
    help="Keep a line of each call, and every plan, for `glowplug simulate --from DIR`.",
)
@click.option(
    "--advisory",
    "advised",
    multiple=True,
    metavar="APP",
    help="Only say what this app (`*`: every app) would get: `why` shows it.",
)
@click.option("--tls", is_flag=True, help="HTTPS, with a certificate that it makes and renews.")
@click.option("--tls-cert", metavar="FILE", help="HTTPS, with a certificate of your own (PEM).")
@click.option("--tls-key", metavar="FILE", help="Its key.")
@verb
def up(
    out: Output,
    host: str,
    port: int,
    hosts: tuple[str, ...],
    origins: tuple[str, ...],
    body_limit: str,
    detach: bool,
    keep: bool,
    record: str | None,
    advised: tuple[str, ...],
    tls: bool,
    tls_cert: str | None,
    tls_key: str | None,
) -> None:
    """Start the router and a node on this machine: gateway, controller and agent.

    The first start makes a key and the profile `local`. Authentication is always on.
    """
    settings = UpSettings(
        host=host,
        port=port,
        hosts=hosts,
        origins=origins,
        body_max_bytes=_size(body_limit),
        keep=keep,
        tls=_tls(tls, tls_cert, tls_key),
        advised=advised,
        record=str(Path(record).absolute()) if record else "",
    )

    def ready(url: str) -> None:
        if not detach:
            out.note("Ctrl-C stops it")
        out.result({"event": "up", "url": url, "home": str(settings.home.root)})
        sys.stdout.flush()

    if detach:
        ready(run_detached(settings, out.say))
    else:
        sys.exit(run_up(settings, out.say, ready))


def _tls(own: bool, cert: str | None, key: str | None) -> Tls | None:
    if (cert is None) != (key is None):
        raise ConfigError(
            "--tls-cert and --tls-key go together",
            hint="`glowplug up --tls-cert fullchain.pem --tls-key privkey.pem`; `--tls` alone makes a pair",
        )
    if cert is not None and key is not None:
        return Tls(cert=str(Path(cert).absolute()), key=str(Path(key).absolute()))
    return Tls() if own else None


def _size(text: str) -> int:
    try:
        return size_bytes(text, "--body-limit")
    except DefinitionError as error:
        raise ConfigError(error.message, hint=error.hint) from error


@click.command()
@verb
def down(out: Output) -> None:
    """Stop the router of this machine: calls in flight finish, replicas end."""
    place = home()
    found = running(place)
    calls = _calls(place, found)
    if calls:
        out.note(waiting_words(calls, STOP_MAX_NS / SECOND))
    stopped = stop_router(place, SystemClock())
    if stopped and found is not None:
        out.say(f"stopped the router at {found.url} (pid {found.pid})")
    else:
        out.say(f"no router runs in {place.root}")
    out.result({"stopped": stopped})


def _calls(place: Home, up: Up | None) -> int:
    """Return how many calls the router of this home works on, as far as it says."""
    if up is None:
        return 0
    local = load(place.profiles).places.get("local")
    return calls_in_flight(up.url, local.key, local.ca) if local is not None else 0
