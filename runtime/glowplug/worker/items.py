"""What is a call while it is part of a batch?"""

import gc
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, get_args

from glowplug.context import CallContext
from glowplug.errors import CallError
from glowplug.lists import results_of
from glowplug.options import Batch
from glowplug.spec import Class
from glowplug.worker.inside import Inside

if TYPE_CHECKING:
    from glowplug.worker.call import Call


_RANKS = {klass: rank for rank, klass in enumerate(get_args(Class))}
_STANDARD = _RANKS["standard"]
# Objects made and not freed since the last collection that start one: of Python up to 3.13, and since.
GC_DEFAULTS = (700, 2000)
OBJECTS_PER_CALL = 24  # that the collector counts, from frame to answer; a row of numbers is one
WEIGHT_MAX = 10**15  # a float holds it to the last digit, and times the calls of a batch too


class Item:
    """One call's place in a batch."""

    __slots__ = ("_forget", "arguments", "call", "key", "mark", "rank", "ready_ns", "weight")

    arguments: Mapping[str, Any]  # once it is decoded

    def __init__(
        self,
        call: "Call",
        mark: int,
        forget: "Callable[[Item], None]",
    ) -> None:
        self.call = call
        self.mark = mark  # tells its body from others
        self.ready_ns = 0  # when it was decoded, and could have run
        self.rank = _RANKS.get(call.infer.klass, _STANDARD)
        self.weight = 1
        self.key: Hashable = None
        self._forget = forget

    def look(self, asked: Batch) -> None:
        """Note weight and key; what is wrong with either is raised here, where it concerns no other item."""
        values = self.arguments.values()
        if asked.weight is not None:
            self.weight = _whole(asked.weight(*values))
        if asked.key is not None:
            key = asked.key(*values)
            hash(key)
            bool(key == key)  # a user's type may raise when it is compared
            self.key = ("key", key)

    def leave(self) -> None:
        """Go: nobody waits for the call any more. Free of cost before the cut; afterwards its result is dropped."""
        self._forget(self)


def _whole(weight: float) -> int:
    if not weight <= WEIGHT_MAX:
        raise ValueError(f"`batch.weight` returned no number up to {WEIGHT_MAX:.0e}")
    return int(max(1, round(weight)))


Trial = tuple[Sequence[Item], int]  # what runs together, and the size it is filled up to


class Misfit(Exception):  # noqa: N818  # not an error of the user's: it carries one of ours past what user code raises
    """The code did not return an entry for each call."""

    def __init__(self, error: CallError) -> None:
        super().__init__(str(error))
        self.error = error


def split(
    label: str, items: Sequence[Item], size: int, value: Any, outcomes: dict[Item, Any]
) -> None:
    """Note for each item its entry of what the code returned, or that it returned something else."""
    try:
        results = results_of(label, value, size)
    except CallError as error:
        outcomes.update(dict.fromkeys(items, Misfit(error)))
    else:
        outcomes.update(zip(items, results, strict=False))  # what filled it up has no item


def spare_what_waits(calls: int) -> None:
    """Have the collector count calls that wait as no garbage: it would look through all of them for every batch."""
    default, *others = gc.get_threshold()
    if default in GC_DEFAULTS:  # else the code has its own idea
        gc.set_threshold(default + calls * OBJECTS_PER_CALL, *others)


def all_gone(items: Sequence[Item]) -> bool:
    """Say whether nobody waits for any of these: they have their answers, or have left."""
    return all(item.call.cancelled or item.call.ended for item in items)


def together(items: Sequence[Item]) -> CallContext:
    """Return what code that runs for several calls may ask: about the first one, and the longest deadline."""
    call = items[0].call
    return CallContext(
        request_id=f"{call.request_id}+{len(items) - 1}",
        app=call.app,
        endpoint=call.endpoint,
        version=call.version,
        tenant=call.tenant,
        klass=call.klass,
        deadline_ns=max(item.call.due_ns for item in items),
        attempt=call.attempt,
        chain=call.chain,
        trace=call.trace,
        transport=Inside(
            call
        ),  # not the call's own: that ends with its caller, and others need this one
    )
