"""Colours in, names out: calls that arrive together run as one. numpy compares all of them with all names at once."""

from collections.abc import Iterator

import numpy as np

from glowplug import END, Batch, Image, endpoint

NAMES = {
    "black": "#000000",
    "blue": "#0000ff",
    "brown": "#a52a2a",
    "gold": "#ffd700",
    "green": "#008000",
    "orange": "#ffa500",
    "pink": "#ffc0cb",
    "purple": "#800080",
    "red": "#ff0000",
    "teal": "#008080",
    "white": "#ffffff",
    "yellow": "#ffff00",
}


def numbers(colour: str) -> list[int]:
    return [int(colour[at : at + 2], 16) for at in (1, 3, 5)]


KNOWN = np.array([numbers(colour) for colour in NAMES.values()])
image = Image.python().pip("numpy")


@endpoint(image=image, batch=Batch(max=64), examples=[{"colours": "#1e90ff"}])
def name_of(colours: list[str]) -> list[str]:
    """Name a colour such as #1e90ff."""
    rows = np.array([numbers(colour) for colour in colours])
    nearest = ((rows[:, None] - KNOWN) ** 2).sum(2).argmin(1)
    return [list(NAMES)[at] for at in nearest]


@endpoint(image=image, batch=16, examples=[{"colours": "#204060", "steps": 3}])
def fade(colours: list[str], steps: list[int]) -> Iterator[list[str | None]]:
    """Fade a colour to black, step by step."""
    rows, left = np.array([numbers(colour) for colour in colours]), np.array(steps)
    while (left > 0).any():
        rows = rows * np.maximum(left - 1, 0)[:, None] // np.maximum(left, 1)[:, None]
        left = left - 1
        yield [
            "#{:02x}{:02x}{:02x}".format(*rows[at]) if left[at] >= 0 else END
            for at in range(len(rows))
        ]
