"""Does a socket that other hosts can reach hear members only?"""

import ssl
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from certificates import Certificate, certificate_for
from glowplug.errors import NodeError, WireError
from glowplug.wire.frames import FLAG_RING, Kind, encode
from glowplug.wire.gate import ADMIT_S, HELLO_MAX, STRANGERS_MAX, Gate
from glowplug.wire.messages import Hello, Infer, pack
from glowplug.wire.tls import serving, trusting
from glowplug.wire.transport import dial, listen
from unit.runtime.wires import HELLO, TOKEN, Peer, Stage, body_of, settled, standing


@pytest.fixture(params=["asyncio", "uvloop"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    return "asyncio", {"use_uvloop": request.param == "uvloop"}


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    return certificate_for(tmp_path_factory.mktemp("certificate"))


# -- strangers -------------------------------------------------------------------------------------


@pytest.fixture(params=["tcp", "tls"])
async def far(
    request: pytest.FixtureRequest, tmp_path: Path, certificate: Certificate
) -> AsyncIterator[Stage]:
    async with standing(request.param, tmp_path, certificate) as made:
        yield made


async def test_a_peer_with_the_wrong_token_hears_and_says_nothing(far: Stage) -> None:
    for token in ("", "wrong", TOKEN[:-1], TOKEN + "x", "ü"):
        stranger = await far.stranger(Hello("gateway", token=token))
        stranger.send(Kind.INFER, 1, pack(Infer("/")))
        await settled(lambda stranger=stranger: stranger.closed)  # type: ignore[misc]  # a default binds the loop's value
        assert stranger.greetings == 0
        refused = far.accepted[-1]
        await settled(lambda refused=refused: refused.closed)  # type: ignore[misc]  # as above
        assert (refused.frames, refused.greetings, refused.is_lost) == ([], 0, False)


@pytest.mark.parametrize(
    "first",
    [
        encode(Kind.INFER, 1, pack(HELLO)),
        encode(Kind.HELLO, 0, b"\xc1"),
        encode(Kind.HELLO, 0, pack(HELLO) + bytes(HELLO_MAX)),
        encode(Kind.HELLO, 0, pack(HELLO), b"x"),
        encode(Kind.HELLO, 0, pack(Hello("gateway")), b"", FLAG_RING),
        b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
    ],
    ids=["no hello", "malformed", "long", "with a body", "about memory", "http"],
)
async def test_anything_but_a_short_hello_ends_the_connection(far: Stage, first: bytes) -> None:
    class Silent(Peer):
        def connected(self) -> None:
            assert self.transport is not None
            self.transport.write(
                first + encode(Kind.HELLO, 0, pack(HELLO)) + encode(Kind.CANCEL, 1)
            )

    stranger = await dial(far.address, Silent, tls=far.trust)
    await settled(lambda: stranger.closed)
    assert (stranger.greetings, far.accepted[-1].frames) == (0, [])


async def test_what_a_member_says_in_one_breath_with_its_hello_is_heard(far: Stage) -> None:
    class Hasty(Peer):
        def connected(self) -> None:
            self.greet()
            self.send(Kind.CHUNK, 1, b"m" * (HELLO_MAX + 1), body_of(300_000))

    member = await dial(far.address, Hasty, tls=far.trust)
    await settled(lambda: bool(far.accepted[-1].frames))
    assert far.accepted[-1].frames[0].body == body_of(300_000)
    member.abort()


async def test_who_says_nothing_is_one_of_few_until_it_goes(far: Stage) -> None:
    class Mute(Peer):
        def connected(self) -> None:
            pass

    mutes = [await dial(far.address, Mute, tls=far.trust) for _ in range(STRANGERS_MAX)]
    await settled(lambda: len(far.accepted) == STRANGERS_MAX + 1)
    late = await far.stranger(HELLO)
    await settled(lambda: late.closed)
    assert late.greetings == 0

    mutes[0].abort()
    await settled(lambda: far.accepted[1].closed)
    member = await far.stranger(HELLO)
    await settled(lambda: member.greetings == 1)
    for one in (*mutes, member):
        one.abort()


async def test_a_peer_without_tls_gets_nowhere(tmp_path: Path, certificate: Certificate) -> None:
    async with standing("tls", tmp_path, certificate) as secure:
        stranger = await dial(secure.address.replace("tls:", "tcp:"), Peer)
        await settled(lambda: stranger.closed)
        assert stranger.greetings == 0
        with pytest.raises(WireError, match="only with a TLS context"):
            await dial(secure.address, Peer)


async def test_a_host_with_another_certificate_is_not_trusted(
    tmp_path: Path, certificate: Certificate
) -> None:
    other = certificate_for(tmp_path, "other")
    async with standing("tls", tmp_path, certificate) as secure:
        with pytest.raises(ssl.SSLCertVerificationError):
            await dial(secure.address, Peer, tls=trusting(other.certificate))


# -- the gate's time -------------------------------------------------------------------------------


@dataclass
class Clock:
    """The loop's `call_later`, run by hand."""

    due: list[tuple[float, Callable[[], None]]] = field(default_factory=list)

    def later(self, delay_s: float, run: Callable[[], None]) -> "Clock":
        self.due.append((delay_s, run))
        return self

    def cancel(self) -> None:
        self.due.clear()


def test_a_peer_has_some_seconds_to_prove_itself() -> None:
    clock, strangers, ended = Clock(), set[Gate](), list[str]()
    one = Gate(TOKEN, strangers)
    one.begin(clock.later, lambda: ended.append("cut off"))

    ((delay_s, run),) = clock.due
    run()
    assert (delay_s, ended, strangers) == (ADMIT_S, ["cut off"], {one})
    one.end()
    assert (clock.due, strangers) == ([], set())


# -- addresses -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "address",
    [
        "",
        "localhost",
        "tcp:",
        "tcp:9",
        "tcp:host:",
        "tcp::9",
        "tcp:h:65536",
        "tcp:h:²",
        "udp:h:1",
        "unix:",
    ],
)
async def test_an_address_says_how_to_get_there(address: str) -> None:
    with pytest.raises(WireError, match="is no address"):
        await dial(address, Peer)
    with pytest.raises(WireError, match="is no address"):
        await listen(address, Peer, token=TOKEN)


async def test_nobody_listens_to_other_hosts_without_a_token(certificate: Certificate) -> None:
    context = serving(certificate.certificate, certificate.key)
    for address, token, tls in (
        ("tcp:127.0.0.1:0", "", None),
        ("tls:127.0.0.1:0", "", context),
        ("tls:127.0.0.1:0", TOKEN, None),
        ("tcp:127.0.0.1:0", TOKEN, context),
    ):
        with pytest.raises(WireError, match="needs a token, and a TLS context exactly when"):
            await listen(address, Peer, token=token, tls=tls)


async def test_the_version_six_loopback_is_an_address_too() -> None:
    server = await listen("tcp:[::1]:0", Peer, token=TOKEN)
    port = server.sockets[0].getsockname()[1]
    peer = await dial(f"tcp:[::1]:{port}", Peer)
    await settled(lambda: peer.greetings == 1)
    peer.abort()
    server.close()


def test_a_certificate_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    absent = tmp_path / "absent.pem"

    with pytest.raises(NodeError, match=r"cannot serve TLS with .*absent\.pem"):
        serving(absent, absent)
    with pytest.raises(NodeError, match=r"cannot trust .*absent\.pem"):
        trusting(absent)
