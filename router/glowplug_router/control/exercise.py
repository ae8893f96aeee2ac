"""Does a fresh replica answer? One call of its first example, over its data socket, before it may have traffic.

While it answers, its code may call other endpoints of the app: those calls come back over the same connection and are
carried to the replica that would serve them, one on trial before a live one.
"""

import base64
import json
import re
from collections.abc import Callable

import anyio

from glowplug.clock import SECOND
from glowplug.errors import CallError, UnavailableError, call_error
from glowplug.spec import EndpointSpec, Json
from glowplug.wire.channel import Channel, Exchange, Spawn, dial_channel
from glowplug.wire.messages import Hello, Infer

ANSWER_MAX_BYTES = (
    1024 * 1024
)  # an answer is read this far: it must come, what it says is for the tests
EXERCISE_MAX_NS = 120 * SECOND
_STREAM_BROKE = re.compile(
    rb"^event: error$", re.MULTILINE
)  # a generator that raised after its first item
_HELLO = Hello("gateway", "exercise")

Address = Callable[[str], str]  # "app/endpoint" -> address of a replica, "" when there is none


async def exercise(spec: EndpointSpec, version: str, address: str, address_of: Address) -> int:
    """Call a replica's first example and return the status it answered with.

    Raises:
        CallError: It answered with an error, or not in time.
    """
    limit_s = min(spec.timeouts.run_ns, EXERCISE_MAX_NS) / SECOND
    infer = Infer(
        f"/{spec.name}",
        headers=(
            ("content-type", content_type(spec)),
            ("accept", "application/json, text/event-stream"),
        ),
        endpoint=f"{spec.app}/{spec.name}",
        version=version,
        tenant="exercise",
        timeout_ns=int(limit_s * SECOND),
        request_id=f"exercise-{version.rpartition('@')[2]}",
        call_token="exercise",  # noqa: S106  # no secret: it only names who relays calls made inside
        dev=True,
    )
    with anyio.move_on_after(limit_s) as limit:
        return await _ask(address, infer, body_of(spec), address_of)
    assert limit.cancelled_caught
    raise call_error(
        "run_timeout", f"{version} did not answer its first example within {limit_s:.0f} s"
    )


def content_type(spec: EndpointSpec) -> str:
    """Return the type of the example's body."""
    return "application/octet-stream" if spec.schema.raw_body else "application/json"


def body_of(spec: EndpointSpec) -> bytes:
    """Return the first example as a body: JSON, or what the one parameter of bytes is to take."""
    example: Json = spec.examples[0]
    if not spec.schema.raw_body:
        return json.dumps(example).encode()
    # Bytes are base64 in JSON, as pydantic writes them; the body is the bytes themselves.
    try:
        return base64.urlsafe_b64decode(str(example[spec.schema.raw_body]))
    except (LookupError, TypeError, ValueError) as error:
        message = f"the first example has no bytes for {spec.schema.raw_body}, in base64"
        raise call_error("invalid_request", message, executed="no") from error


async def _ask(address: str, infer: Infer, body: bytes, address_of: Address) -> int:
    """Send the call and read its whole answer."""
    outcome: tuple[int, bytes] | CallError
    async with anyio.create_task_group() as tasks:
        relay = _Relay(address_of, tasks.start_soon)
        try:
            channel = await dial_channel(address, _HELLO, relay.answer, tasks.start_soon)
            try:
                outcome = await _answer(channel, infer, body)
            finally:
                channel.close()
        except CallError as error:  # raised outside of the group, which would wrap it
            outcome = error
        except OSError as error:
            message = f"no replica answers at {address}: {error}"
            outcome = call_error("replica_lost", message, executed="no")
        tasks.cancel_scope.cancel()
    if isinstance(outcome, CallError):
        raise outcome
    status, answer = outcome
    if status >= 400 or _STREAM_BROKE.search(answer):
        raise call_error("endpoint_error", answer.decode("utf-8", "replace"), executed="yes")
    return status


async def _answer(channel: Channel, infer: Infer, body: bytes) -> tuple[int, bytes]:
    head, pieces = await channel.open(infer.path, body, infer=infer)
    answer = b""
    async for piece in pieces:
        answer += piece[: ANSWER_MAX_BYTES - len(answer)]
    return head.status, answer


class _Relay:
    """Carries calls that the exercised code makes to the replicas that would take them."""

    def __init__(self, address_of: Address, spawn: Spawn) -> None:
        self._address_of = address_of
        self._spawn = spawn

    async def answer(self, exchange: Exchange) -> None:
        """Answer one such call."""
        address = self._address_of(exchange.infer.endpoint)
        if not address:
            exchange.fail("not_found", f"{exchange.infer.endpoint} has no ready replica")
            return
        try:
            channel = await dial_channel(address, _HELLO, self.answer, self._spawn)
        except OSError as error:
            exchange.fail("unavailable", f"{exchange.infer.endpoint}: {error}")
            return
        try:
            await _carry(channel, exchange)
        finally:
            channel.close()


async def _carry(channel: Channel, exchange: Exchange) -> None:
    try:
        head, pieces = await channel.open(
            exchange.infer.path, await exchange.body.read(), infer=exchange.infer
        )
        out = exchange.begin(status=head.status, headers=head.headers)
        async for piece in pieces:
            await out.write(piece)
        out.end()
    except UnavailableError:
        exchange.fail("unavailable", f"{exchange.infer.endpoint} has gone", executed="maybe")
    except CallError as error:
        exchange.fail(error.code, error.message, executed=error.executed)
