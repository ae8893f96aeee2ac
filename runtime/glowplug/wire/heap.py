"""Does a process give freed memory back only to ask for it again at once? Not after its first large body.

glibc returns the top of its heap to the system as soon as 128 KiB are free there. Two bodies of 1 MiB then cost 480
page faults, which is 0.8 ms of CPU; copying one costs 0.02 ms (docs/benchmarks.md). So a process that handles large
bodies keeps a bounded rest.
"""

import ctypes
from functools import cache

KEPT_BYTES = 32 * 1024 * 1024  # free memory that stays with the process
MAPPED_MIN = (
    8 * 1024 * 1024
)  # larger pieces come straight from the system; bodies over this travel by reference
_M_TRIM_THRESHOLD = -1  # malloc.h
_M_MMAP_THRESHOLD = -3


@cache
def keep_freed() -> bool:
    """Tell the allocator, once a process; return whether it listens (it does where it is glibc's)."""
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):
        return False
    return bool(mallopt(_M_MMAP_THRESHOLD, MAPPED_MIN) and mallopt(_M_TRIM_THRESHOLD, KEPT_BYTES))
