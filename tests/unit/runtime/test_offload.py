"""Does a client send large bodies apart, fetch large answers, and believe nothing that does not fit?"""

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from glowplug.client import HttpTransport
from glowplug.codec import problem
from glowplug.context import Answer, Outgoing
from glowplug.errors import CallError
from glowplug.offload import absolute, is_large
from glowplug.payloads import ANSWER_TYPE, OFFLOAD_MIN_BYTES, Checked, Named, digest_of, read_away

Said = tuple[int, dict[str, str], bytes]
BIG = bytes(OFFLOAD_MIN_BYTES + 1)
ANSWER = b"the answer"
REFERENCE = json.dumps({"reference": "r1", "upload": "/-/payloads/x?signature=s"}).encode()
OK: Said = (200, {}, b"{}")


@dataclass
class Router:
    """What it answers to each method and path, in turn, and what it was asked."""

    answers: dict[str, list[tuple[int, dict[str, str], bytes]]]
    asked: list[tuple[str, dict[str, str], bytes]] = field(default_factory=list)
    url: str = ""

    def of(self, what: str) -> list[tuple[dict[str, str], bytes]]:
        return [(headers, body) for name, headers, body in self.asked if name.startswith(what)]


@contextmanager
def router(**answers: Any) -> Iterator[Router]:
    made = Router({name: one if isinstance(one, list) else [one] for name, one in answers.items()})

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            headers = {name.lower(): value for name, value in self.headers.items()}
            made.asked.append((f"{self.command} {self.path}", headers, body))
            kind = "announce" if self.path == "/-/api/payloads" else self.command
            known = made.answers[kind]
            status, more, data = known.pop(0) if len(known) > 1 else known[0]
            self.send_response(status)
            for name, value in ({"content-length": str(len(data))} | more).items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_POST = do_PUT = answer  # noqa: N815  # as the standard library calls them

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    made.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield made
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def outgoing(body: bytes = b"{}") -> Outgoing:
    return Outgoing(app="a", endpoint="b", body=body)


def called(made: Router, body: bytes = b"{}", key: str = "secret") -> Answer:
    transport = HttpTransport(made.url, key, pause=lambda _: None)
    try:
        return transport.call(outgoing(body))
    finally:
        transport.close()


async def acalled(made: Router, body: bytes = b"{}") -> Answer:
    transport = HttpTransport(made.url, "secret")
    try:
        return await transport.acall(outgoing(body))
    finally:
        await transport.aclose()


def away(data: bytes = ANSWER, **other: Any) -> tuple[int, dict[str, str], bytes]:
    place = {"url": "/-/payloads/y", "digest": digest_of(data), "size_bytes": len(data)}
    document = place | {"content_type": "text/plain"} | other
    return 200, {"content-type": ANSWER_TYPE}, json.dumps(document).encode()


# -- bodies ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("is_async", [False, True])
async def test_a_large_body_is_announced_sent_and_named(is_async: bool) -> None:
    with router(announce=(201, {}, REFERENCE), PUT=OK, POST=OK) as made:
        answer = await acalled(made, BIG) if is_async else called(made, BIG)
        ((said, announced),) = made.of("POST /-/api/payloads")
        ((put, sent),) = made.of("PUT /-/payloads/x?signature=s")
        ((call, body),) = made.of("POST /a/b")

    assert answer.body == b"{}"
    assert json.loads(announced) == {
        "digest": f"sha256:{hashlib.sha256(BIG).hexdigest()}",
        "size_bytes": len(BIG),
    }
    assert said["authorization"] == call["authorization"] == "Bearer secret"
    assert "authorization" not in put, "the URL is enough, and may lead elsewhere"
    assert sent == BIG
    assert (call["glowplug-payload"], body) == ("r1", b"")


def test_a_body_that_is_there_already_is_not_sent_again() -> None:
    here = json.dumps({"reference": "r1", "upload": None}).encode()
    with router(announce=(201, {}, here), POST=OK) as made:
        called(made, BIG)

    assert not made.of("PUT")


def test_small_bodies_go_with_their_call() -> None:
    with router(POST=OK) as made:
        called(made, bytes(OFFLOAD_MIN_BYTES))

    ((_, body),) = made.of("POST /a/b")
    assert len(body) == OFFLOAD_MIN_BYTES
    assert is_large(BIG)


@pytest.mark.parametrize("status", [401, 403, 404])
def test_where_nothing_can_be_uploaded_a_large_body_goes_with_its_call(status: int) -> None:
    with router(announce=(status, {}, b""), POST=OK) as made:
        called(made, BIG, key="")

    ((headers, body),) = made.of("POST /a/b")
    assert body == BIG
    assert "glowplug-payload" not in headers


@pytest.mark.parametrize("code", ["too_large", "disk_full", "digest_mismatch"])
def test_a_refused_upload_is_a_refused_call(code: str) -> None:
    body = problem(code, "no", executed="no")
    status = json.loads(body)["status"]
    with (
        router(announce=(201, {}, REFERENCE), PUT=(status, {}, body), POST=OK) as made,
        pytest.raises(CallError) as refused,
    ):
        called(made, BIG)

    assert (refused.value.code, refused.value.executed) == (code, "no")
    assert not made.of("POST /a/b")


