"""Do events come back as they were sent, however the network cuts them?"""

import json
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from glowplug import events
from glowplug.errors import CallError
from glowplug.events import Event, SseReader, ndjson_event, sse_event

lines = st.binary(max_size=30).map(lambda data: data.replace(b"\r", b" "))
kinds = st.text("abcdefghijklmnopqrstuvwxyz", min_size=1, max_size=8)
whole = st.builds(Event, kinds, lines)


def read(chunks: list[bytes]) -> list[Event]:
    reader = SseReader()
    return [event for chunk in chunks for event in reader.feed(chunk)]


@given(st.lists(whole, max_size=5), st.lists(st.integers(0, 300), max_size=8))
def test_events_survive_any_cut(sent: list[Event], cuts: list[int]) -> None:
    text = b"".join(sse_event(one.kind, one.data) for one in sent)
    edges = [0, *sorted(cuts), len(text)]
    chunks = [text[start:end] for start, end in pairwise(edges)]

    assert read(chunks) == sent


@given(st.binary(max_size=200))
def test_any_bytes_are_read_without_an_error(noise: bytes) -> None:
    read([noise[:50], noise[50:], b"\n\n"])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b"data: a\r\n\r\n", [Event("message", b"a")]),
        (b"data:a\r\rdata: b\n\n", [Event("message", b"a"), Event("message", b"b")]),
        (b"\xef\xbb\xbfdata: a\n\n", [Event("message", b"a")]),
        (b": ping\n\nevent: x\n\ndata: a\n\n", [Event("message", b"a")]),
        (b"event: done\ndata: {}\nid: 3\nretry: 5\nfoo\n\n", [Event("done", b"{}")]),
        (b"data: a\ndata:\ndata: b\n\n", [Event("message", b"a\n\nb")]),
        (b"data: never finished\n", []),
    ],
)
def test_the_standards_corner_cases_are_read(text: bytes, expected: list[Event]) -> None:
    assert read([text]) == expected
    assert read([text[one : one + 1] for one in range(len(text))]) == expected


def test_an_event_that_never_ends_is_refused() -> None:
    reader = SseReader()
    chunk = b"x" * (events.EVENT_MAX // 4)

    with pytest.raises(CallError, match="longer than"):
        [list(reader.feed(chunk)) for _ in range(5)]


def test_a_line_of_ndjson_is_one_event() -> None:
    line = ndjson_event("output", b'{"a":1}')

    assert line.endswith(b"\n")
    assert json.loads(line) == {"event": "output", "data": {"a": 1}}
