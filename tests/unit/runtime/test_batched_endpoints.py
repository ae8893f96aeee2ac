"""What does `batch=…` make of a function that takes lists, and what does it refuse?"""

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from typing import Any

import msgspec
import pytest

from glowplug import END, Batch, Scale, context, endpoint
from glowplug.calls import TypedFormat
from glowplug.clock import MILLISECOND
from glowplug.codec import decode_request, encode_response
from glowplug.context import Answer, CallContext, Outgoing
from glowplug.endpoints import DeclaredEndpoint
from glowplug.errors import CallError, DefinitionError, InvalidRequestError
from glowplug.lists import columns, results_of, rows_of, singly
from glowplug.spec import BatchSpec
from glowplug.testing import local


@endpoint(batch=Batch(max=8, wait="2ms"), examples=[{"texts": "hello", "times": 2}])
def repeated(texts: list[str], times: list[int]) -> list[str]:
    return [text * count for text, count in zip(texts, times, strict=True)]


@endpoint(batch=8)
async def arepeated(texts: list[str], times: list[int]) -> list[str]:
    return [text * count for text, count in zip(texts, times, strict=True)]


@endpoint(batch=8)
def letters(texts: list[str]) -> Iterator[list[str | None]]:
    for at in range(max(map(len, texts)) + 1):
        yield [None if at == 1 else text[at] if at < len(text) else END for text in texts]


@endpoint(batch=8)
async def aletters(texts: list[str]) -> AsyncIterator[list[str | None]]:
    for at in range(max(map(len, texts))):
        yield [text[at] if at < len(text) else END for text in texts]


def test_outside_there_is_one_item() -> None:
    spec = repeated.spec

    properties = spec.schema.request["properties"]
    assert {name: one["type"] for name, one in properties.items()} == {
        "texts": "string",
        "times": "integer",
    }
    assert spec.schema.response == {"type": "string"}
    assert spec.examples == ({"texts": "hello", "times": 2},)
    assert letters.spec.schema.item == {"type": "string"}
    assert aletters.spec.schema.item == {"type": "string"}


def test_the_spec_says_how_calls_run_together() -> None:
    assert repeated.spec.batch == BatchSpec(max=8, wait_ns=2 * MILLISECOND)
    assert repeated.spec.concurrency == 16
    assert arepeated.spec.concurrency == 16
    assert endpoint(concurrency=9, batch=8)(_lists).spec.concurrency == 9


def _lists(x: list[int]) -> list[int]:
    return x


def test_a_batch_says_in_its_record_what_its_options_ask_for() -> None:
    batch = Batch(
        max=8,
        weight=lambda x: x,
        weight_max=100,
        key=lambda x: x % 2,
        buckets=[8, 1, 4],
        adaptive=False,
        on_item_error="fail",
    )

    assert batch.spec() == BatchSpec(
        max=8,
        weight_max=100,
        buckets=(1, 4, 8),
        is_weighed=True,
        is_keyed=True,
        adaptive=False,
        isolate=False,
    )
    assert endpoint(batch=batch)(_lists).batch is batch
    assert Batch(weight=len, packed=True).spec().packed
    assert Batch(wait=0).spec().wait_ns == 0
    assert endpoint(batch=10_000)(_lists).spec.concurrency == 10_000


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Batch(max=0), "batch.max=0 must be a whole number, 1 or more"),
        (lambda: Batch(max=10_001), "batch.max=10001 is more than 10000"),
        (lambda: endpoint(batch=10**9), "batch.max=1000000000 is more than 10000"),
        (lambda: endpoint(concurrency=10_001), "concurrency=10001 is more than 10000"),
        (lambda: Scale(max=10**9), "scale.max=1000000000 is more than 10000"),
        (lambda: Scale(hold=100_001), "scale.hold=100001 is more than 100000"),
        (lambda: Batch(wait=5), "batch.wait=5 would be seconds"),
        (lambda: Batch(wait="1m"), "batch.wait='1m' holds every call"),
        (lambda: Batch(weight=3), "batch.weight=3 is not a function"),  # type: ignore[arg-type]  # wrong on purpose
        (lambda: Batch(key="x"), "batch.key='x' is not a function"),  # type: ignore[arg-type]  # wrong on purpose
        (lambda: Batch(weight_max=9), "batch.weight_max without batch.weight"),
        (lambda: Batch(packed=True), "batch.packed without batch.weight"),
        (lambda: Batch(max=8, buckets=[1, 16]), "end with 16, over batch.max=8"),
        (lambda: Batch(max=8, buckets=[1, 4]), "end with 4, below batch.max=8"),
        (lambda: Batch(buckets="1,2"), "batch.buckets='1,2' is not a list"),  # type: ignore[arg-type]  # wrong on purpose
        (lambda: Batch(max=4, buckets=[4], packed=True, weight=len), "no rows to fill up"),
        (lambda: Batch(on_item_error="skip"), "batch.on_item_error='skip' is not one of"),  # type: ignore[arg-type]  # wrong on purpose
        (lambda: Batch(size=3), "Batch has no option `size`"),  # type: ignore[call-arg]  # wrong on purpose
        (lambda: Batch(3), "Batch takes its options by name"),  # type: ignore[call-arg]  # wrong on purpose
        (lambda: endpoint(batch="8"), "batch='8' is not a Batch"),  # type: ignore[call-overload]  # wrong on purpose
        (lambda: endpoint(batch=0), "batch=0 must be a whole number"),
        (
            lambda: endpoint(batch=8, concurrency=4)(_lists),
            "concurrency=4 is less than batch.max=8: no batch would ever be full",
        ),
        (
            lambda: endpoint(batch=8, scale=Scale(target=20))(_lists),
            "target=20 is more than the 16 call",
        ),
        (
            lambda: endpoint(batch=Batch(weight=lambda: 1))(_lists),
            r"batch.weight cannot be called with one item's \(x\)",
        ),
        (
            lambda: endpoint(batch=Batch(key=lambda a, b: a))(_lists),
            r"batch.key cannot be called with one item's \(x\)",
        ),
    ],
)
def test_a_batch_that_could_not_work_is_refused_with_the_fix(
    make: Callable[[], object], said: str
) -> None:
    with pytest.raises(DefinitionError, match=said) as refused:
        make()

    assert refused.value.hint


