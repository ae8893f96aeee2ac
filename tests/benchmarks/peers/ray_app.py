"""What does Ray Serve serve in the comparison? The echo, one replica, plain Starlette requests; loopback only."""

import os
import signal
from pathlib import Path

import ray
import workload
from ray import serve
from ray.serve.config import HTTPOptions
from ray.serve.schema import LoggingConfig
from starlette.requests import Request

QUIET = LoggingConfig(enable_access_log=False, log_level="ERROR")


def stay_on_loopback():
    """Bind the replica's own gRPC port to loopback: it would open it on all interfaces, and has no setting for it."""
    from grpc.aio import _server

    everywhere = _server.Server.add_insecure_port

    def add_insecure_port(server, address):
        return everywhere(server, address.replace("[::]", "127.0.0.1"))

    _server.Server.add_insecure_port = add_insecure_port


@serve.deployment(
    num_replicas=1,
    max_ongoing_requests=256,
    ray_actor_options={"num_cpus": 0},
    logging_config=QUIET,
)
class Echo:
    def __init__(self):
        stay_on_loopback()

    async def __call__(self, request: Request):
        return workload.echo(await request.json())


def main():
    ray.init(
        num_cpus=2,
        include_dashboard=False,
        logging_level="ERROR",
        log_to_driver=False,
        object_store_memory=200_000_000,
        runtime_env={"env_vars": {"PYTHONPATH": str(Path(__file__).parent)}},
    )
    serve.start(
        http_options=HTTPOptions(host="127.0.0.1", port=int(os.environ["PORT"])),
        logging_config=QUIET,
    )
    serve.run(Echo.bind(), name="echo", route_prefix="/echo")
    signal.sigwait({signal.SIGTERM, signal.SIGINT})
    serve.shutdown()
    ray.shutdown()


if __name__ == "__main__":
    main()
