"""What do we serve in the comparison of bodies and streams? Bytes as they came, and a hundred tokens."""

from collections.abc import AsyncIterator, Iterator

from workload import TOKENS

from glowplug import Scale, endpoint

SCALE = Scale(min=1, max=1, hold=256)


@endpoint(app="payload", scale=SCALE)
def blob(data: bytes) -> bytes:
    return data


@endpoint(app="payload", scale=SCALE, examples=[{"id": "a"}])
def stream(id: str) -> Iterator[dict[str, str]]:
    for token in TOKENS:
        yield {"token": token}


@endpoint(app="payload", scale=SCALE, examples=[{"id": "a"}])
async def stream_async(id: str) -> AsyncIterator[dict[str, str]]:
    for token in TOKENS:
        yield {"token": token}
