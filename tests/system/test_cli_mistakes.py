"""Is every mistake a newcomer makes met with its cause and the next step, for people and for programs?"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from system.terminal import Terminal, shop_terminal

MISTAKES: tuple[tuple[tuple[str, ...], int, str, str], ...] = (
    (("depoly", "shop.py"), 2, "no verb `depoly`", "`deploy`"),
    (("deploy",), 2, "Missing argument", "--help"),
    (("deploy", "nosuch.py"), 1, "no file nosuch.py", "glowplug init"),
    (("deploy", "../empty"), 1, "../empty is a folder", "glowplug deploy ../empty/app.py"),
    (("run", "../empty"), 1, "../empty is a folder", "glowplug run"),
    (("stop", "shop/greet"), 1, "`shop/greet` names an endpoint", "`glowplug stop shop`"),
    (("secrets", "set", "A=b"), 1, "give the name alone", "glowplug secrets set A`"),
    (("deploy", "../empty/empty.py"), 1, "empty.py declares no endpoint", "@endpoint"),
    (("deploy", "../syntax/syntax.py"), 1, "syntax.py:5: expected ':'", "correct the syntax"),
    (
        ("deploy", "../option/option.py"),
        1,
        "option.py:4: @endpoint has no option `concurency`",
        "`concurrency`",
    ),
    (("deploy", "../raising/raising.py"), 1, "raising.py:1: ZeroDivisionError", "@on.load"),
    (("deploy", "shop.py", "--profile", "lcoal"), 1, "no profile `lcoal`", "`local`"),
    (("run", "nosuch.py"), 1, "no file nosuch.py", "glowplug run"),
    (("run", "shop.py"), 1, "several endpoints", "shop.py::greet"),
    (("run", "shop.py::gret"), 1, "no endpoint `gret`", "`greet`"),
    (("run", "shop.py::greet"), 1, "name: Field required", "(name: string"),
    (("call", "greet"), 1, "`greet` is not APP/ENDPOINT", "glowplug call"),
    (("call", "shop/gret", "-i", "name=x"), 1, "no endpoint shop/gret", "`shop/greet`"),
    (("call", "shpo/greet", "-i", "name=x"), 1, "no endpoint shpo/greet", "`shop/greet`"),
    (("call", "shop/greet@v99"), 1, "no version 'v99'", "history"),
    (("call", "shop/greet", "-i", "nme=x"), 1, "nme", "glowplug status shop/greet"),
    (("call", "shop/greet", "-i", "name"), 1, "`name` is not NAME=VALUE", "-i name=Ada"),
    (("call", "shop/look", "-i", "img=@no.png"), 1, "cannot read no.png", "after @"),
    (("call", "shop/greet", "-i", "x=1", "-d", "{}"), 1, "--data", "one of them"),
    (("call", "shop/greet", "-d", "{"), 1, "JSON", "JSON object"),
    (("call", "shop/greet", "--timeout", "soon"), 1, "--timeout", "5m"),
    (("status", "shpo"), 1, "shpo", "`shop`"),
    (("status", "shop/gret"), 1, "no endpoint gret", "`greet`"),
    (("logs", "shpo"), 1, "shpo", "`shop`"),
    (("history", "shpo"), 1, "shpo", "`shop`"),
    (("rollback", "shop", "99"), 1, "generation 99", "history"),
    (("stop", "shpo"), 1, "shpo", "`shop`"),
    (("scale", "shop"), 1, "`shop` is not APP/ENDPOINT", "--min 1"),
    (("scale", "shop/greet"), 1, "nothing to change", "--min"),
    (("scale", "shop/gret", "--min", "1"), 1, "shop/gret", "`shop/greet`"),
    (("scale", "shop/greet", "--min", "99"), 1, "min=99", "raise max"),
    (("keys", "create", "--scope", "all"), 1, "unknown scope 'all'", ""),
    (("keys", "create", "--expires", "0"), 1, "--expires 0", "30d"),
    (("keys", "revoke", "nosuch"), 1, "no key nosuch", "keys list"),
    (("secrets", "remove", "NOSUCH"), 1, "no secret NOSUCH", "secrets list"),
    (("profile", "use", "nosuch"), 1, "no profile `nosuch`", "profile add"),
    (("profile", "add", "x", "box", "--key", "k"), 1, "`box` is not a URL", "https://"),
    (("profile", "add", "x", "http://127.0.0.1:9"), 1, "the API key is empty", "profile add x"),
    (
        ("profile", "add", "x", "http://127.0.0.1:9", "--key", "k"),
        1,
        "no router answers",
        "glowplug up",
    ),
    (("up", "--port", "0"), 1, "a router already runs", "glowplug down"),
    (("init", "."), 1, "not empty", "glowplug init"),
    (("init", "v1"), 1, "cannot be called 'v1'", "another name"),
    (("init", "new", "--json", "x"), 2, "x", "--help"),
)


@pytest.fixture(scope="module")
def terminal(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Terminal]:
    """Lend a terminal on a running router, with files as they go wrong."""
    with shop_terminal(tmp_path_factory.mktemp("cli")) as here:
        _write_bad_files(here)
        yield here


def _write_bad_files(terminal: Terminal) -> None:
    start = "from glowplug import endpoint\n\n\n@endpoint"
    terminal.app("empty", "x = 1\n")
    terminal.app("syntax", f"{start}\ndef f(x: int) -> int\n    return x\n")
    terminal.app("option", f"{start}(concurency=3)\ndef f(x: int) -> int:\n    return x\n")
    terminal.app("raising", "1 / 0\n")


@pytest.mark.parametrize(
    ("words", "code", "cause", "fix"),
    MISTAKES,
    ids=lambda one: " ".join(one) if isinstance(one, tuple) else "",
)
def test_a_mistake_is_named_with_its_cause_and_the_next_step(
    terminal: Terminal, words: tuple[str, ...], code: int, cause: str, fix: str
) -> None:
    plain = terminal.type(*(word for word in words if word != "--json"))
    said = terminal.type(*words, *(() if "--json" in words else ("--json",)))

    assert (plain.code, plain.out) == (code, "")
    assert cause in plain.err
    assert fix in plain.err
    assert "Traceback" not in plain.err or "raising" in words[1]
    error: dict[str, Any] = said.document["error"]
    assert said.code == code
    assert cause in error["message"]
    assert error["code"]
    assert error["hint"]


@pytest.fixture
def url(terminal: Terminal) -> str:
    record = json.loads((terminal.home / "profiles.json").read_text())
    return str(record["profiles"]["local"]["url"])


def test_a_wrong_key_is_told_with_the_router_it_was_for(terminal: Terminal, url: str) -> None:
    env = {"GLOWPLUG_URL": url, "GLOWPLUG_KEY": "gp_wrong"}

    for words in (("status",), ("deploy", "shop.py"), ("call", "shop/greet", "-i", "name=x")):
        said = terminal.type(*words, env=env)
        assert (said.code, said.out) == (1, "")
        assert "key" in said.err
    assert f"{url} does not take this key" in terminal.type("status", env=env).err


def test_a_wrong_key_of_a_profile_names_it_and_how_to_give_it_another(
    terminal: Terminal, url: str, tmp_path: Path
) -> None:
    place = {"current": "box", "profiles": {"box": {"url": url, "key": "gp_wrong"}}}
    (tmp_path / "profiles.json").write_text(json.dumps(place))

    for words in (("status",), ("call", "shop/greet", "-i", "name=x")):
        said = terminal.type(*words, env={"GLOWPLUG_HOME": str(tmp_path)})
        assert f"`box` is wrong: `glowplug profile add box {url}`" in said.err


def test_profiles_of_which_none_is_current_are_named(terminal: Terminal, tmp_path: Path) -> None:
    for name, wanted in (("local", "`glowplug profile use local`"), ("dev", "`--profile dev`")):
        place = {"current": "", "profiles": {name: {"url": "http://127.0.0.1:9", "key": "k"}}}
        (tmp_path / "profiles.json").write_text(json.dumps(place))

        said = terminal.type("call", "shop/greet", env={"GLOWPLUG_HOME": str(tmp_path)})

        assert wanted in said.err


def test_a_family_of_verbs_lists_when_none_is_named(terminal: Terminal) -> None:
    for family in ("keys", "secrets", "profile"):
        assert terminal.ok(family, "--json").out == terminal.ok(family, "list", "--json").out
        assert terminal.ok(family).out == terminal.ok(family, "list").out
    assert "first" in terminal.ok("history", "shop/greet").out


def test_the_time_that_ran_out_is_told_with_the_option_for_more(terminal: Terminal) -> None:
    said = terminal.type("call", "shop/halve", "-i", "x=3", "--timeout", "1ns")

    assert "`--timeout 5m`" in said.err


def test_an_open_door_is_refused_with_how_to_put_a_lock_on_it(terminal: Terminal) -> None:
    env = {"GLOWPLUG_HOME": str(terminal.base / "other")}

    said = terminal.type("up", "--host", "0.0.0.0", "--port", "0", "--detach", env=env)

    assert (said.code, said.out) == (1, "")
    assert "0.0.0.0 can be reached from the network" in said.err
    assert "--allow-host" in said.err


def test_a_port_that_is_taken_is_told_with_another(terminal: Terminal, url: str) -> None:
    env = {"GLOWPLUG_HOME": str(terminal.base / "other")}
    port = url.rpartition(":")[2]

    for words in (("up", "--detach"), ("up",), ("dev", "shop.py")):
        said = terminal.type(*words, "--port", port, env=env)
        assert (said.code, said.out) == (1, "")
        assert f"port {port} of 127.0.0.1 is taken" in said.err
        assert f"glowplug {words[0]}" in said.err
