"""Do messages keep their bytes, and do releases that differ by a field understand each other?"""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from glowplug.wire.messages import (
    MALFORMED,
    Command,
    Failure,
    Hello,
    Infer,
    Response,
    Trailer,
    pack,
    plain_answer,
    unpack_command,
    unpack_failure,
    unpack_hello,
    unpack_infer,
    unpack_response,
    unpack_trailer,
)

GOLDEN = (
    (Hello("gateway"), "9aa767617465776179a091010000a0a0a000a0", unpack_hello),
    (Response(200, (("a", "b"),)), "96ccc89192a161a162a37965739000a0", unpack_response),
    (Trailer("yes", (("run", 5),)), "92a37965739192a372756e05", unpack_trailer),
    (Failure("busy", "no", True), "95a462757379a26e6fc3a000", unpack_failure),
    (Command(3, 4, "stop", 5), "940304a473746f7005", unpack_command),
)
# As the release before wrote them: shorter, and read as if the new fields said nothing.
OLDER = (
    (Hello("gateway"), "98a767617465776179a0910100 00a0a0a0", unpack_hello),
    (Response(200, (("a", "b"),)), "94ccc89192a161a162a379657390", unpack_response),
)
small = st.text(max_size=8)
infers = st.builds(
    Infer, small, headers=st.lists(st.tuples(small, small), max_size=3).map(tuple), timeout_ns=st.integers(0, 2**62),
    chain=st.lists(small, max_size=3).map(tuple), attempt=st.integers(1, 9), dev=st.booleans(),
)  # fmt: skip


@pytest.mark.parametrize(("message", "text", "unpack"), GOLDEN, ids=lambda one: type(one).__name__)
def test_each_message_has_the_bytes_it_always_had(message: Any, text: str, unpack: Any) -> None:
    assert pack(message) == bytes.fromhex(text)
    assert unpack(bytes.fromhex(text)) == message


@pytest.mark.parametrize(("message", "text", "unpack"), OLDER, ids=lambda one: type(one).__name__)
def test_the_bytes_of_the_release_before_are_still_read(
    message: Any, text: str, unpack: Any
) -> None:
    assert unpack(bytes.fromhex(text)) == message


@given(infers)
def test_a_call_comes_out_as_it_went_in(infer: Infer) -> None:
    assert unpack_infer(pack(infer)) == infer


@given(infers, st.integers(1, 17))
def test_a_shorter_message_of_an_older_release_is_filled_with_defaults(
    infer: Infer, fields: int
) -> None:
    values = msgspec.to_builtins(infer)

    older = unpack_infer(msgspec.msgpack.encode(values[:fields]))
    assert msgspec.to_builtins(older)[:fields] == values[:fields]


def test_a_longer_message_of_a_newer_release_is_read_as_far_as_it_is_known() -> None:
    newer = [*msgspec.to_builtins(Failure("busy", "no")), "a field from the future"]

    assert unpack_failure(msgspec.msgpack.encode(newer)) == Failure("busy", "no")


@given(st.binary(max_size=200))
def test_any_bytes_are_a_message_or_known_to_be_malformed(data: bytes) -> None:
    for unpack in (
        unpack_hello,
        unpack_infer,
        unpack_response,
        unpack_trailer,
        unpack_failure,
        unpack_command,
    ):
        try:
            unpack(data)
        except MALFORMED:
            pass


NS = st.integers(0, 2**64 - 1)


@given(
    st.lists(st.tuples(st.text(max_size=300), st.text(max_size=300)), max_size=20).map(tuple),
    NS,
    NS,
    NS,
)
def test_an_answer_that_is_packed_by_place_is_the_same_message(
    headers: tuple[tuple[str, str], ...], decode_ns: int, run_ns: int, encode_ns: int
) -> None:
    timings = (("decode", decode_ns), ("run", run_ns), ("encode", encode_ns))

    meta = plain_answer(headers)(decode_ns, run_ns, encode_ns)

    assert unpack_response(meta) == Response(200, headers, "yes", timings)
