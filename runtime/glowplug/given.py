"""Is what was written for an option what it takes? A number, a share, a name that there is."""

import re
from typing import TYPE_CHECKING

from glowplug.errors import DefinitionError
from glowplug.suggest import did_you_mean

if TYPE_CHECKING:
    from typing import Self

WHOLE = 1000  # permille
_PERCENT = re.compile(r"([0-9]{1,4}(?:\.[0-9]{1,3})?) ?%")


class ByName:
    """A record that people write out option by option: one it does not have is refused with what was meant."""

    __slots__ = ()

    def __new__(cls, *given: object, **options: object) -> "Self":
        """Look at the names before `__init__`, whose TypeError would not say which there are."""
        known = list(cls.__annotations__)
        if given:
            raise DefinitionError(
                f"{cls.__name__} takes its options by name",
                hint=f"write {cls.__name__}({known[0]}={given[0]!r})",
            )
        for name in options:
            if name not in known:
                raise DefinitionError(
                    f"{cls.__name__} has no option `{name}`", hint=did_you_mean(name, known)
                )
        return super().__new__(cls)


def whole_number(given: object, what: str, least: int, most: int | None = None) -> int:
    """Return `given` if it is an integer of at least `least`, and at most `most`."""
    if isinstance(given, int) and not isinstance(given, bool) and given >= least:
        if most is None or given <= most:
            return given
        raise DefinitionError(
            f"{what}={given} is more than {most}", hint=f"write {least} to {most}"
        )
    if isinstance(given, str) and given.endswith("%"):
        raise DefinitionError(
            f"{what}={given!r}: it takes no percentage",
            hint=f"write {what.rpartition('.')[2]}={max(least, 1)}",
        )
    raise DefinitionError(
        f"{what}={given!r} must be a whole number, {least} or more",
        hint=f"write {what.rpartition('.')[2]}={max(least, 1)}",
    )


def permille(given: object, what: str, most: int) -> int:
    """Return the thousandths of "70%" or 0.7, above 0 and at most `most`."""
    found: float | None = None
    if isinstance(given, str) and (match := _PERCENT.fullmatch(given.strip())):
        found = 10 * float(match[1])
    elif isinstance(given, float | int) and is_number(given):
        found = WHOLE * given
    if found is None or not 1 <= round(found) <= most:
        raise DefinitionError(
            f"{what}={given!r} is not a share up to {most // 10} %",
            hint=f'write {what.rpartition(".")[2]}="20%"',
        )
    return round(found)


def is_number(given: object) -> bool:
    """Say whether it is a finite number, which True and False are not."""
    return isinstance(given, int | float) and not isinstance(given, bool) and given < float("inf")
