"""Which router does a verb talk to, and about what?"""

from collections.abc import Iterator
from contextlib import contextmanager

import click

from glowplug.commands.output import Decorated
from glowplug.control_client import Control
from glowplug.errors import CallError, ConfigError, NotFoundError
from glowplug.suggest import did_you_mean

profile_option: Decorated = click.option(
    "--profile", metavar="NAME", default=None, help="The router to use; else the current profile's."
)


def parts_of(word: str) -> tuple[str, str]:
    """Return (app, endpoint) of "app/endpoint"; the endpoint is empty when only an app was named."""
    app, _, endpoint = word.strip("/").partition("/")
    return app, endpoint.partition("@")[0]


def app_of(word: str, verb: str) -> str:
    """Return the app that a verb is about, which an endpoint does not name: its whole app would be meant.

    Raises:
        ConfigError: It is more than an app's name.
    """
    app = word.strip("/")
    if "/" in app:
        raise ConfigError(
            f"`{word}` names an endpoint; {verb} is about a whole app",
            hint=f"`glowplug {verb} {app.partition('/')[0]}`",
        )
    return app


def endpoint_of(word: str, example: str) -> tuple[str, str, str]:
    """Return (app, endpoint, version) of "app/endpoint@v2".

    Raises:
        ConfigError: It names no endpoint.
    """
    path, _, version = word.strip("/").partition("@")
    app, _, name = path.partition("/")
    if not app or not name or "/" in name:
        raise ConfigError(f"`{word}` is not APP/ENDPOINT", hint=f"for example `{example}`")
    return app, name, version


@contextmanager
def known(control: Control, app: str, endpoint: str = "") -> Iterator[None]:
    """Add to `not found` which app or endpoint may have been meant."""
    try:
        yield
    except NotFoundError as error:
        if error.code == "not_found":
            error.hint = (
                f"{_meant(control, app, endpoint)}; `glowplug status` lists what is deployed"
            )
        raise


def _meant(control: Control, app: str, endpoint: str) -> str:
    try:
        apps = control.get("/apps")["apps"]
    except CallError:
        return "see what there is"
    if not endpoint:
        return did_you_mean(app, [one["app"] for one in apps])
    names = [f"{one['app']}/{two['endpoint']}" for one in apps for two in one["endpoints"]]
    return did_you_mean(f"{app}/{endpoint}", names)
