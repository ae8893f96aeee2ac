"""How does asynchronous code run? As one task on the loop, from decoding to encoding."""

import asyncio
from typing import TYPE_CHECKING, Any

from glowplug.codec import encode_item, frame_done, frame_item, stream_format
from glowplug.context import current
from glowplug.worker.streaming import LoopStream
from glowplug.worker.window import Closed

if TYPE_CHECKING:
    from glowplug.worker.call import Call

INLINE_MAX = (
    64 * 1024
)  # bytes of a body that the loop decodes itself for an async endpoint; more would hold up others


def begin(call: "Call") -> None:
    """Make the call a task."""
    server = call.server
    if call.program.contract.schema.streams:
        call.stream = LoopStream(call)
        call.tell_lines()
    call.task = server.loop.create_task(_on_loop(call), context=server.compute.base.copy())


async def _on_loop(call: "Call") -> None:
    """Decode, run, encode, as a task. Only `finish` follows, also after a cancellation."""
    call.running = True
    try:
        current.set(call)
        if call.stream is not None:
            await _pieces(call, call.stream)  # type: ignore[arg-type]  # `begin` made it
        else:  # here and not in a coroutine of its own: nearly all calls are such
            now = call.server.now_ns
            began_ns = now()
            arguments = call.decode() if len(call.body) <= INLINE_MAX else await _decode_apart(call)
            decoded_ns = now()
            call.stage = "run"
            value = await call.program.run(**arguments)
            ran_ns = now()
            call.stage = "encode"
            call.encode(value)
            call.decode_ns, call.run_ns = decoded_ns - began_ns, ran_ns - decoded_ns
            call.encode_ns = now() - ran_ns
    except Closed:
        pass
    except BaseException as error:  # SystemExit out of a task would end the loop
        if not (call.cancelled and isinstance(error, asyncio.CancelledError)):
            call.broke(error)
    call.server.captured.flush_parts()
    call.finish()


async def _pieces(call: "Call", stream: LoopStream) -> None:
    now, contract, put = call.server.now_ns, call.program.contract, stream.put
    form = stream_format(contract, call.header("accept"))
    began_ns = now()
    arguments = call.decode() if len(call.body) <= INLINE_MAX else await _decode_apart(call)
    generator = call.program.run(**arguments)
    decoded_ns = now()
    call.decode_ns = decoded_ns - began_ns
    call.stage = "run"
    try:
        async for item in generator:
            call.stage = "encode"
            data = frame_item(form, encode_item(contract, item, form))
            call.stage = "run"
            if not stream.is_open:
                stream.open(form, call.decode_ns, now() - began_ns)
            await put(call.after_lines(form, data))
    finally:
        await generator.aclose()
        call.run_ns = now() - decoded_ns
    if not stream.is_open:
        stream.open(form, call.decode_ns, call.run_ns)
    await put(call.after_lines(form, frame_done(form)))


async def _decode_apart(call: "Call") -> dict[str, Any]:
    arguments: dict[str, Any] = await call.server.compute.run(call.decode)
    return arguments
