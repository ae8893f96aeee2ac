"""Does a command that names a profile reach that router, and no other?"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from system.place import Place, place

ECHO = """
from glowplug import endpoint

@endpoint(examples=[{"word": "a"}])
def echo(word: str) -> str:
    return word * 2
"""


@pytest.fixture(scope="module")
def routers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Place, Place]]:
    """Lend the router here, and another one that it knows as `there`."""
    base = tmp_path_factory.mktemp("routers")
    with place(base / "here") as here, place(base / "there") as there:
        here.run("profile", "add", "there", there.url, stdin=there.key)
        yield here, there


def test_a_deploy_to_another_router_is_there_and_not_here(routers: tuple[Place, Place]) -> None:
    here, there = routers
    file = str(here.write("echo", ECHO))
    here.run("deploy", file, "--profile", "there", "-m", "far away")

    called = here.run("call", "echo/echo", "--profile", "there", "-i", "word=ab")[0]
    assert called["output"] == "abab"
    (row,) = here.run("history", "echo", "--profile", "there")[0]["deployments"]
    assert (row["generation"], row["message"]) == (1, "far away")
    assert there.answers("/echo/echo", {"word": "x"}) == "xx"

    assert here.run("status")[0]["apps"] == []
    absent = here.glowplug("history", "echo")
    assert absent.returncode == 1
    assert "echo" in absent.stderr


def test_the_current_profile_is_used_until_another_is_chosen(routers: tuple[Place, Place]) -> None:
    here, there = routers
    assert here.run("profile", "list")[0]["current"] == "local"
    assert here.run("status")[0]["url"] == here.url

    here.run("profile", "use", "there")
    try:
        assert here.run("status")[0]["url"] == there.url
        assert here.run("status", "--profile", "local")[0]["url"] == here.url
    finally:
        here.run("profile", "use", "local")


def test_a_router_that_does_not_take_the_key_gets_no_name(
    routers: tuple[Place, Place], tmp_path: Path
) -> None:
    here, there = routers

    said = here.glowplug("profile", "add", "closed", there.url, stdin=here.key)

    assert said.returncode == 1
    assert "closed" not in here.run("profile", "list")[0]["profiles"]
