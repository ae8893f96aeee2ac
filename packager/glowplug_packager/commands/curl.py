"""Which curl line calls an endpoint as pasted? With its first example, or with values that fit its types."""

import json
import shlex

from glowplug.commands.signatures import resolved, sample
from glowplug.spec import EndpointDecl, Json

BYTES_MAX = 1_000  # a longer example of bytes makes no line that one could read


def curl_line(url: str, key: str, decl: EndpointDecl, file: str, ca: str = "") -> str:
    """Return a command that works as pasted into a shell; `file` is sent where no example has the bytes."""
    spec, schema = decl.spec, decl.spec.schema
    words = ["curl", "-sS", f"{url}/{spec.app}/{spec.name}"]
    if ca:
        words += ["--cacert", ca]
    if schema.streams:
        words.insert(2, "-N")  # show each piece as it comes
    if decl.policy.auth == "key":
        words += ["-H", f"authorization: Bearer {key}"]
    example = dict(spec.examples[0]) if spec.examples else None
    if schema.raw_body:
        return _raw(words, (example or {}).get(schema.raw_body), file)
    given = example if example is not None else sample_arguments(schema.request)
    files = [name for name in schema.files if example is None and name in given]
    if files:
        for name, value in given.items():
            words += ["-F", f"{name}=@{file}" if name in files else f"{name}={_plain(value)}"]
        return shlex.join(words)
    return shlex.join([*words, "-H", "content-type: application/json", "-d", _dumped(given)])


def sample_arguments(request: Json) -> dict[str, Json]:
    """Return values for the parameters that must be given."""
    request = request or {}
    fields = request.get("properties", {})
    return {
        name: sample(resolved(fields[name], request), request)
        for name in request.get("required", ())
    }


def _raw(words: list[str], encoded: str | None, file: str) -> str:
    """Send bytes: an example's are base64, as everywhere in JSON."""
    words.append("--data-binary")
    if encoded is None or len(encoded) > BYTES_MAX:
        return shlex.join([*words, f"@{file}"])
    standard = encoded.replace("-", "+").replace("_", "/")
    return f"echo {shlex.quote(standard)} | base64 -d | {shlex.join([*words, '@-'])}"


def _plain(value: Json) -> str:
    return value if isinstance(value, str) else _dumped(value)


def _dumped(value: Json) -> str:
    return json.dumps(value, ensure_ascii=False)
