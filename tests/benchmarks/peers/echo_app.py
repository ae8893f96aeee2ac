"""What do we serve in the comparison? The same echo as mosec, as a plain function and as an async one."""

from typing import Any

from glowplug import Scale, endpoint

SCALE = Scale(min=1, max=1, hold=256)
EXAMPLES = [{"id": "a", "inputs": []}]


@endpoint(app="bench", scale=SCALE, examples=EXAMPLES)
def echo(id: str, inputs: list[Any]) -> dict[str, Any]:
    return {"id": id, "outputs": inputs, "model": "echo", "version": "v1"}


@endpoint(app="bench", scale=SCALE, examples=EXAMPLES)
async def echo_async(id: str, inputs: list[Any]) -> dict[str, Any]:
    return {"id": id, "outputs": inputs, "model": "echo", "version": "v1"}
