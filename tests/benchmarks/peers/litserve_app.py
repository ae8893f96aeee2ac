"""What does LitServe serve in the comparison? The echo, one API server and one worker."""

import os

import litserve
import workload


class Echo(litserve.LitAPI):
    def setup(self, device):
        pass

    def decode_request(self, request):
        return request

    def predict(self, call):
        return workload.echo(call)

    def encode_response(self, output):
        return output


if __name__ == "__main__":
    server = litserve.LitServer(Echo(api_path="/echo"), accelerator="cpu", workers_per_device=1)
    server.run(
        host="127.0.0.1",
        port=int(os.environ["PORT"]),
        num_api_servers=1,
        generate_client_file=False,
        log_level="warning",
        access_log=False,
    )
