"""Does the controller keep to what was declared for a while, and say when it is over?"""

from dataclasses import replace

from glowplug.clock import HOUR, MINUTE, SECOND
from glowplug.spec import Policy, WindowSpec
from glowplug_router.control.observe import observe
from glowplug_router.control.wishes import ended, monotonic_ns, spans_of
from glowplug_router.records.wishes import Wish
from unit.router.control.stage import stage

LEASE = Wish(
    id="w1",
    app="hello",
    endpoint="greet",
    kind="lease",
    created_wall_ns=0,
    until_wall_ns=10 * MINUTE,
    min=2,
)


async def test_a_lease_keeps_replicas_until_it_ends_and_the_log_says_so() -> None:
    async with stage() as on:
        await on.deploy(("greet", "one"), policy=Policy(max=3, zero_after_ns=SECOND))
        start_wall_ns = on.clock.wall_ns()
        wish = replace(LEASE, created_wall_ns=start_wall_ns, until_wall_ns=start_wall_ns + MINUTE)
        await on.world.catalog.add_wish(wish)
        on.world.changed.fire()
        await on.until(lambda: len(on.node.residencies) == 2)

        on.clock.advance(MINUTE + SECOND)
        on.world.changed.fire()
        await on.until(lambda: not on.world.catalog.wishes)
        rows = await on.store.decisions("hello/greet")

    assert await on.store.wishes() == ()
    assert "lease" in {row.rule for _, row in rows}
    (over,) = (row for _, row in rows if row.rule == "lease_ended")
    assert over.text == "min 2 held for 60 s and has ended; its policy holds again: min 0, max 3"


async def test_the_planner_sees_wall_time_as_monotonic_time() -> None:
    async with stage() as on:
        await on.deploy(("greet", "one"))
        await on.world.catalog.add_wish(LEASE)

        (one,) = observe(on.world, 5 * SECOND, 9 * MINUTE).served

    assert one.wishes.holds[0].until_ns == 5 * SECOND + MINUTE
    assert one.wishes.holds[0].min == 2


def test_two_readings_of_the_clocks_give_the_same_moment() -> None:
    first = monotonic_ns(10 * MINUTE, 7 * SECOND + 10, 9 * MINUTE + 25)
    second = monotonic_ns(10 * MINUTE, 8 * SECOND + 10, 9 * MINUTE + SECOND + 40)

    assert first == second == 7 * SECOND + MINUTE


async def test_a_wish_has_ended_at_its_very_end() -> None:
    async with stage() as on:
        await on.world.catalog.add_wish(LEASE)

        assert ended(on.world.catalog, LEASE.until_wall_ns - 1) == ()
        assert ended(on.world.catalog, LEASE.until_wall_ns) == (LEASE,)


MORNINGS = WindowSpec(cron="0 8 * * *", for_ns=2 * HOUR, tz="Europe/Berlin", min=2)


def spans(window: WindowSpec, hour: int) -> list[tuple[int, int]]:
    """Return the spans in hours of the first day of 1970, when Berlin is an hour ahead."""
    return [(begin // HOUR, end // HOUR) for begin, end in spans_of(window, hour)]


def test_a_window_is_told_two_hours_ahead_and_until_it_ends() -> None:
    assert [spans(MORNINGS, hour) for hour in (5, 6, 7, 8)] == [[]] + [[(7, 9)]] * 3
    assert spans(MORNINGS, 10) == []


def test_a_window_that_begins_again_before_it_ends_is_one_span() -> None:
    assert spans(replace(MORNINGS, cron="0 * * * *"), 8) == [(6, 11)]


def test_a_time_zone_that_has_left_the_system_opens_nothing() -> None:
    assert spans(replace(MORNINGS, tz="Europe/Gone"), 8) == []


async def test_a_window_keeps_replicas_while_it_is_open() -> None:
    async with stage() as on:
        begins_ns = -(-on.clock.wall_ns() // HOUR) * HOUR
        hour = begins_ns // HOUR % 24
        window = WindowSpec(cron=f"0 {hour} * * *", for_ns=HOUR, min=2)
        policy = Policy(max=3, zero_after_ns=SECOND, windows=(window,))
        await on.deploy(("greet", "one"), policy=policy)
        on.clock.advance(10 * SECOND)
        on.world.changed.fire()
        await on.settled()
        before = len(on.node.residencies)
        on.clock.advance(begins_ns - on.clock.wall_ns() + SECOND)
        on.world.changed.fire()
        await on.until(lambda: len(on.node.residencies) == 2)
        rows = await on.store.decisions("hello/greet@1")

    assert before <= 1
    assert any(row.rule == "window" for _, row in rows)
