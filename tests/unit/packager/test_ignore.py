"""Does a pattern file leave out what git would leave out?"""

import shutil
import subprocess
from pathlib import Path

import pytest

from glowplug_packager.ignore import is_ignored, rules

CASES = [
    # pattern, path, is a folder, left out
    ("*.log", "a.log", False, True),
    ("*.log", "deep/down/a.log", False, True),
    ("*.log", "a.log.txt", False, False),
    ("build/", "build", True, True),
    ("build/", "build", False, False),
    ("build", "src/build", True, True),
    ("/build", "src/build", True, False),
    ("/build", "build", True, True),
    ("docs/*.md", "docs/a.md", False, True),
    ("docs/*.md", "docs/deep/a.md", False, False),
    ("docs/**/a.md", "docs/x/y/a.md", False, True),
    ("docs/**/a.md", "docs/a.md", False, True),
    ("**/a.md", "x/y/a.md", False, True),
    ("docs/**", "docs/x/y", False, True),
    ("docs/**", "docs", True, False),
    ("a?c", "abc", False, True),
    ("a?c", "a/c", False, False),
    ("[ab].txt", "b.txt", False, True),
    ("[!ab].txt", "b.txt", False, False),
    ("[!ab].txt", "c.txt", False, True),
    ("\\#odd", "#odd", False, True),
    ("\\!odd", "!odd", False, True),
    ("# a comment", "# a comment", False, False),
    ("trailing   ", "trailing", False, True),
    ("a+b(c).txt", "a+b(c).txt", False, True),
    ("", "a", False, False),
    ("/", "a", False, False),
]


@pytest.mark.parametrize(("pattern", "path", "is_folder", "left_out"), CASES)
def test_a_pattern_fits_what_gits_own_would(
    pattern: str, path: str, is_folder: bool, left_out: bool
) -> None:
    assert is_ignored(path, is_folder, rules([pattern])) is left_out


@pytest.mark.skipif(shutil.which("git") is None, reason="git is the reference")
def test_git_itself_agrees_with_every_case(tmp_path: Path) -> None:
    disagreed = [
        case
        for number, case in enumerate(CASES)
        if git_says(tmp_path / str(number), case) is not case[3]
    ]

    assert not disagreed


def git_says(repository: Path, case: tuple[str, str, bool, bool]) -> bool:
    pattern, path, is_folder, _ = case
    target = repository / path
    target.parent.mkdir(parents=True)
    target.mkdir() if is_folder else target.touch()
    (repository / ".gitignore").write_text(pattern + "\n")
    subprocess.run(["git", "init", "--quiet", repository], check=True)
    asked = ["git", "-C", str(repository), "check-ignore", "--quiet", "--no-index", "--", path]
    return subprocess.run(asked, check=False).returncode == 0


def test_the_last_rule_that_fits_decides() -> None:
    ruleset = rules(["*.bin", "!weights.bin"])

    assert is_ignored("other.bin", False, ruleset)
    assert not is_ignored("weights.bin", False, ruleset)


def test_rules_of_a_folder_hold_below_it_alone() -> None:
    ruleset = rules(["/secret.txt"], base="data")

    assert is_ignored("data/secret.txt", False, ruleset)
    assert not is_ignored("secret.txt", False, ruleset)
    assert not is_ignored("database/secret.txt", False, ruleset)
