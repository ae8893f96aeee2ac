"""How do the figures of a run read? One Markdown row each: ours, others, the bound, the target, and if it is met."""

from collections.abc import Mapping, Sequence
from math import isnan
from typing import Any

HEAD = "| row | figure | glowplug | others | bound | target | met | s |\n|---|---|--:|---|--:|--:|---|--:|"
OURS = "glowplug"


def table(found: Sequence[Mapping[str, Any]], targets: Mapping[str, Mapping[str, float]]) -> str:
    """Return the table of results, each as a mapping with its row and how long that took."""
    return "\n".join([HEAD, *(_line(one, targets.get(one["figure"], {})) for one in found)])


def _line(one: Mapping[str, Any], target: Mapping[str, float]) -> str:
    most = target.get("max", one["at_most"])
    least = target.get("min", one["at_least"])
    others = ", ".join(
        f"{name} {_number(value)}" for name, value in one["peers"].items() if name != OURS
    )
    cells = (
        one["row"],
        f"`{one['figure']}`",
        f"{_number(one['value'])} {one['unit'] if one['unit'] not in ('ratio', 'share') else ''}".strip(),
        others or "–",
        "–" if one["bound"] is None else _number(one["bound"]),
        _target(most, least),
        _met(one["value"], most, least),
        f"{one['took_s']:.0f}",
    )
    return "| " + " | ".join(cells) + " |"


def _target(most: float | None, least: float | None) -> str:
    if most is not None:
        return f"≤ {most:g}"
    return "–" if least is None else f"≥ {least:g}"


def _met(value: float, most: float | None, least: float | None) -> str:
    if most is None and least is None:
        return ""
    if isnan(value):
        return "not measured"
    is_met = (most is None or value <= most) and (least is None or value >= least)
    return "yes" if is_met else "**no**"


def _number(value: float) -> str:
    if isnan(value):
        return "–"
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.4g}"
