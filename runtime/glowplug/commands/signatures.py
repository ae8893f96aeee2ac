"""How does an endpoint's schema read to a person? `name: string, times: integer = 1 → string`."""

import json
from typing import Any

from glowplug.spec import Json, Schema

REFERENCE = "#/$defs/"


def signature(schema: Schema) -> str:
    """Return the parameters and the answer on one line."""
    if schema.raw_body:
        taken = f"{schema.raw_body}: bytes"
    else:
        request = schema.request or {}
        required = set(request.get("required", ()))
        taken = ", ".join(
            _parameter(
                name, one, request, is_required=name in required, is_file=name in schema.files
            )
            for name, one in request.get("properties", {}).items()
        )
    return f"({taken}) → {_answer(schema)}"


def _answer(schema: Schema) -> str:
    if schema.streams:
        return f"stream of {type_words(schema.item or {}, schema.item or {})}"
    if schema.media_type == "application/octet-stream":
        return "bytes"
    return type_words(schema.response or {}, schema.response or {})


def _parameter(name: str, one: Json, root: Json, *, is_required: bool, is_file: bool) -> str:
    kind = "bytes" if is_file else type_words(one, root)
    default = "" if is_required else f" = {json.dumps(one.get('default'), ensure_ascii=False)}"
    return f"{name}: {kind}{default}"


def type_words(one: Json, root: Json) -> str:
    """Return a JSON schema's type in a few words."""
    one = resolved(one, root)
    if "enum" in one or "const" in one:
        return " | ".join(json.dumps(value) for value in one.get("enum", [one.get("const")]))
    if "anyOf" in one:
        return " | ".join(dict.fromkeys(type_words(each, root) for each in one["anyOf"]))
    if one.get("type") == "array" and "items" in one:
        return f"list of {type_words(one['items'], root)}"
    return str(one.get("title") if "properties" in one else one.get("type", "anything"))


def resolved(one: Json, root: Json) -> dict[str, Any]:
    """Return what a `$ref` stands for, else the schema itself."""
    if not isinstance(one, dict):
        return {}
    name = str(one.get("$ref", "")).removeprefix(REFERENCE)
    return dict(root.get("$defs", {}).get(name, {})) if name else one


def sample(one: Json, root: Json, depth: int = 8) -> Json:
    """Return a value that fits a JSON schema, for a first try; None where nothing can be told."""
    one = resolved(one, root)
    if depth == 0:
        return None
    given = [*one.get("examples", ()), one.get("default"), one.get("const"), *one.get("enum", ())]
    for value in given:
        if value is not None:
            return value
    if "anyOf" in one:
        return sample(one["anyOf"][0], root, depth - 1)
    return _of_type(one, root, depth)


def _of_type(one: dict[str, Any], root: Json, depth: int) -> Json:
    match one.get("type"):
        case "string":
            return "text".ljust(one.get("minLength", 0), ".")[: one.get("maxLength")]
        case "integer" | "number":
            return _number(one)
        case "boolean":
            return True
        case "array":
            return [sample(one.get("items", {}), root, depth - 1)] * max(1, one.get("minItems", 1))
        case "object":
            fields = one.get("properties", {})
            needed = one.get("required", ())
            return {name: sample(fields.get(name, {}), root, depth - 1) for name in needed}
        case _:
            return None


def _number(one: dict[str, Any]) -> Json:
    lowest = one.get("minimum", one.get("exclusiveMinimum", 0) + 1)
    highest = one.get("maximum", one.get("exclusiveMaximum", lowest + 1) - 1)
    return min(max(1, lowest), highest)
