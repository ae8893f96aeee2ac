"""Which names may become files?"""

from pathlib import Path

import pytest

from glowplug.errors import NodeError
from glowplug.node.folders import Folders, checked, hex_of
from glowplug.settings import Home


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "../a", ".hidden", "a\0b", "x" * 129, "-x"])
def test_a_name_that_could_leave_its_folder_is_refused(name: str) -> None:
    with pytest.raises(NodeError, match="no plain name"):
        checked(name, "volume")


@pytest.mark.parametrize("name", ["a", "r-12.x_y", "A1"])
def test_a_plain_name_is_taken_as_it_is(name: str) -> None:
    assert checked(name, "volume") == name


@pytest.mark.parametrize(
    "digest", ["", "abc", "sha256:xyz", "sha256:" + "A" * 64, "md5:" + "0" * 64]
)
def test_what_is_no_digest_is_refused(digest: str) -> None:
    with pytest.raises(NodeError):
        hex_of(digest)


def test_sockets_of_long_names_stay_short_and_apart(tmp_path: Path) -> None:
    folders = Folders(Home(tmp_path))

    first, second = folders.data_socket("r" * 100), folders.data_socket("r" * 99)

    assert first != second
    assert len(first.name) <= 26
    assert folders.control_socket("r1").name == "r1.c"
