"""What do records of a small app look like? Shared by the tests of store, deployment and controller."""

import hashlib

from glowplug.artifact import Bundle, Layer
from glowplug.spec import EndpointSpec, Json, Policy
from glowplug_router.records.stored import Deployment, Route, Share, Version


def digest_of(text: str) -> str:
    return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"


def bundle(code: str = "code", app: str = "hello") -> Bundle:
    layer = Layer(kind="code", digest=digest_of(code), size_bytes=len(code))
    return Bundle(app=app, layers=(layer,), python="3.11")


def spec(
    endpoint: str = "greet", *, examples: tuple[Json, ...] = (), load_key: str = ""
) -> EndpointSpec:
    return EndpointSpec(
        app="hello",
        name=endpoint,
        target=f"app:{endpoint}",
        kind="function",
        examples=examples,
        load_key=load_key,
    )


def version(code: str = "code", endpoint: str = "greet", created_wall_ns: int = 1) -> Version:
    return Version(
        app="hello",
        endpoint=endpoint,
        number=0,
        digest=digest_of(f"version of {code}"),
        spec=spec(endpoint),
        bundle_digest=digest_of(f"bundle of {code}"),
        created_wall_ns=created_wall_ns,
    )


def deployment(generation: int, number: int = 1, app: str = "hello") -> Deployment:
    route = Route(endpoint="greet", shares=(Share(version=number, permille=1000),))
    return Deployment(app=app, generation=generation, routes=(route,), created_wall_ns=generation)


POLICY = Policy(min=1, max=3)
