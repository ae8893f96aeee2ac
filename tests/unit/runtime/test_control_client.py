"""Does the control API's client turn answers into values and refusals into errors?"""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from glowplug.control_client import Control
from glowplug.errors import (
    ConfigError,
    InvalidRequestError,
    NotAllowedError,
    NotFoundError,
    UnavailableError,
)

PROBLEM = {
    "code": "not_found",
    "title": "No such endpoint",
    "detail": "no app nosuch was ever deployed here",
    "hint": "`glowplug status`",
    "request_id": "r1",
}


MISFIT = {
    "code": "invalid_request",
    "detail": "min: too small",
    "errors": [{"loc": ["min"], "msg": "too small"}],
}
FIXED = {
    "nosuch": (404, json.dumps(PROBLEM).encode()),
    "wrong-key": (401, b'{"code": "unauthorized", "detail": "unknown key"}'),
    "misfit": (422, json.dumps(MISFIT).encode()),
    "proxy": (502, b"<html>bad gateway</html>"),
    "page": (200, b"<html>not a router</html>"),
    "empty": (204, b""),
    "lines": (200, b'{"n": 1}\n\n{"n": 2}\n'),
}


class Router(BaseHTTPRequestHandler):
    """Answers by path as a router would, and echoes what it was asked."""

    def do_GET(self) -> None:
        self.answer()

    def do_POST(self) -> None:
        self.answer()

    def do_PATCH(self) -> None:
        self.answer()

    def do_PUT(self) -> None:
        self.answer()

    def do_DELETE(self) -> None:
        self.answer()

    def answer(self) -> None:
        name = self.path.removeprefix("/-/api/").partition("?")[0]
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        asked = {
            "method": self.command,
            "path": self.path,
            "body": body.decode(),
            "key": self.headers.get("authorization"),
        }
        if name == "endless":
            self.reply(200, b'{"n": 1}\n', length=100)
            self.rfile.read(1)  # until the other end goes away
        elif name == "cut":
            self.reply(200, b'{"n": 1}\n', length=100)
        else:
            self.reply(*FIXED.get(name, (200, json.dumps(asked).encode())))

    def reply(self, status: int, body: bytes, length: int | None = None) -> None:
        self.send_response(status)
        if status != 204:
            self.send_header("content-length", str(len(body) if length is None else length))
        self.end_headers()
        self.wfile.write(body)
        self.close_connection = length is not None

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Router) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.fixture
def control(url: str) -> Iterator[Control]:
    with Control(url + "/", "gp_1") as control:
        yield control


def test_a_question_carries_the_key_and_its_parameters(control: Control) -> None:
    asked = control.get("/logs", app="hello", tail=3)

    assert asked["path"] == "/-/api/logs?app=hello&tail=3"
    assert (asked["method"], asked["key"]) == ("GET", "Bearer gp_1")


def test_changes_carry_their_body(control: Control) -> None:
    assert json.loads(control.post("/x", {"a": 1})["body"]) == {"a": 1}
    assert json.loads(control.patch("/x", {"a": 2})["body"]) == {"a": 2}
    assert control.put("/x", b"bytes")["body"] == "bytes"
    assert control.delete("/x")["method"] == "DELETE"


def test_an_answer_without_a_body_is_nothing(control: Control) -> None:
    assert control.delete("/empty") is None


def test_a_problem_becomes_the_error_of_its_code(control: Control) -> None:
    with pytest.raises(NotFoundError, match="no app nosuch was ever deployed") as caught:
        control.get("/nosuch")

    error = caught.value
    assert (error.code, error.hint, error.request_id) == ("not_found", "`glowplug status`", "r1")


def test_the_fields_that_do_not_fit_come_along(control: Control) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        control.patch("/misfit", {})

    assert caught.value.errors == ({"loc": ["min"], "msg": "too small"},)


def test_a_key_that_is_refused_names_the_router_and_how_to_give_another(
    control: Control, url: str
) -> None:
    with pytest.raises(NotAllowedError, match=url) as caught:
        control.get("/wrong-key")

    assert "glowplug profile add" in caught.value.hint


def test_a_proxy_s_own_page_is_told_as_what_it_is(control: Control) -> None:
    with pytest.raises(UnavailableError, match="HTTP 502"):
        control.get("/proxy")


def test_a_server_that_is_no_router_is_told_as_such(control: Control) -> None:
    with pytest.raises(UnavailableError, match="not as a glowplug router does"):
        control.get("/page")


def test_lines_come_one_by_one_and_empty_ones_not_at_all(control: Control) -> None:
    assert list(control.lines("GET", "/lines")) == [{"n": 1}, {"n": 2}]


def test_a_refused_stream_is_the_same_error(control: Control) -> None:
    with pytest.raises(NotFoundError):
        list(control.lines("GET", "/nosuch"))


def test_a_stream_that_breaks_off_gives_what_came_and_then_the_error(control: Control) -> None:
    lines = control.lines("GET", "/cut")

    assert next(lines) == {"n": 1}
    with pytest.raises(UnavailableError, match="broke"):
        next(lines)


def test_closing_ends_a_stream_that_another_thread_waits_for(url: str) -> None:
    control = Control(url, "k")
    lines = control.lines("GET", "/endless")
    assert next(lines) == {"n": 1}
    ended: list[Exception] = []

    def wait() -> None:
        try:
            next(lines)
        except (StopIteration, UnavailableError) as error:
            ended.append(error)

    reader = threading.Thread(target=wait)
    reader.start()
    control.close()
    reader.join(5.0)

    assert len(ended) == 1


def test_nobody_there_is_told_with_the_command_that_starts_one() -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), Router) as gone:
        port = gone.server_port

    with (
        Control(f"http://127.0.0.1:{port}", "k") as control,
        pytest.raises(
            UnavailableError, match=f"no router answers at http://127.0.0.1:{port}"
        ) as caught,
    ):
        control.get("/health")

    assert caught.value.executed == "no"
    assert "glowplug up --detach" in caught.value.hint


@pytest.mark.parametrize("url", ["http://[::1", "ftp://box", "http://", "box", "http://box:port"])
def test_what_is_no_url_is_said_not_to_be_one(url: str) -> None:
    with pytest.raises(ConfigError, match="is not a URL"):
        Control(url, "k")
