"""Which modules should a zygote have imported before it forks?"""

from pathlib import Path

from glowplug.node.imports import MODULES_MAX, Imports, read, write
from glowplug.node.zygotes import covers


def test_modules_are_learnt_in_the_order_of_their_first_import() -> None:
    known = Imports(modules=("a", "b")).learn(("b", "c", "a"), ())

    assert known.modules == ("a", "b", "c")


def test_what_is_learnt_has_a_bound() -> None:
    many = tuple(f"m{n}" for n in range(MODULES_MAX + 5))

    assert len(Imports().learn(many, ()).modules) == MODULES_MAX


def test_a_module_that_starts_a_thread_is_never_wanted_again() -> None:
    known = Imports(modules=("a", "b")).without("a").learn(("a",), ())

    assert known.wanted == {"b"}


def test_what_is_known_survives(tmp_path: Path) -> None:
    known = Imports(modules=("a",), skip=("b",), python_path=("/x",))

    write(tmp_path / "imports.json", known)

    assert read(tmp_path / "imports.json") == known


def test_a_damaged_or_absent_file_is_learnt_again(tmp_path: Path) -> None:
    for damaged in (b"{", b'{"modules": ["\xff"]}'):
        (tmp_path / "bad.json").write_bytes(damaged)
        assert read(tmp_path / "bad.json") == Imports()
    assert read(tmp_path / "absent.json") == Imports()


def test_a_zygote_serves_what_needs_no_more_than_it_imported() -> None:
    had = Imports(modules=("a", "b"))

    assert covers(had, Imports(modules=("a",)))
    assert not covers(had, Imports(modules=("a", "c")))
    assert not covers(had, Imports(modules=("a",), python_path=("/another/release",)))


def test_a_disk_that_takes_nothing_costs_what_was_learnt_and_no_more(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")

    write(tmp_path / "file" / "imports.json", Imports(modules=("a",)))

    assert read(tmp_path / "file" / "imports.json") == Imports()
