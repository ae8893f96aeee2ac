"""Does what nobody uses leave a node's disk, and nothing else?"""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from glowplug.clock import HOUR
from glowplug.node.folders import Folders
from glowplug.node.garbage import LAYERS, LOGS, Allowance, may_go
from glowplug.node.node_log import prune
from glowplug.node.sweeping import InUse, set_aside_leftovers, sweep
from glowplug.settings import Home

NOW_NS = 1_800_000_000 * 10**9
TWO = Allowance(count=2, age_ns=24 * HOUR)
A, B, C = ("a" * 64, "b" * 64, "c" * 64)


@pytest.fixture
def folders(tmp_path: Path) -> Folders:
    made = Folders(Home(tmp_path / "home"))
    made.make()
    return made


def keep(folder: Path, name: str, age_ns: int) -> Path:
    """Make a folder with something in it that was last used so long ago."""
    path = folder / name
    path.mkdir()
    (path / "file").write_text("x")
    os.utime(path, ns=(NOW_NS - age_ns, NOW_NS - age_ns))
    return path


def test_what_was_used_last_stays_and_what_is_too_old_or_too_many_goes() -> None:
    used = {"new": NOW_NS - HOUR, "newer": NOW_NS, "older": NOW_NS - 2 * HOUR}

    assert may_go(used, (), TWO, NOW_NS) == ("older",)
    assert may_go(used, {"new"}, TWO, NOW_NS) == ()


def test_the_age_is_told_to_the_nanosecond() -> None:
    limit = {"x": NOW_NS - TWO.age_ns}

    assert may_go(limit, (), TWO, NOW_NS) == ("x",)
    assert may_go(limit, (), TWO, NOW_NS - 1) == ()


@given(st.dictionaries(st.text(max_size=3), st.integers(0, NOW_NS)), st.sets(st.text(max_size=3)))
def test_what_is_in_use_never_goes_and_no_more_than_allowed_stays(
    used: dict[str, int], in_use: set[str]
) -> None:
    gone = set(may_go(used, in_use, TWO, NOW_NS))

    assert not gone & in_use
    assert len(used.keys() - gone - in_use) <= TWO.count


async def test_layers_and_environments_that_nobody_uses_leave_the_disk(folders: Folders) -> None:
    old_ns = LAYERS.age_ns + HOUR
    for folder in (folders.bundles, folders.envs):
        for name, age_ns in ((A, old_ns), (B, old_ns), (C, HOUR)):
            keep(folder, name, age_ns)
    (folders.envs / f"{A}.lock").touch()

    await sweep(folders, InUse(layers={A}, environments={B}), NOW_NS)

    assert {one.name for one in folders.bundles.iterdir()} == {A, C}
    assert {one.name for one in folders.envs.iterdir()} == {B, C, f"{A}.lock"}
    assert (folders.bundles / A).stat().st_mtime_ns != NOW_NS - old_ns, "its use was not noted"


async def test_what_a_crash_left_half_made_goes_with_the_first_sweep(folders: Folders) -> None:
    for name in (".new-1", ".lock-2", f"{A}.building", B):
        keep(folders.envs, name, 0)

    set_aside_leftovers(folders)
    keep(folders.envs, f"{C}.building", 0)  # begun since
    await sweep(folders, InUse(layers=(), environments=()), NOW_NS)

    assert {one.name for one in folders.envs.iterdir()} == {B, f"{C}.building"}


def test_logs_of_what_runs_stay_however_long_it_was_silent(tmp_path: Path) -> None:
    for name in ("silent", "ended"):
        for ending in ("jsonl", "jsonl.1", "node.jsonl"):
            path = tmp_path / f"{name}.{ending}"
            path.touch()
            os.utime(path, ns=(NOW_NS - LOGS.age_ns, NOW_NS - LOGS.age_ns))

    prune(tmp_path, {"silent"}, NOW_NS)

    assert {one.name.partition(".")[0] for one in tmp_path.iterdir()} == {"silent"}


async def test_logs_of_endpoints_that_never_run_again_go_in_the_end(folders: Folders) -> None:
    log = folders.log("shop", "hello", "r1")
    log.parent.mkdir(parents=True)
    for path in (log, folders.system_logs / "zygote-0.out", folders.system_logs / "agent.jsonl"):
        path.touch()
        os.utime(path, ns=(NOW_NS - LOGS.age_ns, NOW_NS - LOGS.age_ns))

    await sweep(folders, InUse(layers=(), environments=()), NOW_NS)

    assert not log.exists()
    assert [one.name for one in folders.system_logs.iterdir()] == ["agent.jsonl"]


def test_logs_that_go_while_they_are_looked_at_hold_up_nothing(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").symlink_to(tmp_path / "gone")
    (tmp_path / "b.out").symlink_to(tmp_path / "gone")
    (tmp_path / "c.jsonl").touch()
    os.utime(tmp_path / "c.jsonl", ns=(NOW_NS - LOGS.age_ns, NOW_NS - LOGS.age_ns))

    prune(tmp_path, (), NOW_NS)
    prune(tmp_path / "no folder", (), NOW_NS)

    assert not (tmp_path / "c.jsonl").exists()
