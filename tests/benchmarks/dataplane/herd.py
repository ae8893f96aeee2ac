"""What happens to very many calls at once? Each caller has a connection, and asks again when it was answered.

A program of its own: one JSON document on stdin, one JSON line on stdout.
"""

import asyncio
import json
import os
import sys
import time
from typing import Any, cast

import httptools
import uvloop

SPREAD_S = 1.0


class Totals:
    """What all callers have seen."""

    def __init__(self, readers: int) -> None:
        self.readers = readers
        self.statuses: dict[str, int] = {}
        self.without_retry_after = 0
        self.answered_s: list[float] = []
        self.all_gone = asyncio.Event()


class Caller(asyncio.Protocol):
    """Sends its calls one after another on one connection."""

    def __init__(self, request: bytes, calls: int, totals: Totals) -> None:
        self._request = request
        self._left = calls
        self._totals = totals

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's do not subclass asyncio's

    def ask(self) -> None:
        """Send the next call; after the last one, leave."""
        if self._left == 0:
            self._transport.close()
            return
        self._left -= 1
        self._has_retry_after = False
        self._asked = time.perf_counter()
        self._parser = httptools.HttpResponseParser(self)
        self._transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Look for when to come back."""
        if name.lower() == b"retry-after":
            self._has_retry_after = True

    def on_message_complete(self) -> None:
        """Count the answer and go on."""
        totals = self._totals
        status = str(self._parser.get_status_code())
        totals.statuses[status] = totals.statuses.get(status, 0) + 1
        if status == "200":
            totals.answered_s.append(time.perf_counter() - self._asked)
        elif not self._has_retry_after:
            totals.without_retry_after += 1
        asyncio.get_running_loop().call_soon(self.ask)

    def connection_lost(self, error: Exception | None) -> None:
        totals = self._totals
        totals.readers -= 1
        if totals.readers == 0:
            totals.all_gone.set()


async def run(spec: dict[str, Any]) -> dict[str, Any]:
    """Connect all callers, let them ask within a second, and wait for their answers."""
    headers = {"host": "127.0.0.1", "content-length": str(len(spec["body"]))} | spec["headers"]
    lines = [
        f"POST {spec['path']} HTTP/1.1",
        *(f"{name}: {text}" for name, text in headers.items()),
    ]
    request = ("\r\n".join(lines) + "\r\n\r\n" + spec["body"]).encode()
    readers = int(spec["connections"])
    totals = Totals(readers)
    loop = asyncio.get_running_loop()
    calls = int(spec["calls"]) // readers
    callers = []
    for _ in range(readers):
        _, caller = await loop.create_connection(
            lambda: Caller(request, calls, totals), "127.0.0.1", spec["port"]
        )
        callers.append(caller)
    # All are there before the first one asks: the herd is the calls, not the connections. It comes within a second,
    # as in virtual time.
    begun = time.perf_counter()
    for number, caller in enumerate(callers):
        loop.call_later(SPREAD_S * number / readers, caller.ask)
    try:
        await asyncio.wait_for(totals.all_gone.wait(), float(spec["seconds"]))
    except TimeoutError:
        pass  # the statuses say how many answers are missing
    answered = sorted(totals.answered_s)
    return {
        "calls": calls * readers,
        "statuses": totals.statuses,
        "unanswered": calls * readers - sum(totals.statuses.values()),
        "refused_without_retry_after": totals.without_retry_after,
        "answered_p50_s": round(answered[len(answered) // 2], 3) if answered else None,
        "took_s": round(time.perf_counter() - begun, 2),
    }


if __name__ == "__main__":
    os.nice(10)  # whoever measures beside it must not wait for it
    sys.stdout.write(json.dumps(uvloop.run(run(json.load(sys.stdin)))) + "\n")
