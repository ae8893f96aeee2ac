"""How do front and worker of the prototype talk? Frames of length, call and kind, many calls on one Unix socket."""

import asyncio
import struct

HEAD = struct.Struct("<IIB")
CALL, ANSWER, CHUNK, END = 1, 2, 3, 4
OPERATIONS = {b"/echo": 0, b"/blob": 1, b"/stream": 2}
JOINED_MAX = 16 * 1024  # smaller bodies are copied behind their head: one write is cheaper than two


class Frames(asyncio.Protocol):
    """Cuts frames out of the stream."""

    def __init__(self):
        self.transport = None
        self._rest = bytearray()

    def connection_made(self, transport):
        self.transport = transport

    def send(self, call, kind, body, prefix=b""):
        head = HEAD.pack(len(prefix) + len(body), call, kind) + prefix
        if len(body) <= JOINED_MAX:
            self.transport.write(head + body)
        else:
            self.transport.write(head)
            self.transport.write(body)

    def data_received(self, data):
        rest = self._rest
        if rest:
            rest += data
            view = memoryview(rest)
        else:
            view = memoryview(data)
        at, size = 0, len(view)
        while size - at >= HEAD.size:
            length, call, kind = HEAD.unpack_from(view, at)
            end = at + HEAD.size + length
            if end > size:
                break
            self.frame(call, kind, bytes(view[at + HEAD.size : end]))
            at = end
        left = bytes(view[at:])
        view.release()
        if rest:
            del rest[:at]
        elif left:
            rest += left

    def frame(self, call, kind, body):
        raise NotImplementedError
