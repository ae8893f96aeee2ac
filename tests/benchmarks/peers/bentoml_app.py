"""What does BentoML serve in the comparison? The echo, one worker, access log off."""

from typing import Any

import bentoml
import workload


@bentoml.service(
    workers=1,
    traffic={"timeout": 60, "max_concurrency": 512},
    logging={"access": {"enabled": False}},
)
class Peer:
    @bentoml.api(route="/echo")
    async def echo(self, id: str, inputs: list[Any]) -> dict[str, Any]:
        return workload.echo({"id": id, "inputs": inputs})
