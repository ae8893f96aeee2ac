"""How does the gateway stay in touch with the controller? It dials for ever, takes snapshots and sends demand."""

import logging
from collections.abc import Callable

import msgspec
from anyio.abc import TaskGroup

from glowplug.backoff import backoff_ns
from glowplug.clock import MILLISECOND, SECOND, Clock
from glowplug.errors import GlowplugError
from glowplug.wire.channel import Channel, Exchange, dial_channel
from glowplug.wire.messages import Hello
from glowplug_router.gateway.reporter import Reporter
from glowplug_router.gateway.snapshot import decode
from glowplug_router.records.published import Snapshot

_LOG = logging.getLogger("glowplug.gateway")
RETRY_FIRST_NS = 50 * MILLISECOND
RETRY_MAX_NS = SECOND
SNAPSHOT_PATH = "/-/snapshot"
DEMAND_PATH = "/-/demand"


class ControlLink:
    """The channel to the controller, whenever there is one."""

    def __init__(
        self,
        address: str,
        hello: Hello,
        take: Callable[[Snapshot], None],
        reporter: Reporter,
        clock: Clock,
    ) -> None:
        self.channel: Channel | None = None
        self._address = address
        self._hello = hello
        self._take = take
        self._reporter = reporter
        self._clock = clock
        reporter.tell = self._tell

    def current(self) -> Channel | None:
        """Return the channel, None while there is none."""
        return self.channel

    async def run(self, tasks: TaskGroup) -> None:
        """Keep the channel up until cancelled."""
        failures = 0
        while True:
            try:
                channel = await dial_channel(
                    self._address, self._hello, self._asked, tasks.start_soon
                )
            except (OSError, GlowplugError):
                failures += 1
            else:
                await self._stay(channel)
                failures = 1
            await self._clock.sleep(backoff_ns(failures, RETRY_FIRST_NS, RETRY_MAX_NS) / SECOND)

    async def _stay(self, channel: Channel) -> None:
        _LOG.info("connected to the controller")
        self.channel = channel
        self._reporter.everything()
        try:
            await channel.gone()
        finally:
            self.channel = None
            channel.close()
        _LOG.warning("lost the controller; calls go on with the last snapshot")

    def _tell(self, report: bytes) -> bool:
        if self.channel is None or self.channel.closed:
            return False
        self.channel.notify(DEMAND_PATH, report)
        return True

    async def _asked(self, exchange: Exchange) -> None:
        if exchange.infer.path != SNAPSHOT_PATH:
            exchange.fail(
                "not_found", f"a gateway answers {SNAPSHOT_PATH}, not {exchange.infer.path}"
            )
            return
        try:
            self._take(decode(await exchange.body.read()))
        except msgspec.MsgspecError:
            _LOG.exception("the controller sent a snapshot that cannot be read; the last one stays")
        exchange.respond()
