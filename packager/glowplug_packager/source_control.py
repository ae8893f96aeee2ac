"""Which commit is this? Read from git where there is one; a deploy needs none."""

import shutil
import subprocess
from pathlib import Path

GIT_SECONDS_MAX = 5


def git_revision(root: Path) -> str:
    """Return the commit that `root` is at, with "-dirty" when files below it differ; "" without git."""
    if shutil.which("git") is None or not _in_repository(root):
        return ""
    commit = _git(root, "rev-parse", "HEAD").strip()
    if not commit:
        return ""
    changed = _git(root, "status", "--porcelain", "--", ".").strip()
    return f"{commit}-dirty" if changed else commit


def _in_repository(root: Path) -> bool:
    return any((folder / ".git").exists() for folder in (root, *root.parents))


def _git(root: Path, *arguments: str) -> str:
    command = ["git", "--no-optional-locks", "-C", str(root), *arguments]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=GIT_SECONDS_MAX, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout if done.returncode == 0 else ""
