"""Do two daemons get their questions answered over one connection, whatever breaks?"""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import anyio
import anyio.lowlevel
import msgspec
import pytest

from glowplug.errors import CallError, NodeError
from glowplug.wire.channel import PIECE, WINDOW, Channel, Exchange, Handler, Incoming, dial_channel
from glowplug.wire.frames import FLAG_END, FLAG_RING, Kind, encode
from glowplug.wire.messages import Command, Hello, Infer
from glowplug.wire.transport import FrameProtocol, dial, listen

PATIENCE_S = 10.0


@dataclass
class Pair:
    """Both ends of a channel."""

    asking: Channel
    answering: Channel


@asynccontextmanager
async def pair(
    tmp_path: Path, handler: Handler, asked: Handler | None = None
) -> AsyncIterator[Pair]:
    """Connect two channels over a Unix socket; `handler` answers the dialling side."""
    accepted: list[Channel] = []
    with anyio.fail_after(PATIENCE_S):
        async with anyio.create_task_group() as group:

            def accept() -> Channel:
                accepted.append(
                    Channel(Hello("controller"), handler, group.start_soon, dialling=False)
                )
                return accepted[-1]

            server = await listen(tmp_path / "s", accept)
            asking = await dial_channel(
                f"unix:{tmp_path / 's'}", Hello("agent", "n1"), asked or nobody, group.start_soon
            )
            yield Pair(asking, accepted[0])
            server.close()
            asking.close()
            await asking.gone()
            await accepted[0].gone()
            group.cancel_scope.cancel()


async def nobody(exchange: Exchange) -> None:
    exchange.fail("not_found", f"nobody answers {exchange.infer.path}")


async def echo(exchange: Exchange) -> None:
    exchange.respond(await exchange.body.read(), headers=(("path", exchange.infer.path),))


async def test_both_sides_greet_and_both_may_ask(tmp_path: Path) -> None:
    async with pair(tmp_path, echo, echo) as both:
        assert (await both.answering.ready()) == Hello("agent", "n1")
        assert (await both.asking.ready()).role == "controller"

        for side in (both.asking, both.answering):
            head, body = await side.request("/-/x", b"hello")
            assert (dict(head.headers), body) == ({"path": "/-/x"}, b"hello")


async def test_commands_carry_their_fence(tmp_path: Path) -> None:
    async def handle(exchange: Exchange) -> None:
        assert exchange.command is not None
        exchange.respond(f"{Kind(exchange.kind).name} {exchange.command.epoch}".encode())

    async with pair(tmp_path, handle) as both:
        assert await both.asking.command(Kind.PING, Command(7)) == b"PING 7"


async def test_a_refusal_comes_back_as_its_error(tmp_path: Path) -> None:
    async with pair(tmp_path, nobody) as both:
        with pytest.raises(CallError, match="nobody answers /-/y") as caught:
            await both.asking.request("/-/y")
        assert (caught.value.code, caught.value.executed) == ("not_found", "no")


async def test_an_answer_that_is_forgotten_or_breaks_is_an_internal_error(tmp_path: Path) -> None:
    async def handle(exchange: Exchange) -> None:
        if exchange.infer.path == "/-/broken":
            raise RuntimeError("a bug")

    async with pair(tmp_path, handle) as both:
        for path in ("/-/forgotten", "/-/broken"):
            with pytest.raises(CallError) as caught:
                await both.asking.request(path)
            assert (caught.value.code, caught.value.executed) == ("internal", "maybe")


async def test_a_stream_that_is_begun_and_never_ended_breaks_off_with_the_reason(
    tmp_path: Path,
) -> None:
    async def handle(exchange: Exchange) -> None:
        out = exchange.begin()
        await out.write(b"some")
        if exchange.infer.path == "/-/refused":
            raise NodeError("app '..' is no plain name")
        if exchange.infer.path == "/-/broken":
            raise RuntimeError("a bug")

    async with pair(tmp_path, handle) as both:
        for path, code in (
            ("/-/refused", "start_failed"),
            ("/-/broken", "internal"),
            ("/-/forgotten", "internal"),
        ):
            with pytest.raises(CallError) as caught:
                await both.asking.request(path)
            assert (caught.value.code, caught.value.executed) == (code, "maybe")


