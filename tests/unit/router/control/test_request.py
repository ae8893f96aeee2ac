"""Is a release checked before anything is done with it?"""

import hashlib
from collections.abc import AsyncIterator
from dataclasses import replace

import msgspec
import pytest

from control_records import bundle, spec
from glowplug.artifact import Bundle, Layer, Release
from glowplug.clock import HOUR, SECOND
from glowplug.errors import CallError
from glowplug.spec import (
    BatchTuning,
    EndpointDecl,
    EndpointSpec,
    Json,
    Needs,
    Policy,
    Schema,
    Targets,
    Timeouts,
    WindowSpec,
)
from glowplug_packager.digest import bundle_digest
from glowplug_router.control.digest import version_digest
from glowplug_router.control.request import checked_policy, patched, wanted
from glowplug_router.objects.memory import MemoryObjects

MORNINGS = WindowSpec(cron="0 8 * * mon-fri", for_ns=10 * HOUR, tz="Europe/Berlin", min=2)


def release(**changes: object) -> Release:
    parts = bundle()
    decl = EndpointDecl(spec=spec(), policy=Policy())
    made = Release(
        app="hello",
        bundles=((bundle_digest(parts), parts),),
        endpoints=((decl, bundle_digest(parts)),),
    )
    return replace(made, **changes)  # type: ignore[arg-type]  # whatever the test breaks


async def objects() -> MemoryObjects:
    kept = MemoryObjects()

    async def code() -> AsyncIterator[bytes]:
        yield b"code"

    await kept.put(f"sha256:{hashlib.sha256(b'code').hexdigest()}", code(), 100)
    return kept


async def code_of(body: bytes, kept: MemoryObjects | None = None) -> str:
    with pytest.raises(CallError) as refused:
        await wanted(body, kept or await objects(), 1)
    return refused.value.code


async def test_a_release_becomes_drafts_of_versions() -> None:
    asked = await wanted(msgspec.json.encode(release()), await objects(), 7)

    (draft, parts), *others = asked.drafts
    assert not others
    assert draft.digest == version_digest(spec(), bundle())
    assert (draft.number, draft.created_wall_ns, parts) == (0, 7, bundle())
    assert asked.policies == (("greet", Policy()),)


async def test_layers_that_were_not_uploaded_are_named() -> None:
    with pytest.raises(CallError, match="1 layers were not uploaded: sha256:"):
        await wanted(msgspec.json.encode(release()), MemoryObjects(), 1)


async def test_what_runs_from_its_folder_needs_no_upload() -> None:
    parts = replace(bundle(), source_path="/home/me/app")
    digest = bundle_digest(parts)
    made = release(
        bundles=((digest, parts),),
        endpoints=((EndpointDecl(spec=spec(), policy=Policy()), digest),),
    )

    assert (await wanted(msgspec.json.encode(made), MemoryObjects(), 1, dev=True)).drafts
    with pytest.raises(CallError) as refused:
        await wanted(msgspec.json.encode(made), MemoryObjects(), 1)
    assert "glowplug dev" in refused.value.hint


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'{"app": 1}', b'{"app": "hello"}'])
async def test_what_is_no_release_is_refused(body: bytes) -> None:
    assert await code_of(body) in {"invalid_json", "invalid_request"}


async def test_a_manifest_under_a_false_digest_is_refused() -> None:
    false = "sha256:" + "0" * 64
    decl = EndpointDecl(spec=spec(), policy=Policy())

    made = release(bundles=((false, bundle()),), endpoints=((decl, false),))
    assert await code_of(msgspec.json.encode(made)) == "digest_mismatch"


@pytest.mark.parametrize(
    "broken",
    [
        release(app="readyz"),
        release(app="UPPER"),
        release(endpoints=()),
        release(bundles=()),
        release(app="other"),
        release(endpoints=release().endpoints * 2),
    ],
)
async def test_a_release_that_contradicts_itself_is_refused(broken: Release) -> None:
    assert await code_of(msgspec.json.encode(broken)) == "invalid_request"


