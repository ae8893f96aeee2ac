"""What is a call while it is here, and how does it end exactly once?

A call takes a permit when its first frame arrives and gives it back when nothing of it runs any more; its caller gets
one terminal frame. The two are apart only where they must be: a synchronous handler cannot be stopped, so after a
deadline the caller is told at once while the permit waits for the thread. After CANCEL the terminal frame itself waits
for the thread: it tells the gateway that the permit is free.

How it runs in between is `running` (synchronous code, on a thread) and `running_async` (one task on the loop); both
leave what came of it here and end in `finish`, on the loop. What user code raises, SystemExit included, ends there.

A call answers for itself as `context.CurrentCall`: what user code rarely asks is not built for every call.
"""

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Any

import msgspec

from glowplug.codec import StreamFormat, frame_error, frame_log, stream_format
from glowplug.context import Transport
from glowplug.errors import Executed
from glowplug.forms import OK_JSON, Form, Headers, decoded, encoded, form_of
from glowplug.oip import Asked
from glowplug.remote_errors import users_traceback
from glowplug.spec import Class
from glowplug.wire.frames import BODY_MAX, FLAG_END, Kind
from glowplug.wire.messages import Infer, Response, Trailer, pack, plain_answer
from glowplug.worker import payloads, running, running_async
from glowplug.worker.failures import Fault, Stage, fault, fault_of
from glowplug.worker.inside import Inside
from glowplug.worker.items import Item
from glowplug.worker.steps import ItemStream
from glowplug.worker.streaming import LoopStream, ThreadStream

if TYPE_CHECKING:
    from glowplug.worker.link import Link
    from glowplug.worker.server import Server

LINES_MAX = (
    256  # printed between two items of a stream, for a caller who reads them; of more, the last
)
# What goes into every frame, as plain numbers: an IntEnum's members are looked up twice.
_RESPONSE, _END, _ERROR, _CHUNK = (
    int(Kind.RESPONSE),
    int(Kind.END),
    int(Kind.ERROR),
    int(Kind.CHUNK),
)
_plain_json = plain_answer(OK_JSON)


