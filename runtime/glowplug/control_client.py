"""How does a program talk to a router's control API? JSON over HTTP with the profile's key; problems become errors."""

import json
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from glowplug.errors import CallError, ConfigError, UnavailableError
from glowplug.trust import verifier

if TYPE_CHECKING:
    import httpx2

CONNECT_S = 5.0
READ_S = 60.0
API = "/-/api"


class Control:
    """A connection to one router's control API."""

    def __init__(
        self, url: str, key: str, profile: str = "", *, ca: str = "", read_s: float = READ_S
    ) -> None:
        import httpx2  # lazily: `--help` and `import glowplug` must not pay for it

        self.url = url.rstrip("/")
        self.key = key
        self.ca = ca
        self.profile = profile
        self._extensions = {"trace": self._traced}
        self._is_closed = False
        self._sockets: list[socket.socket] = []
        self._http = httpx2.Client(
            base_url=self.url,
            headers={"authorization": f"Bearer {key}"} if key else {},
            timeout=httpx2.Timeout(read_s, connect=CONNECT_S),
            verify=verifier(url, ca),
            trust_env=not is_here(url),  # what is here is reached without a proxy
        )

    @classmethod
    @contextmanager
    def open(cls, profile: str | None = None) -> "Iterator[Control]":
        """Connect to the router a profile names (the current one by default)."""
        from glowplug.profiles import resolve

        place = resolve(profile)
        with cls(place.url, place.key, place.name, ca=place.ca) as control:
            yield control

    def __enter__(self) -> "Control":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections; what another thread waits for on one of them ends at once."""
        self._is_closed = True
        for sock in self._sockets:
            _shut(sock)
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
        with (
            self._reached(),
            self._http.stream(
                method, API + path, timeout=timeout, extensions=self._extensions, **kwargs
            ) as answer,
        ):
            if answer.status_code >= 400:
                answer.read()
                raise self._refusal(answer)
            for line in answer.iter_lines():
                if line.strip():
                    yield self._document(line)

    def _json(self, method: str, path: str, **kwargs: Any) -> Any:
        with self._reached():
            answer = self._http.request(method, API + path, extensions=self._extensions, **kwargs)
        if answer.status_code >= 400:
            raise self._refusal(answer)
        return self._document(answer.text) if answer.content else None

    def _traced(self, event: str, info: Mapping[str, Any]) -> None:
        """Keep every connection's socket from its first moment on, so that `close` reaches it."""
        if event.endswith(("connect_tcp.complete", "start_tls.complete")):
            sock = info["return_value"].get_extra_info("socket")
            self._sockets.append(sock)
            if self._is_closed:
                _shut(sock)

    def _document(self, text: str) -> Any:
        try:
            return json.loads(text)
        except ValueError as error:
            raise UnavailableError(
                f"{self.url} answers, but not as a glowplug router does: {text[:60]!r}",
                hint="is the URL right? `glowplug profile list` shows the places you know",
            ) from error

    def _refusal(self, answer: "httpx2.Response") -> CallError:
        from glowplug.profiles import Place, other_key
        from glowplug.remote_errors import error_from_answer

        headers = {name.lower(): value for name, value in answer.headers.items()}
        error = error_from_answer(answer.status_code, headers, answer.content)
        if error.code == "unauthorized":
            error.message = f"{self.url} does not take this key: {error.message}"
            error.hint = other_key(Place(self.url, name=self.profile))
        return error

    @contextmanager
    def _reached(self) -> Iterator[None]:
        import httpx2

        try:
            yield
        except (httpx2.ConnectError, httpx2.ConnectTimeout) as error:
            if "certificate" in str(error).lower():
                raise UnavailableError(
                    f"{self.url} shows a certificate that is not trusted here: {error}",
                    code="unreachable",
                    executed="no",
                    hint="name its authority: `glowplug profile add NAME URL --ca FILE`, or set GLOWPLUG_CA",
                ) from error
            raise UnavailableError(
                f"no router answers at {self.url}",
                code="unreachable",
                executed="no",
                hint="`glowplug up --detach` starts one here; `glowplug profile list` shows the places you know",
            ) from error
        except httpx2.TransportError as error:
            raise UnavailableError(
                f"the connection to {self.url} broke: {str(error) or type(error).__name__}",
                hint="try again; `glowplug status` shows if it is up",
            ) from error


def is_here(url: str) -> bool:
    """Say whether a URL leads to this machine; refuse what is no URL."""
    try:
        parts = urlsplit(url)
        is_good = parts.scheme in {"http", "https"} and parts.port != 0
    except ValueError:
        parts, is_good = None, False
    if parts is None or not is_good or not parts.hostname:
        raise ConfigError(f"`{url}` is not a URL", hint="for example https://box.example.org")
    host = parts.hostname
    return host in {"localhost", "::1"} or host.startswith("127.")


def _shut(sock: socket.socket) -> None:
    """End both directions; closing alone would neither wake a thread that waits nor tell the other side."""
    try:
        sock.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass  # it has ended by itself
