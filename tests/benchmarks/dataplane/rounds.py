"""How do samples of several servers become one figure? Alternating rounds, medians, and all that qualifies them."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from copy import copy
from dataclasses import dataclass, field
from typing import Any

from place import Place, place
from report import beside, figure, median, note

from dataplane.answers import PEERS, Question
from dataplane.loads import Sample
from dataplane.machine import load_on_its_cpu, server_prefix
from dataplane.servers import MissingPeerError, Server, running

BENCH = "dataplane"
BAD_MAX = 0.01  # of all answers: a sample with more of them is none
Load = Callable[[float], Sample]


@dataclass
class Samples:
    """The samples of every server, and why some have none."""

    taken: dict[str, list[Sample]] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)

    def typical(self, name: str, what: str) -> float:
        """Return the median of one property over the rounds."""
        return median([float(getattr(one, what)) for one in self.taken[name]])

    def flaw(self, name: str) -> str:
        """Say why a server's samples do not count; empty when they do."""
        if name in self.missing:
            return f"{name}: {self.missing[name]}"
        bad = sum(one.bad for one in self.taken[name])
        good = sum(one.n for one in self.taken[name])
        return f"{name}: {bad} of {bad + good} answers were wrong" if bad > BAD_MAX * good else ""

    def told(self, what: str) -> dict[str, Any]:
        """Return medians, spread and bad answers of every server, and the foreign load."""
        foreign = [one.foreign for samples in self.taken.values() for one in samples]
        values = {
            name: [float(getattr(one, what) or 0) for one in samples]
            for name, samples in self.taken.items()
        }
        return {
            "peers": {name: round(median(each), 2) for name, each in values.items()},
            "spread": {
                name: [round(min(each), 2), round(max(each), 2)] for name, each in values.items()
            },
            "bad": {name: sum(one.bad for one in each) for name, each in self.taken.items()},
            "foreign": round(median(foreign), 3) if foreign else None,
        }


class Bench:
    """What all rows share: how long to measure, and a router that is started when the first row needs it."""

    def __init__(self, rounds: int, seconds: float, open_places: ExitStack) -> None:
        self.rounds = rounds
        self.seconds = seconds
        self._open = open_places
        self._places: dict[bool, Place] = {}

    def shorter(self, rounds: int) -> "Bench":
        """Return the same with at most so many rounds."""
        other = copy(self)
        other.rounds = min(rounds, self.rounds)
        return other

    def longer(self, times: float) -> "Bench":
        """Return the same with longer rounds."""
        other = copy(self)
        other.seconds = times * self.seconds
        return other

    @contextmanager
    def deployed(self, file: str, pinned: bool) -> Iterator["Deployed"]:
        """Deploy one of our apps for a row, and take it out of service afterwards."""
        if pinned not in self._places:
            self._places[pinned] = self._open.enter_context(place(server_prefix(pinned)))
        here = self._places[pinned]
        app = file.split("_")[0].replace("echo", "bench")
        here.run("deploy", str(PEERS / file))
        try:
            yield Deployed(here, app)
        finally:
            here.run("stop", app)

    @contextmanager
    def side_by_side(
        self,
        file: str,
        mode: str,
        question: Question | None,
        peers: tuple[str, ...],
        *,
        pinned: bool = True,
    ) -> Iterator[tuple["Deployed", dict[str, Server], dict[str, str]]]:
        """Run our app and the peers; yield ours, the peers that run, and why the others do not."""
        servers: dict[str, Server] = {}
        missing: dict[str, str] = {}
        with ExitStack() as stack:
            ours = stack.enter_context(self.deployed(file, pinned))
            for name in peers:
                try:
                    servers[name] = stack.enter_context(running(name, mode, question, pinned))
                except MissingPeerError as error:
                    missing[name] = str(error)
                    note(f"{name}: {error}")
            with load_on_its_cpu(pinned):
                yield ours, servers, missing

    def alternate(self, loads: Mapping[str, Load], missing: Mapping[str, str]) -> Samples:
        """Load the servers in turns, a short warm-up first; every round begins with another."""
        samples = Samples({name: [] for name in loads}, dict(missing))
        for load in loads.values():
            load(1.0)
        names = list(loads)
        for number in range(self.rounds):
            first = number % len(names)
            for name in (*names[first:], *names[:first]):
                samples.taken[name].append(loads[name](self.seconds))
        return samples

    def ratio(
        self, name: str, samples: Samples, peer: str, what: str, ours: str = "glowplug", **more: Any
    ) -> None:
        """Print ours over a peer's."""
        flaw = samples.flaw(ours) or samples.flaw(peer)
        value = None
        if flaw:
            more["reason"] = flaw
        else:
            value = samples.typical(ours, what) / samples.typical(peer, what)
        told = samples.told(what) | {"of": what} | more
        has_target = not name.endswith("_ray")
        (figure if has_target else beside)(BENCH, name, value, unit="ratio", n=self.rounds, **told)


class Deployed:
    """One of our apps in service."""

    def __init__(self, here: Place, app: str) -> None:
        self.here = here
        self.app = app

    def server(self, endpoint: str, name: str = "glowplug") -> Server:
        """Return an endpoint as a server: key checked, metrics on, as shipped."""
        port = int(self.here.url.rsplit(":", 1)[1])
        headers = {"authorization": f"Bearer {self.here.key}"}
        return Server(name, port, f"/{self.app}/{endpoint}", (self.here.pid,), headers)
