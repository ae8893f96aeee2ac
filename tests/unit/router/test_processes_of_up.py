"""Does the supervisor keep its promises where no process is needed to see it?"""

import json
import os
import socket
from dataclasses import replace
from pathlib import Path

import pytest

from glowplug.clock import SECOND, ManualClock
from glowplug.errors import ConfigError
from glowplug.node.processes import Identity, identity
from glowplug.settings import Home
from glowplug_router.settings import Tls, UpSettings
from glowplug_router.supervisor.children import (
    DELAY_FIRST_NS,
    DELAY_MAX_NS,
    STEADY_NS,
    Child,
)
from glowplug_router.supervisor.listening import is_loopback, listen, refuse_open_door, url_of
from glowplug_router.supervisor.up_file import Up, UpFile, down, is_same, only_one, running


def myself() -> Identity:
    me = identity(os.getpid())
    assert me is not None
    return me


def settings(tmp_path: Path, **changes: object) -> UpSettings:
    return replace(UpSettings(home=Home(tmp_path), port=0), **changes)  # type: ignore[arg-type]  # of the test


def test_a_child_that_dies_young_is_made_again_later_each_time() -> None:
    delays = waits(lived_ns=[SECOND] * 10)

    assert delays[:3] == [DELAY_FIRST_NS, 2 * DELAY_FIRST_NS, 4 * DELAY_FIRST_NS]
    assert delays[-1] == DELAY_MAX_NS


def test_a_child_that_lived_long_is_made_again_soon() -> None:
    assert waits(lived_ns=[SECOND] * 3 + [STEADY_NS])[-1] == DELAY_FIRST_NS
    assert waits(lived_ns=[SECOND] * 3 + [STEADY_NS - 1])[-1] == 8 * DELAY_FIRST_NS


def waits(lived_ns: list[int]) -> list[int]:
    """Return how long a child is away after each death."""
    child = Child("agent", lambda leash: None)
    found = []
    for lived in lived_ns:
        child.died(child.began_ns + lived)
        found.append(child.due_ns - child.began_ns - lived)
        child.began_ns = child.due_ns
    return found


def test_a_death_is_counted_and_dated() -> None:
    child = Child("agent", lambda leash: None, pid=5, began_ns=10)

    child.died(10 + SECOND)

    assert (child.pid, child.deaths, child.due_ns) == (0, 1, 10 + SECOND + DELAY_FIRST_NS)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "::1", "localhost"])
def test_loopback_is_open_to_nobody_else(host: str) -> None:
    assert is_loopback(host)
    refuse_open_door(UpSettings(host=host))


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "router.example.org"])
def test_another_address_needs_the_name_it_answers_to(host: str) -> None:
    with pytest.raises(ConfigError, match="plain HTTP") as refused:
        refuse_open_door(UpSettings(host=host))

    assert "--allow-host" in refused.value.hint
    assert "TLS" in refused.value.hint
    refuse_open_door(UpSettings(host=host, hosts=("router.example.org",)))


def test_a_port_that_is_taken_is_named_with_a_way_out(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError, match=f"port {port} of 127.0.0.1 is taken") as refused:
            listen(settings(tmp_path, port=port))

    assert f"--port {port + 1}" in refused.value.hint
    assert "ss -ltnp" in refused.value.hint


@pytest.mark.parametrize("changes", [{"port": 99999}, {"host": "192.0.2.1", "hosts": ("x",)}])
def test_an_address_that_is_not_ours_is_refused(tmp_path: Path, changes: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match="cannot listen"):
        listen(settings(tmp_path, **changes))


def test_any_free_port_has_a_url(tmp_path: Path) -> None:
    with listen(settings(tmp_path)) as sock:
        port = sock.getsockname()[1]
        plain = settings(tmp_path)
        ours = replace(plain, tls=Tls(cert="cert.pem", key="key.pem", ca="ca.pem"))
        theirs = replace(plain, tls=Tls(cert="c", key="k", ca="c"), hosts=("*", "box.example:443"))

        assert url_of(sock, plain) == f"http://127.0.0.1:{port}"
        assert url_of(sock, ours) == f"https://127.0.0.1:{port}"
        assert url_of(sock, theirs) == f"https://box.example:{port}"


def test_a_home_has_one_router(tmp_path: Path) -> None:
    home = Home(tmp_path)
    with only_one(home):
        UpFile(home).write(Up(supervisor=myself(), url="http://127.0.0.1:1", started_wall_ns=1))
        with (
            pytest.raises(
                ConfigError, match=rf"already runs .*pid {os.getpid()}\) at http://127.0.0.1:1"
            ) as refused,
            only_one(home),
        ):
            pass

    assert "glowplug down" in refused.value.hint
    with only_one(home):
        pass


def test_a_home_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    with (
        pytest.raises(ConfigError, match="cannot make"),
        only_one(Home(tmp_path / "file" / "home")),
    ):
        pass


def test_up_json_says_who_runs_and_other_tools_can_read_it(tmp_path: Path) -> None:
    home = Home(tmp_path)
    home.router.mkdir()
    up = Up(
        supervisor=myself(),
        url="http://127.0.0.1:1",
        started_wall_ns=7,
        children=(("agent", myself()),),
    )

    UpFile(home).write(up)

    assert UpFile(home).read() == up == running(home)
    assert json.loads((home.router / "up.json").read_text())["pid"] == os.getpid()


def test_a_process_that_reuses_the_pid_is_not_taken_for_the_router(tmp_path: Path) -> None:
    home = Home(tmp_path)
    home.router.mkdir()
    other = replace(myself(), start_ticks=1)
    UpFile(home).write(Up(supervisor=other, url="http://127.0.0.1:1", started_wall_ns=7))

    assert not is_same(other)
    assert running(home) is None
    assert not down(home, ManualClock())


@pytest.mark.parametrize("text", ["", "{", "{}", "[]"])
def test_an_up_json_that_cannot_be_read_means_that_nothing_runs(tmp_path: Path, text: str) -> None:
    home = Home(tmp_path)
    home.router.mkdir()
    (home.router / "up.json").write_text(text)

    assert running(home) is None
