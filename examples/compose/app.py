"""Endpoints that call endpoints: `describe` asks `count` and `keywords`, each of which scales by itself."""

import re
from collections import Counter
from dataclasses import dataclass

from glowplug import Scale, endpoint

COMMON = frozenset(
    "a an and are as at be but by for from if in into is it of on or that the this to was with".split()
)
TEXT = "A glow plug heats the chamber of a diesel engine, so that the cold engine starts at once."


@dataclass
class Description:
    """What there is to say about a text."""

    words: int
    sentences: int
    about: list[str]


@endpoint(examples=[{"text": TEXT}])
def count(text: str) -> dict[str, int]:
    """Count words and sentences."""
    return {"words": len(_words(text)), "sentences": len(re.findall(r"[.!?]+(?:\s|$)", text)) or 1}


@endpoint(examples=[{"text": TEXT}], scale=Scale(max=2))
def keywords(text: str, most: int = 3) -> list[str]:
    """Name the words that come up most often, common ones aside."""
    return [
        word
        for word, _ in Counter(word for word in _words(text) if word not in COMMON).most_common(
            most
        )
    ]


@endpoint(examples=[{"text": TEXT}])
def describe(text: str) -> Description:
    """Ask the other two."""
    counted = count.remote(text)  # with what is left of this call's deadline
    return Description(counted["words"], counted["sentences"], keywords.remote(text, most=2))


def _words(text: str) -> list[str]:
    return re.findall(r"[a-z']+", text.lower())
