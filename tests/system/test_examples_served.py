"""Do the examples that need nothing from outside work as their pages say?"""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from glowplug.tensors import read_safetensors
from system.place import Answer, Place, place

EXAMPLES = Path(__file__).parents[2] / "examples"
PROMPT = {"prompt": "the model", "tokens": 8, "pause_s": 0}

# Stands in for examples/file_type, whose model comes from a package index.
FILE_TYPE = """
from glowplug import endpoint

@endpoint
def identify(data: bytes) -> dict[str, object]:
    if b"BROKEN" in data:
        raise ValueError("cannot tell")
    return {"label": "python" if b"import " in data else "text"}
"""


@pytest.fixture(scope="module")
def router(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    with place(tmp_path_factory.mktemp("examples")) as here:
        for name in ("hello", "streaming", "compose", "spectrum"):
            here.run("deploy", str(EXAMPLES / name / "app.py"))
        yield here


def streamed(router: Place, kind: str) -> Answer:
    answer = router.send("/streaming/generate", PROMPT, {"accept": kind})
    assert (answer.status, answer.headers["content-type"].partition(";")[0]) == (200, kind)
    return answer


def of_events(answer: Answer) -> list[tuple[str, object]]:
    blocks = answer.body.decode().strip().split("\n\n")
    fields = [dict(line.split(": ", 1) for line in block.splitlines()) for block in blocks]
    return [(one["event"], json.loads(one["data"])) for one in fields]


def test_hello_greets_over_http_and_on_the_command_line(router: Place) -> None:
    assert router.answers("/hello/greet", {"name": "Ada"}) == "Hello, Ada!"
    said = router.glowplug("call", "hello/greet", "-i", "name=Ada", "-i", "times=2")
    assert said.stdout == "Hello, Ada! Hello, Ada!\n"

    refused = router.send("/hello/greet", {"nam": "Ada"})
    assert refused.status == 422
    assert "name" in json.dumps(refused.json["errors"])


def test_streaming_gives_the_same_words_as_events_and_as_lines(router: Place) -> None:
    events = of_events(streamed(router, "text/event-stream"))
    lines = [
        json.loads(line) for line in streamed(router, "application/x-ndjson").body.splitlines()
    ]

    assert [name for name, _ in events] == ["output"] * 8 + ["done"]
    assert all(isinstance(word, str) for _, word in events[:-1])
    assert [(line["event"], line["data"]) for line in lines] == events


def test_spectrum_takes_a_file_and_writes_one(router: Place, tmp_path: Path) -> None:
    tone, picture = tmp_path / "tone.npy", tmp_path / "picture.safetensors"
    np.save(tone, np.sin(2 * np.pi * 1000 * np.arange(16000) / 16000).astype(np.float32))

    router.run("call", "spectrum/spectrum", "-i", f"samples=@{tone}", "-o", str(picture))

    tensors, _ = read_safetensors(picture.read_bytes())
    found = np.frombuffer(tensors["output"].data, np.float32).reshape(tensors["output"].shape)
    assert found.mean(axis=0).argmax() * 16000 / 512 == 1000

    router.run("call", "spectrum/spectrum", "-i", f"samples=@{tone}", "-o", str(tmp_path / "p.npy"))
    assert np.array_equal(np.load(tmp_path / "p.npy"), found)


def test_compose_asks_its_other_endpoints_through_the_gateway(router: Place) -> None:
    text = "A plug glows. A cold engine starts; the engine runs."

    answered = router.answers("/compose/describe", {"text": text})

    assert answered == {"words": 10, "sentences": 2, "about": ["engine", "plug"]}
    shown = {one["endpoint"]: one for one in router.api("/apps/compose")["endpoints"]}
    for name in ("count", "keywords"):
        (version,) = shown[name]["versions"]
        assert version["replicas"], f"{name} was asked in the same process"


def test_the_files_client_sends_a_folder_and_one_failure_does_not_stop_it(
    router: Place, tmp_path: Path
) -> None:
    router.deploy("file_type", FILE_TYPE)
    contents = {"a.py": "import os\n", "b.txt": "words\n", "c.bin": "BROKEN"}
    contents |= {f"more/{number}.txt": "words\n" for number in range(20)}
    (tmp_path / "more").mkdir()
    for name, text in contents.items():
        (tmp_path / name).write_text(text)

    done = subprocess.run(
        [sys.executable, str(EXAMPLES / "files" / "client.py"), str(tmp_path)],
        env=router.env,
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
    )

    *lines, counted = done.stdout.splitlines()
    assert len(lines) == len(contents)
    assert f"{'python':12} {tmp_path / 'a.py'}" in lines
    assert counted == "{'text': 21, 'python': 1, 'failed: ValueError': 1}"
