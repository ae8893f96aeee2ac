"""Does a call over HTTP carry all it should, wait only so long, and come back as a value or the right error?"""

import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from glowplug import Endpoint, context, endpoint
from glowplug.client import HttpTransport
from glowplug.clock import ManualClock, SystemClock
from glowplug.codec import frame_done, frame_error, frame_item, problem
from glowplug.context import CallContext, Outgoing
from glowplug.errors import (
    CallError,
    ConfigError,
    DeadlineError,
    InvalidRequestError,
    OverloadedError,
    ReplicaLostError,
)
from glowplug.retry import RETRIES_MAX


class OutOfPaperError(Exception):
    """A user's own exception."""


@endpoint(app="shop")
def price(item: str, count: int = 1) -> float:
    return 1.0


@endpoint(app="shop")
def lines(n: int) -> Iterator[str]:
    yield ""


@dataclass
class Script:
    """What the router at the other end answers, one after the other (the last one for ever), and what it was asked."""

    answers: list[tuple[int, dict[str, str], bytes]]
    asked: list[tuple[str, dict[str, str], bytes]] = field(default_factory=list)


@dataclass
class WakingClock(SystemClock):
    """The real clock, except that it does not wait and remembers how long it should have."""

    waits: list[float] = field(default_factory=list)

    async def sleep(self, seconds: float) -> None:
        self.waits.append(seconds)


@contextmanager
def router(*answers: tuple[int, dict[str, str], bytes]) -> Iterator[tuple[str, Script]]:
    script = Script(list(answers))

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            script.asked.append(
                (self.path, {name.lower(): value for name, value in self.headers.items()}, body)
            )
            status, headers, data = (
                script.answers.pop(0) if len(script.answers) > 1 else script.answers[0]
            )
            self.send_response(status)
            for name, value in ({"content-length": str(len(data))} | headers).items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(data)
            self.close_connection = "content-length" in headers

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", script
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextmanager
def through(transport: HttpTransport) -> Iterator[None]:
    """Make every `remote` of this thread use a transport, as inside a rank."""
    call = CallContext(
        request_id="r", app="shop", endpoint="e", version="v1", tenant="t", klass="standard", deadline_ns=0,
        trace="00-1-2-01", transport=transport,
    )  # fmt: skip
    token = context.current.set(call)
    try:
        yield
    finally:
        context.current.reset(token)
        transport.close()


def refused(code: str, **more: Any) -> tuple[int, dict[str, str], bytes]:
    return 503, {"glowplug-executed": more.get("executed", "no")}, problem(code, "no", **more)


OK = (200, {"content-type": "application/json"}, b"2.5")


def test_a_call_carries_body_key_class_deadline_and_trace() -> None:
    with router(OK) as (url, script), through(HttpTransport(url, "gp_key")):
        urgent = price.using(deadline="30s", priority="critical", affinity="s7", version="v3")
        assert urgent.remote("tea", count=2) == 2.5

    path, headers, body = script.asked[0]
    assert path == "/shop/price@v3"
    assert json.loads(body) == {"item": "tea", "count": 2}
    assert headers["authorization"] == "Bearer gp_key"
    assert headers["glowplug-priority"] == "critical"
    assert headers["glowplug-affinity"] == "s7"
    assert 29 < float(headers["glowplug-deadline"]) <= 30
    assert headers["traceparent"] == "00-1-2-01"
    assert len(headers["x-request-id"]) == 32


async def test_a_call_does_not_block_the_loop() -> None:
    with router(OK) as (url, script):
        transport = HttpTransport(url)
        with through(transport):
            assert await price.aremote("tea") == 2.5
            await transport.aclose()

    assert "authorization" not in script.asked[0][1]


def test_a_call_that_was_turned_away_is_tried_again_with_the_same_id() -> None:
    waits: list[float] = []
    with (
        router(refused("busy"), refused("draining", retry_after_s=1.5), OK) as (url, script),
        through(HttpTransport(url, pause=waits.append)),
    ):
        assert price.remote("tea") == 2.5

    assert len({headers["x-request-id"] for _, headers, _ in script.asked}) == 1
    assert len(waits) == 2
    assert waits[1] == 1.5


