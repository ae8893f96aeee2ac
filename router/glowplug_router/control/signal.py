"""How does a task wait for the next change without missing the one that happens while it works?"""

import anyio


class Signal:
    """A counter that can be waited on: remember `count`, work, then wait for it to have moved."""

    def __init__(self) -> None:
        self.count = 0
        self._event = anyio.Event()

    def fire(self) -> None:
        """Wake everybody who waits."""
        self.count += 1
        self._event.set()
        self._event = anyio.Event()

    async def after(self, count: int) -> int:
        """Wait until the count is no longer `count`, and return it."""
        while self.count == count:
            await self._event.wait()
        return self.count
