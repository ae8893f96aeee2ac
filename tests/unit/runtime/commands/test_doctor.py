"""Does the doctor name what is wrong, and what mends it?"""

import json
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from glowplug.commands.doctor import Finding, findings
from glowplug.settings import Home


def found(place: Home, port: int = 1) -> dict[str, Finding]:
    return {one.name: one for one in findings(place, port)}


@pytest.fixture
def listening() -> Iterator[int]:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        sock.listen()
        yield sock.getsockname()[1]


def up(place: Home, port: int) -> None:
    place.router.mkdir(parents=True)
    record = {"pid": 1, "url": f"http://127.0.0.1:{port}"}
    (place.router / "up.json").write_text(json.dumps(record))


def test_a_machine_where_all_is_well_has_nothing_to_mend(tmp_path: Path) -> None:
    checked = found(Home(tmp_path / "new"))

    assert {
        checked[name].state for name in ("python", "home", "profiles", "sockets", "router")
    } == {"ok"}
    assert not (tmp_path / "new").exists()


def test_what_is_not_ok_has_a_fix(tmp_path: Path) -> None:
    assert all(one.fix for one in findings(Home(tmp_path), 1) if one.state != "ok")


def test_a_home_below_a_file_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    one = found(Home(tmp_path / "file" / "home"))["home"]

    assert (one.state, one.fix) == ("fail", "set GLOWPLUG_HOME to a folder of yours")


def test_a_broken_file_of_profiles_is_named(tmp_path: Path) -> None:
    (tmp_path / "profiles.json").write_text("{")

    one = found(Home(tmp_path))["profiles"]

    assert one.state == "fail"
    assert str(tmp_path / "profiles.json") in one.detail


def test_a_port_that_somebody_has_is_said_to_be_taken(tmp_path: Path, listening: int) -> None:
    one = found(Home(tmp_path), listening)["port"]

    assert one.state == "warn"
    assert f"sport = :{listening}" in one.fix


def test_a_port_that_our_own_router_has_is_no_trouble(tmp_path: Path, listening: int) -> None:
    up(Home(tmp_path), listening)

    checked = found(Home(tmp_path), listening)

    assert (checked["port"].state, checked["router"].state) == ("ok", "ok")


def test_a_router_that_does_not_answer_is_told(tmp_path: Path, listening: int) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound, but nobody listens
        up(Home(tmp_path), taken.getsockname()[1])

        one = found(Home(tmp_path), listening)["router"]

    assert one.state == "warn"
    assert "glowplug logs --system" in one.fix


def test_a_long_home_still_has_room_for_its_sockets(tmp_path: Path) -> None:
    assert found(Home(tmp_path / ("x" * 200)))["sockets"].state == "ok"
