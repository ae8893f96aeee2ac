"""What answers behind the prototype's front? An asyncio worker on a Unix socket: `worker.py SOCKET`."""

import asyncio
import json
import sys
from pathlib import Path

import uvloop
from frames import ANSWER, CHUNK, END, Frames

sys.path.insert(0, str(Path(__file__).parents[1]))
import workload


class Worker(Frames):
    def connection_made(self, transport):
        super().connection_made(transport)
        self._loop = asyncio.get_running_loop()
        self._tasks = set()

    def frame(self, call, kind, body):
        task = self._loop.create_task(self._run(call, body[0], body[1:]))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _run(self, call, operation, body):
        if operation == 0:
            self.send(call, ANSWER, json.dumps(workload.echo(json.loads(body))).encode())
        elif operation == 1:
            self.send(call, ANSWER, body)
        else:
            for event in workload.EVENTS:
                self.send(call, CHUNK, event)
            self.send(call, END, b"")


async def main(path):
    server = await asyncio.get_running_loop().create_unix_server(Worker, path)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1]))
