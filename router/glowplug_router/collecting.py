"""How often does a process look for cycles? Seldom: neither a call nor a plan leaves any behind."""

import gc

# The default of 700 had the gateway's collector look for some 80 times a second, and in a plan of 1,000 endpoints it
# looked at all objects of the fleet: with it plans grew 1.2 to 1.7 × as fast as n log n.
GC_THRESHOLDS = (20_000, 20, 50)


def collect_seldom() -> None:
    """Tell the collector of this process that what is loaded by now stays, and to look seldom."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)
