"""How does a call from a user's process reach a router? Over HTTP, with bounded waits and retries."""

import json
import os
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import Any
from urllib.parse import quote
from uuid import uuid4

import httpx2
from anyio.lowlevel import RunVar

from glowplug import context
from glowplug.clock import SECOND, Clock, SystemClock
from glowplug.context import Answer, Outgoing
from glowplug.control_client import is_here
from glowplug.detour import Detour
from glowplug.errors import CallError, call_error
from glowplug.events import SseReader
from glowplug.offload import arrived, is_away, is_large
from glowplug.payloads import ANSWER_TYPE, HEADER, read_away
from glowplug.profiles import Place
from glowplug.remote_errors import error_from_answer, error_from_problem
from glowplug.retry import retry_delay_s
from glowplug.trust import verifier

CONNECT_S = 5.0
GRACE_S = 5.0  # after the deadline the router itself answers 504; this is for that answer's way
UNLIMITED_S = (
    20 * 60.0
)  # without a deadline: the endpoint's own limits (queue + start + run) end the call long before
_PLACES_MAX = 16
Told = Callable[[Mapping[str, Any]], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """An answer on its way: its headers, and the items of a stream or the chunks of a body as they come."""

    headers: dict[str, str]
    pieces: Iterator[bytes]


class HttpTransport:
    """A `context.Transport` to one router: one pool of connections a process, and one for each event loop."""

    def __init__(
        self,
        url: str,
        key: str = "",
        *,
        ca: str = "",
        clock: Clock | None = None,
        pause: Callable[[float], object] | None = None,
    ) -> None:
        self.url = url.rstrip("/")
        self._key = key
        self._ca = ca
        self._clock: Clock = clock or SystemClock()
        self._pause = pause or threading.Event().wait
        self._clients: dict[
            int, httpx2.Client
        ] = {}  # by process: a fork must not share its parent's connections
        self._async_client: RunVar[httpx2.AsyncClient] = RunVar("glowplug_http_client")
        self.detour = Detour(self.url, key, self._client, self._aclient, _broken)

    def call(self, outgoing: Outgoing) -> Answer:
        """Send and wait, blocking this thread; raise `CallError` for a refusal."""
        answer = self._sent(outgoing)
        try:
            body = answer.read()
        except httpx2.HTTPError as error:
            raise _broken(error, self.url) from None
        headers = _headers(answer)
        if is_away(headers):
            away = read_away(body)
            return Answer(
                status=200, headers=arrived(headers, away), body=b"".join(self.detour.fetched(away))
            )
        return Answer(status=answer.status_code, headers=headers, body=body)

    async def acall(self, outgoing: Outgoing) -> Answer:
        """Send and wait; raise `CallError` for a refusal."""
        answer = await self._asent(outgoing)
        try:
            body = await answer.aread()
        except httpx2.HTTPError as error:
            raise _broken(error, self.url) from None
        headers = _headers(answer)
        if is_away(headers):
            away = read_away(body)
            body = await self.detour.afetched(away)
            return Answer(status=200, headers=arrived(headers, away), body=body)
        return Answer(status=answer.status_code, headers=headers, body=body)

    def stream(self, outgoing: Outgoing) -> Iterator[bytes]:
        """Send and yield each item; closing the iterator ends the call."""
        with self.replied(outgoing) as reply:
            yield from reply.pieces

    @contextmanager
    def replied(self, outgoing: Outgoing, told: Told | None = None) -> Iterator[Reply]:
        """Send, and lend the answer once its head is here; leaving it early ends the call.

        Args:
            outgoing: the call.
            told: is given what the router says while a call that streams waits for a replica to start.
        """
        answer = self._sent(outgoing)
        try:
            headers = _headers(answer)
            if is_away(headers):
                away = read_away(answer.read())
                yield Reply(headers=arrived(headers, away), pieces=self.detour.fetched(away))
            else:
                yield Reply(headers=headers, pieces=self._pieces(answer, told))
        finally:
            answer.close()

    def _pieces(self, answer: httpx2.Response, told: Told | None) -> Iterator[bytes]:
        items = _items(answer, told)
        try:
            for chunk in answer.iter_bytes():
                yield from items.feed(chunk)
                if items.is_done:
                    return
            items.end()
        except httpx2.HTTPError as error:
            raise _broken(error, self.url) from None

    async def astream(self, outgoing: Outgoing) -> AsyncIterator[bytes]:
        """Like `stream`, without blocking."""
        answer = await self._asent(outgoing)
        items = _items(answer)
        try:
            async for chunk in answer.aiter_bytes():
                for item in items.feed(chunk):
                    yield item
                if items.is_done:
                    return
            items.end()
        except httpx2.HTTPError as error:
            raise _broken(error, self.url) from None
        finally:
            await answer.aclose()

    def close(self) -> None:
        """Close this process's connections; the next call opens new ones."""
        client = self._clients.pop(os.getpid(), None)
        if client is not None:
            client.close()

    async def aclose(self) -> None:
        """Close this event loop's connections."""
        client = self._async_client.get(None)
        if client is not None:
            await client.aclose()

    def _sent(self, outgoing: Outgoing) -> httpx2.Response:
        """Return the answer once its head is here and good; its body may still be on the way."""
        attempts = _Attempts(self.url, self._key, self._clock, outgoing)
        while True:
            try:
                if attempts.must_upload:
                    attempts.uploaded(self.detour.upload(outgoing.body))
                answer = self._client().send(attempts.request(self._client()), stream=True)
                if answer.status_code < 400:
                    return answer
                failure = error_from_answer(answer.status_code, _headers(answer), answer.read())
            except httpx2.HTTPError as error:
                failure = attempts.broken(error)
            self._pause(attempts.delay_s(failure))

    async def _asent(self, outgoing: Outgoing) -> httpx2.Response:
        attempts = _Attempts(self.url, self._key, self._clock, outgoing)
        while True:
            try:
                if attempts.must_upload:
                    attempts.uploaded(await self.detour.aupload(outgoing.body))
                answer = await self._aclient().send(attempts.request(self._aclient()), stream=True)
                if answer.status_code < 400:
                    return answer
                failure = error_from_answer(
                    answer.status_code, _headers(answer), await answer.aread()
                )
            except httpx2.HTTPError as error:
                failure = attempts.broken(error)
            await self._clock.sleep(attempts.delay_s(failure))

    def _client(self) -> httpx2.Client:
        client = self._clients.get(os.getpid())
        if client is None:
            client = self._clients[os.getpid()] = httpx2.Client(**_pool(self.url, self._ca))
        return client

    def _aclient(self) -> httpx2.AsyncClient:
        client = self._async_client.get(None)
        if client is None or client.is_closed:
            client = httpx2.AsyncClient(**_pool(self.url, self._ca))
            self._async_client.set(client)
        return client


@lru_cache(maxsize=_PLACES_MAX)
def transport_to(place: Place) -> HttpTransport:
    """Return this process's one transport to a place."""
    return HttpTransport(place.url, place.key, ca=place.ca)


class _Attempts:
    """One call and its retries: what stays the same, how often it was tried, what time is left."""

    def __init__(self, url: str, key: str, clock: Clock, outgoing: Outgoing) -> None:
        version = f"@{outgoing.version}" if outgoing.version else ""
        self._router = url
        self._url = (
            f"{url}/{quote(outgoing.app)}/{quote(outgoing.endpoint)}{quote(version, safe='@')}"
        )
        self._outgoing = outgoing
        self._key = key
        self._clock = clock
        self._start_ns = clock.now_ns()
        self._request_id = uuid4().hex
        self._tries = 0
        self._reference = ""
        self.must_upload = is_large(outgoing.body)

    def uploaded(self, reference: str) -> None:
        """Name the body by its reference from now on; "" sends it with the call."""
        self._reference, self.must_upload = reference, False

    def request(self, client: httpx2.Client | httpx2.AsyncClient) -> httpx2.Request:
        """Return the next try."""
        self._tries += 1
        left_s = self._left_s()
        if left_s is not None and left_s <= 0:
            raise call_error(
                "deadline",
                "the time ran out before the call was sent",
                executed="no",
                request_id=self._request_id,
            )
        # Reading may take as long as the call; the router itself ends it at the deadline, the grace is for that answer.
        timeout = httpx2.Timeout(
            (UNLIMITED_S if left_s is None else left_s) + GRACE_S, connect=CONNECT_S
        )
        return client.build_request(
            "POST",
            self._url,
            content=b"" if self._reference else self._outgoing.body,
            headers=self._headers(left_s),
            timeout=timeout,
        )

    def _headers(self, left_s: float | None) -> dict[str, str]:
        call = context.current.get()
        headers = {
            "content-type": self._outgoing.content_type,
            "accept": _accepted(self._outgoing.accept),
            HEADER: self._reference,
            "authorization": f"Bearer {self._key}" if self._key else "",
            "x-request-id": self._request_id,
            "glowplug-priority": self._outgoing.klass or "",
            "glowplug-affinity": self._outgoing.affinity,
            "glowplug-deadline": "" if left_s is None else f"{left_s:.3f}",
            "traceparent": call.trace if call is not None else "",
        }
        return {name: value for name, value in headers.items() if value}

    def broken(self, error: httpx2.HTTPError) -> CallError:
        """Return why this try failed; while the body is still being brought, the call has not been sent."""
        failure = _broken(error, self._router)
        if self.must_upload:
            failure.executed = "no"
        return failure

    def delay_s(self, error: CallError) -> float:
        """Return how long to wait before the next try; raise `error` if there is to be none."""
        error.request_id = error.request_id or self._request_id
        # What was uploaded may have been swept away while the call waited to be tried again: once more, then.
        self.must_upload = error.code == "payload_gone" and bool(self._reference)
        spread = int(self._request_id[:8], 16) / 2**32
        delay_s = retry_delay_s(error, self._tries, spread, self._left_s())
        if delay_s is None:
            raise error
        return delay_s

    def _left_s(self) -> float | None:
        timeout_s = self._outgoing.timeout_s
        return (
            None
            if timeout_s is None
            else timeout_s - (self._clock.now_ns() - self._start_ns) / SECOND
        )


class _SseItems:
    """The items of an SSE stream; knows whether it came to its end."""

    def __init__(self, told: Told | None = None) -> None:
        self._reader = SseReader()
        self._told = told
        self.is_done = False

    def feed(self, chunk: bytes) -> Iterator[bytes]:
        for event in self._reader.feed(chunk):
            if event.kind == "output":
                yield event.data
            elif event.kind == "error":
                raise error_from_problem(_problem(event.data), {})
            elif event.kind == "done":
                self.is_done = True
                return
            elif event.kind == "status" and self._told is not None:
                self._told(_problem(event.data))

    def end(self) -> None:
        raise call_error("replica_lost", "the stream broke off", executed="maybe")


class _RawItems:
    """The chunks of a stream of bytes, whose end is the end of the body."""

    is_done = False

    def feed(self, chunk: bytes) -> Iterator[bytes]:
        yield chunk

    def end(self) -> None:
        pass


def _accepted(accept: str) -> str:
    """Add that a large answer may be fetched from elsewhere; a stream has no such thing."""
    return accept if accept == "text/event-stream" else f"{accept}, {ANSWER_TYPE}"


def _items(answer: httpx2.Response, told: Told | None = None) -> _SseItems | _RawItems:
    is_sse = answer.headers.get("content-type", "").startswith("text/event-stream")
    return _SseItems(told) if is_sse else _RawItems()


def _problem(data: bytes) -> Mapping[str, Any]:
    try:
        found = json.loads(data)
    except ValueError:
        found = None
    return (
        found
        if isinstance(found, dict)
        else {"code": "internal", "detail": "the stream ended with an unreadable error"}
    )


def _headers(answer: httpx2.Response) -> dict[str, str]:
    return {name.lower(): value for name, value in answer.headers.items()}


def _broken(error: httpx2.HTTPError, url: str) -> CallError:
    """Turn the HTTP library's errors into ours: only a connection that never opened is sure not to have run."""
    match error:
        case httpx2.ConnectError() | httpx2.ConnectTimeout() | httpx2.PoolTimeout():
            hint = "is it running? `glowplug up` starts one, `glowplug status` asks it"
            return call_error(
                "unreachable", f"no router answers at {url}: {error}", executed="no", hint=hint
            )
        case httpx2.TimeoutException():
            return call_error("deadline", f"no answer from {url} in time", executed="maybe")
        case _:
            said = str(error) or type(error).__name__
            return call_error(
                "unavailable", f"the connection to {url} broke: {said}", executed="maybe"
            )


def _pool(url: str, ca: str) -> dict[str, Any]:
    """Return a client's settings. Loopback never goes through a proxy, and plain HTTP needs no certificates read."""
    return {
        "verify": verifier(url, ca),
        "trust_env": not is_here(url),
        "limits": httpx2.Limits(
            max_connections=256, max_keepalive_connections=64, keepalive_expiry=30.0
        ),
    }
