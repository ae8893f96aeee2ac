"""Who makes way when memory is short?"""

from glowplug.clock import HOUR, SECOND
from glowplug_router.policy.warmth.residency import Heat, Resident, called, expected, victims, worth


def resident(key: str, size: int, wake_ns: int, *calls_ns: int) -> Resident:
    heat = Heat()
    for at_ns in calls_ns:
        heat = called(heat, at_ns)
    return Resident(key, size, wake_ns, heat)


def test_who_is_worth_the_least_a_byte_makes_way() -> None:
    often = resident("often", 1, SECOND, *range(0, 100 * SECOND, SECOND))
    seldom = resident("seldom", 1, SECOND, 50 * SECOND)
    large = resident("large", 10**6, SECOND, 50 * SECOND)
    slow = resident("slow", 1, 1000 * SECOND, 50 * SECOND)

    crowd = [often, seldom, large, slow]
    assert victims(crowd, 1, 100 * SECOND) == (large,)
    assert victims([often, seldom], 2, 100 * SECOND) == (seldom, often)
    assert victims([often, seldom], 3, 100 * SECOND) is None
    assert worth(slow, 100 * SECOND) > worth(seldom, 100 * SECOND)


def test_what_nobody_calls_is_forgotten() -> None:
    heat = called(Heat(), SECOND)
    rates = [expected(heat, at * HOUR) for at in (1, 24, 24 * 365, 24 * 365 * 1000)]

    assert rates == sorted(rates, reverse=True)
    assert rates[-1] == 0
