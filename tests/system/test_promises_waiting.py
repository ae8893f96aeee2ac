"""Is waiting bounded (S3 of docs/promises.md)? In number, in bytes, and by what the caller's deadline leaves."""

from collections import Counter
from pathlib import Path

from glowplug.clock import MILLISECOND, SystemClock
from glowplug.wire.messages import Infer
from glowplug_router.dispatch import QUEUE_PER_PERMIT
from glowplug_router.gateway.settings import GatewaySettings
from system.gateway_fakes import RankLink
from system.gateway_rig import Client, Rig, gateway, request, until

QUICK = GatewaySettings(pulse_ns=20 * MILLISECOND)


def silent(link: RankLink, rid: int, infer: Infer, body: bytes) -> None:
    """Never answer."""


async def sent(rig: Rig, count: int, body: bytes = b"{}") -> list[Client]:
    clients = [await rig.connect() for _ in range(count)]
    for client in clients:
        client.send(request("POST", "/app/echo", body, token=rig.token))
    return clients


async def test_s3_as_many_calls_wait_as_may_and_the_rest_are_told_when_to_come_back(
    tmp_path: Path,
) -> None:
    async with gateway(tmp_path, QUICK) as rig:
        await rig.serve_one(silent, permits=1, max_replicas=1, hold=5)
        beyond = 40
        clients = await sent(rig, 1 + QUEUE_PER_PERMIT + beyond)
        await until(lambda: sum(client.has_answer for client in clients) == beyond)
        answers = [await client.reply() for client in clients if client.has_answer]

        assert Counter((one.status, one.code) for one in answers) == {(429, "overloaded"): beyond}
        assert all(int(one.headers["retry-after"]) >= 1 for one in answers)
        assert all(one.headers["glowplug-executed"] == "no" for one in answers)


async def test_s3_the_bytes_of_waiting_calls_are_bounded(tmp_path: Path) -> None:
    async with gateway(tmp_path, GatewaySettings(held_max_bytes=10_000)) as rig:
        rank = await rig.serve_one(silent, permits=1, max_replicas=1)
        clients = await sent(rig, 20, b"x" * 1000)
        await until(lambda: sum(client.has_answer for client in clients) == 10)
        answers = [await client.reply() for client in clients if client.has_answer]
        await rank.arrived.wait()

        assert {(one.status, one.code) for one in answers} == {(429, "overloaded")}
        assert len(rank.calls) == 1


async def test_s3_a_call_that_could_not_be_answered_by_its_deadline_is_refused_at_once(
    tmp_path: Path,
) -> None:
    def takes_a_while(link: RankLink, rid: int, infer: Infer, body: bytes) -> None:
        link.answer(rid, body, run_ns=100 * MILLISECOND)

    async with gateway(tmp_path, QUICK) as rig:
        rank = await rig.serve_one(takes_a_while, permits=1, max_replicas=1)
        for _ in range(12):  # what a call takes is learned from calls
            assert (await rig.post()).status == 200
        rank.handler = silent
        waiting = await sent(rig, 20)
        await until(lambda: len(rank.calls) == 13)
        before_ns = SystemClock().now_ns()
        # All that wait go before a batch call, and of its own class the most urgent goes first.
        hopeless = await rig.post(Glowplug_Deadline="0.5", Glowplug_Priority="batch")
        took_ms = (SystemClock().now_ns() - before_ns) / MILLISECOND
        print(f"\nS3: refused as infeasible after {took_ms:.1f} ms of the 500 ms it had")

        assert (hopeless.status, hopeless.code) == (503, "infeasible")
        assert hopeless.headers["glowplug-executed"] == "no"
        assert int(hopeless.headers["retry-after"]) >= 1
        assert took_ms < 250
        assert not any(client.has_answer for client in waiting)
