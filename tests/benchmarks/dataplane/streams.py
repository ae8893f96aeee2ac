"""How many chunks arrive when many read streams at once? The first stream of every reader is read word by word.

A program of its own, so that it can be kept on a CPU: one JSON document on stdin, one JSON line on stdout.
"""

import asyncio
import json
import re
import sys
import time
from typing import Any, cast

import uvloop

MARK = b'"token"'
LAST = b"0\r\n\r\n"  # ends a chunked body
KEPT = 16  # a mark or the end may be cut in two


class Totals:
    """What all readers have seen."""

    def __init__(self, spec: dict[str, Any]) -> None:
        self.chunks = int(spec["chunks"])
        self.end = time.perf_counter() + float(spec["seconds"])
        self.readers = int(spec["connections"])
        self.streams = self.bad = 0
        self.first_s: list[float] = []
        self.last_at = 0.0
        self.all_gone = asyncio.Event()


class Reader(asyncio.Protocol):
    """Reads one stream after another on one connection."""

    def __init__(self, request: bytes, totals: Totals) -> None:
        self._request = request
        self._totals = totals
        self._whole: bytearray | None = bytearray()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's do not subclass asyncio's
        self._ask()

    def _ask(self) -> None:
        self._asked = time.perf_counter()
        if self._asked > self._totals.end:
            self._transport.close()
            return
        self._seen = 0
        self._tail = b""
        self._has_head = self._is_ok = False
        self._transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        if self._whole is not None:
            self._whole += data
        text = self._tail + data
        if not self._has_head:
            at = text.find(b"\r\n\r\n")
            if at < 0:
                self._tail = text
                return
            self._has_head, self._is_ok = True, text.startswith(b"HTTP/1.1 200")
            text = text[at + 4 :]
        found = text.count(MARK)
        if found and not self._seen:
            self._totals.first_s.append(time.perf_counter() - self._asked)
        self._seen += found
        if text.endswith(LAST):
            self._finish()
            return
        # Keep a few bytes, but never a mark that was counted.
        counted = text.rfind(MARK)
        self._tail = text[max(counted + len(MARK) if counted >= 0 else 0, len(text) - KEPT) :]

    def _finish(self) -> None:
        totals = self._totals
        is_right = self._is_ok and self._seen == totals.chunks
        if self._whole is not None:
            numbers = [int(one) for one in re.findall(rb'"tok(\d+)"', self._whole)]
            is_right = is_right and numbers == list(range(totals.chunks))
            self._whole = None
        totals.streams += is_right
        totals.bad += not is_right
        totals.last_at = time.perf_counter()
        self._ask()

    def connection_lost(self, error: Exception | None) -> None:
        totals = self._totals
        totals.readers -= 1
        if time.perf_counter() < totals.end:
            totals.bad += 1
        if totals.readers == 0:
            totals.all_gone.set()


async def run(spec: dict[str, Any]) -> dict[str, Any]:
    """Read until the time is over and the last streams have ended."""
    headers = {
        "host": "127.0.0.1",
        "accept": "text/event-stream",
        "content-type": "application/json",
        "content-length": str(len(spec["body"])),
    } | spec["headers"]
    lines = [
        f"POST {spec['path']} HTTP/1.1",
        *(f"{name}: {text}" for name, text in headers.items()),
    ]
    request = ("\r\n".join(lines) + "\r\n\r\n" + spec["body"]).encode()
    totals = Totals(spec)
    begun = time.perf_counter()
    loop = asyncio.get_running_loop()
    for _ in range(totals.readers):
        await loop.create_connection(lambda: Reader(request, totals), "127.0.0.1", spec["port"])
    try:
        await asyncio.wait_for(totals.all_gone.wait(), float(spec["seconds"]) + 15)
    except TimeoutError:
        totals.bad += totals.readers
    firsts = sorted(totals.first_s)
    return {
        "n": totals.streams,
        "bad": totals.bad,
        "chunks_s": totals.streams * totals.chunks / max(1e-9, totals.last_at - begun),
        "first_p50_ms": firsts[len(firsts) // 2] * 1000 if firsts else None,
    }


if __name__ == "__main__":
    sys.stdout.write(json.dumps(uvloop.run(run(json.load(sys.stdin)))) + "\n")
