"""What may code do about other endpoints while its own replica is not serving yet? Nothing: it has no gateway to ask.

Hooks and the warm-up run with a transport that says so. Without it `g.remote()` would fall back to whatever profile the
machine's user has, which is another identity and maybe another router.
"""

from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import NoReturn

from glowplug import context
from glowplug.context import Answer, CallContext, Outgoing
from glowplug.errors import UnavailableError
from glowplug.spec import EndpointSpec, qualified


class CalledOutError(UnavailableError):
    """Code called another endpoint before its own replica served."""


class _NoGateway:
    def call(self, outgoing: Outgoing) -> Answer:
        _refuse(outgoing)

    async def acall(self, outgoing: Outgoing) -> Answer:
        _refuse(outgoing)

    def stream(self, outgoing: Outgoing) -> Iterator[bytes]:
        _refuse(outgoing)

    def astream(self, outgoing: Outgoing) -> AsyncIterator[bytes]:
        _refuse(outgoing)


def _refuse(outgoing: Outgoing) -> NoReturn:
    name = qualified(outgoing.app, outgoing.endpoint)
    raise CalledOutError(
        f"{name} cannot be called while this replica is not serving",
        hint="call other endpoints from the handler, not from a lifecycle hook",
        executed="no",
    )


@contextmanager
def offline(spec: EndpointSpec, version: str) -> Iterator[None]:
    """Run code of the start: what it calls elsewhere is refused with the reason."""
    call = CallContext(
        request_id="",
        app=spec.app,
        endpoint=spec.name,
        version=version,
        tenant="",
        klass="standard",
        deadline_ns=0,
        transport=_NoGateway(),
    )
    token = context.current.set(call)
    try:
        yield
    finally:
        context.current.reset(token)


def called_out(error: BaseException | None) -> bool:
    """Say whether an error comes from such a refusal, also where user code wrapped it in one of its own."""
    while error is not None:
        if isinstance(error, CalledOutError):
            return True
        error = error.__cause__ or error.__context__
    return False
