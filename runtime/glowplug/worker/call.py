"""How does one call run, and how does it end exactly once?

A call takes a permit when its first frame arrives and gives it back when nothing of it runs any more; its caller gets
one terminal frame. The two are apart only where they must be: a synchronous handler cannot be stopped, so after a
deadline the caller is told at once while the permit waits for the thread. After CANCEL the terminal frame itself waits
for the thread: it tells the gateway that the permit is free.

Synchronous code runs through `Call.on_thread` on a compute thread and comes back in `_finish` on the loop;
asynchronous code runs as one task through `Call.on_loop`. What user code raises, SystemExit included, ends here.
"""

import asyncio
from typing import TYPE_CHECKING, Any

from glowplug.codec import (
    STREAM_TYPES,
    decode_request,
    encode_item,
    encode_response,
    frame_done,
    frame_error,
    frame_item,
    stream_format,
)
from glowplug.context import CallContext, current
from glowplug.errors import Executed
from glowplug.remote_errors import users_traceback
from glowplug.wire.frames import BODY_MAX, FLAG_END, Kind
from glowplug.wire.messages import Infer, Response, Trailer, pack
from glowplug.worker.failures import Fault, Stage, fault, fault_of
from glowplug.worker.window import Closed, LoopWindow, ThreadWindow

if TYPE_CHECKING:
    from glowplug.worker.inside import Inside
    from glowplug.worker.server import Link, Server

INLINE_MAX = (
    64 * 1024
)  # bytes of a body that the loop decodes itself for an async endpoint; more would hold up others
_OK_JSON = (("content-type", "application/json"),)


