import pytest

from glowplug.clock import SECOND
from glowplug_router.gateway.problems import Trouble
from glowplug_router.gateway.wishes import NOTHING, Wishes, native_headers, wishes


def test_a_plain_request_asks_for_nothing() -> None:
    assert wishes({b"host": b"x", b"content-type": b"a/b"}) is NOTHING


@pytest.mark.parametrize(
    ("headers", "timeout_ns"),
    [
        ({b"prefer": b"wait=5"}, 5 * SECOND),
        ({b"prefer": b'return=minimal, wait="5"'}, 5 * SECOND),
        ({b"glowplug-deadline": b"2.5"}, 5 * SECOND // 2),
        ({b"prefer": b"wait=5", b"glowplug-deadline": b"2"}, 2 * SECOND),
        ({b"prefer": b"wait=never"}, 0),
        ({b"prefer": b"wait=0000007"}, 7 * SECOND),
        ({b"prefer": b"wait=0"}, 1),
        ({b"prefer": b"wait=9999999"}, 999_999 * SECOND),
        ({b"prefer": b"wait=" + b"9" * 5000}, 999_999 * SECOND),
        ({b"glowplug-deadline": b"1e-10"}, 1),
        ({b"cancel-after": b"1e-300"}, 1),
        ({b"cancel-after": b"3"}, 3 * SECOND),
        (
            {b"cancel-after": b"1.5", b"glowplug-deadline": b"2", b"prefer": b"wait=5"},
            3 * SECOND // 2,
        ),
    ],
)
def test_the_shortest_of_wait_deadline_and_cancel_after_counts(
    headers: dict[bytes, bytes], timeout_ns: int
) -> None:
    asked = wishes(headers)

    assert isinstance(asked, Wishes)
    assert asked.timeout_ns == timeout_ns


@pytest.mark.parametrize(
    "headers",
    [
        {b"prefer": b"respond-async"},
        {b"prefer": b"wait=5, respond-async"},
        {b"glowplug-deadline": b"0"},
        {b"glowplug-deadline": b"nan"},
        {b"glowplug-deadline": b"inf"},
        {b"glowplug-deadline": b"-Infinity"},
        {b"glowplug-deadline": b"1_0"},
        {b"cancel-after": b"1_0"},
        {b"glowplug-priority": b"royal"},
        {b"cancel-after": b"soon"},
        {b"glowplug-affinity": b"a b"},
        {b"glowplug-affinity": b"a" * 129},
        {b"idempotency-key": b"a b"},
        {b"idempotency-key": b"a" * 256},
    ],
)
def test_what_cannot_be_had_is_refused(headers: dict[bytes, bytes]) -> None:
    refused = wishes(headers)

    assert isinstance(refused, Trouble)
    assert refused.code == "bad_request"


def test_a_priority_and_an_affinity_are_taken_as_they_are() -> None:
    asked = wishes({b"glowplug-priority": b"batch", b"glowplug-affinity": b"a" * 128})

    assert asked == Wishes(0, "batch", affinity="a" * 128)


def test_a_malformed_trace_is_dropped() -> None:
    good = b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"

    assert wishes({b"traceparent": good}) == Wishes(0, trace=good.decode())
    assert wishes({b"traceparent": good + b"\xff"}) == Wishes(0)


def test_replicas_see_chosen_headers_only_and_no_endless_ones() -> None:
    known = {b"authorization": b"Bearer x", b"content-type": b"a/b", b"accept": b"c" * 2000}

    assert native_headers(known) == (("content-type", "a/b"),)
