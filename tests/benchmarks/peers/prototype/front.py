"""How little can a front cost? An httptools protocol and frames to one worker, nothing else: `front.py PORT SOCKET`.

No queue, no keys, no limits, no metrics: the floor that a real gateway is compared with.
"""

import asyncio
import sys

import httptools
import uvloop
from frames import ANSWER, CALL, CHUNK, JOINED_MAX, OPERATIONS, Frames

JSON = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: "
BYTES = b"HTTP/1.1 200 OK\r\ncontent-type: application/octet-stream\r\ncontent-length: "
EVENTS = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
NOT_FOUND = b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n"


class Hop(Frames):
    """The front's end of the Unix socket: which connection waits for which call."""

    def __init__(self):
        super().__init__()
        self._waiting = {}
        self._last = 0

    def call(self, operation, body, front):
        self._last = number = (self._last + 1) & 0xFFFFFFFF
        self._waiting[number] = front
        self.send(number, CALL, body, bytes((operation,)))

    def frame(self, call, kind, body):
        front = self._waiting[call] if kind == CHUNK else self._waiting.pop(call)
        front.answer(kind, body)


class Front(asyncio.Protocol):
    """One HTTP connection."""

    def __init__(self, hop):
        self._hop = hop
        self._parser = httptools.HttpRequestParser(self)

    def connection_made(self, transport):
        self._transport = transport

    def data_received(self, data):
        self._parser.feed_data(data)

    def on_message_begin(self):
        self._url = b""
        self._body = []
        self._headers = {}
        self._begun = False

    def on_url(self, url):
        self._url += url

    def on_header(self, name, value):
        self._headers[name.lower()] = value

    def on_body(self, body):
        self._body.append(body)

    def on_message_complete(self):
        self._operation = OPERATIONS.get(self._url)
        if self._operation is None:
            self._transport.write(NOT_FOUND)
            return
        body = self._body[0] if len(self._body) == 1 else b"".join(self._body)
        self._hop.call(self._operation, body, self)

    def answer(self, kind, body):
        if self._transport.is_closing():
            return
        if kind == ANSWER:
            head = (JSON if self._operation == 0 else BYTES) + b"%d\r\n\r\n" % len(body)
            if len(body) <= JOINED_MAX:
                self._transport.write(head + body)
            else:
                self._transport.write(head)
                self._transport.write(body)
        elif kind == CHUNK:
            piece = b"%x\r\n%b\r\n" % (len(body), body)
            self._transport.write(piece if self._begun else EVENTS + piece)
            self._begun = True
        else:
            self._transport.write(b"0\r\n\r\n")


async def main(port, path):
    loop = asyncio.get_running_loop()
    for _ in range(2000):
        try:
            _, hop = await loop.create_unix_connection(Hop, path)
            break
        except OSError:
            await asyncio.sleep(0.005)
    else:
        raise SystemExit("no worker")
    server = await loop.create_server(lambda: Front(hop), "127.0.0.1", port, backlog=1024)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1]), sys.argv[2]))
