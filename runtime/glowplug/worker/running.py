"""How does synchronous code run? On a compute thread, from decoding to encoding; what came of it ends on the loop."""

from functools import partial
from typing import TYPE_CHECKING

from glowplug.codec import encode_item, frame_done, frame_item, stream_format
from glowplug.context import current
from glowplug.worker.streaming import ThreadStream
from glowplug.worker.window import Closed

if TYPE_CHECKING:
    from glowplug.worker.call import Call


def begin(call: "Call") -> None:
    """Give it to the compute threads. On the loop."""
    if call.program.contract.schema.streams:
        call.stream = ThreadStream(call)
        call.tell_lines()
    call.server.compute.submit(partial(_on_thread, call))


def _on_thread(call: "Call") -> None:
    """Decode, run, encode; whatever happens is kept for `finish`."""
    server = call.server
    # First the flag, then the look; the loop does it the other way round: one of the two always sees the other.
    call.running = True
    if call.cancelled or call.is_back:
        call.running = False
        server.outbox.post(partial(_back, call, 0))
        return
    now = server.now_ns
    call.started_ns = server.begun_ns = began_ns = now()
    try:
        current.set(call)
        if call.stream is None:
            _once(call, began_ns)
        else:
            _pieces(call, call.stream, began_ns)  # type: ignore[arg-type]  # `begin` made it
    except Closed:
        pass  # the reader has gone; the generator was closed on the way here
    except BaseException as error:  # user code may raise anything, and must not end the thread
        call.broke(error)
    server.captured.flush_parts()
    server.outbox.post(partial(_back, call, now() - began_ns))


def _back(call: "Call", took_ns: int) -> None:
    call.server.compute.back()
    if took_ns:
        call.server.learn(took_ns)
    call.finish()


def _once(call: "Call", began_ns: int) -> None:
    now = call.server.now_ns
    arguments = call.decode()
    decoded_ns = now()
    call.stage = "run"
    value = call.program.run(**arguments)
    ran_ns = now()
    call.stage = "encode"
    call.encode(value)
    call.decode_ns, call.run_ns = decoded_ns - began_ns, ran_ns - decoded_ns
    call.encode_ns = now() - ran_ns


def _pieces(call: "Call", stream: ThreadStream, began_ns: int) -> None:
    now, contract, put = call.server.now_ns, call.program.contract, stream.put
    form = stream_format(contract, call.header("accept"))
    generator = call.program.run(**call.decode())
    decoded_ns = now()
    call.decode_ns = decoded_ns - began_ns
    call.stage = "run"
    try:
        for item in generator:
            call.stage = "encode"
            data = frame_item(form, encode_item(contract, item, form))
            call.stage = "run"
            if not stream.is_open:
                stream.open(form, call.decode_ns, now() - began_ns)
            put(call.after_lines(form, data))
            if call.cancelled:
                raise Closed
    finally:
        generator.close()
        call.run_ns = now() - decoded_ns
    if not stream.is_open:
        stream.open(form, call.decode_ns, call.run_ns)
    put(call.after_lines(form, frame_done(form)))
