"""Send many files to one endpoint, some at a time: `python examples/files/client.py PATH…` (deploy file_type first)."""

import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import anyio

from glowplug import Endpoint, GlowplugError

AT_ONCE = 8  # calls under way; the router queues and scales, so a few more than replicas is plenty
SIZE_MAX = 8 * 1024 * 1024


async def identify_all(
    paths: Sequence[Path], identify: "Endpoint[..., dict[str, object]]"
) -> dict[Path, str]:
    """Return the label of each file, or why there is none."""
    found: dict[Path, str] = {}
    room = anyio.CapacityLimiter(AT_ONCE)

    async def one(path: Path) -> None:
        async with room:
            try:
                answer = await identify.aremote(data=await anyio.Path(path).read_bytes())
                found[path] = str(answer["label"])
            except GlowplugError as error:
                found[path] = f"failed: {error.code}"
            except Exception as error:  # the endpoint's own comes back as itself; the others go on
                found[path] = f"failed: {type(error).__name__}"

    async with anyio.create_task_group() as group:
        for path in paths:
            group.start_soon(one, path)
    return found


def files_below(given: Sequence[str]) -> list[Path]:
    """Return the files that the arguments name, folders opened, none too big."""
    roots = [Path(one) for one in given]
    every = [
        path for root in roots for path in ([root] if root.is_file() else sorted(root.rglob("*")))
    ]
    return [path for path in every if path.is_file() and path.stat().st_size <= SIZE_MAX]


if __name__ == "__main__":
    labels = anyio.run(
        identify_all, files_below(sys.argv[1:]), Endpoint.lookup("file-type/identify")
    )
    for path, label in labels.items():
        print(f"{label:12} {path}")
    print(dict(Counter(labels.values()).most_common()))
