"""Can a user replay traffic against another scale, with no router running?"""

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from system.terminal import GLOWPLUG, Said

AZURE = Path(__file__).parents[1] / "benchmarks" / "traces" / "azure_llm_2023_code.csv.gz"
QUICK = ("--limit", "600", "--concurrency", "8", "--hold", "1000")


def simulate(folder: Path, *words: str, python: Sequence[str] = GLOWPLUG) -> Said:
    done = subprocess.run(
        [*python, "simulate", *words], cwd=folder, capture_output=True, text=True, timeout=60
    )
    return Said(done.returncode, done.stdout, done.stderr)


def test_two_scales_are_shown_side_by_side_with_what_changes(tmp_path: Path) -> None:
    said = simulate(
        tmp_path, str(AZURE), *QUICK, "--price", "1.2", "--against", "min=1,zero_after=10m"
    )

    assert said.code == 0, said.err
    assert "600 calls" in said.out
    assert "min=1, zero_after=10m" in said.out
    for figure in (
        "none ready",
        "wait, 95 %",
        "began within 10s",
        "GPU-hours",
        "dollars",
        "change",
    ):
        assert figure in said.out
    assert list(tmp_path.iterdir()) == []  # no home, no files


def test_programs_get_all_figures_and_the_same_ones_each_time(tmp_path: Path) -> None:
    documents = [
        json.loads(simulate(tmp_path, str(AZURE), *QUICK, "--against", "min=1", "--json").out)
        for _ in range(2)
    ]
    given, changed = documents[0]["runs"]

    assert documents[0] == documents[1]
    assert changed["cold"] < given["cold"]
    assert documents[0]["change"]["cold"] == changed["cold"] - given["cold"]
    assert given["violations"] == changed["violations"] == []
    assert given["calls"] == 600
    assert given["dollars"] is None


def test_ones_own_traffic_is_replayed_for_one_endpoint_or_all(tmp_path: Path) -> None:
    lines = [
        {"at_ms": 1000 * second, "endpoint": f"shop/{name}", "service_ms": 200}
        for second in range(60)
        for name in ("greet", "count")
    ]
    (tmp_path / "calls.jsonl").write_text("\n".join(json.dumps(line) for line in lines))
    both = json.loads(simulate(tmp_path, "calls.jsonl", "--json").out)
    one = json.loads(simulate(tmp_path, "calls.jsonl", "--endpoint", "shop/greet", "--json").out)

    assert both["runs"][0]["calls"] == 120
    assert one["runs"][0]["calls"] == 60


@pytest.mark.parametrize("name", ["plot.png", "plot.svg"])
def test_a_plot_is_drawn_into_a_file(tmp_path: Path, name: str) -> None:
    said = simulate(tmp_path, str(AZURE), *QUICK, "--against", "max=1", "--plot", name)

    assert said.code == 0, said.err
    assert (tmp_path / name).stat().st_size > 10_000


@pytest.mark.parametrize(
    ("words", "said", "hint"),
    [
        (("nope.csv",), "cannot read nope.csv: No such file", "path of a CSV or JSONL"),
        (("synthetic:nope",), "no traffic synthetic:nope", "synthetic:bursts"),
        ((str(AZURE), "--against", "mn=1"), "'mn=1' is not KEY=VALUE", "min=…"),
        ((str(AZURE), "--against", "min"), "'min' is not KEY=VALUE", "min=1,zero_after=10m"),
        ((str(AZURE), "--against", "min=9"), "min 9, max 4", "min is at most max"),
        ((str(AZURE), "--max", "0"), "max 0", "max at least 1"),
        ((str(AZURE), "--min", "x"), "--min 'x' is no number", "--min 2"),
        ((str(AZURE), "--min", "1.5"), "no whole number", "--min 2"),
        ((str(AZURE), "--concurrency", "0"), "runs nothing", "at least 1"),
        ((str(AZURE), "--cold-start", "soon"), "--cold-start='soon'", "1.5s"),
        ((str(AZURE), "--speed-up", "0"), "--speed-up 0", "--speed-up 2"),
        ((str(AZURE), "--endpoint", "a/b"), "goes to a/b", "azure-llm/azure-llm-2023-code (8,819)"),
        ((str(AZURE), "--plot", "plot.doc"), "ends in .png", "plot.png"),
        ((str(AZURE), "--plot", "no/plot.png"), "no folder no", "mkdir -p no"),
    ],
)
def test_a_mistake_is_met_with_its_cause_and_the_next_step(
    tmp_path: Path, words: tuple[str, ...], said: str, hint: str
) -> None:
    ended = simulate(tmp_path, *words)

    assert ended.code == 1
    assert said in ended.err
    assert hint in ended.err
    assert "Traceback" not in ended.err


def test_without_matplotlib_only_the_plot_is_missed(tmp_path: Path) -> None:
    # `None` in sys.modules is what the import system takes for "not there".
    hides = "import sys; sys.modules['matplotlib'] = None; from glowplug.cli import main; main()"
    python = (sys.executable, "-c", hides)
    plain = simulate(tmp_path, str(AZURE), *QUICK, python=python)
    drawn = simulate(tmp_path, str(AZURE), *QUICK, "--plot", "plot.png", python=python)

    assert plain.code == 0, plain.err
    assert drawn.code == 1
    assert "pip install 'glowplug[simulate]'" in drawn.err
