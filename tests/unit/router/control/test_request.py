"""Is a release checked before anything is done with it?"""

import hashlib
from collections.abc import AsyncIterator
from dataclasses import replace

import msgspec
import pytest

from control_records import bundle, spec
from glowplug.artifact import Bundle, Release
from glowplug.errors import CallError
from glowplug.spec import EndpointDecl, Policy
from glowplug_packager.digest import bundle_digest
from glowplug_router.control.digest import version_digest
from glowplug_router.control.request import checked_policy, patched, wanted
from glowplug_router.objects.memory import MemoryObjects


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

    assert (await wanted(msgspec.json.encode(made), MemoryObjects(), 1)).drafts


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
        Policy(zero_after_ns=-1),
    ],
)
def test_a_policy_that_cannot_be_kept_is_refused(broken: Policy) -> None:
    with pytest.raises(CallError):
        checked_policy(broken)


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