async def test_tries_are_bounded_without_blocking_too() -> None:
    clock = WakingClock()
    with router(refused("busy")) as (url, script):
        transport = HttpTransport(url, clock=clock)
        with through(transport), pytest.raises(CallError) as refusal:
            await price.aremote("tea")
        await transport.aclose()

    assert refusal.value.code == "busy"
    assert len(script.asked) == RETRIES_MAX + 1
    assert len(clock.waits) == RETRIES_MAX


@pytest.mark.parametrize("answer", [refused("busy", executed="maybe"), refused("overloaded")])
def test_what_may_have_run_or_is_the_callers_matter_is_not_tried_again(
    answer: tuple[int, dict[str, str], bytes],
) -> None:
    with (
        router(answer) as (url, script),
        through(HttpTransport(url)),
        pytest.raises(CallError) as refusal,
    ):
        price.remote("tea")

    assert len(script.asked) == 1
    assert isinstance(refusal.value, OverloadedError) == (refusal.value.code == "overloaded")


def test_where_nobody_listens_the_call_ends_after_a_few_tries_with_the_next_command() -> None:
    waits: list[float] = []
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]

    with (
        through(HttpTransport(f"http://127.0.0.1:{port}", pause=waits.append)),
        pytest.raises(CallError) as refusal,
    ):
        price.remote("tea")

    assert refusal.value.executed == "no"
    assert "glowplug up" in refusal.value.hint
    assert len(waits) == RETRIES_MAX


def test_a_deadline_that_has_passed_sends_nothing() -> None:
    with (
        router(OK) as (url, script),
        through(HttpTransport(url, clock=ManualClock())),
        pytest.raises(DeadlineError) as late,
    ):
        HttpTransport(url).call(Outgoing(app="shop", endpoint="price", timeout_s=0.0))

    assert late.value.executed == "no"
    assert script.asked == []


def test_the_users_own_exception_comes_back() -> None:
    exception = {
        "module": __name__,
        "qualname": "OutOfPaperError",
        "args": ["A4"],
        "traceback": "Traceback: remote",
    }
    answer: tuple[int, dict[str, str], bytes] = (
        500,
        {},
        problem("endpoint_error", "A4", executed="yes", exception=exception),
    )

    with (
        router(answer) as (url, _),
        through(HttpTransport(url)),
        pytest.raises(OutOfPaperError, match="A4") as raised,
    ):
        price.remote("tea")

    assert "Traceback: remote" in raised.value.__notes__[0]


def sse(*frames: bytes) -> tuple[int, dict[str, str], bytes]:
    return 200, {"content-type": "text/event-stream"}, b"".join(frames)


def test_a_stream_yields_items_as_declared() -> None:
    answer = sse(
        frame_item("sse", b'"a"'), b": ping\n\n", frame_item("sse", b'"b"'), frame_done("sse")
    )

    with router(answer) as (url, script), through(HttpTransport(url)):
        assert list(lines.stream(2)) == ["a", "b"]

    assert script.asked[0][1]["accept"] == "text/event-stream"


async def test_a_stream_yields_items_without_blocking() -> None:
    with router(sse(frame_item("sse", b'"a"'), frame_done("sse"))) as (url, _):
        transport = HttpTransport(url)
        with through(transport):
            assert [one async for one in lines.astream(1)] == ["a"]
        await transport.aclose()


def test_a_stream_that_fails_on_the_way_raises_after_its_items() -> None:
    failure = problem("run_timeout", "too long", executed="yes")
    answer = sse(frame_item("sse", b'"a"'), frame_error("sse", failure))

    with router(answer) as (url, _), through(HttpTransport(url)):
        stream = lines.stream(2)
        assert next(stream) == "a"
        with pytest.raises(DeadlineError, match="too long"):
            next(stream)


