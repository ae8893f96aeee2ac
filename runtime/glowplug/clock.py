"""What time is it? The only module that asks the machine; everything else takes a `Clock` or `now_ns`."""

import time
from typing import Protocol

MICROSECOND = 1_000
MILLISECOND = 1_000_000
SECOND = 1_000_000_000
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE


class Clock(Protocol):
    """Two readings and a wait: durations come from `now_ns`, dates from `wall_ns`."""

    def now_ns(self) -> int:
        """Return monotonic nanoseconds: only differences mean anything."""
        ...

    def wall_ns(self) -> int:
        """Return nanoseconds since the Unix epoch, for people and for records that outlive the process."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Wait; a manual clock returns as soon as it has been moved past the wake-up."""
        ...


class SystemClock:
    """The machine's clock."""

    # The functions themselves: a method around each would double what a reading costs, and a call takes several.
    now_ns = staticmethod(
        time.monotonic_ns
    )  # CLOCK_MONOTONIC, which all processes of one host share
    wall_ns = staticmethod(time.time_ns)

    async def sleep(self, seconds: float) -> None:
        """Wait for real."""
        import anyio  # lazily: `import glowplug` must stay light

        await anyio.sleep(seconds)


class ManualClock:
    """A clock that moves only when told to; ships with the product because the simulator needs it."""

    def __init__(self, start_ns: int = 0, wall_ns: int = 1_700_000_000 * SECOND) -> None:
        self._now_ns = start_ns
        self._wall_offset_ns = wall_ns - start_ns

    def now_ns(self) -> int:
        """Return the time last set."""
        return self._now_ns

    def wall_ns(self) -> int:
        """Return the time last set, as a date."""
        return self._now_ns + self._wall_offset_ns

    def advance(self, by_ns: int) -> None:
        """Move forward; moving back would break every user of a monotonic clock."""
        assert by_ns >= 0, by_ns
        self._now_ns += by_ns

    def step_wall(self, by_ns: int) -> None:
        """Make the date jump, as an NTP correction does; durations stay true."""
        self._wall_offset_ns += by_ns

    async def sleep(self, seconds: float) -> None:
        """Let other tasks run until somebody has advanced the clock far enough."""
        from anyio.lowlevel import checkpoint

        until_ns = self._now_ns + int(seconds * SECOND)
        while self._now_ns < until_ns:
            await checkpoint()