async def test_a_stream_stops_at_the_window_until_the_reader_takes_more(tmp_path: Path) -> None:
    written: list[int] = []

    async def handle(exchange: Exchange) -> None:
        out = exchange.begin()
        for _ in range(8):
            await out.write(b"x" * PIECE)
            written.append(PIECE)
        out.end()

    async with pair(tmp_path, handle) as both:
        _, incoming = await both.asking.open("/-/big")
        await settled(lambda: sum(written) >= WINDOW)
        assert sum(written) == WINDOW

        assert sum([len(piece) async for piece in incoming]) == 8 * PIECE
        assert sum(written) == 8 * PIECE


async def test_a_reader_that_takes_nothing_holds_up_its_own_stream_alone(tmp_path: Path) -> None:
    written: dict[str, int] = {"/-/stalled": 0, "/-/flowing": 0}

    async def handle(exchange: Exchange) -> None:
        out = exchange.begin()
        for _ in range(40):
            await out.write(b"x" * PIECE)
            written[exchange.infer.path] += PIECE
        out.end()

    async with pair(tmp_path, handle) as both:
        _, stalled = await both.asking.open("/-/stalled")
        _, flowing = await both.asking.open("/-/flowing")
        assert sum([len(piece) async for piece in flowing]) == 40 * PIECE

        await settled(lambda: held(stalled) == WINDOW)
        assert written == {"/-/stalled": WINDOW, "/-/flowing": 40 * PIECE}
        assert sum([len(piece) async for piece in stalled]) == 40 * PIECE


def held(incoming: Incoming) -> int:
    return sum(map(len, incoming._pieces))


async def test_what_a_newer_release_says_besides_is_passed_over(tmp_path: Path) -> None:
    async with pair(tmp_path, echo) as both:
        assert both.asking.transport is not None
        hello = msgspec.msgpack.encode([*msgspec.to_builtins(Hello("agent", "n2")), "more", 2])
        both.asking.transport.write(
            encode(200, 2**63, b"\x91\x01", b"?", 0xF0 & ~FLAG_RING)
            + encode(201, 0)
            + encode(Kind.HELLO, 0, hello, b"", 0x80)
        )

        assert (await both.asking.request("/-/x", b"understood"))[1] == b"understood"
        assert both.answering.peer == Hello("agent", "n2")


async def test_an_upload_is_streamed_and_may_be_answered_early(tmp_path: Path) -> None:
    async def handle(exchange: Exchange) -> None:
        if exchange.infer.path == "/-/refuse":
            exchange.fail("too_large", "no more")
        else:
            exchange.respond(str(len(await exchange.body.read())).encode())

    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(6):
            yield b"x" * PIECE

    async with pair(tmp_path, handle) as both:
        _, incoming = await both.asking.upload(Infer("/-/take"), pieces())
        assert await incoming.read() == str(6 * PIECE).encode()
        with pytest.raises(CallError) as caught:
            await both.asking.upload(Infer("/-/refuse"), pieces())
        assert caught.value.code == "too_large"


async def test_an_asker_that_gives_up_cancels_the_answer(tmp_path: Path) -> None:
    heard, began = anyio.Event(), anyio.Event()

    async def handle(exchange: Exchange) -> None:
        exchange.on_cancel = heard.set
        began.set()
        await exchange.body.read()
        with pytest.raises(CallError):
            await exchange.out.write(b"x" * (2 * WINDOW))
        exchange.respond()

    async with pair(tmp_path, handle) as both, anyio.create_task_group() as group:
        group.start_soon(both.asking.request, "/-/slow")
        await began.wait()
        group.cancel_scope.cancel()
        with anyio.CancelScope(shield=True):
            await heard.wait()