class Call:
    """One call under way."""

    # Defaults live in the class: most of them are never changed, and a call sets only what it must.
    running = False  # its code has begun, on a thread or as a task
    answered = False  # the caller has its terminal frame
    cancelled = False  # nobody wants the result
    expired = False
    is_back = False  # given back to the gateway, unless its code has begun after all
    overdue = False  # expired, while a thread still runs it
    ended = False
    task: asyncio.Task[None] | None = None
    stream: ThreadStream | LoopStream | ItemStream | None = None
    lines: deque[tuple[str, str, str]] | None = (
        None  # printed and not told yet, where the caller asked
    )
    inside: Inside | None = None
    item: Item | None = None  # its place in a batch
    batch = 0  # calls in that batch, where this one tells about it
    flush = ""
    batch_ns = 0  # from decoded to cut
    stage: Stage = "decode"
    fault: Fault | None = None
    form = Form()
    headers: Headers = OK_JSON
    payload: bytes | bytearray | memoryview = b""
    asked: Asked | None = None  # what the body itself says about the answer
    decode_ns = run_ns = encode_ns = 0

    def __init__(
        self, server: "Server", link: "Link", rid: int, infer: Infer, body: bytes, now_ns: int
    ) -> None:
        self.server = server
        self.link = link
        self.rid = rid
        self.infer = infer
        self.body = body
        self.program = server.program
        self.batching = server.batching
        self.started_ns = now_ns  # a thread puts it forward when it begins
        run_ns, timeout_ns = server.run_ns, infer.timeout_ns
        self.due_ns = now_ns + (timeout_ns if 0 < timeout_ns < run_ns else run_ns)

    # -- beginning ---------------------------------------------------------------------------------

    def start(self) -> None:
        """Go on: the whole request is here.

        What the code needs before it can run (a body that lies elsewhere) is fetched here, and then comes `begin`.
        """
        if self.infer.payload:
            payloads.fetch(self)
        else:
            self.begin()

    def begin(self) -> None:
        """Hand the call to what runs it: a task on the loop or a compute thread.

        A program that takes calls in batches gets them here, decoded, in place of a run of their own.
        """
        if self.batching is not None:
            self.batching.take(self)
        elif self.program.spec.is_async:
            running_async.begin(self)
        else:
            running.begin(self)

    # -- what every run needs ----------------------------------------------------------------------

    def header(self, wanted: str) -> str:
        """Return a header of the request, or nothing."""
        for name, value in self.infer.headers:
            if name == wanted:
                return value
        return ""

    def decode(self) -> dict[str, Any]:
        """Return the arguments, and let the body go."""
        infer, body, contract = self.infer, self.body, self.program.contract
        self.body = b""
        self.form = form = form_of(infer.headers)
        if form.is_json and contract.takes_json:
            return contract.arguments_from_json(body or b"{}")
        arguments, self.asked = decoded(contract, form, body, infer.query)
        return arguments

    def encode(self, value: Any) -> None:
        """Keep what the code returned, in the form that the caller wants."""
        contract, form = self.program.contract, self.form
        if form.is_json and contract.gives_json:
            self.payload = contract.json_of_answer(value)
        else:
            self.headers, self.payload = encoded(contract, form, value, self.asked)

    def tell_lines(self) -> None:
        """Note that the caller of a stream wants to read what the code prints, if it said so and may see the code."""
        if self.infer.dev and self.header("glowplug-events") == "log":
            self.lines = deque(maxlen=LINES_MAX)

    def after_lines(self, form: StreamFormat, data: bytes) -> bytes:
        """Return what was printed since the last item, and then this."""
        lines = self.lines
        if not lines:
            return data
        taken = [lines.popleft() for _ in range(len(lines))]
        return b"".join(frame_log(form, _log_of(line)) for line in taken) + data

    # -- ending --------------------------------------------------------------------------------------

    def cancel(self) -> None:
        """Stop as far as that is possible; the terminal frame comes when nothing runs any more."""
        if self.cancelled:
            return
        self.cancelled = True
        if self.stream is not None:
            self.stream.close()
        if self.inside is not None:
            self.inside.cancel()
        if self.task is not None:
            self.task.cancel()
        if self.item is not None:
            self.item.leave()
        if (
            not self.running
        ):  # nothing of it will run: the thread passes over it, the task never takes its first step
            self.finish()

    def abort(self, code: str, detail: str) -> None:
        """Tell the caller now, whatever still runs, and stop that as far as possible."""
        self._fail(fault(code, detail, "yes" if self.running else "no", self.infer.request_id))
        self.cancel()

    def hand_back(self) -> None:
        """Return it to the gateway, unless its code begins at this very moment."""
        self.is_back = True
        if not self.running:
            self.finish()

    def expire(self) -> None:
        """End a call whose time is over."""
        self.expired = True
        run_ns = self.program.spec.timeouts.run_ns
        if self.server.now_ns() - self.started_ns >= run_ns:
            self.abort(
                "run_timeout",
                f"{self.program.spec.name} ran longer than its limit of {run_ns / 1e9:g} s",
            )
        else:
            self.abort(
                "deadline", f"the caller's deadline passed while {self.program.spec.name} ran"
            )

    def broke(self, error: BaseException) -> None:
        """Keep what user code raised for `finish`, and log its traceback."""
        self.fault = fault_of(error, self.stage, self.infer.request_id, show=self.infer.dev)
        if self.fault.code in ("endpoint_error", "out_of_memory") and not self.cancelled:
            self.server.log.write("stderr", users_traceback(error).rstrip(), "error")

    def finish(self) -> None:
        """End it, once: nothing of it runs any more. On the loop."""
        if self.ended:
            return
        if self.infer.offload and payloads.must_go(self):
            payloads.send_away(self)  # and then comes back here
            return
        self.ended = True
        # The permit first: the gateway may send the next call as soon as it reads the terminal frame.
        self.server.end(self)
        if self.answered:
            return
        if self.fault or self.cancelled or self.is_back or len(self.payload) > BODY_MAX:
            failed = self._failure()
            if failed is not None:
                self._fail(failed)
                return
        self._succeed()

    def _failure(self) -> Fault | None:
        request_id = self.infer.request_id
        if self.is_back and not self.running:
            return fault("handed_back", "the calls before it take longer", "no", request_id)
        if self.cancelled:
            executed: Executed = "no" if self.stage == "decode" else "yes"
            return fault("cancelled", "the caller went away", executed, request_id)
        if len(self.payload) > BODY_MAX:
            # As a frame it would break the link, and with it every call of this gateway.
            size, self.payload = len(self.payload), b""
            detail = f"the answer has {size} bytes, and {BODY_MAX} is the most: return a stream"
            return fault("bad_response", detail, "yes", request_id)
        return self.fault

    def _succeed(self) -> None:
        self.answered = True
        if self.stream is not None:
            self.stream.flush()
            meta = pack(Trailer("yes", (("decode", self.decode_ns), ("run", self.run_ns))))
            self.link.send(_END, self.rid, meta, b"", FLAG_END)
        else:
            if self.headers is OK_JSON and self.item is None:
                meta = _plain_json(self.decode_ns, self.run_ns, self.encode_ns)
            else:
                meta = self._head()
            self.link.send(_RESPONSE, self.rid, meta, self.payload, FLAG_END)
            self.payload = b""  # user code may keep the call; it must not keep the answer
        self.server.note(self, "ok", 200)

    def _head(self) -> bytes:
        timings: tuple[tuple[str, int], ...] = (
            ("decode", self.decode_ns),
            ("run", self.run_ns),
            ("encode", self.encode_ns),
        )
        if self.item is not None:
            timings = (timings[0], ("batch", self.batch_ns), *timings[1:])
        return pack(Response(200, self.headers, "yes", timings, self.batch, self.flush))

    def _fail(self, failed: Fault) -> None:
        if self.answered:
            return
        self.answered = True
        if self.stream is not None and self.stream.is_open:
            self.stream.flush()
            form = stream_format(self.program.contract, self.header("accept"))
            event = self.after_lines(form, frame_error(form, failed.body))
            if event:
                self.link.send(_CHUNK, self.rid, b"", event)
        self.link.send(_ERROR, self.rid, failed.meta, failed.body, FLAG_END)
        self.server.note(self, failed.code, failed.status)

    # -- what its code may ask: `context.CurrentCall` ------------------------------------------------

    @property
    def request_id(self) -> str:
        return self.infer.request_id

    @property
    def app(self) -> str:
        return self.program.spec.app

    @property
    def endpoint(self) -> str:
        return self.program.spec.name

    @property
    def version(self) -> str:
        return self.server.version

    @property
    def tenant(self) -> str:
        return self.infer.tenant

    @property
    def klass(self) -> Class:
        return self.infer.klass  # type: ignore[return-value]  # the gateway sends one of them

    @property
    def deadline_ns(self) -> int:
        return self.due_ns

    @property
    def attempt(self) -> int:
        return self.infer.attempt

    @property
    def chain(self) -> tuple[str, ...]:
        return self.infer.chain

    @property
    def trace(self) -> str:
        return self.infer.trace

    @property
    def transport(self) -> Transport:
        """Return how the code of this call reaches other endpoints."""
        inside = self.inside
        if inside is None:
            inside = self.inside = Inside(self)
        return inside


def _log_of(line: tuple[str, str, str]) -> bytes:
    stream, level, text = line
    return msgspec.json.encode({"stream": stream, "level": level, "text": text})
