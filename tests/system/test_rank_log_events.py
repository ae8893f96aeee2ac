"""Does a caller of a stream who asks for it read what the code prints, between the items and before an error?"""

from pathlib import Path
from typing import Any

import msgspec
import pytest

from glowplug.wire.messages import Infer
from system.rank_process import call, items, launch_of, ready

TALKS = """
from collections.abc import Iterator
from glowplug import endpoint
import logging

@endpoint
def echo(fail: bool = False) -> Iterator[int]:
    print("before the first")
    yield 1
    logging.getLogger("chat").warning("between")
    if fail:
        raise ValueError("the end")
    yield 2
    print("after the last")
"""
ATALKS = TALKS.replace("def echo", "async def echo").replace("Iterator", "AsyncIterator")


def asking(events: str, *, may_see_code: bool = True) -> Infer:
    headers = (("accept", "application/x-ndjson"), ("glowplug-events", events))
    return call(headers=headers if events else headers[:1], dev=may_see_code)


@pytest.mark.parametrize(("code", "is_async"), [(TALKS, False), (ATALKS, True)])
async def test_what_is_printed_is_told_in_the_stream_to_those_who_ask(
    tmp_path: Path, code: str, is_async: bool
) -> None:
    async with ready(launch_of(tmp_path, code, is_async=is_async)) as rank:

        async def told(body: bytes, infer: Infer) -> list[tuple[str, Any]]:
            frames = await rank.gateway.ended(rank.gateway.open(body, infer))
            lines = [msgspec.json.decode(line) for line in items(frames).splitlines()]
            return [(one["event"], one["data"]) for one in lines]

        before = ("log", {"stream": "stdout", "level": "info", "text": "before the first"})
        between = ("log", {"stream": "log", "level": "warning", "text": "chat: between"})
        after = ("log", {"stream": "stdout", "level": "info", "text": "after the last"})

        assert await told(b"{}", asking("log")) == [
            before, ("output", 1), between, ("output", 2), after, ("done", {}),
        ]  # fmt: skip  # in the order of the code
        *lines, (kind, trace), (last, problem) = await told(b'{"fail": true}', asking("log"))
        assert lines == [before, ("output", 1), between]
        assert (kind, trace["stream"]) == ("log", "stderr")
        assert trace["text"].startswith("Traceback")
        assert (last, problem["detail"]) == ("error", "ValueError: the end")
        for infer in (asking(""), asking("output"), asking("log", may_see_code=False)):
            assert await told(b"{}", infer) == [("output", 1), ("output", 2), ("done", {})]
