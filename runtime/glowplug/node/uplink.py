"""How does the agent reach its controller, whatever happens to that? It dials, and dials again, for ever.

What is asked while there is no connection waits for one; whoever asks bounds the wait. A connection that breaks in the
middle of a layer costs the layer another try.
"""

import logging
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence

import anyio
import msgspec

from glowplug.backoff import backoff_ns
from glowplug.clock import MILLISECOND, SECOND, Clock
from glowplug.errors import CallError, NodeError, UnavailableError
from glowplug.node import logs
from glowplug.node.messages import Desired, LogQuery, Report
from glowplug.wire.channel import Channel, Exchange, Spawn, dial_channel
from glowplug.wire.messages import Hello, Infer, to_json

_LOG = logging.getLogger("glowplug.node")
RETRY_FIRST_NS = 50 * MILLISECOND
RETRY_MAX_NS = 2 * SECOND
GREET_S = 5.0  # a controller that accepts and does not greet is stopped or overloaded

OnDesired = Callable[[Desired], None]
OnLogs = Callable[[LogQuery], AsyncIterator[bytes]]


class Uplink:
    """The agent's end of the control channel."""

    def __init__(self, address: str, hello: Hello, clock: Clock, spawn: Spawn) -> None:
        self.connected = anyio.Event()  # of the present connection, or the next
        self._address = address
        self._hello = hello
        self._clock = clock
        self._spawn = spawn
        self._channel: Channel | None = None
        self._on_desired: OnDesired = _ignore
        self._on_logs: OnLogs = _no_logs

    async def run(
        self, on_desired: OnDesired, on_logs: OnLogs, on_connected: Callable[[], None]
    ) -> None:
        """Keep a connection, until cancelled."""
        self._on_desired, self._on_logs = on_desired, on_logs
        failures = 0
        while True:
            try:
                with anyio.fail_after(GREET_S):
                    channel = await dial_channel(
                        self._address, self._hello, self._answer, self._spawn
                    )
            except (OSError, CallError, TimeoutError) as error:
                _LOG.debug("%s: %s", self._address, error)
                failures += 1
                wait_ns = backoff_ns(failures, RETRY_FIRST_NS, RETRY_MAX_NS)
                await self._clock.sleep(wait_ns / SECOND)
                continue
            failures = 0
            await self._use(channel, on_connected)

    def report(self, report: Report) -> bool:
        """Send a report; False while nobody listens."""
        if self._channel is None:
            return False
        self._channel.notify("/-/report", to_json(report))
        return True

    async def blob(self, digest: str) -> AsyncGenerator[bytes, None]:
        """Yield a layer's bytes."""
        channel = await self._reached()
        asked = Infer("/-/blob", protocol="rpc", query=f"digest={digest}")
        head, incoming = await channel.open("/-/blob", infer=asked)
        if head.status != 200:
            raise NodeError(
                f"the controller does not have {digest}",
                hint="deploy again: missing layers are uploaded then",
            )
        async for piece in incoming:
            yield piece

    async def secrets(self, names: Sequence[str]) -> Mapping[str, str]:
        """Return the values of those that are set."""
        channel = await self._reached()
        _, body = await channel.request("/-/secrets", to_json(list(names)))
        try:
            return msgspec.json.decode(body, type=dict[str, str])
        except msgspec.MsgspecError:
            # Not chained: the decoder's message would quote the body.
            raise UnavailableError("the controller's answer to /-/secrets cannot be read") from None

    async def _use(self, channel: Channel, on_connected: Callable[[], None]) -> None:
        _LOG.info("connected to %s", self._address)
        self._channel = channel
        self.connected.set()
        on_connected()
        try:
            await channel.gone()
        finally:
            self._channel = None
            self.connected = anyio.Event()
            channel.close()
        _LOG.info("the connection to %s is lost; replicas go on", self._address)

    async def _reached(self) -> Channel:
        while self._channel is None:
            await self.connected.wait()
        return self._channel

    async def _answer(self, exchange: Exchange) -> None:
        match exchange.infer.path:
            case "/-/desired":
                self._on_desired(msgspec.json.decode(await exchange.body.read(), type=Desired))
                exchange.respond()
            case "/-/logs":
                await self._send_logs(exchange)
            case path:
                exchange.fail("not_found", f"agents do not answer {path}")

    async def _send_logs(self, exchange: Exchange) -> None:
        query = msgspec.json.decode(await exchange.body.read(), type=LogQuery)
        logs.check(query)
        with anyio.CancelScope() as scope:
            exchange.on_cancel = scope.cancel
            out = exchange.begin(headers=(("content-type", "application/x-ndjson"),))
            async for lines in self._on_logs(query):
                await out.write(lines)
            out.end()


def _ignore(desired: Desired) -> None:
    """Take nothing: the agent is not ready."""


async def _no_logs(query: LogQuery) -> AsyncIterator[bytes]:
    """Have none: the agent is not ready."""
    for line in query.app[:0]:
        yield line.encode()