def test_a_body_that_was_swept_away_meanwhile_is_sent_again() -> None:
    gone: Said = (410, {}, problem("payload_gone", "swept", executed="no"))
    with router(announce=(201, {}, REFERENCE), PUT=OK, POST=[gone, OK]) as made:
        assert called(made, BIG).body == b"{}"

    assert len(made.of("PUT")) == len(made.of("POST /a/b")) == 2


def test_an_announcement_that_makes_no_sense_is_the_routers_fault() -> None:
    with router(announce=(201, {}, b"[]"), POST=OK) as made, pytest.raises(CallError) as failed:
        called(made, BIG)

    assert (failed.value.code, failed.value.executed) == ("bad_response", "no")


@pytest.mark.parametrize("target", ["file:///etc/passwd", "ftp://x/y", "data:,x"])
def test_only_http_is_followed(target: str) -> None:
    with pytest.raises(CallError, match="cannot be followed"):
        absolute("http://router", target)
    assert absolute("http://router/p", "/-/x?y") == "http://router/p/-/x?y"
    assert absolute("http://router", "//elsewhere/x") == "http://router//elsewhere/x"
    assert absolute("http://router", "https://bucket/x") == "https://bucket/x"


# -- answers -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("is_async", [False, True])
async def test_an_answer_that_lies_elsewhere_is_fetched(is_async: bool) -> None:
    with router(POST=away(), GET=(200, {}, ANSWER)) as made:
        answer = await acalled(made) if is_async else called(made)
        ((call, _),) = made.of("POST /a/b")
        ((get, _),) = made.of("GET /-/payloads/y")

    assert ANSWER_TYPE in call["accept"]
    assert "authorization" not in get
    assert (answer.status, answer.body) == (200, ANSWER)
    assert answer.headers["content-type"] == "text/plain"


def test_a_lent_answer_that_lies_elsewhere_comes_in_pieces() -> None:
    with router(POST=away(), GET=(200, {}, ANSWER)) as made:
        transport = HttpTransport(made.url)
        with transport.replied(outgoing()) as reply:
            assert reply.headers["content-type"] == "text/plain"
            assert b"".join(reply.pieces) == ANSWER
        transport.close()


@pytest.mark.parametrize("fetched", [b"another one", ANSWER + b"!", ANSWER[:-1], b""])
@pytest.mark.parametrize("is_async", [False, True])
async def test_an_answer_that_is_not_the_one_is_not_believed(
    fetched: bytes, is_async: bool
) -> None:
    with router(POST=away(), GET=(200, {}, fetched)) as made, pytest.raises(CallError) as failed:
        await acalled(made) if is_async else called(made)

    assert (failed.value.code, failed.value.executed) == ("digest_mismatch", "yes")


@pytest.mark.parametrize("is_async", [False, True])
async def test_an_answer_that_is_gone_was_made_all_the_same(is_async: bool) -> None:
    gone: Said = (410, {}, problem("payload_gone", "swept", executed="no"))
    with router(POST=away(), GET=gone) as made, pytest.raises(CallError) as failed:
        await acalled(made) if is_async else called(made)

    assert (failed.value.code, failed.value.executed) == ("payload_gone", "yes")
    assert len(made.of("POST /a/b")) == 1, "what has run is not run again"


@pytest.mark.parametrize("place", ["http://127.0.0.1:1/x", "file:///etc/passwd"])
@pytest.mark.parametrize("is_async", [False, True])
async def test_an_answer_that_cannot_be_fetched_was_made_all_the_same(
    place: str, is_async: bool
) -> None:
    with router(POST=away(url=place)) as made, pytest.raises(CallError) as failed:
        await acalled(made) if is_async else called(made)

    assert failed.value.executed == "yes"
    assert len(made.of("POST /a/b")) == 1


@pytest.mark.parametrize("is_async", [False, True])
async def test_a_call_whose_body_could_not_be_brought_was_not_sent(is_async: bool) -> None:
    broken = (201, {"content-length": "9999", "connection": "close"}, b"")
    with router(announce=broken, POST=OK) as made, pytest.raises(CallError) as failed:
        await acalled(made, BIG) if is_async else called(made, BIG)

    assert (failed.value.code, failed.value.executed) == ("unavailable", "no")
    assert made.of("POST /a/b") == []


@pytest.mark.parametrize("body", [b"", b"[]", b'{"url": 1}', b"\xff"])
def test_a_place_that_cannot_be_read_is_the_routers_fault(body: bytes) -> None:
    with pytest.raises(CallError) as failed:
        read_away(body)

    assert (failed.value.code, failed.value.executed) == ("bad_response", "yes")


# -- checks ------------------------------------------------------------------------------------------------


def test_pieces_are_counted_and_digested_as_they_come() -> None:
    checked = Checked(digest_of(b"abc"), 3, "it")
    for piece in (b"a", b"", memoryview(b"bc")):
        checked.take(piece)
    checked.end()

    with pytest.raises(CallError, match="more than the 3 bytes"):
        checked.take(b"d")


@pytest.mark.parametrize(
    ("text", "size"), [("d 7", 7), ("d", -1), ("d x", -1), ("d -1", -1), ("", -1)]
)
def test_what_a_gateway_names_has_a_digest_and_a_size(text: str, size: int) -> None:
    assert Named.read(text).size_bytes == size
