from dataclasses import replace
from pathlib import Path

from glowplug.files import replace_file
from glowplug.wire.messages import to_json
from glowplug_router.dispatch import VersionGone, VersionSet
from glowplug_router.gateway.snapshot import changes, is_newer, load, replicas
from glowplug_router.records.published import RouteEndpoint, RouteReplica, RouteVersion, Snapshot

V1 = RouteVersion(
    number=1,
    permille=1000,
    replicas=(RouteReplica(id="r1", address="unix:/r1", permits=2),),
    permits=2,
    max_replicas=3,
    hold=5,
    queue_ns=6,
    start_ns=7,
    run_ns=8,
)


def snapshot(*versions: RouteVersion, number: int = 1, epoch: int = 1) -> Snapshot:
    route = RouteEndpoint(app="a", endpoint="e", auth="key", versions=versions, stable=1)
    return Snapshot(number=number, epoch=epoch, endpoints=(route,))


def test_a_first_snapshot_sets_every_version() -> None:
    expected = VersionSet(version="a/e@1", hold=5, queue_ns=6, start_ns=7, max_permits=6)

    assert changes(None, snapshot(V1)) == (expected,)


def test_only_what_differs_is_told() -> None:
    elsewhere = replace(V1, replicas=())

    assert changes(snapshot(V1), snapshot(elsewhere)) == ()
    assert [
        e.failed
        for e in changes(snapshot(V1), snapshot(replace(V1, failed="no")))
        if isinstance(e, VersionSet)
    ] == ["no"]
    assert changes(snapshot(V1), snapshot()) == (VersionGone("a/e@1"),)


def test_dispatch_hears_whether_a_call_may_run_again() -> None:
    safe = replace(V1, retry_safe=True)

    (told,) = changes(snapshot(V1), snapshot(safe))
    assert isinstance(told, VersionSet)
    assert told.retry_safe


def test_a_later_number_or_epoch_replaces_an_earlier_one() -> None:
    old = snapshot(number=5, epoch=2)

    assert is_newer(None, old)
    assert is_newer(old, snapshot(number=6, epoch=2))
    assert is_newer(old, snapshot(number=1, epoch=3))
    assert not is_newer(old, snapshot(number=5, epoch=2))
    assert not is_newer(old, snapshot(number=9, epoch=1))


def test_replicas_without_an_address_are_not_dialled() -> None:
    nowhere = replace(V1, replicas=(*V1.replicas, RouteReplica(id="r2", address="", permits=1)))

    assert replicas(snapshot(nowhere)) == {"r1": ("a/e@1", V1.replicas[0])}


def test_a_snapshot_comes_back_from_disk_and_a_damaged_one_is_none(tmp_path: Path) -> None:
    file = tmp_path / "router" / "snapshot.json"
    assert load(file) is None
    replace_file(file, to_json(snapshot(V1)))

    assert load(file) == snapshot(V1)
    assert file.stat().st_mode & 0o777 == 0o600
    file.write_bytes(b'{"number": 1')
    assert load(file) is None
