"""What does mosec serve in the comparison? Echo, bytes, a stream or the batched model, as MODE says."""

import os

import workload
from mosec import Server, SSEWorker, Worker


class Echo(Worker):
    def forward(self, data):
        return workload.echo(data)


class Blob(Worker):
    resp_mime_type = "application/octet-stream"

    def deserialize(self, data):
        return data

    def serialize(self, data):
        return data

    def forward(self, data):
        return data


class Stream(SSEWorker):
    def forward(self, data):
        for token in workload.TOKENS_JSON:
            self.send_stream_event(token)
        return data


class Predict(Worker):
    def __init__(self):
        workload.weights()

    def forward(self, rows):
        return [{"y": y} for y in workload.predict_batch([row["x"] for row in rows])]


def main():
    server = Server()
    match os.environ.get("MODE", "echo"):
        case "echo":
            server.append_worker(Echo, num=1)
        case "blob":
            server.append_worker(Blob, num=1)
        case "stream":
            server.append_worker(Stream, num=1)
        case "predict":
            wait_ms = int(workload.BATCH_WAIT_S * 1000)
            server.append_worker(
                Predict, num=1, max_batch_size=workload.BATCH_MAX, max_wait_time=wait_ms
            )
    server.run()


if __name__ == "__main__":
    main()