def test_a_stream_that_breaks_off_is_not_taken_for_a_whole_one() -> None:
    with router(sse(frame_item("sse", b'"a"'))) as (url, _), through(HttpTransport(url)):
        stream = lines.stream(2)
        assert next(stream) == "a"
        with pytest.raises(ReplicaLostError, match="broke off"):
            next(stream)


def test_an_answer_that_breaks_off_may_have_run() -> None:
    with (
        router((200, {"content-length": "100"}, b"2.")) as (url, _),
        through(HttpTransport(url)),
        pytest.raises(CallError) as broken,
    ):
        price.remote("tea")

    assert (broken.value.code, broken.value.executed) == ("unavailable", "maybe")


def test_a_router_that_is_down_is_one_error_without_the_librarys_own() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    transport = HttpTransport(f"http://127.0.0.1:{port}", pause=lambda _: None)
    with through(transport), pytest.raises(CallError, match="no router answers") as down:
        price.remote("tea")

    assert (down.value.code, down.value.executed) == ("unreachable", "no")
    assert (down.value.__cause__, down.value.__context__) == (None, None)
    assert "glowplug up" in down.value.hint


@pytest.mark.parametrize("url", ["localhost:8686", "http://[bad", "ftp://router", ""])
def test_a_url_that_is_none_is_refused_by_name(url: str) -> None:
    with through(HttpTransport(url)), pytest.raises(ConfigError, match="is not a URL"):
        price.remote("tea")


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: price.remote("tea", 1, 2), "takes 2 arguments, not 3"),  # type: ignore[call-arg]  # wrong on purpose
        (lambda: price.remote("tea", item="tea"), "two values for `item`"),  # type: ignore[misc]  # wrong on purpose
        (lambda: price.remote(["tea"]), "item: Input should be a valid string"),  # type: ignore[arg-type]  # wrong on purpose
        (lambda: price.remote(), "item: Field required"),  # type: ignore[call-arg]  # wrong on purpose
    ],
)
def test_a_call_made_wrongly_is_told_how_it_is_declared(
    call: Callable[[], object], says: str
) -> None:
    nowhere = through(HttpTransport("http://127.0.0.1:1"))
    with nowhere, pytest.raises(InvalidRequestError, match=says) as wrong:
        call()

    assert wrong.value.executed == "no"
    assert wrong.value.hint == "it is declared as `price(item: str, count: int)`"


def test_an_endpoint_found_by_name_takes_names_and_gives_json() -> None:
    with (
        router((200, {"content-type": "application/json"}, b'{"a": 1}')) as (url, script),
        through(HttpTransport(url)),
    ):
        found = Endpoint.lookup("shop/price", version="stable")
        assert found.remote(item="tea", tags=["x"]) == {"a": 1}
        assert found.remote(b"\xff") == {"a": 1}
        assert found.remote(image=b"\xff", width=3) == {"a": 1}
        with pytest.raises(CallError, match="by name") as unnamed:
            found.remote(1, 2)
        assert "`glowplug status shop/price`" in unnamed.value.hint
        with pytest.raises(CallError, match="written as JSON") as unwritten:
            found.remote(item=object())
        assert "dataclasses" in unwritten.value.hint

    paths, kinds = zip(
        *[(path, headers["content-type"].partition(";")[0]) for path, headers, _ in script.asked],
        strict=True,
    )
    assert set(paths) == {"/shop/price@stable"}
    assert kinds == ("application/json", "application/octet-stream", "multipart/form-data")


def test_a_stream_that_was_found_by_name_and_called_as_a_value_is_met_with_stream() -> None:
    body = frame_item("sse", b'"a"') + frame_done("sse")
    answer = (200, {"content-type": "text/event-stream"}, body)

    with (
        router(answer) as (url, _),
        through(HttpTransport(url)),
        pytest.raises(CallError, match="yields its answer in pieces") as caught,
    ):
        Endpoint.lookup("shop/lines").remote(n=1)

    assert "`.stream(...)`" in caught.value.hint
