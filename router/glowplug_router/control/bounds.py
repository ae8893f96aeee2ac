"""Can the router live with this for ever? What is stored is read again at each start, so nothing unbounded gets in.

A packager of ours never writes what is refused here: it is for clients that were written by others, and for slips.
"""

import math
import re
from collections.abc import Iterator, Mapping, Sequence

import msgspec

from glowplug.artifact import Bundle
from glowplug.clock import SECOND
from glowplug.errors import CallError, DefinitionError, call_error
from glowplug.given import WHOLE
from glowplug.names import resource_name
from glowplug.options import CONCURRENCY_MAX, WAIT_MAX_NS
from glowplug.scaling import (
    AUTO_NS,
    BUFFER_MAX,
    COUNT_MAX,
    REPLICAS_MAX,
    WINDOWS_MAX,
    window_trouble,
)
from glowplug.spec import EndpointSpec, Json, Policy, Schema, Targets
from glowplug.units import DURATION_MAX_NS

GPUS_MAX = 64  # of one replica
INTEGER_MAX = 2**53 - 1  # what every JSON reader holds exactly
DEPTH_MAX = 64  # of a schema or an example; each level is one of recursion when a document is made
TEXT_MAX = 200  # characters of a name that is not one of ours

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_TARGET = re.compile(r"[\w -]+(\.[\w -]+)*:[\w.<>]+")  # a script's name may hold spaces and dashes
_VARIABLE = re.compile(r"[^=\0]{1,200}")
_MEDIA_TYPE = re.compile(r"[\w.+-]+/[\w.+-]+(; ?[\w-]+=[\w.+-]+)*", re.ASCII)


def check_policy(policy: Policy) -> None:
    """Refuse a policy with a number that nothing could be done with."""
    numbers = msgspec.to_builtins(policy)
    for name, value in numbers.items():
        if name == "zero_after_ns" and value == AUTO_NS:
            continue
        if name.endswith("_ns"):
            _within(name, value, 0, DURATION_MAX_NS)
        elif isinstance(value, int):
            _within(name, value, 0, REPLICAS_MAX if name in ("min", "max") else COUNT_MAX)
    _check_targets(policy.targets)
    _check_windows(policy)
    batch = policy.batch
    if batch.max is not None:
        _within("batch.max", batch.max, 1, CONCURRENCY_MAX)
    if batch.wait_ns is not None:
        _within("batch.wait_ns", batch.wait_ns, 0, WAIT_MAX_NS)
    target = policy.target_concurrency
    if not math.isfinite(target) or not 0 <= target <= CONCURRENCY_MAX:
        raise refused(f"target_concurrency={target!r}", f"use 0 to {CONCURRENCY_MAX}")


def _check_targets(targets: Targets) -> None:
    _within("targets.qps_milli", targets.qps_milli, 0, 1000 * COUNT_MAX)
    _within("targets.queue_milli", targets.queue_milli, 0, 1000 * COUNT_MAX)
    _within("targets.p95_ns", targets.p95_ns, 0, DURATION_MAX_NS)
    _within("targets.util_permille", targets.util_permille, 0, WHOLE)


def _check_windows(policy: Policy) -> None:
    _within("buffer_permille", policy.buffer_permille, 0, BUFFER_MAX)
    _within("windows", len(policy.windows), 0, WINDOWS_MAX)
    for window in policy.windows:
        trouble = window_trouble(window)
        if trouble:
            raise refused(f"the window {window.cron[:80]!r}: {trouble}")
        _within("the min of a window", window.min, 1, policy.max)


def check_spec(spec: EndpointSpec) -> None:
    """Refuse a spec that could not run, be planned with, or be shown."""
    name = spec.name
    if not _TARGET.fullmatch(spec.target):
        raise refused(f"{name}: {spec.target[:80]!r} is no target; it has the form module:name")
    _within(f"{name}: concurrency", spec.concurrency, 1, CONCURRENCY_MAX)
    _within(f"{name}: batch.max", spec.batch.max, 0, spec.concurrency)
    _within(f"{name}: batch.wait_ns", spec.batch.wait_ns, 0, WAIT_MAX_NS)
    _within(f"{name}: batch.weight_max", spec.batch.weight_max, 0, INTEGER_MAX)
    for size in spec.batch.buckets:
        _within(f"{name}: batch.buckets", size, 1, spec.batch.max)
    for limit, value in msgspec.to_builtins(spec.timeouts).items():
        _within(f"{name}: {limit}", value, 1, DURATION_MAX_NS)
    needs = spec.needs
    _within(f"{name}: gpu_count", needs.gpu_count, 0, GPUS_MAX)
    _within(f"{name}: cpu_milli", needs.cpu_milli, 0, INTEGER_MAX)
    _within(f"{name}: memory_bytes", needs.memory_bytes, 0, INTEGER_MAX)
    _check_variables(name, (*spec.env, *spec.image.env, *((secret, "") for secret in spec.secrets)))
    try:
        for volume in spec.volumes:
            resource_name(volume, "volume")
    except DefinitionError as error:
        raise refused(f"{name}: {error.message}", error.hint) from error
    _check_schema(name, spec.schema)
    _check_examples(name, spec)


