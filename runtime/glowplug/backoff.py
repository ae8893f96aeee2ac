"""How long does one wait who tries again? Twice as long each time, up to a limit."""

_DOUBLINGS_MAX = 32  # beyond any limit there is; keeps the number small


def backoff_ns(failures: int, first_ns: int, most_ns: int) -> int:
    """Return the wait after so many failures in a row; none after none."""
    if failures <= 0:
        return 0
    return min(first_ns << min(failures - 1, _DOUBLINGS_MAX), most_ns)
