"""Do the examples with real models give the answers that their authors publish?

Each runs in its own environment, locked and built as a deploy does it. The first run downloads packages.
"""

import gzip
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from glowplug.pip_config import find_uv, uv_arguments
from glowplug.settings import Home, environment
from glowplug_packager.release import prepare

EXAMPLES = Path(__file__).parents[2] / "examples"
RUNTIME = Path(__file__).parents[2] / "runtime"
BUILD_SECONDS_MAX = 600
# Bytes travel as text of the same code points, since the test speaks JSON to the child.
CALL = """
import json, sys
from pathlib import Path

import msgspec
from glowplug.discovery import load_endpoint
from glowplug.testing import local

target, *calls = json.load(sys.stdin)
for call in calls:
    if "data" in call:
        call["data"] = call["data"].encode("latin-1")
with local(load_endpoint(target, Path.cwd())) as endpoint:
    print(msgspec.json.encode([endpoint(**call) for call in calls]).decode())
"""

pytestmark = [pytest.mark.slow, pytest.mark.timeout(BUILD_SECONDS_MAX + 120)]


def answers(
    tmp_path: Path, folder: str, target: str, *arguments: dict[str, object]
) -> list[object]:
    """Return what an example answers, in an interpreter that has what its image says and nothing else."""
    prepared = prepare(EXAMPLES / folder / "app.py", home=Home(tmp_path / "home"))
    lock = prepared.release.bundles[0][1].layer("lock")
    assert lock is not None
    python = built(tmp_path / "env", prepared.layers[lock.digest])
    run = subprocess.run(
        [python, "-c", CALL],
        cwd=EXAMPLES / folder,
        env={**environment(), "PYTHONPATH": str(RUNTIME), "PYTHONDONTWRITEBYTECODE": "1"},
        input=json.dumps([target, *arguments]),
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    assert "Warning" not in run.stderr
    found: list[object] = json.loads(run.stdout.splitlines()[-1])
    return found


def built(folder: Path, lock: Path) -> str:
    arguments, variables = uv_arguments()
    env = {**environment(), **variables}
    uv = find_uv()
    subprocess.run([uv, "venv", "--quiet", "--python", sys.executable, folder], env=env, check=True)
    python = os.fspath(folder / "bin/python")
    install = [
        uv,
        "pip",
        "install",
        "--quiet",
        "--no-deps",
        "--python",
        python,
        "--requirements",
        os.fspath(lock),
    ]
    subprocess.run([*install, *arguments], env=env, check=True, timeout=BUILD_SECONDS_MAX)
    return python


def test_file_type_names_files_of_several_kinds(tmp_path: Path) -> None:
    files = {
        "python": Path(__file__).read_bytes(),
        "markdown": (EXAMPLES / "file_type/README.md").read_bytes(),
        "toml": (EXAMPLES.parent / "pyproject.toml").read_bytes(),
        "gzip": gzip.compress(b"glowplug " * 100),
    }
    calls: list[dict[str, object]] = [{"data": data.decode("latin-1")} for data in files.values()]

    found = answers(tmp_path, "file_type", "app:Identify", *calls)

    assert [one["label"] for one in found if isinstance(one, dict)] == list(files)


def test_embeddings_has_the_similarities_that_the_authors_publish(tmp_path: Path) -> None:
    sentences = [
        "The weather is lovely today.",
        "It's so sunny outside!",
        "He drove to the stadium.",
    ]

    together, alone = answers(
        tmp_path, "embeddings", "app:Embed", {"sentences": sentences}, {"sentences": sentences[:1]}
    )

    assert isinstance(together, list)
    assert isinstance(alone, list)
    similarities = [
        [sum(x * y for x, y in zip(a, b, strict=True)) for b in together] for a in together
    ]
    published = [[1.0, 0.6660, 0.1046], [0.6660, 1.0, 0.1411], [0.1046, 0.1411, 1.0]]
    assert [pytest.approx(row, abs=5e-4) for row in published] == similarities
    # A sentence's vector does not depend on what it is sent along with.
    assert alone[0] == pytest.approx(together[0], abs=1e-5)
    assert len(alone[0]) == 384
