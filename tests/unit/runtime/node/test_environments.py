"""Is an environment built once, whole, and with the reason when it cannot be?"""

import sys
from pathlib import Path

import anyio
import pytest

from glowplug.clock import SystemClock
from glowplug.errors import NodeError
from glowplug.node.environments import Environments, belongs_to
from glowplug_packager.digest import environment_digest
from glowplug_packager.lock import platform_here
from sample_wheels import make_wheel

DIGEST = "sha256:" + "e" * 64


@pytest.fixture
def environments(tmp_path: Path) -> Environments:
    make_wheel(tmp_path / "wheels", "modest", "1.0", requires=["enormous>=2"])
    (tmp_path / "envs").mkdir()
    arguments = ["--no-index", "--find-links", str(tmp_path / "wheels")]
    variables = {"UV_CACHE_DIR": str(tmp_path / "cache")}
    return Environments(tmp_path / "envs", SystemClock(), lambda: (list(arguments), variables))


class Lock:
    def __init__(self, text: str) -> None:
        self.text = text
        self.read = 0

    async def __call__(self) -> str:
        self.read += 1
        await anyio.lowlevel.checkpoint()
        return self.text


async def test_no_digest_means_this_interpreter(environments: Environments) -> None:
    lock = Lock("")

    assert await environments.ensure("", "", lock) == Path(sys.executable)
    assert lock.read == 0


async def test_an_environment_is_built_once_however_many_ask_and_without_what_is_not_locked(
    environments: Environments, tmp_path: Path
) -> None:
    lock = Lock("# made by a test\nmodest==1.0\n")

    async with anyio.create_task_group() as group:
        for _ in range(3):
            group.start_soon(environments.ensure, DIGEST, "", lock)

    assert lock.read == 1
    assert environments.built() == (DIGEST,)
    python = environments.interpreter(DIGEST)
    assert python is not None
    done = await anyio.run_process(
        [str(python), "-I", "-c", "import modest, sys; print(sys.prefix)"]
    )
    assert done.stdout.decode().strip() == str(tmp_path / "envs" / ("e" * 64))


async def test_what_uv_says_is_in_the_error_and_nothing_half_built_stays(
    environments: Environments, tmp_path: Path
) -> None:
    with pytest.raises(NodeError, match="immodest"):
        await environments.ensure(DIGEST, "", Lock("immodest==3.0\n"))

    assert environments.built() == ()
    assert not [one for one in (tmp_path / "envs").iterdir() if one.is_dir()]


async def test_a_build_that_failed_can_be_tried_again(environments: Environments) -> None:
    with pytest.raises(NodeError):
        await environments.ensure(DIGEST, "", Lock("immodest==3.0\n"))

    assert (await environments.ensure(DIGEST, "", Lock("modest==1.0\n"))).exists()


async def test_a_build_that_is_no_longer_wanted_leaves_nothing(
    environments: Environments, tmp_path: Path
) -> None:
    async with anyio.create_task_group() as group:
        group.start_soon(environments.ensure, DIGEST, "", Lock("modest==1.0\n"))
        while not list((tmp_path / "envs").glob("*.building")):
            await anyio.lowlevel.checkpoint()
        group.cancel_scope.cancel()

    assert not [one for one in (tmp_path / "envs").iterdir() if one.is_dir()]


def test_an_environment_is_that_of_its_lock_and_python_wherever_it_was_packaged() -> None:
    lock, other = "sha256:" + "1" * 64, "sha256:" + "2" * 64

    for platform in (platform_here(), "darwin-arm64", "linux-x86_64"):
        digest = environment_digest(lock, "3.11", platform)
        assert belongs_to(digest, lock, "3.11")
        assert not belongs_to(digest, other, "3.11")
        assert not belongs_to(digest, lock, "3.12")


@pytest.mark.parametrize("python", ["3.11\0", "--help", "/bin/sh"])
async def test_what_is_no_version_of_python_is_refused(
    environments: Environments, python: str
) -> None:
    with pytest.raises(NodeError, match="no version of Python"):
        await environments.ensure(DIGEST, python, Lock(""))

    assert environments.built() == ()