class Call:
    """One call under way."""

    __slots__ = (
        "_content_type", "_decode_ns", "_encode_ns", "_fault", "_headers", "_payload", "_run_ns", "_stage",
        "answered", "body", "cancelled", "due_ns", "ended", "expired", "infer", "inside", "link", "program", "rid",
        "running", "server", "started_ns", "streaming", "task", "window",
    )  # fmt: skip

    def __init__(
        self, server: "Server", link: "Link", rid: int, infer: Infer, body: bytes, now_ns: int
    ) -> None:
        self.server = server
        self.link = link
        self.rid = rid
        self.infer = infer
        self.body = body
        self.program = server.program
        self.started_ns = now_ns
        run_ns = self.program.spec.timeouts.run_ns
        self.due_ns = now_ns + (min(run_ns, infer.timeout_ns) if infer.timeout_ns > 0 else run_ns)
        self.running = False  # it has begun, on a thread or as a task
        self.answered = False  # the caller has its terminal frame
        self.cancelled = False  # nobody wants the result
        self.expired = False
        self.ended = False
        self.streaming = False  # the head of a streamed answer has gone out
        self.task: asyncio.Task[None] | None = None
        self.window: ThreadWindow | LoopWindow | None = None
        self.inside: Inside | None = None
        self._stage: Stage = "decode"
        self._fault: Fault | None = None
        self._headers = _OK_JSON
        self._payload = b""
        self._decode_ns = self._run_ns = self._encode_ns = 0

    # -- beginning ---------------------------------------------------------------------------------

    def start(self) -> None:
        """Run it: the whole request is here."""
        server = self.server
        if self.program.spec.is_async:
            context = server.compute.base.copy()
            self.task = server.loop.create_task(self.on_loop(), context=context)
        else:
            if self.program.contract.schema.streams:
                self.window = ThreadWindow()
            server.compute.submit(self.on_thread)

    def _content(self) -> tuple[str, str]:
        content_type = accept = ""
        for name, value in self.infer.headers:
            if name == "content-type":
                content_type = value
            elif name == "accept":
                accept = value
        return content_type, accept

    def _decode(self, content_type: str) -> dict[str, Any]:
        arguments = decode_request(self.program.contract, content_type, self.body, self.infer.query)
        self.body = b""
        return arguments

    def _enter(self) -> None:
        infer, server, spec = self.infer, self.server, self.program.spec
        current.set(
            CallContext(
                request_id=infer.request_id,
                app=spec.app,
                endpoint=spec.name,
                version=server.version,
                tenant=infer.tenant,
                klass=infer.klass,  # type: ignore[arg-type]  # the gateway sends one of them
                deadline_ns=self.due_ns,
                attempt=infer.attempt,
                chain=infer.chain,
                trace=infer.trace,
                transport=server.transport(self),
            )
        )

    # -- synchronous -------------------------------------------------------------------------------

    def on_thread(self) -> None:
        """Decode, run, encode; whatever happens is kept for `_finish`."""
        # First the flag, then the look; `cancel` does it the other way round: one of the two always sees the other.
        self.running = True
        if not self.cancelled:
            try:
                self._enter()
                if self.window is None:
                    self._once()
                else:
                    self._pieces()
            except Closed:
                pass  # the reader has gone; the generator was closed on the way here
            except (
                BaseException
            ) as error:  # user code may raise anything, and must not end the thread
                self._broke(error)
            self.server.captured.flush_parts()
        self.server.outbox.post(self._finish_thread)

    def _once(self) -> None:
        now = self.server.now_ns
        content_type, _ = self._content()
        began = now()
        arguments = self._decode(content_type)
        decoded = now()
        self._stage = "run"
        value = self.program.run(**arguments)
        ran = now()
        self._stage = "encode"
        media, self._payload = encode_response(self.program.contract, value)
        if media != "application/json":
            self._headers = (("content-type", media),)
        self._decode_ns, self._run_ns, self._encode_ns = decoded - began, ran - decoded, now() - ran

    def _pieces(self) -> None:
        now, contract = self.server.now_ns, self.program.contract
        content_type, accept = self._content()
        form = stream_format(contract, accept)
        began = now()
        generator = self.program.run(**self._decode(content_type))
        self._decode_ns = now() - began
        self._stage = "run"
        try:
            for item in generator:
                if not self.streaming:
                    self._head(form, now() - began)
                self._stage = "encode"
                encoded = encode_item(contract, item, form)
                self._stage = "run"
                self._write(frame_item(form, encoded))
                if self.cancelled:
                    raise Closed
        finally:
            generator.close()
            self._run_ns = now() - began - self._decode_ns
        if not self.streaming:
            self._head(form, self._run_ns)
        self._write(frame_done(form))

    def _write(self, data: bytes) -> None:
        window = self.window
        assert isinstance(window, ThreadWindow)
        post, at, size = self.server.outbox.post, 0, len(data)
        while at < size:
            taken = window.take(size - at)
            piece = data if taken == size else data[at : at + taken]
            post(lambda piece=piece: self._chunk(piece))  # type: ignore[misc]  # a default binds the loop's value
            at += taken

    def _head(self, form: Any, first_ns: int) -> None:
        """Send the head with the first item: what fails before it is a plain problem with a status of its own."""
        self.streaming = True
        headers = (("content-type", STREAM_TYPES[form]), ("cache-control", "no-store"))
        meta = pack(
            Response(200, headers, "yes", (("decode", self._decode_ns), ("first", first_ns)))
        )
        if self.task is None:
            self.server.outbox.post(lambda: self._send(Kind.RESPONSE, meta))
        else:
            self._send(Kind.RESPONSE, meta)

    def _finish_thread(self) -> None:
        self.server.compute.back()
        self._finish()

    # -- asynchronous ------------------------------------------------------------------------------

    async def on_loop(self) -> None:
        """Decode, run, encode, as a task. Only `_finish` follows, also after a cancellation."""
        self.running = True
        try:
            self._enter()
            if self.program.contract.schema.streams:
                await self._apieces()
            else:
                await self._aonce()
        except Closed:
            pass
        except BaseException as error:  # SystemExit out of a task would end the loop
            if not (self.cancelled and isinstance(error, asyncio.CancelledError)):
                self._broke(error)
        self._finish()

    async def _aonce(self) -> None:
        now = self.server.now_ns
        content_type, _ = self._content()
        began = now()
        arguments = await self._adecode(content_type)
        decoded = now()
        self._stage = "run"
        value = await self.program.run(**arguments)
        ran = now()
        self._stage = "encode"
        media, self._payload = encode_response(self.program.contract, value)
        if media != "application/json":
            self._headers = (("content-type", media),)
        self._decode_ns, self._run_ns, self._encode_ns = decoded - began, ran - decoded, now() - ran

    async def _apieces(self) -> None:
        now, contract = self.server.now_ns, self.program.contract
        content_type, accept = self._content()
        form = stream_format(contract, accept)
        began = now()
        generator = self.program.run(**await self._adecode(content_type))
        self._decode_ns = now() - began
        self._stage = "run"
        self.window = LoopWindow()
        try:
            async for item in generator:
                if not self.streaming:
                    self._head(form, now() - began)
                self._stage = "encode"
                encoded = encode_item(contract, item, form)
                self._stage = "run"
                await self._awrite(frame_item(form, encoded))
        finally:
            await generator.aclose()
            self._run_ns = now() - began - self._decode_ns
        if not self.streaming:
            self._head(form, self._run_ns)
        await self._awrite(frame_done(form))

    async def _adecode(self, content_type: str) -> dict[str, Any]:
        if len(self.body) <= INLINE_MAX:
            return self._decode(content_type)
        arguments: dict[str, Any] = await self.server.compute.run(
            lambda: self._decode(content_type)
        )
        return arguments

    async def _awrite(self, data: bytes) -> None:
        window = self.window
        assert isinstance(window, LoopWindow)
        at, size = 0, len(data)
        while at < size:
            taken = await window.take(size - at)
            self._chunk(data[at : at + taken])
            at += taken

    # -- ending --------------------------------------------------------------------------------------

    def cancel(self) -> None:
        """Stop as far as that is possible; the terminal frame comes when nothing runs any more."""
        if self.cancelled:
            return
        self.cancelled = True
        if self.window is not None:
            self.window.close()
        if self.inside is not None:
            self.inside.cancel()
        if self.task is not None:
            self.task.cancel()
        if (
            not self.running
        ):  # nothing of it will run: the thread passes over it, the task never takes its first step
            self._finish()

    def abort(self, code: str, detail: str) -> None:
        """Tell the caller now, whatever still runs, and stop that as far as possible."""
        self._fail(fault(code, detail, "yes" if self.running else "no", self.infer.request_id))
        self.cancel()

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

    def _broke(self, error: BaseException) -> None:
        self._fault = fault_of(error, self._stage, self.infer.request_id, show=self.infer.dev)
        if self._fault.code in ("endpoint_error", "out_of_memory") and not self.cancelled:
            self.server.log.write("stderr", users_traceback(error).rstrip(), "error")

    def _finish(self) -> None:
        if self.ended:
            return
        self.ended = True
        # The permit first: the gateway may send the next call as soon as it reads the terminal frame.
        self.server.end(self)
        if self.answered:
            return
        if self.cancelled:
            executed: Executed = "no" if self._stage == "decode" else "yes"
            self._fail(fault("cancelled", "the caller went away", executed, self.infer.request_id))
        elif self._fault is not None:
            self._fail(self._fault)
        elif len(self._payload) > BODY_MAX:
            # As a frame it would break the link, and with it every call of this gateway.
            size, self._payload = len(self._payload), b""
            detail = f"the answer has {size} bytes, and {BODY_MAX} is the most: return a stream"
            self._fail(fault("bad_response", detail, "yes", self.infer.request_id))
        else:
            self._succeed()

    def _succeed(self) -> None:
        self.answered = True
        if self.streaming:
            meta = pack(Trailer("yes", (("decode", self._decode_ns), ("run", self._run_ns))))
            self.link.send(Kind.END, self.rid, meta, b"", FLAG_END)
        else:
            timings = (
                ("decode", self._decode_ns),
                ("run", self._run_ns),
                ("encode", self._encode_ns),
            )
            meta = pack(Response(200, self._headers, "yes", timings))
            self.link.send(Kind.RESPONSE, self.rid, meta, self._payload, FLAG_END)
        self.server.note(self, "ok", 200)

    def _fail(self, failed: Fault) -> None:
        if self.answered:
            return
        self.answered = True
        if self.streaming:
            _, accept = self._content()
            event = frame_error(stream_format(self.program.contract, accept), failed.body)
            if event:
                self.link.send(Kind.CHUNK, self.rid, b"", event)
        self.link.send(Kind.ERROR, self.rid, failed.meta, failed.body, FLAG_END)
        self.server.note(self, failed.code, failed.status)

    def _send(self, kind: Kind, meta: bytes) -> None:
        if not self.answered:
            self.link.send(kind, self.rid, meta)

    def _chunk(self, piece: bytes) -> None:
        if not self.answered:
            self.link.send(Kind.CHUNK, self.rid, b"", piece)
