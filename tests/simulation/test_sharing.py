"""From when on has a tenant got too little, and from when on not?"""

from glowplug.clock import MILLISECOND
from glowplug_router.simulation.facts import Accepted
from glowplug_router.simulation.sharing import Sharing

CALL_NS = 100 * MILLISECOND


class Shop:
    """One version whose calls are sent as the test says."""

    def __init__(self) -> None:
        self.sharing = Sharing()
        self.asked: dict[int, Accepted] = {}

    def wait(self, tenant: str, count: int) -> list[int]:
        calls = [len(self.asked) + number for number in range(1, count + 1)]
        for call in calls:
            self.asked[call] = Accepted(call, "v", 0, tenant=tenant)
            self.sharing.accepted(self.asked[call])
        self.sharing.stepped()
        return calls

    def run(self, calls: list[int]) -> list[str]:
        """Run calls at once; return what is said of it."""
        for call in calls:
            self.sharing.sent(call)
        found = [breach for call in calls for breach in self._end(call)]
        return [invariant for invariant, _ in found]

    def _end(self, call: int) -> list[tuple[str, str]]:
        found = list(self.sharing.freed(call, self.asked[call], CALL_NS))
        self.sharing.answered(call)
        return found


def served_alone(at_once: int, rounds: int) -> list[str]:
    """Serve one tenant only, so many calls at once, while another one waits; return what is said."""
    shop = Shop()
    shop.wait("small", 1)
    greedy = shop.wait("greedy", 1 + at_once * rounds)
    said = []
    for number in range(rounds):
        said += shop.run(greedy[number * at_once : (number + 1) * at_once])
    return said


def test_with_one_permit_a_tenant_may_be_four_calls_behind_and_no_more() -> None:
    assert served_alone(at_once=1, rounds=4) == []
    assert served_alone(at_once=1, rounds=5) == ["tenant_share"]


def test_calls_that_run_at_once_widen_the_bound_by_themselves_only() -> None:
    assert served_alone(at_once=8, rounds=2) == []
    assert "tenant_share" in served_alone(at_once=8, rounds=3)
