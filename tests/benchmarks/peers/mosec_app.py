"""What does mosec serve in the comparison? The same echo as our own app."""

from mosec import Server, Worker


class Echo(Worker):
    def forward(self, data):
        return {"id": data["id"], "outputs": data["inputs"], "model": "echo", "version": "v1"}


if __name__ == "__main__":
    server = Server()
    server.append_worker(Echo, num=1)
    server.run()
