"""A controller in this process, with a gateway's channel to it and a node that is ready at once."""

import hashlib
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anyio
import msgspec

from control_records import bundle, spec
from glowplug import profiles
from glowplug.artifact import Release
from glowplug.clock import SystemClock
from glowplug.node.messages import Desired, Inventory, LogQuery, RankState, Report, Residency
from glowplug.settings import Home
from glowplug.spec import EndpointDecl, Policy
from glowplug.wire.channel import Channel, Exchange, dial_channel
from glowplug.wire.messages import Hello, Infer, to_json
from glowplug.wire.transport import listen
from glowplug_packager.digest import bundle_digest
from glowplug_router.app import serving
from glowplug_router.control.routing import PREFIX
from glowplug_router.control.secrets import FileSecrets
from glowplug_router.objects.memory import MemoryObjects
from glowplug_router.providers.local import LocalProvider
from glowplug_router.records.published import Snapshot
from glowplug_router.settings import ControllerSettings
from glowplug_router.signatures import Signer
from glowplug_router.store.memory import MemoryStore

PATIENCE_S = 20.0
URL = "http://127.0.0.1:8686"


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def lines(self) -> list[Any]:
        return [json.loads(line) for line in self.body.splitlines()]


@dataclass
class Rig:
    """A controller with a stand-in agent, and a gateway's channel to it."""

    home: Home
    gateway: Channel
    agent: "Agent"
    key: str
    snapshots: list[Snapshot]

    async def ask(
        self, method: str, path: str, body: bytes = b"", *, key: str | None = None, **query: str
    ) -> Answer:
        asked = Infer(
            f"{PREFIX}{path}",
            method,
            "asgi",
            "&".join(f"{name}={value}" for name, value in query.items()),
            (
                ("authorization", f"Bearer {self.key if key is None else key}"),
                ("content-type", "application/json"),
            ),
            request_id="r1",
        )
        head, pieces = await self.gateway.open(asked.path, body, infer=asked)
        try:
            return Answer(head.status, dict(head.headers), await pieces.read())
        finally:
            pieces.close()  # as the gateway does when its client has gone

    async def until(self, claim: Any) -> None:
        with anyio.fail_after(PATIENCE_S):
            while not claim():  # noqa: ASYNC110  # what is awaited comes from the other end of a socket
                await anyio.sleep(0.01)


@dataclass
class Agent:
    """A node whose replicas are ready at once, and answer on real sockets."""

    path: Path
    spawn: Any
    channel: Channel | None = None
    desired: Desired | None = None
    residencies: dict[str, Residency] = field(default_factory=dict)
    state: RankState = "ready"
    answered: int = 0
    broken: bool = False
    number: int = 0
    opened: list[Any] = field(default_factory=list)

    def close(self) -> None:
        assert self.channel is not None
        for one in (self.channel, *self.opened):
            one.close()

    async def answer(self, exchange: Exchange) -> None:
        if exchange.infer.path == "/-/desired":
            await self._take(msgspec.json.decode(await exchange.body.read(), type=Desired))
        elif exchange.infer.path == "/-/logs":
            query = msgspec.json.decode(await exchange.body.read(), type=LogQuery)
            out = exchange.begin()
            await out.write(b'{"text": "one", "app": "%s"}\n' % query.app.encode())
            if query.follow:
                await anyio.sleep_forever()
            out.end()

    async def _take(self, desired: Desired) -> None:
        self.desired = desired
        for replica in set(self.residencies) - {want.replica for want in desired.wants}:
            del self.residencies[replica]
        for want in desired.wants:
            if want.draining:
                self.residencies.pop(want.replica, None)
            elif want.replica not in self.residencies:
                address = self.path / want.replica
                self.opened.append(await listen(address, self._accept))
                self.residencies[want.replica] = Residency(
                    replica=want.replica,
                    version=want.version,
                    state=self.state,
                    address=f"unix:{address}",
                    permits=1,
                )
        self.report()

    def _accept(self) -> Channel:
        channel = Channel(Hello("replica"), self._call, self.spawn, dialling=False)
        self.opened.append(channel)
        return channel

    async def _call(self, exchange: Exchange) -> None:
        self.answered += 1
        if self.broken:
            exchange.fail("endpoint_error", "ValueError: nope", executed="yes")
        else:
            exchange.respond(b'"hi"')

    def report(self) -> None:
        assert self.channel is not None
        self.number += 1
        inventory = Inventory(node="n1", boot_id="b", cpu_milli=2000, memory_bytes=1 << 32)
        number = self.desired.number if self.desired is not None else 0
        residencies = tuple(self.residencies.values())
        self.channel.notify(
            "/-/report",
            to_json(
                Report(
                    node="n1",
                    number=self.number,
                    desired_number=number,
                    inventory=inventory,
                    residencies=residencies,
                )
            ),
        )


@asynccontextmanager
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    home = Home(tmp_path)
    store = MemoryStore()
    signer = Signer(await store.setting("token_secret", "5e" * 32))
    objects, secrets = MemoryObjects(signer=signer), FileSecrets(home.router / "secrets.json")
    snapshots: list[Snapshot] = []

    async def from_controller(exchange: Exchange) -> None:
        snapshots.append(msgspec.json.decode(await exchange.body.read(), type=Snapshot))

    with anyio.fail_after(PATIENCE_S):
        async with anyio.create_task_group() as tasks:
            provider = LocalProvider(objects, secrets)
            settings = ControllerSettings(url=URL)
            async with serving(home, settings, SystemClock(), store, objects, secrets, provider):
                address = f"unix:{home.run / 'controller.sock'}"
                agent = Agent(home.run, tasks.start_soon)
                agent.channel = await dial_channel(
                    address, Hello("agent", "n1"), agent.answer, tasks.start_soon
                )
                agent.report()
                gateway = await dial_channel(
                    address, Hello("gateway", "g1"), from_controller, tasks.start_soon
                )
                key = profiles.load(home.profiles).get("local").key
                yield Rig(home, gateway, agent, key, snapshots)
                gateway.close()
                agent.close()
            tasks.cancel_scope.cancel()


def release(code: str = "code", *, policy: Policy | None = None) -> bytes:
    parts = bundle(code)
    decl = EndpointDecl(spec=spec(examples=({"name": "Ada"},)), policy=policy or Policy())
    digest = bundle_digest(parts)
    return to_json(
        Release(app="hello", bundles=((digest, parts),), endpoints=((decl, digest),), message="m")
    )


async def deploy(it: Rig, code: str = "code", **query: str) -> Answer:
    digest = f"sha256:{hashlib.sha256(code.encode()).hexdigest()}"
    assert (await it.ask("PUT", f"/blobs/{digest}", code.encode())).status == 200
    return await it.ask("POST", "/deploy", release(code), **query)
