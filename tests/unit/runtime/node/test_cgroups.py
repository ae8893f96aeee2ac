"""Are limits written where the kernel looks, and is nothing left of them?"""

from pathlib import Path

import pytest

from glowplug.node.cgroups import Group, Groups, detect


class Kernel:
    """Folders that look like a mounted cgroup file system."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def v2(self) -> Path:
        for folder in (self.root, self.root / "glowplug"):
            folder.mkdir(exist_ok=True)
            (folder / "cgroup.controllers").write_text("cpu memory")
            (folder / "cgroup.subtree_control").write_text("")
        return self.root

    def v1(self) -> Path:
        for name in ("memory", "cpu"):
            (self.root / name).mkdir()
            (self.root / name / "cgroup.procs").write_text("")
        return self.root


def test_version_2_takes_both_limits_in_one_group(tmp_path: Path) -> None:
    groups = detect(Path("/home"), Kernel(tmp_path).v2())

    group = groups.open("r1", 100 << 20, 1500)

    assert groups.version == 2
    assert group.enforces_memory
    assert group.enforces_cpu
    (folder,) = group.folders
    assert (folder / "memory.max").read_text() == str(100 << 20)
    assert (folder / "memory.swap.max").read_text() == "0"
    assert (folder / "cpu.max").read_text() == "150000 100000"
    assert (tmp_path / "cgroup.subtree_control").read_text() == "+memory +cpu"


def test_version_1_takes_them_in_its_two_controllers(tmp_path: Path) -> None:
    groups = detect(Path("/home"), Kernel(tmp_path).v1())

    group = groups.open("r1", 100 << 20, 500)

    assert groups.version == 1
    assert group.memory is not None
    assert group.cpu is not None
    assert (group.memory / "memory.limit_in_bytes").read_text() == str(100 << 20)
    assert (group.cpu / "cpu.cfs_quota_us").read_text() == "50000"


def test_without_cgroups_nothing_is_enforced_and_that_is_said(tmp_path: Path) -> None:
    groups = detect(Path("/home"), tmp_path / "absent")

    group = groups.open("r1", 100 << 20, 500)

    assert groups == Groups(0, key=groups.key)
    assert not group.enforces_memory
    assert not group.enforces_cpu
    assert group.folders == ()
    assert group.oom_kills() == 0
    assert group.remove()


def test_what_needs_no_limit_gets_a_group_that_limits_nothing(tmp_path: Path) -> None:
    group = detect(Path("/h"), Kernel(tmp_path).v1()).open("r1", 0, 0)

    assert len(group.folders) == 1
    assert not group.enforces_memory
    assert not group.enforces_cpu
    assert not list(group.folders[0].glob("memory.*"))


def test_a_group_is_found_again_by_a_later_agent(tmp_path: Path) -> None:
    groups = detect(Path("/home"), Kernel(tmp_path).v1())
    opened = groups.open("r1", 100 << 20, 0)

    assert groups.find("r1", 100 << 20) == opened
    assert groups.find("r2", 0).folders == ()


def test_two_homes_on_one_machine_never_share_a_group(tmp_path: Path) -> None:
    root = Kernel(tmp_path).v1()

    first, second = detect(Path("/a"), root), detect(Path("/b"), root)

    assert first.open("r1", 1 << 30, 0).memory != second.open("r1", 1 << 30, 0).memory


@pytest.mark.parametrize(
    ("version", "name", "text"),
    [
        (1, "memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 2\n"),
        (2, "memory.events", "low 0\nmax 9\noom 2\noom_kill 2\n"),
    ],
)
def test_kills_for_memory_are_read(tmp_path: Path, version: int, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)

    assert Group(version, tmp_path, None, 0).oom_kills() == 2


def test_an_emptied_parent_is_removed_and_made_again(tmp_path: Path) -> None:
    groups = detect(Path("/home"), Kernel(tmp_path).v1())
    groups.leave()
    assert groups.memory is not None
    assert not groups.memory.exists()

    assert groups.open("r1", 1 << 30, 0).enforces_memory

    groups.leave()
    assert groups.memory.exists()


def test_groups_of_dead_replicas_are_cleaned_and_others_are_kept(tmp_path: Path) -> None:
    groups = detect(Path("/home"), Kernel(tmp_path).v1())
    assert groups.memory is not None
    for name in (f"{groups.key}.r1", f"{groups.key}.r2", "other.r1"):
        (groups.memory / name).mkdir()

    groups.clean(frozenset({"r2"}))

    assert sorted(one.name for one in groups.memory.iterdir()) == sorted(
        [f"{groups.key}.r2", "other.r1"]
    )
