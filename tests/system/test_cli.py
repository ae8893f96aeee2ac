"""Does every verb do by hand what its help says, for people and for programs?"""

import json
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from system.terminal import SHOP, Terminal, eventually_none, shop_terminal


@pytest.fixture(scope="module")
def terminal(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Terminal]:
    with shop_terminal(tmp_path_factory.mktemp("cli")) as here:
        yield here


@pytest.fixture
def url(terminal: Terminal) -> str:
    record = json.loads((terminal.home / "profiles.json").read_text())
    return str(record["profiles"]["local"]["url"])


# -- deploying ----------------------------------------------------------------------------------


def test_the_printed_curl_lines_work_as_pasted(terminal: Terminal) -> None:
    said = terminal.ok("deploy", "shop.py")

    lines = [line for line in said.out.splitlines() if "curl" in line]
    answers = [terminal.shell(line) for line in lines]
    size = len((terminal.folder / "shop.py").read_bytes())
    assert len(lines) == 5
    assert '"Hello, world!"' in answers
    assert "0.5" in answers
    assert any("event: done" in answer for answer in answers)
    assert any(answer.startswith(f'{{"bytes":{size}') for answer in answers)


def test_a_deploy_of_the_same_says_that_nothing_changed(terminal: Terminal) -> None:
    said = terminal.ok("deploy", "shop.py")
    document = terminal.ok("deploy", "shop.py", "--json").last

    assert said.out.startswith("nothing changed: shop serves generation ")
    assert said.err.count(": as it was") == 5
    assert (document["event"], document["unchanged"]) == ("done", True)


def test_a_deploy_is_told_in_a_line_an_endpoint(terminal: Terminal) -> None:
    said = terminal.ok("deploy", terminal.app("lines", SHOP))

    assert [line.split(":")[0] for line in said.err.splitlines()] == [
        f"✓ {name}@v1" for name in ("count", "greet", "halve", "look", "reverse")
    ]
    assert said.out.startswith("lines serves generation 1 (")


def test_history_rollback_and_stop_lead_there_and_back(terminal: Terminal) -> None:
    text = "from glowplug import endpoint\n\n\n@endpoint(examples=[{}])\ndef say() -> str:\n    return 'one'\n"
    terminal.ok("deploy", terminal.app("turn", text), "-m", "the first")
    assert terminal.ok("call", "turn/say").out == "one\n"
    terminal.ok("deploy", terminal.app("turn", text.replace("one", "two")), "-m", "the second")
    assert terminal.ok("call", "turn/say@v2").out == "two\n"

    assert terminal.ok("rollback", "turn").out == "turn serves generation 3: say@v1\n"
    assert terminal.ok("call", "turn/say").out == "one\n"
    shown = terminal.ok("history", "turn").out.splitlines()
    assert [line.split()[0] for line in shown[1:]] == ["3", "2", "1"]
    assert "the second" in shown[2]

    assert terminal.ok("rollback", "turn", "2", "--json").last["generation"] == 4
    assert "turn is stopped" in terminal.ok("stop", "turn").out
    assert "stopped" in terminal.ok("status", "turn").out
    refused = terminal.type("call", "turn/say", "--json")
    assert (refused.code, refused.document["error"]["code"]) == (1, "stopped")
    terminal.ok("rollback", "turn")
    assert terminal.ok("call", "turn/say").out == "two\n"


def test_a_version_that_cannot_load_changes_nothing(terminal: Terminal) -> None:
    text = "from glowplug import endpoint, on\n\n\n@endpoint(examples=[{}])\nclass Say:\n    @on.load\n"
    text += "    def load(self) -> None:\n        LOAD\n\n    def __call__(self) -> str:\n        return 'fine'\n"
    terminal.ok("deploy", terminal.app("frail", text.replace("LOAD", "pass")))
    broken = text.replace("LOAD", "raise OSError('no weights')")

    said = terminal.type("deploy", terminal.app("frail", broken))

    assert said.code == 1
    assert said.out == ""
    assert "OSError: no weights" in said.err
    assert "what served before still does" in said.err
    assert terminal.ok("call", "frail/say").out == "fine\n"


# -- calling ------------------------------------------------------------------------------------


def test_arguments_files_and_whole_bodies_arrive(terminal: Terminal) -> None:
    assert (
        terminal.ok("call", "shop/greet", "-i", "name=Ada", "-i", "times=2").out
        == "Hello, Ada! Hello, Ada!\n"
    )
    assert terminal.ok("call", "shop/greet", "--data", '{"name": "Bo"}').out == "Hello, Bo!\n"
    looked = terminal.ok(
        "call", "shop/look", "-i", "img=@a.bin", "-i", "title=x", "--json"
    ).document
    assert looked["output"] == {"bytes": 3, "title": "x"}
    assert looked["headers"]["glowplug-version"] == "v1"
    assert (
        terminal.ok("call", "shop/look", "-d", "@a.bin", "--json").document["output"]["bytes"] == 3
    )


