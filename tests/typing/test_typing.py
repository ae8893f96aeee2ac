"""Do decorated functions keep their parameters and return types under mypy --strict?"""

import subprocess
import sys
from pathlib import Path

import pytest

REPO = Path(__file__).parents[2]


@pytest.mark.slow
def test_type_checkers_see_parameters_and_return_types(tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "mypy",
        "--strict",
        "--config-file=",
        f"--cache-dir={tmp_path}",
    ]
    env = {"MYPYPATH": str(REPO / "runtime"), "PATH": ""}
    done = subprocess.run(
        [*command, str(Path(__file__).with_name("endpoints.py"))],
        capture_output=True,
        text=True,
        check=False,
        env=env,
    )

    assert done.returncode == 0, done.stdout + done.stderr
