"""Do declared bounds hold while they should, and only then?"""

from hypothesis import given
from hypothesis import strategies as st

from glowplug.clock import HOUR, MINUTE, SECOND
from glowplug.spec import Policy
from glowplug_router.policy.wishes import current, due_ns, in_effect, told
from glowplug_router.records.observed import Observed, Served
from glowplug_router.records.stored import Explain
from glowplug_router.records.wishes import Hold, HoldKind, Wishes
from unit.router.planning import KEY, NOW, Planning, version


def hold(
    kind: HoldKind = "lease",
    least: int | None = 2,
    most: int | None = None,
    *,
    begins_ns: int = 0,
    ends_ns: int = NOW + HOUR,
) -> Hold:
    return Hold(kind=kind, from_ns=begins_ns, until_ns=ends_ns, min=least, max=most)


def bounds(*holds: Hold, policy: Policy | None = None) -> tuple[int, int]:
    served = version(policy=policy or Policy(min=0, max=4), wishes=Wishes(holds=holds))
    seen = Observed(epoch=1, served=(served,), nodes=(), replicas=())
    (one,) = in_effect(seen, NOW).served
    return one.policy.min, one.policy.max


def test_without_any_wish_the_policy_holds() -> None:
    assert bounds() == (0, 4)


def test_a_lease_is_a_floor_that_stays_under_max() -> None:
    assert bounds(hold(least=2)) == (2, 4)
    assert bounds(hold(least=9)) == (4, 4)
    assert bounds(hold(least=1), policy=Policy(min=3, max=4)) == (3, 4)


def test_of_several_floors_the_highest_wins() -> None:
    assert bounds(hold(least=1), hold("window", 3), hold(least=2)) == (3, 4)


def test_an_override_takes_the_place_of_the_policy_bound_by_bound() -> None:
    policy = Policy(min=2, max=4)

    assert bounds(hold("override", 0), policy=policy) == (0, 4)
    assert bounds(hold("override", None, 9), policy=policy) == (2, 9)
    assert bounds(hold("override", 1, 3), hold("override", None, 1), policy=policy) == (1, 1)


def test_an_override_does_not_go_below_what_a_lease_keeps() -> None:
    assert bounds(hold("override", 0, 5), hold("lease", 3)) == (3, 5)


def test_a_hold_begins_and_ends_to_the_nanosecond() -> None:
    one = hold(begins_ns=NOW, ends_ns=NOW + SECOND)
    wishes = Wishes(holds=(one,))

    assert current(wishes, NOW - 1) == ()
    assert current(wishes, NOW) == (one,)
    assert current(wishes, NOW + SECOND - 1) == (one,)
    assert current(wishes, NOW + SECOND) == ()
    assert [due_ns(wishes, at) for at in (NOW - 1, NOW, NOW + SECOND)] == [NOW, NOW + SECOND, None]


def row(rule: str = "idle", wanted: int = 2) -> Explain:
    return Explain(subject=KEY, rule=rule, text="no call yet", replicas_wanted=wanted)


def served(*holds: Hold) -> Served:
    return version(policy=Policy(min=2), wishes=Wishes(holds=holds))


def test_a_floor_that_alone_explains_the_count_gives_the_rule_its_name() -> None:
    said = told(row(), served(hold()), NOW)

    assert said.rule == "lease"
    assert said.text == "no call yet; `glowplug preheat` says min 2 for 3600 s more"


def test_a_rule_that_says_more_than_a_floor_keeps_its_name() -> None:
    assert told(row("failed"), served(hold()), NOW).rule == "failed"
    assert told(row(wanted=3), served(hold()), NOW).rule == "idle"
    assert told(row(), served(hold("override", None, 5)), NOW).rule == "idle"
    assert told(row(), served(hold(least=1)), NOW).rule == "idle"


def test_a_decision_without_wishes_is_as_it_was() -> None:
    assert told(row(), served(), NOW) == row()


def test_a_lease_starts_replicas_and_lets_them_go_at_its_end_and_says_so() -> None:
    wishes = Wishes(holds=(hold(least=2, ends_ns=NOW + 10 * MINUTE),))
    planning = Planning(version(policy=Policy(zero_after_ns=MINUTE), wishes=wishes))

    made = planning.plan()
    planning.become("ready")
    before = planning.after(10 * MINUTE - 1)
    at_end = [planning.after(1), *(planning.after(MINUTE) for _ in range(3))]

    assert len(made.actions) == 2
    assert made.explain[0].rule == "lease"
    assert before.wake_ns == NOW + 10 * MINUTE
    assert before.actions == ()
    assert sum(len(plan.actions) for plan in at_end) == 2
    assert at_end[-1].explain[0].rule == "idle"


@given(
    holds=st.lists(
        st.builds(
            Hold,
            kind=st.sampled_from(["window", "lease", "override"]),
            from_ns=st.integers(0, 2 * NOW),
            until_ns=st.integers(0, 2 * NOW),
            min=st.none() | st.integers(0, 20),
            max=st.none() | st.integers(1, 20),
        ),
        max_size=6,
    )
)
def test_min_never_goes_over_max_whatever_is_declared(holds: list[Hold]) -> None:
    least, most = bounds(*holds)

    assert 0 <= least <= most