def check_bundle(bundle: Bundle, *, dev: bool) -> None:
    """Refuse a bundle whose parts could not be fetched by their names."""
    if bundle.source_path and not dev:
        raise refused(
            f"the bundle runs from {bundle.source_path[:200]!r} on this machine",
            "`glowplug dev` runs a folder as it is; `glowplug deploy` uploads it",
        )
    digests = [layer.digest for layer in bundle.layers]
    if bundle.env_digest:
        digests.append(bundle.env_digest)
    for digest in digests:
        if not _DIGEST.fullmatch(digest):
            raise refused(f"{digest[:80]!r} is no digest; it has the form sha256:<64 hex digits>")
    for layer in bundle.layers:
        _within("size_bytes", layer.size_bytes, 0, INTEGER_MAX)
    _check_variables("the bundle", bundle.env)


def refused(message: str, hint: str = "") -> CallError:
    """Return the error of a release or a policy that is not taken."""
    return call_error("invalid_request", message, executed="no", hint=hint)


# -- parts -------------------------------------------------------------------------------------------


def _within(name: str, value: int, least: int, most: int) -> None:
    if least <= value <= most:
        return
    if name.endswith("_ns"):
        plain = name.removesuffix("_ns")
        raise refused(f"{plain}={_seconds(value)}", f"use {_seconds(least)} to {_seconds(most)}")
    raise refused(f"{name}={str(value)[:40]}", f"use {least} to {most}")


def _seconds(ns: int) -> str:
    return f"{ns / SECOND:g} s" if abs(ns) < 100 * SECOND else f"{str(ns // SECOND)[:40]} s"


def _check_variables(where: str, pairs: Sequence[tuple[str, str]]) -> None:
    for variable, value in pairs:
        if not _VARIABLE.fullmatch(variable) or "\0" in value:
            raise refused(f"{where}: {variable[:80]!r} cannot be a variable of an environment")


def _check_schema(name: str, schema: Schema) -> None:
    sides = {"request": schema.request, "response": schema.response, "item": schema.item}
    for side, one in sides.items():
        if not isinstance(one, dict | bool | None):
            raise refused(f"{name}: schema.{side} is no JSON schema: an object, true or false")
        if isinstance(one, dict) and not isinstance(one.get("$defs", {}), dict):
            raise refused(f"{name}: $defs of schema.{side} is no object")
        if is_deep(one):
            raise refused(f"{name}: schema.{side} is over {DEPTH_MAX} levels deep")
    if not _MEDIA_TYPE.fullmatch(schema.media_type) or len(schema.media_type) > TEXT_MAX:
        raise refused(f"{name}: {schema.media_type[:80]!r} is no media type")


def _check_examples(name: str, spec: EndpointSpec) -> None:
    body = spec.schema.raw_body
    for example in spec.examples:
        if not isinstance(example, dict):
            raise refused(f"{name}: an example is no object of arguments by name")
        if is_deep(example):
            raise refused(f"{name}: an example is over {DEPTH_MAX} levels deep")
        if body and body not in example:
            raise refused(f"{name}: an example lacks {body}, which is the body")


def is_deep(value: Json) -> bool:
    """Say whether a JSON value has more than DEPTH_MAX levels, without going down them by recursion."""
    level: list[Json] = [value]
    for _ in range(DEPTH_MAX + 1):
        level = [inner for one in level for inner in _inside(one)]
        if not level:
            return False
    return True


def _inside(value: Json) -> Iterator[Json]:
    match value:
        case Mapping():
            yield from value.values()
        case list() | tuple():
            yield from value
        case _:
            return
