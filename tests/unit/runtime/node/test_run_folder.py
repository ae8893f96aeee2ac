"""Are run folders outside their homes removed, and only those of homes that are gone?"""

import os
from pathlib import Path

from glowplug.node import run_folder
from glowplug.settings import Home


def distant(tmp_path: Path, name: str) -> Home:
    home = Home(tmp_path / ("long" * 20) / name)
    home.root.mkdir(parents=True)
    home.run.mkdir()
    run_folder.claim(home)
    return home


def test_a_run_folder_goes_with_its_home_and_not_before(tmp_path: Path) -> None:
    here, gone = distant(tmp_path, "here"), distant(tmp_path, "gone")
    gone.root.rmdir()

    run_folder.remove_stale(here.run.parent)

    assert here.run.exists()
    assert not gone.run.exists()
    run_folder.release(here)
    assert not here.run.exists()


def test_what_is_not_known_to_be_ours_stays(tmp_path: Path) -> None:
    unmarked = tmp_path / f"glowplug-{os.getuid()}-{'a' * 12}"
    other = tmp_path / "glowplug-data"
    for folder in (unmarked, other):
        folder.mkdir()
    (other / "home").write_text("/nowhere/at/all")
    link = tmp_path / f"glowplug-{os.getuid()}-{'b' * 12}"
    link.symlink_to(other)

    assert run_folder.remove_stale(tmp_path) == 0
    assert unmarked.exists()
    assert link.exists()


def test_a_run_folder_inside_its_home_needs_no_name_and_is_kept() -> None:
    home = Home(Path("/nowhere"))

    run_folder.claim(home)
    run_folder.release(home)

    assert home.run == Path("/nowhere/run")
