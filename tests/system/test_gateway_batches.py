"""What does the gateway make of what a replica says of its batches?"""

from pathlib import Path

from glowplug.clock import MILLISECOND
from glowplug.wire.frames import FLAG_END, Kind
from glowplug.wire.messages import Infer, Response, pack
from system.gateway_fakes import RankLink
from system.gateway_rig import endpoint, gateway, until, version

TIMINGS = (("decode", 1), ("batch", 3 * MILLISECOND), ("run", 5 * MILLISECOND), ("encode", 1))


def in_a_batch(link: RankLink, rid: int, infer: Infer, body: bytes) -> None:
    head = Response(200, (("content-type", "text/plain"),), "yes", TIMINGS, 3, "full")
    link.send(Kind.RESPONSE, rid, pack(head), body, FLAG_END)


async def test_the_wait_for_a_batch_is_load_because_it_holds_a_permit(tmp_path: Path) -> None:
    async with gateway(tmp_path) as rig:
        rank = await rig.rank("r1", "app/echo@1", in_a_batch)
        await rig.publish(endpoint("app/echo", version(replicas=(rank.route,))))
        reply = await rig.post()

        assert "batch;dur=3" in reply.headers["server-timing"]
        await until(lambda: bool(rig.controller.reports and rig.controller.reports[-1].demands))
        await until(lambda: rig.controller.reports[-1].demands[0].completed == 1)
        assert rig.controller.reports[-1].demands[0].service_ns == 8 * MILLISECOND


async def test_a_batch_counts_for_no_more_than_a_replica_runs_at_once(tmp_path: Path) -> None:
    def boasts(link: RankLink, rid: int, infer: Infer, body: bytes) -> None:
        head = Response(200, (), "yes", (), 1 << 40, "x" * 100_000)
        link.send(Kind.RESPONSE, rid, pack(head), body, FLAG_END)

    async with gateway(tmp_path) as rig:
        await rig.serve_one(boasts, permits=8)
        await rig.post()
        text = (await rig.get("/metrics")).body.decode()

        assert 'glowplug_batches_total{app="app",endpoint="echo",reason="other"} 1.0' in text
        assert 'glowplug_batch_size_sum{app="app",endpoint="echo",version="1"} 8.0' in text
        assert "xxx" not in text
