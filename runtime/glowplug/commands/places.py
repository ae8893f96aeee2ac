"""Which router does a verb talk to?"""

from typing import Any

import click

from glowplug.commands.output import Decorated

profile_option: Decorated = click.option(
    "--profile", metavar="NAME", default=None, help="The router to use; the current profile by default."
)


def endpoint_name(word: str) -> tuple[str, str]:
    """Return (app, endpoint) of "app/endpoint"; the endpoint is empty when only an app was named."""
    app, _, endpoint = word.partition("/")
    return app, endpoint.partition("@")[0]


def curl_line(url: str, key: str, path: str, example: dict[str, Any] | None) -> str:
    """Return a curl command that works as pasted."""
    import json
    import shlex

    words = ["curl", "-sS", f"{url}/{path}", "-H", f"authorization: Bearer {key}"]
    if example is not None:
        words += ["-H", "content-type: application/json", "-d", json.dumps(example, ensure_ascii=False)]
    else:
        words += ["--data-binary", "@FILE"]
    return " ".join(shlex.quote(word) for word in words)
