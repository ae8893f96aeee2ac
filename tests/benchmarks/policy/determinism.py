"""Do two runs come out the same, whatever Python's hash seed is?

The same seeds of the simulator with faults (planner, dispatcher and agents) and every plan in them, in processes of
their own with several hash seeds, one of them twice. The control breaks a tie by the hash of a string.
"""

import json
import os
import subprocess
import sys

from policy.result import Result

NAME = "determinism"
HASH_SEEDS = ("0", "1", "20261123")
SEEDS = 12
CONTROL_SEEDS = 4
CODE = """
import json, sys
from dataclasses import replace
from glowplug.clock import SECOND
from glowplug_router.plan import plan
from glowplug_router.recording import plan_digest
from glowplug_router.simulation.run import Subject, run_seed

first, count, kind = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
digests = []

def noted(observed, demand, memory, now_ns):
    if kind == "control":  # a tie that hash seeds decide
        observed = replace(observed, served=tuple(sorted(observed.served, key=lambda one: hash(one.key))))
    made = plan(observed, demand, memory, now_ns)
    digests.append(plan_digest(made))
    return made

for seed in range(first, first + count):
    digests.append(run_seed(seed, Subject(planner=noted)).digest)
print(json.dumps(digests))
"""


def run(seed: int) -> list[Result]:
    """Return how many digests differ between processes."""
    same = [_digests(seed, SEEDS, "same", hash_seed) for hash_seed in (*HASH_SEEDS, HASH_SEEDS[0])]
    other = [_digests(seed, CONTROL_SEEDS, "control", hash_seed) for hash_seed in HASH_SEEDS]
    return [
        Result(
            figure="digest_mismatches",
            value=_differing(same),
            unit="digests",
            detail=f"{SEEDS} seeds with faults in {len(same)} processes, {len(HASH_SEEDS)} hash seeds",
            exercised=sum(len(one) for one in same[1:]),
            control=_differing(other),
        )
    ]


def _differing(runs: list[list[str]]) -> int:
    first, *others = runs
    found = 0
    for one in others:
        found += abs(len(one) - len(first))
        found += sum(a != b for a, b in zip(first, one, strict=False))
    return found


def _digests(seed: int, count: int, kind: str, hash_seed: str) -> list[str]:
    env = {**os.environ, "PYTHONHASHSEED": hash_seed}
    command = [sys.executable, "-c", CODE, str(seed), str(count), kind]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=True)
    digests: list[str] = json.loads(done.stdout)
    return digests
