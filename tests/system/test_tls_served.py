"""Does `glowplug up --tls` serve HTTPS to other programs as to our own, and what ran before run on?"""

import json
import shlex
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from glowplug.settings import Home
from glowplug_router.settings import Tls, UpSettings
from glowplug_router.supervisor.certificates import with_certificate
from system.place import GLOWPLUG, Place, place, until

APP = """
from glowplug import endpoint

@endpoint(examples=[{"name": "Ada"}])
def greet(name: str) -> str:
    return f"Hello, {name}!"
"""


@pytest.fixture(scope="module")
def router(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    with place(tmp_path_factory.mktemp("tls"), "--tls", "--allow-host", "box.example") as here:
        here.deploy("hello", APP)
        yield here


def profile(here: Place) -> dict[str, str]:
    found: dict[str, str] = json.loads((here.home / "profiles.json").read_text())["profiles"][
        "local"
    ]
    return found


def shown(here: Place) -> bytes:
    """Return the certificate that the router shows to a client which is not ours, and trusts its authority."""
    context = ssl.create_default_context(cafile=profile(here)["ca"])
    with (
        socket.create_connection(("127.0.0.1", here.port), 10) as plain,
        context.wrap_socket(plain, server_hostname="box.example") as secure,
    ):
        der = secure.getpeercert(binary_form=True)
    assert der is not None
    return der


def test_our_own_commands_trust_the_router_by_its_profile(router: Place) -> None:
    assert profile(router)["url"].startswith("https://127.0.0.1:")
    assert router.run("call", "hello/greet", "-i", "name=Ada")[-1]["output"] == "Hello, Ada!"
    assert router.glowplug("status").returncode == 0
    assert router.glowplug("doctor").returncode == 0
    script = router.sources / "hello" / "client.py"
    script.write_text("from app import greet\nprint(greet.remote('Bo'))\n")
    said = subprocess.run(
        [sys.executable, str(script)],
        env=router.env, capture_output=True, text=True, check=False, timeout=50,
    )  # fmt: skip  # one call, one line
    assert said.stdout == "Hello, Bo!\n", said.stderr


@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl, whose line is tried")
def test_the_curl_line_that_deploy_prints_works_as_pasted(router: Place) -> None:
    line = router.deploy("hello", APP)["curl"]["greet"]
    said = subprocess.run(["sh", "-c", line], capture_output=True, text=True, check=False)

    assert "--cacert" in shlex.split(line)
    assert said.stdout == '"Hello, Ada!"', said.stderr


def test_a_client_that_does_not_know_the_authority_refuses(router: Place) -> None:
    with (
        socket.create_connection(("127.0.0.1", router.port), 10) as plain,
        pytest.raises(ssl.SSLCertVerificationError),
    ):
        ssl.create_default_context().wrap_socket(plain, server_hostname="localhost")
    stranger = router.env | {"GLOWPLUG_URL": router.url, "GLOWPLUG_KEY": router.key}
    said = subprocess.run(
        [*GLOWPLUG, "status"], env=stranger, capture_output=True, text=True, check=False
    )  # fmt: skip  # one call, one line
    assert "not trusted here" in said.stderr
    assert "GLOWPLUG_CA" in said.stderr
    trusting = stranger | {"GLOWPLUG_CA": profile(router)["ca"]}
    subprocess.run([*GLOWPLUG, "status"], env=trusting, check=True, capture_output=True)


def test_plain_http_gets_an_answer_that_says_what_to_do(router: Place) -> None:
    answer = router.send("/hello/greet", {"name": "Ada"})

    assert (answer.status, answer.json["code"]) == (400, "bad_request")
    assert "https://" in answer.json["hint"]


def test_keys_are_their_owners_alone(router: Place) -> None:
    folder = router.home / "router" / "tls"

    assert {file.name: file.stat().st_mode & 0o077 for file in folder.glob("*k*y*")} == {
        "key.pem": 0,
        "ca.key": 0,
    }


def test_a_new_certificate_is_shown_after_sighup_to_the_supervisor(router: Place) -> None:
    first = shown(router)
    pids = router.daemons()
    (router.home / "router" / "tls" / "cert.pem").unlink()
    settings = UpSettings(hosts=("box.example",), home=Home(router.home), tls=Tls())
    with_certificate(settings, time.time_ns())
    subprocess.run(["kill", f"-{signal.SIGHUP.value}", str(pids["supervisor"])], check=True)

    until(lambda: shown(router) != first, 4, what="the new certificate")
    assert router.daemons() == pids


def test_replicas_are_kept_when_a_router_comes_back_with_tls(tmp_path: Path) -> None:
    with place(tmp_path, "--keep") as here:
        here.deploy("hello", APP)
        assert here.answers("/hello/greet", {"name": "Ada"}) == "Hello, Ada!"
        before = here.ready("hello")
        here.run("down")
        here.up("--tls")

        assert here.url.startswith("https://")
        assert here.run("call", "hello/greet", "-i", "name=Ada")[-1]["output"] == "Hello, Ada!"
        status = here.glowplug("status", "hello", "--json").stdout
        assert all(str(pid) in status for pid in before.values())
