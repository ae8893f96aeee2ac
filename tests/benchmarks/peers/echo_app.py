"""What do we serve in the comparison? The same echo as mosec."""

from typing import Any

from glowplug import Scale, endpoint


@endpoint(
    name="echo",
    app="bench",
    auth="key",
    concurrency=64,
    scale=Scale(min=1, max=1, hold=256),
    examples=[{"id": "a", "inputs": []}],
)
async def echo(id: str, inputs: list[Any]) -> dict[str, Any]:
    return {"id": id, "outputs": inputs, "model": "echo", "version": "v1"}
