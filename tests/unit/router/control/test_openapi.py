"""Does the OpenAPI document say what an endpoint takes and gives?"""

import json
from dataclasses import replace

from control_records import spec
from glowplug.spec import Json, Policy, Schema
from glowplug_router.control.catalog import Catalog
from glowplug_router.control.openapi import document
from glowplug_router.records.stored import Deployment, Route, Share, Version
from glowplug_router.store.memory import MemoryStore

POINT = {"title": "Point", "type": "object", "properties": {"x": {"type": "integer"}}}
OTHER_POINT = {"title": "Point", "type": "object", "properties": {"lat": {"type": "number"}}}


def told(*schemas: Schema, policy: Policy | None = None, **changes: object) -> Json:
    catalog = Catalog(MemoryStore(), 1)
    for at, schema in enumerate(schemas):
        one = replace(spec(f"e{at}", examples=({"p": {"x": 1}},)), schema=schema, **changes)  # type: ignore[arg-type]  # of the test
        made = Version(
            app="hello",
            endpoint=f"e{at}",
            number=1,
            digest="d",
            spec=one,
            bundle_digest="b",
            created_wall_ns=1,
        )
        catalog.versions[made.key] = made
        catalog.policies["hello", f"e{at}"] = policy or Policy()
    routes = tuple(
        Route(endpoint=f"e{at}", shares=(Share(version=1, permille=1000),))
        for at in range(len(schemas))
    )
    document.__globals__["_document"].cache_clear()
    return json.loads(document(catalog, Deployment(app="hello", generation=3, routes=routes)))


def takes(definition: Json) -> Schema:
    request = {
        "type": "object",
        "properties": {"p": {"$ref": "#/$defs/Point"}},
        "$defs": {"Point": definition},
    }
    return Schema(request=request, response={"type": "string"})


def test_the_first_paragraph_is_the_summary_and_the_others_are_the_description() -> None:
    spoken = "Do what\nis asked.\n\nAt once.\n\nAnd well."

    post = told(takes(POINT), description=spoken, tags=(("team", "a"), ("beta", "")))["paths"][
        "/hello/e0"
    ]["post"]

    assert (post["summary"], post["description"]) == ("Do what is asked.", "At once.\n\nAnd well.")
    assert post["tags"] == ["team:a", "beta"]


def test_an_endpoint_has_its_request_answer_examples_and_key() -> None:
    read = told(takes(POINT))
    post = read["paths"]["/hello/e0"]["post"]

    assert read["openapi"] == "3.1.0"
    assert post["security"] == [{"key": []}]
    content = post["requestBody"]["content"]["application/json"]
    assert content["examples"]["example1"]["value"] == {"p": {"x": 1}}
    assert content["schema"] == {"$ref": "#/components/schemas/E0Request"}
    request = read["components"]["schemas"]["E0Request"]
    assert request["properties"]["p"] == {"$ref": "#/components/schemas/Point"}
    assert read["components"]["schemas"]["Point"] == POINT
    assert read["components"]["schemas"]["E0Response"]["type"] == "string"


def test_models_of_the_same_name_are_told_apart_only_where_they_differ() -> None:
    read = told(takes(POINT), takes(POINT), takes(OTHER_POINT))

    schemas = read["components"]["schemas"]
    assert schemas["Point"] == POINT
    assert schemas["E2RequestPoint"] == OTHER_POINT
    assert schemas["E2Request"]["properties"]["p"] == {
        "$ref": "#/components/schemas/E2RequestPoint"
    }


def test_every_reference_leads_somewhere() -> None:
    text = json.dumps(
        told(takes(POINT), takes(OTHER_POINT), Schema(streams=True, item=POINT, request={}))
    )

    for name in {part.partition('"')[0] for part in text.split("#/components/schemas/")[1:]}:
        assert name in json.loads(text)["components"]["schemas"]


def test_a_public_endpoint_needs_no_key() -> None:
    assert (
        told(takes(POINT), policy=Policy(auth="public"))["paths"]["/hello/e0"]["post"]["security"]
        == []
    )


def test_raw_bytes_files_and_streams_have_their_media_types() -> None:
    raw = Schema(raw_body="data", request={}, media_type="application/octet-stream")
    files = Schema(
        files=("img",), request={"type": "object", "properties": {"img": {"type": "string"}}}
    )
    stream = Schema(streams=True, item={"type": "integer"}, request={})
    read = told(raw, files, stream)["paths"]

    assert list(read["/hello/e0"]["post"]["requestBody"]["content"]) == ["application/octet-stream"]
    assert list(read["/hello/e0"]["post"]["responses"]["200"]["content"]) == [
        "application/octet-stream"
    ]
    form = read["/hello/e1"]["post"]["requestBody"]["content"]["multipart/form-data"]["schema"]
    assert form["properties"]["img"] == {"type": "string", "format": "binary"}
    assert set(read["/hello/e2"]["post"]["responses"]["200"]["content"]) == {
        "text/event-stream",
        "application/x-ndjson",
    }


def test_tensors_have_dtype_and_shape_and_a_media_type_of_their_own() -> None:
    tensor = {"type": "array", "items": {}, "x-tensor": {"dtype": "float32", "shape": [None, 3]}}
    request = {"type": "object", "properties": {"xs": {"type": "array", "items": tensor}}}
    read = told(Schema(request=request, response=tensor), takes(POINT))
    with_tensors, without = (read["paths"][f"/hello/e{at}"]["post"] for at in (0, 1))

    forms = {"application/json", "application/msgpack"}
    assert set(with_tensors["requestBody"]["content"]) == forms | {"application/safetensors"}
    assert set(with_tensors["responses"]["200"]["content"]) == forms | {"application/safetensors"}
    assert set(without["requestBody"]["content"]) == forms
    assert read["components"]["schemas"]["E0Response"]["x-tensor"]["shape"] == [None, 3]
    assert "/-/api/payloads" in without["requestBody"]["description"]
