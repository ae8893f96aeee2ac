import pytest

from glowplug_router.gateway.hosts import HostCheck


@pytest.mark.parametrize(
    "host", [b"localhost", b"LOCALHOST:8686", b"127.0.0.1:1", b"[::1]:8686", b"box.", b"Box:80"]
)
def test_loopback_and_configured_names_are_ours_whatever_the_port(host: bytes) -> None:
    assert HostCheck(("box",)).allows(host)


@pytest.mark.parametrize(
    "host",
    [
        b"",
        b"evil.example",
        b"localhost.evil",
        b"box.evil",
        b"127.0.0.1.evil",
        b"[::2]",
        b"localhost@evil",
        b"localhost:80@evil.com",
        b"localhost:x",
        b"[::1].evil.com",
        b"[::1]x:80",
        b"localhost/evil",
    ],
)
def test_other_names_are_not(host: bytes) -> None:
    assert not HostCheck(("box",)).allows(host)


def test_a_star_allows_any_name() -> None:
    assert HostCheck(("*",)).allows(b"evil.example")


@pytest.mark.parametrize(
    ("origin", "may"),
    [
        (b"http://box:8686", True),
        (b"https://box:8686", True),
        (b"http://box", False),
        (b"null", False),
        (b"ftp://box:8686", False),
        (b"https://app.example", True),
        (b"https://app.example.evil", False),
    ],
)
def test_pages_of_this_host_and_configured_ones_may_write(
    origin: bytes, may: bool
) -> None:  # a case
    check = HostCheck(("box",), ("https://app.example/",))

    assert check.allows_origin(b"POST", origin, b"box:8686") is may
    assert check.allows_origin(b"GET", origin, b"box:8686")
