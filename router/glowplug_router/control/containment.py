"""What is left out so that everybody else is planned for? A version that cannot be planned must not end the router.

Nothing that a request may store should ever raise here; when something does all the same, the culprit is found by
planning: first each version by itself, then, if that finds nobody, without each app in turn. What is left out keeps the
replicas it has, and the room they take; it is neither started, scaled nor drained until it can be planned again.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from glowplug_router.policy.placement import parts_held
from glowplug_router.records.decided import Plan
from glowplug_router.records.memory import Memory
from glowplug_router.records.observed import Demand, Node, Observed
from glowplug_router.records.stored import Explain

Planner = Callable[[Observed, tuple[Demand, ...], Memory, int], Plan]


def plan_contained(
    planner: Planner,
    observed: Observed,
    demand: tuple[Demand, ...],
    memory: Memory,
    now_ns: int,
    error: Exception,
) -> Plan | None:
    """Return a plan without what makes planning fail with `error`, None when that is not to be found."""
    keys = [served.key for served in observed.served]

    def planned(left_out: frozenset[str]) -> Plan | Exception:
        try:
            return planner(without(observed, left_out), demand, memory, now_ns)
        except Exception as again:  # whatever it is: the caller keeps the loop alive
            return again

    alone = frozenset(
        key for key in keys if isinstance(planned(frozenset(keys) - {key}), Exception)
    )
    apps = sorted({key.partition("/")[0] for key in keys})
    of_apps = [alone | {key for key in keys if key.startswith(f"{app}/")} for app in apps]
    for left_out in (alone, *of_apps):
        plan = planned(left_out)
        if isinstance(plan, Plan):
            rows = tuple(_row(key, error) for key in sorted(left_out))
            return replace(plan, explain=plan.explain + rows)
    return None


def without(observed: Observed, left_out: frozenset[str]) -> Observed:
    """Return the world without some versions, and without the room that their replicas take."""
    mine = [one for one in observed.replicas if one.version in left_out]
    memory = {served.key: served.memory_bytes for served in observed.served}
    taken = {
        node.id: (
            {uuid for one in mine if one.node == node.id for uuid in one.gpus},
            sum(memory.get(one.version, 0) for one in mine if one.node == node.id),
        )
        for node in observed.nodes
    }
    return replace(
        observed,
        served=tuple(one for one in observed.served if one.key not in left_out),
        replicas=tuple(one for one in observed.replicas if one.version not in left_out),
        nodes=tuple(_less(node, *taken[node.id]) for node in observed.nodes),
        kept=(*observed.kept, *sorted({node for one in mine for node, _ in parts_held(one)})),
    )


def left_out_of(rows: Iterable[Explain]) -> Sequence[str]:
    """Return the versions that a plan was made without."""
    return [row.subject for row in rows if row.rule == "left_out"]


def _less(node: Node, gpus: set[str], memory_bytes: int) -> Node:
    # A node whose memory is 0 is one whose memory is not known, so 1 byte is what is left at least.
    left = max(1, node.memory_bytes - memory_bytes) if node.memory_bytes else 0
    # A device that is shared goes with all who have a part of it, and with the device that it was cut from.
    gone = gpus | {slot.parent for slot in node.devices if slot.uuid in gpus}
    return replace(
        node,
        memory_bytes=left,
        gpus=tuple(gpu for gpu in node.gpus if gpu[0] not in gone),
        devices=tuple(slot for slot in node.devices if slot.uuid not in gone),
    )


def _row(key: str, error: Exception) -> Explain:
    why = f"{type(error).__name__}: {error}"[:200]
    text = f"left out: it cannot be planned ({why}); set its policy right, deploy it anew, or `glowplug stop` its app"
    return Explain(subject=key, rule="left_out", text=text)
