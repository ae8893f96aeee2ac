"""How does a record become a row of the database, and a row a record? One pair of functions for each table."""

from typing import TypeAlias

import msgspec

from glowplug.artifact import Bundle
from glowplug.spec import EndpointSpec, Policy
from glowplug_router.records.stored import Deployment, Explain, Intent, Key, Route, Version
from glowplug_router.records.wishes import Wish

Value: TypeAlias = "str | int | float | bytes | None"
Row: TypeAlias = "tuple[Value, ...]"

VERSION = "SELECT app, endpoint, number, digest, spec, bundle_digest, created_wall_ns FROM version"
DEPLOYMENT = (
    "SELECT app, generation, routes, stopped, message, git_sha, created_wall_ns, rollback_of, policies"
    " FROM deployment AS d"
)
KEY = "SELECT id, mac, tenant, scopes, created_wall_ns, name, expires_wall_ns, revoked FROM key"
INTENT = (
    "SELECT id, kind, subject, epoch, deadline_wall_ns, created_wall_ns, state, detail FROM intent"
)
EXPLAIN = "SELECT wall_ns, subject, rule, text, replicas_ready, replicas_wanted, facts FROM explain"

ADD_INTENT = (
    "INSERT INTO intent (id, kind, subject, epoch, deadline_wall_ns, created_wall_ns, state, detail)"
    " VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING"
)
ADD_EXPLAIN = (
    "INSERT INTO explain (wall_ns, subject, rule, text, replicas_ready, replicas_wanted, facts)"
    " VALUES (?, ?, ?, ?, ?, ?, ?)"
)
BOUND_EXPLAIN = (
    "DELETE FROM explain WHERE subject = ?1 AND row <="
    " (SELECT row FROM explain WHERE subject = ?1 ORDER BY row DESC LIMIT 1 OFFSET ?2)"
)


def to_json(record: object) -> str:
    """Return a record as the text kept in a JSON column."""
    return msgspec.json.encode(record).decode()


def of_version(version: Version) -> Row:
    """Return the row of a version."""
    named = (version.app, version.endpoint, version.number, version.digest)
    return (*named, to_json(version.spec), version.bundle_digest, version.created_wall_ns)


def version_of(row: Row) -> Version:
    """Return the version of a row of VERSION."""
    names = ("app", "endpoint", "number", "digest", "spec", "bundle_digest", "created_wall_ns")
    fields = dict(zip(names, row, strict=True))
    return msgspec.convert(
        {**fields, "spec": msgspec.json.decode(_text(row[4]), type=EndpointSpec)}, Version
    )


def bundle_of(row: Row) -> Bundle:
    """Return the manifest of a row with that one column."""
    return msgspec.json.decode(_text(row[0]), type=Bundle)


def of_deployment(one: Deployment) -> Row:
    """Return the row of a deployment."""
    head = (one.app, one.generation, to_json(one.routes), int(one.stopped))
    said = (one.message, one.git_sha, one.created_wall_ns)
    return (*head, *said, one.rollback_of, to_json(one.policies))


def deployment_of(row: Row) -> Deployment:
    """Return the deployment of a row of DEPLOYMENT."""
    names = ("app", "generation", "routes", "stopped", "message", "git_sha", "created_wall_ns")
    fields = dict(zip((*names, "rollback_of", "policies"), row, strict=True))
    routes = msgspec.json.decode(_text(row[2]), type=tuple[Route, ...])
    policies = msgspec.json.decode(_text(row[8]), type=tuple[tuple[str, Policy], ...])
    whole = {**fields, "routes": routes, "stopped": bool(row[3]), "policies": policies}
    return msgspec.convert(whole, Deployment)


def policy_of(row: Row) -> tuple[str, str, Policy]:
    """Return app, endpoint and policy of a row with those columns."""
    return _text(row[0]), _text(row[1]), msgspec.json.decode(_text(row[2]), type=Policy)


def of_wish(wish: Wish) -> Row:
    """Return the row of what is declared for a while."""
    return wish.id, wish.created_wall_ns, to_json(wish)


def wish_of(row: Row) -> Wish:
    """Return what is declared, of a row with that one column."""
    return msgspec.json.decode(_text(row[0]), type=Wish)


def of_key(key: Key) -> Row:
    """Return the row of a key."""
    head = (key.id, key.mac, key.tenant, to_json(key.scopes), key.created_wall_ns)
    return (*head, key.name, key.expires_wall_ns, int(key.revoked))


def key_of(row: Row) -> Key:
    """Return the key of a row of KEY."""
    names = (
        "id",
        "mac",
        "tenant",
        "scopes",
        "created_wall_ns",
        "name",
        "expires_wall_ns",
        "revoked",
    )
    fields = dict(zip(names, row, strict=True))
    return msgspec.convert(
        {**fields, "scopes": msgspec.json.decode(_text(row[3])), "revoked": bool(row[7])}, Key
    )


def of_intent(intent: Intent) -> Row:
    """Return the row of an intent."""
    head = (intent.id, intent.kind, intent.subject, intent.epoch)
    return (*head, intent.deadline_wall_ns, intent.created_wall_ns, intent.state, intent.detail)


def intent_of(row: Row) -> Intent:
    """Return the intent of a row of INTENT."""
    names = (
        "id",
        "kind",
        "subject",
        "epoch",
        "deadline_wall_ns",
        "created_wall_ns",
        "state",
        "detail",
    )
    return msgspec.convert(dict(zip(names, row, strict=True)), Intent)


def of_explain(row: Explain, wall_ns: int) -> Row:
    """Return the row of a decision."""
    facts = to_json({"acts": row.acts, "numbers": row.numbers, "advised": row.advised})
    head = (wall_ns, row.subject, row.rule, row.text)
    return (*head, row.replicas_ready, row.replicas_wanted, facts)


def explain_of(row: Row) -> tuple[int, Explain]:
    """Return wall time and decision of a row of EXPLAIN."""
    names = ("subject", "rule", "text", "replicas_ready", "replicas_wanted")
    wall_ns = row[0]
    assert isinstance(wall_ns, int), row
    facts = msgspec.json.decode(_text(row[6]))
    return wall_ns, msgspec.convert({**dict(zip(names, row[1:6], strict=True)), **facts}, Explain)


def _text(value: Value) -> str:
    assert isinstance(value, str), value
    return value