async def test_something_said_one_way_gets_no_answer(tmp_path: Path) -> None:
    heard: list[bytes] = []
    arrived = anyio.Event()

    async def handle(exchange: Exchange) -> None:
        heard.append(await exchange.body.read())
        exchange.respond(b"nobody reads this")
        arrived.set()

    async with pair(tmp_path, handle) as both:
        both.asking.notify("/-/report", b"news")
        await arrived.wait()
        assert heard == [b"news"]


async def test_a_lost_connection_fails_what_is_under_way_on_both_sides(tmp_path: Path) -> None:
    cancelled, began = anyio.Event(), anyio.Event()

    async def handle(exchange: Exchange) -> None:
        exchange.on_cancel = cancelled.set
        began.set()
        await cancelled.wait()
        exchange.respond()

    async with pair(tmp_path, handle) as both:
        async with anyio.create_task_group() as group:

            async def ask() -> None:
                with pytest.raises(CallError, match="the connection was lost"):
                    await both.asking.request("/-/slow")

            group.start_soon(ask)
            await began.wait()
            both.asking.abort()
        await cancelled.wait()
        with pytest.raises(CallError, match="the connection is closed"):
            await both.asking.request("/-/later")


async def test_a_peer_that_speaks_nonsense_is_cut_off(tmp_path: Path) -> None:
    for nonsense in (
        b"GET / HTTP/1.1\r\n\r\n" * 2,
        encode(Kind.INFER, 1, b"\xc1", b"", FLAG_END),
        encode(Kind.HELLO, 0, b"\x91\xa1\x80"),
    ):
        async with pair(tmp_path, echo) as both:
            stranger = await dial(f"unix:{tmp_path / 's'}", FrameProtocol)
            assert stranger.transport is not None
            stranger.transport.write(nonsense)
            await settled(lambda stranger=stranger: stranger.closed)  # type: ignore[misc]  # a default binds the loop's value
            assert (await both.asking.request("/-/x", b"still here"))[1] == b"still here"


async def test_an_error_whose_text_is_no_text_is_told_all_the_same(tmp_path: Path) -> None:
    async def handle(exchange: Exchange) -> None:
        raise NodeError("no file \udcff")

    async with pair(tmp_path, handle) as both:
        with pytest.raises(CallError, match=r"no file \\udcff"):
            await both.asking.request("/-/x")


async def test_an_answer_that_ends_before_it_began_fails_the_asker_and_cuts_off_the_peer(
    tmp_path: Path,
) -> None:
    async def handle(exchange: Exchange) -> None:
        exchange.out.end()

    async with pair(tmp_path, handle) as both:
        with anyio.fail_after(1.0), pytest.raises(CallError, match="the connection was lost"):
            await both.asking.request("/-/x")


async def test_who_gives_up_waiting_for_a_greeting_hangs_up(tmp_path: Path) -> None:
    accepted: list[FrameProtocol] = []

    def silent() -> FrameProtocol:
        accepted.append(FrameProtocol())
        return accepted[-1]

    async with anyio.create_task_group() as group:
        server = await listen(tmp_path / "s", silent)
        with anyio.move_on_after(10.0) as patience:
            group.start_soon(_cancel_when, lambda: bool(accepted), patience)
            await dial_channel(f"unix:{tmp_path / 's'}", Hello("agent"), nobody, group.start_soon)

        await settled(lambda: accepted[0].closed)
        server.close()


async def _cancel_when(condition: Callable[[], bool], scope: anyio.CancelScope) -> None:
    await settled(condition)
    scope.cancel()


async def test_a_socket_belongs_to_its_user_and_a_stale_one_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "s"
    path.write_text("left by a dead process")

    server = await listen(path, FrameProtocol)
    assert path.stat().st_mode & 0o777 == 0o600
    server.close()


async def settled(condition: Callable[[], bool]) -> None:
    """Let other tasks run until the condition holds."""
    with anyio.fail_after(PATIENCE_S):
        while not condition():
            await anyio.lowlevel.checkpoint()
    for _ in range(20):
        await anyio.lowlevel.checkpoint()
