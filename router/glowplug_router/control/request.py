"""Is this something that can be deployed? What came over HTTP, checked and turned into drafts of versions."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from glowplug.artifact import MANIFEST_SCHEMA, Bundle, Release
from glowplug.errors import DefinitionError, call_error
from glowplug.names import app_name, endpoint_name
from glowplug.options import REPLICAS_MAX
from glowplug.spec import EndpointDecl, Policy
from glowplug_router.control.bounds import check_bundle, check_policy, check_spec, refused
from glowplug_router.control.digest import version_digest
from glowplug_router.control.openapi import UNSHOWABLE, document_of
from glowplug_router.ports import ObjectStore
from glowplug_router.records.stored import Version

ENDPOINTS_MAX = 200  # of one app
_release = msgspec.json.Decoder(Release).decode
_canonical = msgspec.json.Encoder(order="sorted").encode  # as the packager writes a manifest


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """A checked release: its endpoints as versions that have no number yet."""

    app: str
    drafts: tuple[tuple[Version, Bundle], ...]
    policies: tuple[tuple[str, Policy], ...]
    message: str = ""
    git_sha: str = ""
    dev: bool = False


async def wanted(body: bytes, objects: ObjectStore, wall_ns: int, *, dev: bool = False) -> Wanted:
    """Return what a deploy request asks for.

    Raises:
        CallError: It is malformed, contradicts itself, or names layers that were not uploaded.
    """
    try:
        release = _release(body)
    except msgspec.ValidationError as error:
        hint = "deploy with a glowplug of the router's version: `glowplug --version`"
        raise refused(
            f"the release does not have the form this router knows: {error}", hint
        ) from error
    except (msgspec.DecodeError, RecursionError) as error:
        raise call_error(
            "invalid_json", f"the release is not JSON: {error}", executed="no"
        ) from error
    _check(release, dev=dev)
    bundles = dict(release.bundles)
    layers = {
        one.digest for bundle in bundles.values() for one in bundle.layers if not bundle.source_path
    }
    missing = await objects.missing(sorted(layers))
    if missing:
        hint = "upload them with PUT /-/api/blobs/<digest>; `glowplug deploy` does"
        raise refused(f"{len(missing)} layers were not uploaded: {', '.join(missing[:3])}", hint)
    drafts = tuple(
        _draft(decl, digest, bundles[digest], wall_ns) for decl, digest in release.endpoints
    )
    _check_document(release.app, [draft for draft, _ in drafts])
    return Wanted(
        app=release.app,
        drafts=drafts,
        policies=tuple(
            (decl.spec.name, checked_policy(decl.policy)) for decl, _ in release.endpoints
        ),
        message=release.message,
        git_sha=release.git_sha,
        dev=dev,
    )


def checked_policy(policy: Policy) -> Policy:
    """Return a policy that can be kept, or say what is wrong with it."""
    check_policy(policy)
    if not 0 < policy.max <= REPLICAS_MAX:
        raise refused(
            f"max={policy.max}: use 1 to {REPLICAS_MAX}",
            "`glowplug stop` takes an app out of service",
        )
    if policy.min > policy.max:
        raise refused(f"min={policy.min} is more than max={policy.max}", "raise max, or lower min")
    return policy


def patched(policy: Policy, change: Mapping[str, object]) -> Policy:
    """Return a policy with some members changed."""
    known = msgspec.to_builtins(policy)
    unknown = sorted(set(change) - set(known))
    if unknown:
        raise refused(f"a policy has no {', '.join(unknown)}", f"it has {', '.join(sorted(known))}")
    try:
        return checked_policy(msgspec.convert(_merged(known, change), Policy))
    except msgspec.ValidationError as error:
        raise refused(f"the policy is not right: {error}", "") from error


def _check(release: Release, *, dev: bool) -> None:
    try:
        app_name(release.app)
        names = [endpoint_name(decl.spec.name) for decl, _ in release.endpoints]
    except DefinitionError as error:
        raise refused(error.message, error.hint) from error
    if not names or len(names) > ENDPOINTS_MAX:
        raise refused(f"a release has 1 to {ENDPOINTS_MAX} endpoints, not {len(names)}", "")
    if len(set(names)) < len(names) or any(
        decl.spec.app != release.app for decl, _ in release.endpoints
    ):
        raise refused(
            f"every endpoint of {release.app} must have a name of its own and that app", ""
        )
    for decl, _ in release.endpoints:
        check_spec(decl.spec)
    _check_bundles(release, dev=dev)


def _check_bundles(release: Release, *, dev: bool) -> None:
    for digest, bundle in release.bundles:
        if bundle.schema > MANIFEST_SCHEMA:
            raise refused(
                f"the bundle has schema {bundle.schema}", "update the router: it knows an older one"
            )
        if f"sha256:{hashlib.sha256(_canonical(bundle)).hexdigest()}" != digest:
            raise call_error(
                "digest_mismatch",
                f"the manifest sent as {digest} has another digest",
                executed="no",
            )
        check_bundle(bundle, dev=dev)
    absent = {digest for _, digest in release.endpoints} - {digest for digest, _ in release.bundles}
    if absent:
        raise refused(
            f"endpoints run in bundles that the release does not have: {sorted(absent)[0]}", ""
        )


def _check_document(app: str, drafts: Sequence[Version]) -> None:
    """Make the app's document once: what cannot be shown would be in the way at each start of the router."""
    try:
        document_of(app, 0, [(draft, "key") for draft in drafts])
    except UNSHOWABLE as error:
        raise refused(f"{app}: its schemas make no OpenAPI document: {error}") from error


def _draft(decl: EndpointDecl, digest: str, bundle: Bundle, wall_ns: int) -> tuple[Version, Bundle]:
    version = Version(
        app=decl.spec.app,
        endpoint=decl.spec.name,
        number=0,
        digest=version_digest(decl.spec, bundle),
        spec=decl.spec,
        bundle_digest=digest,
        created_wall_ns=wall_ns,
    )
    return version, bundle


def _merged(known: Mapping[str, Any], change: Mapping[str, object]) -> dict[str, object]:
    """Return what is known with what changes, of `batch` and `targets` as well: their other members stay."""
    inner = {
        name: {**known[name], **value}
        for name in ("batch", "targets")
        if isinstance(value := change.get(name), Mapping)
    }
    return {**known, **change, **inner}
