"""Do tensors, and bodies larger than a call may carry, come through a real router and back, and wrong ones not?"""

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import numpy as np
import pytest

from glowplug.arrays import PLACE
from glowplug.client import HttpTransport
from glowplug.context import Outgoing
from glowplug.errors import CallError
from glowplug.payloads import ANSWER_TYPE
from glowplug.tensors import RawTensor, read_safetensors, write_safetensors
from system.place import Answer, Place, memory_peak, place, refused, until

MIB = 1 << 20
RAW = "application/octet-stream"
APP = """
import numpy as np
from numpy.typing import NDArray
from glowplug import endpoint

@endpoint
def scale(x: NDArray[np.float32], by: float = 2.0) -> NDArray[np.float32]:
    return x * np.float32(by)

@endpoint
def echo(data: bytes) -> bytes:
    return data

@endpoint
async def aecho(data: bytes) -> bytes:
    return data

@endpoint
def make(size: int) -> bytes:
    return b"m" * size

@endpoint
def count(data: bytes) -> int:
    return len(data)
"""


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    with place(tmp_path_factory.mktemp("payloads")) as made:
        made.deploy("app", APP)
        yield made


def script(here: Place, text: str) -> str:
    """Run a program that uses the app's own code, as its authors would."""
    done = subprocess.run(
        [sys.executable, "-c", text],
        env=here.env,
        cwd=here.sources / "app",
        capture_output=True,
        text=True,
        check=False,
        timeout=50,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def announce(here: Place, data: bytes, key: str = "") -> Answer:
    asked = {"digest": digest(data), "size_bytes": len(data)}
    headers = {"authorization": f"Bearer {key or here.key}"}
    return here.send("/-/api/payloads", asked, headers)


def digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def uploaded(here: Place, data: bytes) -> str:
    """Upload a body and return its reference."""
    said = announce(here, data).json
    if said["upload"]:
        answer = here.send(said["upload"], data, {"authorization": ""}, method="PUT")
        assert answer.status == 200, answer
    reference: str = said["reference"]
    return reference


# -- tensors ---------------------------------------------------------------------------------------------


def test_an_array_goes_to_an_endpoint_and_comes_back_as_an_array(here: Place) -> None:
    said = script(
        here,
        "import numpy as np; from app import scale\n"
        "x = np.arange(262144, dtype=np.float32).reshape(512, 512)\n"
        "y = scale.remote(x, by=3)\n"
        "print(type(y).__name__, y.dtype, y.shape, bool((y == x * 3).all()))",
    )

    assert said.split() == ["ndarray", "float32", "(512,", "512)", "True"]


def test_an_endpoint_found_by_name_takes_and_gives_arrays_as_well(here: Place) -> None:
    said = script(
        here,
        "import anyio, numpy as np; from glowplug import Endpoint\n"
        "scale = Endpoint.lookup('app/scale')\n"
        "print(anyio.run(lambda: scale.aremote(x=np.ones((2, 3), np.float32), by=0.5)).tolist())",
    )

    assert json.loads(said) == [[0.5] * 3] * 2


def test_a_tensor_endpoint_is_called_over_http_with_safetensors(here: Place) -> None:
    x = np.arange(6, dtype=np.float32).reshape(2, 3)
    body = write_safetensors({"x": RawTensor("float32", (2, 3), x.tobytes())})
    kind = "application/safetensors"

    answer = here.send("/app/scale", body, {"content-type": kind, "accept": kind})

    assert (answer.status, answer.headers["content-type"]) == (200, kind), answer
    tensors, metadata = read_safetensors(answer.body)
    assert metadata == {"json": json.dumps({PLACE: "output"}, separators=(",", ":"))}
    found = np.frombuffer(tensors["output"].data, np.float32).reshape(2, 3)
    assert (found == x * 2).all()


def test_a_tensor_endpoint_is_called_by_hand_with_lists(here: Place) -> None:
    assert here.answers("/app/scale", {"x": [[1, 2.5]], "by": 2}) == [[2.0, 5.0]]


def test_a_tensor_of_another_dtype_is_refused_before_it_runs(here: Place) -> None:
    body = write_safetensors({"x": RawTensor("float64", (1,), bytes(8))})

    answer = here.send("/app/scale", body, {"content-type": "application/safetensors"})

    problem = refused(answer, 422, "invalid_request", "no")
    assert "float32 is declared" in problem["detail"]


def test_msgpack_goes_both_ways(here: Place) -> None:
    kind = "application/vnd.msgpack"

    answer = here.send(
        "/app/make", msgspec.msgpack.encode({"size": 3}), {"content-type": kind, "accept": kind}
    )
    listed = here.send("/app/count", b"xyz", {"accept": kind})

    assert answer.body == b"mmm"
    assert (listed.headers["content-type"], msgspec.msgpack.decode(listed.body)) == (
        "application/msgpack",
        3,
    )


def test_the_binary_form_of_the_open_inference_protocol_goes_both_ways(here: Place) -> None:
    x = np.arange(3, dtype=np.float32)
    tensor = {
        "name": "x",
        "shape": [3],
        "datatype": "FP32",
        "parameters": {"binary_data_size": 12},
    }
    asked = {"inputs": [tensor], "parameters": {"by": 4.0, "binary_data_output": True}}
    head = json.dumps(asked).encode()

    answer = here.send(
        "/app/scale", head + x.tobytes(), {"inference-header-content-length": str(len(head))}
    )

    assert answer.status == 200, answer
    at = int(answer.headers["inference-header-content-length"])
    output = json.loads(answer.body[:at])["outputs"][0]
    assert (output["name"], output["datatype"], output["shape"]) == ("output", "FP32", [3])
    assert np.frombuffer(answer.body[at:], np.float32).tolist() == [0.0, 4.0, 8.0]


def test_a_compressed_body_is_refused_with_the_fix(here: Place) -> None:
    answer = here.send("/app/scale", {"x": [1]}, {"content-encoding": "gzip"})

    problem = refused(answer, 415, "unsupported_media_type", "no")
    assert "Content-Encoding" in problem["hint"]


# -- bodies that are too large for a call ------------------------------------------------------------------


def test_a_body_beyond_the_limit_just_works_and_so_does_an_answer(here: Place) -> None:
    said = script(
        here,
        "import anyio; from app import aecho, count, echo\n"
        "big = bytes(range(256)) * 390_625\n"
        "print(len(big), count.remote(big), echo.remote(big) == big)\n"
        "print(anyio.run(lambda: aecho.aremote(big)) == big)",
    )

    assert said.split() == ["100000000", "100000000", "True", "True"]


def test_a_large_body_passes_through_the_routers_processes_in_pieces(here: Place) -> None:
    daemons = {role: pid for role, pid in here.daemons().items() if role != "supervisor"}
    for pid in daemons.values():
        Path(f"/proc/{pid}/clear_refs").write_text("5")  # the peak counts from now on
    before = {role: memory_peak(pid) for role, pid in daemons.items()}
    body = os.urandom(100 * MIB)

    transport = HttpTransport(here.url, here.key)
    transport.call(Outgoing(app="app", endpoint="echo", content_type=RAW, body=body))
    transport.close()

    grown = {role: memory_peak(pid) - before[role] for role, pid in daemons.items()}
    assert max(grown.values()) < 32 * MIB, grown


def test_a_large_answer_comes_as_it_is_to_callers_that_ask_for_nothing_else(here: Place) -> None:
    plain = here.send("/app/make", {"size": 9 * MIB})
    away = here.send("/app/make", {"size": 9 * MIB}, {"accept": ANSWER_TYPE})
    place_of = away.json
    fetched = here.send(place_of["url"], headers={"authorization": ""}, method="GET")

    assert len(plain.body) == 9 * MIB
    assert away.headers["content-type"] == ANSWER_TYPE
    assert away.headers["glowplug-payload"] == f"{place_of['digest']} {9 * MIB}"
    assert fetched.body == plain.body
    assert place_of["digest"] == digest(plain.body)
    refused(here.send(place_of["url"] + "0", method="GET"), 403, "forbidden", "no")


def test_an_uploaded_body_is_named_by_its_reference_as_often_as_wanted(here: Place) -> None:
    data = b"u" * 300_000
    reference = uploaded(here, data)

    for _ in range(2):
        assert here.send("/app/count", headers={"glowplug-payload": reference}).json == len(data)
    assert announce(here, data).json["upload"] is None


def test_one_upload_of_a_body_runs_at_a_time_and_the_next_may_come_after_it(here: Place) -> None:
    data = os.urandom(4 * MIB)
    url = announce(here, data).json["upload"]
    first = here.connect()
    first.putrequest("PUT", url)
    first.putheader("content-length", str(len(data)))
    first.endheaders(data[: 3 * MIB])
    scopes = here.home / "router" / "objects" / "scopes"
    until(lambda: list(scopes.rglob(".part-*")), what="the first upload has begun")

    second = here.send(url, data[:1], {"authorization": ""}, method="PUT")
    refused(second, 503, "busy", "no")
    assert second.headers["retry-after"] == "5"
    first.send(data[3 * MIB :])
    assert first.getresponse().status == 200
    first.close()
    assert here.send(url, data, {"authorization": ""}, method="PUT").status == 200


def test_a_reference_without_its_upload_is_refused_unexecuted(here: Place) -> None:
    reference = announce(here, b"never sent").json["reference"]

    answer = here.send("/app/count", headers={"glowplug-payload": reference})

    refused(answer, 410, "payload_gone", "no")


def test_another_tenants_reference_is_refused(here: Place) -> None:
    reference = uploaded(here, b"mine")
    asked = {"name": "b", "tenant": "b", "scopes": ["invoke:*"]}
    other = here.api("/keys", "POST", asked)["key"]
    headers = {"glowplug-payload": reference, "authorization": f"Bearer {other}"}

    refused(here.send("/app/count", headers=headers), 403, "forbidden", "no")
    said = announce(here, b"mine", other).json
    assert said["upload"] is not None, "one tenant learns nothing of what another has sent"
    headers["glowplug-payload"] = said["reference"]
    refused(here.send("/app/count", headers=headers), 410, "payload_gone", "no")


@pytest.mark.parametrize(
    "reference", ["nonsense", "p1.00.1.1.00", "p1." + "0" * 64 + ".1.1." + "0" * 64]
)
def test_what_is_no_reference_is_refused(here: Place, reference: str) -> None:
    answer = here.send("/app/count", headers={"glowplug-payload": reference})

    assert answer.status in (400, 403)
    assert answer.executed == "no"


def test_a_reference_and_a_body_are_one_too_many(here: Place) -> None:
    reference = uploaded(here, b"one")

    answer = here.send("/app/count", b"two", {"glowplug-payload": reference})

    refused(answer, 400, "bad_request", "no")


def test_bytes_with_another_digest_are_refused(here: Place) -> None:
    said = announce(here, b"right").json

    answer = here.send(said["upload"], b"wrong", {"authorization": ""}, method="PUT")

    refused(answer, 400, "digest_mismatch", "no")


def test_more_bytes_than_were_announced_are_refused_while_they_come(here: Place) -> None:
    said = announce(here, b"small").json

    answer = here.send(said["upload"], b"x" * 300_000, {"authorization": ""}, method="PUT")

    refused(answer, 413, "too_large", "no")


def test_a_payload_over_the_limit_is_refused_when_it_is_announced(here: Place) -> None:
    asked = {"digest": digest(b""), "size_bytes": 4 * 1024**3 + 1}

    refused(here.send("/-/api/payloads", asked), 413, "too_large", "no")


@pytest.mark.parametrize(
    "change",
    [
        ("size=5", "size=6"),
        ("expires=", "expires=9"),
        ("signature=", "signature=0"),
        ("scope=", "scope=0"),
        ("signature", "sig"),
        ("/sha256:", "/sha256:0"),
    ],
)
def test_a_signed_url_is_good_for_nothing_else(here: Place, change: tuple[str, str]) -> None:
    url = announce(here, b"piece").json["upload"]

    answer = here.send(url.replace(*change), b"piece", {"authorization": ""}, method="PUT")

    refused(answer, 403, "forbidden", "no")
    refused(here.send(url, headers={"authorization": ""}, method="GET"), 403, "forbidden", "no")


def test_a_key_that_may_invoke_nothing_may_upload_nothing(here: Place) -> None:
    reader = here.api("/keys", "POST", {"name": "r", "scopes": ["read"]})["key"]

    refused(announce(here, b"x", reader), 403, "forbidden", "no")


def test_the_command_line_sends_large_files_apart(here: Place, tmp_path: Path) -> None:
    file = tmp_path / "big"
    file.write_bytes(os.urandom(70 * MIB))

    done = here.run("call", "app/count", "-d", f"@{file}")

    assert done[-1]["output"] == 70 * MIB


def test_the_command_line_sends_and_writes_what_a_files_name_says(
    here: Place, tmp_path: Path
) -> None:
    given, packed, found = (tmp_path / name for name in ("x.safetensors", "x.msgpack", "y.msgpack"))
    given.write_bytes(write_safetensors({"x": RawTensor("float32", (1,), bytes(4))}))
    packed.write_bytes(msgspec.msgpack.encode({"x": [2.0]}))

    listed = here.run("call", "app/scale", "-d", f"@{given}")
    here.run("call", "app/scale", "-d", f"@{packed}", "-o", str(found))

    assert listed[-1]["output"] == [0.0]
    assert np.frombuffer(msgspec.msgpack.decode(found.read_bytes())["data"], np.float32) == [4.0]


def test_a_transport_tells_how_much_it_has_sent(here: Place) -> None:
    seen: list[tuple[int, int]] = []
    transport = HttpTransport(here.url, here.key)
    transport.detour.progress = lambda _, sent, size: seen.append((sent, size))
    body = os.urandom(9 * MIB)

    answer = transport.call(Outgoing(app="app", endpoint="count", content_type=RAW, body=body))
    transport.close()

    assert json.loads(answer.body) == len(body)
    assert seen[-1] == (9 * MIB, 9 * MIB)
    assert seen == sorted(seen)


def test_a_large_body_for_an_endpoint_that_is_not_there_fails_as_a_small_one(here: Place) -> None:
    transport = HttpTransport(here.url, here.key)

    with pytest.raises(CallError) as failed:
        transport.call(Outgoing(app="app", endpoint="absent", body=bytes(9 * MIB)))
    transport.close()

    assert failed.value.code == "not_found"
