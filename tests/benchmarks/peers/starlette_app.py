"""What does bare uvicorn with starlette serve in the comparison? One process, no hop, no queue, no keys."""

import workload
from starlette.applications import Starlette
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route


async def echo(request):
    return JSONResponse(workload.echo(await request.json()))


async def blob(request):
    return Response(await request.body(), media_type="application/octet-stream")


async def _events():
    for event in workload.EVENTS:
        yield event


async def stream(request):
    await request.body()
    return StreamingResponse(_events(), media_type="text/event-stream")


app = Starlette(
    routes=[
        Route("/echo", echo, methods=["POST"]),
        Route("/blob", blob, methods=["POST"]),
        Route("/stream", stream, methods=["POST"]),
    ]
)
