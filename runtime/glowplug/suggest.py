"""Which known name did the user mean?"""

from collections.abc import Iterable

SUGGESTIONS_MAX = 3


def near(word: str, known: Iterable[str], cutoff: float = 0.6) -> list[str]:
    """Return up to three known names that look like `word`, best first; case does not count."""
    from difflib import get_close_matches  # lazily: only errors need it

    by_folded = {name.casefold(): name for name in known}
    found = get_close_matches(word.casefold(), by_folded, SUGGESTIONS_MAX, cutoff)
    return [by_folded[name] for name in found]


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return "did you mean …?" or, when nothing is near, the list of what there is."""
    names = sorted(known)
    found = near(word, names)
    if found:
        return f"did you mean {' or '.join(f'`{name}`' for name in found)}?"
    return f"there is {', '.join(f'`{name}`' for name in names)}" if names else "there is none"
