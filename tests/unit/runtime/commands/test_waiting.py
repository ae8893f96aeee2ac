"""Is a call that waits for a start shown its phases, and its answer as if there had been no wait?"""

import base64
import json
from collections.abc import Iterator
from typing import Any

import pytest

from glowplug.client import Reply
from glowplug.commands.output import Output
from glowplug.commands.waiting import Wait

HELD = {"content-type": "text/event-stream", "glowplug-cold": "1", "x-request-id": "r"}
RUN = {
    "phase": "run", "version": "v3", "attempts": 1, "executed": "yes", "whole": True,
    "content_type": "application/json", "timings_ms": {"queue": 12.5, "load": 3.0},
}  # fmt: skip  # one event


def waited(run: dict[str, Any], *items: bytes) -> tuple[Reply, list[bytes]]:
    """Return the answer to a call that waited, whose replica then said `run` and the items."""
    wait = Wait(Output(as_json=False))

    def pieces() -> Iterator[bytes]:
        for phase, eta_s in (("queued", None), ("load", 2.04), ("load", 1.0), ("warm", 0.5)):
            wait.take({"phase": phase, "eta_s": eta_s})
        wait.take(run)
        yield from items

    reply = wait.answered(Reply(headers=HELD, pieces=pieces()))
    return reply, list(reply.pieces)


def test_each_phase_is_shown_once(capsys: pytest.CaptureFixture[str]) -> None:
    waited(RUN, b"1")

    assert capsys.readouterr().err.splitlines() == [
        "waiting for a replica to be planned",
        "loading, about 2.0 s more",
        "warming up, about 0.5 s more",
    ]


def test_a_plain_answer_comes_out_of_its_event_with_the_head_it_would_have_had() -> None:
    reply, pieces = waited(RUN, b'{"a":1}')

    assert pieces == [b'{"a":1}']
    assert reply.headers == {
        "content-type": "application/json",
        "glowplug-cold": "1",
        "x-request-id": "r",
        "glowplug-version": "v3",
        "glowplug-attempts": "1",
        "glowplug-executed": "yes",
        "server-timing": "queue;dur=12.500, load;dur=3.000",
    }


def test_bytes_come_out_as_bytes() -> None:
    body = json.dumps({"base64": base64.b64encode(b"\x89PNG").decode()}).encode()
    reply, pieces = waited(RUN | {"content_type": "image/png"}, body)

    assert (reply.headers["content-type"], pieces) == ("image/png", [b"\x89PNG"])


@pytest.mark.parametrize("items", [(), (b"1",), (b"1", b"2")])
def test_the_items_of_a_stream_stay_items(items: tuple[bytes, ...]) -> None:
    reply, pieces = waited(RUN | {"whole": False, "content_type": "text/event-stream"}, *items)

    assert reply.headers["content-type"] == "text/event-stream"
    assert pieces == list(items)


@pytest.mark.parametrize(
    "headers", [{"content-type": "application/json", "glowplug-cold": "1"}, {"content-type": "text/event-stream"}]
)  # fmt: skip  # one line
def test_an_answer_that_did_not_wait_in_events_is_left_alone(headers: dict[str, str]) -> None:
    reply = Reply(headers=headers, pieces=iter((b"1",)))

    assert Wait(Output(as_json=False)).answered(reply) is reply
