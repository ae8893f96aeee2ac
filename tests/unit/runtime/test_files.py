"""Does a file that is replaced stay whole and private?"""

from pathlib import Path

import pytest

from glowplug.files import replace_file


@pytest.mark.parametrize("durable", [False, True])
def test_a_file_is_replaced_whole_and_private(tmp_path: Path, durable: bool) -> None:
    path = tmp_path / "deep" / "file.json"

    replace_file(path, b"one", durable=durable)
    replace_file(path, b"two", durable=durable)

    assert path.read_bytes() == b"two"
    assert path.stat().st_mode & 0o777 == 0o600
    assert [one.name for one in path.parent.iterdir()] == ["file.json"]


def test_what_cannot_be_replaced_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()

    with pytest.raises(OSError, match="folder"):
        replace_file(tmp_path / "folder", b"one")

    assert [one.name for one in tmp_path.iterdir()] == ["folder"]
