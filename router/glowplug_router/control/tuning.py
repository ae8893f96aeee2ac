"""May an operator bound batches so? Only code that takes lists has any, and they never grow beyond what it declares."""

from collections.abc import Iterable

from glowplug.spec import Policy
from glowplug_router.control.bounds import refused
from glowplug_router.records.stored import Version


def check_tuning(policy: Policy, live: Iterable[Version], endpoint: str) -> None:
    """Refuse bounds of batches that an endpoint's code cannot keep."""
    wanted = policy.batch
    if wanted.max is None and wanted.wait_ns is None:
        return
    sizes = [one.spec.batch.max for one in live if one.endpoint == endpoint]
    if not any(sizes):
        raise refused(
            f"{endpoint} takes one call at a time, so there is no batch to bound",
            "write @endpoint(batch=Batch(max=32)) and deploy it",
        )
    if wanted.max is not None and wanted.max > max(sizes):
        raise refused(
            f"batch.max={wanted.max} is more than the {max(sizes)} that the code declares",
            f"use 1 to {max(sizes)}, or raise Batch(max=…) and deploy",
        )