def test_bytes_come_back_as_bytes_or_in_a_file(terminal: Terminal) -> None:
    assert terminal.ok("call", "shop/reverse", "-i", "data=@a.bin").out == "\2\1\0"
    assert (
        terminal.ok("call", "shop/reverse", "-d", "@a.bin", "--json").document["output"] == "AgEA"
    )
    said = terminal.ok("call", "shop/reverse", "-d", "@a.bin", "-o", "../out.bin")
    assert said.out == "wrote 3 bytes to ../out.bin\n"
    assert (terminal.base / "out.bin").read_bytes() == b"\2\1\0"


def test_a_stream_is_shown_item_by_item_asked_for_or_not(terminal: Terminal) -> None:
    expected = '{"i": 0}\n{"i": 1}\n'

    assert terminal.ok("call", "shop/count", "-i", "n=2").out == expected
    assert terminal.ok("call", "shop/count", "-i", "n=2", "--stream").out == expected
    assert terminal.ok("call", "shop/count", "-i", "n=2", "--json").document["output"] == [
        {"i": 0},
        {"i": 1},
    ]
    lines = terminal.ok("call", "shop/count", "-i", "n=2", "--stream", "--json").out.splitlines()
    assert [json.loads(line)["output"] for line in lines] == [{"i": 0}, {"i": 1}]


def test_version_priority_and_timeout_are_taken(terminal: Terminal) -> None:
    options = ("--priority", "batch", "--timeout", "10s")

    assert terminal.ok("call", "shop/greet@v1", "-i", "name=Ada", *options).out == "Hello, Ada!\n"


def test_what_the_endpoint_raised_names_the_logs_of_its_request(terminal: Terminal) -> None:
    said = terminal.type("call", "shop/halve", "-i", "x=1")

    assert (said.code, said.out) == (1, "")
    assert "ZeroDivisionError" in said.err
    command = said.err.partition("`glowplug ")[2].partition("`")[0].split()
    shown = terminal.ok(*command)
    assert "ZeroDivisionError" in shown.out
    assert terminal.ok("logs", command[1][:8]).out == shown.out


def test_a_number_for_text_is_met_with_how_to_write_it(terminal: Terminal) -> None:
    said = terminal.type("call", "shop/greet", "-i", "name=3")

    assert said.code == 1
    assert "-i 'name=\"3\"' sends it as text" in said.err
    assert terminal.ok("call", "shop/greet", "-i", 'name="3"').out == "Hello, 3!\n"


def test_run_needs_no_router_and_keeps_stdout_for_the_answer(terminal: Terminal) -> None:
    nowhere = {"GLOWPLUG_HOME": str(terminal.base / "nowhere")}

    said = terminal.type("run", "shop.py::greet", "-i", "name=Ada", env=nowhere)
    assert (said.code, said.out, said.err) == (0, "Hello, Ada!\n", "greeting Ada\n")
    assert terminal.ok("run", "shop.py::count", "-i", "n=2", "--json").document["output"] == [
        {"i": 0},
        {"i": 1},
    ]
    assert terminal.ok("run", "shop.py::reverse", "-i", "data=@a.bin").out == "\2\1\0"
    raised = terminal.type("run", "shop.py::halve", "-i", "x=1")
    assert raised.code == 1
    assert "line 15, in halve" in raised.err
    assert "glowplug/" not in raised.err


# -- looking ------------------------------------------------------------------------------------


def test_status_shows_all_one_app_or_one_endpoint(terminal: Terminal, url: str) -> None:
    everything = terminal.ok("status").out
    assert everything.startswith(f"{url}, 1 node\n")
    assert "POST /shop/greet  Greet someone." in everything
    assert max(map(len, everything.splitlines())) <= 80

    one = terminal.ok("status", "shop/greet").out
    assert "takes (name: string, times: integer = 1) → string" in one
    assert "POST /shop/count" not in one

    record = terminal.ok("status", "shop", "--json").document
    assert {one["endpoint"] for one in record["endpoints"]} == {
        "count",
        "greet",
        "halve",
        "look",
        "reverse",
    }
    assert "replicas" in record["endpoints"][0]