def _one(x: int) -> list[int]:
    return [x]


def _returns_one(x: list[int]) -> int:
    return 1


def _defaults(x: list[int], y: list[int] = []) -> list[int]:  # noqa: B006  # what is refused
    return x + y


def _nothing() -> list[int]:
    return []


def _yields_one(x: list[int]) -> Iterator[bytes]:
    yield b""


def _yields_none(x: list[int]) -> Iterator[list[None]]:
    yield []


@pytest.mark.parametrize(
    ("function", "said"),
    [
        (_one, "the parameter `x` of `_one` is `int`, and with batch=… it must be a list"),
        (_returns_one, "the answer of `_returns_one` is `int`"),
        (_defaults, "`y` has a default"),
        (_nothing, "takes no arguments"),
        (_yields_none, "what `_yields_none` yields never holds an item"),
        (_yields_one, "what `_yields_one` yields is `bytes`"),
    ],
)
def test_code_that_takes_no_lists_is_refused_with_the_fix(function: Any, said: str) -> None:
    with pytest.raises(DefinitionError, match=said) as refused:
        endpoint(batch=8)(function)

    assert refused.value.hint


def test_a_builtin_that_does_not_say_what_it_takes_is_trusted() -> None:
    assert endpoint(batch=Batch(max=4, weight=max))(_lists).spec.batch.is_weighed


def test_a_plain_call_is_the_plain_function() -> None:
    assert repeated(["a", "b"], [2, 3]) == ["aa", "bbb"]
    with local(repeated) as function:
        assert function(["a"], [1]) == ["a"]


class Loopback:
    """Answers single calls as a router would, and notes what came."""

    def __init__(self, one: DeclaredEndpoint[..., Any], function: Callable[..., Any]) -> None:
        self.contract = one.contract
        self.function = function
        self.bodies: list[Any] = []

    def call(self, outgoing: Outgoing) -> Answer:
        self.bodies.append(msgspec.json.decode(outgoing.body))
        arguments = decode_request(self.contract, outgoing.content_type, bytes(outgoing.body))
        value = singly("it", self.function)(**arguments)
        media, body = encode_response(self.contract, value)
        return Answer(status=200, headers={"content-type": media}, body=bytes(body))

    async def acall(self, outgoing: Outgoing) -> Answer:
        return self.call(outgoing)

    def stream(self, outgoing: Outgoing) -> Iterator[bytes]:
        arguments = msgspec.json.decode(outgoing.body)
        for item in singly("it", self.function)(**arguments):
            yield msgspec.json.encode(item)

    async def astream(self, outgoing: Outgoing) -> AsyncIterator[bytes]:
        for item in self.stream(outgoing):
            yield item


@contextmanager
def inside(one: DeclaredEndpoint[..., Any], function: Callable[..., Any]) -> Iterator[Loopback]:
    """Let calls go to a loopback."""
    transport = Loopback(one, function)
    call = CallContext(
        request_id="r",
        app="a",
        endpoint="e",
        version="v",
        tenant="t",
        klass="standard",
        deadline_ns=0,
        transport=transport,
    )
    token = context.current.set(call)
    yield transport
    context.current.reset(token)


