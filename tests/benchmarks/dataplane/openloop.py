"""What does a caller see at a fixed rate? Latency from the moment a call was due: a stall counts for all it held up.

A program of its own, so that it can be kept on a CPU: one JSON document on stdin, one JSON line on stdout.
"""

import json
import select
import socket
import sys
import time
from typing import Any

import httptools

from dataplane.answers import alike

NEAR_S = 0.0012  # closer to the next call than this it polls: a sleep would overshoot
EARLY_S = 0.0008
LOST_S = 5.0  # how long after the last call answers may still come


class Connection:
    """One keep-alive connection with at most one call on it."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.setblocking(False)
        self.due = 0.0
        self._begin()

    def _begin(self) -> None:
        self.parser = httptools.HttpResponseParser(self)
        self.body = b""
        self.is_done = False
        self.is_last = False

    def send(self, request: bytes, due: float) -> None:
        """Send a call; it is small enough for the socket's buffer."""
        self.due = due
        self.is_done = False
        self.body = b""
        self.socket.send(request)

    def receive(self) -> bool:
        """Read what there is; say whether the answer is whole."""
        try:
            data = self.socket.recv(65536)
        except BlockingIOError:
            return False
        except OSError:
            data = b""
        if not data:
            self.is_last = True
            return False
        self.parser.feed_data(data)
        return self.is_done

    def on_body(self, body: bytes) -> None:
        """Take a piece of the body."""
        self.body += body

    def on_message_complete(self) -> None:
        """Note that the answer is whole."""
        self.is_done = True
        self.is_last = not self.parser.should_keep_alive()

    @property
    def status(self) -> int:
        """Return the answer's status."""
        return int(self.parser.get_status_code())


class Run:
    """One run at one rate over one or more requests, in turn."""

    def __init__(self, spec: dict[str, Any]) -> None:
        self.port = int(spec["port"])
        self.requests = [_request(one) for one in spec["requests"]]
        self.rate, self.total = float(spec["rate"]), int(spec["rate"] * spec["seconds"])
        self.expect = spec["expect"]
        self.slo_s = float(spec.get("slo_s", 0))
        self.latencies: list[float] = []
        self.statuses: dict[str, int] = {}
        self.wrong = self.lost = self.within = self.finished = 0
        self.epoll = select.epoll()
        self.open: dict[int, Connection] = {}
        self.idle = [self._connect() for _ in range(8)]

    def _connect(self) -> Connection:
        connection = Connection(self.port)
        self.epoll.register(connection.socket.fileno(), select.EPOLLIN)
        self.open[connection.socket.fileno()] = connection
        return connection

    def go(self) -> dict[str, Any]:
        """Send every call when it is due, and wait for the last answers."""
        clock = time.perf_counter
        begun = clock() + 0.05
        end = begun + self.total / self.rate + LOST_S
        sent = 0
        while self.finished < self.total and clock() < end:
            due = begun + sent / self.rate
            if sent < self.total and clock() >= due:
                connection = self.idle.pop() if self.idle else self._connect()
                connection.send(self.requests[sent % len(self.requests)], due)
                sent += 1
            elif sent == self.finished and sent < self.total and due - clock() > NEAR_S:
                time.sleep(max(0.0, due - clock() - EARLY_S))
            self._poll(clock)
        self.lost += self.total - self.finished
        return self.summary()

    def _poll(self, clock: Any) -> None:
        for number, _ in self.epoll.poll(0):
            connection = self.open[number]
            if connection.receive():
                self._finish(connection, clock() - connection.due)
            elif connection.is_last:
                self._drop(connection)

    def _finish(self, connection: Connection, latency_s: float) -> None:
        self.finished += 1
        status = connection.status
        self.statuses[str(status)] = self.statuses.get(str(status), 0) + 1
        if status == 200:
            if alike(json.loads(connection.body), self.expect):
                self.latencies.append(latency_s)
                self.within += latency_s <= self.slo_s
            else:
                self.wrong += 1
        if connection.is_last:
            self._drop(connection)
        else:
            self.idle.append(connection)

    def _drop(self, connection: Connection) -> None:
        self.epoll.unregister(connection.socket.fileno())
        del self.open[connection.socket.fileno()]
        connection.socket.close()
        if connection in self.idle:
            self.idle.remove(connection)
        elif not connection.is_done:
            self.finished += 1
            self.lost += 1

    def summary(self) -> dict[str, Any]:
        """Return the line."""
        ordered = sorted(self.latencies)

        def at(share: float) -> float:
            return ordered[min(len(ordered) - 1, int(share * len(ordered)))] * 1000

        return {
            "n": self.total,
            "ok": len(ordered),
            "wrong": self.wrong,
            "lost": self.lost,
            "statuses": self.statuses,
            "within": self.within,
            "p50_ms": at(0.5) if ordered else None,
            "p90_ms": at(0.9) if ordered else None,
            "p99_ms": at(0.99) if ordered else None,
        }


def _request(one: dict[str, Any]) -> bytes:
    body = str(one["body"]).encode()
    head = [f"POST {one['path']} HTTP/1.1", "host: 127.0.0.1", f"content-length: {len(body)}"]
    head += [f"{name}: {value}" for name, value in one["headers"].items()]
    return ("\r\n".join(head) + "\r\n\r\n").encode() + body


if __name__ == "__main__":
    sys.stdout.write(json.dumps(Run(json.load(sys.stdin)).go()) + "\n")