def test_status_why_tells_decisions_of_one_subject(terminal: Terminal) -> None:
    assert "shop/greet@v1" in terminal.ok("status", "shop/greet", "--why").out
    rows = terminal.ok("status", "shop/greet", "--why", "--json").document["decisions"]
    assert rows
    assert all(row["subject"].startswith("shop/greet") for row in rows)


def test_logs_show_what_was_printed(terminal: Terminal) -> None:
    terminal.ok("call", "shop/greet", "-i", "name=Log")

    assert "greeting Log" in terminal.ok("logs", "shop").out
    assert "shop/greet@v1" in terminal.ok("logs", "shop/greet", "--since", "5m").out
    assert len(terminal.ok("logs", "shop", "-n", "2").out.splitlines()) == 2
    assert len(terminal.ok("logs", "shop", "-n", "2", "--json").out.splitlines()) == 2


def test_logs_of_glowplug_itself_come_in_order(terminal: Terminal) -> None:
    stamps = [line.split()[0] for line in terminal.ok("logs", "--system").out.splitlines()]

    assert stamps == sorted(stamps)
    assert json.loads(terminal.ok("logs", "--system", "-n", "1", "--json").out)["process"]


def test_followed_logs_show_lines_as_they_come(terminal: Terminal) -> None:
    follower = terminal.begin("logs", "shop/greet", "-f", "-n", "1")
    follower.line()  # it follows now
    terminal.ok("call", "shop/greet", "-i", "name=Follow")

    while "greeting Follow" not in follower.line():
        pass
    assert follower.end(signal.SIGINT) == 130


def test_the_scale_is_changed_without_a_restart(terminal: Terminal) -> None:
    said = terminal.ok("scale", "shop/greet", "--max", "2", "--zero-after", "10m")

    assert said.out == "shop/greet: 0 to 2 replicas, at zero after 10 m\n"
    document = terminal.ok("scale", "shop/greet", "--hold", "7", "--json").document
    assert (document["policy"]["hold"], document["policy"]["max"]) == (7, 2)
    said = terminal.ok("scale", "shop/greet", "--target", "1.5", "--up-after", "1500ms")
    assert said.out == (
        "shop/greet: 0 to 2 replicas, 1.5 calls each, more after 1.5 s of load, at zero after 10 m\n"
    )
    for number in ("-1", "nan", "inf"):
        assert (
            "is no number of calls" in terminal.type("scale", "shop/greet", "--target", number).err
        )
    terminal.ok("scale", "shop/greet", "--target", "0", "--up-after", "0s")


def test_doctor_finds_the_router_and_nothing_to_mend_in_the_home(
    terminal: Terminal, url: str
) -> None:
    said = terminal.ok("doctor")
    findings = {one["name"]: one for one in terminal.ok("doctor", "--json").document["findings"]}

    assert max(map(len, said.out.splitlines())) <= 80
    assert url in findings["router"]["detail"]
    assert {findings[name]["state"] for name in ("home", "router", "profiles", "python")} == {"ok"}


# -- keys, secrets, places ----------------------------------------------------------------------


def test_a_key_does_what_its_scopes_say_until_it_is_revoked(terminal: Terminal, url: str) -> None:
    made = terminal.ok("keys", "create", "--name", "guest", "--expires", "1h", "--json").document
    assert made["scopes"] == ["invoke:*"]
    env = {"GLOWPLUG_URL": url, "GLOWPLUG_KEY": made["key"]}

    assert terminal.type("call", "shop/greet", "-i", "name=G", env=env).out == "Hello, G!\n"
    refused = terminal.type("status", "--json", env=env)
    assert (refused.code, refused.document["error"]["code"]) == (1, "forbidden")
    row = next(line for line in terminal.ok("keys", "list").out.splitlines() if made["id"] in line)
    assert "live for " in row

    assert terminal.ok("keys", "revoke", made["id"]).out == f"{made['id']} is revoked\n"
    assert terminal.type("call", "shop/greet", "-i", "name=G", env=env).code == 1
    plain = terminal.ok("keys", "create", "--scope", "read")
    assert plain.out.startswith("gp_")
    assert len(plain.out.splitlines()) == 1


def test_secrets_are_set_from_a_pipe_and_reach_the_endpoint(terminal: Terminal) -> None:
    text = "import os\n\nfrom glowplug import endpoint\n\n\n@endpoint(secrets=['WORD'])\n"
    text += "def tell() -> str:\n    return os.environ['WORD'][::-1]\n"

    assert "WORD is set" in terminal.ok("secrets", "set", "WORD", stdin="sesame\n").out
    assert terminal.ok("secrets", "list").out == "WORD\n"
    terminal.ok("deploy", terminal.app("hush", text))
    assert terminal.ok("call", "hush/tell").out == "emases\n"
    assert terminal.ok("secrets", "remove", "WORD", "--json").document == {
        "name": "WORD",
        "removed": True,
    }
    assert "value of WORD is empty" in terminal.type("secrets", "set", "WORD").err