def test_remote_makes_a_call_for_each_entry_and_answers_in_order() -> None:
    with inside(repeated, repeated.target) as transport:
        assert repeated.remote(["a", "b", "c"], times=[1, 2, 3]) == ["a", "bb", "ccc"]
        assert sorted(transport.bodies, key=str) == [
            {"texts": text, "times": times} for text, times in (("a", 1), ("b", 2), ("c", 3))
        ]
        assert repeated.remote(["d"], [1]) == ["d"]
        assert repeated.remote([], []) == []


async def test_aremote_makes_a_call_for_each_entry_and_answers_in_order() -> None:
    with inside(arepeated, repeated.target):
        assert await arepeated.aremote(["a", "b", "c"], [1, 2, 3]) == ["a", "bb", "ccc"]


def fails_on_b(texts: list[str], times: list[int]) -> list[Any]:
    return [ValueError(text) if text > "a" else text for text in texts]


async def test_the_first_error_is_raised_when_all_have_ended() -> None:
    with inside(repeated, fails_on_b) as transport:
        with pytest.raises(ValueError, match="b"):
            repeated.remote(["a", "b", "c"], [1, 1, 1])
        assert len(transport.bodies) == 3
        with pytest.raises(ValueError, match="b"):
            await repeated.aremote(["a", "b", "c"], [1, 1, 1])
        assert len(transport.bodies) == 6


def test_a_stream_is_of_one_call() -> None:
    with inside(letters, letters.target):
        assert list(letters.stream(["abc"])) == [["a"], ["c"]]
        with pytest.raises(DefinitionError, match="the lists have 2 entries"):
            letters.stream(["a", "b"])


async def test_an_asynchronous_stream_is_of_one_call_too() -> None:
    with inside(aletters, letters.target):
        assert [step async for step in aletters.astream(["abc"])] == [["a"], ["c"]]
        with pytest.raises(DefinitionError, match="the lists have 0 entries"):
            aletters.astream([])


# -- lists and rows ---------------------------------------------------------------------------------------


def test_lists_become_rows_and_rows_lists() -> None:
    rows = rows_of("f", ["x", "y"], [[1, 2]], {"y": [3, 4]})

    assert rows == [{"x": 1, "y": 3}, {"x": 2, "y": 4}]
    assert columns(rows, ["x", "y"]) == {"x": [1, 2], "y": [3, 4]}


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["text", [1]], "takes lists: `x` is str"),
        ([3, [1]], "takes lists: `x` is int"),
        ([[1, 2], [1]], "lists of one length: `x` has 2, `y` has 1"),
        ([[1]], "missing a required argument: 'y'"),
        ([[1], [1], [1]], "too many positional arguments"),
    ],
)
def test_lists_that_do_not_fit_are_refused(args: list[Any], said: str) -> None:
    with pytest.raises(InvalidRequestError, match=said) as refused:
        rows_of("f", ["x", "y"], args, {})

    assert refused.value.hint.startswith(("write `", "give each list"))


def test_any_sequence_of_the_right_length_is_an_answer() -> None:
    import numpy as np

    assert results_of("f", [1, 2], 2) == [1, 2]
    assert results_of("f", (1, 2), 2) == [1, 2]
    assert results_of("f", np.array([1, 2]), 2) == [1, 2]


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ([1], "returned 1 results for a batch of 2 calls"),
        ([], "returned 0 results"),
        (None, "returned NoneType"),
        ("ab", "returned str"),
        ({"a": 1, "b": 2}, "returned dict"),
    ],
)
def test_an_answer_that_is_no_list_of_the_right_length_is_bad(value: Any, said: str) -> None:
    with pytest.raises(CallError, match=said) as bad:
        results_of("f", value, 2)

    assert bad.value.code == "bad_response"


async def test_code_that_takes_lists_can_be_called_with_one_item() -> None:
    assert singly("f", repeated.target)(texts="a", times=3) == "aaa"
    assert await singly("f", arepeated.target)(texts="a", times=3) == "aaa"
    assert list(singly("f", letters.target)(texts="abc")) == ["a", "c"]
    assert [one async for one in singly("f", aletters.target)(texts="ab")] == ["a", "b"]
    assert [one async for one in singly("f", _aends)(texts="ab")] == ["x"]
    with pytest.raises(ValueError, match="b"):
        singly("f", fails_on_b)(texts="b", times=1)


async def _aends(texts: list[str]) -> AsyncIterator[list[str | None]]:
    yield [None]
    yield ["x"]
    yield [END]
    yield ["never"]


def test_the_end_says_its_name() -> None:
    assert repr(END) == "glowplug.END"


def test_arguments_of_a_typed_call_are_those_of_one_item() -> None:
    kind, body = TypedFormat(repeated.contract).request((), {"texts": "a", "times": 2})

    assert (kind, msgspec.json.decode(body)) == ("application/json", {"texts": "a", "times": 2})
