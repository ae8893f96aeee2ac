"""How does an app look to a program that has only its OpenAPI document? One document an app, from the specs alone."""

import json
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from glowplug.arrays import SCHEMA_KEY
from glowplug.problems import PROBLEMS
from glowplug.schema import MSGPACK, SAFETENSORS
from glowplug_router.control.catalog import Catalog
from glowplug_router.records.stored import Deployment, Version
from glowplug_router.telemetry.logging import logger

_LOG = logger("glowplug.controller")
Json = Any  # a JSON value
DOCUMENTS_MAX = 64  # documents remembered: building one costs about a millisecond an endpoint
# What building one from schemas that are not schemas can end in.
UNSHOWABLE = (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError)
_PROBLEM_CODES = (
    "invalid_request",
    "unauthorized",
    "overloaded",
    "endpoint_error",
    "unavailable",
    "run_timeout",
)


def document(catalog: Catalog, deployment: Deployment) -> str:
    """Return the OpenAPI 3.1 document of an app's live endpoints as JSON text."""
    routed = []
    for route in deployment.routes:
        stable = max(route.shares, key=lambda share: share.permille).version
        version = catalog.versions[f"{deployment.app}/{route.endpoint}@{stable}"]
        routed.append((version, catalog.policy(version).auth))
    return _document(
        deployment.app,
        deployment.generation,
        tuple(_Routed(version, auth) for version, auth in routed),
    )


class _Routed:
    """A version with its auth, hashed by what can change in it: a spec holds JSON, which has no hash."""

    def __init__(self, version: Version, auth: str) -> None:
        self.version = version
        self.auth = auth

    def __hash__(self) -> int:
        return hash((self.version.key, self.auth))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Routed) and (self.version.key, self.auth) == (
            other.version.key,
            other.auth,
        )


@lru_cache(DOCUMENTS_MAX)
def _document(app: str, generation: int, routed: tuple[_Routed, ...]) -> str:
    try:
        return document_of(app, generation, [(one.version, one.auth) for one in routed])
    except UNSHOWABLE as error:  # once for each generation: the empty one is remembered
        _LOG.error("an app has no OpenAPI document", app=app, error=repr(error)[:200])
        return document_of(app, generation, [])


def document_of(app: str, generation: int, routed: Sequence[tuple[Version, str]]) -> str:
    """Return the document of versions, each with its auth; raise one of UNSHOWABLE when their schemas make none."""
    schemas: dict[str, Json] = {"Problem": _PROBLEM}
    paths = {
        f"/{app}/{version.endpoint}": {"post": _operation(version, auth, schemas)}
        for version, auth in routed
    }
    return json.dumps(
        {
            "openapi": "3.1.0",
            "info": {"title": app, "version": str(generation)},
            "paths": paths,
            "components": {
                "schemas": schemas,
                "securitySchemes": {
                    "key": {"type": "http", "scheme": "bearer", "bearerFormat": "gp_<id>_<secret>"}
                },
            },
        }
    )


def _operation(version: Version, auth: str, schemas: dict[str, Json]) -> Json:
    spec = version.spec
    first, _, rest = spec.description.partition("\n\n")
    summary = " ".join(first.split())
    return {
        "operationId": f"{version.app}_{version.endpoint}".replace("-", "_"),
        "summary": summary or version.endpoint,
        **({"description": rest.strip()} if rest.strip() else {}),
        "tags": [f"{key}:{value}" if value else key for key, value in spec.tags] or [version.app],
        "security": [] if auth == "public" else [{"key": []}],
        "requestBody": {
            "required": True,
            "description": _LARGE,
            "content": _request(version, schemas),
        },
        "responses": {"200": _response(version, schemas), **_problems()},
    }


def _request(version: Version, schemas: dict[str, Json]) -> Json:
    schema = version.spec.schema
    if schema.raw_body:
        return {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}
    reference = _component(_name(version, "Request"), schema.request or {"type": "object"}, schemas)
    examples = {
        f"example{number}": {"value": example}
        for number, example in enumerate(version.spec.examples, start=1)
    }
    content: Json = {
        "application/json": {"schema": reference, **({"examples": examples} if examples else {})},
        MSGPACK: {"schema": reference},
    }
    if _has_tensors(schema.request):
        content[SAFETENSORS] = {"schema": _TENSOR_FILE}
    if schema.files:
        content["multipart/form-data"] = {"schema": _multipart(schema.request, schema.files)}
    return content


