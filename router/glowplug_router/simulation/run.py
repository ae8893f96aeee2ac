"""What does one seed do? Puts a world together, lets it run, and returns what was found."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

from glowplug.clock import HOUR, SECOND
from glowplug_router.control.machines import MachineBook
from glowplug_router.dispatch import step
from glowplug_router.plan import plan
from glowplug_router.simulation import faults, scenario
from glowplug_router.simulation.checkers import Checkers, Violation
from glowplug_router.simulation.controller import Planner, SimController, Store
from glowplug_router.simulation.gateway import SimGateway, Step
from glowplug_router.simulation.hired import Hired, Terms, with_terms
from glowplug_router.simulation.hiring import Hiring
from glowplug_router.simulation.node import Rank, SimNode
from glowplug_router.simulation.world import World

CENSUS_EVERY_NS = SECOND
CALM_NS = 14 * SECOND  # when faults end
END_NS = 75 * SECOND  # all waits, back-offs, leases and idle times are over long before


@dataclass(frozen=True, slots=True)
class Subject:
    """What is under test; tests plant faulty ones to see that the checkers notice."""

    step: Step = step
    planner: Planner = plan
    node: type[SimNode] = SimNode
    book: type[MachineBook] = MachineBook


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a seed came to."""

    seed: int
    digest: str
    events: int
    calls: int
    violations: tuple[Violation, ...]
    codes: Mapping[str, int]  # answers by their code
    live: tuple[str, ...]  # versions with traffic at the end
    faults: Mapping[
        str, int
    ]  # how often each was met; what happens to machines and processes is in `Rates`


@dataclass(slots=True)
class _Simulation:
    """Everything of one run."""

    world: World
    drawn: scenario.Scenario
    rates: faults.Rates
    post: faults.Post
    nodes: dict[str, SimNode]
    gateway: SimGateway
    controller: SimController
    checkers: Checkers


def run_seed(seed: int, subject: Subject | None = None) -> Outcome:
    """Run one seed to its end."""
    world = World(seed)
    drawn, rates = scenario.drawn(world.random), faults.drawn(world)
    drawn, terms = with_terms(drawn, seed, CALM_NS)
    simulation = _assembled(world, drawn, rates, subject or Subject(), terms)
    _plan_faults(simulation)
    return _outcome(seed, simulation)


def run_scenario(drawn: scenario.Scenario, deploys: Mapping[str, int]) -> Outcome:
    """Run a given scenario without faults; endpoints are deployed anew at the given times."""
    world = World(0)
    simulation = _assembled(world, drawn, faults.NONE, Subject())
    for endpoint, at_ns in deploys.items():
        world.at(at_ns, partial(simulation.controller.deploy, endpoint))
    return _outcome(0, simulation)


def _outcome(seed: int, simulation: _Simulation) -> Outcome:
    world, checkers, controller = simulation.world, simulation.checkers, simulation.controller
    for arrival in simulation.drawn.arrivals:
        world.at(world.now_ns + arrival.at_ns, partial(simulation.gateway.arrive, arrival))
    while world.now_ns < END_NS:
        world.run(world.now_ns + CENSUS_EVERY_NS)
        checkers.census(simulation.nodes, controller.store.served)
    checkers.end(simulation.nodes.values(), controller.wanted, controller.store.served)
    world.record(f"answered {checkers.answered}")
    served = controller.store.served.values()
    return Outcome(
        seed=seed,
        digest=world.digest,
        events=world.events,
        calls=checkers.answered,
        violations=tuple(checkers.violations),
        codes=checkers.codes,
        live=tuple(version.key for version in served if version.permille),
        faults=simulation.post.happened,
    )


def _assembled(
    world: World,
    drawn: scenario.Scenario,
    rates: faults.Rates,
    subject: Subject,
    terms: Terms | None = None,
) -> _Simulation:
    post = faults.Post(world, rates, CALM_NS)
    hired = None if terms is None else Hired(world, post, terms)
    checkers = Checkers(world, subject.planner, hiring=None if hired is None else Hiring(hired))
    endpoints = {endpoint.name: endpoint for endpoint in drawn.endpoints}
    store = Store({endpoint.served.key: endpoint.served for endpoint in drawn.endpoints})
    controller = SimController(
        world, post, subject.planner, checkers.observe, store, endpoints, subject.book, hired
    )

    def place(machine: scenario.Machine) -> SimNode:
        return subject.node(world, post, machine, endpoints, checkers.observe, controller.hear)

    nodes = {machine.id: place(machine) for machine in drawn.machines}
    if hired is not None:
        hired.join(nodes, place, controller.look)
    find = partial(_find, nodes)
    gateway = SimGateway(world, post, subject.step, checkers.observe, controller.count, find)
    controller.nodes = nodes
    controller.publish = gateway.learn
    return _Simulation(world, drawn, rates, post, nodes, gateway, controller, checkers)


def _find(nodes: dict[str, SimNode], replica: str) -> Rank | None:
    for node in nodes.values():
        if replica in node.ranks:
            return node.ranks[replica]
    return None


# -- faults and changes, drawn over the time of the load


def _plan_faults(simulation: _Simulation) -> None:
    world, rates = simulation.world, simulation.rates
    random = world.random
    names = [endpoint.name for endpoint in simulation.drawn.endpoints]

    controller = simulation.controller
    acts: list[Callable[[], None]] = [partial(_kill_a_rank, simulation)] * rates.kills
    acts += [controller.restart] * rates.restarts
    acts += [simulation.post.skew] * rates.skews
    acts += [partial(_lose_an_agent, simulation) for _ in range(rates.agents)]
    acts += [partial(_lose_a_node, simulation) for _ in range(rates.nodes)]
    acts += [
        partial(world.clock.step_wall, random.choice((-HOUR, HOUR)))
        for _ in range(rates.clock_steps)
    ]
    acts += [partial(controller.deploy, random.choice(names)) for _ in range(random.randint(0, 2))]
    if random.random() < 0.5:
        low, high = random.randint(0, 2), random.randint(0, 4)
        acts.append(partial(controller.set_limits, random.choice(names), low, high))
    for act in acts:
        world.at(random.randrange(SECOND, CALM_NS), act)


def _lose_an_agent(simulation: _Simulation) -> None:
    random = simulation.world.random
    for_ns = random.choice((1, 18, 25, 35)) * SECOND
    if simulation.nodes:
        random.choice(list(simulation.nodes.values())).disconnect(for_ns)


def _lose_a_node(simulation: _Simulation) -> None:
    random = simulation.world.random
    if simulation.nodes:
        node = random.choice(list(simulation.nodes.values()))
        node.power_off(random.randrange(SECOND, 20 * SECOND))


def _kill_a_rank(simulation: _Simulation) -> None:
    ranks = [
        (node, rank)
        for node in simulation.nodes.values()
        for rank in node.ranks.values()
        if rank.is_alive
    ]
    if ranks:
        node, rank = simulation.world.random.choice(ranks)
        rank.die("failed")
        node.report()