def test_a_version_is_its_code_contract_and_environment() -> None:
    same = version_digest(spec(), bundle())

    assert version_digest(spec(), replace(bundle(), source_path="/elsewhere")) == same
    assert version_digest(replace(spec(), concurrency=2), bundle()) != same
    assert version_digest(spec(), bundle("other")) != same
    assert version_digest(spec(), replace(bundle(), env_digest="sha256:e")) != same


@pytest.mark.parametrize(
    "broken",
    [
        Policy(min=-1),
        Policy(max=0),
        Policy(min=5, max=4),
        Policy(max=1_000_000),
        Policy(zero_after_ns=-2),
        Policy(buffer_permille=10_001),
        Policy(targets=Targets(util_permille=1001)),
        Policy(targets=Targets(p95_ns=-1)),
        Policy(targets=Targets(qps_milli=10**12)),
        Policy(windows=(replace(MORNINGS, cron="0 25 * * *"),)),
        Policy(windows=(replace(MORNINGS, tz="Europe/Nowhere"),)),
        Policy(windows=(replace(MORNINGS, for_ns=0),)),
        Policy(windows=(replace(MORNINGS, min=5),)),
        Policy(windows=(MORNINGS,) * 17),
        Policy(zero_after_ns=10**30),
        Policy(hold=10**9),
        Policy(buffer=10**400),
        Policy(target_concurrency=1e308),
        Policy(target_concurrency=float("nan")),
        Policy(target_concurrency=-1.0),
    ],
)
def test_a_policy_that_cannot_be_kept_is_refused(broken: Policy) -> None:
    with pytest.raises(CallError):
        checked_policy(broken)


def test_a_policy_with_windows_targets_and_learned_patience_is_kept() -> None:
    policy = Policy(
        zero_after_ns=-1, buffer_permille=200, targets=Targets(qps_milli=1), windows=(MORNINGS,)
    )

    assert checked_policy(policy) == policy


def test_a_policy_that_was_stored_before_there_were_windows_still_loads() -> None:
    stored = b'{"min":1,"max":3,"buffer":0,"target_concurrency":0.0,"zero_after_ns":5,"hold":9}'

    loaded = msgspec.json.decode(stored, type=Policy)

    assert (loaded.min, loaded.windows, loaded.targets) == (1, (), Targets())


def test_a_change_of_one_target_leaves_the_others() -> None:
    known = Policy(targets=Targets(qps_milli=5, util_permille=700))

    assert patched(known, {"targets": {"qps_milli": 9}}).targets == Targets(
        qps_milli=9, util_permille=700
    )


