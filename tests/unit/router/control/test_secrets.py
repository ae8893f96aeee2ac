"""Do secrets stay where they belong?"""

import os
import subprocess
import sys
from pathlib import Path

import anyio
import pytest

from glowplug.errors import CallError, ConfigError
from glowplug_router.control.secrets import VALUE_MAX_BYTES, FileSecrets


async def test_a_secret_is_kept_in_a_file_that_only_its_owner_can_read(tmp_path: Path) -> None:
    path = tmp_path / "router" / "secrets.json"
    secrets = FileSecrets(path)

    await secrets.set("TOKEN", "s3cret")
    await secrets.set("OTHER", "ünïcode\n")

    assert path.stat().st_mode & 0o777 == 0o600
    assert await FileSecrets(path).values(["TOKEN", "OTHER", "ABSENT"]) == {
        "TOKEN": "s3cret",
        "OTHER": "ünïcode\n",
    }
    assert await secrets.names() == ("OTHER", "TOKEN")
    assert [one.name for one in path.parent.iterdir()] == ["secrets.json"]


async def test_a_removed_secret_is_gone(tmp_path: Path) -> None:
    secrets = FileSecrets(tmp_path / "secrets.json")
    await secrets.set("A", "1")

    assert await secrets.remove("A")
    assert not await secrets.remove("A")
    assert await secrets.names() == ()


@pytest.mark.parametrize("name", ["", "1A", "A-B", "A B", "Ä", "x" * 129])
async def test_a_name_that_no_environment_takes_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(CallError) as refused:
        await FileSecrets(tmp_path / "secrets.json").set(name, "value-of-it")

    assert "value-of-it" not in str(refused.value)


async def test_a_value_that_is_too_long_is_refused_without_being_quoted(tmp_path: Path) -> None:
    with pytest.raises(CallError) as refused:
        await FileSecrets(tmp_path / "secrets.json").set("A", "v" * (VALUE_MAX_BYTES + 1))

    assert refused.value.code == "too_large"
    assert "vvv" not in str(refused.value)


async def test_a_damaged_file_is_named_and_not_quoted(tmp_path: Path) -> None:
    path = tmp_path / "secrets.json"
    path.write_text('{"A": "s3cret"')

    with pytest.raises(ConfigError) as refused:
        await FileSecrets(path).names()

    assert str(path) in str(refused.value)
    assert "s3cret" not in str(refused.value)
    assert refused.value.__cause__ is None


async def test_changes_at_the_same_time_are_all_kept(tmp_path: Path) -> None:
    secrets = FileSecrets(tmp_path / "secrets.json")

    async with anyio.create_task_group() as tasks:
        for at in range(20):
            tasks.start_soon(secrets.set, f"S{at}", str(at))

    assert len(await secrets.names()) == 20


async def test_no_value_shows_in_what_is_printed_of_it(tmp_path: Path) -> None:
    secrets = FileSecrets(tmp_path / "secrets.json")
    await secrets.set("A", "s3cret")

    assert "s3cret" not in repr(secrets) + str(vars(secrets))


FULL = """
import resource, sys
from pathlib import Path
import anyio
from glowplug.errors import GlowplugError
from glowplug_router.control.secrets import FileSecrets
secrets = FileSecrets(Path(sys.argv[1]))
anyio.run(secrets.set, "A", "1")
resource.setrlimit(resource.RLIMIT_FSIZE, (20, 20))
try:
    anyio.run(secrets.set, "B", "s3cret" * 100)
except GlowplugError as error:
    print(error.code, anyio.run(secrets.names), "s3cret" in str(error))
"""


def test_on_a_full_disk_a_secret_is_refused_and_the_others_stay(tmp_path: Path) -> None:
    # A limit on the size of files is the nearest thing to a full disk, and holds for a whole process.
    command = [sys.executable, "-c", FULL, str(tmp_path / "secrets.json")]
    env = {"PYTHONPATH": os.pathsep.join(sys.path)}

    said = subprocess.run(command, env=env, capture_output=True, text=True, timeout=30, check=True)

    assert said.stdout == "disk_full ('A',) False\n"
