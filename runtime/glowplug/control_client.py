"""How does a program talk to a router's control API? JSON over HTTP with the profile's key; problems become errors."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from glowplug.errors import CallError, UnavailableError, call_error

CONNECT_S = 5.0
READ_S = 60.0
API = "/-/api"


class Control:
    """A connection to one router's control API."""

    def __init__(self, url: str, key: str) -> None:
        import httpx2  # lazily: `--help` and `import glowplug` must not pay for it

        self.url = url.rstrip("/")
        self.key = key
        self._http = httpx2.Client(
            base_url=self.url,
            headers={"authorization": f"Bearer {key}"},
            timeout=httpx2.Timeout(READ_S, connect=CONNECT_S),
            trust_env=False,  # a proxy of the environment must not see a loopback key
        )

    @classmethod
    @contextmanager
    def open(cls, profile: str | None = None) -> "Iterator[Control]":
        """Connect to the router a profile names (the current one by default)."""
        from glowplug.profiles import resolve

        place = resolve(profile)
        control = cls(place.url, place.key)
        try:
            yield control
        finally:
            control.close()

    def __enter__(self) -> "Control":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def get(self, path: str, **params: Any) -> Any:
        """Read."""
        return self._json("GET", path, params=params)

    def post(self, path: str, body: Any) -> Any:
        """Do."""
        return self._json("POST", path, json=body)

    def patch(self, path: str, body: Any) -> Any:
        """Change."""
        return self._json("PATCH", path, json=body)

    def put(self, path: str, content: Any) -> Any:
        """Store bytes (or an iterator of them)."""
        return self._json("PUT", path, content=content)

    def delete(self, path: str) -> Any:
        """Remove."""
        return self._json("DELETE", path)

    def lines(self, method: str, path: str, **kwargs: Any) -> Iterator[Any]:
        """Yield the JSON documents of a streamed answer as they arrive."""
        import httpx2

        timeout = httpx2.Timeout(None, connect=CONNECT_S)  # a followed log may be silent for hours
        with self._reached(), self._http.stream(method, API + path, timeout=timeout, **kwargs) as answer:
            if answer.status_code >= 400:
                answer.read()
                raise problem_error(answer.status_code, answer.content, answer.headers)
            for line in answer.iter_lines():
                if line.strip():
                    yield json.loads(line)

    def _json(self, method: str, path: str, **kwargs: Any) -> Any:
        with self._reached():
            answer = self._http.request(method, API + path, **kwargs)
        if answer.status_code >= 400:
            raise problem_error(answer.status_code, answer.content, answer.headers)
        return answer.json() if answer.content else None

    @contextmanager
    def _reached(self) -> Iterator[None]:
        import httpx2

        try:
            yield
        except httpx2.ConnectError as error:
            raise UnavailableError(
                f"no router answers at {self.url}",
                executed="no",
                hint="`glowplug up --detach` starts one here; `glowplug profile list` shows the places you know",
            ) from error
        except httpx2.TransportError as error:
            raise UnavailableError(f"the connection to {self.url} broke: {error}", hint="try again; `glowplug status` shows if it is up") from error


def problem_error(status: int, body: bytes, headers: Mapping[str, str]) -> CallError:
    """Return the error that a problem+json answer describes."""
    try:
        problem = json.loads(body)
    except ValueError:
        problem = {}
    detail = str(problem.get("detail") or problem.get("title") or body[:200].decode("utf-8", "replace") or f"status {status}")
    return call_error(
        str(problem.get("code", "internal")),
        detail,
        executed=headers.get("glowplug-executed", "maybe"),  # type: ignore[arg-type]  # from the wire
        request_id=str(problem.get("request_id", "")),
        hint=str(problem.get("hint", "")),
    )