def test_a_duration_out_of_bounds_is_told_in_seconds() -> None:
    with pytest.raises(CallError) as refused:
        checked_policy(Policy(batch=BatchTuning(wait_ns=5 * HOUR)))

    assert (refused.value.message, refused.value.hint) == ("batch.wait=18000 s", "use 0 s to 10 s")
    with pytest.raises(CallError, match="zero_after=1000000000000000000000 s") as longer:
        checked_policy(Policy(zero_after_ns=10**30))
    assert longer.value.hint == "use 0 s to 31622400 s"
    with pytest.raises(CallError, match=r"batch.wait=10.5 s"):
        checked_policy(Policy(batch=BatchTuning(wait_ns=10 * SECOND + SECOND // 2)))


def deep(levels: int) -> Json:
    nested: Json = {}
    for _ in range(levels):
        nested = {"properties": nested}
    return nested


def with_spec(one: EndpointSpec) -> bytes:
    policed = EndpointDecl(spec=one, policy=Policy())
    return msgspec.json.encode(release(endpoints=((policed, bundle_digest(bundle())),)))


@pytest.mark.parametrize(
    "changes",
    [
        {"concurrency": 0},
        {"concurrency": -1},
        {"concurrency": 10**400},
        {"timeouts": Timeouts(run_ns=0)},
        {"timeouts": Timeouts(start_ns=10**400)},
        {"timeouts": Timeouts(queue_ns=-1)},
        {"needs": Needs(memory_bytes=10**30)},
        {"needs": Needs(cpu_milli=10**30)},
        {"needs": Needs(gpu_count=65)},
        {"needs": Needs(memory_bytes=-1)},
        {"schema": Schema(request=deep(900))},
        {"schema": Schema(response=deep(65))},
        {"schema": Schema(request={"$defs": [1]})},
        {"schema": Schema(request={"$defs": None})},
        {"schema": Schema(request="x", files=("a",))},
        {"schema": Schema(request={"properties": "x"}, files=("a",))},
        {"schema": Schema(item=[])},
        {"schema": Schema(media_type="a/b\r\nx: y")},
        {"examples": ("x",)},
        {"examples": (deep(65),)},
        {"examples": ({},), "schema": Schema(raw_body="data")},
        {"target": "../x:y"},
        {"target": "app"},
        {"env": (("A=B", "x"),)},
        {"env": (("A", "x\0"),)},
        {"secrets": ("",)},
        {"volumes": ("../../etc",)},
    ],
)
async def test_a_spec_that_the_router_could_not_live_with_is_refused(
    changes: dict[str, object],
) -> None:
    broken = replace(spec(), **changes)  # type: ignore[arg-type]  # whatever the test breaks

    assert await code_of(with_spec(broken)) == "invalid_request"


@pytest.mark.parametrize(
    "changes",
    [
        {"concurrency": 10_000},
        {"schema": Schema(request=True, response=deep(60))},
        {"schema": Schema(raw_body="data"), "examples": ({"data": "aGk="},)},
        {"target": "my demo-2.sub:Outer.run"},
        {"env": (("LD_PRELOAD", "x"),), "volumes": ("models",), "secrets": ("TOKEN",)},
    ],
)
async def test_a_spec_at_the_edge_of_what_is_possible_is_taken(changes: dict[str, object]) -> None:
    fine = replace(spec(), **changes)  # type: ignore[arg-type]  # whatever the test tries

    assert (await wanted(with_spec(fine), await objects(), 1)).drafts


async def test_what_is_nested_without_end_is_refused() -> None:
    for body in (b"[" * 100_000, b'{"app":' * 100_000, b'{"x":' * 100_000):
        assert await code_of(body) in {"invalid_json", "invalid_request"}


@pytest.mark.parametrize("path", ["", "/home/me/app"])
@pytest.mark.parametrize(
    "broken",
    [
        replace(bundle(), env_digest="sha256:../../x"),
        replace(bundle(), layers=(Layer(kind="code", digest="sha256:../x", size_bytes=1),)),
        replace(bundle(), layers=(replace(bundle().layers[0], size_bytes=-1),)),
    ],
)
async def test_a_bundle_whose_parts_have_no_digests_is_refused(broken: Bundle, path: str) -> None:
    broken = replace(broken, source_path=path)
    digest = bundle_digest(broken)
    decl = EndpointDecl(spec=spec(), policy=Policy())
    made = release(bundles=((digest, broken),), endpoints=((decl, digest),))

    with pytest.raises(CallError, match=r"digest|size_bytes"):
        await wanted(msgspec.json.encode(made), await objects(), 1, dev=True)


def test_a_policy_is_changed_in_part() -> None:
    assert patched(Policy(min=1), {"max": 9}) == Policy(min=1, max=9)


@pytest.mark.parametrize("change", [{"maximum": 3}, {"max": "3"}, {"auth": "open"}, {"min": 9}])
def test_a_change_that_means_nothing_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(CallError):
        patched(Policy(), change)


def test_both_ends_agree_on_a_bundles_digest() -> None:
    parts: Bundle = replace(bundle(), env=(("A", "ü"),))

    from glowplug_router.control.request import _canonical

    assert bundle_digest(parts) == f"sha256:{hashlib.sha256(_canonical(parts)).hexdigest()}"