def test_a_second_place_is_named_used_and_forgotten(terminal: Terminal, url: str) -> None:
    key = terminal.ok("keys", "create", "--scope", "deploy:*", "--scope", "read").out.strip()

    assert "box answers at" in terminal.ok("profile", "add", "box", url, stdin=key).out
    assert "nothing changed" in terminal.ok("deploy", "shop.py", "--profile", "box").out
    refused = terminal.type("call", "shop/greet", "-i", "name=x", "--profile", "box", "--json")
    assert refused.document["error"]["code"] == "forbidden"
    terminal.ok("profile", "use", "box")
    assert "* box" in terminal.ok("profile", "list").out
    terminal.ok("profile", "use", "local")
    assert terminal.ok("profile", "remove", "box").out == "box is forgotten\n"
    known = terminal.ok("profile", "list", "--json").document
    assert (known["current"], list(known["profiles"])) == ("local", ["local"])


# -- coming up and going down -------------------------------------------------------------------


def test_a_newcomer_gets_from_nothing_to_an_answer_and_leaves_nothing(tmp_path: Path) -> None:
    terminal = Terminal(tmp_path)
    for words in (("status",), ("deploy", "app.py"), ("call", "hello/greet")):
        said = terminal.type(*words)
        assert (said.code, said.out) == (1, "")
    assert "`glowplug up --detach` starts one here" in terminal.type("status").err
    assert terminal.ok("down").out == f"no router runs in {terminal.home}\n"

    made = terminal.ok("init", "hello")
    assert made.out.splitlines()[-1] == "next: cd hello && glowplug dev app.py"
    up = terminal.ok("up", "--detach", "--port", "0", "--json").document
    assert up["event"] == "up"
    try:
        assert "nothing is deployed" in terminal.ok("status").out
        terminal.ok("deploy", "hello/app.py")
        assert terminal.ok("call", "hello/greet", "-i", "name=Ada").out == "Hello, Ada!\n"
        again = terminal.type("up", "--detach", "--port", "0")
        assert (again.code, again.out) == (1, "")
        assert up["url"] in again.err
    finally:
        down = terminal.type("down")
    assert down.out.startswith(f"stopped the router at {up['url']} (pid ")
    assert eventually_none(terminal.home) == []
    assert terminal.ok("down", "--json").document == {"stopped": False}
    away = terminal.type("status", "--json")
    assert away.document["error"]["code"] == "unreachable"
    assert "glowplug up --detach" in away.document["error"]["hint"]


def test_an_interrupted_deploy_leaves_what_served(terminal: Terminal) -> None:
    text = "import time\n\nfrom glowplug import endpoint, on\n\n\n@endpoint(examples=[{}])\nclass Say:\n    @on.load\n"
    text += "    def load(self) -> None:\n        time.sleep(WAIT)\n\n"
    text += "    def __call__(self) -> float:\n        return WAIT\n"
    terminal.ok("deploy", terminal.app("slow", text.replace("WAIT", "0.0")))
    slow = terminal.app("slow", text.replace("WAIT", "60.0"))
    deploying = terminal.begin("deploy", slow, "--json")
    while json.loads(deploying.line()).get("state") != "loading":
        pass

    assert deploying.end(signal.SIGINT) == 130
    assert terminal.ok("call", "slow/say").out == "0.0\n"
    rows = terminal.ok("history", "slow", "--json").document["deployments"]
    assert [row["generation"] for row in rows] == [1]
    quick = terminal.app("slow", text.replace("WAIT", "0.001"))
    terminal.ok("deploy", quick)  # nothing is held by the one that was given up


def test_a_home_inside_a_project_never_goes_along(terminal: Terminal) -> None:
    nested = {"GLOWPLUG_HOME": str(terminal.base / "nest" / "own")}
    file = terminal.app("nest", SHOP)
    profiles = terminal.base / "nest" / "own" / "profiles.json"
    profiles.parent.mkdir()
    profiles.write_bytes((terminal.home / "profiles.json").read_bytes())

    terminal.type("deploy", file, env=nested)

    assert "nothing changed" in terminal.type("deploy", file, env=nested).out
    key = json.loads(profiles.read_bytes())["profiles"]["local"]["key"].encode()
    kept = [one for one in profiles.parent.rglob("*") if one.is_file() and key in one.read_bytes()]
    assert kept == [profiles]  # and no copy in a layer
