"""What is deployed, on what, and who calls it? Drawn from the seed."""

from dataclasses import dataclass
from random import Random

from glowplug.clock import MILLISECOND, SECOND
from glowplug.spec import Class, Policy
from glowplug_router.dispatch.room import QUEUE_BYTES_MAX
from glowplug_router.records.observed import Served

LOAD_NS = 12 * SECOND  # calls come and faults happen for so long
CROWDED = 0.15  # of all runs: one small endpoint has far more to do than it can
CROWD = "app/crowded"
CLASSES: tuple[Class, ...] = ("critical", "interactive", "standard", "standard", "batch")


@dataclass(frozen=True, slots=True)
class Endpoint:
    """An endpoint as it behaves: how long it starts and runs, whom it calls, how often it fails."""

    name: str  # "app/endpoint"
    served: Served
    queue_ns: int
    start_limit_ns: int
    start_ns: int  # a typical start
    start_fails: float  # chance of one
    service_ns: int  # mean
    calls: str = ""  # "app/endpoint" it calls in half of its calls
    ahead: int = 0  # calls that a rank takes beyond its permits
    retry_safe: bool = False


@dataclass(frozen=True, slots=True)
class Machine:
    """A node as it is."""

    id: str
    memory_bytes: int
    gpus: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Arrival:
    """A call that will come."""

    at_ns: int
    endpoint: str
    klass: Class
    deadline_ns: int  # from its arrival on
    gives_up_ns: int  # 0 = never
    tenant: str = ""
    has_deadline: bool = False  # the caller set it; otherwise it is the default wait
    affinity: str = ""
    size_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Scenario:
    """Everything drawn."""

    endpoints: tuple[Endpoint, ...]
    machines: tuple[Machine, ...]
    arrivals: tuple[Arrival, ...]


def drawn(random: Random) -> Scenario:
    """Return a scenario."""
    machines = tuple(_machine(random, number) for number in range(random.choice((1, 1, 2, 2, 3))))
    names = [f"app/e{number}" for number in range(random.randint(1, 3))]
    has_gpus = any(machine.gpus for machine in machines)
    endpoints = tuple(_endpoint(random, name, names, has_gpus) for name in names)
    arrivals = [arrival for name in names for arrival in _arrivals(random, name)]
    if random.random() < CROWDED:
        endpoints += (_crowded(random),)
        arrivals += _crowd(random)
    return Scenario(endpoints, machines, tuple(arrivals))


def _machine(random: Random, number: int) -> Machine:
    gpus = tuple(
        (f"gpu-{number}-{index}", "NVIDIA L4") for index in range(random.choice((0, 0, 1, 2)))
    )
    return Machine(f"node{number}", random.choice((4, 8, 64)) << 30, gpus)


def _endpoint(random: Random, name: str, names: list[str], has_gpus: bool) -> Endpoint:
    policy = Policy(
        min=random.choice((0, 0, 0, 1)),
        max=random.randint(1, 4),
        buffer=random.choice((0, 0, 1)),
        up_after_ns=random.choice((0, 0, SECOND)),
        down_after_ns=random.choice((1, 3)) * SECOND,
        zero_after_ns=random.choice((2, 5)) * SECOND,
        hold=random.choice((0, 3, 30, 100, 100)),
    )
    served = Served(
        key=f"{name}@1",
        policy=policy,
        permits=random.choice((1, 1, 2, 8)),
        permille=1000,
        gpu_count=random.choice((0, 1, 1)) if has_gpus else 0,
        memory_bytes=random.choice((0, 1 << 30)),
        drain_ns=random.choice((1, 5)) * SECOND,
    )
    return Endpoint(
        name=name,
        served=served,
        queue_ns=random.choice((1, 10)) * SECOND,
        start_limit_ns=random.choice((3, 20)) * SECOND,
        start_ns=random.choice((50, 500, 3000)) * MILLISECOND,
        start_fails=random.choice((0.0, 0.0, 0.0, 0.2, 0.5, 1.0)),
        service_ns=random.choice((1, 5, 50, 400)) * MILLISECOND,
        calls=random.choice((*names, "", "", "")),
        ahead=random.choice((0, 0, 4)),
        retry_safe=random.choice((False, True)),
    )


def _crowded(random: Random) -> Endpoint:
    policy = Policy(min=1, max=1, hold=5000, zero_after_ns=2 * SECOND)
    permits = random.choice((1, 2, 4))
    served = Served(key=f"{CROWD}@1", policy=policy, permits=permits, permille=1000)
    return Endpoint(
        name=CROWD,
        served=served,
        queue_ns=10 * SECOND,
        start_limit_ns=20 * SECOND,
        start_ns=50 * MILLISECOND,
        start_fails=0.0,
        service_ns=5 * permits * MILLISECOND,  # 200 calls a second, whatever the permits
    )


def _crowd(random: Random) -> list[Arrival]:
    """Four hundred calls a second for three seconds, most of them one tenant's."""
    arrivals: list[Arrival] = []
    at_ns = 2 * SECOND
    while at_ns < 5 * SECOND:
        at_ns += int(random.expovariate(1.0) * 2.5 * MILLISECOND)
        tenant = random.choice(("greedy",) * 8 + ("modest", "small"))
        klass = random.choices(CLASSES[:3] + CLASSES[-1:], (2, 3, 4, 1))[0]
        arrivals.append(Arrival(at_ns, CROWD, klass, 30 * SECOND, 0, tenant))
    return arrivals


def _arrivals(random: Random, name: str) -> list[Arrival]:
    """Bursts and pauses, as callers are."""
    arrivals: list[Arrival] = []
    at_ns = random.randrange(2 * SECOND)
    while at_ns < LOAD_NS:
        gap_ns = random.choice((2, 20, 100)) * MILLISECOND
        for _ in range(random.choice((1, 5, 20))):
            at_ns += int(random.expovariate(1.0) * gap_ns)
            deadline_ns = random.choice((1, 5, 30)) * SECOND
            gives_up_ns = random.randrange(2 * SECOND) if random.random() < 0.05 else 0
            arrivals.append(
                Arrival(
                    at_ns,
                    name,
                    random.choice(CLASSES),
                    deadline_ns,
                    gives_up_ns,
                    tenant=random.choice(("ann", "bob", "eve")),
                    has_deadline=random.random() < 0.5,
                    affinity=random.choice(("", "", "one", "two")),
                    size_bytes=random.choice((0, 1000, QUEUE_BYTES_MAX // 8)),
                )
            )
        at_ns += int(random.expovariate(1.0) * random.choice((1, 4)) * SECOND)
    return arrivals
