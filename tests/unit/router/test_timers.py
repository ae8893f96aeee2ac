"""Does every timer go off at its time, in order, and none that was cleared?"""

from hypothesis import given, settings
from hypothesis import strategies as st

from glowplug_router.dispatch.timers import SLOT_BITS, Timers

SLOT = 1 << SLOT_BITS


class Target:
    def __init__(self, name: int) -> None:
        self.name = name
        self.timer_ns = 0
        self.timer_serial = 0


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("set"), st.integers(0, 5), st.integers(0, 5 * SLOT)),
        st.tuples(st.just("no later"), st.integers(0, 5), st.integers(0, 5 * SLOT)),
        st.tuples(st.just("clear"), st.integers(0, 5), st.just(0)),
        st.tuples(
            st.just("wait"), st.just(0), st.sampled_from([0, 1, 1000, SLOT // 3, SLOT, 3 * SLOT])
        ),
    ),
    max_size=60,
)


@settings(max_examples=300)
@given(STEPS)
def test_what_is_due_goes_off_once_in_order_and_nothing_else_does(
    steps: list[tuple[str, int, int]],
) -> None:
    timers: Timers[Target] = Timers()
    targets = [Target(number) for number in range(6)]
    due: dict[int, tuple[int, int]] = {}
    now_ns, serial = SLOT, 0
    for what, number, ns in steps:
        at_ns = now_ns + ns - SLOT // 2
        if what == "set" or (what == "no later" and at_ns < due.get(number, (at_ns + 1, 0))[0]):
            serial += 1
            due[number] = (at_ns, serial)
        if what == "set":
            timers.set(targets[number], at_ns)
        elif what == "no later":
            timers.set_no_later(targets[number], at_ns)
        elif what == "clear":
            due.pop(number, None)
            timers.clear(targets[number])
        else:
            now_ns += ns
            expected = sorted((key, one) for one, key in due.items() if key[0] <= now_ns)
            went = []
            while (target := timers.pop(now_ns)) is not None:
                went.append(target.name)
            assert went == [one for _, one in expected]
            for one in went:
                del due[one]
            assert timers.first_ns == min((key[0] for key in due.values()), default=None)
        assert len(timers) == len(due)
        assert timers.first_ns is None if not due else timers.first_ns is not None
        assert all(targets[one].timer_ns == due.get(one, (0, 0))[0] for one in range(6))


def test_where_timers_come_and_go_one_at_a_time_nothing_is_left() -> None:
    timers: Timers[Target] = Timers()
    for number in range(1000):
        target = Target(number)
        timers.set(target, (number + 1) * SLOT)
        timers.clear(target)

    assert timers.first_ns is None
    assert not timers._slots
    assert not timers._numbers


def test_ten_thousand_that_were_cleared_leave_no_more_than_their_slots() -> None:
    timers: Timers[Target] = Timers()
    kept = Target(0)
    timers.set(kept, 100 * SLOT)
    for number in range(10_000):
        target = Target(number)
        timers.set(target, SLOT + number * SLOT // 1000)
        timers.clear(target)

    assert len(timers) == 1
    assert len(timers._slots) <= 12
    assert timers.pop(50 * SLOT) is None
    assert timers.first_ns == 100 * SLOT
    assert len(timers._slots) == 1