_TENSOR_FILE: Json = {
    "type": "string",
    "format": "binary",
    "description": "A safetensors file: a tensor for each parameter (an answer that is one tensor is called `output`);"
    " what is no tensor is JSON text in the metadata entry `json`.",
}
_LARGE = (
    "Bodies over the router's limit (64 MiB unless it says otherwise) are uploaded first: `POST /-/api/payloads` with"
    " `digest` and `size_bytes`, PUT to the URL it returns, then this call with `Glowplug-Payload: <reference>` and an"
    " empty body."
)


def _multipart(request: Json, files: tuple[str, ...]) -> Json:
    properties = dict((request or {}).get("properties", {}))
    properties |= {name: {"type": "string", "format": "binary"} for name in files}
    return {"type": "object", "properties": properties}


def _response(version: Version, schemas: dict[str, Json]) -> Json:
    schema = version.spec.schema
    if schema.streams:
        item = _component(_name(version, "Item"), schema.item or {}, schemas)
        media = {"schema": {"type": "string"}, "x-item-schema": item}
        content = {"text/event-stream": media, "application/x-ndjson": media}
        return {"description": "The items, as they are made", "content": content}
    if schema.media_type != "application/json":
        content = {schema.media_type: {"schema": {"type": "string", "format": "binary"}}}
        return {"description": "The answer's bytes", "content": content}
    answer = _component(_name(version, "Response"), schema.response or {}, schemas)
    content = {"application/json": {"schema": answer}, MSGPACK: {"schema": answer}}
    if _has_tensors(schema.response):
        content[SAFETENSORS] = {"schema": _TENSOR_FILE}
    return {"description": "The answer", "content": content}


def _has_tensors(schema: Json) -> bool:
    """Say whether a schema mentions a tensor anywhere; its depth was bounded when it was deployed."""
    match schema:
        case dict():
            return SCHEMA_KEY in schema or any(map(_has_tensors, schema.values()))
        case list():
            return any(map(_has_tensors, schema))
        case _:
            return False


def _problems() -> Json:
    by_status: dict[int, list[str]] = {}
    for code in _PROBLEM_CODES:
        by_status.setdefault(PROBLEMS[code].status, []).append(PROBLEMS[code].title)
    content = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
    return {
        str(status): {"description": "; ".join(titles), "content": content}
        for status, titles in by_status.items()
    }


def _name(version: Version, side: str) -> str:
    words = version.endpoint.replace("_", "-").split("-")
    return "".join(word.capitalize() for word in words) + side


def _component(name: str, schema: Json, schemas: dict[str, Json]) -> Json:
    """Keep a schema under its name, its `$defs` beside it, and return a reference to it.

    Two endpoints may define a model of the same name differently: the second one's is kept under the endpoint's name.
    """
    if not isinstance(schema, dict):
        return {}
    local = schema.get("$defs", {})
    renamed: dict[str, str] = {}
    for inner, definition in local.items():
        same = schemas.get(inner) in (None, _pointed(definition, {key: key for key in local}))
        renamed[inner] = inner if same else f"{name}{inner}"
    for inner, definition in local.items():
        schemas[renamed[inner]] = _pointed(definition, renamed)
    schemas[name] = {
        "title": name,
        **_pointed({key: value for key, value in schema.items() if key != "$defs"}, renamed),
    }
    return {"$ref": f"#/components/schemas/{name}"}


def _pointed(schema: Json, renamed: dict[str, str]) -> Json:
    """Return a schema whose references point into the document."""
    match schema:
        case dict():
            return {
                key: f"#/components/schemas/{renamed[value.removeprefix('#/$defs/')]}"
                if key == "$ref"
                and isinstance(value, str)
                and value.removeprefix("#/$defs/") in renamed
                else _pointed(value, renamed)
                for key, value in schema.items()
            }
        case list():
            return [_pointed(one, renamed) for one in schema]
        case _:
            return schema


_PROBLEM: Json = {
    "title": "Problem",
    "type": "object",
    "description": "Why there is no answer (RFC 9457).",
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "code": {"type": "string", "enum": sorted(PROBLEMS)},
        "phase": {"type": "string"},
        "retryable": {"type": "boolean"},
        "request_id": {"type": "string"},
        "hint": {"type": "string"},
    },
    "required": ["title", "status", "code"],
}
