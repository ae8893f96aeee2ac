"""What is a call while it is part of a batch?"""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from glowplug.context import CallContext
from glowplug.errors import CallError
from glowplug.worker.inside import Inside

if TYPE_CHECKING:
    from glowplug.worker.call import Call


class Item:
    """One call's place in a batch."""

    __slots__ = ("_forget", "arguments", "call", "mark", "ready_ns")

    def __init__(
        self,
        call: "Call",
        arguments: Mapping[str, Any],
        mark: int,
        forget: "Callable[[Item], None]",
    ) -> None:
        self.call = call
        self.arguments = arguments
        self.mark = mark  # tells its body from others
        self.ready_ns = 0  # when it was decoded, and could have run
        self._forget = forget

    def leave(self) -> None:
        """Go: nobody waits for the call any more. Free of cost before the cut; afterwards its result is dropped."""
        self._forget(self)


Trial = tuple[Sequence[Item], int]  # what runs together, and the size it is filled up to


class Misfit(Exception):  # noqa: N818  # not an error of the user's: it carries one of ours past what user code raises
    """The code did not return an entry for each call."""

    def __init__(self, error: CallError) -> None:
        super().__init__(str(error))
        self.error = error


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
