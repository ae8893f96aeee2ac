"""What must still be so when an action is carried out? A plan is made of what was; writing it down takes a moment."""

from dataclasses import dataclass
from typing import Literal

Precondition = Literal[
    "is_wanted",  # its version has traffic or is tried out, its node is there, and no replica has its id yet
    "is_tried_out",  # its version is tried out, and the replica that becomes it is there
    "is_there",  # the replica is there
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Guarded:
    """An action that is checked again before it is carried out, and dropped when it no longer holds."""

    deadline_ns: int = 0  # monotonic time after which it is not begun any more; 0 = never too late
    precondition: Precondition = "is_there"
