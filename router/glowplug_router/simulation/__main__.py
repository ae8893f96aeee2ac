"""How do many seeds end? Prints one JSON line: digest, violations, and how to replay the first seed that failed."""

import argparse
import json
import sys
from collections import Counter
from hashlib import sha256

from glowplug_router.simulation.run import Outcome, run_seed

SHOWN_MAX = 5  # failing seeds in the line


def main(arguments: list[str]) -> int:
    """Run a range of seeds; return 1 when a promise was broken."""
    parser = argparse.ArgumentParser(
        prog="python -m glowplug_router.simulation", description=__doc__
    )
    parser.add_argument(
        "--seeds",
        default="0:100",
        metavar="FIRST:END",
        help="END is not run (default: %(default)s)",
    )
    first, _, end = parser.parse_args(arguments).seeds.partition(":")
    outcomes = [run_seed(seed) for seed in range(int(first), int(end or int(first) + 1))]
    print(json.dumps(summary(outcomes)))
    return int(any(outcome.violations for outcome in outcomes))


def summary(outcomes: list[Outcome]) -> dict[str, object]:
    """Return what a person or a bench wants to know of many runs."""
    digest = sha256("".join(outcome.digest for outcome in outcomes).encode()).hexdigest()
    failing = [outcome for outcome in outcomes if outcome.violations]
    line: dict[str, object] = {
        "seeds": len(outcomes),
        "events": sum(outcome.events for outcome in outcomes),
        "calls": sum(outcome.calls for outcome in outcomes),
        "violations": sum(len(outcome.violations) for outcome in outcomes),
        "faults": dict(sum((Counter(outcome.faults) for outcome in outcomes), Counter())),
        "digest": digest,
    }
    if failing:
        line["failing"] = [
            {
                "seed": o.seed,
                "at_s": o.violations[0].at_ns / 1e9,
                "invariant": o.violations[0].invariant,
                "text": o.violations[0].text,
            }
            for o in failing[:SHOWN_MAX]
        ]
        line["replay"] = f"python -m glowplug_router.simulation --seeds {failing[0].seed}"
    return line


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
