"""What must change so that the node has what it was told to have?"""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from glowplug.artifact import Bundle
from glowplug.clock import SECOND
from glowplug.node.desired import (
    OVER,
    STARTING,
    UNASKED_DRAIN_NS,
    UNCLAIMED_GRACE_NS,
    Action,
    Drain,
    Forget,
    Held,
    Kill,
    Start,
    Swap,
    decide,
)
from glowplug.node.messages import RankState, Want
from glowplug.spec import EndpointSpec

STATES: tuple[RankState, ...] = (*sorted(STARTING), "ready", "draining", "stopped", "failed")


def want(
    replica: str = "r1",
    version: str = "shop/hello@1",
    *,
    load_key: str = "",
    draining: bool = False,
    swap: bool = False,
) -> Want:
    spec = EndpointSpec(
        app="shop", name="hello", target="app:hello", kind="function", load_key=load_key
    )
    return Want(
        replica=replica,
        version=version,
        spec=spec,
        bundle=Bundle(app="shop", layers=()),
        bundle_digest="",
        draining=draining,
        drain_ns=5 * SECOND,
        reason="scale",
        swap=swap,
    )


READY = Held(replica="r1", version="shop/hello@1", state="ready")


def test_what_is_wanted_and_not_here_is_started() -> None:
    assert decide([want()], [], 0) == (Start(want()),)


def test_what_is_here_as_wanted_is_left_alone() -> None:
    assert decide([want()], [READY], 0) == ()


def test_what_is_to_drain_and_not_here_is_not_started_for_it() -> None:
    assert decide([want(draining=True)], [], 0) == ()


def test_a_ready_replica_drains_for_as_long_as_it_was_given() -> None:
    assert decide([want(draining=True)], [READY], 0) == (Drain("r1", 5 * SECOND, "scale"),)


def test_a_replica_that_still_starts_is_killed_for_it_has_no_calls() -> None:
    starting = replace(READY, state="loading")

    assert decide([want(draining=True)], [starting], 0) == (Kill("r1", "scale"),)


def test_what_already_ends_is_not_told_twice() -> None:
    ending = replace(READY, state="draining", ending=True)

    assert decide([want(draining=True)], [ending], 0) == ()
    assert decide([], [ending], 0) == ()


def test_what_left_the_list_is_ended_and_then_forgotten() -> None:
    assert decide([], [READY], 0) == (Drain("r1", UNASKED_DRAIN_NS, "stop"),)
    assert decide([], [replace(READY, state="stopped")], 0) == (Forget("r1"),)


def test_what_failed_stays_in_the_report_while_it_is_listed_and_is_not_started_again() -> None:
    assert decide([want()], [replace(READY, state="failed")], 0) == ()


def test_what_this_controller_never_asked_for_gets_a_grace() -> None:
    adopted = replace(READY, claimed=False, unclaimed_since_ns=7)

    assert decide([], [adopted], 7 + UNCLAIMED_GRACE_NS - 1) == ()
    assert decide([], [adopted], 7 + UNCLAIMED_GRACE_NS) == (Drain("r1", UNASKED_DRAIN_NS, "stop"),)


def test_a_new_version_with_the_same_load_key_is_swapped_in_place() -> None:
    new = want(version="shop/hello@2", load_key="k", swap=True)

    assert decide([new], [replace(READY, load_key="k")], 0) == (Swap(new),)


def test_without_the_same_load_key_the_old_one_ends_and_the_new_one_starts_after() -> None:
    new = want(version="shop/hello@2", load_key="k", swap=True)
    stopped = replace(READY, load_key="other", state="stopped")

    assert decide([new], [replace(READY, load_key="other")], 0) == (
        Drain("r1", 5 * SECOND, "deploy"),
    )
    assert decide([new], [replace(READY, load_key="")], 0) == (Drain("r1", 5 * SECOND, "deploy"),)
    assert decide([new], [stopped], 0) == (Forget("r1"), Start(new))


# -- properties ----------------------------------------------------------------------------------

names = st.sampled_from([f"r{n}" for n in range(6)])
versions = st.sampled_from(["shop/hello@1", "shop/hello@2"])
keys = st.sampled_from(["", "k1", "k2"])
wants = st.lists(
    st.builds(want, names, versions, load_key=keys, draining=st.booleans(), swap=st.booleans()),
    unique_by=lambda one: one.replica,
)
holds = st.lists(
    st.builds(
        Held,
        replica=names,
        version=versions,
        state=st.sampled_from(STATES),
        load_key=keys,
        ending=st.booleans(),
        claimed=st.booleans(),
        unclaimed_since_ns=st.integers(0, 100) | st.just(0),
    ),
    unique_by=lambda one: one.replica,
)


def after(held: dict[str, Held], action: Action) -> None:
    """Do what the agent does, at once."""
    match action:
        case Start(new):
            assert new.replica not in held, "started twice"
            held[new.replica] = Held(
                replica=new.replica,
                version=new.version,
                state="ready",
                load_key=new.spec.load_key,
            )
        case Swap(new):
            assert held[new.replica].state == "ready"
            held[new.replica] = replace(held[new.replica], version=new.version)
        case Drain(replica, _, _) | Kill(replica, _):
            assert not held[replica].ending, "ended twice"
            held[replica] = replace(held[replica], state="stopped", ending=True)
        case Forget(replica):
            assert held[replica].state in OVER, "forgotten while it runs"
            del held[replica]


def ended(one: Held) -> Held:
    return replace(one, state="stopped") if one.ending and one.state not in OVER else one


@given(wants, holds)
def test_the_node_converges_to_what_is_wanted(asked: list[Want], had: list[Held]) -> None:
    held = {one.replica: ended(one) for one in had}
    now_ns = 200 + UNCLAIMED_GRACE_NS

    for _ in range(4):
        for action in decide(asked, list(held.values()), now_ns):
            after(held, action)

    assert decide(asked, list(held.values()), now_ns) == ()
    assert set(held) <= {one.replica for one in asked}
    for one in asked:
        if not one.draining:
            assert held[one.replica].version == one.version or held[one.replica].state in OVER
        else:
            assert one.replica not in held or held[one.replica].state in OVER


@given(wants, holds, st.integers(0, 2 * UNCLAIMED_GRACE_NS))
def test_no_replica_gets_two_orders_except_to_make_room_for_its_own_name(
    asked: list[Want], had: list[Held], now_ns: int
) -> None:
    actions = decide(asked, had, now_ns)
    subjects = [
        one.want.replica if isinstance(one, Start | Swap) else one.replica for one in actions
    ]

    for replica in set(subjects):
        mine = [type(one) for one, about in zip(actions, subjects, strict=True) if about == replica]
        assert len(mine) == 1 or mine == [Forget, Start]


@given(wants, holds, st.integers(0, 100))
def test_nothing_unclaimed_is_ended_within_its_grace(
    asked: list[Want], had: list[Held], now_ns: int
) -> None:
    wanted = {one.replica for one in asked}
    unclaimed = {
        one.replica
        for one in had
        if not one.claimed and one.replica not in wanted and one.state not in OVER
    }

    for action in decide(asked, had, now_ns):
        assert not (isinstance(action, Drain | Kill) and action.replica in unclaimed)
